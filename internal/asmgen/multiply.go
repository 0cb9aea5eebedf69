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
func multiply(arch *Arch) *Func { return multiplyAs("multiply", arch, multiplyFormula) }

const multiplyPairsFormula = `
for i := range Rows {
	acc = +0
	for k := range Depth {
		a0, a1 = split(A[i*RowStride+k*ColStride]); b0, b1 = split(B[k])
		acc = fma(a1, b1, fma(a0, b0, acc))
	}
	C[i] = ((Add ? C[i] : +0) + (Bias != nil ? Bias : +0)) + acc
}
`

// multiplyPairs writes MultiplyPairs: Multiply with another instruction.
func multiplyPairs(arch *Arch) *Func {
	return multiplyAs("multiplyPairs", inPairs(arch), multiplyPairsFormula)
}

// inPairs returns the Arch with products of pairs in the place of multiply-adds.
func inPairs(arch *Arch) *Arch {
	pairs := *arch
	pairs.FMA = arch.DotPairs
	if arch.KeptPairs != nil {
		arch.KeptPairs(&pairs)
	}
	return &pairs
}

func multiplyAs(name string, arch *Arch, formula string) *Func {
	f := newFunc(arch, name, reflect.TypeFor[kernel.MultiplyArgs](), formula)
	p := &product{Func: f}
	p.reserve()
	more := f.int("requests of memory")
	f.load("A", p.a)
	f.loadBytes("RowStride", p.ra)
	f.loadBytes("ColStride", p.ca)
	f.load("Rows", p.rows)
	f.load("C", p.c)

	p.steps = func(t *tile) {
		t.clear()
		free := append([]Int{more}, p.ptr[(len(t.acc)+f.RowsPerPtr-1)/f.RowsPerPtr:]...)
		if len(free) < 3 {
			// With what has no value yet.
			p.askForC(t, p.b, p.k)
			f.load("B", p.b)
			f.load("Depth", p.k)
			t.loop()
			return
		}
		f.load("B", p.b)
		f.load("Depth", p.k)
		p.askingSteps(t, free)
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

// Rows of C are asked for one after the other, a row every rowSteps steps, the last one lastSteps
// steps before the end of a micro-tile: long enough for the second-level cache to answer, and not so
// early that the first-level cache, which holds less than the steps read, has lost them again.
const rowSteps, lastSteps = 2, 8

// askingSteps writes the steps of a micro-tile, k of them, among which it asks for what is
// read next, and then for the rows of C.
func (p *product) askingSteps(t *tile, free []Int) {
	ending := len(t.acc)*rowSteps + lastSteps
	few, end := "few"+t.name, "end"+t.name
	turn := max(p.NextSteps, 1)
	p.Branch(p.Func, p.k, "LT", imm(ending+turn), few)
	p.Op(p.Sub, ending, p.k)
	if p.NextSteps > 0 {
		p.nextTurns(t, free)
	} else {
		t.loopAs("most" + t.name)
	}
	p.Op(p.Add, ending, p.k)
	row, stride, rows := free[0], free[1], free[2]
	p.Op(p.Mov, p.c, row)
	p.loadBytes("Stride", stride)
	p.Op(p.Mov, len(t.acc), rows)
	p.Loop("row" + t.name)
	p.askForRow(t, row)
	p.Op(p.Add, stride, row)
	for range rowSteps {
		t.step(t.FMA, nil)
	}
	p.Countdown(rows, "row"+t.name)
	p.Jump(end)
	p.Label(few)
	p.askForC(t, free[0], free[1])
	p.Op(p.Add, len(t.acc)*rowSteps, p.k)
	p.Label(end)
	p.Op(p.Sub, len(t.acc)*rowSteps, p.k)
	t.loop()
}

// nextTurns writes turns of NextSteps steps, at least one, that each ask for as much of what is read
// next as is due.
func (p *product) nextTurns(t *tile, free []Int) {
	// What is due is counted in a KC-th of a byte.
	next, each, due := free[0], free[1], free[2]
	label := func(what string) string { return what + t.name }
	ask, line, row, none, asked, done := label("ask"), label("line"), label("then"), label("none"), label("asked"), label("mostDone")
	p.load("Next", next)
	p.load("NextRow", each)
	p.Op(p.MulInt, p.NextSteps*len(t.acc), each)
	p.Op(p.Mov, 0, due)
	p.Loop("most" + t.name)
	for range p.NextSteps {
		t.step(t.FMA, nil)
	}
	p.Op(p.Add, each, due)
	p.Branch(p.Func, due, "LE", "$0", asked)
	p.Label(ask)
	p.Branch(p.Func, next, "GE", p.arg("NextEnd"), row)
	p.Label(line)
	p.Prefetch(p.Func, mem(next, 0))
	p.Op(p.Add, cacheLine, next)
	p.Op(p.Sub, cacheLine*kernel.KC, due)
	p.Branch(p.Func, due, "GT", "$0", ask)
	p.Label(asked)
	p.Op(p.Sub, p.NextSteps, p.k)
	p.Branch(p.Func, p.k, "GE", imm(p.NextSteps), "most"+t.name)
	p.save(next, "Next")
	p.Jump(done)

	// The next of the rows that come then, if there is one.
	p.Label(row)
	p.load("ThenRows", next)
	p.Branch(p.Func, next, "LE", "$0", none)
	p.Op(p.Sub, 1, next)
	p.save(next, "ThenRows")
	p.load("Then", next)
	p.AddMem(p.Func, p.arg("ThenBytes"), next)
	p.save(next, "NextEnd")
	p.load("Then", next)
	p.AddMem(p.Func, p.arg("ThenStride"), next)
	p.save(next, "Then")
	p.SubLoad(p.Func, p.arg("ThenStride"), next)
	p.Jump(line)
	p.Label(none)
	p.load("NextEnd", next)
	p.Jump(asked)
	p.Label(done)
}

// askForC asks for the rows of C of a micro-tile. row and stride are free.
func (p *product) askForC(t *tile, row, stride Int) {
	p.Op(p.Mov, p.c, row)
	p.loadBytes("Stride", stride)
	for r := range t.acc {
		p.askForRow(t, row)
		if r < len(t.acc)-1 {
			p.Op(p.Add, stride, row)
		}
	}
}

// askForRow asks for a row of C.
func (p *product) askForRow(t *tile, row Int) {
	for off := 0; off < t.vecs*p.Bytes(); off += cacheLine {
		p.PrefetchNear(p.Func, mem(row, off))
	}
}
