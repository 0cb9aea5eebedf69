package qkv_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/qkv-go/qkv"
)

// A rowLayout is where rows of keys or values lie in memory: pages of so many tokens, which a
// table puts in some order, or one tensor if there is none.
type rowLayout struct {
	name       string
	page       int
	tokenMajor bool
	between    int // elements between the tokens of a token-major layout
	ring       bool
}

var rowLayouts = []rowLayout{
	{name: "bhsd"}, {name: "bshd", tokenMajor: true}, {name: "bshd and others", tokenMajor: true, between: 48},
	{name: "pages of 1", page: 1}, {name: "pages of 3", page: 3}, {name: "pages of 16", page: 16},
	{name: "token-major pages of 16", page: 16, tokenMajor: true}, {name: "pages of 256", page: 256},
	{name: "ring", page: 32, ring: true}, {name: "token-major ring", page: 32, ring: true, tokenMajor: true},
}

// layRows returns tensors with the rows of x [heads, tokens, dim], which is T's form of float32.
func layRows[T qkv.Element](l rowLayout, x []T, heads, tokens, dim int) (v qkv.View, table []int32) {
	page, pages := l.page, 1
	if page == 0 {
		page = tokens
	} else {
		pages = (tokens + page - 1) / page
		for i := range pages {
			table = append(table, int32((i*7+3)%pages))
		}
		if pages%7 == 0 {
			for i := range table {
				table[i] = int32(pages - 1 - i)
			}
		}
	}
	stride := [4]int{heads * page * dim, page * dim, dim, 1}
	if l.tokenMajor {
		token := heads*dim + l.between
		stride = [4]int{page * token, dim, token, 1}
	}
	data := make([]T, pages*stride[0])
	for h := range heads {
		for k := range tokens {
			at := k % page * stride[2]
			if table != nil {
				at += int(table[k/page]) * stride[0]
			}
			copy(data[at+h*stride[1]:][:dim], x[(h*tokens+k)*dim:][:dim])
		}
	}
	return qkv.Strided(data, 0, [4]int{pages, heads, page, dim}, stride), table
}

// TestDecodeLayouts: what is decoded has the same bits wherever rows of keys and values lie, with
// as many KV heads and queries as there may be, on every set and for any number of workers.
func TestDecodeLayouts(t *testing.T) {
	t.Parallel()
	const dim = 64
	for i, c := range []struct{ heads, kvHeads, seqQ, keys int }{
		{8, 2, 1, 1}, {8, 8, 1, 130}, {32, 8, 1, 1500}, {32, 8, 2, 300}, {12, 6, 1, 2100}, {40, 40, 1, 150},
		{24, 2, 1, 700}, {16, 8, 3, 1025},
	} {
		if testing.Short() && c.keys > 1100 {
			continue
		}
		t.Run(fmt.Sprintf("%d over %d, %d queries, %d keys", c.heads, c.kvHeads, c.seqQ, c.keys), func(t *testing.T) {
			if !testing.Short() || i%2 == 0 {
				checkDecodeLayouts[float32](t, c.heads, c.kvHeads, c.seqQ, c.keys, dim, func(x float32) float32 { return x })
			}
			if !testing.Short() || i%2 == 1 {
				checkDecodeLayouts[qkv.Float16](t, c.heads, c.kvHeads, c.seqQ, c.keys, dim, qkv.ToFloat16)
			}
		})
	}
}

func checkDecodeLayouts[T qkv.Element](t *testing.T, heads, kvHeads, seqQ, keys, dim int, to func(float32) T) {
	t.Helper()
	values := func(n int, seed uint64) []float32 {
		x := make([]float32, n)
		for i, gen := 0, normal(seed); i < n; i++ {
			x[i] = gen()
		}
		return x
	}
	stored := func(seed uint64) []T {
		var list []T
		for _, x := range values(kvHeads*keys*dim, seed) {
			list = append(list, to(x))
		}
		return list
	}
	q, k, v := values(heads*seqQ*dim, 1), stored(2), stored(3)
	for _, mask := range []qkv.Mask{{}, {Causal: true, Align: qkv.BottomRight}} {
		var want []float32
		for _, l := range rowLayouts {
			out := make([]float32, heads*seqQ*dim)
			call := qkv.Call{
				Q: qkv.BHSD(q, 1, heads, seqQ, dim), Out: qkv.BHSD(out, 1, heads, seqQ, dim), Mask: mask, Ring: l.ring,
			}
			var table []int32
			call.K, table = layRows(l, k, kvHeads, keys, dim)
			call.V, _ = layRows(l, v, kvHeads, keys, dim)
			if table != nil {
				call.Tables, call.LensKV = [][]int32{table}, []int{keys}
			}
			for _, set := range sets() {
				for _, workers := range []int{1, 2, 5} {
					if set == "generic" && (workers != 1 || l.ring) {
						continue
					}
					e, err := qkv.New(qkv.Config{Kernel: set, Workers: workers})
					if err != nil {
						t.Fatal(err)
					}
					for i := range out {
						out[i] = float32(math.NaN())
					}
					if err := e.Run(&call); err != nil {
						t.Fatalf("%s: %v", l.name, err)
					}
					if want == nil {
						want = append(want, out...)
						continue
					}
					for i, x := range out {
						if math.Float32bits(x) != math.Float32bits(want[i]) {
							t.Fatalf("%s, %s, %d workers, causal %t: element %d is %v, want %v", l.name, set, workers, mask.Causal, i, x, want[i])
						}
					}
				}
			}
		}
	}
}
