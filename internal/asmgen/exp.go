package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel/fp"
)

// exp is what the exponential works with. The constants are registers, or memory
// operands where registers ran out.
type exp struct {
	*Func
	magic, min string
	poly       [fp.ExpTerms]string
	y, t, f, p []Vec // of each stream
	spare      Vec   // if SpareForMulAdd
}

// spareFrom reserves the spare register.
func (e *exp) spareFrom(m *vecMap) {
	if e.SpareForMulAdd {
		e.spare = m.one("spare")
	}
}

// constants loads the constants of reduce and of horner(low).
func (e *exp) constants(m *vecMap, low int) {
	e.magic = m.constant(fp.ExpMagic, "magic")
	poly := fp.ExpPoly()
	for i := low; i < len(e.poly); i++ {
		e.poly[i] = m.constant(poly[i], fmt.Sprintf("poly[%d]", i))
	}
}

// reduce is t = y + magic, f = y - (t - magic) for every stream, an operation of all
// streams at a time, to hide its latency.
func (e *exp) reduce() {
	for j, y := range e.y {
		e.Op(e.AddV, e.magic, y, e.t[j])
	}
	for j, t := range e.t {
		e.Op(e.SubV, e.magic, t, e.f[j])
	}
	for j, f := range e.f {
		e.Op(e.SubV, f, e.y[j], f)
	}
}

// horner is p = the polynomial from coefficient low on, of f.
func (e *exp) horner(low int) {
	top := len(e.poly) - 1
	for _, p := range e.p {
		e.set(e.poly[top], p)
	}
	for i := top - 1; i >= low; i-- {
		for j, p := range e.p {
			e.p[j], e.spare = e.MulAdd(e.Func, e.poly[i], e.f[j], p, e.spare)
		}
	}
}

// exp2 is p = Exp2(y) for every stream. y, t and f are lost. normal says that no y is less than fp.ExpMin.
func (e *exp) exp2(normal bool) {
	e.reduce()
	if !normal {
		for j, y := range e.y {
			e.Normal(e.Func, e.min, y, j)
		}
	}
	e.horner(0)
	for _, t := range e.t {
		e.Op(e.ShlV, exponentBits, t, t)
	}
	for j, p := range e.p {
		if normal {
			e.Op(e.MulV, e.t[j], p, p)
		} else {
			e.MulNormal(e.Func, e.t[j], e.y[j], p, j)
		}
	}
}

// first has body work with the first n streams.
func (e *exp) first(n int, body func()) {
	y, t, f, p := e.y, e.t, e.f, e.p
	e.y, e.t, e.f, e.p = y[:n], t[:n], f[:n], p[:n]
	body()
	e.y, e.t, e.f, e.p = y, t, f, p
}

// exponentBits is where the exponent of a float32 begins.
const exponentBits = 23
