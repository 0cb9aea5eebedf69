package qkv_test

import (
	"math"

	"github.com/qkv-go/qkv"
)

var elemTypes = []qkv.ElemType{
	qkv.TypeFloat32, qkv.TypeFloat16, qkv.TypeBFloat16, qkv.TypeInt8, qkv.TypeQ8_0,
	qkv.TypeFloat8E4M3, qkv.TypeFloat8E5M2, qkv.TypeQ4_0, qkv.TypeQ4_1,
}

// inBlocks reports whether a type has blocks of 32 values.
func inBlocks(typ qkv.ElemType) bool {
	return typ == qkv.TypeQ8_0 || typ == qkv.TypeQ4_0 || typ == qkv.TypeQ4_1
}

// must panics on the error of a call that is right.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// stored returns the values that a row has once it is of a type.
func stored(typ qkv.ElemType, row []float32) []float32 {
	out := make([]float32, len(row))
	switch typ {
	case qkv.TypeFloat32:
		copy(out, row)
	case qkv.TypeFloat16:
		for i, x := range row {
			out[i] = qkv.ToFloat16(x).Float32()
		}
	case qkv.TypeBFloat16:
		for i, x := range row {
			out[i] = qkv.ToBFloat16(x).Float32()
		}
	case qkv.TypeInt8:
		ints := make([]int8, len(row))
		scale, err := qkv.QuantizeInt8(ints, row)
		must(err)
		must(qkv.DequantizeInt8(out, ints, scale))
	case qkv.TypeQ8_0:
		blocks := make([]qkv.BlockQ8_0, len(row)/32)
		must(qkv.QuantizeQ8_0(blocks, row))
		must(qkv.DequantizeQ8_0(out, blocks))
	case qkv.TypeFloat8E4M3:
		for i, x := range row {
			out[i] = qkv.ToFloat8E4M3(x).Float32()
		}
	case qkv.TypeFloat8E5M2:
		for i, x := range row {
			out[i] = qkv.ToFloat8E5M2(x).Float32()
		}
	case qkv.TypeQ4_0:
		blocks := make([]qkv.BlockQ4_0, len(row)/32)
		must(qkv.QuantizeQ4_0(blocks, row))
		must(qkv.DequantizeQ4_0(out, blocks))
	case qkv.TypeQ4_1:
		blocks := make([]qkv.BlockQ4_1, len(row)/32)
		must(qkv.QuantizeQ4_1(blocks, row))
		must(qkv.DequantizeQ4_1(out, blocks))
	}
	return out
}

// A pool is a contiguous tensor of keys or values of a type, whose rows are NaN until they
// are set.
type pool struct {
	typ      qkv.ElemType
	shape    [4]int
	floats   []float32
	halves   []qkv.Float16
	brains   []qkv.BFloat16
	ints     []int8
	scales   []float32 // of ints
	blocks   []qkv.BlockQ8_0
	e4m3     []qkv.Float8E4M3
	e5m2     []qkv.Float8E5M2
	q4       []qkv.BlockQ4_0
	q41      []qkv.BlockQ4_1
	rowUnits int
}

func newPool(typ qkv.ElemType, shape [4]int) *pool {
	p := &pool{typ: typ, shape: shape, rowUnits: shape[3]}
	rows := shape[0] * shape[1] * shape[2]
	switch typ {
	case qkv.TypeFloat32:
		p.floats = draw(rows*shape[3], func() float32 { return nan })
	case qkv.TypeFloat16:
		p.halves = draw(rows*shape[3], func() qkv.Float16 { return qkv.ToFloat16(nan) })
	case qkv.TypeBFloat16:
		p.brains = draw(rows*shape[3], func() qkv.BFloat16 { return qkv.ToBFloat16(nan) })
	case qkv.TypeInt8:
		p.ints = draw(rows*shape[3], func() int8 { return math.MinInt8 })
		p.scales = draw(rows, func() float32 { return nan })
	case qkv.TypeQ8_0:
		p.rowUnits /= 32
		p.blocks = draw(rows*p.rowUnits, func() qkv.BlockQ8_0 { return qkv.BlockQ8_0{Scale: 0x7e00} })
	case qkv.TypeFloat8E4M3:
		p.e4m3 = draw(rows*shape[3], func() qkv.Float8E4M3 { return qkv.ToFloat8E4M3(nan) })
	case qkv.TypeFloat8E5M2:
		p.e5m2 = draw(rows*shape[3], func() qkv.Float8E5M2 { return qkv.ToFloat8E5M2(nan) })
	case qkv.TypeQ4_0:
		p.rowUnits /= 32
		p.q4 = draw(rows*p.rowUnits, func() qkv.BlockQ4_0 { return qkv.BlockQ4_0{Scale: 0x7e00} })
	case qkv.TypeQ4_1:
		p.rowUnits /= 32
		p.q41 = draw(rows*p.rowUnits, func() qkv.BlockQ4_1 { return qkv.BlockQ4_1{Min: 0x7e00} })
	}
	return p
}

