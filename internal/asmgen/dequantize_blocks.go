package asmgen

import (
	"math"

	"github.com/qkv-go/qkv/kernel"
)

// nibbles is body of a type whose blocks have 16 bytes of two codes, after their scales: the lower ones
// first.
func (d *dequantizer) nibbles(w kernel.Weight) func() {
	at := w.Bytes() - quadBytes
	d.scale = d.m.one("scale")
	scaled, bias := d.scaled, w == kernel.WeightQ4_1
	if bias {
		d.add, d.spare = d.m.one("m"), d.m.one("scratch")
		scaled = d.scaledAndAdded
	}
	if w != kernel.WeightMXFP4 {
		d.halvesTable()
	}
	codes := d.nibbleCodes(w)
	numbers := func(q []Vec, half int, finish func()) { d.numbers(codes, q, half, finish) }
	if w == kernel.WeightMXFP4 && d.Lookup == nil { // a scale may be too small to be made smaller
		power := d.power(-topBits)
		scaled = func() {
			d.Op(d.MulV, power, d.v, d.v)
			d.scaled()
		}
	}
	scales := func() { d.scales(d.dword(0, 0), bias) }
	if w == kernel.WeightMXFP4 {
		scales = d.exponents()
	}
	smaller := ""
	if d.Lookup == nil && w == kernel.WeightQ4_0 {
		smaller = d.power(-topBits - 4)
	} else if d.Lookup == nil && w != kernel.WeightMXFP4 {
		smaller = d.power(-topBits)
	}
	return func() {
		d.ask()
		scales()
		if smaller != "" {
			d.Op(d.MulV, smaller, d.scale, d.scale)
		}
		q := d.dwords(at)
		for half := range 2 {
			numbers(q, half, scaled)
		}
	}
}

// A nibbler makes numbers of dwords that have eight codes. With Lookup these are the numbers themselves, without they
// are 2^topBits times as large, or 2^(topBits+4) of Q4_0.
type nibbler struct {
	codes  func(dword Vec, half int, code Vec) Vec // the lower or the upper codes of the bytes, which may change dword
	number func(codes Vec, half, b int, v Vec)     // that of byte b
}

// numbers stores the numbers of one of the two codes of each byte of a quad, after finish.
func (d *dequantizer) numbers(n nibbler, q []Vec, half int, finish func()) {
	for _, dword := range q {
		codes := n.codes(dword, half, d.code)
		for b := range 4 {
			n.number(codes, half, b, d.v)
			finish()
			d.put(d.v)
		}
	}
}

// nibbleCodes writes what is constant and returns what makes the numbers of codes.
func (d *dequantizer) nibbleCodes(w kernel.Weight) nibbler {
	table := codebook(w)
	if d.Lookup != nil {
		var words [16]uint32
		for q, x := range table {
			words[q] = math.Float32bits(x)
		}
		numbers := Vec(d.pattern("numbers of codes", words[:]...))
		return nibbler{
			codes: func(dword Vec, _ int, _ Vec) Vec { return dword },
			number: func(dword Vec, half, b int, v Vec) {
				index := dword
				if shift := 8*b + 4*half; shift > 0 {
					index = v
					d.Op(d.ShrV, shift, dword, index)
				}
				d.Lookup(d.Func, numbers, index, v)
			},
		}
	}
	n := nibbler{number: func(codes Vec, _, b int, v Vec) { d.top(b, codes, v) }}
	if w == kernel.WeightQ4_0 {
		flip, upper := d.pattern("signs of codes", 0x88888888), d.pattern("upper codes", 0xf0f0f0f0)
		n.codes = func(dword Vec, half int, code Vec) Vec {
			if half == 0 {
				d.Op(d.XorV, flip, dword, dword)
			}
			d.bits(dword, 4-4*half, upper, code)
			return code
		}
	} else {
		lower, numbers := d.pattern("lower codes", 0x0f0f0f0f), Vec("")
		if w == kernel.WeightIQ4_NL || w == kernel.WeightMXFP4 {
			var words [4]uint32
			for q, x := range table {
				words[q/4] |= uint32(uint8(int8(x))) << (q % 4 * 8)
			}
			numbers = d.m.one("numbers of codes")
			d.LoadConstant(d.Func, d.patternAt(words[:]...), numbers)
		}
		n.codes = func(dword Vec, half int, code Vec) Vec {
			d.bits(dword, -4*half, lower, code)
			if numbers != "" {
				d.Shuffle(d.Func, string(code), numbers, code)
			}
			return code
		}
	}
	d.patternTops()
	return n
}

