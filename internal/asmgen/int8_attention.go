package asmgen

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

const convertInt8Formula = `
for r := range Rows, blocks b of 32 dims {
	block b of row r of Dst = {
		integers of Src + Off[r], 0 behind Dim
		D, Sum, Whole, First, Second = the scale, the minimum, -128 * the sum of the integers, 0, 0
	}
}
`

// integerElems returns the element types that class Int8 multiplies.
func integerElems() []kernel.Elem {
	return slices.DeleteFunc(kernel.Elems(), func(e kernel.Elem) bool { return !e.Integers() })
}

// quantsOf returns where the integers of a unit begin: behind the scale, and the minimum.
func quantsOf(e kernel.Elem) int {
	if e == kernel.Int8 {
		return 0
	}
	return e.Unit() % 16
}

// A blockConverter is the body of ConvertInt8, with instructions of AVX2.
type blockConverter struct {
	*Func
	off, scale, rows Int
	row, stride      Int // of Dst
	src, dst         Int // where the row goes on
	n                Int // dims left of the row
	local, to, tmp   Int

	elem               kernel.Elem
	v, sum, t          Vec
	zero, signs, order Vec
	bias               Vec // what the sum of a block has beside that of the integers, times 128
}

// convertInt8 writes ConvertInt8 where UnitStride is that of units without gaps.
func convertInt8(arch *Arch) *Func {
	if arch.DotBytes != nil {
		return convertBytes(arch)
	}
	f := newFunc(arch, "convertInt8", reflect.TypeFor[kernel.ConvertInt8Args](), convertInt8Formula)
	c := &blockConverter{
		Func: f, off: f.int("Off"), scale: f.int("Scale"), rows: f.int("rows left"),
		row: f.int("row of Dst"), stride: f.int("Dst, bytes from row to row"), src: f.int("Src"), dst: f.int("Dst"),
		n: f.int("dims left"), local: f.int("dims that are less than a block"), to: f.int("scratch"), tmp: f.int("scratch"),
	}
	f.locals = kernel.Int8Block + cacheLine
	m := f.vectors("all:")
	half := func(use string) Vec { return low(m.one(use), "Y") }
	c.v, c.sum, c.t = half("integers"), half("sums"), half("scratch")
	c.zero, c.signs, c.bias = half("0"), half("sign bits, or 4 bits"), half("128 times what sums have too much")
	c.order = half("order of integers of 16 bits")
	f.LocalBase(f, c.local)
	f.load("Off", c.off)
	f.load("Scale", c.scale)
	f.load("Rows", c.rows)
	f.load("Dst", c.row)
	f.load("RowBytes", c.stride)
	f.Op("VPXOR", c.zero, c.zero, c.zero)
	f.Op("VMOVUPS", c.zero, mem(c.local, 0))
	if c.words() {
		f.Op("VMOVUPS", f.int8Order(), c.order)
	}
	f.byElemAs(integerElems(), "", c.n, func(e kernel.Elem) {
		c.elem = e
		c.emit()
	})
	return f
}

// int8Order returns the order of integers of 16 bits, for VPSHUFB of bytes.
func (f *Func) int8Order() string {
	return f.symbol("int8Order", 0x03010200, 0x07050604, 0x0b090a08, 0x0f0d0e0c, 0x03010200, 0x07050604, 0x0b090a08, 0x0f0d0e0c) + "(SB)"
}

func (c *blockConverter) words() bool { return c.Dot4 == nil }

func (c *blockConverter) name(what string) string { return c.elem.String() + what }

