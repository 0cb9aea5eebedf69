package tile

import (
	"math"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// problems returns problems of many shapes and masks.
func problems() []Problem {
	var ps []Problem
	for _, heads := range [][2]int{{1, 1}, {4, 4}, {8, 2}, {7, 1}} {
		for _, seqQ := range []int{1, 5, 64, 100, 1000} {
			for _, seqKV := range []int{0, 1, 127, 128, 129, 1000} {
				p := Problem{
					Batch: 2, Heads: heads[0], KVHeads: heads[1], SeqQ: seqQ, SeqKV: seqKV, DimQK: 64, DimV: 64,
					TokensQ: 2 * seqQ, TokensKV: 2 * seqKV, Mask: Mask{Left: Unbounded, Right: Unbounded},
				}
				ps = append(ps, p)
				for n, window := range [][2]int64{{Unbounded, 0}, {0, 0}, {200, 0}, {3, 5}, {64, Unbounded}, {700, 300}} {
					p.Mask.Left, p.Mask.Right = window[0], window[1]
					for i, offset := range []int{math.MinInt, -seqQ, -3, 0, 2, seqKV - seqQ, seqKV, math.MaxInt} {
						if (n+i+seqKV)%3 != 0 {
							continue // a third of them is enough
						}
						p.Mask.Offset = int64(offset)
						p.Mask.Prefix = []int{0, 0, 40, 300}[i%4]
						p.Mask.Behind = (n+i)%2 == 1
						ps = append(ps, p)
					}
				}
			}
		}
	}
	return ps
}

// keeps says whether a query attends a key.
func (p *Problem) keeps(s *seq, i, j int) bool {
	if j < s.prefix && !p.Mask.Behind {
		return true
	}
	// The difference of positions does not fit where offsets are as large as can be.
	d := addSat(int64(j-i), -max(s.offset, -math.MaxInt64))
	return (p.Mask.Right == Unbounded || d <= p.Mask.Right) && (j < s.prefix || p.Mask.Left == Unbounded || d >= -p.Mask.Left)
}

// The blocks of every lane group hold exactly the keys that its rows attend.
func TestBlocks(t *testing.T) {
	const lanes, vec = 48, 8
	w, e := new(workspace), &Engine{set: &kernel.Set{Vec: vec}}
	for _, p := range problems() {
		j := job{engine: e}
		j.open(&p)
		at := &w.at
		at.open(&j)
		at.moveTo(0, 0)
		s := at.seq
		for row := 0; row < p.rows(); row += lanes {
			var g laneGroup
			g.queryRows.open(at, 0, row, min(lanes, p.rows()-row))
			at.walk.open(&p, &s, row, row+g.rows)
			more := at.next()
			for key0 := 0; key0 < p.SeqKV; key0 += kernel.KeyBlock {
				n := min(kernel.KeyBlock, p.SeqKV-key0)
				g.started = row%96 == 0
				var c cover
				if more && key0 == at.key0 {
					if at.n != n {
						t.Fatalf("%+v: %d keys at %d, want %d", p, at.n, key0, n)
					}
					if c = w.block.mask.cover(at, &g.queryRows); c.from < c.to {
						w.block.mask.split(at, &g, &c)
					}
					more = at.next()
				}
				for k := range n {
					query, want := -1, false // rows of a query keep the same keys
					for l := range g.rows {
						if _, i := g.of(l); i != query {
							query, want = i, p.keeps(&s, i, key0+k)
						}
						in := c.span
						if c.half > 0 && l < c.half {
							in = c.low
						} else if c.half > 0 {
							in = c.high
						}
						got := k >= in.from && k < in.to && (k < in.full || w.block.mask.words[k]>>l&1 == 1)
						if got != want {
							t.Fatalf("%+v: row %d key %d kept %v, want %v (%+v)", p, row+l, key0+k, got, want, c)
						}
						if c.half > 0 && got != (k >= c.from && k < c.to && (k < c.full || w.block.mask.words[k]>>l&1 == 1)) {
							t.Fatalf("%+v: row %d key %d: the halves are not the whole (%+v)", p, row+l, key0+k, c)
						}
					}
				}
			}
		}
	}
}

func TestSurvey(t *testing.T) {
	e := New(&kernel.Set{Name: "test", Vec: 16, Lanes: 64, Rows: 6}, Caches{}, false, Tuning{})
	for _, p := range problems() {
		var want Survey
		s := p.seq(0)
		for row := 0; row < p.rows(); row += 64 {
			for key0 := 0; key0 < p.SeqKV; key0 += kernel.KeyBlock {
				kept, all := int64(0), int64(0)
				for r, end := row, min(row+64, p.rows()); r < end; {
					query := r / p.headsPerKV()
					rows := int64(min(end, (query+1)*p.headsPerKV()) - r) // they keep the same keys
					for j := key0; j < min(key0+kernel.KeyBlock, p.SeqKV); j++ {
						all += rows
						if p.keeps(&s, query, j) {
							kept += rows
						}
					}
					r += int(rows)
				}
				n := int64(p.Batch * p.KVHeads)
				want.ScoreBlocks += n
				want.Pairs += n * kept
				if kept == 0 {
					want.Skipped += n
				} else if kept == all {
					want.Full += n
				}
			}
		}
		sched := e.Schedule(&p, 1)
		if got := e.Survey(&p, &sched); got != want {
			t.Fatalf("%+v: %+v, want %+v", p, got, want)
		}
	}
}

func TestSchedule(t *testing.T) {
	set := &kernel.Set{Name: "test", Vec: 16, Lanes: 64, Rows: 6}
	for _, caches := range []Caches{{}, {32 << 10, 256 << 10, 1 << 20}, {48 << 10, 2 << 20, 64 << 20}} {
		e := New(set, caches, false, Tuning{})
		for _, p := range problems() {
			for _, workers := range []int{1, 2, 16} {
				s := e.Schedule(&p, workers)
				if s.Workers < 1 || s.Workers > workers || s.Workers > s.Items+s.Decode {
					t.Fatalf("%+v: %d workers of %d for %d items", p, s.Workers, workers, s.Items+s.Decode)
				}
				if s.Lanes > set.Lanes || s.Lanes%set.Vec != 0 || s.LaneGroups < 1 || s.LaneGroups > maxLaneGroups {
					t.Fatalf("%+v: %d lanes, %d groups", p, s.Lanes, s.LaneGroups)
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

// A workspace has an output for each level of the tree of chunks, and is otherwise as large for
// a long sequence as for a short one.
func TestWorkspaceSize(t *testing.T) {
	e := New(&kernel.Set{Vec: 16, Lanes: 64}, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{})
	size := func(seq int) int {
		p := Problem{Batch: 1, Heads: 8, KVHeads: 2, SeqQ: seq, SeqKV: seq, DimQK: 128, DimV: 128}
		s := e.Schedule(&p, 2)
		var w workspace
		w.reserve(e, &p, &s)
		return len(w.mem)
	}
	const output = 64*(128+2) + 3*cacheLine // of a lane group
	p := Problem{Batch: 1, Heads: 8, KVHeads: 2, SeqQ: 4096, SeqKV: 4096, DimQK: 128, DimV: 128}
	s := e.Schedule(&p, 2)
	if short, long := size(4096), size(1<<20); long-short != 8*s.LaneGroups*output {
		t.Errorf("%d values at 4096 positions, %d at %d, 8 levels of %d groups more", short, long, 1<<20, s.LaneGroups)
	}
}

// A transposed product packs rows of X whole, and does so for no depth that is too large
// for that.
func TestTransposes(t *testing.T) {
	e := New(&kernel.Set{Vec: 16, Lanes: 64}, Caches{}, false, Tuning{})
	for depth, want := range map[int]bool{1: true, transposedDepth: true, transposedDepth + 1: false, math.MaxInt / 8: false} {
		p := Product{Rows: 16, Depth: depth, Parts: []Part{{W: Matrix{Row: 1, Col: depth}}}}
		if got := e.transposes(&p, &p.Parts[0]); got != want {
			t.Errorf("depth %d: %v, want %v", depth, got, want)
		}
	}
}

// The blocks of a product follow the second-level cache, cover rows and columns once, and
// are cut in both dimensions where workers are many.
func TestPlanProduct(t *testing.T) {
	set := &kernel.Set{Vec: 16, Lanes: 64, Rows: 6}
	panels := new(float32)
	product := func(rows, depth, columns int) *Product {
		return &Product{Rows: rows, Seq: rows, Depth: depth, Parts: []Part{{Heads: 1, Width: columns, Panels: unsafe.Pointer(panels)}}}
	}
	p := product(4096, 4096, 4096)
	p.X = Matrix{Row: 4096, Col: 1}
	for lanes, most := range map[int]int{16: 300, 64: wideRows + 6} {
		set := &kernel.Set{Vec: 16, Lanes: lanes, Rows: 6}
		small, large := New(set, Caches{L2: 256 << 10}, false, Tuning{}), New(set, Caches{L2: 2 << 20}, false, Tuning{})
		a, b := small.PlanProduct(p, 1), large.PlanProduct(p, 1)
		if a.MC < 24 || a.MC > 48 || b.MC < most-60 || b.MC > most || a.CopyX != (lanes == 16) || b.CopyX != a.CopyX {
			t.Errorf("%d lanes: blocks of %d rows for 256 KiB and %d for 2 MiB, copied: %v, %v", lanes, a.MC, b.MC, a.CopyX, b.CopyX)
		}
	}
	large := New(set, Caches{L2: 2 << 20}, false, Tuning{})
	for _, rows := range []int{1, 5, 100, 1000, 1 << 20} {
		for _, columns := range []int{1, 64, 65, 5000} {
			for _, workers := range []int{1, 2, 16, 64} {
				plan := large.PlanProduct(product(rows, 300, columns), workers)
				if (plan.RowBlocks-1)*plan.MC >= rows || plan.RowBlocks*plan.MC < rows ||
					(plan.Runs-1)*plan.NC >= plan.Units || plan.Runs*plan.NC < plan.Units ||
					plan.Units != (columns+63)/64 || plan.Workers < 1 || plan.Workers > min(workers, plan.Items()) {
					t.Errorf("%d rows, %d columns, %d workers: %+v", rows, columns, workers, plan)
				}
			}
		}
	}
	if plan := large.PlanProduct(product(512, 4096, 512), 16); plan.RowBlocks < 2 || plan.Runs < 2 || plan.Workers != 16 {
		t.Errorf("16 workers: %+v", plan)
	}
}
