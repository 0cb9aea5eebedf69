package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

// What makes blocks of class Int8 with instructions of A64, whose vectors have four lanes.

// A quanter makes integers of 32 bits of numbers, by lanes.
type quanter struct {
	*Func
	const127, infinite, nan Vec
	d, inverse, valid       Vec // D, 127 divided by the largest magnitude, and the lanes whose integers are not 0
}

func newQuanter(f *Func, m *vecMap) *quanter {
	q := &quanter{
		Func: f, const127: m.one("127"), infinite: m.one("infinity"), nan: m.one("NaN"),
		d: m.one("D"), inverse: m.one("127/most"), valid: m.one("lanes of numbers"),
	}
	f.Broadcast(f, f.constant(127), q.const127)
	f.Broadcast(f, f.word(0x7f800000), q.infinite)
	f.Broadcast(f, f.word(0x7fc00000), q.nan)
	return q
}

// begin sets the factors by the largest magnitudes. tmp is free.
func (q *quanter) begin(most, tmp Vec) {
	q.Op("FDIV.S4", most, q.const127, q.inverse)
	q.Op("FDIV.S4", q.const127, most, q.d)
	q.Op("FCMGT.S4", q.inverse, q.infinite, q.valid)
	q.Op("FCMGT.S4", most, q.infinite, tmp) // finite
	q.Op(q.AndV, q.valid, q.d, q.d)
	q.Op(q.AndV, tmp, q.valid, q.valid)
	q.Op("VBIF.B16", tmp, q.nan, q.d)
}

// quant makes integers of numbers.
func (q *quanter) quant(v Vec) {
	q.Op(q.MulV, q.inverse, v, v)
	q.RoundEven(q.Func, v)
	q.Op(q.AndV, q.valid, v, v)
}

// quantizeBytes writes Quantize, for a ColStride of 1.
func quantizeBytes(arch *Arch) *Func {
	f := newFunc(arch, "quantize", reflect.TypeFor[kernel.QuantizeArgs](), quantizeFormula)
	x, dst, k := f.int("X"), f.int("Dst"), f.int("values left of the row")
	rows, row, rowStride := f.int("rows left"), f.int("row of X"), f.int("bytes from row to row of X")
	dstRow, dstStride := f.int("row of Dst"), f.int("bytes from row to row of Dst")
	m := f.vectors("all:")
	v := m.take(kernel.Int8Block/arch.Lanes, "values")
	most, tmp, sign := m.one("largest magnitude"), m.one("scratch"), m.one("sign bits")
	first, second := m.one("sums of the first half"), m.one("sums of the second half")
	q := newQuanter(f, m)
	f.load("X", row)
	f.loadBytes("RowStride", rowStride)
	f.load("Rows", rows)
	f.load("Dst", dstRow)
	f.load("RowBytes", dstStride)
	f.Broadcast(f, f.constant(negZero), sign)
	f.Loop("row")
	f.Op(f.Mov, row, x)
	f.Op(f.Mov, dstRow, dst)
	f.load("Depth", k)
	f.Loop("block")
	for i, v := range v {
		f.Op(f.Load, mem(x, i*f.Bytes()), v)
		to := tmp
		if i == 0 {
			to = most
		}
		f.Op("BIC.B16", sign, v, to)
		if i > 0 {
			f.Op(f.MaxBits, tmp, most, most) // a NaN is above all numbers
		}
	}
	f.ReduceMax(f, most, tmp)
	f.Spread(f, most, most)
	q.begin(most, tmp)
	for _, v := range v {
		q.quant(v)
	}
	for i, sum := range []Vec{first, second} {
		part := v[i*len(v)/2:][:len(v)/2]
		f.Op(f.AddInts, part[0], part[1], sum)
		for _, v := range part[2:] {
			f.Op(f.AddInts, v, sum, sum)
		}
	}
	for n := len(v); n > 2; n /= 2 { // the lower half of each number, and again
		narrow := map[int]string{8: "VUZP1.H8", 4: "VUZP1.B16"}[n]
		for i := range n / 2 {
			f.Op(narrow, v[2*i+1], v[2*i], v[i])
		}
	}
	behind := kernel.Int8Integers(false)
	f.Op(f.Store, v[0], mem(dst, 0))
	f.Op(f.Store, v[1], mem(dst, f.Bytes()))
	f.Op("VADDP.S4", second, first, first)
	f.Op("VADDP.S4", first, first, first)  // of either half
	f.Op("VADDP.S4", first, first, second) // of the block
	f.Op("SCVTF.S4", second, tmp)
	f.Op(f.MulV, q.d, tmp, tmp)
	f.StoreElement(f, q.d, mem(dst, behind+kernel.Int8D))
	f.StoreElement(f, tmp, mem(dst, behind+kernel.Int8Sum))
	for _, sum := range []Vec{first, second} {
		f.timesMinus128(sum, tmp)
	}
	f.StoreElement(f, second, mem(dst, behind+kernel.Int8Whole))
	f.Op("FMOVD", first, mem(dst, behind+kernel.Int8First)) // and Second
	f.Op(f.Add, 4*kernel.Int8Block, x)
	f.Op(f.Add, kernel.Int8BlockBytes(false), dst)
	f.Op(f.Sub, kernel.Int8Block, k)
	f.Branch(f, k, "NE", "$0", "block")
	f.Op(f.Add, rowStride, row)
	f.Op(f.Add, dstStride, dstRow)
	f.Countdown(rows, "row")
	f.Return(f)
	return f
}

