package asmgen

import (
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const biasFormula = `
Cleared = false
for k := range Keys, l := range Lanes {
	b = l < Rows ? Src[Off[l]+k] : 0
	if b == -Inf {
		Mask[k] &^= 1<<l
		Cleared = true
	}
	S[k*Stride+l] = fma(b, Scale, S[k*Stride+l])
}
`

// bias writes Bias. The least bias of each key of a square tells whether one is -Inf;
// few squares have one, and only those touch the mask.
func bias(arch *Arch) *Func {
	f := newFunc(arch, "bias", reflect.TypeFor[kernel.BiasArgs](), biasFormula)
	t := &transposer{Func: f}
	t.reserve()
	keys := f.int("keys of the square")
	word := f.int("mask word of the first key of the square")
	unit := f.int("mask bit of the first lane of the square")
	m := f.vectors("square:")
	rows := m.take(f.Lanes, "rows")
	tmp := m.one("scratch")
	least := m.one("least of rows, S")
	mask := t.mask(m)
	scale, one, negInf := m.one("Scale"), m.one("1"), m.one("-Inf")

	f.Broadcast(f, f.arg("Scale"), scale)
	f.note("a.Scale")
	f.Broadcast(f, f.constant(1), one)
	f.Broadcast(f, f.constant(float32(math.Inf(-1))), negInf)
	f.setCleared(0, unit)
	f.Op(f.Mov, 1, unit)
	t.nextBlock = func() { f.Op(f.Shl, f.Lanes, unit) }
	t.emit("Src", "S", "Keys", func() {
		f.load("Mask", word)
	}, func() {
		t.tail(keys, t.tmp, mask)
		f.Zero(f, least)
		for _, v := range rows {
			f.Zero(f, v)
		}
		for i, v := range rows {
			f.Branch(f, t.rows, "LE", imm(i), "loaded")
			f.LoadScaled(f, t.scatteredRow(i), keys, one, mask, v)
			f.MinOf(f, v, least, tmp)
		}
		f.Label("loaded")
		columns := f.Transpose(f, rows, tmp)
		// eachKey writes one for each key of the square, and jumps to done where they end.
		eachKey := func(done string, one func(i int, v Vec)) {
			for i, v := range columns {
				one(i, v)
				if i < f.Lanes-1 {
					f.Branch(f, keys, "EQ", imm(i+1), done)
				}
			}
			f.Label(done)
		}
		f.LanesEqual(f, negInf, least, least, t.tmp)
		f.Branch(f, t.tmp, "EQ", "$0", "cleared")
		f.setCleared(1, t.tmp)
		eachKey("cleared", func(i int, v Vec) {
			f.LanesEqual(f, negInf, v, least, t.tmp)
			f.Op(f.MulInt, unit, t.tmp)
			f.ClearInt(f, t.tmp, mem(word, 8*i))
		})
		eachKey("stored", func(_ int, v Vec) {
			f.Op(f.Load, mem(t.row, 0), least)
			f.Op(f.Store, f.Update(f, least, scale, v), mem(t.row, 0))
			f.Op(f.Add, t.stride, t.row)
		})
		f.Op(f.Add, 8*f.Lanes, word)
	})
	return f
}

// setCleared writes a.Cleared.
func (f *Func) setCleared(x int, tmp Int) {
	f.Op(f.Mov, x, tmp)
	f.Op("MOVB", tmp, f.arg("Cleared"))
	f.note("a.Cleared")
}
