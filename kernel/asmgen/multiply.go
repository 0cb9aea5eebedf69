package asmgen

import (
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const multiplyFormula = `
for i := range Rows {
	acc = +0
	for k := range Depth {
		acc = fma(A[i*RowStride+k*ColStride], B[k], acc)
	}
	C[i] = ((Add ? C[i] : +0) + (Bias != nil ? Bias : +0)) + acc
}
`

// multiply writes Multiply. What there is to add is read through pointers: where there
// is none, from zeros.
func multiply(arch *Arch) *Func {
	f := newFunc(arch, "multiply", reflect.TypeFor[kernel.MultiplyArgs](), multiplyFormula)
	p := &product{Func: f}
	p.reserve()
	f.load("A", p.a)
	f.loadBytes("RowStride", p.ra)
	f.loadBytes("ColStride", p.ca)
	f.loadBytes("Lanes", p.stride)
	f.load("Rows", p.rows)
	f.load("C", p.c)

	p.steps = func(t *tile) {
		used := (len(t.acc) + f.RowsPerPtr - 1) / f.RowsPerPtr
		t.clear()
		if used+2 > len(p.ptr) { // no registers left but those of B and of the steps
			p.askForC(t, p.b, p.k)
			f.load("B", p.b)
			f.load("Depth", p.k)
			t.loop()
			return
		}
		// What is asked for much earlier has left the first-level cache again: the steps
		// read more than it holds.
		last := "last" + t.name
		f.load("B", p.b)
		f.load("Depth", p.k)
		f.Branch(f, p.k, "LE", imm(askSteps), last)
		f.Op(f.Sub, askSteps, p.k)
		t.loopAs("most" + t.name)
		f.Op(f.Mov, askSteps, p.k)
		f.Label(last)
		p.askForC(t, p.ptr[used], p.ptr[used+1])
		t.loop()
	}
	zeros := f.symbol("zeros", make([]uint32, kernel.MaxLanes)...)
	p.store = func(t *tile) {
		bias, old, oldStride, stride := p.b, p.ptr[0], p.ptr[1], p.ptr[2]
		biased, added := "biased"+t.name, "added"+t.name
		f.load("Bias", bias)
		f.Branch(f, bias, "NE", "$0", biased)
		f.Address(f, zeros, bias)
		f.Label(biased)
		f.loadBytes("Stride", stride)
		f.Op(f.Mov, p.c, old)
		f.Op(f.Mov, stride, oldStride)
		f.LoadByte(f, f.arg("Add"), p.k)
		f.note("a.Add")
		f.Branch(f, p.k, "NE", "$0", added)
		f.Address(f, zeros, old)
		f.Op(f.Mov, 0, oldStride)
		f.Label(added)
		for j, v := range t.bv {
			f.Op(f.Load, mem(bias, j*f.Bytes()), v)
		}
		for r, acc := range t.acc {
			for j, v := range acc {
				x := t.tmp[(r*t.vecs+j)%len(t.tmp)]
				f.Op(f.Load, mem(old, j*f.Bytes()), x)
				f.Op(f.AddV, t.bv[j], x, x)
				f.Op(f.AddV, x, v, v)
				f.Op(f.Store, v, mem(p.c, j*f.Bytes()))
			}
			f.Op(f.Add, oldStride, old)
			f.Op(f.Add, stride, p.c)
		}
	}
	p.emit()
	return f
}

// askSteps is how many steps before the end of a micro-tile the rows of C are asked for:
// long enough for the second-level cache to answer.
const askSteps = 16

// askForC asks for the rows of C of a micro-tile. row and stride are free.
func (p *product) askForC(t *tile, row, stride Int) {
	p.Op(p.Mov, p.c, row)
	p.loadBytes("Stride", stride)
	for r := range t.acc {
		for off := 0; off < t.vecs*p.Bytes(); off += cacheLine {
			p.PrefetchNear(p.Func, mem(row, off))
		}
		if r < len(t.acc)-1 {
			p.Op(p.Add, stride, row)
		}
	}
}
