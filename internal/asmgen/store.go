package asmgen

import (
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const storeFormula = `
for r := range Rows {
	Elem.SetRow(Dst + r*DstStride, Elem.Unit(), &Scale[r*ScaleStride], &Src[r*SrcStride], 1, Dim)
}
`

// A storer is the body of Store for a type of elements.
type storer struct {
	*Func
	elem           kernel.Elem
	rows           Int
	srcRow, dstRow Int
	scale          Int
	bits           [3]Int
	src, dst       Int // where the row goes on
	n              Int // dims left of the row
	tmp            Int
	v, spare       Vec
}

// store writes Store.
func store(arch *Arch) *Func {
	f := newFunc(arch, "store", reflect.TypeFor[kernel.StoreArgs](), storeFormula)
	c := &storer{
		Func: f, rows: f.int("rows left"), srcRow: f.int("row of Src"), dstRow: f.int("row of Dst"), scale: f.int("Scale"),
		src: f.int("Src"), dst: f.int("Dst"), n: f.int("dims left"), tmp: f.int("scratch"),
	}
	c.bits = [3]Int(f.ints(3, "bits of lanes"))
	f.load("Src", c.srcRow)
	f.load("Dst", c.dstRow)
	f.load("Scale", c.scale)
	f.byElem(c.n, func(e kernel.Elem) {
		c.elem = e
		c.emit()
	})
	return f
}

// emit writes the loop over the rows.
func (c *storer) emit() {
	row := c.elem.String() + "Row"
	c.load("Rows", c.rows)
	m := c.vectors(c.elem.String() + ":")
	c.v, c.spare = m.one("values"), m.one("scratch")
	var body func()
	switch c.elem {
	case kernel.BFloat16:
		b := brain{one: m.bits(1, "1"), half: m.bits(0x7fff, "rounding"), quiet: m.bits(0x400000, "quiet bit"), tmp: m.one("scratch")}
		body = func() {
			c.elements("", nil, func() Vec {
				c.RoundBrain(c.Func, c.v, c.spare, &b)
				return c.v
			})
		}
	case kernel.Int8:
		body = c.integers(m)
	case kernel.Q8_0:
		body = c.blocks(m)
	case kernel.E4M3, kernel.E5M2:
		body = c.float8(m)
	case kernel.Q4_0:
		body = c.blocks4(m, false)
	case kernel.Q4_1:
		body = c.blocks4(m, true)
	default:
		body = func() { c.elements("", nil, func() Vec { return c.v }) }
	}
	c.Loop(row)
	body()
	c.load("SrcStride", c.tmp)
	c.Op(c.Shl, 2, c.tmp)
	c.Op(c.Add, c.tmp, c.srcRow)
	c.AddMem(c.Func, c.arg("DstStride"), c.dstRow)
	if c.elem == kernel.Int8 {
		c.load("ScaleStride", c.tmp)
		c.Op(c.Shl, 2, c.tmp)
		c.Op(c.Add, c.tmp, c.scale)
	}
	c.Countdown(c.rows, row)
	c.Return(c.Func)
}

// A brain is what rounding to bfloat16 needs.
type brain struct {
	one, half, quiet Vec // bits: 1, the half of the last place less 1, and what makes a NaN quiet
	tmp              Vec

	scratch       Vec    // of brainFloat, as what follows
	below         string // bits of the greatest bfloat16 that counts as 0
	up, last      Vec    // of BrainFloat: bits of the half, and of the last place
	special, tops Vec    // what VFIXUPIMMPS makes of NaNs, and twice the least that is not rounded to 0
	all           Vec    // bits of the upper half
}

// bits broadcasts bits into a register.
func (m *vecMap) bits(bits uint32, use string) Vec {
	return Vec(m.constant(math.Float32frombits(bits), use))
}

// name returns a label.
func (c *storer) name(part, what string) string { return c.elem.String() + part + what }

// begin begins a walk over the row.
func (c *storer) begin() {
	c.Op(c.Mov, c.srcRow, c.src)
	c.Op(c.Mov, c.dstRow, c.dst)
	c.load("Dim", c.n)
}

// walk writes whole for each vector of the row and for one that overlaps that before where dims
// are left, or single for each dim where they are fewer than a vector has. Before that, it writes
// wide, if not nil, for each BlockValues dims. unit is the bytes that c.dst goes on by for a dim.
func (c *storer) walk(part string, unit int, wide, whole, single func()) {
	c.begin()
	if wide != nil {
		c.Op(c.Sub, kernel.BlockValues, c.n)
		c.Branch(c.Func, c.n, "LT", "$0", c.name(part, "Rest"))
		c.Loop(c.name(part, "Wide"))
		wide()
		c.Op(c.Add, 4*kernel.BlockValues, c.src)
		if unit > 0 {
			c.Op(c.Add, unit*kernel.BlockValues, c.dst)
		}
		c.Op(c.Sub, kernel.BlockValues, c.n)
		c.Branch(c.Func, c.n, "GE", "$0", c.name(part, "Wide"))
		c.Branch(c.Func, c.n, "EQ", imm(-kernel.BlockValues), c.name(part, "End"))
		c.Label(c.name(part, "Rest"))
		c.Op(c.Add, kernel.BlockValues, c.n)
	}
	c.Op(c.Sub, c.Lanes, c.n)
	c.Branch(c.Func, c.n, "LT", "$0", c.name(part, "Few"))
	c.Loop(c.name(part, "Vector"))
	whole()
	c.Op(c.Add, c.Bytes(), c.src)
	if unit > 0 {
		c.Op(c.Add, unit*c.Lanes, c.dst)
	}
	c.Op(c.Sub, c.Lanes, c.n)
	c.Branch(c.Func, c.n, "GE", "$0", c.name(part, "Vector"))
	c.Branch(c.Func, c.n, "EQ", imm(-c.Lanes), c.name(part, "End"))
	for _, p := range []struct {
		ptr  Int
		unit int
	}{{c.src, 4}, {c.dst, unit}} {
		if p.unit > 0 {
			c.Op(c.Mov, c.n, c.tmp)
			c.times(p.unit, c.tmp)
			c.Op(c.Add, c.tmp, p.ptr)
		}
	}
	whole()
	c.Jump(c.name(part, "End"))

	c.Label(c.name(part, "Few"))
	c.Op(c.Add, c.Lanes, c.n)
	c.Loop(c.name(part, "One"))
	single()
	c.Op(c.Add, 4, c.src)
	if unit > 0 {
		c.Op(c.Add, unit, c.dst)
	}
	c.Countdown(c.n, c.name(part, "One"))
	c.Label(c.name(part, "End"))
}

// elements stores a row of single elements: what returns the register of those that it makes of
// c.v. wide, if not nil, does so for BlockValues of them at once.
func (c *storer) elements(part string, wide func(), what func() Vec) {
	store := func(one bool) {
		v, tmp := what(), c.spare
		if v == c.spare {
			tmp = c.v
		}
		if one {
			c.StoreUnit(c.Func, c.elem, v, mem(c.dst, 0))
		} else {
			c.StoreUnits(c.Func, c.elem, v, tmp, mem(c.dst, 0))
		}
	}
	c.walk(part, c.elem.Unit(), wide, func() {
		c.Op(c.Load, mem(c.src, 0), c.v)
		store(false)
	}, func() {
		c.LoadOne(c.Func, kernel.Float32, mem(c.src, 0), c.tmp, c.v)
		store(true)
	})
}

// Bits of float32.
const (
	infBits   = 0x7f800000
	quietBits = 0x7fc00000
	absBits   = 0x7fffffff
	// leastScale is of 2^-100, from which on no remainder of a division is subnormal that counts.
	leastScale = (127 - 100) << 23
	// leastInverse is of the least number whose reciprocal is finite.
	leastInverse = 0x00200001
	// belowHalf is of the greatest number below 0.5.
	belowHalf = 0x3effffff
	// quietHalf is a NaN of binary16.
	quietHalf = 0x7e00
)

// more returns registers for BlockValues numbers, of which c.v is the first.
func (c *storer) more(m *vecMap) []Vec {
	return append([]Vec{c.v}, m.take(kernel.BlockValues/c.Lanes-1, "more values")...)
}

// largest loads numbers and leaves their largest magnitudes, and those of top unless it is fresh,
// in top.
func (c *storer) largest(v []Vec, abs, top Vec, fresh bool) {
	for i, x := range v {
		c.Op(c.Load, mem(c.src, i*c.Bytes()), x)
		if fresh && i == 0 {
			c.Op(c.AndV, abs, x, top)
			continue
		}
		c.Op(c.AndV, abs, x, c.spare)
		c.Op(c.MaxBits, c.spare, top, top)
	}
}

// quants stores BlockValues integers.
func (c *storer) quants(v []Vec, off int) {
	if c.StoreQuants != nil {
		c.StoreQuants(c.Func, v, c.spare, mem(c.dst, off))
		return
	}
	for i, x := range v {
		c.StoreUnits(c.Func, kernel.Int8, x, c.spare, mem(c.dst, off+i*c.Lanes))
	}
}

// integers returns the body for Int8. Bits of magnitudes grow as they do, those of a NaN are
// beyond all.
func (c *storer) integers(m *vecMap) func() {
	v := c.more(m)
	top, factor, inverse := m.one("largest"), m.one("scale"), m.one("reciprocal")
	one := Vec(m.constant(1, "1"))
	abs, most, least := m.bits(absBits, "magnitude"), Vec(m.constant(127, "127")), Vec(m.constant(-127, "-127"))
	return func() {
		none, done := c.name("", "None"), c.name("", "Done")
		grow := func() {
			c.Op(c.AndV, abs, c.v, c.v)
			c.Op(c.MaxBits, c.v, top, top)
		}
		c.Zero(c.Func, top)
		c.walk("Largest", 0, func() { c.largest(v, abs, top, false) }, func() {
			c.Op(c.Load, mem(c.src, 0), c.v)
			grow()
		}, func() {
			c.LoadOne(c.Func, kernel.Float32, mem(c.src, 0), c.tmp, c.v)
			grow()
		})
		c.ReduceMax(c.Func, top, c.spare)
		c.Op(c.DivV, c.First(most), c.First(top), c.First(top))
		c.StoreElement(c.Func, top, mem(c.scale, 0))
		c.FirstBits(c.Func, top, c.tmp)
		c.Branch(c.Func, c.tmp, "EQ", "$0", none)
		c.Branch(c.Func, c.tmp, "GE", imm(infBits), c.name("", "NaN"))
		c.Spread(c.Func, top, factor)
		c.Branch(c.Func, c.tmp, "LT", imm(leastScale), c.name("", "Small"))
		c.Op(c.DivV, c.First(top), c.First(one), c.First(inverse))
		c.Spread(c.Func, inverse, inverse)
		// A product with the reciprocal, corrected once, rounds to the integer that the quotient
		// rounds to. See TestQuotients.
		divide := func(v Vec) {
			c.Op(c.MulV, inverse, v, c.spare)
			c.Op(c.FMSV, c.spare, factor, v)
			c.Op(c.FMAV, v, inverse, c.spare)
			c.RoundEven(c.Func, c.spare)
		}
		c.elements("", func() {
			for i, x := range v {
				c.Op(c.Load, mem(c.src, i*c.Bytes()), x)
				divide(x)
				c.Op(c.Copy, c.spare, x)
			}
			c.quants(v, 0)
		}, func() Vec {
			divide(c.v)
			return c.spare
		})
		c.Jump(done)

		c.Label(c.name("", "Small"))
		c.elements("Small", nil, func() Vec {
			c.Op(c.DivV, factor, c.v, c.v)
			c.MaxOf(c.Func, least, c.v, c.spare) // a scale of few bits has quotients beyond
			c.RoundEven(c.Func, c.v)
			return c.v
		})
		c.Jump(done)

		c.Label(c.name("", "NaN"))
		c.Broadcast(c.Func, c.constant(math.Float32frombits(quietBits)), c.v)
		c.StoreElement(c.Func, c.v, mem(c.scale, 0))
		c.Label(none)
		c.elements("None", nil, func() Vec {
			c.Zero(c.Func, c.v)
			return c.v
		})
		c.Label(done)
	}
}

// blocks returns the body for Q8_0.
func (c *storer) blocks(m *vecMap) func() {
	v := c.more(m)
	top, inverse := m.one("largest"), m.one("reciprocal")
	abs, most := m.bits(absBits, "magnitude"), Vec(m.constant(127, "127"))
	one, half, sign := Vec(m.constant(1, "1")), m.bits(belowHalf, "below 0.5"), Vec(m.constant(negZero, "sign bit"))
	return func() {
		c.begin()
		c.Loop("block")
		c.largest(v, abs, top, true)
		c.ReduceMax(c.Func, top, c.spare)
		c.Op(c.DivV, c.First(most), c.First(top), c.First(top))
		c.FirstBits(c.Func, top, c.tmp)
		c.Op(c.DivV, c.First(top), c.First(one), c.First(inverse))
		c.StoreUnit(c.Func, kernel.Float16, top, mem(c.dst, 0))
		c.Branch(c.Func, c.tmp, "LT", imm(leastInverse), "blockNone")
		c.Branch(c.Func, c.tmp, "GE", imm(infBits), "blockNone")
		c.Spread(c.Func, inverse, inverse)
		for _, x := range v {
			c.Op(c.MulV, inverse, x, x)
			c.RoundAway(c.Func, x, half, sign, c.spare)
		}
		c.quants(v, quants)
		c.Label("blockNext")
		c.Op(c.Add, 4*kernel.BlockValues, c.src)
		c.Op(c.Add, c.elem.Unit(), c.dst)
		c.Op(c.Sub, kernel.BlockValues, c.n)
		c.Branch(c.Func, c.n, "GT", "$0", "block")
		c.Jump("blocksDone")

		c.Label("blockNone")
		c.Branch(c.Func, c.tmp, "LE", imm(infBits), "blockZeros")
		c.Op(c.Mov, quietHalf, c.tmp)
		c.StoreHalfInt(c.Func, c.tmp, mem(c.dst, 0))
		c.Label("blockZeros")
		for _, x := range v {
			c.Zero(c.Func, x)
		}
		c.quants(v, quants)
		c.Jump("blockNext")
		c.Label("blocksDone")
	}
}
