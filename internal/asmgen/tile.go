package asmgen

import "fmt"

// A product is a matrix product by micro-tiles, the body of Scores and of
// Accumulate:
//
//	for row := range rows {
//		C[row][lane] = ... A[row*ra + k*ca] * B[k][lane] ...
//	}
//
// Elements of A are broadcast from memory at any strides ra and ca. B and C are
// rows of lanes.
type product struct {
	*Func
	a      Int   // element (0, 0) of A of the next micro-tile
	ra, ca Int   // strides of A in bytes
	ptr    []Int // base pointers of the rows of the micro-tile
	off    Int   // offset of the step from them, if StepOffset
	b      Int
	stride Int // of B and C, in bytes; "" of a B without gaps between its rows
	k      Int // steps left
	rows   Int // rows left
	c      Int // next row of C

	prefetches bool // the arguments have an Ahead

	// steps writes all steps over k, from accumulators that hold nothing.
	steps func(t *tile)
	// store writes the epilogue of a micro-tile.
	store func(t *tile)
}

// A tile is a micro-tile of the product, rows by vectors.
type tile struct {
	*product
	name string
	vecs int
	full bool    // of as many rows as there may be
	acc  [][]Vec // [row][vector]
	bv   []Vec   // a row of B
	tmp  []Vec   // free
}

func (p *product) reserve() {
	p.a = p.int("A, next micro-tile")
	p.ra = p.int("A, bytes from row to row")
	p.ca = p.int("A, bytes from step to step")
	p.b = p.int("B")
	p.k = p.int("steps left")
	p.rows = p.int("rows left")
	p.c = p.int("C")
	most := 0
	for _, r := range p.Rows {
		most = max(most, r)
	}
	every := fmt.Sprintf("A, every %d rows", p.RowsPerPtr)
	if p.RowsPerPtr == 1 {
		every = "A, every row"
	}
	if p.StepOffset {
		p.off = p.int("A, bytes from the first step")
	}
	p.ptr = p.ints((most+p.RowsPerPtr-1)/p.RowsPerPtr, every)
}

// emit writes the choice by lanes, and for each the loop over micro-tiles. The
// registers of the product are set, but for b and k.
func (p *product) emit() {
	p.load("Lanes", p.k)
	for vecs := p.MaxVectors() - 1; vecs > 0; vecs-- {
		p.Branch(p.Func, p.k, "EQ", imm(vecs*p.Arch.Lanes), fmt.Sprintf("lanes%d", vecs*p.Arch.Lanes))
	}
	for vecs := p.MaxVectors(); vecs > 0; vecs-- {
		lanes := fmt.Sprintf("lanes%d", vecs*p.Arch.Lanes)
		height := p.Arch.Rows[vecs-1]
		p.Loop(lanes)
		p.Branch(p.Func, p.rows, "EQ", "$0", "done")
		for r := 1; r < height; r++ {
			p.Branch(p.Func, p.rows, "EQ", imm(r), fmt.Sprintf("tile%dx%d", r, vecs))
		}
		for r := height + 1; (r-height)*vecs < p.FewAccs; r++ {
			p.Branch(p.Func, p.rows, "EQ", imm(r), fmt.Sprintf("tile%dx%d", (r+1)/2, vecs))
		}
		for r := height; r > 0; r-- {
			p.tile(r, vecs)
			if r == height || p.FewAccs > 0 {
				p.Op(p.Sub, r, p.rows)
				p.Jump(lanes)
			} else {
				p.Jump("done")
			}
		}
	}
	p.Label("done")
	p.Return(p.Func)
}

// cacheLine is the distance between two prefetches, in bytes.
const cacheLine = 64

// ask begins a part of the steps left, k, and asks for a line of the memory that a.Ahead describes:
// the part is a.Ahead.Every steps, or all of them if there is nothing to ask for. Steps beyond the
// part are in a.Ahead.Rest. k is the only register that is free.
func (t *tile) ask(again string) {
	label := func(what string) string { return "ask" + what + t.name }
	t.Loop(again)
	t.save(t.k, "Ahead.Rest")
	t.load("Ahead.Rows", t.k)
	t.Branch(t.Func, t.k, "EQ", "$0", label("None"))
	t.load("Ahead.Rest", t.k)
	t.SubLoad(t.Func, t.arg("Ahead.Every"), t.k)
	t.note("a.Ahead.Every")
	t.Branch(t.Func, t.k, "LE", "$0", label("None"))
	t.save(t.k, "Ahead.Rest")
	t.load("Ahead.Base", t.k)
	t.Prefetch(t.Func, mem(t.k, 0))
	t.Op(t.Add, cacheLine, t.k)
	t.save(t.k, "Ahead.Base")
	t.load("Ahead.Left", t.k)
	t.Op(t.Sub, 1, t.k)
	t.save(t.k, "Ahead.Left")
	t.Branch(t.Func, t.k, "NE", "$0", label("Done"))
	t.load("Ahead.Lines", t.k)
	t.save(t.k, "Ahead.Left")
	t.load("Ahead.Gaps", t.k)
	t.Branch(t.Func, t.k, "EQ", "$0", label("Even"))
	t.Op(t.Add, 8, t.k)
	t.save(t.k, "Ahead.Gaps")
	t.Op(t.Mov, mem(t.k, -8), t.k)
	t.Jump(label("Next"))
	t.Label(label("Even"))
	t.load("Ahead.Gap", t.k)
	t.Label(label("Next"))
	t.AddMem(t.Func, t.arg("Ahead.Base"), t.k)
	t.note("a.Ahead.Base")
	t.save(t.k, "Ahead.Base")
	t.load("Ahead.Rows", t.k)
	t.Op(t.Sub, 1, t.k)
	t.save(t.k, "Ahead.Rows")
	t.Label(label("Done"))
	t.load("Ahead.Every", t.k)
	t.save(t.k, "Ahead.Now")
	t.Jump(label("Part"))
	t.Label(label("None"))
	t.load("Ahead.Rest", t.k)
	t.save(t.k, "Ahead.Now")
	t.Op(t.Sub, t.k, t.k)
	t.save(t.k, "Ahead.Rest")
	t.Label(label("Part"))
	t.load("Ahead.Now", t.k)
}

