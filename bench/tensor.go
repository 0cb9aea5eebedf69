package bench

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// A Tensor is rows of keys or values of one of the element types; the slices of the others
// are nil.
type Tensor struct {
	Float32  []float32
	Float16  []qkv.Float16
	BFloat16 []qkv.BFloat16
	Int8     []int8
	Scale    []float32 // of each row of Int8
	Q8_0     []qkv.BlockQ8_0
	E4M3     []qkv.Float8E4M3
	E5M2     []qkv.Float8E5M2
	Q4_0     []qkv.BlockQ4_0
	Q4_1     []qkv.BlockQ4_1

	elem kernel.Elem
	dim  int
}

func newTensor(e kernel.Elem, rows, dim int) Tensor {
	t := Tensor{elem: e, dim: dim}
	switch n := rows * dim; e {
	case kernel.Float32:
		t.Float32 = make([]float32, n)
	case kernel.Float16:
		t.Float16 = make([]qkv.Float16, n)
	case kernel.BFloat16:
		t.BFloat16 = make([]qkv.BFloat16, n)
	case kernel.Int8:
		t.Int8, t.Scale = make([]int8, n), make([]float32, rows)
	case kernel.Q8_0:
		t.Q8_0 = make([]qkv.BlockQ8_0, n/kernel.BlockValues)
	case kernel.E4M3:
		t.E4M3 = make([]qkv.Float8E4M3, n)
	case kernel.E5M2:
		t.E5M2 = make([]qkv.Float8E5M2, n)
	case kernel.Q4_0:
		t.Q4_0 = make([]qkv.BlockQ4_0, n/kernel.BlockValues)
	case kernel.Q4_1:
		t.Q4_1 = make([]qkv.BlockQ4_1, n/kernel.BlockValues)
	}
	return t
}

// fill fills the rows that are used with standard normal numbers, rounded to the type. Those
// that are not stay unwritten, and take no memory.
func (t *Tensor) fill(rows int, seed, stream uint64, used func(row int) bool) {
	if t.elem == kernel.Float32 && used == nil {
		fillNormal(t.Float32, seed, stream)
		return
	}
	piece := max(1, pieceLen/t.dim)
	parallel((rows+piece-1)/piece, func(p int) {
		r := rand.New(rand.NewPCG(seed, stream<<40|uint64(p)))
		x := make([]float32, t.dim)
		for row := p * piece; row < min((p+1)*piece, rows); row++ {
			if used != nil && !used(row) {
				continue
			}
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			t.set(row, x)
		}
	})
}

// set rounds x into a row: of 16 bits towards 0, otherwise to the nearest of the codes.
func (t *Tensor) set(row int, x []float32) {
	at := row * t.dim
	switch t.elem {
	case kernel.Float32:
		copy(t.Float32[at:], x)
	case kernel.Float16:
		for i, x := range x {
			t.Float16[at+i] = toFloat16(x)
		}
	case kernel.BFloat16:
		for i, x := range x {
			t.BFloat16[at+i] = qkv.BFloat16(math.Float32bits(x) >> 16)
		}
	case kernel.Int8:
		scale := float32(greatest(x) / 127)
		t.Scale[row] = scale
		quantise(t.Int8[at:at+t.dim], x, float64(scale))
	case kernel.Q8_0:
		const n = kernel.BlockValues
		for i := range t.dim / n {
			b, x := &t.Q8_0[at/n+i], x[i*n:][:n]
			scale := toFloat16(float32(greatest(x) / 127))
			b.Scale = uint16(scale)
			quantise(b.Quants[:], x, fromFloat16(scale))
		}
	case kernel.E4M3:
		for i, x := range x {
			t.E4M3[at+i] = qkv.Float8E4M3(e4m3.nearest(x))
		}
	case kernel.E5M2:
		for i, x := range x {
			t.E5M2[at+i] = qkv.Float8E5M2(e5m2.nearest(x))
		}
	case kernel.Q4_0:
		const n = kernel.BlockValues
		for i := range t.dim / n {
			b, x := &t.Q4_0[at/n+i], x[i*n:][:n]
			most := greatest(x) // of one of them, which becomes -8 times the scale
			if slices.Contains(x, float32(most)) {
				most = -most
			}
			scale := toFloat16(float32(most / 8))
			b.Scale = uint16(scale)
			codes(&b.Quants, x, fromFloat16(scale), -8*fromFloat16(scale))
		}
	case kernel.Q4_1:
		const n = kernel.BlockValues
		for i := range t.dim / n {
			b, x := &t.Q4_1[at/n+i], x[i*n:][:n]
			least, most := slices.Min(x), slices.Max(x)
			scale, add := toFloat16((most-least)/15), toFloat16(least)
			b.Scale, b.Min = uint16(scale), uint16(add)
			codes(&b.Quants, x, fromFloat16(scale), fromFloat16(add))
		}
	}
}

