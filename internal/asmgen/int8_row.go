package asmgen

import (
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/qkv-go/qkv/kernel"
)

const multiplyRowInt8Formula = `
for panels, each behind the one before it in W, Bias and C {
	c = (Add ? C : +0) + (Bias != nil ? Bias : +0)
	for steps of 256 terms, or what is left {
		if it is not the first { c += +0 }
		acc = +0
		for blocks b of 32 terms, groups g of the block {
			sum = the sum of (codes - 128) * integers of X, exactly
			acc = fma(float(sum), scale[b][g] * D, acc)
			if the type has minima { acc = fma(minimum[b], Sum, acc) }
		}
		c += acc
	}
	C = c
}
`

// Local variables of MultiplyRowInt8 before its vectors.
const (
	rowVec    = 8 * iota // bytes of lanes before the vectors of the micro-tile
	rowW                 // the panel
	rowEnd               // the one behind it
	rowPanels            // left
	rowC                 // of the panel
	rowBias              // of the panel, or 0
	rowLocals
)

// An int8RowForm is what MultiplyRowInt8 has of a type.
type int8RowForm struct {
	*kernel.Int8Form
	step   Int  // bytes of a row of lanes of scales
	eights bool // a number is the code less 8
	left   Int  // terms behind the step
	near   bool // requests are for the first-level cache
}

// shift is how far a row of lanes of float32 is shifted for the bytes of one of scales.
func (r *int8RowForm) shift() int { return scalesShift(r.Scales) }

// scalesShift is how far a row of lanes of float32 is shifted for the bytes of one of scales.
func scalesShift(s kernel.Int8Scales) int {
	switch s {
	case kernel.Int8Half, kernel.Int8HalfMin:
		return 1
	case kernel.Int8Groups32, kernel.Int8Groups16:
		return 2
	}
	return 0
}

// grouped reports whether scales are products of a number and of integers.
func (r *int8RowForm) grouped() bool { return groupedScales(r.Scales) }

// groupedScales reports whether scales are products of a number and of integers.
func groupedScales(s kernel.Int8Scales) bool {
	return s == kernel.Int8Groups32 || s == kernel.Int8Groups16
}

// kind returns the kind of a type's steps.
func (r *int8RowForm) kind() int8Kind {
	k := int8Kind{name: strings.ToLower(r.Type.String()), groups: r.Scales.Groups(), nibbles: r.Table != nil}
	if r.Table != nil {
		k.linear = r.Type != kernel.WeightIQ4_NL && r.Type != kernel.WeightMXFP4
	}
	return k
}

// multiplyRowInt8 writes MultiplyRowInt8.
func multiplyRowInt8(arch *Arch) *Func {
	if arch.DotQuad != nil {
		return multiplyRowQuads(arch)
	}
	f := newFunc(arch, "multiplyRowInt8", reflect.TypeFor[kernel.MultiplyRowInt8Args](), multiplyRowInt8Formula)
	heights := arch.int8Heights()
	vecs := heights[len(heights)-1].vecs
	t := &int8Tile{
		Func: f, p: f.ints(1, "X, at the block"), w: f.int("W, at the group"), ws: f.int("bytes of a row of lanes"), scales: f.int("scales, at the block"),
		k: f.int("terms left of the step"), local: f.int("local vectors"), free: f.int("scratch"), next: f.int("what is read next"), rows: 1,
	}
	step, left := f.int("bytes of a row of lanes of scales"), f.int("terms behind the step")
	t.bytes = 3 * vecs[0] * arch.Bytes() // behind sums of C, and two numbers of the step
	f.locals = rowLocals + t.bytes + 2*cacheLine
	f.loadBytes("Lanes", t.ws)
	for _, x := range []struct {
		field string
		local int
	}{{"W", rowW}, {"Panels", rowPanels}, {"C", rowC}, {"Bias", rowBias}} {
		f.load(x.field, t.free)
		f.Op(f.Mov, t.free, f.LocalAt(x.local))
	}
	f.Op("LEAQ", fmt.Sprintf("%d(SP)", rowLocals+cacheLine-1), t.local)
	f.Op("ANDQ", -cacheLine, t.local)
	f.load("Type", t.free)
	var forms []*int8RowForm
	for _, w := range kernel.Weights() {
		if form := w.Int8(); form != nil {
			r := &int8RowForm{Int8Form: form, step: step, left: left, eights: w == kernel.WeightQ4_0}
			if len(forms) > 0 {
				f.Branch(f, t.free, "EQ", imm(int(w)), r.kind().name)
			}
			forms = append(forms, r)
		}
	}
	for _, t.row = range forms {
		t.kind = t.row.kind()
		t.rowPanels(vecs)
	}
	return f
}

