package asmgen

import (
	"reflect"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

const mergeFormula = `
for l := range Lanes {
	m = ChunkMax[l] > Max[l] ? ChunkMax[l] : Max[l]
	a, b = exp(Max[l] - m), exp(ChunkMax[l] - m)
	a = ChunkSum[l] == 0 ? 1 : Sum[l] == 0 ? -0 : a
	b = ChunkSum[l] == 0 ? -0 : b
	Max[l] = m
	Sum[l] = fma(Sum[l], a, ChunkSum[l]*b)
	O[d][l] = fma(O[d][l], a, Chunk[d][l]*b), for each d
}
`

// merge writes Merge, a vector of lanes at a time over all dims.
func merge(arch *Arch) *Func {
	f := newFunc(arch, "merge", reflect.TypeFor[kernel.MergeArgs](), mergeFormula)
	o, chunk := f.int("O"), f.int("Chunk")
	stride := f.int("O and Chunk, bytes from row to row")
	dims, lanes := f.int("dims left"), f.int("lanes left")
	off := f.int("bytes before the vector")
	ptr := f.int("Max, Sum, ChunkMax, ChunkSum")
	m := f.vectors("all:")
	e := &exp{
		Func: f,
		y:    m.take(2, "y, sums, O and Chunk"), t: m.take(2, "t"), f: m.take(2, "f"), p: m.take(2, "p, weights"),
	}
	top := m.one("m")
	e.spareFrom(m)
	e.constants(m, 0)
	e.min = m.constant(fp.ExpMin, "min")
	empty := m.constant(negZero, "-0")
	// at points ptr to the vector of a row of lanes.
	at := func(name string) string {
		f.load(name, ptr)
		f.Op(f.Add, off, ptr)
		return mem(ptr, 0)
	}
	// add stores fma(y[0], a, y[1]).
	add := func(addr string) {
		f.Op(f.Store, f.Update(f, e.y[1], e.p[0], e.y[0]), addr)
	}

	f.load("Lanes", lanes)
	f.loadBytes("Stride", stride)
	f.Op(f.Mov, 0, off)
	f.Loop("lanes")
	f.Op(f.Load, at("ChunkMax"), e.y[1])
	f.Op(f.Load, at("Max"), e.y[0])
	f.Op(f.Copy, e.y[0], top)
	f.Op(f.Copy, e.y[1], e.t[0])
	f.MaxOf(f, e.t[0], top, e.t[1])
	f.Op(f.Store, top, mem(ptr, 0))
	for _, y := range e.y {
		f.Op(f.SubV, top, y, y)
	}
	e.exp2(false)
	f.Op(f.Load, at("ChunkSum"), e.y[1])
	f.Op(f.Load, at("Sum"), e.y[0])
	for i, sum := range e.y {
		f.WhereZero(f, empty, empty, sum, e.p[i], e.t[i])
	}
	f.WhereZero(f, empty, e.poly[0], e.y[1], e.p[0], e.t[0]) // poly[0] is 1
	f.Op(f.MulV, e.p[1], e.y[1], e.y[1])
	add(mem(ptr, 0))

	f.load("O", o)
	f.Op(f.Add, off, o)
	f.load("Chunk", chunk)
	f.Op(f.Add, off, chunk)
	f.load("Dim", dims)
	f.Loop("dims")
	f.MulLoad(f, mem(chunk, 0), e.p[1], e.y[1])
	f.Op(f.Load, mem(o, 0), e.y[0])
	add(mem(o, 0))
	f.Op(f.Add, stride, chunk)
	f.Op(f.Add, stride, o)
	f.Countdown(dims, "dims")
	f.Op(f.Add, f.Bytes(), off)
	f.Op(f.Sub, f.Lanes, lanes)
	f.Branch(f, lanes, "GT", "$0", "lanes")
	f.Return(f)
	return f
}
