package asmgen

import (
	"reflect"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

const convertFormula = `
for k := range Rows, d := range Dim {
	value = Elem.Value(Src + Off[k], d, Elem.Unit(), Scale[k])
	Dst[k*Stride+d] = Brain ? brain(value) : value
}
brain(x) is x rounded to bfloat16, and 0 where that is below LeastBrain
`

// A converter is the body of Convert for a type of elements.
type converter struct {
	*Func
	elem             kernel.Elem
	off, scale, rows Int
	row, stride      Int // of Dst
	src, dst         Int // where the row goes on
	n                Int // dims left of the row
	ahead            Int // of a row to ask for
	aheadOff         Int
	tmp              Int
	v, factor        Vec
	quarter          quarter
	codes            fourBits
	rounds           bool // to the numbers of class BFloat16
	sure             bool // no number is NaN, infinite or too small for LeastBrain, unless it is 0
	brain            brain
}

// convertValues are the values of a row that are converted between two tests for its end, and convertVectors is the
// most vectors of these.
const convertValues, convertVectors = 64, 8

// convert writes Convert where UnitStride is that of units without gaps.
func convert(arch *Arch) *Func {
	f := newFunc(arch, "convert", reflect.TypeFor[kernel.ConvertArgs](), convertFormula)
	c := &converter{
		Func: f, off: f.int("Off"), scale: f.int("Scale"), rows: f.int("rows left"),
		row: f.int("row of Dst"), stride: f.int("Dst, bytes from row to row"),
		src: f.int("Src"), dst: f.int("Dst"), n: f.int("dims left"),
		ahead: f.int("Src, a row to ask for"), aheadOff: f.int("Ahead"), tmp: f.int("scratch"),
	}
	f.load("Off", c.off)
	f.load("Scale", c.scale)
	f.load("Dst", c.row)
	f.loadBytes("Stride", c.stride)
	f.load("Ahead", c.aheadOff)
	f.LoadByte(f, f.arg("Brain"), c.n)
	f.Branch(f, c.n, "NE", "$0", brainPrefix)
	f.byElem(c.n, func(e kernel.Elem) {
		c.elem = e
		c.emit()
	})
	f.Label(brainPrefix)
	c.rounds = true
	f.byElemAs(kernel.Elems(), brainPrefix, c.n, func(e kernel.Elem) {
		c.elem = e
		c.emit()
	})
	return f
}

// brainPrefix begins labels of what makes numbers of class BFloat16.
const brainPrefix = "Brain"

func (c *converter) name(what string) string {
	name := c.elem.String() + what
	if c.sure {
		name += "Sure"
	}
	if c.rounds {
		return brainPrefix + name
	}
	return name
}

// open reserves registers, and loads what the type wants.
func (c *converter) open() {
	m := c.vectors(c.name(":"))
	c.v, c.factor = m.one("values"), m.one("scale")
	switch c.elem {
	case kernel.E4M3, kernel.E5M2:
		c.openFloat8(m)
	case kernel.Q4_0, kernel.Q4_1:
		c.openFourBits(m)
	}
	if c.rounds {
		c.brain = m.brain()
	}
}

// round rounds numbers, if that is wanted.
func (c *converter) round(v Vec) {
	switch {
	case c.sure:
		if c.elem == kernel.Q4_0 { // the scale may be negative
			c.Op(c.AddV, c.codes.zero, v, v)
		}
		c.brainSure(v, &c.brain)
	case c.rounds:
		c.brainFloat(v, &c.brain)
	}
}

// Scales of which integers of up to 8 bits make numbers that are sure: bits of float32 and of binary16 from the least on, and the
// first beyond these. That of Int8 and Q8_0 is positive, so that no product is -0. Q4_0 adds +0.
const (
	leastSure, beyondSure         = leastBrain << 16, (127 + 119) << 23
	leastSureHalf, beyondSureHalf = 1, 0x7c00
)

// bySureness writes body twice where numbers are rounded: for a scale whose bits are in scratch, if these are between the bounds, and
// for others.
func (c *converter) bySureness(least, beyond int, body func()) {
	if c.rounds {
		unsure, done := c.name("Unsure"), c.name("Sureness")
		c.Branch(c.Func, c.tmp, "LT", imm(least), unsure)
		c.Branch(c.Func, c.tmp, "GE", imm(beyond), unsure)
		c.sure = true
		body()
		c.sure = false
		c.Jump(done)
		c.Label(unsure)
		defer c.Label(done)
	}
	body()
}

// rowsAhead is how many rows ahead Convert asks for memory where nobody says which row is next.
const rowsAhead = 4

func (c *converter) emit() {
	row := c.name("Row")
	c.open()
	c.load("Rows", c.rows)
	c.Loop(row)
	c.load("Src", c.src)
	c.Op(c.Mov, mem(c.off, 0), c.tmp)
	c.Op(c.Add, c.tmp, c.src)
	c.Op(c.Add, 8, c.off)
	c.Op(c.Mov, c.row, c.dst)
	c.Branch(c.Func, c.aheadOff, "EQ", "$0", row+"Near")
	c.Op(c.Mov, mem(c.aheadOff, 0), c.tmp)
	c.Op(c.Add, 8, c.aheadOff)
	c.Jump(row + "Ahead")
	c.Label(row + "Near")
	c.Op(c.Mov, mem(c.off, -8), c.tmp)
	c.Branch(c.Func, c.rows, "LE", imm(rowsAhead), row+"Ahead")
	c.Op(c.Mov, mem(c.off, 8*(rowsAhead-1)), c.tmp)
	c.Label(row + "Ahead")
	c.load("Src", c.ahead)
	c.Op(c.Add, c.tmp, c.ahead)
	c.load("Dim", c.n)
	switch c.elem {
	case kernel.Q8_0:
		c.blocks(func() {
			c.BroadcastHalf(c.Func, mem(c.src, 0), c.factor)
			if c.rounds {
				c.LoadHalfInt(c.Func, mem(c.src, 0), c.tmp)
			}
			c.bySureness(leastSureHalf, beyondSureHalf, func() {
				for i := range kernel.BlockValues / c.Lanes {
					c.vector(quants+i*c.Lanes, i*c.Bytes())
				}
			})
		})
	case kernel.Q4_0, kernel.Q4_1:
		c.blocks(func() { c.fourBits() })
	case kernel.Int8:
		c.Broadcast(c.Func, mem(c.scale, 0), c.factor)
		if c.rounds {
			c.LoadSigned(c.Func, mem(c.scale, 0), c.tmp)
		}
		c.Op(c.Add, 4, c.scale)
		c.bySureness(leastSure, beyondSure, c.elements)
	default:
		c.elements()
	}
	c.Op(c.Add, c.stride, c.row)
	c.Countdown(c.rows, row)
	c.Return(c.Func)
}

// blocks converts a row of blocks, one by body.
func (c *converter) blocks(body func()) {
	loop := c.name("Block")
	c.Loop(loop)
	c.PrefetchNear(c.Func, mem(c.ahead, 0))
	body()
	c.Op(c.Add, c.elem.Unit(), c.ahead)
	c.Op(c.Add, c.elem.Unit(), c.src)
	c.Op(c.Add, 4*kernel.BlockValues, c.dst)
	c.Op(c.Sub, kernel.BlockValues, c.n)
	c.Branch(c.Func, c.n, "GT", "$0", loop)
}

// quants is where the values of a block begin.
const quants = int(unsafe.Offsetof(kernel.BlockQ8_0{}.Quants))

// width returns the bytes of a value, without the scale of its block.
func width(e kernel.Elem) int {
	if e == kernel.Q8_0 {
		return 1
	}
	return e.Unit()
}

// elements converts a row of single elements, several vectors at a time and then one. What is left after whole vectors is
// converted with elements before it or, if these are too few, one by one.
func (c *converter) elements() {
	name, unit := c.name, c.elem.Unit()
	vecs := min(convertValues/c.Lanes, convertVectors)
	turn := func(what string, vecs int) {
		c.Loop(name(what))
		for at := 0; at < vecs*c.Lanes*unit; at += cacheLine {
			c.PrefetchNear(c.Func, mem(c.ahead, at))
		}
		for i := range vecs {
			c.vector(i*c.Lanes*unit, i*c.Bytes())
		}
		c.Op(c.Add, vecs*unit*c.Lanes, c.ahead)
		c.Op(c.Add, vecs*unit*c.Lanes, c.src)
		c.Op(c.Add, vecs*c.Bytes(), c.dst)
		c.Op(c.Sub, vecs*c.Lanes, c.n)
		c.Branch(c.Func, c.n, "GE", "$0", name(what))
	}
	c.Op(c.Sub, vecs*c.Lanes, c.n)
	c.Branch(c.Func, c.n, "LT", "$0", name("Rest"))
	turn("Vectors", vecs)
	c.Label(name("Rest"))
	c.Op(c.Add, (vecs-1)*c.Lanes, c.n)
	c.Branch(c.Func, c.n, "LT", "$0", name("Last"))
	turn("Vector", 1)
	c.Label(name("Last"))
	c.Branch(c.Func, c.n, "EQ", imm(-c.Lanes), name("Next"))
	c.load("Dim", c.tmp)
	c.Branch(c.Func, c.tmp, "LT", imm(c.Lanes), name("Few"))
	for _, p := range []struct {
		ptr  Int
		unit int
	}{{c.src, unit}, {c.dst, 4}} {
		c.Op(c.Mov, c.n, c.tmp)
		c.times(p.unit, c.tmp)
		c.Op(c.Add, c.tmp, p.ptr)
	}
	c.vector(0, 0)
	c.Jump(name("Next"))

	c.Label(name("Few"))
	c.Op(c.Add, c.Lanes, c.n)
	c.Loop(name("One"))
	if c.float8() {
		c.LoadWord(c.Func, mem(c.src, 0), c.tmp, c.v)
		c.Float8(c.Func, c.elem, c.v, &c.quarter)
	} else {
		c.LoadOne(c.Func, c.elem, mem(c.src, 0), c.tmp, c.v)
	}
	c.scaled()
	c.round(c.v)
	c.StoreElement(c.Func, c.v, mem(c.dst, 0))
	c.Op(c.Add, unit, c.src)
	c.Op(c.Add, 4, c.dst)
	c.Countdown(c.n, name("One"))
	c.Label(name("Next"))
}

// vector converts a vector, from and to addresses by their offsets.
func (c *converter) vector(src, dst int) {
	if c.float8() {
		c.LoadWords(c.Func, mem(c.src, src), c.v)
		c.Float8(c.Func, c.elem, c.v, &c.quarter)
	} else {
		c.LoadElem(c.Func, c.elem, mem(c.src, src), c.v)
	}
	c.scaled()
	c.round(c.v)
	c.Op(c.Store, c.v, mem(c.dst, dst))
}

// scaled multiplies by the scale of the row or block, or of the type.
func (c *converter) scaled() {
	if c.elem == kernel.Int8 || c.elem == kernel.Q8_0 || c.elem == kernel.E4M3 {
		c.Op(c.MulV, c.factor, c.v, c.v)
	}
}