// timesMinus128 multiplies integers.
func (f *Func) timesMinus128(v, tmp Vec) {
	f.Zero(f, tmp)
	f.Op(f.ShlV, 7, v, v)
	f.Op("VSUB.S4", v, tmp, v)
}

// packBytes writes PackInt8: four lanes of a block at a time, of which it keeps a copy to go through twice.
func packBytes(f *Func) *Func {
	q, qs := f.int("Q, at the block"), f.int("Q, bytes from row to row")
	codes, cs := f.int("Codes, at the block"), f.int("bytes of a row of lanes")
	scales, sums := f.int("Scales, at the block"), f.int("Sums, at the block, or 0")
	lane, dims := f.int("bytes of the lanes before"), f.int("dims left")
	at, to, local := f.int("next dim"), f.int("where it goes"), f.int("the block")
	m := f.vectors("all:")
	v := m.take(4, "dims")
	most, tmp := m.one("largest magnitude"), m.one("scratch")
	sum, offset := m.one("sum of integers"), m.one("128 in each byte, or 0")
	k := newQuanter(f, m)
	p := &packer{
		Func: f, q: q, qs: qs, cs: cs, scales: scales, lane: lane, dims: dims, n: f.int("dims left of the block"), at: at, to: to, local: local,
		factor: f.int("Factors, next"), min: f.int("Mins, next"), fs: f.int("Factors, bytes from dim to dim"),
		x: v[0], t: v[1], sign: m.one("signs"), most: most, abs: m.one("magnitude bits"), least: m.one("sums of Mins"),
	}
	f.locals = kernel.Int8Block*f.Bytes() + cacheLine
	f.LocalBase(f, local)
	f.load("Q", q)
	f.loadBytes("Stride", qs)
	f.load("Codes", codes)
	f.loadBytes("Lanes", cs)
	f.load("Scales", scales)
	f.load("Sums", sums)
	f.load("Dim", dims)
	f.Broadcast(f, f.word(1<<31-1), p.abs)
	f.Op("VMOVI.B16", 128, offset)
	f.LoadByte(f, f.arg("Signed"), at)
	f.note("a.Signed")
	f.Branch(f, at, "EQ", "$0", "unsigned")
	f.Zero(f, offset)
	f.Label("unsigned")
	f.Op(f.Mov, 0, lane) // an instruction between labels
	f.Loop("block")
	f.Op(f.Mov, 0, lane)
	f.Loop("lanes")
	p.first()
	k.begin(most, tmp)
	f.Op(f.Add, codes, lane, to)
	for g := range int8Groups {
		for i, v := range v {
			f.Op(f.Load, mem(local, (4*g+i)*f.Bytes()), v)
			k.quant(v)
		}
		for i := 0; i < 4; i += 2 {
			f.Op(f.AddInts, v[i], v[i+1], tmp)
			if g+i == 0 {
				f.Op(f.Copy, tmp, sum)
			} else {
				f.Op(f.AddInts, tmp, sum, sum)
			}
		}
		for i, x := range v[1:] { // the rest of a lane takes the place of signs
			f.Op("VSLI.S4", 8*(i+1), x, v[0])
		}
		f.Op(f.XorV, offset, v[0], v[0])
		f.Op(f.Store, v[0], mem(to, 0))
		f.Op(f.Add, cs, to)
	}
	f.Op(f.Add, scales, lane, at)
	f.Op(f.Store, k.d, mem(at, 0))
	f.Branch(f, sums, "EQ", "$0", "sumless")
	f.IntToFloat(f, sum, sum)
	f.Op(f.MulV, k.d, sum, sum)
	f.load("Mins", at)
	f.Branch(f, at, "EQ", "$0", "minless")
	f.Op(f.Copy, p.least, sum)
	f.Label("minless")
	f.Op(f.Add, sums, lane, at)
	f.Op(f.Store, sum, mem(at, 0))
	f.Label("sumless")
	f.Op(f.Add, f.Bytes(), lane)
	f.Branch(f, lane, "LT", string(cs), "lanes")
	f.Op(f.Mov, qs, at)
	f.times(kernel.Int8Block, at)
	f.Op(f.Add, at, q)
	f.Op(f.Mov, cs, at)
	f.times(int8Groups, at)
	f.Op(f.Add, at, codes)
	f.Op(f.Add, cs, scales)
	f.Branch(f, sums, "EQ", "$0", "next")
	f.Op(f.Add, cs, sums)
	f.Label("next")
	f.Op(f.Sub, kernel.Int8Block, dims)
	f.Branch(f, dims, "GT", "$0", "block")
	f.Return(f)
	return f
}