// codebook returns the numbers that the codes of a type stand for.
func codebook(w kernel.Weight) [16]float32 {
	if w == kernel.WeightQ4_K {
		w = kernel.WeightQ4_1
	}
	block := make([]byte, w.Bytes())
	block[1] = 0x3c // a scale of 1
	if w == kernel.WeightMXFP4 {
		block[0] = 128
	}
	for q := range 16 {
		block[len(block)-quadBytes+q] = byte(q)
	}
	var numbers [32]float32
	w.Decode(numbers[:], block)
	return [16]float32(numbers[:16])
}

// exponents returns what makes the scale of a block of MXFP4: 2^(e-128) for the exponent e, which is a
// subnormal number for 0 and 1, or NaN for 255.
func (d *dequantizer) exponents() func() {
	first, one, less := d.pattern("first bytes", 0xff), d.pattern("1", 1), d.pattern("-1", 1<<32-1)
	return func() {
		e := d.dword(0, 0)
		x, y := d.quad[1], d.quad[2]
		d.Op(d.AndV, first, e, e)
		d.Op(d.MaxBits, one, e, x)
		d.Op(d.AddInts, less, x, x)
		d.Op(d.ShlV, 23, x, x) // (e-1)<<23, or 0
		d.Op(d.AddInts, one, e, e)
		d.Op(d.ShlV, 21, e, y) // (e+1)<<21, which is more for 0 and 1
		d.Op(d.MaxBits, y, x, x)
		d.Op(d.ShrV, 8, e, e) // 1 for 255
		for range 2 {
			d.Op(d.ShlV, 22, e, y)
			d.Op(d.OrV, y, x, x)
			d.Op(d.AddInts, e, e, e)
		}
		d.Op(d.Copy, x, d.scale)
	}
}

// fives is body of a type whose blocks have the fifth bits of 32 codes before 16 bytes of two codes.
func (d *dequantizer) fives(w kernel.Weight) func() {
	d.scale = d.m.one("scale")
	high, fifth := d.m.one("fifth bits"), d.m.one("fifth bits of a dword")
	scaled, bias := d.scaled, w == kernel.WeightQ5_1
	// Of Q5_0, whose codes have 16 subtracted, the fifth bit becomes the sign: the code is in the upper
	// bits of the byte.
	lower, bit, up, power, flip := uint32(0x78787878), uint32(0x80808080), 3, -topBits-3, ""
	if bias {
		d.add, d.spare = d.m.one("m"), d.m.one("scratch")
		scaled = d.scaledAndAdded
		lower, bit, up, power = 0x0f0f0f0f, 0x10101010, 0, -topBits
	} else {
		flip = d.pattern("all bits", 1<<32-1)
	}
	spread := d.spread(high, fifth, bit)
	d.patternTops()
	d.halvesTable()
	smaller, mask := d.power(power), d.pattern("lower bits", lower)
	return func() {
		d.ask()
		if bias {
			q := d.dwords(0)
			d.scales(q[0], true)
			d.Op(d.Copy, q[1], high)
		} else {
			d.scales(d.dword(0, 0), false)
			d.Op(d.XorV, flip, d.dword(2, 0), high)
		}
		d.Op(d.MulV, smaller, d.scale, d.scale)
		q := d.dwords(w.Bytes() - quadBytes)
		for half := range 2 {
			d.bytes(4, func(j int) Vec {
				spread(4*half + j)
				d.bits(q[j], up-4*half, mask, d.code)
				d.Op(d.OrV, fifth, d.code, d.code)
				return d.code
			}, scaled)
		}
	}
}

