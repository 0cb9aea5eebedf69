package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const hadamardFormula = `
for r := range Rows {
	y := X[r*XStride:][:Cols] * Scale
	for h := 1; h < Block; h *= 2 {
		y[i], y[i+h] = y[i]+y[i+h], y[i]-y[i+h], for i&h == 0
	}
	Y[r*YStride:] = y
}
`

// hadamard writes Hadamard. Lanes of a vector are added to those that they are swapped with, the
// upper ones of two with the sign bit turned over. Then whole vectors are, at growing distances, in Y.
func hadamard(arch *Arch) *Func {
	f := newFunc(arch, "hadamard", reflect.TypeFor[kernel.HadamardArgs](), hadamardFormula)
	x, y, rows := f.int("X, row"), f.int("Y, row"), f.int("rows left")
	from, low, high := f.int("X"), f.int("Y, lower half"), f.int("Y, upper half")
	block, h, n, left := f.int("bytes of a block"), f.int("bytes from sum to difference"), f.int("bytes left of the half"), f.int("bytes left of the row")
	tmp := f.int("scratch")
	m := f.vectors("all:")
	scale, v, w, t := m.one("Scale"), m.one("lower half"), m.one("upper half"), m.one("scratch")
	var signs []Vec
	for d := 1; d < f.Lanes; d *= 2 {
		words := make([]uint32, f.Lanes)
		for i := range words {
			if i&d != 0 {
				words[i] = 1 << 31
			}
		}
		sign := m.one(fmt.Sprintf("signs of differences, %d apart", d))
		f.LoadConstant(f, f.symbol(fmt.Sprintf("signs%dof%d", d, f.Lanes), words...)+"(SB)", sign)
		signs = append(signs, sign)
	}
	f.Broadcast(f, f.arg("Scale"), scale)
	f.load("X", x)
	f.load("Y", y)
	f.load("Rows", rows)
	f.loadBytes("Block", block)
	f.Loop("row")
	f.Op(f.Mov, x, from)
	f.Op(f.Mov, y, low)
	f.loadBytes("Cols", left)
	f.Loop("vector")
	f.Op(f.Load, mem(from, 0), v)
	f.Op(f.MulV, scale, v, v)
	for i, sign := range signs {
		f.Branch(f, block, "LE", imm(4<<i), "swapped")
		f.Swap(f, 1<<i, v, t)
		f.Op(f.XorV, sign, v, v)
		f.Op(f.AddV, v, t, v)
	}
	f.Label("swapped")
	f.Op(f.Store, v, mem(low, 0))
	f.Op(f.Add, f.Bytes(), from)
	f.Op(f.Add, f.Bytes(), low)
	f.Op(f.Sub, f.Bytes(), left)
	f.Branch(f, left, "GT", "$0", "vector")

	f.Op(f.Mov, f.Bytes(), h)
	f.Loop("distance")
	f.Op(f.Mov, block, tmp)
	f.Op(f.Sub, h, tmp)
	f.Branch(f, tmp, "LE", "$0", "done")
	f.Op(f.Mov, y, low)
	f.loadBytes("Cols", left)
	f.Loop("halves")
	f.Op(f.Mov, h, n)
	f.Op(f.Mov, low, high)
	f.Op(f.Add, h, high)
	f.Loop("half")
	f.Op(f.Load, mem(low, 0), v)
	f.Op(f.Load, mem(high, 0), w)
	f.Op(f.AddV, w, v, t)
	f.Op(f.SubV, w, v, w)
	f.Op(f.Store, t, mem(low, 0))
	f.Op(f.Store, w, mem(high, 0))
	f.Op(f.Add, f.Bytes(), low)
	f.Op(f.Add, f.Bytes(), high)
	f.Op(f.Sub, f.Bytes(), n)
	f.Branch(f, n, "GT", "$0", "half")
	f.Op(f.Mov, high, low)
	f.Op(f.Sub, h, left)
	f.Op(f.Sub, h, left)
	f.Branch(f, left, "GT", "$0", "halves")
	f.Op(f.Shl, 1, h)
	f.Jump("distance")

	f.Label("done")
	f.loadBytes("XStride", tmp)
	f.Op(f.Add, tmp, x)
	f.loadBytes("YStride", tmp)
	f.Op(f.Add, tmp, y)
	f.Countdown(rows, "row")
	f.Return(f)
	return f
}
