package asmgen

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/qkv-go/qkv/kernel"
)

// A quadRow is the body of MultiplyRowInt8 by DotQuad. It takes three vectors of lanes at a time, or one, over all steps of
// a panel, with all sums in registers.
type quadRow struct {
	*Func
	p             Int // X, at the block
	w, ws         Int // W at the quad, and the bytes of a row of lanes
	scales, ss    Int // at the block, and the bytes of a row of lanes of them
	k, left       Int // terms left of the step, and behind it
	lane          Int // bytes of lanes before the micro-tile
	base, end     Int // the panel, and what is behind it
	c, bias       Int // of the panel
	panels        Int // left
	next          Int // what is asked for
	tmp           Int
	form          quadRowForm
	vecs          int
	totals, sums  []Vec   // of C, and of the step
	acc           [][]Vec // sums of integers
	x             [2]Vec  // integers of the row
	tail          Vec     // what is behind them
	wv            []Vec   // codes of lanes
	number, least []Vec   // what integers of scales, and of minima, are multiplied by
	mask, tab     Vec     // of codes of 4 bits; of 8 bits 128 in each byte
	codes, quad   Vec
	t             Vec
}

// A quadRowForm is how some types are packed.
type quadRowForm struct {
	*kernel.Int8Form
	name    string
	nibbles bool
	eights  bool // a number is the code less 8: sums of integers begin with that
	table   bool // a number is that of a table
}

// sameAs reports whether the code of another form is that of this one.
func (r *quadRowForm) sameAs(s *quadRowForm) bool {
	return r.Scales == s.Scales && r.nibbles == s.nibbles && r.eights == s.eights && !r.table && !s.table
}

// quadRowForms returns the forms with code of their own, and which of them each type has.
func quadRowForms() (forms []*quadRowForm, of map[kernel.Weight]*quadRowForm) {
	of = map[kernel.Weight]*quadRowForm{}
	for _, w := range kernel.Weights() {
		form := w.Int8()
		if form == nil {
			continue
		}
		r := &quadRowForm{
			Int8Form: form, name: strings.ToLower(w.String()), nibbles: form.Table != nil, eights: w == kernel.WeightQ4_0,
			table: w == kernel.WeightIQ4_NL || w == kernel.WeightMXFP4,
		}
		for _, s := range forms {
			if r.sameAs(s) {
				r = s
			}
		}
		if of[w] = r; r.Type == w {
			forms = append(forms, r)
		}
	}
	return forms, of
}

// grouped reports whether scales are products of a number and of integers.
func (r *quadRowForm) grouped() bool { return groupedScales(r.Scales) }

// multiplyRowQuads writes MultiplyRowInt8.
func multiplyRowQuads(arch *Arch) *Func {
	f := newFunc(arch, "multiplyRowInt8", reflect.TypeFor[kernel.MultiplyRowInt8Args](), multiplyRowInt8Formula)
	t := &quadRow{
		Func: f, p: f.int("X, at the block"), w: f.int("W, at the quad"), ws: f.int("bytes of a row of lanes"), scales: f.int("scales, at the block"),
		ss: f.int("bytes of a row of lanes of scales"), k: f.int("terms left of the step"), left: f.int("terms behind the step"),
		lane: f.int("bytes of lanes before the micro-tile"), base: f.int("the panel"), end: f.int("the one behind it"), c: f.int("C"),
		bias: f.int("Bias, or 0"), panels: f.int("panels left"), next: f.int("what is asked for"), tmp: f.int("scratch"),
	}
	f.loadBytes("Lanes", t.ws)
	f.load("W", t.base)
	f.load("C", t.c)
	f.load("Bias", t.bias)
	f.load("Panels", t.panels)
	f.load("Type", t.tmp)
	forms, of := quadRowForms()
	for _, w := range kernel.Weights() {
		if form := of[w]; form != nil && form != forms[0] {
			f.Branch(f, t.tmp, "EQ", imm(int(w)), form.name)
		}
	}
	for _, form := range forms {
		t.form = *form
		t.all()
	}
	return f
}

func (t *quadRow) label(what string) string { return fmt.Sprintf("%s%s%d", what, t.form.name, t.vecs) }