// emit writes the loop over rows of an element type.
func (c *blockConverter) emit() {
	fill, bias := uint32(0x80808080), 128
	switch c.elem {
	case kernel.Q4_0:
		fill, bias = 0x0f0f0f0f, 8
	case kernel.Q4_1:
		fill, bias = 0x0f0f0f0f, 0
	}
	c.Op("VPBROADCASTD", c.word(fill), c.signs)
	c.Op("VPBROADCASTD", c.word(uint32(bias*128*kernel.Int8Block)), c.bias)
	row, loop, next, last := c.name("Row"), c.name("Block"), c.name("Next"), c.name("Last")
	c.Loop(row)
	c.load("Src", c.src)
	c.AddMem(c.Func, mem(c.off, 0), c.src)
	c.Op(c.Add, 8, c.off)
	c.Op(c.Mov, c.row, c.dst)
	c.load("Dim", c.n)
	if c.elem == kernel.Int8 {
		c.Branch(c.Func, c.n, "LT", imm(kernel.Int8Block), last)
	}
	c.Loop(loop)
	c.block()
	c.Op(c.Add, c.elem.RowBytes(kernel.Int8Block), c.src)
	c.Op(c.Add, kernel.Int8BlockBytes(c.words()), c.dst)
	c.Op(c.Sub, kernel.Int8Block, c.n)
	c.Branch(c.Func, c.n, "GE", imm(kernel.Int8Block), loop)
	if c.elem == kernel.Int8 {
		c.Branch(c.Func, c.n, "EQ", "$0", next)
		c.Label(last)
		c.Op(c.Mov, c.local, c.to)
		c.copyBits(c.n, c.src, c.to, c.tmp, low(c.v, "X"), c.elem.String())
		c.Op(c.Mov, c.local, c.src)
		c.block()
		c.Label(next)
		c.Op(c.Add, 4, c.scale)
	}
	c.Op(c.Add, c.stride, c.row)
	c.Countdown(c.rows, row)
	c.Return(c.Func)
}

// copyBits copies less than a block of bytes, and moves from and to on.
func (f *Func) copyBits(n, from, to, tmp Int, x Vec, label string) {
	for size := kernel.Int8Block / 2; size > 0; size /= 2 {
		without := fmt.Sprintf("%sWithout%d", label, size)
		f.Op("TESTQ", size, n)
		f.Op("JEQ", without)
		move, v := map[int]string{16: "VMOVUPS", 8: "MOVQ", 4: "MOVL", 2: "MOVW", 1: "MOVB"}[size], any(tmp)
		if size == 16 {
			v = x
		}
		f.Op(move, mem(from, 0), v)
		f.Op(move, v, mem(to, 0))
		f.Op(f.Add, size, from)
		f.Op(f.Add, size, to)
		f.Label(without)
	}
}

