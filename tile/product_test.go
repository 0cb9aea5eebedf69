package tile

import (
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A simulated machine has cores of 100 GFLOP/s, each of which reads 12.5 GB/s of memory, and
// all together so many.
type simulated struct {
	cores int
	gbps  float64
}

// microseconds returns what so many operations on weights of so many bytes take on n workers, the caller starting the
// others one after the other.
func (m *simulated) microseconds(operations, bytes float64, n int) float64 {
	const start = 0.65
	return start*float64(n-1) + max(operations/(100e3*float64(n)), bytes/(1e3*min(12.5*float64(n), m.gbps)))
}

// TestProductWorkers: on machines of any size a product is never slower than on one worker, and
// hardly slower than on the best number of them, whether it computes or reads, by weights of any size.
func TestProductWorkers(t *testing.T) {
	set := &kernel.Set{Vec: 16, Lanes: 64, StripLanes: 32, Rows: 6}
	e := New(set, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{})
	var memory float32
	packed := unsafe.Pointer(&memory)
	for _, w := range []struct {
		name      string
		precision kernel.Precision
		part      Part
		bytes     float64 // of a weight
		rate      float64 // of operations, in terms of those of float32
	}{
		{"float32", kernel.PrecisionFloat32, Part{Panels: packed}, 4, 1},
		{"Q4_0 in place", kernel.PrecisionFloat32, Part{W: Matrix{Row: 1, Col: 1, Weights: &kernel.WeightRows{Type: kernel.WeightQ4_0}}}, 4, 1},
		{"Float16", kernel.PrecisionFloat32, Part{Panels: packed, Strips: kernel.WeightFloat16}, 2, 1},
		{"class BFloat16", kernel.PrecisionBFloat16, Part{Panels: packed, Pairs: true}, 2, 1},
		{"Q8_0", kernel.PrecisionFloat32, Part{Panels: packed, Strips: kernel.WeightQ8_0}, 34. / 32, 1},
		{"Q8_0, class Int8", kernel.PrecisionInt8, Part{Panels: packed, Int8: kernel.WeightQ8_0.Int8()}, 34. / 32, 3},
		{"Q4_0", kernel.PrecisionFloat32, Part{Panels: packed, Strips: kernel.WeightQ4_0}, 18. / 32, 1},
		{"Q4_0, class Int8", kernel.PrecisionInt8, Part{Panels: packed, Int8: kernel.WeightQ4_0.Int8()}, 18. / 32, 3},
	} {
		for _, m := range []simulated{{2, 25}, {4, 40}, {16, 80}, {64, 200}, {192, 400}} {
			for _, rows := range []int{1, 2, 6, 16, 64, 512} {
				for _, n := range []int{64, 256, 576, 1024, 1536, 2048, 4096, 8192} {
					part := w.part
					part.Heads, part.Width = 1, n
					p := &Product{Rows: rows, Depth: n, Seq: rows, Precision: w.precision, Parts: []Part{part}}
					plan := e.PlanProduct(p, m.cores)
					operations, bytes := 2*float64(rows)*float64(n)*float64(n)/w.rate, w.bytes*float64(n)*float64(n)
					got, one := m.microseconds(operations, bytes, plan.Workers), m.microseconds(operations, bytes, 1)
					best := one
					for workers := range m.cores {
						if workers < plan.Items() { // more have nothing to do
							best = min(best, m.microseconds(operations, bytes, workers+1))
						}
					}
					if got > one {
						t.Errorf("%s, %d cores, m=%d n=k=%d: %.1f µs on %d workers, %.1f on one", w.name, m.cores, rows, n, got, plan.Workers, one)
					}
					if got > 1.3*best+45 { // about what minWork stands for
						t.Errorf("%s, %d cores, m=%d n=k=%d: %.1f µs on %d workers, %.1f at best", w.name, m.cores, rows, n, got, plan.Workers, best)
					}
					if plan.WorkersWhy == "" {
						t.Errorf("%s, %d cores, m=%d n=k=%d: no reason for %d workers", w.name, m.cores, rows, n, plan.Workers)
					}
				}
			}
		}
	}
	// Weights in place have an item for each worker at least, where columns are enough.
	for _, cores := range []int{2, 16, 64, 192} {
		for _, w := range []Matrix{{Row: 1, Col: 4096}, {Row: 14336, Col: 1}} {
			p := &Product{Rows: 1, Depth: 4096, Seq: 1, Parts: []Part{{Heads: 1, Width: 14336, W: w}}}
			plan := e.PlanProduct(p, cores)
			if e.ProductPath(p, 0) == PathPanels || plan.Workers < min(cores, 16) || plan.Items() < plan.Workers {
				t.Errorf("%d cores, weights in place %v: path %d, %d items on %d workers", cores, w, e.ProductPath(p, 0), plan.Items(), plan.Workers)
			}
		}
	}
	// What a decoder multiplies by: one row reads its weights on both of two cores.
	for _, n := range []int{576, 1024, 1536, 2048, 4096} {
		p := &Product{Rows: 1, Depth: n, Seq: 1, Parts: []Part{{Heads: 1, Width: n}}}
		if plan := e.PlanProduct(p, 2); plan.Workers != 2 {
			t.Errorf("m=1 n=k=%d: %d workers of 2: %s", n, plan.Workers, plan.WorkersWhy)
		}
	}
}

// TestWeightsAhead: with each step over packed weights the kernel is told what the next one reads of
// them, neither less nor more, through all panels, parts and items, and of X what a block of rows has
// not read yet, or none of it if it is copied, or all again if no near cache holds it.
func TestWeightsAhead(t *testing.T) {
	type weights struct{ from, to uintptr }
	type rowsOfX struct {
		first         uintptr
		n, row, bytes int // bytes from row to row, and of each
	}
	for _, c := range []struct {
		rows, depth int
		seq         int      // rows of a sequence
		widths      [][2]int // heads and width of each part
		copies, far bool
		gated       bool // the second part is the Up of the first
	}{
		{rows: 7, depth: 100, seq: 7, widths: [][2]int{{1, 64}}},
		{rows: 40, depth: 600, seq: 40, widths: [][2]int{{1, 1000}}},
		{rows: 1000, depth: 700, seq: 1000, widths: [][2]int{{1, 3000}}},
		{rows: 300, depth: 512, seq: 100, widths: [][2]int{{4, 64}, {2, 80}, {2, 33}}},
		{rows: 700, depth: 4096, seq: 350, widths: [][2]int{{1, 700}}, copies: true},
		{rows: 700, depth: 4000, seq: 700, widths: [][2]int{{3, 70}, {2, 33}}, copies: true},
		{rows: 256, depth: 4352, seq: 1, widths: [][2]int{{5, 64}}, copies: true},
		{rows: 300, depth: 4096, seq: 100, widths: [][2]int{{1, 200}, {2, 33}, {1, 64}}, far: true},
		{rows: 7, depth: 600, seq: 7, widths: [][2]int{{1, 1000}, {1, 1000}}, gated: true},
		{rows: 300, depth: 600, seq: 300, widths: [][2]int{{1, 1000}, {1, 1000}, {1, 70}}, gated: true},
		{rows: 700, depth: 4096, seq: 700, widths: [][2]int{{1, 700}, {1, 700}}, gated: true, copies: true},
	} {
		var read, asked []weights
		var readX, askedX []rowsOfX
		lanes := 64
		if c.copies { // for narrow panels
			lanes = 48
		}
		set := (&kernel.Set{Vec: 16, Lanes: lanes, Rows: 6, FewRows: 6}).With(kernel.Funcs{
			Activate: func(*kernel.ActivateArgs) {},
			Multiply: func(a *kernel.MultiplyArgs) {
				b := uintptr(unsafe.Pointer(a.B))
				at := weights{b, b + uintptr(4*a.Depth*a.Lanes)}
				next := weights{a.Next, a.NextEnd}
				if n := len(read); n > 0 && read[n-1] == at && asked[n-1] == next {
					return // more rows
				}
				read, asked = append(read, at), append(asked, next)
				readX = append(readX, rowsOfX{uintptr(unsafe.Pointer(a.A)), 0, 4 * a.RowStride, 4 * a.Depth})
				askedX = append(askedX, rowsOfX{a.Then, a.ThenRows, a.ThenStride, a.ThenBytes})
				if c.rows <= 256 && c.rows*a.Depth*a.NextRow < (int(next.to-next.from)+a.ThenRows*a.ThenBytes)*kernel.KC {
					t.Errorf("%+v: %d bytes with each of %d rows for %d and %d of %d", c, a.NextRow, c.rows, next.to-next.from, a.ThenRows, a.ThenBytes)
				}
			},
		})
		e := New(set, Caches{48 << 10, 2 << 20, 32 << 20}, false, Tuning{})
		p := &Product{Rows: c.rows, Depth: c.depth, Seq: c.seq, Parts: make([]Part, len(c.widths))}
		columns := 0
		for i, w := range c.widths {
			p.Parts[i] = Part{Heads: w[0], Width: w[1]}
			columns += w[0] * w[1]
		}
		all := 0
		for i := range p.Parts {
			all += c.depth * int(e.PackedLanes(&p.Parts[i]))
		}
		packed, x, y := make([]float32, all), make([]float32, c.rows*c.depth), make([]float32, c.rows*columns)
		p.X = Matrix{Base: unsafe.Pointer(&x[0]), Row: c.depth, Col: 1}
		first, at := 0, 0
		for i, w := range c.widths {
			p.Parts[i].Panels = unsafe.Pointer(&packed[at])
			at += c.depth * int(e.PackedLanes(&p.Parts[i]))
			p.Parts[i].Y = Operand{Base: unsafe.Pointer(&y[first]), Stride: [4]int{c.seq * columns, w[1], columns, 1}}
			first += w[0] * w[1]
		}
		p.Parts[0].Activate = c.gated
		if c.gated {
			p.Parts[1].Up = true
		}
		plan := e.PlanProduct(p, 1)
		if plan.CopyX != c.copies || plan.FarX != c.far {
			t.Fatalf("%+v: the plan is %+v", c, plan)
		}
		if !e.Multiply(p, 1) {
			t.Fatalf("%+v: not done", c)
		}
		got := 0
		for _, at := range read {
			got += int(at.to-at.from) / 4
		}
		if want := plan.RowBlocks * all; got != want {
			t.Errorf("%+v: %d packed weights read, want %d", c, got, want)
		}
		seen, block := map[uintptr]bool{}, -1 // of X, since the block of rows began
		for i, next := range asked {
			if i+1 == len(read) {
				if next != (weights{}) || askedX[i].n != 0 {
					t.Errorf("%+v: the last step asks for %v and %v", c, next, askedX[i])
				}
				break
			}
			if want := read[i+1]; next != want {
				t.Fatalf("%+v: step %d of %d asks for %v, want %v", c, i, len(read), next, want)
			}
			if c.copies {
				if askedX[i].n != 0 {
					t.Fatalf("%+v: step %d asks for %v, and X is copied", c, i, askedX[i])
				}
				continue
			}
			for _, at := range []rowsOfX{readX[i], readX[i+1]} {
				if b := int(at.first-uintptr(p.X.Base)) / (4 * c.depth) / plan.MC; b != block {
					block = b
					clear(seen)
				}
				if at == readX[i] {
					seen[at.first] = true
				}
			}
			want := readX[i+1]
			if want.n = min(plan.MC, c.rows-block*plan.MC); seen[want.first] && !plan.FarX {
				want = rowsOfX{}
			}
			if got := askedX[i]; got != want && (got.n > 0 || want.n > 0) {
				t.Fatalf("%+v: step %d of %d asks for %v of X, want %v", c, i, len(read), got, want)
			}
		}
	}
}

// TestFusedEnds: a product of one row by weights of another type ends between two calls of the set.
func TestFusedEnds(t *testing.T) {
	const out, in = 300, 3 * fusedDepth
	const divided = 16 // calls of machine code of one of the set, at most
	var calls, most int
	var done chan struct{}
	set := (&kernel.Set{Vec: 16, Lanes: 64, Rows: 6, FewRows: 6, Fuses: true}).With(kernel.Funcs{
		DotWeights: func(a *kernel.DotWeightsArgs) {
			if calls++; calls == most {
				close(done)
			}
		},
	})
	e := New(set, Caches{48 << 10, 2 << 20, 32 << 20}, false, Tuning{})
	x, y := make([]float32, in), make([]float32, out)
	w := kernel.WeightRows{Type: kernel.WeightQ8_0, Data: make([]byte, out*in/32*34), Cols: in}
	for _, most = range []int{1, 2, 7} {
		calls, done = 0, make(chan struct{})
		p := &Product{
			X: Matrix{Base: unsafe.Pointer(&x[0]), Row: in, Col: 1}, Rows: 1, Depth: in, Seq: 1,
			Parts: []Part{{
				Heads: 1, Width: out, W: Matrix{Row: 1, Col: in, Weights: &w},
				Y: Operand{Base: unsafe.Pointer(&y[0]), Stride: [4]int{out, out, out, 1}},
			}},
			Done: done,
		}
		if path := e.ProductPath(p, 0); path != PathFused {
			t.Fatalf("path %d", path)
		}
		if e.Multiply(p, 1) || calls > most+divided {
			t.Errorf("%d calls, done after %d", calls, most)
		}
	}
}

// TestShareItems: items of runs of their own have about shareBytes where panels have less, and a worker keeps
// shareItems of them.
func TestShareItems(t *testing.T) {
	set := &kernel.Set{Vec: 16, Lanes: 64, StripLanes: 32, Rows: 6}
	e := New(set, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{})
	var memory float32
	for _, c := range []struct{ depth, columns, workers, panels int }{
		{640, 262144, 2, 3}, {640, 262144, 192, 1}, {4096, 4096, 2, 1}, {576, 1536, 2, 1}, {128, 8192, 2, 4}, {128, 8192, 4, 2}, {32, 1 << 20, 2, 60},
	} {
		p := &Product{Rows: 1, Depth: c.depth, Seq: 1, Precision: kernel.PrecisionInt8, Parts: []Part{{
			Heads: 1, Width: c.columns, Panels: unsafe.Pointer(&memory), Int8: kernel.WeightQ8_0.Int8(),
		}}}
		plan := e.PlanProduct(p, c.workers)
		if !plan.Shares || plan.NC != c.panels || plan.Runs != (plan.Units+plan.NC-1)/plan.NC {
			t.Errorf("%d x %d on %d workers: shares %v, %d items of %d panels, want %d", c.columns, c.depth, plan.Workers, plan.Shares, plan.Runs, plan.NC, c.panels)
		}
	}
}

// TestStreamItems: one worker has few items of few rows by packed weights, with wideColumns each, whatever the lanes of a panel.
func TestStreamItems(t *testing.T) {
	var memory float32
	for _, lanes := range []int{16, 64} {
		set := &kernel.Set{Vec: 8, Lanes: lanes, StripLanes: 16, Rows: 6, FewRows: 6}
		e := New(set, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{})
		for _, strips := range []kernel.Weight{kernel.WeightFloat32, kernel.WeightFloat16} {
			p := &Product{Rows: 1, Depth: 4096, Seq: 1, X: Matrix{Col: 1}, Parts: []Part{{
				Heads: 1, Width: 4096, Panels: unsafe.Pointer(&memory), Strips: strips,
			}}}
			if plan := e.PlanProduct(p, 1); plan.NC*plan.Lanes != wideColumns {
				t.Errorf("panels of %d lanes, %v: an item has %d", plan.Lanes, strips, plan.NC)
			}
		}
	}
}

// TestLayoutOfStrips: panels of heads of whole lane groups have whole strips of two vectors, whatever the first-level cache.
func TestLayoutOfStrips(t *testing.T) {
	set := &kernel.Set{Vec: 16, Lanes: 64, StripLanes: 32}
	for l1 := 16 << 10; l1 <= 256<<10; l1 += 4 << 10 {
		e := New(set, Caches{L1: l1}, false, Tuning{})
		for width := 64; width <= 512; width += 64 {
			p := &Product{Rows: 1, Parts: []Part{{Width: width, Panels: unsafe.Pointer(e), Strips: kernel.WeightQ8_0}}}
			l, end := e.layout(p, 0), 0
			for i := range l.panels {
				first, lanes := l.panel(i)
				if first != end || first%set.StripLanes != 0 || lanes%set.StripLanes != 0 || lanes == 0 {
					t.Errorf("L1 of %d, %d columns: panel %d is lanes %d to %d", l1, width, i, first, first+lanes)
				}
				end = first + lanes
			}
			if end != width {
				t.Errorf("L1 of %d, %d columns: panels end at %d", l1, width, end)
			}
		}
	}
}

// TestNearFew: one row by packed float32 reads one stream where the CPU is for it, by panels of a line only from memory.
func TestNearFew(t *testing.T) {
	set := &kernel.Set{Vec: 8, Lanes: 16, StripLanes: 16}
	for _, c := range []struct {
		near          bool
		lanes, column int
		want          bool
	}{
		{true, 16, 4096, true}, {true, 16, 2048, false}, {true, 16, 1024, false}, {true, 32, 1024, true}, {true, 64, 4096, true},
		{false, 16, 4096, false}, {false, 64, 4096, false},
	} {
		e := New(set, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{Near: c.near})
		at := &panel{Part: &Part{Heads: 1, Width: c.column}, lanes: c.lanes}
		if got := e.nearFew(at, 4096); got != c.want {
			t.Errorf("%+v: one stream %v", c, got)
		}
	}
}

// TestStripRows: how many rows go by strips, and that those of an item are whole turns but in the last.
func TestStripRows(t *testing.T) {
	var memory float32
	for _, c := range []struct {
		lanes, vec int
		turns      bool
		strips     kernel.Weight
		want       int
	}{
		{64, 16, true, kernel.WeightFloat16, 128}, {64, 16, true, kernel.WeightBFloat16, 128}, {64, 16, true, kernel.WeightQ8_0, 24},
		{64, 16, true, kernel.WeightQ6_K, 24}, {64, 16, true, kernel.WeightQ4_0, 8}, {64, 16, true, kernel.WeightQ4_K, 8},
		{64, 16, false, kernel.WeightFloat16, 16}, {64, 16, false, kernel.WeightQ8_0, 8},
		{16, 8, true, kernel.WeightFloat16, 24}, {16, 8, true, kernel.WeightQ8_0, 8}, {16, 8, false, kernel.WeightBFloat16, 16},
	} {
		set := &kernel.Set{Vec: c.vec, Lanes: c.lanes, StripLanes: 2 * c.vec, Rows: 6, FewRows: 6}
		e := New(set, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{Turns: c.turns})
		p := &Product{Depth: 576, Seq: 1, X: Matrix{Col: 1}, Parts: []Part{{Heads: 1, Width: 192, Panels: unsafe.Pointer(&memory), Strips: c.strips}}}
		for p.Rows = 1; p.Rows <= 200; p.Rows++ {
			few := e.few(p, &p.Parts[0])
			if want := p.Rows <= c.want; few != want {
				t.Errorf("%+v, %d rows: by strips %v", c, p.Rows, few)
			}
			for workers := 1; workers <= 8; workers++ {
				if plan := e.PlanProduct(p, workers); few && plan.RowBlocks > 1 && plan.MC%kernel.MaxStripRows != 0 {
					t.Errorf("%+v, %d rows, %d workers: items of %d rows", c, p.Rows, workers, plan.MC)
				}
			}
		}
		if p.X.Col = 2; e.few(p, &p.Parts[0]) {
			t.Errorf("%+v: by strips with elements of X apart", c)
		}
	}
}