// shift is how far a row of lanes of float32 is shifted for the bytes of one of scales.
func (t *quadRow) shift() int { return scalesShift(t.form.Scales) }

// rightBy writes dst = src, shifted to the right.
func (t *quadRow) rightBy(n int, src, dst Int) {
	if n == 0 {
		t.Op(t.Mov, src, dst)
		return
	}
	t.Op("LSR", n, src, dst)
}

// all writes the loop over the panels of a form.
func (t *quadRow) all() {
	name := t.form.name
	next, unbiased := name+"Vec", name+"Unbiased"
	t.Label(name)
	t.rightBy(t.shift(), t.ws, t.ss)
	t.Label(name + "Panel")
	t.Op(t.Mov, 0, t.lane)
	t.Label(next)
	t.Op(t.Sub, t.lane, t.ws, t.tmp)
	vecs := []int{t.MaxVectors(), 1}
	for _, t.vecs = range vecs {
		t.Branch(t.Func, t.tmp, "GE", imm(t.vecs*t.Bytes()), t.label("tile"))
	}
	t.Op(t.Mov, t.end, t.base)
	t.Op(t.Add, t.ws, t.c)
	t.Branch(t.Func, t.bias, "EQ", "$0", unbiased)
	t.Op(t.Add, t.ws, t.bias)
	t.Label(unbiased)
	t.Op(t.Sub, 1, t.panels)
	t.Branch(t.Func, t.panels, "NE", "$0", name+"Panel")
	t.Return(t.Func)
	for _, t.vecs = range vecs {
		t.tile()
		t.Jump(next)
	}
}

// registers shares out the vector registers.
func (t *quadRow) registers() {
	notes := t.notes
	m := t.vectors(fmt.Sprintf("%s, %d vectors:", t.form.name, t.vecs))
	t.totals, t.sums, t.acc = m.take(t.vecs, "C"), m.take(t.vecs, "sums"), nil
	for range t.vecs {
		t.acc = append(t.acc, m.take(t.SumVectors, "sums of integers"))
	}
	t.x, t.tail = [2]Vec(m.take(2, "integers of X")), m.one("D, Sum and Whole")
	t.wv = m.take(t.vecs, "W")
	t.t = m.one("scratch")
	if t.SumVectors > 1 {
		t.quad = m.one("four integers")
	}
	if t.form.grouped() {
		t.number = m.take(t.vecs, "numbers of scales")
		if t.form.Scales.HasMins() {
			t.least = m.take(t.vecs, "numbers of minima")
		}
	}
	if t.form.nibbles {
		t.mask, t.tab, t.codes = m.one("4 bits"), m.one("Table"), m.one("codes")
	} else {
		t.tab = m.one("128 in each byte")
	}
	if t.vecs == 1 || t.form.name != "int8" && !t.form.grouped() {
		t.notes = notes
	}
}

// rowBytes is the bytes of a block of the micro-tile, its scales included.
func (t *quadRow) rowBytes() int {
	return t.form.Bytes(kernel.KC) * t.vecs * t.Lanes / (kernel.KC / kernel.Int8Block)
}

