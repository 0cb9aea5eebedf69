package asmgen

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// Types of 8 and of 4 bits that are not decoded as they are everywhere: what Convert and Store make of them.

// A quarter is what E4M3 needs. In a half, the sign and the 7 bits of magnitude stand at bits 15, 14 and
// 7, and become 2^-8 of the number in binary16. carry is the least of the 7, which carries from a magnitude
// of all ones, a NaN, to the bit in sign: that bit is cleared, or makes the NaN one of binary16.
type quarter struct{ carry, sign, tmp Vec }

// float8 reports whether elements are read by Float8.
func (c *converter) float8() bool { return c.elem == kernel.E4M3 || c.elem == kernel.E5M2 }

// openFloat8 prepares for Float8.
func (c *converter) openFloat8(m *vecMap) {
	if c.elem == kernel.E4M3 {
		c.quarter = m.quarter()
		c.factor = Vec(m.constant(quarterScale, "2^8"))
	}
}

// quarterScale is what Float8 leaves out of E4M3.
const quarterScale = 0x1p8

// quarter reserves registers, and loads the bits.
func (m *vecMap) quarter() quarter {
	return quarter{carry: m.bits(0x00800080, "carry"), sign: m.bits(0x40004000, "bit 14"), tmp: m.one("scratch")}
}

// numbers returns the numbers that codes of 4 bits stand for, as float32.
func (f *Func) numbers(e kernel.Elem) string {
	w := kernel.WeightQ4_0
	if e == kernel.Q4_1 {
		w = kernel.WeightQ4_1
	}
	var words [16]uint32
	for q, x := range codebook(w) {
		words[q] = math.Float32bits(x)
	}
	return f.symbol("numbers"+e.String(), words[:]...) + "(SB)"
}

// fourBits is what blocks of codes need.
type fourBits struct {
	numbers, scaled Vec // of all codes, with Lookup
	add, code, x    Vec
	lower, less     Vec // bits of a code; what is added to it
	zero            Vec // +0, of sure numbers
}

// Where the parts of a block are.
const (
	minAt    = int(unsafe.Offsetof(kernel.BlockQ4_1{}.Min))
	quants40 = int(unsafe.Offsetof(kernel.BlockQ4_0{}.Quants))
	quants41 = int(unsafe.Offsetof(kernel.BlockQ4_1{}.Quants))
)

// openFourBits prepares for fourBits.
func (c *converter) openFourBits(m *vecMap) {
	b := fourBits{add: m.one("Min"), x: m.one("values")}
	if c.Lookup != nil {
		b.numbers, b.scaled = m.one("numbers of codes"), m.one("values of codes")
		c.LoadConstant(c.Func, c.numbers(c.elem), b.numbers)
	} else {
		b.code = m.one("code")
		b.lower = m.bits(15, "bits of a code")
		if c.elem == kernel.Q4_0 {
			b.less = m.bits(1<<32-8, "-8")
			if c.rounds {
				b.zero = m.one("0")
				c.Zero(c.Func, b.zero)
			}
		}
	}
	c.codes = b
}

// fourBits converts a block. With Lookup it makes the values of all 16 codes, of which each lane takes
// one.
func (c *converter) fourBits() {
	b, at := &c.codes, quants40
	c.BroadcastHalf(c.Func, mem(c.src, 0), c.factor)
	if c.elem == kernel.Q4_1 {
		at = quants41
		c.BroadcastHalf(c.Func, mem(c.src, minAt), b.add)
	}
	// values is what the scale makes of numbers: the product is exact.
	values := func(numbers, dst Vec) {
		if c.elem == kernel.Q4_1 {
			c.Op(c.Copy, b.add, dst)
			c.Op(c.FMAV, c.factor, numbers, dst)
		} else {
			c.Op(c.MulV, c.factor, numbers, dst)
		}
	}
	if c.Lookup != nil {
		values(b.numbers, b.scaled)
		c.round(b.scaled)
	}
	const half = kernel.BlockValues / 2
	body := func() {
		for i := range half / c.Lanes {
			c.LoadBytes(c.Func, mem(c.src, at+i*c.Lanes), c.v)
			for j := range 2 {
				if j > 0 {
					c.Op(c.ShrV, 4, c.v, c.v)
				}
				x := b.x
				if c.Lookup != nil {
					c.Lookup(c.Func, b.scaled, c.v, x)
				} else {
					c.Op(c.AndV, b.lower, c.v, b.code)
					if b.less != "" {
						c.Op(c.AddInts, b.less, b.code, b.code)
					}
					c.IntToFloat(c.Func, b.code, b.code)
					values(b.code, x)
					c.round(x)
				}
				c.Op(c.Store, x, mem(c.dst, j*4*half+i*c.Bytes()))
			}
		}
	}
	if b.zero == "" {
		body()
		return
	}
	c.LoadHalfInt(c.Func, mem(c.src, 0), c.tmp)
	c.Op(c.And, 1<<15-1, c.tmp) // without the sign
	c.bySureness(leastSureHalf, beyondSureHalf, body)
}