// spread writes what is constant and returns what has bits 4i to 4i+3 of high in the bytes of a dword:
// bit where they are set.
func (d *dequantizer) spread(high, dst Vec, bit uint32) func(i int) {
	if d.Lookup != nil {
		var words [16]uint32
		for bits := range words {
			for b := range 4 {
				if bits>>b&1 == 1 {
					words[bits] |= bit & (0xff << (8 * b))
				}
			}
		}
		table := Vec(d.pattern("fifth bits of four codes", words[:]...))
		return func(i int) {
			index := high
			if i > 0 {
				index = dst
				d.Op(d.ShrV, 4*i, high, dst)
			}
			d.Lookup(d.Func, table, index, dst)
		}
	}
	bits := d.pattern("a bit", bit)
	masks := [2]string{d.pattern("lower bits of bytes", 0x08040201), d.pattern("upper bits of bytes", 0x80402010)}
	var index [4]string
	for b := range index {
		w := uint32(b) * 0x01010101
		index[b] = d.pattern("a byte in all", w, w+0x04040404, w+0x08080808, w+0x0c0c0c0c)
	}
	return func(i int) {
		d.Shuffle(d.Func, index[i/2], high, dst)
		d.TestBits(d.Func, masks[i%2], dst)
		d.Op(d.AndV, bits, dst, dst)
	}
}

// local returns the address of a vector in local memory.
func (d *dequantizer) local(i int) string {
	if d.dots != nil {
		return d.dots.local(i)
	}
	return d.LocalAt(localVectors + i*d.Bytes())
}

// products stores multiples of by: of the bytes of a dword that are listed, to local vectors from to on.
func (d *dequantizer) products(dword Vec, bytes []int, by Vec, to int) {
	for i, b := range bytes {
		d.top(b, dword, d.v)
		d.Op(d.MulV, by, d.v, d.v)
		d.Op(d.Store, d.v, d.local(to+i))
	}
}

// turns writes a loop of two turns, for the first 16 values of each 32 of a block of 256, and for the
// others, 16 bytes on. turn comes to 16 rows of Dst of each 32, and leaves out the 16 that follow.
func (d *dequantizer) turns(turn func()) {
	d.moved = 2 * quadBytes
	d.Op(d.Mov, d.dst, d.count)
	d.Op(d.Mov, d.count, d.LocalAt(localBlock))
	d.Op(d.Mov, 2, d.count)
	d.Loop(d.name + "Turn")
	turn()
	d.advance(quadBytes)
	d.Op(d.Sub, d.jump, d.dst)
	d.Op(d.Sub, 1, d.count)
	d.Branch(d.Func, d.count, "EQ", "$0", d.name+"Turned")
	d.Op(d.Mov, d.LocalAt(localBlock), d.dst)
	d.Op(d.Add, d.jump, d.dst)
	d.Jump(d.name + "Turn")
	d.Label(d.name + "Turned")
}

// skip moves on by 16 rows of Dst, n times, or back.
func (d *dequantizer) skip(n int) {
	for range n {
		d.Op(d.Add, d.jump, d.dst)
	}
	for range -n {
		d.Op(d.Sub, d.jump, d.dst)
	}
}

// Local vectors of sub-blocks of 32: eight scales, and what is added to each sub-block.
const (
	scales32  = 0
	adds32    = 8
	vectors32 = 16
)