// poolOf returns a tensor's rows in a type.
func poolOf(typ qkv.ElemType, x *tensor) *pool {
	p := newPool(typ, x.shape)
	for b := range x.shape[0] {
		for h := range x.shape[1] {
			for s := range x.shape[2] {
				p.set(b, h, s, rowOf(x, b, h, s))
			}
		}
	}
	return p
}

// set stores a row.
func (p *pool) set(b, h, t int, row []float32) {
	n := (b*p.shape[1]+h)*p.shape[2] + t
	at := n * p.rowUnits
	switch p.typ {
	case qkv.TypeFloat32:
		copy(p.floats[at:], row)
	case qkv.TypeFloat16:
		for i, x := range row {
			p.halves[at+i] = qkv.ToFloat16(x)
		}
	case qkv.TypeBFloat16:
		for i, x := range row {
			p.brains[at+i] = qkv.ToBFloat16(x)
		}
	case qkv.TypeInt8:
		scale, err := qkv.QuantizeInt8(p.ints[at:at+p.rowUnits], row)
		must(err)
		p.scales[n] = scale
	case qkv.TypeQ8_0:
		must(qkv.QuantizeQ8_0(p.blocks[at:at+p.rowUnits], row))
	case qkv.TypeFloat8E4M3:
		for i, x := range row {
			p.e4m3[at+i] = qkv.ToFloat8E4M3(x)
		}
	case qkv.TypeFloat8E5M2:
		for i, x := range row {
			p.e5m2[at+i] = qkv.ToFloat8E5M2(x)
		}
	case qkv.TypeQ4_0:
		must(qkv.QuantizeQ4_0(p.q4[at:at+p.rowUnits], row))
	case qkv.TypeQ4_1:
		must(qkv.QuantizeQ4_1(p.q41[at:at+p.rowUnits], row))
	}
}

// views returns the tensor and its scales, the zero View if there are none.
func (p *pool) views() (x, scale qkv.View) {
	b, h, s, d := p.shape[0], p.shape[1], p.shape[2], p.shape[3]
	switch p.typ {
	case qkv.TypeFloat16:
		x = qkv.BHSD(p.halves, b, h, s, d)
	case qkv.TypeBFloat16:
		x = qkv.BHSD(p.brains, b, h, s, d)
	case qkv.TypeInt8:
		x, scale = qkv.BHSD(p.ints, b, h, s, d), qkv.BHSD(p.scales, b, h, s, 1)
	case qkv.TypeQ8_0:
		x = qkv.BHSD(p.blocks, b, h, s, d)
	case qkv.TypeFloat8E4M3:
		x = qkv.BHSD(p.e4m3, b, h, s, d)
	case qkv.TypeFloat8E5M2:
		x = qkv.BHSD(p.e5m2, b, h, s, d)
	case qkv.TypeQ4_0:
		x = qkv.BHSD(p.q4, b, h, s, d)
	case qkv.TypeQ4_1:
		x = qkv.BHSD(p.q41, b, h, s, d)
	default:
		x = qkv.BHSD(p.floats, b, h, s, d)
	}
	return x, scale
}