// float8 returns the body for E4M3 and E5M2, which is that of package fp: to a magnitude a power of two is
// added, so that the sum is rounded to the last place that is kept, of which its lower bits then count the
// number.
func (c *storer) float8(m *vecMap) func() {
	fraction, bias, most := 3, 7, float32(448)
	if c.elem == kernel.E5M2 {
		fraction, bias, most = 2, 15, 57344
	}
	tmp, magnitude, exp, power := m.one("scratch"), m.one("magnitudes"), m.one("exponents"), m.one("powers of two")
	largest := Vec(m.constant(most, "the largest"))
	abs, inf := m.bits(absBits, "magnitude"), m.bits(infBits, "exponent")
	least, up := m.bits(uint32(128-bias)<<23, "least exponent"), m.bits(uint32(23-fraction)<<23, "places")
	less, carry := m.bits(-uint32(128-bias)<<fraction, "less"), m.bits(1<<31-1-infBits, "carry of a NaN")
	sign := m.bits(0x80, "sign bit")
	return func() {
		c.elements("", nil, func() Vec {
			x := c.spare
			c.Op(c.AndV, abs, c.v, magnitude)
			c.Op(c.Copy, largest, x)
			c.MinOf(c.Func, magnitude, x, tmp) // the largest for a NaN
			c.Op(c.AndV, inf, x, exp)
			c.Op(c.MaxBits, least, exp, exp)
			c.Op(c.AddInts, up, exp, power)
			c.Op(c.AddV, power, x, x)
			c.Op(c.XorV, power, x, x)
			c.Op(c.ShrV, 23-fraction, exp, exp)
			c.Op(c.AddInts, exp, x, x)
			c.Op(c.AddInts, less, x, x)
			// What the largest lacks to the NaN is a bit.
			c.Op(c.AddInts, carry, magnitude, magnitude)
			c.Op(c.ShrV, 31, magnitude, magnitude)
			if c.elem == kernel.E5M2 {
				c.Op(c.ShlV, 2, magnitude, magnitude)
			}
			c.Op(c.OrV, magnitude, x, x)
			c.Op(c.ShrV, 24, c.v, c.v)
			c.Op(c.AndV, sign, c.v, c.v)
			c.Op(c.OrV, c.v, x, x)
			return x
		})
	}
}

// blocks4 returns the body for Q4_0, or for Q4_1.
func (c *storer) blocks4(m *vecMap, least bool) func() {
	v := c.more(m)
	top, scale, inverse := m.one("largest"), m.one("scale"), m.one("reciprocal")
	one, most := Vec(m.constant(1, "1")), Vec(m.constant(15, "15"))
	abs := m.bits(absBits, "magnitude")
	b := fours{storer: c, v: v, top: top, scale: scale, at: quants40}
	if least {
		b.at = quants41
		b.low, b.high, b.zero = m.one("least"), m.one("greatest"), m.one("0")
		c.Zero(c.Func, b.zero)
		b.most = most
	} else {
		b.other, b.sign = m.one("largest, negative"), Vec(m.constant(negZero, "sign bit"))
		b.eighth = Vec(m.constant(0.125, "1/8"))
	}
	up := Vec(m.constant(0.5, "0.5"))
	if !least {
		up = Vec(m.constant(8.5, "8.5"))
	}
	const half = kernel.BlockValues / 2
	codes := func() {
		for i := range v[:half/c.Lanes] {
			c.StoreUnits(c.Func, kernel.E4M3, v[i], c.spare, mem(c.dst, b.at+i*c.Lanes))
		}
	}
	none := uint32(0x88) // both codes of a number that a scale of 0 makes of all
	if least {
		none = 0
	}
	return func() {
		name := func(what string) string { return c.name("Block", what) }
		c.begin()
		c.Loop(name(""))
		c.largest(v, abs, top, true)
		c.ReduceMax(c.Func, top, c.spare)
		c.FirstBits(c.Func, top, c.tmp)
		c.Branch(c.Func, c.tmp, "GE", imm(infBits), name("NaN"))
		if least {
			b.range15()
		} else {
			b.extreme()
		}
		// The magnitude of the scale is in c.tmp.
		c.Op(c.DivV, c.First(scale), c.First(one), c.First(inverse))
		c.StoreUnit(c.Func, kernel.Float16, scale, mem(c.dst, 0))
		c.Branch(c.Func, c.tmp, "LT", imm(leastInverse), name("None"))
		c.Branch(c.Func, c.tmp, "GE", imm(infBits), name("None"))
		c.Spread(c.Func, inverse, inverse)
		for i, x := range v {
			if least {
				c.Op(c.SubV, b.low, x, x)
			}
			c.Op(c.MulV, inverse, x, x)
			c.Op(c.AddV, up, x, x)
			c.MinOf(c.Func, most, x, c.spare)
			c.Truncate(c.Func, x)
			if j := i - half/c.Lanes; j >= 0 {
				c.Op(c.ShlV, 4, x, x)
				c.Op(c.OrV, x, v[j], v[j])
			}
		}
		codes()
		c.Label(name("Next"))
		c.Op(c.Add, 4*kernel.BlockValues, c.src)
		c.Op(c.Add, c.elem.Unit(), c.dst)
		c.Op(c.Sub, kernel.BlockValues, c.n)
		c.Branch(c.Func, c.n, "GT", "$0", name(""))
		c.Jump(name("Done"))

		c.Label(name("NaN"))
		c.Op(c.Mov, quietHalf, c.tmp)
		c.StoreHalfInt(c.Func, c.tmp, mem(c.dst, 0))
		if least {
			c.Op(c.Mov, 0, c.tmp)
			c.StoreHalfInt(c.Func, c.tmp, mem(c.dst, minAt))
		}
		for _, x := range v[:half/c.Lanes] {
			c.Zero(c.Func, x)
		}
		codes()
		c.Jump(name("Next"))

		c.Label(name("None"))
		for _, x := range v[:half/c.Lanes] {
			if none == 0 {
				c.Zero(c.Func, x)
			} else {
				c.Broadcast(c.Func, c.constant(math.Float32frombits(none)), x)
			}
		}
		codes()
		c.Jump(name("Next"))
		c.Label(name("Done"))
	}
}

