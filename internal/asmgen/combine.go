package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const combineFormula = `
for l := range Lanes {
	acc = First ? +0 : C[l]
	for k := range Depth {
		acc = fma(A[k*ColStride], B[k*BStride+l], acc)
	}
	C[l] = acc
}
`

// combineRows is how many rows of B go at a time: as many streams as memory answers well.
const combineRows = 8

// combineAhead is how many bytes ahead of what it reads Combine asks for more.
const combineAhead = 512

// A combiner is the body of Combine.
type combiner struct {
	*Func
	a      Int
	b      Int   // the first row of those at a time
	ptr    []Int // rows of B
	next   []Int // rows of B after those, to be asked for
	off    Int   // of the lane, if StepOffset
	stride Int
	c      Int
	depth  Int // left
	k      Int // vectors left
}

// combine writes Combine.
func combine(arch *Arch) *Func {
	f := newFunc(arch, "combine", reflect.TypeFor[kernel.CombineArgs](), combineFormula)
	d := &combiner{
		Func: f, a: f.int("A"), b: f.int("B, first row of these"), stride: f.int("bytes from row to row of B"),
		c: f.int("C"), depth: f.int("depth left"), k: f.int("bytes of the rows left"),
	}
	pointers := (combineRows + arch.RowsPerPtr - 1) / arch.RowsPerPtr
	d.ptr = f.ints(pointers, "rows of B")
	if arch.StepOffset {
		d.off = f.int("bytes from the first lane")
	} else {
		d.next = f.ints(pointers, "rows of B to be asked for")
	}
	f.load("A", d.a)
	f.load("B", d.b)
	f.loadBytes("BStride", d.stride)
	f.load("Depth", d.depth)

	f.LoadByte(f, f.arg("First"), d.k)
	f.note("a.First")
	f.Branch(f, d.k, "EQ", "$0", "begun")
	zero := f.Vectors[0]
	f.Zero(f, zero)
	f.load("C", d.c)
	f.loadBytes("Lanes", d.k)
	f.Label("clear")
	f.Op(f.Store, zero, mem(d.c, 0))
	f.Op(f.Add, f.Bytes(), d.c)
	f.Op(f.Sub, f.Bytes(), d.k)
	f.Branch(f, d.k, "NE", "$0", "clear")
	f.Label("begun")

	for n := combineRows; n > 0; n /= combineRows {
		next := fmt.Sprint("rows", n)
		f.Label(next)
		if n > 1 {
			f.Branch(f, d.depth, "LT", imm(n), fmt.Sprint("rows", n/combineRows))
		} else {
			f.Branch(f, d.depth, "EQ", "$0", "done")
		}
		d.rows(n)
		f.Jump(next)
	}
	f.Label("done")
	f.Return(f)
	return f
}

// rows writes n rows of B.
func (d *combiner) rows(n int) {
	m := d.vectors(fmt.Sprint(n, " rows:"))
	x := m.take(n, "elements of A")
	acc, b := m.take(2, "C"), m.take(2, "row of B")
	ca := d.k
	d.loadBytes("ColStride", ca)
	for _, v := range x {
		d.Broadcast(d.Func, mem(d.a, 0), v)
		d.Op(d.Add, ca, d.a)
	}
	used := d.ptr[:(n+d.RowsPerPtr-1)/d.RowsPerPtr]
	for i, p := range used {
		d.Op(d.Mov, d.b, p)
		for range min(d.RowsPerPtr, n-i*d.RowsPerPtr) {
			d.Op(d.Add, d.stride, d.b)
		}
	}
	d.load("C", d.c)
	if d.StepOffset {
		d.Op(d.Mov, 0, d.off)
		d.loadBytes("Lanes", d.k)
		d.lanes(fmt.Sprint("lanes", n), x, acc, b, used, nil)
		d.Op(d.Sub, n, d.depth)
		return
	}
	// What lies combineAhead bytes on is asked for: at the end of the rows that is where the
	// next ones begin.
	for i, p := range used {
		q := d.next[i]
		d.Op(d.Mov, p, q)
		d.Op(d.Add, combineAhead, q)
	}
	head, tail := fmt.Sprint("head", n), fmt.Sprint("tail", n)
	d.loadBytes("Lanes", d.k)
	d.Branch(d.Func, d.k, "LE", imm(combineAhead), head)
	d.Op(d.Sub, combineAhead, d.k)
	d.lanes(fmt.Sprint("lanes", n), x, acc, b, used, d.next)
	d.Op(d.Mov, combineAhead, d.k)
	d.Label(head)
	for i, q := range d.next[:len(used)] {
		d.Op(d.Mov, d.b, q)
		for range i * d.RowsPerPtr {
			d.Op(d.Add, d.stride, q)
		}
	}
	d.lanes(tail, x, acc, b, used, d.next)
	d.Op(d.Sub, n, d.depth)
}

// lanes writes the loop over k bytes of the rows at ptr, asking for the same of those at next.
func (d *combiner) lanes(loop string, x, acc, b []Vec, ptr, next []Int) {
	bytes := d.Bytes()
	d.Loop(loop)
	d.Op(d.Load, mem(d.c, 0), acc[0])
	for i, v := range x {
		p, at := i/d.RowsPerPtr, i%d.RowsPerPtr
		if d.StepOffset { // there a pointer leads to each row
			d.Op(d.Load, d.AddressOf(d.Func, ptr[p], d.off, 0), b[i%2])
		} else {
			d.PrefetchNear(d.Func, d.RowAddr(next[p], d.stride, at))
			d.Op(d.Load, d.RowAddr(ptr[p], d.stride, at), b[i%2])
		}
		d.Op(d.FMAV, v, b[i%2], acc[0])
	}
	d.Op(d.Store, acc[0], mem(d.c, 0))
	d.Op(d.Add, bytes, d.c)
	if d.StepOffset {
		d.Op(d.Add, bytes, d.off)
	} else {
		for i := range ptr {
			d.Op(d.Add, bytes, ptr[i])
			d.Op(d.Add, bytes, next[i])
		}
	}
	d.Op(d.Sub, bytes, d.k)
	d.Branch(d.Func, d.k, "NE", "$0", loop)
}