// subBlocks32 is body of Q4_K and Q5_K.
func (d *dequantizer) subBlocks32(w kernel.Weight) func() {
	d.scale, d.add, d.spare = d.m.one("scale"), d.m.one("what is added"), d.m.one("scratch")
	var high []Vec
	var codes func(q []Vec, half int, finish func())
	power := -2 * topBits
	lower := d.pattern("lower codes", 0x0f0f0f0f)
	if w == kernel.WeightQ4_K {
		n := d.nibbleCodes(w)
		codes = func(q []Vec, half int, finish func()) { d.numbers(n, q, half, finish) }
		if d.Lookup != nil {
			power = -topBits
			d.patternTops()
		}
	} else {
		high = d.m.take(4, "fifth bits")
		d.patternTops()
	}
	d.halvesTable()
	smaller, minus := d.power(power), d.pattern("-2^-24", 1<<31|(127-topBits)<<23)
	six, two, fifth := d.pattern("6 bits", 0x3f3f3f3f), d.pattern("upper 2 of 6 bits", 0x30303030), ""
	if high != nil {
		fifth = d.pattern("the fifth bit", 0x10101010)
	}
	all := []int{0, 1, 2, 3}
	scales := func(to int) {
		q := d.dwords(0)
		d.scales(q[0], true)
		d.Op(d.MulV, smaller, d.scale, d.scale)
		d.Op(d.MulV, minus, d.add, d.add)
		for i, by := range []Vec{d.scale, d.add} {
			to := to + []int{scales32, adds32}[i]
			d.bits(q[1+i], 0, six, d.code)
			d.products(d.code, all, by, to)
			d.bits(q[1+i], -2, two, d.code)
			d.bits(q[3], -4*i, lower, q[0])
			d.Op(d.OrV, q[0], d.code, d.code)
			d.products(d.code, all, by, to+4)
		}
	}
	if d.dots != nil {
		return func() { d.dots.subBlocks32(scales, codes) }
	}
	return func() {
		scales(0)
		d.turns(func() {
			at := quadBytes
			if high != nil {
				d.dwordsTo(at, high)
				at += 2 * quadBytes
			}
			for pair := range 4 {
				q := d.dwords(at + 2*quadBytes*pair)
				for half := range 2 {
					subBlock := 2*pair + half
					d.Op(d.Load, d.local(scales32+subBlock), d.scale)
					d.Op(d.Load, d.local(adds32+subBlock), d.add)
					if high == nil {
						codes(q, half, d.scaledAndAdded)
					} else {
						d.bytes(4, func(j int) Vec {
							d.bits(high[j], 4-subBlock, fifth, d.tmp)
							d.bits(q[j], -4*half, lower, d.code)
							d.Op(d.OrV, d.tmp, d.code, d.code)
							return d.code
						}, d.scaledAndAdded)
					}
					d.skip(1)
				}
				d.askPart(w, pair)
			}
		})
	}
}

// Local vectors of sub-blocks of 16: what the bytes of scales are multiplied by, those bytes, and what they
// make for the sub-blocks of a turn.
const (
	raw16    = 0
	rawAdd16 = 4
	d16      = 8
	m16      = 9
	scales16 = 10
	adds16   = 18
)