// block writes a block.
func (c *blockConverter) block() {
	src, behind := mem(c.src, quantsOf(c.elem)), kernel.Int8Integers(c.words())
	codes := c.v // without signs
	switch c.elem {
	case kernel.Q4_0, kernel.Q4_1:
		c.Op("VMOVUPS", src, low(c.v, "X"))
		c.Op("VPSRLW", 4, low(c.v, "X"), low(c.t, "X"))
		c.Op("VINSERTI128", 1, low(c.t, "X"), c.v, c.v)
		c.Op("VPAND", c.signs, c.v, c.v)
	default:
		c.Op("VMOVUPS", src, c.v)
		codes = c.sum
		c.Op("VPXOR", c.signs, c.v, codes)
	}
	sum, t := low(c.sum, "X"), low(c.t, "X")
	c.Op("VPSADBW", c.zero, codes, c.sum)
	c.Op("VEXTRACTI128", 1, c.sum, t)
	c.Op("VPADDD", t, sum, sum)
	c.Op("VPSHUFD", 0b01_00_11_10, sum, t)
	c.Op("VPADDD", t, sum, sum)
	c.Op("VPSLLD", 7, sum, sum)
	c.Op("VPSUBD", sum, low(c.bias, "X"), sum)
	c.Op("VMOVD", sum, mem(c.dst, behind+kernel.Int8Whole))
	if c.elem == kernel.Q4_0 {
		c.Op("VPSUBB", c.patternAt(0x08080808), c.v, c.v)
	}
	if c.words() {
		c.Op("VPSHUFB", c.order, c.v, c.v)
		c.Op("VPMOVSXBW", low(c.v, "X"), c.t)
		c.Op("VMOVUPS", c.t, mem(c.dst, 0))
		c.Op("VEXTRACTI128", 1, c.v, low(c.v, "X"))
		c.Op("VPMOVSXBW", low(c.v, "X"), c.t)
		c.Op("VMOVUPS", c.t, mem(c.dst, 32))
	} else {
		c.Op("VMOVUPS", c.v, mem(c.dst, 0))
	}
	half := func(at, to int) {
		c.LoadHalfInt(c.Func, mem(c.src, at), c.tmp)
		c.Op("VMOVD", c.tmp, t)
		c.Op("VCVTPH2PS", t, t)
		c.Op("VMOVSS", t, mem(c.dst, behind+to))
	}
	c.Op(c.Mov, 0, mem(c.dst, behind+kernel.Int8First)) // and Second
	if c.elem == kernel.Q4_1 {
		half(2, kernel.Int8Sum)
	} else {
		c.Op("MOVL", 0, mem(c.dst, behind+kernel.Int8Sum))
	}
	if c.elem == kernel.Int8 {
		c.Op("MOVL", mem(c.scale, 0), c.tmp)
		c.Op("MOVL", c.tmp, mem(c.dst, behind+kernel.Int8D))
	} else {
		half(0, kernel.Int8D)
	}
}

const packInt8Formula = `
for blocks b of 32 dims, l := range Lanes {
	most = max(|x|) of the dims x of lane l, 0 behind Dim
	D, q = most/127, round(x * (127/most))
	if 127/most is infinite { D, q = 0, 0 }
	if most is not finite { D, q = NaN, 0 }
	Codes[b][..][l], Scales[b][l], Sums[b][l] = q + 128, D, D*sum(q)
}
`

