package asmgen

import (
	"math/bits"
	"reflect"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

const packFormula = `
for d := range Dim, l := range Lanes {
	Dst[d*Stride+l] = l < Rows ? Src[Off[l]+d] * Scale : 0
}
`

const unpackFormula = `
for l := range Rows {
	r = Sum[l] == 0 ? 0 : 1/Sum[l]
	for d := range Dim {
		Dst[Off[l]+d] = O[d*Stride+l] * r
	}
}
`

// A transposer is the body of Pack, Bias and Unpack: squares of Lanes rows by Lanes
// dims (keys in Bias), between rows at offsets (of a caller's tensor) and rows of
// lanes.
type transposer struct {
	*Func
	scattered Int // the caller's tensor, at the dim of the next square
	off       Int // *Off of the next square
	packed    Int // [Dim][Stride] at lane 0 of the next squares
	row       Int // the row of packed of the next square
	stride    Int
	rows      Int // rows from lane 0 of the square on, may be more than Lanes
	lanes     Int // lanes left
	dims      Int // dims left
	tmp       Int

	// nextBlock, if not nil, writes what moves on with the lanes of the square.
	nextBlock func()
}

func (t *transposer) reserve() {
	t.scattered = t.int("element in rows at offsets")
	t.off = t.int("offsets")
	t.packed = t.int("first row of lanes")
	t.row = t.int("row of lanes")
	t.stride = t.int("bytes from row of lanes to row of lanes")
	t.rows = t.int("rows left")
	t.lanes = t.int("lanes left")
	t.dims = t.int("dims left")
	t.tmp = t.int("scratch")
}

// emit writes the loops over squares. scattered, packed and dims are the fields of the
// arguments. square moves row on by all its rows, that is, up to Lanes.
func (t *transposer) emit(scattered, packed, dims string, block, square func()) {
	t.load("Off", t.off)
	t.load(packed, t.packed)
	t.loadBytes("Stride", t.stride)
	t.load("Rows", t.rows)
	t.load("Lanes", t.lanes)
	n := t.Arch.Lanes

	t.Label("block")
	block()
	t.load(scattered, t.scattered)
	t.Op(t.Mov, t.packed, t.row)
	t.load(dims, t.dims)

	t.Loop("square")
	square()
	t.Op(t.Add, t.Bytes(), t.scattered)
	t.Op(t.Sub, n, t.dims)
	t.Branch(t.Func, t.dims, "GT", "$0", "square")

	if t.nextBlock != nil {
		t.nextBlock()
	}
	t.Op(t.Add, 8*n, t.off)
	t.Op(t.Add, t.Bytes(), t.packed)
	t.Op(t.Sub, n, t.rows)
	t.Op(t.Sub, n, t.lanes)
	t.Branch(t.Func, t.lanes, "GT", "$0", "block")
	t.Return(t.Func)
}

// scatteredRow returns the address of row i of the square.
func (t *transposer) scatteredRow(i int) string {
	t.Op(t.Mov, mem(t.off, 8*i), t.tmp)
	return t.Indexed(t.Func, t.scattered, t.tmp)
}

// ask prefetches the dims of the square from the rows of the next one, if that has as many: rows that
// lie far apart have a page each, whose translation the loads of the next square would wait for.
func (t *transposer) ask() {
	n := t.Arch.Lanes
	t.Branch(t.Func, t.rows, "LT", imm(2*n), "asked")
	for i := range n {
		t.PrefetchNear(t.Func, t.scatteredRow(n+i))
	}
	t.Label("asked")
}

// mask reserves the register of a mask, if it needs one.
func (t *transposer) mask(m *vecMap) Vec {
	if !t.VectorMasks || t.TailMask == nil {
		return ""
	}
	return m.one("mask")
}

// tail loads the mask of the dims left, at most Lanes.
func (t *transposer) tail(dims, tmp Int, mask Vec) {
	n := t.Arch.Lanes
	t.Op(t.Mov, n, dims)
	t.Branch(t.Func, t.dims, "GE", imm(n), "full")
	t.Op(t.Mov, t.dims, dims)
	t.Label("full")
	if t.TailMask != nil {
		t.TailMask(t.Func, dims, tmp, mask)
	}
}

// pack writes Pack.
func pack(arch *Arch) *Func {
	f := newFunc(arch, "pack", reflect.TypeFor[kernel.PackArgs](), packFormula)
	t := &transposer{Func: f}
	t.reserve()
	dims := f.int("dims of the square")
	m := f.vectors("square:")
	rows := m.take(f.Lanes, "rows")
	tmp := m.one("scratch")
	scale := m.one("Scale")
	mask := t.mask(m)

	t.emit("Src", "Dst", "Dim", func() {
		f.Broadcast(f, f.arg("Scale"), scale)
		f.note("a.Scale")
	}, func() {
		t.tail(dims, t.tmp, mask)
		for _, v := range rows {
			f.Zero(f, v)
		}
		for i, v := range rows {
			f.Branch(f, t.rows, "LE", imm(i), "loaded")
			f.LoadScaled(f, t.scatteredRow(i), dims, scale, mask, v)
		}
		f.Label("loaded")
		t.ask()
		for i, v := range f.Transpose(f, rows, tmp) {
			f.Op(f.Store, v, mem(t.row, 0))
			f.Op(f.Add, t.stride, t.row)
			if i < f.Lanes-1 {
				f.Branch(f, dims, "EQ", imm(i+1), "stored")
			}
		}
		f.Label("stored")
	})
	return f
}

// unpack writes Unpack.
func unpack(arch *Arch) *Func {
	f := newFunc(arch, "unpack", reflect.TypeFor[kernel.UnpackArgs](), unpackFormula)
	t := &transposer{Func: f}
	t.reserve()
	dims := f.int("dims of the square")
	sum := f.int("sums")
	m := f.vectors("square:")
	rows := m.take(f.Lanes, "rows")
	tmp := m.one("scratch")
	recip := m.one("1/Sum")
	mask := t.mask(m)

	f.load("Sum", sum)
	t.emit("Dst", "O", "Dim", func() {
		f.Op(f.Load, mem(sum, 0), recip)
		f.Op(f.Add, f.Bytes(), sum)
		f.Recip(f, f.constant(1), recip, [2]Vec{rows[0], rows[1]})
	}, func() {
		t.tail(dims, t.tmp, mask)
		for i, v := range rows {
			f.MulLoad(f, mem(t.row, 0), recip, v)
			f.Op(f.Add, t.stride, t.row)
			if i < f.Lanes-1 {
				f.Branch(f, dims, "EQ", imm(i+1), "loaded")
			}
		}
		f.Label("loaded")
		t.ask()
		out := f.Transpose(f, rows, tmp)
		f.Branch(f, dims, "LT", imm(f.Lanes), "tail")
		for i, v := range out {
			f.Branch(f, t.rows, "LE", imm(i), "stored")
			f.Op(f.Store, v, t.scatteredRow(i))
		}
		f.Jump("stored")
		f.Label("tail")
		for i, v := range out {
			f.Branch(f, t.rows, "LE", imm(i), "stored")
			f.StoreMasked(f, v, dims, mask, t.scatteredRow(i))
		}
		f.Label("stored")
	})
	return f
}

// A butterfly replaces two registers by two functions of them. The second result
// takes the place of b, the first the free register *tmp, and a becomes the free
// one.
func butterfly(f *Func, lo, hi []any, a, b, tmp *Vec) {
	f.Op(lo[0].(string), append(lo[1:], *b, *a, *tmp)...)
	f.Op(hi[0].(string), append(hi[1:], *b, *a, *b)...)
	*a, *tmp = *tmp, *a
}

// An interleave is a pair of instructions that take the low halves and the high
// halves of two registers, element about.
type interleave struct{ lo, hi string }

// transpose4x4 transposes the 4 by 4 squares in the 128-bit parts of each four
// rows: part q of result 4g+c is column 4q+c of rows 4g to 4g+3. one interleaves
// elements, two pairs of them.
func transpose4x4(f *Func, one, two interleave, r []Vec, tmp *Vec) {
	for g := 0; g < len(r); g += 4 {
		q := r[g:][:4]
		for i := 0; i < 4; i += 2 {
			butterfly(f, []any{one.lo}, []any{one.hi}, &q[i], &q[i+1], tmp)
		}
		for i := range 2 {
			butterfly(f, []any{two.lo}, []any{two.hi}, &q[i], &q[i+2], tmp)
		}
		q[1], q[2] = q[2], q[1]
	}
}

// unpackParts transposes the squares in the 128-bit parts of rows, as many as an element
// interleaved by all stages takes.
func unpackParts(f *Func, stages []interleave, rows []Vec, tmp *Vec) {
	for s, stage := range stages {
		for i := range rows {
			if j := i | 1<<s; i != j {
				butterfly(f, []any{stage.lo}, []any{stage.hi}, &rows[i], &rows[j], tmp)
			}
		}
	}
	ordered := slices.Clone(rows)
	for i, v := range ordered {
		rows[bits.Reverse(uint(i))>>(bits.UintSize-len(stages))] = v
	}
}