// rowPanels writes the loop over the panels of a type.
func (t *int8Tile) rowPanels(vecs []int) {
	name := t.kind.name
	t.Label(name)
	t.Op(t.Mov, 0, t.LocalAt(rowVec))
	next, done := name+"Vec", name+"Panel"
	t.Label(next)
	t.Op(t.Mov, t.ws, t.free)
	t.Op(t.Sub, t.LocalAt(rowVec), t.free)
	for _, n := range vecs {
		t.Branch(t.Func, t.free, "GE", imm(n*t.Bytes()), t.label("tile", n))
	}
	t.Op(t.Mov, t.LocalAt(rowEnd), t.free)
	t.Op(t.Mov, t.free, t.LocalAt(rowW))
	t.Op(t.Add, t.ws, t.LocalAt(rowC))
	t.Op(t.Mov, t.LocalAt(rowBias), t.free)
	t.Branch(t.Func, t.free, "EQ", "$0", done)
	t.Op(t.Add, t.ws, t.LocalAt(rowBias))
	t.Label(done)
	t.Op(t.Sub, 1, t.LocalAt(rowPanels))
	t.Op("JNE", name)
	t.Return(t.Func)
	for _, t.vecs = range vecs {
		t.rowTile(vecs[0])
		t.Jump(next)
	}
}

// total, number and minimum return the addresses of local vectors: of C, and of what integers are multiplied by.
func (t *int8Tile) total(j int) string   { return mem(t.local, j*t.Bytes()) }
func (t *int8Tile) number(j int) string  { return mem(t.local, (t.vecs+j)*t.Bytes()) }
func (t *int8Tile) minimum(j int) string { return mem(t.local, (2*t.vecs+j)*t.Bytes()) }

