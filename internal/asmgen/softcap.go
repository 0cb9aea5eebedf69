package asmgen

import (
	"reflect"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

const softcapFormula = `
for k := range Keys {
	y = -|S[k]*In| < min ? min : -|S[k]*In|
	t = y + magic; f = y - (t - magic); e = t<<23
	x = fma(e, f*poly(f), e-1), poly from poly[1] on
	S[k] = copysign(x/(x+2), S[k]) * Out
}
`

// A capper is the body of Softcap for a number of vectors in a row of lanes.
type capper struct {
	*elementwise
	exp      exp
	in, out  Vec
	sign     Vec // of a float32
	min      Vec
	one, two string
}

// softcap writes Softcap.
func softcap(arch *Arch) *Func {
	c := capper{elementwise: newElementwise(arch, "softcap", reflect.TypeFor[kernel.SoftcapArgs](), softcapFormula)}
	c.emit(c.begin, c.row)
	return c.Func
}

func (c *capper) begin(m *vecMap) {
	e := exp{Func: c.Func}
	e.y = m.take(c.vecs, "y")
	e.t = m.take(c.vecs, "t")
	e.f = m.take(c.vecs, "f")
	e.p = e.y // free where the polynomial begins
	e.spareFrom(m)
	c.in, c.out = m.one("In"), m.one("Out")
	c.Broadcast(c.Func, c.arg("In"), c.in)
	c.note("a.In")
	c.Broadcast(c.Func, c.arg("Out"), c.out)
	c.note("a.Out")
	c.sign, c.min = m.one("sign"), m.one("min")
	c.Broadcast(c.Func, c.constant(negZero), c.sign)
	c.Broadcast(c.Func, c.constant(fp.SoftcapMin), c.min)
	e.constants(m, 1)
	c.one, c.two = m.constant(1, "1"), m.constant(2, "2")
	c.exp = e
}

// row caps a row of scores, an operation of all vectors at a time.
func (c *capper) row() {
	e := &c.exp
	for j, y := range e.y {
		c.MulLoad(c.Func, c.at(j), c.in, y)
	}
	for _, y := range e.y {
		c.Op(c.OrV, c.sign, y, y)
	}
	for j, y := range e.y {
		c.MaxOf(c.Func, c.min, y, e.t[j])
	}
	e.reduce()
	e.horner(1)
	for j, p := range e.p {
		c.Op(c.MulV, e.f[j], p, p)
	}
	for _, t := range e.t {
		c.Op(c.ShlV, exponentBits, t, t)
	}
	for j, t := range e.t {
		c.Op(c.SubV, c.one, t, e.f[j])
	}
	x := make([]Vec, c.vecs)
	for j, p := range e.p {
		x[j] = c.Update(c.Func, e.f[j], e.t[j], p)
	}
	for j, x := range x {
		c.Op(c.AddV, c.two, x, e.t[j])
	}
	for j, x := range x {
		c.Op(c.DivV, e.t[j], x, x)
	}
	for j, x := range x {
		c.CopySign(c.Func, c.at(j), c.sign, x, e.t[j])
	}
	for _, x := range x {
		c.Op(c.MulV, c.out, x, x)
	}
	for j, x := range x {
		c.Op(c.Store, x, c.at(j))
	}
}
