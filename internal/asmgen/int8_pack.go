package asmgen

import (
	"fmt"
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const packInt8Formula = `
for blocks b of 32 dims, l := range Lanes {
	x = the dims of lane l, 0 behind Dim
	if there is RowOf { x = the dims of lane RowOf[l], with factors and Mins of lane FactorOf[l] }
	if there are Factors { x = Factors * x, or +0 where the sign bit of x is set } // by lane, if there is a FactorStride
	if there is V { factors and Mins are those of block FactorOf[l] of the value }
	most = max(|x|)
	D, q = most/127, round(x * (127/most))
	if 127/most is infinite { D, q = 0, 0 }
	if most is not finite { D, q = NaN, 0 }
	Codes[b][..][l], Scales[b][l], Sums[b][l] = q + (Signed ? 0 : 128), D, D*sum(q)
	if there are Mins { Sums[b][l] = sum of Mins * x, as x was before, without those of Factors that are left out }
}
`

// A packer is the body of PackInt8: a vector of lanes of a block at a time, of which it keeps a copy to go through twice.
// Both ways are those of amd64, the first one of arm64, too.
type packer struct {
	*Func
	q, qs      Int // Q at the block, and the bytes from row to row
	cs, scales Int // bytes of a row of lanes, and Scales at the block
	lane, dims Int // bytes of the lanes before, and dims left
	n, at, to  Int // dims left of the block, the next one, and where it goes
	local      Int // the block
	factor     Int // Factors, next
	min        Int // Mins, next
	fs         Int // bytes from the factors of a dim to those of the next

	x, t, sign, most, abs Vec
	least                 Vec // sums of Mins
	const127, inverse, d  Vec
	valid, flip           Vec
	four                  []Vec

	elem kernel.Elem // of values whose blocks have the factors
}

// packInt8 writes PackInt8.
func packInt8(arch *Arch) *Func {
	f := newFunc(arch, "packInt8", reflect.TypeFor[kernel.PackInt8Args](), packInt8Formula)
	if arch.DotBytes != nil {
		return packBytes(f)
	}
	p := &packer{
		Func: f, q: f.int("Q, at the block"), qs: f.int("Q, bytes from row to row"), cs: f.int("bytes of a row of lanes; before, of one of Factors"),
		scales: f.int("Scales, at the block"), lane: f.int("bytes of the lanes before"), dims: f.int("dims left"),
		n: f.int("dims left of the block"), at: f.int("next dim"), to: f.int("where it goes"), local: f.int("the block"),
		factor: f.int("Factors, next"), min: f.int("Mins, next"),
	}
	p.fs = p.cs
	m := f.vectors("all:")
	p.x, p.t, p.sign, p.most, p.abs = m.one("dim"), m.one("scratch"), m.one("signs"), m.one("largest magnitude"), m.one("magnitude bits")
	p.least, p.const127, p.inverse = m.one("sum of Mins, or of integers"), m.one("127"), m.one("127/most")
	p.valid, p.flip, p.d = m.one("lanes of numbers"), m.one("sign bits of codes, or 0"), m.one("D")
	p.four = m.take(4, "dims as integers")
	f.locals = kernel.Int8Block*f.Bytes() + cacheLine
	f.LocalBase(f, p.local)
	f.load("Q", p.q)
	f.loadBytes("Stride", p.qs)
	f.load("Scales", p.scales)
	f.load("Dim", p.dims)
	f.Broadcast(f, f.word(1<<31-1), p.abs)
	f.Broadcast(f, f.word(math.Float32bits(127)), p.const127)
	f.Zero(f, p.flip)
	f.LoadByte(f, f.arg("Signed"), p.n)
	f.note("a.Signed")
	f.Branch(f, p.n, "NE", "$0", "signed")
	f.Broadcast(f, f.word(0x80808080), p.flip)
	f.Label("signed")
	f.Op(f.Mov, 0, p.lane) // an instruction between labels
	f.Loop("block")
	f.Op(f.Mov, 0, p.lane)
	f.Loop("lanes")
	p.first()
	p.scale()
	p.second()
	f.Op(f.Add, f.Bytes(), p.lane)
	f.Branch(f, p.lane, "LT", string(p.cs), "lanes")
	f.Op(f.Mov, p.qs, p.at)
	f.times(kernel.Int8Block, p.at)
	f.Op(f.Add, p.at, p.q)
	f.Op(f.Add, p.cs, p.scales)
	f.Op(f.Sub, kernel.Int8Block, p.dims)
	f.Branch(f, p.dims, "GT", "$0", "block")
	f.Return(f)
	return f
}

// spreadsLanes reports whether PackInt8 takes RowOf and FactorOf.
func (arch *Arch) spreadsLanes() bool { return hasDot4(arch) && arch.DotBytes == nil }

// beside returns the address of the lanes in a row.
func (p *packer) beside(row Int) string { return fmt.Sprintf("(%s)(%s*1)", row, p.lane) }

// first writes the first way through a block: the copy, and the largest magnitudes.
func (p *packer) first() {
	p.Op(p.Mov, p.dims, p.n)
	p.Branch(p.Func, p.n, "LE", imm(kernel.Int8Block), "part")
	p.Op(p.Mov, kernel.Int8Block, p.n)
	p.Label("part")
	p.Op(p.Mov, p.local, p.to)
	for _, v := range p.chains() {
		p.Zero(p.Func, v)
	}
	p.Zero(p.Func, p.least)
	if p.spreadsBlocks() {
		p.load("V", p.factor)
		p.Branch(p.Func, p.factor, "NE", "$0", "blocks")
	}
	p.load("Factors", p.factor)
	p.Branch(p.Func, p.factor, "NE", "$0", "factors")
	p.dimsOf("plain", noFactors, false)
	p.Label("factors")
	p.load("Dim", p.at)
	p.Op(p.Sub, p.dims, p.at)
	p.loadBytes("FactorStride", p.fs)
	p.Branch(p.Func, p.fs, "NE", "$0", "lanesFactors")
	p.times(4, p.at)
	p.scaled("scaled", dimFactors)
	p.Label("lanesFactors")
	p.Op(p.MulInt, p.fs, p.at)
	if p.spreadsLanes() {
		p.load("RowOf", p.min)
		p.Branch(p.Func, p.min, "NE", "$0", "spreadLanes")
	}
	p.Op(p.Add, p.lane, p.at)
	p.scaled("scaledByLane", laneFactors)
	if p.spreadsLanes() {
		p.Label("spreadLanes")
		p.Op(p.Load, p.beside(p.min), p.four[0])
		p.load("FactorOf", p.min)
		p.Op(p.Load, p.beside(p.min), p.four[1])
		p.scaled("spread", spreadFactors)
	}
	if p.spreadsBlocks() {
		p.Label("blocks")
		p.blocks()
	}
	p.Label("most")
	for _, v := range p.chains()[1:] {
		p.Op(p.MaxBits, v, p.most, p.most)
	}
	p.Op(p.Mov, kernel.Int8Block, p.n)
	p.Op(p.Sub, p.dims, p.n)
	p.Branch(p.Func, p.n, "LE", "$0", "whole")
	p.Zero(p.Func, p.x)
	p.Loop("zeros")
	p.Op(p.Store, p.x, mem(p.to, 0))
	p.Op(p.Add, p.Bytes(), p.to)
	p.Countdown(p.n, "zeros")
	p.Label("whole")
}

// chains returns the registers of the largest magnitudes of every fourth dim. One register would wait for itself.
func (p *packer) chains() []Vec {
	if p.DotBytes != nil {
		return []Vec{p.most}
	}
	return []Vec{p.most, p.inverse, p.valid, p.d}
}

// What dims are multiplied by.
const (
	noFactors     = iota
	dimFactors    // of all lanes
	laneFactors   // of each lane
	spreadFactors // of rows and factors by lane
	blockFactors  // likewise, in blocks of values
)

// spreadsBlocks reports whether PackInt8 takes V. A vector of words has the scales of four blocks of 4 bits.
func (arch *Arch) spreadsBlocks() bool {
	return arch.spreadsLanes() && !arch.VectorMasks && arch.Lanes == 16
}

// blocks writes the loops with factors that are scales of blocks: of 8 bits those of the first two are in a vector, and those of the others in
// one that begins with the third.
func (p *packer) blocks() {
	p.load("Dim", p.at)
	p.Op(p.Sub, p.dims, p.at)
	p.Op(p.Shl, 3, p.at)
	p.load("Off", p.factor)
	p.Op(p.Add, p.at, p.factor)
	p.load("RowOf", p.min)
	p.Op(p.Load, p.beside(p.min), p.four[0])
	p.load("FactorOf", p.min)
	p.Op(p.Load, p.beside(p.min), p.four[1])
	p.load("Elem", p.min)
	for _, e := range []kernel.Elem{kernel.Q4_0, kernel.Q4_1} {
		p.Branch(p.Func, p.min, "EQ", imm(int(e)), e.String()+"Blocks")
	}
	for _, e := range []kernel.Elem{kernel.Q8_0, kernel.Q4_0, kernel.Q4_1} {
		p.elem = e
		if e != kernel.Q8_0 {
			p.Label(e.String() + "Blocks")
		}
		p.places(0, p.four[1], p.four[2])
		if e.HasMin() {
			p.places(uint32(minAt/2), p.four[1], p.four[3])
		}
		p.dimsOf(e.String(), blockFactors, e.HasMin())
	}
}

// places sets words of index to where a vector of each value has a word of the blocks of lanes.
func (p *packer) places(word uint32, block, index Vec) {
	at := make([]uint32, p.Lanes)
	for b := range uint32(4) {
		at[b] = b*uint32(p.elem.Unit()/2) + word
		if p.elem == kernel.Q8_0 {
			at[b] = b%2*uint32(p.elem.Unit()/2) + b/2*uint32(p.Bytes()/2) + word
		}
	}
	p.Op(p.Load, p.patternAt(at...), index)
	p.Op("VPERMD", index, block, index)
	p.Op("VPMOVDW", index, low(index, "Y"))
}

// blockNumbers loads a number of the block of each lane, of the value at p.min.
func (p *packer) blockNumbers(index Vec) {
	if p.elem == kernel.Q8_0 {
		p.Op("VMOVDQU64", mem(p.min, 0), p.t)
		p.Op("VPERMT2W", mem(p.min, 2*p.elem.Unit()), index, p.t)
	} else {
		p.Op("VPERMW", mem(p.min, 0), index, p.t)
	}
	p.Op("VCVTPH2PS", low(p.t, "Y"), p.t)
}

// scaled writes the loops with factors, which lie at bytes of the block behind Factors and Mins.
func (p *packer) scaled(name string, factors int) {
	mins := name + "Mins"
	p.Op(p.Add, p.at, p.factor)
	p.load("Mins", p.min)
	p.Branch(p.Func, p.min, "NE", "$0", mins)
	p.dimsOf(name, factors, false)
	p.Label(mins)
	p.Op(p.Add, p.at, p.min)
	p.dimsOf(name+"MinsDim", factors, true)
}

// dimsOf writes the loop over the dims of the block.
func (p *packer) dimsOf(name string, factors int, mins bool) {
	const unroll = 4
	one, done := name+"One", name+"Rest"
	signs := "VPSRAD"
	if p.DotBytes != nil {
		signs = "SSHR.S4"
	}
	load := func(i int, from Int) {
		switch factors {
		case blockFactors:
			if from == p.min {
				p.blockNumbers(p.four[3])
			} else {
				p.blockNumbers(p.four[2])
			}
			return
		case dimFactors:
			p.Broadcast(p.Func, mem(from, 4*i), p.t)
			return
		case laneFactors:
			p.Op(p.Load, mem(from, 0), p.t)
		case spreadFactors:
			p.Op("VPERMPS", mem(from, 0), p.four[1], p.t)
		}
		p.Op(p.Add, p.fs, from)
	}
	step := func(i int) {
		if factors == blockFactors {
			p.Op(p.Mov, mem(p.factor, 0), p.min)
			p.AddMem(p.Func, p.arg("V"), p.min)
			p.Op(p.Add, 8, p.factor)
		}
		if factors >= spreadFactors {
			p.Op("VPERMPS", mem(p.at, 0), p.four[0], p.x)
		} else {
			p.Op(p.Load, mem(p.at, 0), p.x)
		}
		if factors != noFactors {
			p.Op(signs, 31, p.x, p.sign)
		}
		if mins { // where the sign bit is set, -0*0 is added, which changes no sum, not even one that is -0
			load(i, p.min)
			p.ClearBits(p.Func, p.sign, p.t)
			p.Op(p.AndV, p.abs, p.sign, p.sign)
			p.ClearBits(p.Func, p.sign, p.x)
			p.Op(p.FMAV, p.t, p.x, p.least)
		}
		if factors != noFactors {
			load(i, p.factor)
			p.Op(p.MulV, p.t, p.x, p.x)
			p.ClearBits(p.Func, p.sign, p.x)
		}
		p.Op(p.Store, p.x, mem(p.to, i*p.Bytes()))
		p.Op(p.AndV, p.abs, p.x, p.x)
		most := p.chains()[i%len(p.chains())]
		p.Op(p.MaxBits, p.x, most, most) // a NaN is above all numbers
		p.Op(p.Add, p.qs, p.at)
	}
	next := func(steps int) {
		p.Op(p.Add, steps*p.Bytes(), p.to)
		if factors == dimFactors {
			p.Op(p.Add, 4*steps, p.factor)
		}
		if factors == dimFactors && mins {
			p.Op(p.Add, 4*steps, p.min)
		}
		p.Op(p.Sub, steps, p.n)
	}
	p.Op(p.Mov, p.q, p.at)
	if factors < spreadFactors {
		p.Op(p.Add, p.lane, p.at)
	}
	p.Branch(p.Func, p.n, "LT", imm(unroll), done)
	p.Loop(name)
	for i := range unroll {
		step(i)
	}
	next(unroll)
	p.Branch(p.Func, p.n, "GE", imm(unroll), name)
	p.Label(done)
	p.Branch(p.Func, p.n, "LE", "$0", "most")
	p.Loop(one)
	step(0)
	next(1)
	p.Branch(p.Func, p.n, "GT", "$0", one)
	p.Jump("most")
}

// scale makes D of the largest magnitude, which is no less than 0, NaN where it is not finite, and otherwise 0 where
// the factor is not.
func (p *packer) scale() {
	p.Op(p.DivV, p.most, p.const127, p.inverse)
	p.Op(p.DivV, p.const127, p.most, p.d)
	p.Op("VPSUBD", p.patternAt(0x7f800000), p.inverse, p.valid)
	p.Op("VPSRAD", 31, p.valid, p.valid)
	p.Op(p.AndV, p.valid, p.d, p.d)
	p.Op(p.Load, p.patternAt(0x7f7fffff), p.t)
	p.Op("VPSUBD", p.most, p.t, p.t)
	p.Op("VPSRAD", 31, p.t, p.t)
	p.ClearBits(p.Func, p.t, p.valid)
	p.Op(p.OrV, p.t, p.d, p.d) // all ones are a NaN
	p.Op(p.Store, p.d, p.beside(p.scales))
}

// second writes the second way through the block: the integers. Packs go by parts of a vector: those of four dims come
// to be in order by one permutation.
func (p *packer) second() {
	p.loadBytes("Lanes", p.cs)
	p.Op(p.Mov, p.scales, p.to)
	p.Op(p.Sub, p.arg("Scales"), p.to)
	p.times(int8Groups, p.to)
	p.Op(p.Add, p.lane, p.to)
	p.AddMem(p.Func, p.arg("Codes"), p.to)
	p.load("Sums", p.at)
	p.Branch(p.Func, p.at, "EQ", "$0", "sumless")
	p.Op(p.Add, p.scales, p.at)
	p.Op(p.Sub, p.arg("Scales"), p.at)
	if p.spreadsBlocks() {
		p.load("V", p.min)
		p.Branch(p.Func, p.min, "EQ", "$0", "noBlocks")
		p.load("Elem", p.min)
		p.Branch(p.Func, p.min, "EQ", imm(int(kernel.Q4_1)), "least")
		p.Label("noBlocks")
	}
	p.load("Mins", p.min)
	p.Branch(p.Func, p.min, "EQ", "$0", "summed")
	if p.spreadsBlocks() {
		p.Label("least")
	}
	p.Op(p.Store, p.least, p.beside(p.at))
	p.Label("sumless")
	p.integers(false)
	p.Jump("packed")
	p.Label("summed")
	p.integers(true)
	p.Op("VCVTDQ2PS", p.least, p.least)
	p.Op(p.MulV, p.d, p.least, p.least)
	p.Op(p.Store, p.least, p.beside(p.at))
	p.Label("packed")
}

// integers writes the codes of a block, and their sums, from a sum of 0.
func (p *packer) integers(sums bool) {
	v, order := p.four, p.patternAt(0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703)
	for g := range int8Groups {
		for i, v := range v {
			p.MulLoad(p.Func, mem(p.local, (4*g+i)*p.Bytes()), p.inverse, v)
			p.Op("VCVTPS2DQ", v, v)
		}
		p.Op("VPACKSSDW", v[1], v[0], v[0])
		p.Op("VPACKSSDW", v[3], v[2], v[2])
		p.Op("VPACKSSWB", v[2], v[0], v[0])
		p.Op("VPSHUFB", order, v[0], v[0])
		p.Op(p.AndV, p.valid, v[0], v[0])
		if sums {
			p.Op(p.Load, p.patternAt(0x01010101), v[1])
			p.Op("VPMADDUBSW", v[0], v[1], v[1])
			p.Op("VPMADDWD", p.patternAt(0x00010001), v[1], v[1])
			p.Op("VPADDD", v[1], p.least, p.least)
		}
		p.Op(p.XorV, p.flip, v[0], v[0])
		p.Op(p.Store, v[0], mem(p.to, 0))
		if g < int8Groups-1 {
			p.Op(p.Add, p.cs, p.to)
		}
	}
}
