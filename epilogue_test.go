package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A pagedProduct is a product whose first part goes to Y, and others to pages.
type pagedProduct struct {
	tile.Product
	pools   [2]*writtenPool
	x       []float32
	weights [3][]float32
	bias    [3][]float32
	y       [3][]float32 // of parts as they are without pages
}

// newPagedProduct draws one of few rows or of any number.
func newPagedProduct(r *rand.Rand, few bool) (p *pagedProduct, what string) {
	numbers := func(n int) []float32 { return draw(n, func() float32 { return float32(r.NormFloat64()) }) }
	p = &pagedProduct{}
	p.Parts, p.Project = make([]tile.Part, 3), true
	p.Rows = []int{1, 2, 3, 5, 15, 16, 33, 130, 141}[r.IntN(9)]
	if few {
		p.Rows = 1 + r.IntN(9)
	}
	p.Depth, p.Seq = []int{7, 64, 270, 520}[r.IntN(4)], p.Rows
	types := kernel.Elems()
	elems := [2]kernel.Elem{types[r.IntN(len(types))], types[r.IntN(len(types))]}
	heads, width := 1+r.IntN(4), []int{32, 64, 96, 160, 256}[r.IntN(5)]
	if unit := max(elems[0].UnitValues(), elems[1].UnitValues()); unit == 1 && r.IntN(2) == 0 {
		width = 6 + r.IntN(90)
	}
	step := 1 + r.IntN(8)/7
	p.x = numbers(p.Rows * (p.Depth*step + 3))
	p.X = tile.Matrix{Base: unsafe.Pointer(&p.x[0]), Row: p.Depth*step + 3, Col: step}
	p.Positions = draw(p.Rows, func() int { return r.IntN(50) })
	for i := 1; i < p.Rows; i++ {
		if r.IntN(4) > 0 && p.Positions[i-1] < 49 {
			p.Positions[i] = p.Positions[i-1] + 1
		}
	}
	pairs := 1 + r.IntN(3*width/8)
	rotary := &tile.Rotary{Cos: numbers(50 * pairs), Sin: numbers(50 * pairs), Pairs: pairs, Pairing: kernel.Pairing(r.IntN(2))}
	layout := r.IntN(4)
	for i := range 3 {
		part := &p.Parts[i]
		if part.Heads, part.Width = heads, width; i == 0 {
			part.Heads = 2 * heads
		}
		cols := part.Heads * part.Width
		p.weights[i], p.bias[i], p.y[i] = numbers(p.Depth*cols), numbers(cols), make([]float32, p.Rows*cols)
		part.W = tile.Matrix{Base: unsafe.Pointer(&p.weights[i][0]), Row: cols, Col: 1}
		if layout == 1 {
			part.W.Row, part.W.Col = 1, p.Depth
		}
		if r.IntN(2) == 0 {
			part.Bias = unsafe.Pointer(&p.bias[i][0])
		}
		if i < 2 && r.IntN(3) > 0 {
			part.Norm, part.Eps = numbers(width), 1e-6
		}
		if i < 2 && r.IntN(3) > 0 {
			part.Rotary = rotary
		}
		part.Y = tile.Operand{Base: unsafe.Pointer(&p.y[i][0]), Stride: [4]int{p.Rows * cols, width, cols, 1}}
	}
	for i := range p.pools {
		p.pools[i] = newWrittenPool(r, elems[i], &axesOf[0], &axesOf[r.IntN(len(axesOf))], heads, width)
		p.pools[i].Src, p.pools[i].Runs = p.Parts[i+1].Y, nil
		page, token := int32(0), 0
		for row := 0; row < p.Rows; {
			n := min(1+r.IntN(20)*r.IntN(3), p.Rows-row, poolTokens-token)
			if page == 1 || n == 0 { // a page of others
				page, token = page+1, 0
				continue
			}
			p.pools[i].Runs = append(p.pools[i].Runs, tile.WriteRun{From: row, Page: page, Token: token, N: n})
			row += n
			if token += n + r.IntN(3)/2; token >= poolTokens {
				page, token = page+1, 0
			}
		}
	}
	what = fmt.Sprintf("%d rows, depth %d, %d heads of %d, x %d apart, layout %d, %v and %v", p.Rows, p.Depth, heads, width, step, layout, elems[0], elems[1])
	return p, what
}

// pack packs the weights for an engine.
func (p *pagedProduct) pack(e *tile.Engine) (packed [3][]float32) {
	for i := range packed {
		part := &p.Parts[i]
		packed[i] = alignedFloats(p.Depth * int(e.PackedLanes(part)))
		e.Pack(unsafe.Pointer(&packed[i][0]), part, p.Depth, 1)
	}
	return packed
}

// alignedFloats returns zeros that begin on a cache line.
func alignedFloats(n int) []float32 {
	x := make([]float32, n+16)
	return x[-int(uintptr(unsafe.Pointer(&x[0]))/4)&15:][:n]
}

// TestProductToPages: rows that a product normalises, rotates and stores into pages on the way are those
// that it writes and Write stores, for every type, on every set, by every path and division.
func TestProductToPages(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(13, 14))
	rounds := 150
	if testing.Short() || raceEnabled {
		rounds = 30
	}
	for round := range rounds {
		p, what := newPagedProduct(r, round%3 == 0)
		l2 := []int{8 << 10, 8 << 10, 64 << 10, 2 << 20}[r.IntN(4)]
		asPacked := round%3 == 1 || r.IntN(2) == 0
		for _, set := range kernelSets() {
			e := tile.New(kernel.Checked(set), tile.Caches{L1: 8 << 10, L2: l2}, false, tile.Tuning{})
			plain := p.Product
			plain.Parts = slices.Clone(p.Parts)
			if asPacked {
				for i, w := range p.pack(e) {
					plain.Parts[i].Panels = unsafe.Pointer(&w[0])
				}
			}
			if !e.Multiply(&plain, 1) {
				t.Fatal("not done")
			}
			want := append([]float32(nil), p.y[0]...)
			clear(p.y[0])
			var pages [2][]byte
			var scales [2][]float32
			for i, pool := range p.pools {
				pages[i], scales[i] = pool.rule()
			}
			paged := plain
			paged.Parts = slices.Clone(plain.Parts)
			for i, pool := range p.pools {
				paged.Parts[i+1].Y, paged.Parts[i+1].Pages = tile.Operand{}, pool.Pages
			}
			for _, workers := range workerCounts(1, 3) {
				plan := e.PlanProduct(&paged, workers)
				name := fmt.Sprintf("%s, L2 %d, packed %v, %s, %+v", set.Name, l2, asPacked, what, plan)
				if !e.Multiply(&paged, workers) {
					t.Fatal("not done")
				}
				for i, x := range p.y[0] {
					if math.Float32bits(x) != math.Float32bits(want[i]) {
						t.Fatalf("%s: element %d of Y is %v, want %v", name, i, x, want[i])
					}
				}
				clear(p.y[0])
				for i, pool := range p.pools {
					pool.same(t, name+[]string{", k", ", v"}[i], pages[i], scales[i])
					pool.clear()
				}
			}
		}
	}
}
