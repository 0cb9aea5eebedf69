package asmgen

import (
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const alibiFormula = `
for k := range Keys {
	S[k] = fma(Slope, |Pos - (First+k)|, S[k])
}
`

// alibi writes ALiBi. The indices of keys come from a table of float32.
func alibi(arch *Arch) *Func {
	e := newElementwise(arch, "alibi", reflect.TypeFor[kernel.ALiBiArgs](), alibiFormula)
	index := e.int("index of the key")
	tmp := e.int("scratch")
	var pos, slope, distance, s []Vec
	var key, sign Vec
	e.emit(func(m *vecMap) {
		pos, slope = m.take(e.vecs, "Pos"), m.take(e.vecs, "Slope")
		distance, s = m.take(e.vecs, "distance"), m.take(e.vecs, "S")
		key, sign = m.one("index of the key"), m.one("sign")
		for _, operand := range []struct {
			name string
			v    []Vec
		}{{"Pos", pos}, {"Slope", slope}} {
			e.load(operand.name, tmp)
			for j, v := range operand.v {
				e.Op(e.Load, mem(tmp, j*e.Bytes()), v)
			}
		}
		e.Broadcast(e.Func, e.constant(negZero), sign)
		e.Address(e.Func, e.symbol("keyIndex", indices()...), index)
		e.loadBytes("First", tmp)
		e.Op(e.Add, tmp, index)
	}, func() {
		e.Broadcast(e.Func, mem(index, 0), key)
		e.Op(e.Add, 4, index)
		for j, d := range distance {
			e.Op(e.SubV, key, pos[j], d)
		}
		for _, d := range distance {
			e.ClearBits(e.Func, sign, d)
		}
		for j, v := range s {
			e.Op(e.Load, e.at(j), v)
		}
		for j, v := range s {
			e.Op(e.Store, e.Update(e.Func, v, slope[j], distance[j]), e.at(j))
		}
	})
	return e.Func
}

// indices are the indices of the keys of a block as float32.
func indices() []uint32 {
	words := make([]uint32, kernel.KeyBlock)
	for i := range words {
		words[i] = math.Float32bits(float32(i))
	}
	return words
}
