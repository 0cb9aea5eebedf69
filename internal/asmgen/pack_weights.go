package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const packWeightsFormula = `
for l := range Lanes {
	Codes, Numbers, Integers of lane l = those of the blocks of Type at Src + l*RowBytes
}
`

// A weightPacker is the body of PackWeights. It has the quads of Dequantize: a dword of each row, transposed, is a row
// of lanes of codes, or becomes one by some operations on bits.
type weightPacker struct {
	*dequantizer
	numbers Int // Numbers, then Integers
	more    []Vec
}

// Local variables in the place of those of Dequantize.
const (
	localNumbers  = localScales
	localIntegers = localBlock
)

// packWeights writes PackWeights.
func packWeights(arch *Arch) *Func {
	f := newFunc(arch, "packWeights", reflect.TypeFor[kernel.PackWeightsArgs](), packWeightsFormula)
	d := &dequantizer{
		Func: f, stride: f.int("bytes from row to row of Src"), dst: f.int("Codes"), dstStride: f.int("bytes of a row of codes"),
		left: f.int("values left of the rows, scratch"), count: f.int("scratch"),
	}
	d.put = d.store
	p := &weightPacker{dequantizer: d, numbers: f.int("Numbers, Integers")}
	d.rows = f.ints((arch.Lanes+arch.RowsPerPtr-1)/arch.RowsPerPtr, "rows of Src")
	f.locals = 16 + localVectors + 8*arch.Bytes()
	for _, x := range []struct {
		field string
		local int
	}{{"Src", localSrc}, {"Codes", localDst}, {"Lanes", localLanes}, {"Numbers", localNumbers}, {"Integers", localIntegers}} {
		f.load(x.field, d.count)
		f.Op(f.Mov, d.count, f.LocalAt(x.local))
	}
	f.load("RowBytes", d.stride)
	f.loadBytes("Stride", d.dstStride)
	f.load("Type", d.left)
	for _, w := range kernel.Weights() {
		if w.Int8() != nil {
			f.Branch(f, d.left, "EQ", imm(int(w)), w.String())
		}
	}
	f.Return(f)
	for _, w := range kernel.Weights() {
		if w.Int8() != nil {
			p.emit(w)
		}
	}
	return f
}

// emit writes all for a type.
func (p *weightPacker) emit(w kernel.Weight) {
	p.name = w.String()
	p.Label(p.name)
	p.registers()
	p.more = nil
	body := p.body(w)
	groups := w.Values() == kernel.KC // a step is a block

	p.Label(p.name + "Rows")
	p.openRows()
	p.Op(p.Mov, p.LocalAt(localDst), p.dst)
	p.Op(p.Mov, p.LocalAt(localNumbers), p.numbers)
	if groups {
		body()
	} else {
		p.load("Depth", p.left)
		p.Loop(p.name + "Block")
		if asked := p.name + "Asked"; w == kernel.WeightQ8_0 {
			p.askLine(0)
		} else { // a line has two blocks or more
			p.Op(p.Mov, p.left, p.count)
			p.Op(p.And, kernel.Int8Block, p.count)
			p.Branch(p.Func, p.count, "NE", "$0", asked)
			p.askLine(0)
			p.Label(asked)
		}
		body()
		p.advance(max(w.Bytes(), kernel.Int8Block/w.Values()))
		p.Op(p.Sub, kernel.Int8Block, p.left)
		p.Branch(p.Func, p.left, "GT", "$0", p.name+"Block")
	}
	if w != kernel.WeightInt8 {
		size := 2
		if w.Int8().Scales == kernel.Int8Float {
			size = 4
		}
		p.Op(p.Mov, size*p.Lanes, p.count)
		p.move(localNumbers, p.count)
	}
	if groups {
		p.Op(p.Mov, p.Lanes, p.count)
		p.move(localIntegers, p.count)
	}
	p.nextRows(p.name + "Rows")
	p.Return(p.Func)
}

// askLine asks for a line of what comes next in each row.
func (p *weightPacker) askLine(n int) {
	for i := range p.Lanes {
		if i%p.RowsPerPtr == 0 {
			p.load("Ahead", p.count)
			p.Op(p.Add, p.rows[i/p.RowsPerPtr], p.count)
		}
		at := mem(p.count, cacheLine*n)
		if i%p.RowsPerPtr > 0 {
			at = fmt.Sprint(cacheLine*n) + p.RowAddr(p.count, p.stride, i%p.RowsPerPtr)
		}
		p.PrefetchNear(p.Func, at)
	}
}