// copyBytes copies less than a block of bytes by the bits of n, and moves from and to on.
func (f *Func) copyBytes(n, from, to, tmp Int, x Vec, label string) {
	for bit := 4; bit >= 0; bit-- {
		without := f.unique(fmt.Sprintf("%sWithout%d", label, 1<<bit))
		load, store, v := [...]string{"MOVBU", "MOVHU", "MOVWU", "MOVD", f.Load}[bit], [...]string{"MOVB", "MOVH", "MOVW", "MOVD", f.Store}[bit], any(tmp)
		if bit == 4 {
			v = x
		}
		f.Op("TBZ", bit, n, without)
		f.Op(load, mem(from, 0), v)
		f.Op(store, v, mem(to, 0))
		f.Op(f.Add, 1<<bit, from)
		f.Op(f.Add, 1<<bit, to)
		f.Label(without)
	}
}

// integers loads the integers of a block, which lie at an offset. mask is 15 in each byte, and zero 8.
func (f *Func) integers(e kernel.Elem, base Int, at int, v [2]Vec, mask, zero Vec) {
	f.Op(f.Load, mem(base, at), v[0])
	if e != kernel.Q4_0 && e != kernel.Q4_1 {
		f.Op(f.Load, mem(base, at+f.Bytes()), v[1])
		return
	}
	f.Op("VUSHR.B16", 4, v[0], v[1])
	f.Op(f.AndV, mask, v[0], v[0])
	if e == kernel.Q4_0 {
		for _, v := range v {
			f.Op("VSUB.B16", zero, v, v)
		}
	}
}