// tile writes one micro-tile.
func (p *product) tile(rows, vecs int) {
	t := &tile{product: p, name: fmt.Sprintf("%dx%d", rows, vecs), vecs: vecs, full: rows == p.Arch.Rows[vecs-1]}
	notes := p.notes
	m := p.vectors(t.name + ":")
	acc := m.take(rows*vecs, "accumulators")
	for r := range rows {
		t.acc = append(t.acc, acc[r*vecs:][:vecs])
	}
	t.bv = m.take(vecs, "row of B")
	t.tmp = m.take(2, "elements of A")
	if !t.full {
		p.notes = notes // a shorter tile uses a part of a full one's
	}

	p.Label("tile" + t.name)
	for r := range rows {
		if r%p.RowsPerPtr == 0 {
			p.Op(p.Mov, p.a, p.ptr[r/p.RowsPerPtr])
		}
		p.Op(p.Add, p.ra, p.a)
	}
	if p.StepOffset {
		p.Op(p.Mov, 0, p.off)
	}
	p.steps(t)
	p.store(t)
}

// elem returns the address of the element of A of a row.
func (t *tile) elem(row int) string {
	stride := t.ra
	if t.StepOffset {
		stride = t.off
	}
	return t.RowAddr(t.ptr[row/t.RowsPerPtr], stride, row%t.RowsPerPtr)
}

// loadB loads a vector of the row of B.
func (t *tile) loadB(j int, v Vec) {
	t.Op(t.Load, mem(t.b, j*t.Bytes()), v)
}

// begin sets the accumulators to x.
func (t *tile) begin(x float32) {
	first := t.acc[0][0]
	t.Broadcast(t.Func, t.constant(x), first)
	for i := range len(t.acc) * t.vecs {
		if v := t.acc[i/t.vecs][i%t.vecs]; v != first {
			t.Op(t.Copy, first, v)
		}
	}
}

// clear sets the accumulators to +0, which is cheaper than any other constant.
func (t *tile) clear() {
	for _, row := range t.acc {
		for _, v := range row {
			t.Zero(t.Func, v)
		}
	}
}

// nextB moves B on to the next step.
func (t *tile) nextB() {
	if t.stride == "" {
		t.Op(t.Add, t.vecs*t.Bytes(), t.b)
		return
	}
	t.Op(t.Add, t.stride, t.b)
}

// nextA moves A on to the next step.
func (t *tile) nextA() {
	if t.StepOffset {
		t.Op(t.Add, t.ca, t.off)
		return
	}
	for i := range (len(t.acc) + t.RowsPerPtr - 1) / t.RowsPerPtr {
		t.Op(t.Add, t.ca, t.ptr[i])
	}
}

// step writes a step whose elements all count, by op: FMA, or Mul, which sets the
// accumulators. count, if not nil, stands amid it.
func (t *tile) step(op func(f *Func, x, y, acc Vec), count func()) {
	early := t.CountEarly
	for j, b := range t.bv {
		t.loadB(j, b)
	}
	for r, acc := range t.acc {
		if early && r == len(t.acc)/2 {
			t.nextB()
			if count != nil {
				count()
			}
		}
		x := t.tmp[r%len(t.tmp)]
		t.Op(t.Element, t.elem(r), x)
		for j, b := range t.bv {
			op(t.Func, x, b, acc[j])
		}
	}
	if !early {
		t.nextB()
	}
	t.nextA()
	if count != nil && !early {
		count()
	}
}

// loop writes a loop over k, which is set, of steps whose elements all count.
func (t *tile) loop() {
	if !t.prefetches {
		t.loopAs("loop" + t.name)
		return
	}
	again := "part" + t.name
	t.ask(again)
	t.loopAs("loop" + t.name)
	t.load("Ahead.Rest", t.k)
	t.Branch(t.Func, t.k, "NE", "$0", again)
	t.save(t.k, "Ahead.Now") // 0, as before the call
}

// loopAs is loop, and names its label.
func (t *tile) loopAs(label string) {
	one, done := label, label+"Done"
	if n := t.Unroll; n > 1 && t.full {
		one = label + "Rest"
		t.Branch(t.Func, t.k, "LT", imm(n), one)
		t.Loop(label)
		for range n {
			t.step(t.FMA, nil)
		}
		t.Op(t.Sub, n, t.k)
		t.Branch(t.Func, t.k, "GE", imm(n), label)
		t.Branch(t.Func, t.k, "EQ", "$0", done)
	}
	t.Loop(one)
	t.step(t.FMA, func() { t.Count(t.Func, t.k) })
	t.Again(t.Func, one)
	if one != label {
		t.Label(done)
	}
}