// askPart asks, amid each of four parts of a block, for a line of as many as it has.
func (p *weightPacker) askPart(w kernel.Weight, part int) {
	if part*cacheLine < w.Bytes() {
		p.askLine(part)
	}
}

// halves writes a number of binary16 of each row, which lies at an offset, and moves Numbers on.
func (p *weightPacker) halves(disp int) {
	for i := range p.Lanes {
		p.LoadHalfInt(p.Func, p.row(i, disp), p.count)
		p.StoreHalfInt(p.Func, p.count, mem(p.numbers, 2*i))
	}
	p.load("Stride", p.count)
	for range 2 {
		p.Op(p.Add, p.count, p.numbers)
	}
}

// body writes what is constant for a type, and returns what writes a block.
func (p *weightPacker) body(w kernel.Weight) func() {
	switch w {
	case kernel.WeightInt8, kernel.WeightQ8_0:
		flip := p.pattern("signs of bytes", 0x80808080)
		return func() {
			at := 0
			if w == kernel.WeightQ8_0 {
				p.halves(0)
				at = 2
			}
			for i := range 2 {
				for _, v := range p.dwords(at + quadBytes*i) {
					p.Op(p.XorV, flip, v, v)
					p.put(v)
				}
			}
		}
	case kernel.WeightQ5_0, kernel.WeightQ5_1:
		return p.fives(w)
	case kernel.WeightQ4_K:
		return p.nibbles256(w)
	case kernel.WeightQ5_K:
		return p.fives256(w)
	case kernel.WeightQ6_K:
		return p.sixes256(w)
	}
	var exponents func()
	if w == kernel.WeightMXFP4 {
		p.scale = p.m.one("scale")
		exponents = p.exponents()
	}
	return func() {
		switch {
		case exponents != nil:
			exponents()
			p.Op(p.Store, p.scale, mem(p.numbers, 0))
			p.Op(p.Add, p.dstStride, p.numbers)
		default:
			p.halves(0)
			if w.Int8().Scales == kernel.Int8HalfMin {
				p.halves(2)
			}
		}
		for _, v := range p.dwords(w.Bytes() - quadBytes) {
			p.put(v)
		}
	}
}

// fives is body of Q5_0 and Q5_1.
func (p *weightPacker) fives(w kernel.Weight) func() {
	high, fifth := p.m.one("fifth bits"), p.m.one("fifth bits of a dword")
	spread := p.spread(high, fifth, 0x10101010)
	add, at := uint32(0x80808080), 4
	if w == kernel.WeightQ5_0 {
		add, at = 0x70707070, 2
	}
	offset, lower := p.pattern("what is added", add), p.pattern("lower codes", 0x0f0f0f0f)
	return func() {
		p.halves(0)
		if at == 4 {
			p.halves(2)
		}
		p.Op(p.Copy, p.dword(at, 0), high)
		q := p.dwords(w.Bytes() - quadBytes)
		for i := range 8 {
			spread(i)
			p.bits(q[i%4], -i/4*4, lower, p.code)
			p.Op(p.OrV, fifth, p.code, p.code)
			p.Op(p.AddInts, offset, p.code, p.code)
			p.put(p.code)
		}
	}
}

// both returns 32 bytes of each row as dwords.
func (p *weightPacker) both(disp int) []Vec {
	if p.more == nil {
		p.more = p.m.take(4, "second quad")
	}
	first := p.dwords(disp)
	return append(first[:4:4], p.dwordsTo(disp+quadBytes, p.more)...)
}

// integers writes the bytes of dwords, the first of each one, the second of each one, and so on.
func (p *weightPacker) integers(dwords ...Vec) {
	order := p.patternAt(0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703)
	p.LoadConstant(p.Func, order, p.tmp)
	for i, v := range dwords {
		p.Shuffle(p.Func, string(p.tmp), v, v)
		p.Op(p.Store, v, p.local(i))
	}
	for b := range 4 {
		for i := range dwords {
			for part := range p.Lanes / 4 {
				p.LoadSigned(p.Func, p.LocalAt(localVectors+i*p.Bytes()+16*part+4*b), p.count)
				p.StoreWordInt(p.Func, p.count, mem(p.numbers, 4*part))
			}
			p.Op(p.Add, p.left, p.numbers)
		}
	}
}

// openIntegers has numbers point to Integers, and left be the bytes from row to row.
func (p *weightPacker) openIntegers() {
	p.load("Stride", p.left)
	p.Op(p.Mov, p.LocalAt(localIntegers), p.numbers)
}

