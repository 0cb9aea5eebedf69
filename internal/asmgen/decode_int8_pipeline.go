package asmgen

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// A scorePipeline is the part of an int8Scorer for whole blocks of int8ScoreRows rows, where products leave registers
// for another block: while a block is multiplied, the next one is loaded and transposed, in the same stretch of code.
// The next block is one of the same keys, or the first one of the keys after them. The transposed block is in local
// memory from one to the other, and sums of floats are in registers over all blocks of the keys.
type scorePipeline struct {
	*int8Scorer
	nextOff, nextKey Int // Off and K of the next block

	value, flip Vec
	acc         []Vec
}

// pipelines reports whether there is a scorePipeline.
func (g *int8Scorer) pipelines() bool { return g.Lanes == 16 && !g.words() }

// pipeline writes the loop over blocks of an element type, behind which it jumps to scored, or a jump to plain where it
// does not serve.
func (g *int8Scorer) pipeline(plain, scored string) {
	p := &scorePipeline{int8Scorer: g, nextOff: g.q, nextKey: g.acc}
	g.load("Rows", g.tmp)
	g.Branch(g.Func, g.tmp, "NE", imm(int8ScoreRows), plain)
	g.load("Dim", g.dims)
	if g.elem == kernel.Int8 {
		g.Op("TESTQ", kernel.Int8Block-1, g.dims)
		g.Op("JNE", plain)
	}
	p.registers()
	g.load("K", g.key)
	g.load("Q", g.p)
	g.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", g.p, g.stride), g.third)
	g.Op(g.Add, g.stride, g.third)
	if g.elem == kernel.Int8 {
		g.Op(g.Mov, mem(g.local, g.localScale()), g.tmp)
		g.Op(g.Load, mem(g.tmp, 0), g.factor)
	}
	g.Op(g.Load, g.patternAt(p.flipBits()), p.flip)
	for _, v := range p.acc {
		g.Zero(g.Func, v)
	}
	begun, loop, inside := g.name("Begun"), g.name("Both"), g.name("Inside")
	g.Op("CMPQ", mem(g.local, g.localBegun()), 0)
	g.Op("JNE", begun)
	g.Op(g.Mov, g.off, p.nextOff)
	g.Op(g.Mov, g.key, p.nextKey)
	g.write(p.nextBlock())
	p.keep()
	g.Label(begun)
	g.Op(g.Mov, 0, mem(g.local, g.localBegun()))
	g.Op(g.Mov, mem(g.local, g.localAsk()), g.rows)

	g.Loop(loop)
	g.Op(g.Mov, g.off, p.nextOff)
	g.Op("LEAQ", mem(g.key, g.elem.RowBytes(kernel.Int8Block)), p.nextKey)
	g.Op(g.Sub, kernel.Int8Block, g.dims)
	g.Branch(g.Func, g.dims, "GT", "$0", inside)
	g.load("K", p.nextKey)
	g.Branch(g.Func, g.keys, "LT", imm(2*g.Lanes), inside)
	g.Op(g.Add, 8*g.Lanes, p.nextOff)
	g.Op(g.Mov, 1, mem(g.local, g.localBegun()))
	g.Label(inside)
	if g.elem != kernel.Int8 {
		p.factors()
	}
	p.both()
	g.Op(g.Add, g.elem.RowBytes(kernel.Int8Block), g.key)
	g.Op(g.Add, kernel.Int8BlockBytes(false), g.p)
	g.Op(g.Add, kernel.Int8BlockBytes(false), g.third)
	g.Branch(g.Func, g.dims, "GT", "$0", loop)
	for r, v := range p.acc {
		g.Op(g.Store, v, mem(g.local, g.localSum(r)))
	}
	g.Op(g.Mov, g.rows, mem(g.local, g.localAsk()))
	g.Jump(scored)
}

// registers shares out the vector registers.
func (p *scorePipeline) registers() {
	notes := p.notes
	m := p.vectors("pipeline:")
	p.factor, p.min = m.one("scales of the keys"), m.one("minima")
	p.k = m.take(int8Groups, "integers of the next block")
	p.spare = m.one("scratch")
	p.value = m.one("integers of four dims")
	p.sums, p.odd = m.take(int8ScoreRows, "sums of integers"), m.take(int8ScoreRows, "sums of every other four dims, or of upper codes")
	p.acc = m.take(int8ScoreRows, "sums")
	p.x = m.one("scales of the products")
	p.flip = m.one("sign bits, or 4 bits")
	if p.elem != kernel.Int8 {
		p.notes = notes
	}
}

func (p *scorePipeline) flipBits() uint32 {
	if p.fourBits() {
		return 0x0f0f0f0f
	}
	return 0x80808080
}