// packInt8 writes PackInt8, with instructions of AVX2: 8 lanes of a block at a time, of which it keeps a copy to go
// through twice.
func packInt8(arch *Arch) *Func {
	if arch.DotBytes != nil {
		return packBytes(arch)
	}
	const lanes, bytes = 8, 32
	f := newFunc(arch, "packInt8", reflect.TypeFor[kernel.PackInt8Args](), packInt8Formula)
	q, qs := f.int("Q, at the block"), f.int("Q, bytes from row to row")
	codes, cs := f.int("Codes, at the block"), f.int("bytes of a row of lanes")
	scales, sums := f.int("Scales, at the block"), f.int("Sums, at the block, or 0")
	lane, dims := f.int("bytes of the lanes before"), f.int("dims left")
	n, at, to, local := f.int("dims left of the block"), f.int("next dim"), f.int("where it goes"), f.int("the block")
	m := f.vectors("all:")
	y := func(use string) Vec { return low(m.one(use), "Y") }
	x, most, abs, inverse, d := y("dim"), y("largest magnitude"), y("magnitude bits"), y("127/most"), y("D")
	valid, infinite, sum, word, offset := y("lanes of numbers"), y("infinity"), y("sum of integers"), y("four codes"), y("128")
	const127 := y("127")
	f.locals = kernel.Int8Block*bytes + cacheLine
	f.LocalBase(f, local)
	f.load("Q", q)
	f.loadBytes("Stride", qs)
	f.load("Codes", codes)
	f.loadBytes("Lanes", cs)
	f.load("Scales", scales)
	f.load("Sums", sums)
	f.load("Dim", dims)
	for _, c := range []struct {
		bits uint32
		v    Vec
	}{{1<<31 - 1, abs}, {0x7f800000, infinite}, {128, offset}, {math.Float32bits(127), const127}} {
		f.Op("VPBROADCASTD", f.word(c.bits), c.v)
	}
	f.Loop("block")
	f.Op(f.Mov, 0, lane)
	f.Loop("lanes")
	f.Op(f.Mov, dims, n)
	f.Branch(f, n, "LE", imm(kernel.Int8Block), "part")
	f.Op(f.Mov, kernel.Int8Block, n)
	f.Label("part")
	f.Op("LEAQ", fmt.Sprintf("(%s)(%s*1)", q, lane), at)
	f.Op(f.Mov, local, to)
	f.Op("VPXOR", most, most, most)
	f.Loop("most")
	f.Op("VMOVUPS", mem(at, 0), x)
	f.Op("VMOVUPS", x, mem(to, 0))
	f.Op("VPAND", abs, x, x)
	f.Op("VPMAXSD", x, most, most) // a NaN is above all numbers
	f.Op(f.Add, qs, at)
	f.Op(f.Add, bytes, to)
	f.Countdown(n, "most")
	f.Op(f.Mov, kernel.Int8Block, n)
	f.Op(f.Sub, dims, n)
	f.Branch(f, n, "LE", "$0", "whole")
	f.Op("VPXOR", x, x, x)
	f.Loop("zeros")
	f.Op("VMOVUPS", x, mem(to, 0))
	f.Op(f.Add, bytes, to)
	f.Countdown(n, "zeros")
	f.Label("whole")
	// D is NaN where most is not finite, and otherwise 0 where the factor is not.
	f.Op("VDIVPS", most, const127, inverse)
	f.Op("VDIVPS", const127, most, d)
	f.Op("VPCMPGTD", inverse, infinite, valid)
	f.Op("VPAND", valid, d, d)
	f.Op("VPCMPGTD", most, infinite, x) // finite
	f.Op("VPAND", x, valid, valid)
	f.Op("VPXOR", word, word, word)
	f.Op("VPCMPEQD", word, x, x)
	f.Op("VPOR", x, d, d) // all ones are a NaN
	f.Op("VPXOR", sum, sum, sum)
	f.Op("LEAQ", fmt.Sprintf("(%s)(%s*1)", codes, lane), to)
	for g := range int8Groups {
		for i := range 4 {
			f.Op("VMULPS", mem(local, (4*g+i)*bytes), inverse, x)
			f.Op("VCVTPS2DQ", x, x)
			f.Op("VPAND", valid, x, x)
			f.Op("VPADDD", x, sum, sum)
			f.Op("VPADDD", offset, x, x)
			if i == 0 {
				f.Op("VMOVAPS", x, word)
				continue
			}
			f.Op("VPSLLD", 8*i, x, x)
			f.Op("VPOR", x, word, word)
		}
		f.Op("VMOVUPS", word, mem(to, 0))
		f.Op(f.Add, cs, to)
	}
	f.Op("VMOVUPS", d, fmt.Sprintf("(%s)(%s*1)", scales, lane))
	f.Branch(f, sums, "EQ", "$0", "sumless")
	f.Op("VCVTDQ2PS", sum, sum)
	f.Op("VMULPS", d, sum, sum)
	f.Op("VMOVUPS", sum, fmt.Sprintf("(%s)(%s*1)", sums, lane))
	f.Label("sumless")
	f.Op(f.Add, 4*lanes, lane)
	f.Branch(f, lane, "LT", string(cs), "lanes")
	f.Op(f.Mov, qs, at)
	f.times(kernel.Int8Block, at)
	f.Op(f.Add, at, q)
	f.Op("LEAQ", fmt.Sprintf("(%s)(%s*8)", codes, cs), codes)
	f.Op(f.Add, cs, scales)
	f.Branch(f, sums, "EQ", "$0", "next")
	f.Op(f.Add, cs, sums)
	f.Label("next")
	f.Op(f.Sub, kernel.Int8Block, dims)
	f.Branch(f, dims, "GT", "$0", "block")
	f.Return(f)
	return f
}