// convertBytes writes ConvertInt8 where UnitStride is that of units without gaps.
func convertBytes(arch *Arch) *Func {
	f := newFunc(arch, "convertInt8", reflect.TypeFor[kernel.ConvertInt8Args](), convertInt8Formula)
	off, scale, rows := f.int("Off"), f.int("Scale"), f.int("rows left")
	row, stride, src, dst := f.int("row of Dst"), f.int("Dst, bytes from row to row"), f.int("Src"), f.int("Dst")
	n, local, to, tmp := f.int("dims left"), f.int("dims that are less than a block"), f.int("scratch"), f.int("scratch")
	f.locals = kernel.Int8Block + cacheLine
	m := f.vectors("all:")
	v := [2]Vec(m.take(2, "integers"))
	sum, t, mask, zero := m.one("sums"), m.one("scratch"), m.one("4 bits"), m.one("8 in each byte")
	behind := kernel.Int8Integers(false)
	f.LocalBase(f, local)
	f.load("Off", off)
	f.load("Scale", scale)
	f.load("Rows", rows)
	f.load("Dst", row)
	f.load("RowBytes", stride)
	f.Zero(f, t)
	for i := range v {
		f.Op(f.Store, t, mem(local, i*f.Bytes()))
	}
	f.byElemAs(integerElems(), "", n, func(e kernel.Elem) {
		name := func(what string) string { return e.String() + what }
		block := func() {
			f.integers(e, src, quantsOf(e), v, mask, zero)
			f.Op(f.Store, v[0], mem(dst, 0))
			f.Op(f.Store, v[1], mem(dst, f.Bytes()))
			f.Op("SADDLP.H8", v[0], sum)
			f.Op("SADALP.H8", v[1], sum)
			f.Op("SADDLP.S4", sum, sum)
			for range 2 {
				f.Op("VADDP.S4", sum, sum, sum)
			}
			f.timesMinus128(sum, t)
			f.StoreElement(f, sum, mem(dst, behind+kernel.Int8Whole))
			f.Op("MOVD", "ZR", mem(dst, behind+kernel.Int8First)) // and Second
			float := func(at, to int) {
				f.LoadOne(f, kernel.Float16, mem(src, at), tmp, t)
				f.StoreElement(f, t, mem(dst, behind+to))
			}
			if e == kernel.Int8 {
				f.Op("MOVWU", mem(scale, 0), tmp)
				f.Op("MOVW", tmp, mem(dst, behind+kernel.Int8D))
			} else {
				float(0, kernel.Int8D)
			}
			if e == kernel.Q4_1 {
				float(2, kernel.Int8Sum)
			} else {
				f.Op("MOVW", "ZR", mem(dst, behind+kernel.Int8Sum))
			}
		}
		f.Op("VMOVI.B16", 15, mask)
		f.Op("VMOVI.B16", 8, zero)
		f.Loop(name("Row"))
		f.load("Src", src)
		f.AddMem(f, mem(off, 0), src)
		f.Op(f.Add, 8, off)
		f.Op(f.Mov, row, dst)
		f.load("Dim", n)
		if e == kernel.Int8 {
			f.Branch(f, n, "LT", imm(kernel.Int8Block), name("Last"))
		}
		f.Loop(name("Block"))
		block()
		f.Op(f.Add, e.RowBytes(kernel.Int8Block), src)
		f.Op(f.Add, kernel.Int8BlockBytes(false), dst)
		f.Op(f.Sub, kernel.Int8Block, n)
		f.Branch(f, n, "GE", imm(kernel.Int8Block), name("Block"))
		if e == kernel.Int8 {
			f.Branch(f, n, "EQ", "$0", name("Next"))
			f.Label(name("Last"))
			f.Op(f.Mov, local, to)
			f.copyBytes(n, src, to, tmp, v[0], e.String())
			f.Op(f.Mov, local, src)
			block()
			f.Label(name("Next"))
			f.Op(f.Add, 4, scale)
		}
		f.Op(f.Add, stride, row)
		f.Countdown(rows, name("Row"))
		f.Return(f)
	})
	return f
}
