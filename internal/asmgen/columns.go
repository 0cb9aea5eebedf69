package asmgen

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv/kernel/fp"
)

// A column is four lanes of scores, of some keys.
type column struct {
	*Func
	s, stride, keys, lanes Int
}

// newColumn begins a function of a column that takes four numbers, a lane each, from memory.
func newColumn(arch *Arch, name, lanes, formula string) *column {
	f := newProbe(arch, name, "(s *float32, stride, keys int, "+lanes+" *float32)", 32, formula)
	c := &column{f, f.int("s"), f.int("bytes from key to key"), f.int("keys left"), f.int(lanes)}
	f.Op(f.Mov, "s+0(FP)", c.s)
	f.Op(f.Mov, "stride+8(FP)", c.stride)
	f.Op(f.Mov, "keys+16(FP)", c.keys)
	f.Op(f.Mov, lanes+"+24(FP)", c.lanes)
	f.Op(f.Shl, 2, c.stride)
	return c
}

// next writes the end of the loop over keys.
func (c *column) next() {
	c.Op("ADDQ", c.stride, c.s)
	c.Countdown(c.keys, "loop")
}

// reduce writes a function whose numbers are what op makes of them and each score in turn.
func reduce(arch *Arch, name, number, op, formula string) *Func {
	c := newColumn(arch, name, number, formula)
	m := c.vectors("all:")
	acc, x := m.one(number), m.one("x")
	c.Op("MOVUPS", mem(c.lanes, 0), acc)
	c.Loop("loop")
	c.Op("MOVUPS", mem(c.s, 0), x)
	c.Op(op, acc, x)
	c.Op("MOVAPS", x, acc)
	c.next()
	c.Op("MOVUPS", acc, mem(c.lanes, 0))
	c.Return(c.Func)
	return c.Func
}

// columnMax writes the maxima of Softmax: MAXPS leaves the old one where x is not greater, a NaN
// included.
func columnMax(arch *Arch) *Func {
	return reduce(arch, "columnMax", "top", "MAXPS", `
for k := range keys {
	if s[k*stride] > top {
		top = s[k*stride]
	}
}
`)
}

// columnSum writes the sums of Softmax.
func columnSum(arch *Arch) *Func {
	return reduce(arch, "columnSum", "sum", "ADDPS", `
for k := range keys {
	sum += s[k*stride]
}
`)
}

// columnExp writes the weights of Softmax.
func columnExp(arch *Arch) *Func {
	c := newColumn(arch, "columnExp", "top", `
for k := range keys {
	s[k*stride] = Exp2(s[k*stride] - top)
}
`)
	f := c.Func
	bits := f.int("ties")
	m := f.vectors("all:")
	w := newWideFMA(f, m)
	top, magic, least := m.one("top"), m.one("magic"), m.one("least argument")
	x, p := m.take(2, "f"), m.take(2, "polynomial")
	coefficient, power, normal := m.one("coefficient"), m.one("power of two"), m.one("lanes that are not 0")
	w.constants()
	f.Op("MOVUPS", mem(c.lanes, 0), top)
	f.Op("MOVUPS", f.constant(fp.ExpMagic), magic)
	f.Op("MOVUPS", f.constant(fp.ExpMin), least)
	poly := fp.ExpPoly()
	wide := func(i int) string {
		return f.lanes64(fmt.Sprint("wideExp", i), math.Float64bits(float64(poly[i])))
	}
	last := len(poly) - 1

	f.Loop("loop")
	y := x[0]
	f.Op("MOVUPS", mem(c.s, 0), y)
	f.Op("SUBPS", top, y)
	f.Op("MOVAPS", y, normal)
	f.Op("CMPPS", least, normal, 5) // not less: true for a NaN
	f.Op("MOVAPS", y, power)
	f.Op("ADDPS", magic, power)
	f.Op("MOVAPS", power, w.t)
	f.Op("SUBPS", magic, w.t)
	f.Op("SUBPS", w.t, y)
	f.Op("PSLLL", 23, power)
	f.Op("MOVHLPS", y, x[1])
	f.Op("CVTPS2PD", x[1], x[1])
	f.Op("CVTPS2PD", y, x[0])
	f.Op("MOVUPS", wide(last), p[0])
	f.Op("MOVAPS", p[0], p[1])
	for i := last - 1; i >= 0; i-- {
		f.Op("MOVUPS", wide(i), coefficient)
		for j := range p {
			v, first := w.u[j], i == last-1 && j == 0
			if first {
				v = w.tie
			}
			f.Op("MOVAPS", p[j], v)
			w.plain(x[j], v, coefficient, p[j], first)
		}
	}
	w.branch(bits, "again")
	f.Label("weights")
	for _, v := range p {
		f.Op("CVTPD2PS", v, v)
	}
	f.Op("MOVLHPS", p[1], p[0])
	f.Op("MULPS", power, p[0])
	f.Op("ANDPS", normal, p[0])
	f.Op("MOVUPS", p[0], mem(c.s, 0))
	c.next()
	f.Return(f)

	f.Label("again")
	for j := range p {
		f.Op("MOVUPS", wide(last), p[j])
		for i := last - 1; i >= 0; i-- {
			f.Op("MOVUPS", wide(i), coefficient)
			w.exact(coefficient, x[j], func(dst, _ Vec) { f.Op("MOVAPS", p[j], dst) })
			f.Op("MOVAPS", coefficient, p[j])
		}
	}
	f.Jump("weights")
	return f
}
