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
func scores(arch *Arch) *Func { return scoresAs("scores", arch, scoresFormula) }

const scoresPairsFormula = `
for k := range Keys {
	S[k] = +0
	for d := range Dim {
		k0, k1 = split(K[k*KeyStride+d*DimStride]); q0, q1 = split(Q[d])
		S[k] = fma(k1, q1, fma(k0, q0, S[k]))
	}
}
`

// scoresPairs writes ScoresPairs: Scores with another instruction.
func scoresPairs(arch *Arch) *Func { return scoresAs("scoresPairs", inPairs(arch), scoresPairsFormula) }

func scoresAs(name string, arch *Arch, formula string) *Func {
	f := newFunc(arch, name, reflect.TypeFor[kernel.ScoresArgs](), formula)
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
