package asmgen

import (
	"fmt"
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const multiplyFewFormula = `
for parts of KC rows of B, the last of which may have fewer {
	for i := range Rows {
		acc = +0
		for k of the part {
			acc = fma(A[i*RowStride+k], B[k], acc)
		}
		C[i] = ((Add ? C[i] : +0) + (Bias != nil ? Bias : +0)) + acc
	}
	Add, Bias = true, nil
}
`

const (
	// fewAhead is how many bytes ahead of what it reads MultiplyFew asks for more.
	fewAhead = 2048

	// fewNear is fewAhead of one stream where MultiplyArgs.Near says that memory is busy with it.
	fewNear = 8192

	// maxStreams is the most parts of a panel that MultiplyFew reads at a time. One stream of
	// requests does not keep the memory of most CPUs busy: their own prefetching ends with each page.
	maxStreams = 4
)

// A fewRows is the body of MultiplyFew.
type fewRows struct {
	*Func
	kc    int    // steps of a part
	terms int    // of a step: 2 of pairs
	upper string // bits of the upper half, of pairs
	a     []Int  // rows of A, at the part
	b     []Int  // streams of B
	off   Int    // bytes from the first step of the part, in A
	k     Int    // steps left
	depth Int    // left
	c     Int
	tmp   Int
	ahead int // bytes ahead of what is read that are asked for
	zero  Vec // what C is added to first: -0, which changes nothing, for the first part, then +0
}

// fewAccs is the number of accumulators beside a row of B, an element of A and zero.
func (arch *Arch) fewAccs(vecs int) int { return len(arch.Vectors) - vecs - 2 }

// fewRows is the most rows of MultiplyFew.
func (arch *Arch) fewRows() int {
	return min(6, arch.fewAccs(arch.MaxVectors())/arch.MaxVectors())
}

// multiplyFew writes MultiplyFew, for a ColStride of 1.
func multiplyFew(arch *Arch) *Func {
	return multiplyFewAs("multiplyFew", arch, kernel.KC, multiplyFewFormula)
}

const multiplyPairsFewFormula = `
for parts of KC/2 rows of B, the last of which may have fewer {
	for i := range Rows {
		acc = +0
		for k of the part {
			b0, b1 = split(B[k])
			acc = fma(A[i*RowStride+2*k+1], b1, fma(A[i*RowStride+2*k], b0, acc))
		}
		C[i] = ((Add ? C[i] : +0) + (Bias != nil ? Bias : +0)) + acc
	}
	Add, Bias = true, nil
}
`

// multiplyPairsFew writes MultiplyPairsFew, for a ColStride of 1: MultiplyFew by pairs, which are split in
// registers.
func multiplyPairsFew(arch *Arch) *Func {
	return multiplyFewAs("multiplyPairsFew", arch, kernel.KC/2, multiplyPairsFewFormula)
}

// multiplyFewAs writes MultiplyFew with parts of kc steps.
func multiplyFewAs(name string, arch *Arch, kc int, formula string) *Func {
	f := newFunc(arch, name, reflect.TypeFor[kernel.MultiplyArgs](), formula)
	d := &fewRows{
		Func: f, kc: kc, terms: kernel.KC / kc, off: f.int("bytes from the first step of the part, of A"), k: f.int("steps left"),
		depth: f.int("depth left"), c: f.int("C"), tmp: f.int("scratch"),
	}
	pointers := f.ints(max(arch.fewRows(), maxStreams)+1, "rows of A, streams of B")
	f.byLanes(d.tmp, func(vecs int) {
		d.begin(vecs)
		name := func(rows int) string { return fmt.Sprintf("rows%dx%d", rows, vecs) }
		f.load("Rows", d.tmp)
		for rows := 1; rows < arch.fewRows(); rows++ {
			f.Branch(f, d.tmp, "EQ", imm(rows), name(rows))
		}
		for rows := arch.fewRows(); rows > 0; rows-- {
			f.Label(name(rows))
			d.a, d.b = pointers[:rows], pointers[rows:]
			d.rows(rows, vecs)
		}
	})
	return f
}

// begin puts what is added to into C.
func (d *fewRows) begin(vecs int) {
	name := func(what string) string { return fmt.Sprintf("%s%d", what, vecs) }
	m := d.vectors(fmt.Sprintf("begin, %d vectors:", vecs))
	x, zero := m.take(vecs, "C"), m.one("0")
	each := func(write func(v Vec, addr string)) {
		for j, v := range x {
			write(v, mem(d.c, j*d.Bytes()))
		}
	}
	bias, add, stride := d.k, d.off, d.tmp
	d.load("Bias", bias)
	biased := name("biased")
	d.Branch(d.Func, bias, "NE", "$0", biased)
	d.Address(d.Func, d.symbol("zeros", make([]uint32, kernel.MaxLanes)...), bias)
	d.Label(biased)
	d.load("C", d.c)
	d.loadBytes("Stride", stride)
	d.load("Rows", d.depth)
	d.LoadByte(d.Func, d.arg("Add"), add)
	d.note("a.Add")
	d.Zero(d.Func, zero)
	d.Label(name("begin"))
	each(func(v Vec, _ string) { d.Op(d.Copy, zero, v) })
	d.Branch(d.Func, add, "EQ", "$0", name("added"))
	each(func(v Vec, addr string) { d.Op(d.Load, addr, v) })
	d.Label(name("added"))
	for j, v := range x {
		d.Op(d.Load, mem(bias, j*d.Bytes()), zero)
		d.Op(d.AddV, zero, v, v)
	}
	d.Zero(d.Func, zero)
	each(func(v Vec, addr string) { d.Op(d.Store, v, addr) })
	d.Op(d.Add, stride, d.c)
	d.Countdown(d.depth, name("begin"))
}

// rows writes all for so many rows and vectors of lanes.
func (d *fewRows) rows(rows, vecs int) {
	d.zero = d.Vectors[len(d.Vectors)-1]
	d.Broadcast(d.Func, d.constant(float32(math.Copysign(0, -1))), d.zero)
	d.load("A", d.a[0])
	d.loadBytes("RowStride", d.tmp)
	for r := 1; r < rows; r++ {
		d.Op(d.Mov, d.a[r-1], d.a[r])
		d.Op(d.Add, d.tmp, d.a[r])
	}
	d.load("B", d.b[0])
	d.load("Depth", d.depth)
	n := maxStreams
	for n > 1 && (n > len(d.b) || n*rows*vecs > d.fewAccs(vecs)) {
		n /= 2
	}
	if rows > 1 || !d.oneStream(vecs) {
		d.streams(rows, vecs, n, fewAhead, "")
		return
	}
	near := fmt.Sprintf("near%d", vecs)
	d.LoadByte(d.Func, d.arg("Near"), d.tmp)
	d.note("a.Near")
	d.Branch(d.Func, d.tmp, "NE", "$0", near)
	d.streams(rows, vecs, n, fewAhead, "")
	d.Label(near)
	d.streams(rows, vecs, 1, fewNear, "Near")
}

// oneStream reports whether one row by so many vectors of lanes has code for one stream: their chains of multiply-adds
// must take from one part what memory gives, a line in the latency of a multiply-add. Callers ask for it where the weights come
// from a cache only if the chains take what that gives, more than a line.
func (d *fewRows) oneStream(vecs int) bool {
	return d.terms == 1 && vecs*d.Bytes() >= cacheLine
}

// streams writes parts of the depth, up to n at a time as so many streams, and returns.
func (d *fewRows) streams(rows, vecs, n, ahead int, suffix string) {
	d.ahead = ahead
	name := func(what string, n int) string { return fmt.Sprintf("%s%dx%dx%d%s", what, rows, vecs, n, suffix) }
	for again := true; again; n = 1 {
		again = n > 1
		d.Label(name("next", n))
		if n > 1 {
			d.Branch(d.Func, d.depth, "LT", imm(n*d.kc), name("next", 1))
			d.Op(d.Mov, d.kc, d.k)
		} else {
			d.Branch(d.Func, d.depth, "LE", "$0", name("done", 0))
			d.Op(d.Mov, d.depth, d.k)
			d.Branch(d.Func, d.depth, "LE", imm(d.kc), name("part", n))
			d.Op(d.Mov, d.kc, d.k)
			d.Label(name("part", n))
		}
		d.part(rows, vecs, n, name)
		d.Jump(name("next", n))
	}
	d.Label(name("done", 0))
	d.Return(d.Func)
}

// split makes a term of the pairs in v, if there are any.
func (d *fewRows) split(term int, v Vec) {
	switch {
	case d.terms == 1:
	case term == 0:
		d.Op(d.AndV, d.upper, v, v)
	default:
		d.Op(d.ShlV, 16, v, v)
	}
}

// part writes n parts of the depth at a time, of k steps each.
func (d *fewRows) part(rows, vecs, n int, name func(what string, n int) string) {
	notes := d.notes
	m := d.vectors(fmt.Sprintf("%dx%d, %d parts at a time:", rows, vecs, n))
	m.free = m.free[:len(m.free)-1] // but zero
	acc := m.take(rows*vecs*n, "accumulators")
	at := func(r, s, j int) Vec { return acc[(r*n+s)*vecs+j] }
	row, x := m.take(vecs, "row of B"), m.one("element of A")
	if d.terms > 1 {
		d.upper = m.constant(math.Float32frombits(0xffff0000), "bits of the upper half")
	}
	if rows < d.fewRows() {
		d.notes = notes
	}
	bytes := vecs * d.Bytes()
	for s := 1; s < n; s++ {
		d.Op(d.Mov, d.b[s-1], d.b[s])
		d.Op(d.Add, d.kc*bytes, d.b[s])
	}
	for _, v := range acc {
		d.Zero(d.Func, v)
	}
	d.Op(d.Mov, 0, d.off)
	loop := name("loop", n)
	d.Loop(loop)
	steps := 1
	if n > 1 { // parts of KC
		steps = 2
	}
	for i := range steps {
		for s := range n {
			for line := 0; line < bytes; line += cacheLine {
				d.PrefetchNear(d.Func, mem(d.b[s], i*bytes+d.ahead+line))
			}
			for term := range d.terms {
				for j, v := range row {
					d.Op(d.Load, mem(d.b[s], i*bytes+j*d.Bytes()), v)
					d.split(term, v)
				}
				for r := range rows {
					d.Op(d.Element, d.AddressOf(d.Func, d.a[r], d.off, 4*(d.terms*(s*d.kc+i)+term)), x)
					for j, v := range row {
						d.FMA(d.Func, x, v, at(r, s, j))
					}
				}
			}
		}
	}
	for s := range n {
		d.Op(d.Add, steps*bytes, d.b[s])
	}
	d.Op(d.Add, 4*d.terms*steps, d.off)
	d.Op(d.Sub, steps, d.k)
	d.Branch(d.Func, d.k, "NE", "$0", loop)

	d.load("C", d.c)
	d.loadBytes("Stride", d.tmp)
	for r := range rows {
		for j := range vecs {
			d.Op(d.Load, mem(d.c, j*d.Bytes()), x)
			d.Op(d.AddV, d.zero, x, x)
			d.Op(d.AddV, x, at(r, 0, j), at(r, 0, j))
			if n == 1 {
				d.Op(d.Store, at(r, 0, j), mem(d.c, j*d.Bytes()))
			}
		}
		if r < rows-1 {
			d.Op(d.Add, d.tmp, d.c)
		}
	}
	d.Zero(d.Func, d.zero)
	if n > 1 {
		d.load("C", d.c)
		for r := range rows {
			for j := range vecs {
				for s := 1; s < n; s++ {
					d.Op(d.AddV, d.zero, at(r, 0, j), at(r, 0, j))
					d.Op(d.AddV, at(r, s, j), at(r, 0, j), at(r, 0, j))
				}
				d.Op(d.Store, at(r, 0, j), mem(d.c, j*d.Bytes()))
			}
			if r < rows-1 {
				d.Op(d.Add, d.tmp, d.c)
			}
		}
		d.Op(d.Mov, d.b[n-1], d.b[0])
	}
	for r := range rows {
		d.Op(d.Add, 4*d.terms*n*d.kc, d.a[r])
	}
	d.Op(d.Sub, n*d.kc, d.depth)
}