// scales32 writes the numbers and integers of Q4_K and Q5_K. lower has 4 bits of each byte.
func (p *weightPacker) scales32(lower string) {
	six, two := p.patternAt(0x3f3f3f3f), p.patternAt(0x30303030)
	mask := p.v
	p.halves(0)
	p.halves(2)
	p.openIntegers()
	q := p.dwords(0)
	p.LoadConstant(p.Func, six, mask)
	s, t := q[0], p.code
	p.Op(p.AndV, mask, q[1], s)
	p.Op(p.AndV, mask, q[2], t)
	p.integers(s, t)
	p.LoadConstant(p.Func, two, mask)
	for i, v := range []Vec{q[1], q[2]} {
		p.bits(v, -2, string(mask), v)
		p.bits(q[3], -4*i, lower, s)
		p.Op(p.OrV, s, v, v)
	}
	p.integers(q[1], q[2])
}

// nibbles256 is body of Q4_K. The lower codes of 32 bytes are a block, and the upper ones the next.
func (p *weightPacker) nibbles256(w kernel.Weight) func() {
	lower, upper := p.pattern("lower codes", 0x0f0f0f0f), p.pattern("upper codes", 0xf0f0f0f0)
	return func() {
		p.scales32(lower)
		for pair := range 4 {
			q := p.both(quadBytes + 2*quadBytes*pair)
			first, second := q[:4], q[4:]
			for g := range 4 {
				p.Op(p.ShlV, 4, second[g], p.v)
				p.Choose(p.Func, lower, upper, first[g], p.v)
				p.put(p.v)
			}
			for g := range 4 {
				p.Op(p.ShrV, 4, first[g], p.v)
				p.Choose(p.Func, upper, lower, second[g], p.v)
				p.put(p.v)
			}
			p.askPart(w, pair)
		}
	}
}

// highs copies 32 bytes of each row, which have bits of codes, to local memory.
func (p *weightPacker) highs(disp int) {
	for i, v := range p.both(disp) {
		p.Op(p.Store, v, p.local(i))
	}
}

// fives256 is body of Q5_K.
func (p *weightPacker) fives256(w kernel.Weight) func() {
	lower, fifth, offset := p.pattern("lower codes", 0x0f0f0f0f), p.pattern("the fifth bit", 0x10101010), p.pattern("128", 0x80808080)
	return func() {
		p.scales32(lower)
		p.highs(quadBytes)
		for pair := range 4 {
			q := p.both(3*quadBytes + 2*quadBytes*pair)
			for half := range 2 {
				for j, v := range q {
					p.Op(p.Load, p.local(j), p.v)
					p.bits(p.v, 4-2*pair-half, fifth, p.v)
					p.bits(v, -4*half, lower, p.code)
					p.Op(p.OrV, p.v, p.code, p.code)
					p.Op(p.OrV, offset, p.code, p.code)
					p.put(p.code)
				}
			}
			p.askPart(w, pair)
		}
	}
}

// sixes256 is body of Q6_K. In each half of a block 64 bytes have the lower bits of codes, those of values 0 to 63 and
// 64 to 127, and 32 the upper ones, of four values each.
func (p *weightPacker) sixes256(w kernel.Weight) func() {
	lower, two, offset := p.pattern("lower codes", 0x0f0f0f0f), p.pattern("upper 2 of 6 bits", 0x30303030), p.pattern("96", 0x60606060)
	return func() {
		p.halves(w.Bytes() - 2)
		p.openIntegers()
		for _, v := range p.dwords(12 * quadBytes) {
			p.Op(p.Copy, v, p.code)
			p.integers(p.code)
		}
		p.Op(p.Mov, p.dstStride, p.left)
		p.times(8, p.left)
		for half := range 2 {
			p.highs(8*quadBytes + 2*quadBytes*half)
			for first := range 2 {
				q := p.both(4*quadBytes*half + 2*quadBytes*first)
				for _, part := range []int{first, first + 2} {
					for j, v := range q {
						p.Op(p.Load, p.local(j), p.v)
						p.bits(p.v, 4-2*part, two, p.v)
						p.bits(v, -part/2*4, lower, p.code)
						p.Op(p.OrV, p.v, p.code, p.code)
						p.Op(p.AddInts, offset, p.code, p.code)
						p.put(p.code)
					}
					if part < 2 {
						p.Op(p.Add, p.left, p.dst)
					}
				}
				if first == 0 {
					p.Op(p.Sub, p.left, p.dst)
					p.Op(p.Sub, p.left, p.dst)
				}
				p.askPart(w, 2*half+first)
			}
		}
	}
}
