package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const dotsFormula = `
for r := range Rows, l := range Lanes {
	acc = +0
	for k := range Depth {
		acc = fma(B[l*BStride+k], Q[k*QStride+r], acc)
	}
	C[r*Stride+l] = acc
}
`

// dotsAhead is how many bytes ahead of what it reads Dots asks for more.
const dotsAhead = 256

// A dotter is the body of Dots. Rows of B go through the lanes: a square of them is loaded,
// transposed in registers and multiplied.
type dotter struct {
	*Func
	ptr        []Int // rows of B, of the square
	stride     Int   // bytes from row to row of B
	q, qStride Int
	dims       Int // left
	lanes      Int // left
	c          Int
}

// dots writes Dots.
func dots(arch *Arch) *Func {
	f := newFunc(arch, "dots", reflect.TypeFor[kernel.DotsArgs](), dotsFormula)
	d := &dotter{
		Func: f, stride: f.int("bytes from row to row of B"), q: f.int("Q"), qStride: f.int("bytes from step to step of Q"),
		dims: f.int("depth left"), lanes: f.int("lanes left"), c: f.int("C"),
	}
	d.ptr = f.ints((arch.Lanes+arch.RowsPerPtr-1)/arch.RowsPerPtr, "rows of B")
	f.loadBytes("BStride", d.stride)
	f.load("B", d.ptr[0])
	f.load("Lanes", d.lanes)
	f.load("C", d.c)
	name := func(rows int) string { return fmt.Sprint("rows", rows) }
	f.load("Rows", d.dims)
	for r := 1; r < kernel.DotsRows; r++ {
		f.Branch(f, d.dims, "EQ", imm(r), name(r))
	}
	for r := kernel.DotsRows; r > 0; r-- {
		d.rows(r, name(r))
	}
	return f
}

// rows writes all for so many rows of Q.
func (d *dotter) rows(rows int, name string) {
	notes := d.notes
	m := d.vectors(fmt.Sprintf("%d rows:", rows))
	acc, square, tmp := m.take(rows, "sums"), m.take(d.Lanes, "square"), m.one("scratch")
	if rows < kernel.DotsRows {
		d.notes = notes
	}
	n := d.Lanes
	d.Label(name)
	for i := 1; i < len(d.ptr); i++ {
		d.Op(d.Mov, d.ptr[i-1], d.ptr[i])
		for range d.RowsPerPtr {
			d.Op(d.Add, d.stride, d.ptr[i])
		}
	}
	d.load("Q", d.q)
	d.loadBytes("QStride", d.qStride)
	d.load("Depth", d.dims)
	for _, v := range acc {
		d.Zero(d.Func, v)
	}
	d.Loop(name + "Square")
	across := 1 // squares of a line
	if !d.StepOffset {
		across = max(1, cacheLine/d.Bytes())
	}
	last, done := name+"Last", name+"Done"
	for i := range across {
		d.Branch(d.Func, d.dims, "LT", imm(n), last)
		d.square(rows, i == 0, "", acc, square, tmp)
		d.Op(d.Sub, n, d.dims)
	}
	d.Jump(name + "Square")

	// The last square begins where it is whole.
	d.Label(last)
	d.Branch(d.Func, d.dims, "EQ", "$0", done)
	d.Op(d.Mov, d.dims, d.qStride)
	d.Op(d.Sub, n, d.qStride)
	d.Op(d.Shl, 2, d.qStride)
	for _, p := range d.ptr {
		d.Op(d.Add, d.qStride, p)
	}
	d.loadBytes("QStride", d.qStride)
	d.square(rows, false, name, acc, square, tmp)

	d.Label(done)
	stride := d.q
	d.loadBytes("Stride", stride)
	at := d.qStride
	d.Op(d.Mov, d.c, at)
	for r, v := range acc {
		d.Op(d.Store, v, mem(at, 0))
		if r < rows-1 {
			d.Op(d.Add, stride, at)
		}
	}
	d.Op(d.Add, d.Bytes(), d.c)
	d.loadBytes("Depth", d.dims)
	d.Op(d.Sub, d.dims, d.ptr[0])
	d.Op(d.Mov, d.stride, d.dims)
	d.times(n, d.dims)
	d.Op(d.Add, d.dims, d.ptr[0])
	d.Op(d.Sub, n, d.lanes)
	d.Branch(d.Func, d.lanes, "NE", "$0", name)
	d.Return(d.Func)
}

// square writes a square: all of its steps, or the last ones as many as there are dims, if it is
// the last.
func (d *dotter) square(rows int, ask bool, last string, acc, square []Vec, tmp Vec) {
	bytes := d.Bytes()
	stride := d.stride
	if d.StepOffset { // there a pointer leads to each row
		stride = ""
	}
	for i, v := range square {
		p := d.ptr[i/d.RowsPerPtr]
		if stride == "" {
			d.Op(d.Load, mem(p, 0), v)
			continue
		}
		addr := d.RowAddr(p, stride, i%d.RowsPerPtr)
		d.Op(d.Load, addr, v)
		if ask {
			d.PrefetchNear(d.Func, fmt.Sprint(dotsAhead)+addr)
		}
	}
	for _, p := range d.ptr {
		d.Op(d.Add, bytes, p)
	}
	out := d.Transpose(d.Func, square, tmp)
	free := tmp
	for _, v := range append(square, tmp) { // a register that holds no row now
		used := false
		for _, o := range out {
			used = used || o == v
		}
		if !used {
			free = v
		}
	}
	for i, v := range out {
		skip := fmt.Sprintf("%sSkip%d", last, i)
		if last != "" && i < len(out)-1 {
			d.Branch(d.Func, d.dims, "LT", imm(len(out)-i), skip)
		}
		for r, sum := range acc {
			d.FMABroadcast(d.Func, mem(d.q, 4*r), v, sum, free)
		}
		d.Op(d.Add, d.qStride, d.q)
		if last != "" && i < len(out)-1 {
			d.Label(skip)
		}
	}
}