// fours is what blocks4 works with.
type fours struct {
	*storer
	v          []Vec
	top, scale Vec // the largest magnitude of the block, in the first lane
	at         int // of the codes

	other, sign, eighth   Vec // of Q4_0
	low, high, zero, most Vec // of Q4_1
}

// extreme leaves the scale of Q4_0 and its magnitude: the first number with the largest magnitude,
// divided by -8. Whether that number is positive, bits of the lanes that have the magnitude tell.
func (b *fours) extreme() {
	positive, all, lanes := b.bits[0], b.bits[1], b.bits[2]
	b.Op(b.MulV, b.First(b.eighth), b.First(b.top), b.First(b.scale))
	b.Spread(b.Func, b.top, b.top)
	b.Op(b.XorV, b.sign, b.top, b.other)
	for i := range b.v {
		x := b.v[len(b.v)-1-i]
		for _, side := range []struct {
			x   Vec
			sum Int
		}{{b.top, positive}, {b.other, all}} {
			dst := lanes
			if i == 0 {
				dst = side.sum
			} else {
				b.Op(b.Shl, b.Lanes, side.sum)
			}
			b.LanesEqual(b.Func, side.x, x, b.spare, dst)
			if i > 0 {
				b.Op(b.Add, lanes, side.sum)
			}
		}
	}
	b.FirstBits(b.Func, b.scale, b.tmp)
	b.Op(b.Add, positive, all)
	b.Op(b.Mov, 0, lanes)
	b.Op(b.Sub, all, lanes)
	b.Op(b.And, all, lanes) // the first of them
	b.Op(b.And, positive, lanes)
	b.Op(b.Mov, 0, all)
	b.Op(b.Sub, lanes, all) // bit 31, if it is positive
	b.BitsFirst(b.Func, all, b.other)
	b.Op(b.AndV, b.First(b.sign), b.First(b.other), b.First(b.other))
	b.Op(b.OrV, b.First(b.other), b.First(b.scale), b.First(b.scale))
}

// range15 stores Min of Q4_1, spreads it over low, and leaves the scale, a 15th of the range.
func (b *fours) range15() {
	for i, x := range b.v {
		if i == 0 {
			b.Op(b.Copy, x, b.low)
			b.Op(b.Copy, x, b.high)
			continue
		}
		b.MinOf(b.Func, x, b.low, b.spare)
		b.MaxOf(b.Func, x, b.high, b.spare)
	}
	b.ReduceEnds(b.Func, b.low, b.high, b.spare)
	b.Op(b.AddV, b.First(b.zero), b.First(b.low), b.First(b.low)) // a zero without a sign
	b.Op(b.SubV, b.First(b.low), b.First(b.high), b.First(b.scale))
	b.Op(b.AddV, b.First(b.zero), b.First(b.scale), b.First(b.scale)) // likewise
	b.Op(b.DivV, b.First(b.most), b.First(b.scale), b.First(b.scale))
	b.FirstBits(b.Func, b.scale, b.tmp)
	b.Spread(b.Func, b.low, b.low)
	b.Op(b.Copy, b.First(b.low), b.First(b.high))
	b.StoreUnit(b.Func, kernel.Float16, b.high, mem(b.dst, minAt))
}