// float8 are the magnitudes of a type of 8 bits, the finite ones.
type float8 []float64

// e4m3 and e5m2 are those of codes 0 to the greatest.
var (
	e4m3 = float8Of(0x7e, 3, 7)
	e5m2 = float8Of(0x7b, 2, 15)
)

func float8Of(last, fraction, bias int) float8 {
	all := make(float8, last+1)
	for code := range all {
		exp, digits := code>>fraction, code&(1<<fraction-1)
		if exp == 0 {
			exp = 1
		} else {
			digits |= 1 << fraction
		}
		all[code] = math.Ldexp(float64(digits), exp-bias-fraction)
	}
	return all
}

// nearest returns the code of the magnitude nearest to that of x, with its sign.
func (all float8) nearest(x float32) uint8 {
	abs := math.Abs(float64(x))
	code, _ := slices.BinarySearch(all, abs)
	if code == len(all) || code > 0 && abs-all[code-1] < all[code]-abs {
		code--
	}
	if math.Signbit(float64(x)) {
		code |= 0x80
	}
	return uint8(code)
}

// of returns the value of a code.
func (all float8) of(code uint8) float32 {
	return float32(math.Copysign(all[code&0x7f], float64(int8(code|1))))
}

// codes makes the nearest of the 16 codes of scale*code + add.
func codes(to *[kernel.BlockValues / 2]uint8, x []float32, scale, add float64) {
	*to = [kernel.BlockValues / 2]uint8{}
	for i, x := range x {
		q := 0.0
		if scale != 0 {
			q = max(0, min(math.RoundToEven((float64(x)-add)/scale), 15))
		}
		to[i%len(to)] |= uint8(q) << (i / len(to) * 4)
	}
}

// code returns the code of value i.
func code(of *[kernel.BlockValues / 2]uint8, i int) float64 {
	return float64(of[i%len(of)] >> (i / len(of) * 4) & 15)
}

// clone returns a copy.
func (t *Tensor) clone() Tensor {
	c := *t
	c.Float32, c.Float16, c.BFloat16 = slices.Clone(t.Float32), slices.Clone(t.Float16), slices.Clone(t.BFloat16)
	c.Int8, c.Scale, c.Q8_0 = slices.Clone(t.Int8), slices.Clone(t.Scale), slices.Clone(t.Q8_0)
	c.E4M3, c.E5M2, c.Q4_0, c.Q4_1 = slices.Clone(t.E4M3), slices.Clone(t.E5M2), slices.Clone(t.Q4_0), slices.Clone(t.Q4_1)
	return c
}

func greatest(x []float32) float64 {
	most := 0.0
	for _, x := range x {
		most = max(most, math.Abs(float64(x)))
	}
	return most
}

func quantise(to []int8, x []float32, scale float64) {
	if scale == 0 {
		clear(to)
		return
	}
	for i, x := range x {
		to[i] = int8(max(-127, min(math.RoundToEven(float64(x)/scale), 127)))
	}
}

