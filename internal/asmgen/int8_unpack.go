package asmgen

import (
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const unpackInt8Formula = `
Scales, Mins = float32 of what is at Src, as Kind has it
if there are Codes {
	each byte of a row of 4*Lanes = Table of its lower 4 bits, and of the row four further of its upper ones
}
`

// An int8Unpack is the body of UnpackInt8.
type int8Unpack struct {
	*Func
	src, dst, left, mins, lanes, rows Int
	integers, at, to, toMins          Int
	v, d, m, mask                     Vec
}

// unpackInt8 writes UnpackInt8.
func unpackInt8(arch *Arch) *Func {
	f := newFunc(arch, "unpackInt8", reflect.TypeFor[kernel.UnpackInt8Args](), unpackInt8Formula)
	u := &int8Unpack{
		Func: f, src: f.int("Src, Codes"), dst: f.int("Scales, Dst"), left: f.int("values left"), mins: f.int("Mins"), lanes: f.int("Lanes"),
		rows: f.int("what is left of Depth, bytes of a row of lanes"), integers: f.int("integers of a vector of lanes"), at: f.int("scratch"),
		to: f.int("Scales of a block, bytes of half a block"), toMins: f.int("Mins of a block"),
	}
	lanes, rows, mins := u.lanes, u.rows, u.mins
	vectors := f.vectors("all:")
	u.v, u.d, u.m, u.mask = vectors.one("values, lower codes"), vectors.one("d, upper codes"), vectors.one("m, Table"), vectors.one("4 bits")
	f.load("Src", u.src)
	f.load("Scales", u.dst)
	f.load("Lanes", lanes)
	f.load("Depth", rows)
	u.askScales()
	f.load("Kind", u.left)
	for kind, name := range []string{"half", "halfMin", "groups32", "groups16"} {
		f.Branch(f, u.left, "EQ", imm(kind), name)
	}

	// Rows of lanes are contiguous.
	f.Op(f.MulInt, lanes, rows)
	f.Loop("float")
	f.Op(f.Load, mem(u.src, 0), u.v)
	f.Op(f.Store, u.v, mem(u.dst, 0))
	u.next(f.Bytes())
	f.Op(f.Sub, kernel.Int8Block*f.Lanes, rows)
	f.Branch(f, rows, "NE", "$0", "float")
	f.Jump("codes")

	f.Label("half")
	f.Op(f.MulInt, lanes, rows)
	f.Loop("halves")
	f.LoadElem(f, kernel.Float16, mem(u.src, 0), u.v)
	f.Op(f.Store, u.v, mem(u.dst, 0))
	u.next(2 * f.Lanes)
	f.Op(f.Sub, kernel.Int8Block*f.Lanes, rows)
	f.Branch(f, rows, "NE", "$0", "halves")
	f.Jump("codes")

	f.Label("halfMin")
	f.load("Mins", mins)
	f.Op(f.Mov, lanes, u.left)
	f.Loop("scales")
	f.LoadElem(f, kernel.Float16, mem(u.src, 0), u.v)
	f.Op(f.Store, u.v, mem(u.dst, 0))
	u.next(2 * f.Lanes)
	f.Op(f.Sub, f.Lanes, u.left)
	f.Branch(f, u.left, "NE", "$0", "scales")
	f.Op(f.Mov, lanes, u.left)
	f.Loop("mins")
	f.LoadElem(f, kernel.Float16, mem(u.src, 0), u.v)
	f.Op(f.Store, u.v, mem(mins, 0))
	f.Op(f.Add, 2*f.Lanes, u.src)
	f.Op(f.Add, f.Bytes(), mins)
	f.Op(f.Sub, f.Lanes, u.left)
	f.Branch(f, u.left, "NE", "$0", "mins")
	f.Op(f.Mov, lanes, u.left)
	f.Op(f.Sub, kernel.Int8Block, rows)
	f.Branch(f, rows, "NE", "$0", "scales")
	f.Jump("codes")

	f.Label("groups32")
	u.groups("groups32", true)
	f.Jump("codes")
	f.Label("groups16")
	u.groups("groups16", false)
	f.Label("codes")
	u.codes()
	f.Return(f)
	return f
}

// askScales asks for scales behind Src.
func (u *int8Unpack) askScales() {
	f, left := u.Func, u.left
	f.load("AheadBytes", left)
	f.load("Ahead", u.at)
	f.Op(f.Add, u.src, u.at)
	f.Branch(f, left, "EQ", "$0", "asked")
	f.Loop("asking")
	f.PrefetchNear(f, mem(u.at, 0))
	f.Op(f.Add, cacheLine, u.at)
	f.Op(f.Sub, cacheLine, left)
	f.Branch(f, left, "GT", "$0", "asking")
	f.Label("asked")
}

// next moves on by a vector of values, and by so many bytes of Src.
func (u *int8Unpack) next(bytes int) {
	u.Op(u.Add, bytes, u.src)
	u.Op(u.Add, u.Bytes(), u.dst)
}

// groups writes the products of numbers of binary16 and of integers: of a vector of lanes those of all blocks, and
// then those of the next.
func (u *int8Unpack) groups(name string, adds bool) {
	const blocks = kernel.KC / kernel.Int8Block
	f, stride := u.Func, u.rows
	f.Op(f.Mov, u.lanes, stride)
	f.Op(f.Shl, 2, stride)
	f.Op(f.Mov, u.src, u.integers)
	f.Op(f.Add, u.lanes, u.integers)
	f.Op(f.Add, u.lanes, u.integers)
	n := 2 * blocks
	if adds {
		n = blocks
		f.Op(f.Add, u.lanes, u.integers)
		f.Op(f.Add, u.lanes, u.integers)
		f.load("Mins", u.mins)
	}
	f.Op(f.Mov, u.lanes, u.left)
	f.Loop(name + "Lanes")
	f.LoadElem(f, kernel.Float16, mem(u.src, 0), u.d)
	if adds {
		f.Op(f.Mov, u.src, u.at)
		f.Op(f.Add, u.lanes, u.at)
		f.Op(f.Add, u.lanes, u.at)
		f.LoadElem(f, kernel.Float16, mem(u.at, 0), u.m)
		f.Broadcast(f, f.constant(float32(math.Copysign(0, -1))), u.v)
		f.Op(f.XorV, u.v, u.m, u.m)
		f.Op(f.Mov, u.mins, u.toMins)
	}
	f.Op(f.Mov, u.integers, u.at)
	f.Op(f.Mov, u.dst, u.to)
	product := func(by Vec, to Int) {
		f.LoadElem(f, kernel.Int8, mem(u.at, 0), u.v)
		f.Op(f.MulV, by, u.v, u.v)
		f.Op(f.Store, u.v, mem(to, 0))
		f.Op(f.Add, stride, to)
		f.Op(f.Add, u.lanes, u.at)
	}
	for range n {
		product(u.d, u.to)
		if adds {
			product(u.m, u.toMins)
		}
	}
	f.Op(f.Add, 2*f.Lanes, u.src)
	f.Op(f.Add, f.Lanes, u.integers)
	f.Op(f.Add, f.Bytes(), u.dst)
	if adds {
		f.Op(f.Add, f.Bytes(), u.mins)
	}
	f.Op(f.Sub, f.Lanes, u.left)
	f.Branch(f, u.left, "NE", "$0", name+"Lanes")
}

// codes writes the codes of 8 bits of those of 4, if there are any.
func (u *int8Unpack) codes() {
	f, half, ask := u.Func, u.to, u.integers
	lower, upper, table, mask := u.v, u.d, u.m, u.mask
	f.load("Codes", u.src)
	f.Branch(f, u.src, "EQ", "$0", "end")
	f.load("Dst", u.dst)
	f.load("Table", u.at)
	for part := range f.Lanes / 4 {
		f.LoadPart(f, mem(u.at, 0), part, table)
	}
	f.Broadcast(f, f.constant(math.Float32frombits(0x0f0f0f0f)), mask)
	f.load("Ahead", ask)
	f.Op(f.Add, u.src, ask)
	f.load("Depth", u.rows)
	f.Op(f.Mov, u.lanes, half) // bytes of the first half of a block
	f.Op(f.Shl, 4, half)
	f.Loop("block")
	f.Op(f.Mov, u.dst, u.at)
	f.Op(f.Add, half, u.at)
	f.Op(f.Mov, u.lanes, u.left)
	f.Op(f.Shl, 2, u.left) // dwords of codes of a block
	f.Loop("code")
	f.Prefetch(f, mem(ask, 0))
	f.Op(f.Add, f.Bytes(), ask)
	f.Op(f.Load, mem(u.src, 0), lower)
	f.Op(f.ShrV, 4, lower, upper)
	for _, x := range []struct {
		codes Vec
		to    Int
	}{{lower, u.dst}, {upper, u.at}} {
		f.Op(f.AndV, mask, x.codes, x.codes)
		f.Shuffle(f, string(x.codes), table, x.codes)
		f.Op(f.Store, x.codes, mem(x.to, 0))
		f.Op(f.Add, f.Bytes(), x.to)
	}
	f.Op(f.Add, f.Bytes(), u.src)
	f.Op(f.Sub, f.Lanes, u.left)
	f.Branch(f, u.left, "NE", "$0", "code")
	f.Op(f.Mov, u.at, u.dst)
	f.Op(f.Sub, kernel.Int8Block, u.rows)
	f.Branch(f, u.rows, "NE", "$0", "block")
	f.Label("end")
}
