package qkv_test

import (
	"fmt"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestDecodeFewLanes: sequences that are decoded where lane groups of the prefill have fewer
// lanes than the decoding: a mask of blocks that more would lie across, and head dims of which
// more would fill the first-level cache.
func TestDecodeFewLanes(t *testing.T) {
	t.Parallel()
	for _, queryBlock := range []int{8, 10, 12} {
		for seqQ := 9; seqQ <= 16; seqQ++ {
			if brief() && seqQ%3 != 0 && seqQ != 16 {
				continue
			}
			t.Run(fmt.Sprintf("blocks=%d,q=%d", queryBlock, seqQ), func(t *testing.T) {
				p := newProblem(dims{1, 1, 1, seqQ, 700, 64, 64}, "bhsd", qkv.Mask{}, normal(uint64(seqQ)))
				rows := (seqQ + queryBlock - 1) / queryBlock
				p.blocks = newBlocks(queryBlock, 64, [4]int{1, 1, rows, 11}, func(_, _, row, column int) bool {
					return (row+column)%3 > 0
				})
				p.checkSame(t)
				p.check(t, 0)
			})
		}
	}
	for _, dim := range []int{576, 800} {
		t.Run(fmt.Sprintf("dim=%d", dim), func(t *testing.T) {
			p := newProblem(dims{1, 16, 1, 1, 300, dim, 512}, "bhsd", qkv.Mask{}, normal(uint64(dim)))
			p.checkSame(t)
			p.check(t, 0)
		})
	}
}

// TestDecodeDims: values whose dims are a multiple of half a vector of some sets, of as many rows as are decoded together.
func TestDecodeDims(t *testing.T) {
	t.Parallel()
	for _, dim := range []int{24, 40, 72, 120} {
		for _, heads := range []int{1, 7, 12, 13, 16} {
			t.Run(fmt.Sprintf("dim=%d,heads=%d", dim, heads), func(t *testing.T) {
				p := newProblem(dims{1, heads, 1, 1, 300, dim, dim}, "bshd", qkv.Mask{}, normal(uint64(dim+heads)))
				p.checkSame(t)
				p.check(t, 0)
				checkDecodeLayouts[qkv.Float16](t, heads, 1, 1, 150, dim, qkv.ToFloat16)
				checkDecodeLayouts[qkv.BFloat16](t, heads, 1, 1, 150, dim, qkv.ToBFloat16)
			})
		}
	}
}