// tile writes a micro-tile.
func (t *quadRow) tile() {
	t.registers()
	t.Label(t.label("tile"))
	t.beginRow()
	t.load("X", t.p)
	t.Op(t.Add, t.lane, t.base, t.w)
	t.load("Depth", t.left)
	switch {
	case t.form.table:
		var words [4]uint32
		for i, code := range t.form.Table {
			words[i/4] |= uint32(code^128) << (i % 4 * 8)
		}
		t.LoadConstant(t.Func, t.symbol("numbers"+t.form.name, words[:]...)+"(SB)", t.tab)
	case !t.form.nibbles:
		t.Op("VMOVI.B16", 128, t.tab)
	}
	if t.form.nibbles {
		t.Op("VMOVI.B16", 15, t.mask)
	}
	step, short, loop, last := t.label("step"), t.label("short"), t.label("block"), t.label("last")
	t.Label(step)
	t.Op(t.Mov, t.left, t.k)
	t.Branch(t.Func, t.k, "LE", imm(kernel.KC), short)
	t.Op(t.Mov, kernel.KC, t.k)
	t.Label(short)
	t.Op(t.Sub, t.k, t.left)
	t.beginScales()
	for _, sum := range t.sums {
		t.Zero(t.Func, sum)
	}
	t.load("Ahead", t.next)
	t.Op(t.Add, t.w, t.next)
	t.Loop(loop)
	t.block()
	t.Op(t.Add, t.rowBytes(), t.next)
	t.Op(t.Add, kernel.Int8BlockBytes(false), t.p)
	t.Op(t.Sub, kernel.Int8Block, t.k)
	t.Branch(t.Func, t.k, "NE", "$0", loop)

	// The next step is behind the scales.
	t.rightBy(t.shift(), t.lane, t.tmp)
	t.Op(t.Sub, t.tmp, t.scales, t.end)
	t.Op(t.Add, t.lane, t.end, t.w)
	for j, total := range t.totals {
		t.Op(t.AddV, t.sums[j], total, total)
	}
	t.Branch(t.Func, t.left, "EQ", "$0", last)
	t.Zero(t.Func, t.t)
	for _, total := range t.totals {
		t.Op(t.AddV, t.t, total, total)
	}
	t.Jump(step)
	t.Label(last)
	t.Op(t.Add, t.lane, t.c, t.tmp)
	for j, total := range t.totals {
		t.Op(t.Store, total, mem(t.tmp, j*t.Bytes()))
	}
	t.Op(t.Add, t.vecs*t.Bytes(), t.lane)
}

// beginRow sets the sums of C to what they begin with.
func (t *quadRow) beginRow() {
	added, biased := t.label("added"), t.label("biased")
	for _, total := range t.totals {
		t.Zero(t.Func, total)
	}
	t.LoadByte(t.Func, t.arg("Add"), t.tmp)
	t.note("a.Add")
	t.Branch(t.Func, t.tmp, "EQ", "$0", added)
	t.Op(t.Add, t.lane, t.c, t.tmp)
	for j, total := range t.totals {
		t.Op(t.Load, mem(t.tmp, j*t.Bytes()), total)
	}
	t.Label(added)
	t.Address(t.Func, t.symbol("zeros", make([]uint32, kernel.MaxLanes)...), t.tmp)
	t.Branch(t.Func, t.bias, "EQ", "$0", biased)
	t.Op(t.Add, t.lane, t.bias, t.tmp)
	t.Label(biased)
	for j, total := range t.totals {
		t.AddLoad(t.Func, mem(t.tmp, j*t.Bytes()), total)
	}
}

// beginScales points to the scales of a step, and sets the numbers that their integers are multiplied by.
func (t *quadRow) beginScales() {
	shift := 2
	if t.form.nibbles {
		shift = 3
	}
	t.Op(t.MulInt, t.k, t.ws, t.scales)
	t.Op("LSR", shift, t.scales)
	t.Op(t.Add, t.w, t.scales)
	t.Op(t.Sub, t.lane, t.scales)
	if t.form.grouped() {
		t.rightBy(1, t.lane, t.tmp)
		t.Op(t.Add, t.scales, t.tmp)
		for j, v := range t.number {
			t.LoadElem(t.Func, kernel.Float16, mem(t.tmp, 2*j*t.Lanes), v)
		}
		t.rightBy(1, t.ws, t.end)
		t.Op(t.Add, t.end, t.scales)
		if t.form.Scales.HasMins() {
			t.Op(t.Add, t.end, t.tmp)
			t.Op(t.Add, t.end, t.scales)
			for j, v := range t.least {
				t.LoadElem(t.Func, kernel.Float16, mem(t.tmp, 2*j*t.Lanes), v)
				t.Op("FNEG.S4", v, v)
			}
		}
	}
	t.rightBy(t.shift(), t.lane, t.tmp)
	t.Op(t.Add, t.tmp, t.scales)
}