// factors loads the scales of the keys, and the minima, which were collected with the block.
func (p *scorePipeline) factors() {
	bits := mem(p.local, p.localScaleBits())
	if p.elem == kernel.Q4_1 {
		index, pairs, tmp := p.k[0], p.k[1], p.k[2]
		p.Op(p.Load, p.patternAt(p.HalvesIndex...), index)
		p.Op(p.Load, bits, pairs)
		p.Halves(p.Func, string(index), pairs, p.factor, p.min, tmp)
		return
	}
	p.LoadElem(p.Func, kernel.Float16, bits, p.factor)
}

// nextBlock returns the lines that load the next block, transpose it, and make integers without a sign of it, and
// those that collect its scales.
func (p *scorePipeline) nextBlock() []string {
	if p.elem == kernel.Int8 {
		return p.capture(p.transposed)
	}
	scales := p.capture(func() {
		for i := range p.Lanes {
			p.together(func() { p.collectOne(p.nextOff, p.nextKey, 0, i) })
		}
	})
	return append(p.capture(p.transposed), scales...)
}

// transposed writes the transposition of the next block.
func (p *scorePipeline) transposed() {
	load := func(key int, emit func(addr string)) {
		p.together(func() {
			p.Op(p.Mov, mem(p.nextOff, 8*key), p.tmp)
			emit(p.AddressOf(p.Func, p.nextKey, p.tmp, quantsOf(p.elem)))
		})
	}
	and, xor := "VANDPS", "VXORPS"
	if p.fourBits() {
		v := p.k[:4]
		for i := range 4 {
			for part := range 4 {
				load(4*part+i, func(addr string) { p.LoadPart(p.Func, addr, part, v[i]) })
			}
		}
		transpose4x4(p.Func, unpackPS, unpackPD, v, &p.spare)
		for i, v := range v { // upper codes stay 16 times what they are
			p.Op("VPANDND", v, p.flip, p.k[4+i])
			p.Op(and, p.flip, v, v)
		}
		return
	}
	for half := range 2 {
		for i := range 4 {
			v := p.k[4*half+i]
			load(i+8*half, func(addr string) { p.Op("VMOVDQU", addr, low(v, "Y")) })
			load(i+8*half+4, func(addr string) { p.Op("VINSERTI64X4", 1, addr, v, v) })
		}
		transpose4x4(p.Func, unpackPS, unpackPD, p.k[4*half:][:4], &p.spare)
	}
	even, odd := []any{"VSHUFF32X4", 0x88}, []any{"VSHUFF32X4", 0xdd}
	for c := range 4 {
		butterfly(p.Func, even, odd, &p.k[c], &p.k[4+c], &p.spare)
		p.Op(xor, p.flip, p.k[c], p.k[c])
		p.Op(xor, p.flip, p.k[4+c], p.k[4+c])
	}
}

// keep stores the next block.
func (p *scorePipeline) keep() {
	for i, v := range p.k {
		p.Op(p.Store, v, mem(p.local, p.localKeys(i)))
	}
}

// both adds the products of the block to the sums while the next one is loaded.
func (p *scorePipeline) both() {
	const behind = kernel.Int8Block
	for r := range int8ScoreRows {
		whole, zero := p.sums[r], p.odd[r]
		if p.fourBits() {
			whole, zero = zero, whole // -8 times the sum of the integers, 16 times
		}
		p.Zero(p.Func, zero)
		if p.elem == kernel.Q4_1 {
			p.Zero(p.Func, whole)
		} else {
			p.Op("VPBROADCASTD", p.at(r, behind+kernel.Int8Whole), whole)
		}
	}
	k, spare := slices.Clone(p.k), p.spare
	lines := p.nextBlock()
	for i := range int8Groups {
		group, acc := i, p.sums
		if p.fourBits() {
			group = i/2 + i%2*4
		}
		if i%2 == 1 {
			acc = p.odd
		}
		if i%(int8Groups/2) == 1 {
			p.some(p.rows, askedLines(p.elem), func(label string) string { return p.name("Both%d%s", i, label) })
		}
		p.Op(p.Load, mem(p.local, p.localKeys(group)), p.value)
		next := lines[len(lines)*i/int8Groups : len(lines)*(i+1)/int8Groups]
		for r := range int8ScoreRows {
			p.Op("VPDPBUSD.BCST", p.at(r, 4*group), p.value, acc[r])
			p.write(next[len(next)*r/int8ScoreRows : len(next)*(r+1)/int8ScoreRows])
		}
	}
	p.keep()
	p.k, p.spare = k, spare
	for r, v := range p.sums {
		if p.fourBits() {
			p.Op("VPSRAD", 4, p.odd[r], p.odd[r])
		}
		p.Op(p.AddInts, p.odd[r], v, v)
		p.IntToFloat(p.Func, v, v)
		p.Op("VMULPS.BCST", p.at(r, behind+kernel.Int8D), p.factor, p.x)
		p.Op(p.FMAV, p.x, v, p.acc[r])
		if p.elem == kernel.Q4_1 {
			p.FMABroadcast(p.Func, p.at(r, behind+kernel.Int8Sum), p.min, p.acc[r], "")
		}
	}
}
