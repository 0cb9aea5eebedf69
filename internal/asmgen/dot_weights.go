package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const dotWeightsFormula = `
for p := range parts of KC values of Depth, l := range Lanes {
	acc = +0
	for k of the part {
		acc = fma(value k of the blocks of Type at Src + l*RowBytes, X[k], acc)
	}
	C[p*Stride+l] = acc
}
`

const (
	// dotParts is how many parts of KC values DotWeights takes at a time: the sum of a part is one chain,
	// whose latency another hides.
	dotParts = 2

	// dotAhead is how many bytes ahead of what it reads of the last part DotWeights asks for more.
	dotAhead = 256

	localDepth = localScales // values left of the rows
)

// weightDots is the body of DotWeights: that of Dequantize, with multiply-adds in place of stores.
type weightDots struct {
	*dequantizer
	x    Int // at the first value of the block, of the first part
	c    Int
	base Int // local vectors

	acc       []Vec
	xs        []Vec // four values of X of each part, where there is FMAElement and there are registers
	parts     int   // at a time
	part, at  int   // which of them, and which value of the block, is made next
	partBytes int   // of KC values of a row
}

// dotWeights writes DotWeights.
func dotWeights(arch *Arch) *Func {
	f := newFunc(arch, "dotWeights", reflect.TypeFor[kernel.DotWeightsArgs](), dotWeightsFormula)
	d := &weightDots{
		dequantizer: &dequantizer{
			Func: f, stride: f.int("bytes from row to row of Src"),
			left: f.int("pairs of sub-blocks left, scratch"), count: f.int("values left of the part"),
		},
		x: f.int("X"), c: f.int("C"), base: f.int("local vectors"),
	}
	d.dots, d.put = d, d.multiplyAdd
	d.rows = f.ints((arch.Lanes+arch.RowsPerPtr-1)/arch.RowsPerPtr, "rows of Src")
	// The link register of an architecture that has one, and what is aligned, to a line here.
	f.locals = 16 + localVectors + cacheLine + dotParts*vectors32*arch.Bytes()
	for _, x := range []struct {
		field string
		local int
	}{{"Src", localSrc}, {"C", localDst}, {"Lanes", localLanes}} {
		f.load(x.field, d.count)
		f.Op(f.Mov, d.count, f.LocalAt(x.local))
	}
	f.load("RowBytes", d.stride)
	f.load("Type", d.left)
	types := kernel.FusedWeights()
	for _, w := range types[1:] {
		f.Branch(f, d.left, "EQ", imm(int(w)), w.String())
	}
	for _, w := range types {
		d.emit(w)
	}
	return f
}

