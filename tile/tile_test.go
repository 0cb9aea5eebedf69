package tile

import (
	"math"
	"testing"

	"github.com/qkv-go/qkv/kernel"
)

// problems returns problems of many shapes and masks.
func problems() []Problem {
	var ps []Problem
	for _, heads := range [][2]int{{1, 1}, {4, 4}, {8, 2}, {7, 1}} {
		for _, seqQ := range []int{1, 5, 64, 100, 1000} {
			for _, seqKV := range []int{0, 1, 127, 128, 129, 1000} {
				p := Problem{Batch: 2, Heads: heads[0], KVHeads: heads[1], SeqQ: seqQ, SeqKV: seqKV, DimQK: 64, DimV: 64}
				ps = append(ps, p)
				p.Mask.Causal = true
				for _, offset := range []int{-seqQ, -3, 0, 2, seqKV - seqQ, seqKV} {
					p.Mask.Offset = max(-seqQ, offset)
					ps = append(ps, p)
				}
			}
		}
	}
	return ps
}

func TestPairs(t *testing.T) {
	for _, p := range problems() {
		var want int64
		for i := range p.SeqQ {
			for j := range p.SeqKV {
				if !p.Mask.Causal || j <= i+p.Mask.Offset {
					want++
				}
			}
		}
		want *= int64(p.Batch * p.Heads)
		if got := p.Pairs(); got != want {
			t.Fatalf("%+v: %d pairs, want %d", p, got, want)
		}
	}
}

// The blocks of every lane group hold exactly the keys that its rows attend.
func TestBlocks(t *testing.T) {
	var words [kernel.KeyBlock]uint64
	for _, p := range problems() {
		group := p.group()
		for row := 0; row < p.rows(); row += 48 {
			g := laneGroup{row: row, rows: min(48, p.rows()-row)}
			g.full = p.Mask.keys(g.row/group, p.SeqKV)
			g.end = p.Mask.keys((g.row+g.rows-1)/group, p.SeqKV)
			for key0 := 0; key0 < p.SeqKV; key0 += kernel.KeyBlock {
				keys, maskFrom := g.block(key0)
				p.Mask.fill(words[:keys-maskFrom], key0+maskFrom, g.row, group)
				some := false
				for j := key0; j < min(p.SeqKV, key0+kernel.KeyBlock); j++ {
					for l := range g.rows {
						want := !p.Mask.Causal || j <= (row+l)/group+p.Mask.Offset
						got := j-key0 < maskFrom || j-key0 < keys && words[j-key0-maskFrom]>>l&1 == 1
						if got != want {
							t.Fatalf("%+v: row %d key %d kept %v, want %v", p, row+l, j, got, want)
						}
						some = some || want
					}
				}
				if some != (keys > 0) {
					t.Fatalf("%+v: rows %d.., keys %d..: computed %v, wanted %v", p, row, key0, keys > 0, some)
				}
			}
		}
	}
}

func TestSchedule(t *testing.T) {
	set := &kernel.Set{Name: "test", Vec: 16, Lanes: 64, Rows: 6}
	for _, caches := range []Caches{{}, {32 << 10, 256 << 10, 1 << 20}, {48 << 10, 2 << 20, 64 << 20}} {
		e := New(set, caches, false)
		for _, p := range problems() {
			for _, workers := range []int{1, 2, 16} {
				s := e.Schedule(&p, workers)
				if s.Workers < 1 || s.Workers > workers || s.Workers > s.Items {
					t.Fatalf("%+v: %d workers of %d for %d items", p, s.Workers, workers, s.Items)
				}
				if s.Lanes > set.Lanes || s.Lanes%set.Vec != 0 || s.Groups < 1 || s.Groups > maxGroups {
					t.Fatalf("%+v: %d lanes, %d groups", p, s.Lanes, s.Groups)
				}
				if s.Blocks*s.Rows() < p.rows() || (s.Blocks-1)*s.Rows() >= p.rows() {
					t.Fatalf("%+v: %d blocks of %d rows for %d", p, s.Blocks, s.Rows(), p.rows())
				}
				seen := make(map[[2]int]bool)
				last := make(map[int]int)
				for i := range s.Items {
					head, block := s.item(i)
					if head < 0 || head >= p.Batch*p.KVHeads || block < 0 || block >= s.Blocks || seen[[2]int{head, block}] {
						t.Fatalf("%+v: item %d is head %d block %d", p, i, head, block)
					}
					seen[[2]int{head, block}] = true
					if before, ok := last[head]; ok && block > before {
						t.Fatalf("%+v: block %d of head %d comes after the shorter %d", p, block, head, before)
					}
					last[head] = block
				}
			}
		}
	}
}

// A workspace is as large for a long sequence as for a short one.
func TestWorkspaceSize(t *testing.T) {
	e := New(&kernel.Set{Vec: 16, Lanes: 64}, Caches{48 << 10, 1 << 20, 32 << 20}, false)
	size := func(seq int) int {
		p := Problem{Batch: 1, Heads: 8, KVHeads: 2, SeqQ: seq, SeqKV: seq, DimQK: 128, DimV: 128}
		s := e.Schedule(&p, 2)
		var w workspace
		w.reserve(&p, &s)
		return len(w.mem)
	}
	if short, long := size(4096), size(1<<20); short != long {
		t.Errorf("%d values at 4096 positions, %d at %d", short, long, 1<<20)
	}
}

func TestLog(t *testing.T) {
	for x := 1.0; x < 1e12; x *= 1.0007 {
		got, want := log(x), math.Log(x)
		if math.Abs(got-want) > 2e-12*math.Abs(want) {
			t.Fatalf("log(%v) = %v, want %v", x, got, want)
		}
	}
	if got := log(1); got != 0 {
		t.Errorf("log(1) = %v", got)
	}
	if got := log(math.Inf(1)); !math.IsInf(got, 1) {
		t.Errorf("log(+Inf) = %v", got)
	}
	if got := log(math.NaN()); !math.IsNaN(got) {
		t.Errorf("log(NaN) = %v", got)
	}
}