// rowTile writes a micro-tile, over all steps of a panel. That of the most vectors, as nearly all of a panel goes by, heeds
// Near: it has two loops, so that a block has no branches.
func (t *int8Tile) rowTile(most int) {
	r, sums := t.row, func(j int) Vec { return t.sums[0][j] }
	notes := t.notes
	t.registers()
	if r.Type != kernel.WeightQ8_0 && r.Type != kernel.WeightQ4_0 && r.Type != kernel.WeightIQ4_NL {
		t.notes = notes
	}
	t.Label(t.label("tile", t.vecs))
	t.beginRow()
	t.load("X", t.p[0])
	t.Op(t.Mov, t.LocalAt(rowW), t.w)
	t.Op(t.Add, t.LocalAt(rowVec), t.w)
	t.load("Depth", r.left)
	t.Op(t.Mov, t.ws, r.step)
	if n := r.shift(); n > 0 {
		t.Op("SHRQ", n, r.step)
	}
	t.masks()
	if t.kind.nibbles && !t.kind.linear {
		var words [4]uint32
		for i, code := range r.Table {
			words[i/4] |= uint32(code) << (i % 4 * 8)
		}
		t.Op(t.Load, t.patternAt(words[:]...), t.tab)
	}

	step, short, last, loop := t.label("step", t.vecs), t.label("short", t.vecs), t.label("last", t.vecs), t.label("block", t.vecs)
	t.Label(step)
	t.Op(t.Mov, r.left, t.k)
	t.Branch(t.Func, t.k, "LE", imm(kernel.KC), short)
	t.Op(t.Mov, kernel.KC, t.k)
	t.Label(short)
	t.Op(t.Sub, t.k, r.left)
	t.beginScales()
	for j := range t.vecs {
		t.Zero(t.Func, sums(j))
	}
	t.load("Ahead", t.next)
	t.Op(t.Add, t.w, t.next)
	if t.vecs == most {
		near, done := t.label("near", t.vecs), t.label("stepDone", t.vecs)
		t.LoadByte(t.Func, t.arg("Near"), t.free)
		t.note("a.Near")
		t.Branch(t.Func, t.free, "EQ", "$0", loop)
		r.near = true
		t.rowBlocks(near)
		r.near = false
		t.Jump(done)
		t.rowBlocks(loop)
		t.Label(done)
	} else {
		t.rowBlocks(loop)
	}

	// The next step is behind the scales.
	t.Op(t.Mov, t.LocalAt(rowVec), t.free)
	t.Op(t.Mov, t.scales, t.w)
	t.Op(t.Add, t.free, t.w)
	if n := r.shift(); n > 0 {
		t.Op("SHRQ", n, t.free)
	}
	t.Op(t.Sub, t.free, t.w)
	for j := range t.vecs {
		t.Op(t.Load, t.total(j), t.tmp)
		t.Op(t.AddV, sums(j), t.tmp, t.tmp)
		t.Op(t.Store, t.tmp, t.total(j))
	}
	t.Branch(t.Func, r.left, "EQ", "$0", last)
	t.Zero(t.Func, t.xv)
	for j := range t.vecs {
		t.Op(t.Load, t.total(j), t.tmp)
		t.Op(t.AddV, t.xv, t.tmp, t.tmp)
		t.Op(t.Store, t.tmp, t.total(j))
	}
	t.Jump(step)
	t.Label(last)
	t.Op(t.Mov, t.LocalAt(rowC), t.free)
	t.Op(t.Add, t.LocalAt(rowVec), t.free)
	for j := range t.vecs {
		t.Op(t.Load, t.total(j), t.tmp)
		t.Op(t.Store, t.tmp, mem(t.free, j*t.Bytes()))
	}
	t.Op(t.Sub, t.LocalAt(rowVec), t.w)
	t.Op(t.Mov, t.w, t.LocalAt(rowEnd))
	t.Op(t.Add, t.vecs*t.Bytes(), t.LocalAt(rowVec))
}

// rowBlocks writes the loop over the blocks of a step.
func (t *int8Tile) rowBlocks(loop string) {
	t.Loop(loop)
	t.block()
	t.Op(t.Add, t.rowBytes(), t.next)
	t.Op(t.Add, kernel.Int8BlockBytes(t.words()), t.p[0])
	t.Op(t.Sub, kernel.Int8Block, t.k)
	t.Branch(t.Func, t.k, "NE", "$0", loop)
}

// beginRow sets the sums of C to what they begin with.
func (t *int8Tile) beginRow() {
	old, bias := t.scales, t.next
	zeros := t.symbol("zeros", make([]uint32, kernel.MaxLanes)...)
	added, biased := t.label("added", t.vecs), t.label("biased", t.vecs)
	t.Op(t.Mov, t.LocalAt(rowC), old)
	t.Op(t.Add, t.LocalAt(rowVec), old)
	t.LoadByte(t.Func, t.arg("Add"), t.free)
	t.note("a.Add")
	t.Branch(t.Func, t.free, "NE", "$0", added)
	t.Address(t.Func, zeros, old)
	t.Label(added)
	t.Op(t.Mov, t.LocalAt(rowBias), bias)
	t.Branch(t.Func, bias, "NE", "$0", biased)
	t.Address(t.Func, zeros, bias)
	t.Op(t.Sub, t.LocalAt(rowVec), bias)
	t.Label(biased)
	t.Op(t.Add, t.LocalAt(rowVec), bias)
	for j := range t.vecs {
		t.Op(t.Load, mem(old, j*t.Bytes()), t.tmp)
		t.AddLoad(t.Func, mem(bias, j*t.Bytes()), t.tmp)
		t.Op(t.Store, t.tmp, t.total(j))
	}
}