// emit writes all for a type.
func (d *weightDots) emit(w kernel.Weight) {
	d.name, d.moved = w.String(), 0
	d.partBytes = kernel.KC / w.Values() * w.Bytes()
	label := func(what string) string { return fmt.Sprintf("%s%s%d", d.name, what, d.parts) }
	d.Label(d.name)
	d.registers()
	d.acc = d.m.take(dotParts, "sums of parts")
	body := d.body(w)
	if d.xs = nil; d.FMAElement != nil && len(d.m.free) >= dotParts {
		d.xs = d.m.take(dotParts, "values of X")
	}

	d.Label(d.name + "Rows")
	d.openRows()
	d.Op(d.Mov, d.LocalAt(localDst), d.c)
	d.load("X", d.x)
	d.load("Depth", d.left)
	d.Op(d.Mov, d.left, d.LocalAt(localDepth))
	for d.parts = dotParts; d.parts > 0; d.parts-- {
		next, done := label("Next"), label("Done")
		d.Label(next)
		d.Op(d.Mov, d.LocalAt(localDepth), d.left)
		if d.parts > 1 {
			d.ahead = d.parts * d.partBytes
			d.Branch(d.Func, d.left, "LT", imm(d.parts*kernel.KC), done)
			d.Op(d.Mov, kernel.KC, d.count)
		} else {
			d.ahead = dotAhead
			d.Branch(d.Func, d.left, "LE", "$0", done)
			d.Op(d.Mov, d.left, d.count)
			d.Branch(d.Func, d.left, "LE", imm(kernel.KC), label("Part"))
			d.Op(d.Mov, kernel.KC, d.count)
			d.Label(label("Part"))
		}
		d.Op(d.Sub, d.parts*kernel.KC, d.left)
		d.Op(d.Mov, d.left, d.LocalAt(localDepth))
		for p := range d.parts {
			d.Zero(d.Func, d.acc[p])
		}
		d.Loop(label("Block"))
		d.block(w, body)
		d.Branch(d.Func, d.count, "GT", "$0", label("Block"))
		d.loadBytes("Stride", d.left)
		for p := range d.parts {
			d.Op(d.Store, d.acc[p], mem(d.c, 0))
			d.Op(d.Add, d.left, d.c)
		}
		if d.parts > 1 {
			d.advance((d.parts - 1) * d.partBytes)
			d.Op(d.Add, (d.parts-1)*kernel.KC*4, d.x)
		}
		d.Jump(next)
		d.Label(done)
	}
	d.nextRows(d.name + "Rows")
	d.Return(d.Func)
}

// block writes a turn of the loop: a block of each part.
func (d *weightDots) block(w kernel.Weight, body func()) {
	if w.Values() == kernel.KC { // all parts, and moves on
		body()
	} else {
		for d.part = range d.parts {
			d.at = 0
			body()
		}
		d.part = 0
		d.advance(w.Bytes())
		d.Op(d.Add, 4*w.Values(), d.x)
	}
	d.Op(d.Sub, w.Values(), d.count)
}

// multiplyAdd is put of DotWeights.
func (d *weightDots) multiplyAdd(v Vec) {
	x := mem(d.x, 4*(d.part*kernel.KC+d.at))
	if d.xs == nil {
		d.FMABroadcast(d.Func, x, v, d.acc[d.part], d.tmp)
	} else {
		if d.at%4 == 0 {
			d.Op(d.Load, x, d.xs[d.part])
		}
		d.FMAElement(d.Func, d.xs[d.part], d.at%4, v, d.acc[d.part])
	}
	d.at++
}

// local returns the address of a vector in local memory.
func (d *weightDots) local(i int) string { return mem(d.base, i*d.Bytes()) }

// subBlocks32 writes a turn of Q4_K: the scales of a block of each part, then the values of two sub-blocks at a
// time, 16 of one part and 16 of another.
func (d *weightDots) subBlocks32(scales func(to int), codes func(q []Vec, half int, finish func())) {
	loop := fmt.Sprintf("%sSubBlocks%d", d.name, d.parts)
	d.LocalBase(d.Func, d.base)
	d.Op(d.Add, localVectors, d.base)
	for d.part = range d.parts {
		scales(vectors32 * d.part)
	}
	d.Op(d.Mov, 4, d.left)
	d.Loop(loop)
	for half := range 2 {
		for quad := range 2 {
			for d.part = range d.parts {
				if half == 0 && quad == 0 {
					d.ask()
				}
				q := d.dwords(quadBytes * (1 + quad))
				d.Op(d.Load, d.local(vectors32*d.part+scales32+half), d.scale)
				d.Op(d.Load, d.local(vectors32*d.part+adds32+half), d.add)
				d.at = 32*half + 16*quad
				codes(q, half, d.scaledAndAdded)
			}
		}
	}
	d.part = 0
	d.advance(2 * quadBytes)
	d.Op(d.Add, 4*64, d.x)
	d.Op(d.Add, 2*d.Bytes(), d.base)
	d.Op(d.Sub, 1, d.left)
	d.Branch(d.Func, d.left, "NE", "$0", loop)
	d.advance(quadBytes)
}
