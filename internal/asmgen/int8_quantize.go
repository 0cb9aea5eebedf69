package asmgen

import (
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const quantizeFormula = `
for r := range Rows, each 32 values x of row r {
	most = max(|x|)
	D, q = most/127, round(x * (127/most))
	if 127/most is infinite { D, q = 0, 0 }
	if most is not finite { D, q = NaN, 0 }
	Sum, Whole, First, Second = D*sum(q), -128*sum(q), and the latter of either half
}
`

// quantize writes Quantize, for a ColStride of 1, with instructions of AVX2.
func quantize(arch *Arch) *Func {
	if arch.DotBytes != nil {
		return quantizeBytes(arch)
	}
	f := newFunc(arch, "quantize", reflect.TypeFor[kernel.QuantizeArgs](), quantizeFormula)
	x, dst, k := f.int("X"), f.int("Dst"), f.int("values left of the row")
	rows, row, rowStride := f.int("rows left"), f.int("row of X"), f.int("bytes from row to row of X")
	dstRow, dstStride := f.int("row of Dst"), f.int("bytes from row to row of Dst")
	bits := f.int("bits")
	n := kernel.Int8Block / arch.Lanes
	m := f.vectors("all:")
	v := m.take(n, "values")
	most, tmp, abs := m.one("largest magnitude"), m.one("scratch"), m.one("magnitude bits")
	const127, zero, order := m.one("127"), m.one("0"), m.one("order of integers of 16 bits")
	d, inverse := m.one("D"), m.one("127/most")
	dwords := m.one("order of packed dwords")
	words := arch.Dot4 == nil
	packed, half := low(v[0], "Y"), kernel.Int8Integers(words)

	f.load("X", row)
	f.loadBytes("RowStride", rowStride)
	f.load("Rows", rows)
	f.load("Dst", dstRow)
	f.load("RowBytes", dstStride)
	f.Broadcast(f, f.constant(math.Float32frombits(1<<31-1)), abs)
	f.Broadcast(f, f.constant(127), const127)
	f.Zero(f, zero)
	if words {
		f.Op("VMOVUPS", f.int8Order(), low(order, "Y"))
	}
	if n == 4 { // packs go by parts
		f.Op("VMOVUPS", f.symbol("packedOrder", 0, 4, 1, 5, 2, 6, 3, 7)+"(SB)", dwords)
	}
	f.Loop("row")
	f.Op(f.Mov, row, x)
	f.Op(f.Mov, dstRow, dst)
	f.load("Depth", k)
	f.Loop("block")
	for i, v := range v {
		f.Op(f.Load, mem(x, i*f.Bytes()), v)
		f.Op("VANDPS", abs, v, tmp)
		if i == 0 {
			f.Op(f.Copy, tmp, most)
		} else {
			f.Op(f.MaxBits, tmp, most, most) // a NaN is above all numbers
		}
	}
	f.ReduceMax(f, most, tmp)
	f.Op("VMOVD", low(most, "X"), bits)
	f.Op("CMPL", bits, imm(0x7f800000))
	f.Op("JGE", "special")
	f.Op("VDIVSS", low(const127, "X"), low(most, "X"), low(d, "X"))
	f.Op("VDIVSS", low(most, "X"), low(const127, "X"), low(inverse, "X"))
	f.Op("VMOVD", low(inverse, "X"), bits)
	f.Op("CMPL", bits, imm(0x7f800000))
	f.Op("JEQ", "tiny")
	f.Spread(f, inverse, inverse)
	for _, v := range v {
		f.Op(f.MulV, inverse, v, v)
		f.Op("VCVTPS2DQ", v, v)
	}

	// 32 bytes in order.
	if n == 2 {
		for _, v := range v {
			f.Op("VPMOVSDB", v, low(v, "X"))
		}
		f.Op("VINSERTI128", 1, low(v[1], "X"), packed, packed)
	} else {
		f.Op("VPACKSSDW", v[1], v[0], v[0])
		f.Op("VPACKSSDW", v[3], v[2], v[2])
		f.Op("VPACKSSWB", v[2], v[0], v[0])
		f.Op("VPERMD", v[0], dwords, v[0])
	}
	f.Label("integers")
	sums, t := low(v[1], "Y"), low(tmp, "Y")
	f.Broadcast(f, f.constant(math.Float32frombits(0x80808080)), Vec(t))
	f.Op("VPXOR", t, packed, sums)
	f.Op("VPSADBW", low(zero, "Y"), sums, sums) // sums of 8 integers, each with 128 added
	f.Op("VPSHUFD", 0b01_00_11_10, sums, t)
	f.Op("VPADDD", t, sums, sums) // of 16, in each half
	if words {
		f.Op("VPSHUFB", low(order, "Y"), packed, packed)
		f.Op("VPMOVSXBW", low(v[0], "X"), t)
		f.Op("VMOVUPS", t, mem(dst, 0))
		f.Op("VEXTRACTI128", 1, packed, low(v[0], "X"))
		f.Op("VPMOVSXBW", low(v[0], "X"), t)
		f.Op("VMOVUPS", t, mem(dst, 32))
	} else {
		f.Op("VMOVUPS", packed, mem(dst, 0))
	}
	f.Op("VMOVSS", low(d, "X"), mem(dst, half+kernel.Int8D))
	first, second := low(sums, "X"), low(tmp, "X")
	f.Op("VEXTRACTI128", 1, sums, second)
	bias := f.constant(math.Float32frombits(16 * 128))
	whole := low(inverse, "X")
	for _, s := range []struct {
		sum Vec
		at  int
	}{{first, kernel.Int8First}, {second, kernel.Int8Second}} {
		f.Op("VPSUBD", bias, s.sum, s.sum)
	}
	f.Op("VPADDD", first, second, whole)
	f.Op("VCVTDQ2PS", whole, low(most, "X"))
	f.Op("VMULSS", low(d, "X"), low(most, "X"), low(most, "X"))
	f.Op("VMOVSS", low(most, "X"), mem(dst, half+kernel.Int8Sum))
	for _, s := range []struct {
		sum Vec
		at  int
	}{{whole, kernel.Int8Whole}, {first, kernel.Int8First}, {second, kernel.Int8Second}} {
		f.Op("VPSLLD", 7, s.sum, s.sum)
		f.Op("VPSUBD", s.sum, low(zero, "X"), s.sum)
		f.Op("VMOVD", s.sum, mem(dst, half+s.at))
	}
	f.Op(f.Add, 4*kernel.Int8Block, x)
	f.Op(f.Add, kernel.Int8BlockBytes(words), dst)
	f.Op(f.Sub, kernel.Int8Block, k)
	f.Branch(f, k, "NE", "$0", "block")
	f.Op(f.Add, rowStride, row)
	f.Op(f.Add, dstStride, dstRow)
	f.Countdown(rows, "row")
	f.Return(f)

	f.Label("special")
	f.Op("VMOVSS", f.constant(math.Float32frombits(0x7fc00000)), low(d, "X"))
	f.Jump("zeros")
	f.Label("tiny")
	f.Zero(f, d)
	f.Label("zeros")
	f.Zero(f, v[0])
	f.Jump("integers")
	return f
}