// beginScales points to the scales of a step, and sets the numbers that their integers are multiplied by.
func (t *int8Tile) beginScales() {
	r := t.row
	shift := 2
	if t.kind.nibbles {
		shift = 3
	}
	t.Op(t.Mov, t.k, t.scales)
	t.Op(t.MulInt, t.ws, t.scales)
	t.Op("SHRQ", shift, t.scales)
	t.Op(t.Add, t.w, t.scales)
	t.Op(t.Mov, t.LocalAt(rowVec), t.free)
	t.Op(t.Sub, t.free, t.scales)
	if r.grouped() {
		t.Op("SHRQ", 1, t.free)
		t.Op(t.Add, t.scales, t.free)
		for j := range t.vecs {
			t.LoadElem(t.Func, kernel.Float16, mem(t.free, 2*j*t.Lanes), t.tmp)
			t.Op(t.Store, t.tmp, t.number(j))
		}
		if r.Scales.HasMins() {
			t.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", t.free, r.step), t.free)
			t.Broadcast(t.Func, t.constant(float32(math.Copysign(0, -1))), t.xv)
			for j := range t.vecs {
				t.LoadElem(t.Func, kernel.Float16, mem(t.free, 2*j*t.Lanes), t.tmp)
				t.Op(t.XorV, t.xv, t.tmp, t.tmp)
				t.Op(t.Store, t.tmp, t.minimum(j))
			}
			t.Op(t.Add, t.ws, t.scales)
		} else {
			t.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", t.scales, r.step), t.scales)
		}
		t.Op(t.Mov, t.LocalAt(rowVec), t.free)
	}
	if n := r.shift(); n > 0 {
		t.Op("SHRQ", n, t.free)
	}
	t.Op(t.Add, t.free, t.scales)
}

// rowScale sets v to vector j of a row of scales.
func (t *int8Tile) rowScale(j int, v Vec) {
	addr := mem(t.scales, j*t.Bytes()>>t.row.shift())
	switch {
	case t.row.grouped():
		t.LoadElem(t.Func, kernel.Int8, addr, v)
		t.Op(t.MulV, t.number(j), v, v)
	case t.row.shift() == 1:
		t.LoadElem(t.Func, kernel.Float16, addr, v)
	default:
		t.Op(t.Load, addr, v)
	}
}

// rowMins adds what minima add to the sums of a block.
func (t *int8Tile) rowMins(behind int) {
	if !t.row.Scales.HasMins() {
		return
	}
	t.Broadcast(t.Func, t.at(0, behind+kernel.Int8Sum), t.xv)
	for j, sum := range t.sums[0] {
		addr := mem(t.scales, j*t.Bytes()>>t.row.shift())
		if t.row.grouped() {
			t.LoadElem(t.Func, kernel.Int8, addr, t.tmp)
			t.Op(t.MulV, t.minimum(j), t.tmp, t.tmp)
		} else {
			t.LoadElem(t.Func, kernel.Float16, addr, t.tmp)
		}
		t.Op("VFMADD231PS", t.tmp, t.xv, sum)
	}
	t.nextScales()
}

// rowBytes is the bytes of a block of the micro-tile, its scales included.
func (t *int8Tile) rowBytes() int {
	return t.row.Bytes(kernel.KC) * t.vecs * t.Lanes / (kernel.KC / kernel.Int8Block)
}

// askRow asks for what follows as far behind as Ahead says: with quad q of a block, its share of the lines of one.
func (t *int8Tile) askRow(q int) {
	quads := 8
	if t.kind.nibbles {
		quads = 4
	}
	ask := t.Prefetch
	if t.row.near {
		ask = t.PrefetchNear
	}
	lines := (t.rowBytes() + cacheLine - 1) / cacheLine
	for i := q * lines / quads; i < (q+1)*lines/quads; i++ {
		ask(t.Func, mem(t.next, i*cacheLine))
	}
}