// subBlocks16 is body of Q2_K, Q3_K and Q6_K.
func (d *dequantizer) subBlocks16(w kernel.Weight) func() {
	d.scale = d.m.one("scale")
	scaled, bias := d.scaled, w == kernel.WeightQ2_K
	if bias {
		d.add, d.spare = d.m.one("what is added"), d.m.one("scratch")
		scaled = d.scaledAndAdded
	} else {
		d.add = d.m.one("scratch")
	}
	var high []Vec
	if w != kernel.WeightQ2_K {
		high = d.m.take(4, "upper bits of codes")
	}
	d.patternTops()
	d.halvesTable()
	// six makes a byte of 4 lower and 2 upper bits, in its own upper bits, less 32: the uppermost bit of
	// high is that of a number in two's complement.
	four, two := "", ""
	flip := d.pattern("uppermost bits", 0xaaaaaaaa)
	if w != kernel.WeightQ2_K {
		four, two = d.pattern("4 bits", 0x3c3c3c3c), d.pattern("2 bits", 0xc0c0c0c0)
	}
	six := func(low Vec, shift int, high Vec, up int, dst Vec) {
		d.bits(low, shift, four, dst)
		d.bits(high, up, two, d.tmp)
		d.Op(d.OrV, d.tmp, dst, dst)
	}
	put := func(v Vec, i int) { d.Op(d.Store, v, d.local(i)) }
	var begin func() // local vectors
	var half func(i int)
	switch w {
	case kernel.WeightQ2_K:
		low, codes := d.pattern("4 bits", 0x0f0f0f0f), d.pattern("2 bits", 0x03030303)
		smaller, minus := d.power(-2*topBits), d.pattern("-2^-24", 1<<31|(127-topBits)<<23)
		begin = func() {
			d.scales(d.dword(w.Bytes()-quadBytes, 3), true)
			d.Op(d.MulV, smaller, d.scale, d.scale)
			d.Op(d.MulV, minus, d.add, d.add)
			put(d.scale, d16)
			put(d.add, m16)
			for i, q := range d.dwords(0) {
				d.bits(q, 0, low, d.code)
				put(d.code, raw16+i)
				d.bits(q, -4, low, d.code)
				put(d.code, rawAdd16+i)
			}
		}
		half = func(i int) {
			q := d.dwords(quadBytes + 2*quadBytes*i)
			for part := range 4 {
				d.Op(d.Load, d.local(scales16+4*i+part), d.scale)
				d.Op(d.Load, d.local(adds16+4*i+part), d.add)
				d.bytes(4, func(j int) Vec { d.bits(q[j], -2*part, codes, d.code); return d.code }, scaled)
				d.skip(1)
				d.askPart(w, 4*i+part)
			}
		}
	case kernel.WeightQ3_K:
		smaller, not := d.power(-2*topBits-2-5), d.pattern("all bits", 1<<32-1)
		lower, upper := d.pattern("lower 2 of 3 bits", 0x60606060), d.pattern("third bit", 0x80808080)
		begin = func() {
			q := d.dwords(w.Bytes() - quadBytes) // two bytes before the 12 of scales
			d.Halves(d.Func, d.halves, q[3], d.scale, d.add, d.tmp)
			d.Op(d.MulV, smaller, d.add, d.add)
			put(d.add, d16)
			for i := range 3 {
				d.Op(d.ShrV, 16, q[i], q[i])
				d.Op(d.ShlV, 16, q[i+1], d.tmp)
				d.Op(d.OrV, d.tmp, q[i], q[i])
			}
			d.Op(d.XorV, flip, q[2], q[2])
			for i := range 4 {
				six(q[i%2], 2-i/2*4, q[2], 6-2*i, d.code)
				put(d.code, raw16+i)
			}
		}
		half = func(i int) {
			if i == 0 {
				for _, v := range d.dwordsTo(0, high) {
					d.Op(d.XorV, not, v, v)
				}
			}
			q := d.dwords(2*quadBytes + 2*quadBytes*i)
			for part := range 4 {
				d.Op(d.Load, d.local(scales16+4*i+part), d.scale)
				d.bytes(4, func(j int) Vec {
					d.bits(q[j], 5-2*part, lower, d.code)
					d.bits(high[j], 7-4*i-part, upper, d.tmp)
					d.Op(d.OrV, d.tmp, d.code, d.code)
					return d.code
				}, scaled)
				d.skip(1)
				d.askPart(w, 4*i+part)
			}
		}
	default:
		smaller := d.power(-2*topBits - 2)
		begin = func() {
			d.Halves(d.Func, d.halves, d.dword(w.Bytes()-quadBytes, 3), d.scale, d.add, d.tmp)
			d.Op(d.MulV, smaller, d.add, d.add)
			put(d.add, d16)
			for i, q := range d.dwords(w.Bytes() - 2 - quadBytes) {
				put(q, raw16+i)
			}
		}
		half = func(i int) {
			for _, v := range d.dwordsTo(128+2*quadBytes*i, high) {
				d.Op(d.XorV, flip, v, v)
			}
			for odd := range 2 { // 32 bytes have the lower bits of parts 0 and 2, and others of 1 and 3
				q := d.dwords(4*quadBytes*i + 2*quadBytes*odd)
				for upper := range 2 {
					part := 2*upper + odd
					d.Op(d.Load, d.local(scales16+4*i+part), d.scale)
					d.bytes(4, func(j int) Vec {
						six(q[j], 2-4*upper, high[j], 6-2*part, d.code)
						return d.code
					}, scaled)
					d.skip([]int{3, -3, 3, 1}[2*odd+upper])
					d.askPart(w, 4*i+2*odd+upper)
				}
			}
		}
	}
	return func() {
		begin()
		d.turns(func() {
			d.subBlockScales(d.scale, raw16, d16, scales16)
			if bias {
				d.subBlockScales(d.scale, rawAdd16, m16, adds16)
			}
			for i := range 2 {
				half(i)
			}
		})
	}
}

// subBlockScales stores the scales of every other sub-block, whose bytes then make way for those of the others.
func (d *dequantizer) subBlockScales(by Vec, raw, factor, to int) {
	d.Op(d.Load, d.local(factor), by)
	for i := range 4 {
		d.Op(d.Load, d.local(raw+i), d.code)
		d.products(d.code, []int{0, 2}, by, to+2*i)
		d.Op(d.ShrV, 8, d.code, d.code)
		d.Op(d.Store, d.code, d.local(raw+i))
	}
}
