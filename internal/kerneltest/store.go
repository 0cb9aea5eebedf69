package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// tied draws whole and half multiples of unit, up to 127 times: of a row with the largest of
// them, unit is the scale, and half of the quotients are ties.
func tied(unit float64) gen {
	return gen{fmt.Sprintf("tied %g", unit), func(r *rand.Rand) float32 {
		if r.IntN(8) == 0 {
			return float32(127 * unit)
		}
		return float32(float64(r.IntN(509)-254) / 2 * unit)
	}}
}

// nearlyTied draws what is nearest to half multiples of the scale of a row with the largest
// magnitude most, and the numbers beside.
func nearlyTied(most float32) gen {
	scale := most / 127
	return gen{fmt.Sprintf("nearly tied, to %g", most), func(r *rand.Rand) float32 {
		if r.IntN(8) == 0 {
			return most
		}
		x := (float32(r.IntN(254)-127) + 0.5) * scale
		return math.Float32frombits(math.Float32bits(x) + uint32(r.IntN(3)-1))
	}}
}

// narrowed are numbers that are hard to make narrower.
var narrowed = append([]gen{
	// Ties and the largest numbers of E4M3 and of E5M2, and what they make subnormal.
	{"ties of E4M3", func(r *rand.Rand) float32 {
		return float32(math.Ldexp(float64(r.IntN(33)-16), r.IntN(18)-10))
	}},
	uniform(-500, 500).with(constant(464), 8).with(constant(nan), 16), uniform(-70000, 70000).with(constant(-61440), 8),
	// Blocks whose largest magnitude is that of several numbers, of either sign, or whose least number is 0.
	{"few integers", func(r *rand.Rand) float32 { return float32(r.IntN(5) - 2) }},
	{"ones", func(r *rand.Rand) float32 { return float32(1 - 2*r.IntN(2)) }},
	{"zeros of either sign", func(r *rand.Rand) float32 {
		return float32(math.Copysign(float64(r.IntN(9)/8), float64(r.IntN(2)*2-1)))
	}},
	tied(1), tied(0x1p-100), tied(0x1p-148), tied(0x1p100), zero,
	nearlyTied(3.1), nearlyTied(1.4e-7), nearlyTied(5.77e36), nearlyTied(2.9e-36), nearlyTied(99),
	// Ties of bfloat16, and of binary16, whose subnormal numbers are multiples of 2^-24.
	{"ties of bfloat16", func(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32()&^0xffff | 0x8000) }},
	{"ties of binary16", func(r *rand.Rand) float32 {
		return float32(math.Ldexp(float64(2*r.IntN(2048)+2049)*float64(1-2*r.IntN(2)), r.IntN(32)-28))
	}},
	{"subnormal binary16", func(r *rand.Rand) float32 {
		return float32(math.Ldexp(float64(r.IntN(8193)-4096), -25-r.IntN(2)))
	}},
	uniform(-65600, 65600).with(constant(65520), 8).with(constant(-65504), 8),
	// Scales of few bits, and those whose reciprocals are the largest or none.
	{"tiny", func(r *rand.Rand) float32 { return math.Float32frombits(r.Uint32N(1<<10) | r.Uint32()&(1<<31)) }},
	{"least scales", func(r *rand.Rand) float32 { return float32(math.Ldexp(r.Float64()*2-1, -121)) }},
	uniform(-1, 1).with(constant(127*0x1p-128), 1), uniform(-0x1p-130, 0x1p-130).with(constant(127*(0x1p-128+tiny)), 4),
	uniform(-huge/2, huge/2).with(constant(huge), 8).with(constant(-huge), 8),
	normal.with(constant(inf), 64), normal.with(constant(nan), 64), normal.with(bits, 64),
}, numbers...)

// bytes returns rows of n bytes, to be written, flush against the guard to the byte.
func (s *suite) bytes(name string, rows, n, stride int) unsafe.Pointer {
	first, last := min(0, (rows-1)*stride), max(0, (rows-1)*stride)
	size := last - first + n
	words := s.arena.exactWords(s.TB, name, (size+3)/4)
	base := unsafe.Pointer(unsafe.SliceData(words))
	if s.edge == back {
		base = unsafe.Add(base, 4*len(words)-size)
	}
	base = unsafe.Add(base, -first)
	for r := range rows {
		for i := range n {
			*(*byte)(unsafe.Add(base, r*stride+i)) = 0xa5
		}
	}
	return base
}

// exactStrided returns element 0 of n elements, to be written, of which all bits count.
func (s *suite) exactStrided(name string, n, stride int) *float32 {
	first, last := min(0, (n-1)*stride), max(0, (n-1)*stride)
	words := s.arena.exactWords(s.TB, name, last-first+1)
	for i := range n {
		words[i*stride-first] = stale
	}
	return (*float32)(unsafe.Pointer(&words[-first]))
}