// block writes a block of terms.
func (t *quadRow) block() {
	t.Op(t.Load, mem(t.p, kernel.Int8Integers(false)+kernel.Int8D), t.tail)
	for i := range t.x {
		t.Op(t.Load, mem(t.p, i*quadTerms), t.x[i])
	}
	if t.form.eights {
		// Whole is -128 times the sum of the integers. Where a sum has two lanes each of them has a half.
		t.Op("SSHR.S4", 4+t.SumVectors-1, t.tail, t.t)
		for _, acc := range t.acc {
			for _, v := range acc {
				t.Op("VDUP", string(t.t)+".S[2]", string(v)+".S4")
			}
		}
	} else {
		t.clearAcc()
	}
	if t.form.nibbles {
		for q := range quadTerms / 4 {
			t.nibbles(q)
		}
		t.scale()
	} else {
		for q := range kernel.Int8Block / 4 {
			t.bytes(q)
			if q == 3 && t.form.Scales.Groups() == 2 {
				t.scale()
				t.clearAcc()
			}
		}
		t.scale()
	}
	if !t.form.Scales.HasMins() {
		return
	}
	for j, sum := range t.sums {
		v := t.wv[j]
		t.loadScale(j, t.least, v)
		t.Op("FMLA.S[1]", t.tail, v, sum)
	}
	t.Op(t.Add, t.ss, t.scales)
}

func (t *quadRow) clearAcc() {
	for _, acc := range t.acc {
		for _, v := range acc {
			t.Zero(t.Func, v)
		}
	}
}

// loadCodes loads a row of codes of the lanes, and asks for a share of the lines of a block, that of one of so many quads.
func (t *quadRow) loadCodes(q, quads int) {
	for j, w := range t.wv {
		t.Op(t.Load, mem(t.w, j*t.Bytes()), w)
	}
	t.Op(t.Add, t.ws, t.w)
	lines := (t.rowBytes() + cacheLine - 1) / cacheLine
	for i := q * lines / quads; i < (q+1)*lines/quads; i++ {
		t.Prefetch(t.Func, mem(t.next, i*cacheLine))
	}
}

// bytes adds the products of a quad of terms.
func (t *quadRow) bytes(q int) {
	t.loadCodes(q, kernel.Int8Block/4)
	x := t.QuadOf(t.Func, t.x[q/4], q%4, t.quad)
	for j, w := range t.wv {
		t.Op(t.XorV, t.tab, w, w)
		t.DotQuad(t.Func, w, x, q%4, t.acc[j], t.t)
	}
}

// nibbles adds the products of a quad of terms, and of that 16 terms further.
func (t *quadRow) nibbles(q int) {
	t.loadCodes(q, quadTerms/4)
	for i, x := range t.x {
		x = t.QuadOf(t.Func, x, q, t.quad)
		for j, w := range t.wv {
			codes := t.codes
			if i == 0 {
				t.Op(t.AndV, t.mask, w, codes)
			} else {
				t.Op("VUSHR.B16", 4, w, codes)
			}
			if t.form.table {
				t.Shuffle(t.Func, string(codes), t.tab, codes)
			}
			t.DotQuad(t.Func, codes, x, q, t.acc[j], t.t)
		}
	}
}

// loadScale sets v to vector j of a row of scales, or of minima, of which numbers are those of groups.
func (t *quadRow) loadScale(j int, numbers []Vec, v Vec) {
	addr := mem(t.scales, j*t.Bytes()>>t.shift())
	switch {
	case t.form.grouped():
		t.LoadElem(t.Func, kernel.Int8, addr, v)
		t.Op(t.MulV, numbers[j], v, v)
	case t.shift() == 1:
		t.LoadElem(t.Func, kernel.Float16, addr, v)
	default:
		t.Op(t.Load, addr, v)
	}
}

// scale adds the sums of integers to those of the step.
func (t *quadRow) scale() {
	for j, acc := range t.acc {
		w := t.wv[j]
		t.loadScale(j, t.number, w)
		t.JoinSum(t.Func, acc)
		t.IntToFloat(t.Func, acc[0], acc[0])
		t.Mul(t.Func, t.tail, w, w)
		t.Op(t.FMAV, w, acc[0], t.sums[j])
	}
	t.Op(t.Add, t.ss, t.scales)
}
