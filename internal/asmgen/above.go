package asmgen

import (
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const aboveFormula = `
At = N
for i := N - 64; i >= 0; i -= 64 {
	if X[i+j] > Bound, for some j in 0..63 {
		At = i
	}
}
`

// above writes Above. The maxima of a block begin at the bound, and stay there unless an element is above.
func above(arch *Arch) *Func {
	f := newFunc(arch, "above", reflect.TypeFor[kernel.AboveArgs](), aboveFormula)
	x, n, at, lanes := f.int("X"), f.int("elements left"), f.int("At"), f.int("lanes of maxima that are the bound")
	const maxima = 4
	m := f.vectors("all:")
	bound := m.one("Bound")
	top := m.take(maxima, "maxima")
	v, tmp := m.take(maxima, "X"), m.one("scratch")
	f.load("X", x)
	f.load("N", n)
	f.Broadcast(f, f.arg("Bound"), bound)
	f.Op(f.Mov, 0, at)
	f.Loop("block")
	for _, t := range top {
		f.Op(f.Copy, bound, t)
	}
	for j := range kernel.AboveBlock / f.Lanes {
		i := j % maxima
		f.Op(f.Load, mem(x, j*f.Bytes()), v[i])
		f.MaxOf(f, v[i], top[i], tmp)
	}
	f.MaxOf(f, top[0], top[1], tmp)
	f.MaxOf(f, top[2], top[3], tmp)
	f.MaxOf(f, top[1], top[3], tmp)
	f.LanesEqual(f, bound, top[3], tmp, lanes)
	f.Branch(f, lanes, "NE", imm(1<<f.Lanes-1), "done")
	f.Op(f.Add, 4*kernel.AboveBlock, x)
	f.Op(f.Add, kernel.AboveBlock, at)
	f.Op(f.Sub, kernel.AboveBlock, n)
	f.Branch(f, n, "GT", "$0", "block")
	f.Label("done")
	f.save(at, "At")
	f.Return(f)
	return f
}