func (s *suite) store(int) {
	for _, e := range kernel.Elems() {
		for _, dim := range elemDims(e) {
			row := e.RowBytes(dim)
			to := []int{row, row + 3*e.Align(), -row - e.Align()}
			from := []layout{{"contiguous", dim, 1}, {"padded", dim + 3, 1}, {"backward", -dim, 1}, {"one row", 0, 1}, {"overlapping", 1, 1}}
			for range 6 {
				if s.skip() {
					continue
				}
				s.begin()
				rows := 1 + s.IntN([]int{1, 3, 40}[s.IntN(3)])
				l, g := from[s.IntN(len(from))], choose(s.Rand, narrowed)
				a := kernel.StoreArgs{
					Src: s.strided("Src", rows, l.outer, dim, 1, g), SrcStride: l.outer,
					Elem: e, Rows: rows, Dim: dim, DstStride: to[s.IntN(len(to))],
				}
				a.Dst = s.bytes("Dst", rows, row, a.DstStride)
				if e.Scale() == kernel.RowScale {
					a.ScaleStride = []int{1, 3, -1}[s.IntN(3)]
					a.Scale = s.exactStrided("Scale", rows, a.ScaleStride)
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Store %v rows=%d dim=%d Dst=%d Scale=%d %v %s", e, rows, dim, a.DstStride, a.ScaleStride, l, g.name)
				}
				s.check(what, func() { store(&a) }, func() { s.set.Store(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}

// store is a transcription of the contract.
func store(a *kernel.StoreArgs) {
	for r := range a.Rows {
		src, dst := ptr.At(a.Src, r*a.SrcStride), unsafe.Add(a.Dst, r*a.DstStride)
		switch a.Elem {
		case kernel.Int8:
			*ptr.At(a.Scale, r*a.ScaleStride) = storeInt8((*int8)(dst), src, a.Dim)
		case kernel.Q8_0:
			for i := 0; i < a.Dim; i += kernel.BlockValues {
				storeBlock((*kernel.BlockQ8_0)(unsafe.Add(dst, i/kernel.BlockValues*a.Elem.Unit())), ptr.At(src, i))
			}
		case kernel.Q4_0, kernel.Q4_1:
			for i := 0; i < a.Dim; i += kernel.BlockValues {
				x, at := unsafe.Slice(ptr.At(src, i), kernel.BlockValues), unsafe.Add(dst, i/kernel.BlockValues*a.Elem.Unit())
				if a.Elem == kernel.Q4_0 {
					storeQ4_0((*kernel.BlockQ4_0)(at), x)
				} else {
					storeQ4_1((*kernel.BlockQ4_1)(at), x)
				}
			}
		default:
			for i := range a.Dim {
				storeOne(a.Elem, unsafe.Add(dst, i*a.Elem.Unit()), *ptr.At(src, i))
			}
		}
	}
}

func storeOne(e kernel.Elem, p unsafe.Pointer, x float32) {
	switch e {
	case kernel.Float16:
		*(*uint16)(p) = fp.Float32ToFloat16(x)
	case kernel.BFloat16:
		*(*uint16)(p) = fp.Float32ToBFloat16(x)
	case kernel.E4M3:
		*(*uint8)(p) = fp.Float32ToFloat8E4M3(x)
	case kernel.E5M2:
		*(*uint8)(p) = fp.Float32ToFloat8E5M2(x)
	default:
		*(*uint32)(p) = math.Float32bits(x)
	}
}

// magnitude returns the largest of n, NaN if one is.
func magnitude(x *float32, n int) (most float64) {
	for i := range n {
		most = math.Max(most, math.Abs(float64(*ptr.At(x, i)))) // that of an infinity and a NaN is infinite
	}
	for i := range n {
		if v := *ptr.At(x, i); v != v {
			return math.NaN()
		}
	}
	return most
}

func storeInt8(dst *int8, x *float32, n int) float32 {
	q := unsafe.Slice(dst, n)
	clear(q)
	scale := float32(magnitude(x, n)) / 127
	if scale-scale != 0 {
		return nan
	}
	for i := range q {
		if scale != 0 {
			ratio := *ptr.At(x, i) / scale
			q[i] = int8(math.RoundToEven(math.Min(127, math.Max(-127, float64(ratio)))))
		}
	}
	return scale
}

func storeBlock(b *kernel.BlockQ8_0, x *float32) {
	*b = kernel.BlockQ8_0{}
	d := float32(magnitude(x, len(b.Quants))) / 127
	if d != d {
		b.Scale = 0x7e00
		return
	}
	b.Scale = fp.Float32ToFloat16(d)
	inverse := 1 / d
	if inverse > huge {
		return
	}
	for i := range b.Quants {
		if product := float32(*ptr.At(x, i) * inverse); product-product == 0 { // rounded before it is subtracted
			b.Quants[i] = int8(math.Round(float64(product)))
		}
	}
}

// storeCodes writes codes, in the lower halves of bytes and then in the upper ones.
func storeCodes(quants *[16]uint8, code func(i int) float32) {
	for i := range 32 {
		c := code(i)
		if !(c >= 0) { // a NaN, of a range that overflows
			c = 0
		}
		quants[i%16] |= uint8(min(c, 15)) << (i / 16 * 4)
	}
}

func storeQ4_0(b *kernel.BlockQ4_0, x []float32) {
	*b = kernel.BlockQ4_0{Scale: 0x7e00}
	most := magnitude(&x[0], len(x))
	if !(most <= float64(huge)) {
		return
	}
	first := slices.IndexFunc(x, func(x float32) bool { return math.Abs(float64(x)) == most })
	d := x[first] / -8
	if most == 0 {
		d = negZero
	}
	b.Scale = fp.Float32ToFloat16(d)
	inverse := 1 / d
	if inverse-inverse != 0 {
		inverse = 0
	}
	storeCodes(&b.Quants, func(i int) float32 { return float32(x[i]*inverse) + 8.5 })
}

func storeQ4_1(b *kernel.BlockQ4_1, x []float32) {
	*b = kernel.BlockQ4_1{Scale: 0x7e00}
	if !(magnitude(&x[0], len(x)) <= float64(huge)) {
		return
	}
	least := slices.Min(x)
	if least == 0 {
		least = 0 // of either sign
	}
	d := float32(math.Abs(float64(slices.Max(x)-least))) / 15
	b.Scale, b.Min = fp.Float32ToFloat16(d), fp.Float32ToFloat16(least)
	inverse := 1 / d
	if inverse-inverse != 0 {
		inverse = 0
	}
	storeCodes(&b.Quants, func(i int) float32 { return float32((x[i]-least)*inverse) + 0.5 })
}