// row returns the values of a row: in place if they are float32, otherwise in to, or in new
// memory if it is nil.
func (t *Tensor) row(row int, to []float32) []float32 {
	at := row * t.dim
	if t.elem == kernel.Float32 {
		return t.Float32[at:][:t.dim]
	}
	if to == nil {
		to = make([]float32, t.dim)
	}
	for i := range to {
		switch t.elem {
		case kernel.Float16:
			to[i] = float32(fromFloat16(t.Float16[at+i]))
		case kernel.BFloat16:
			to[i] = math.Float32frombits(uint32(t.BFloat16[at+i]) << 16)
		case kernel.Int8:
			to[i] = float32(float64(t.Scale[row]) * float64(t.Int8[at+i]))
		case kernel.Q8_0:
			b := &t.Q8_0[(at+i)/kernel.BlockValues]
			to[i] = float32(fromFloat16(qkv.Float16(b.Scale)) * float64(b.Quants[i%kernel.BlockValues]))
		case kernel.E4M3:
			to[i] = e4m3.of(uint8(t.E4M3[at+i]))
		case kernel.E5M2:
			to[i] = e5m2.of(uint8(t.E5M2[at+i]))
		case kernel.Q4_0:
			b := &t.Q4_0[(at+i)/kernel.BlockValues]
			to[i] = float32(fromFloat16(qkv.Float16(b.Scale)) * (code(&b.Quants, i%kernel.BlockValues) - 8))
		case kernel.Q4_1:
			b := &t.Q4_1[(at+i)/kernel.BlockValues]
			to[i] = float32(float64(fromFloat16(qkv.Float16(b.Scale))*code(&b.Quants, i%kernel.BlockValues)) + fromFloat16(qkv.Float16(b.Min)))
		}
	}
	return to
}

// integer returns the scale of element i of a row of a type of integers, and its integer.
func (t *Tensor) integer(row, i int) (scale, q float64) {
	at := row*t.dim + i
	switch t.elem {
	case kernel.Int8:
		return float64(t.Scale[row]), float64(t.Int8[at])
	case kernel.Q8_0:
		b := &t.Q8_0[at/kernel.BlockValues]
		return fromFloat16(qkv.Float16(b.Scale)), float64(b.Quants[i%kernel.BlockValues])
	case kernel.Q4_0:
		b := &t.Q4_0[at/kernel.BlockValues]
		return fromFloat16(qkv.Float16(b.Scale)), code(&b.Quants, i%kernel.BlockValues) - 8
	}
	b := &t.Q4_1[at/kernel.BlockValues]
	return fromFloat16(qkv.Float16(b.Scale)), code(&b.Quants, i%kernel.BlockValues)
}

// views returns a view of the elements, as layout makes it of them, and one of the scales if
// there are any.
func (t *Tensor) views(l layout) (elements, scales qkv.View) {
	switch t.elem {
	case kernel.Float16:
		return viewOf(t.Float16, l, t.dim), scales
	case kernel.BFloat16:
		return viewOf(t.BFloat16, l, t.dim), scales
	case kernel.Int8:
		return viewOf(t.Int8, l, t.dim), viewOf(t.Scale, l, 1)
	case kernel.Q8_0:
		return viewOf(t.Q8_0, l, t.dim), scales
	case kernel.E4M3:
		return viewOf(t.E4M3, l, t.dim), scales
	case kernel.E5M2:
		return viewOf(t.E5M2, l, t.dim), scales
	case kernel.Q4_0:
		return viewOf(t.Q4_0, l, t.dim), scales
	case kernel.Q4_1:
		return viewOf(t.Q4_1, l, t.dim), scales
	}
	return viewOf(t.Float32, l, t.dim), scales
}

// A layout is the axes of an operand: contiguous [batch, heads, seq, dim], or packed
// [seq, heads, dim].
type layout struct {
	packed            bool
	batch, heads, seq int
}

func viewOf[T qkv.Element](x []T, l layout, dim int) qkv.View {
	if l.packed {
		return qkv.THD(x, l.seq, l.heads, dim)
	}
	return qkv.BHSD(x, l.batch, l.heads, l.seq, dim)
}

// row returns the index of a row of an operand.
func (l layout) row(batch, head, i int) int {
	if l.packed {
		return i*l.heads + head
	}
	return (batch*l.heads+head)*l.seq + i
}

func (l layout) rows() int {
	if l.packed {
		return l.seq * l.heads
	}
	return l.batch * l.heads * l.seq
}
