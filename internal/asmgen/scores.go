package asmgen

import (
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const scoresFormula = `
for k := range Keys {
	S[k] = +0
	for d := range Dim {
		S[k] = fma(K[k*KeyStride+d*DimStride], Q[d], S[k])
	}
}
`

// scores writes Scores: A is K, a row of it a key; B is Q and C is S.
func scores(arch *Arch) *Func {
	f := newFunc(arch, "scores", reflect.TypeFor[kernel.ScoresArgs](), scoresFormula)
	p := &product{Func: f, prefetches: true}
	p.reserve()
	p.stride = p.int("B and C, bytes from row to row")
	f.load("K", p.a)
	f.loadBytes("KeyStride", p.ra)
	f.loadBytes("DimStride", p.ca)
	f.loadBytes("Stride", p.stride)
	f.load("Keys", p.rows)
	f.load("S", p.c)

	p.steps = func(t *tile) {
		t.clear()
		f.load("Q", p.b)
		f.load("Dim", p.k)
		t.loop()
	}
	p.store = func(t *tile) {
		for _, acc := range t.acc {
			for j, v := range acc {
				f.Op(f.Store, v, mem(p.c, j*f.Bytes()))
			}
			f.Op(f.Add, p.stride, p.c)
		}
	}
	p.emit()
	return f
}
