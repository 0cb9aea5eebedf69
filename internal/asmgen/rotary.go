package asmgen

import (
	"fmt"
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const rotaryFormula = `
for r := range Rows, i := range Pairs {
	j, k = Pairing == Interleaved ? 2*i, 2*i+1 : i, Pairs+i
	x0, x1 = X[r*XStride+j], X[r*XStride+k]
	cos, sin = Cos[r*TableStride+i], Sin[r*TableStride+i]
	Y[r*YStride+j] = fma(-sin, x1, x0*cos)
	Y[r*YStride+k] = fma(sin, x0, x1*cos)
}
`

// A rotor is the body of Rotary: rows, and along each a loop over vectors.
type rotor struct {
	*Func
	x, y     Int // element of the next pairs
	x1, y1   Int // their second elements, of HalfSplit
	cos, sin Int
	n        Int // pairs left of the row
	rows     Int // rows left
	xStep    Int // bytes from the end of a row to the next
	yStep    Int
	tStep    Int // the same of the tables
	tmp      Int
	mask     Vec
	one      Vec
}

// rotary writes Rotary. Rows are the outer loop: they may be far apart, and their memory
// is read once, in order.
func rotary(arch *Arch) *Func {
	f := newFunc(arch, "rotary", reflect.TypeFor[kernel.RotaryArgs](), rotaryFormula)
	r := &rotor{
		Func: f, x: f.int("X"), y: f.int("Y"), x1: f.int("X, second elements"), y1: f.int("Y, second elements"),
		cos: f.int("Cos"), sin: f.int("Sin"), n: f.int("pairs left"), rows: f.int("rows left"),
		xStep: f.int("X, bytes from the end of a row to the next"), yStep: f.int("Y, the same"),
		tStep: f.int("Cos and Sin, the same"), tmp: f.int("scratch"),
	}
	m := f.vectors("all:")
	r.one = m.one("1")
	if f.VectorMasks && f.TailMask != nil {
		r.mask = m.one("mask")
	}
	f.Broadcast(f, f.constant(1), r.one)
	f.load("X", r.x)
	f.load("Y", r.y)
	f.load("Cos", r.cos)
	f.load("Sin", r.sin)
	f.load("Rows", r.rows)
	f.loadBytes("XStride", r.xStep)
	f.loadBytes("YStride", r.yStep)
	f.loadBytes("TableStride", r.tStep)
	f.loadBytes("Pairs", r.tmp)
	f.Op(f.Sub, r.tmp, r.xStep)
	f.Op(f.Sub, r.tmp, r.yStep)
	f.Op(f.Sub, r.tmp, r.tStep)
	f.load("Pairing", r.n)
	f.Branch(f, r.n, "NE", imm(int(kernel.HalfSplit)), "interleaved")

	f.Op(f.Mov, r.x, r.x1)
	f.Op(f.Add, r.tmp, r.x1)
	f.Op(f.Mov, r.y, r.y1)
	f.Op(f.Add, r.tmp, r.y1)
	r.emit(&pairLoop{
		name: "Half", pairs: f.Lanes, rotate: r.halves(m),
		four: []Int{r.x, r.x1, r.y, r.y1, r.cos, r.sin},
		xs:   []Int{r.x, r.x1}, ys: []Int{r.y, r.y1},
	})

	f.Label("interleaved")
	f.Op(f.Sub, r.tmp, r.xStep)
	f.Op(f.Sub, r.tmp, r.yStep)
	r.emit(&pairLoop{
		name: "Pair", pairs: f.Lanes / 2, rotate: r.neighbours(m),
		four: []Int{r.cos, r.sin}, eight: []Int{r.x, r.y},
		xs: []Int{r.x}, ys: []Int{r.y},
	})
	return f
}

// A pairLoop is a loop over rows of one pairing.
type pairLoop struct {
	name  string
	pairs int // in a vector of them
	// rotate writes the rotation of a vector of pairs, the j-th from where the pointers
	// are, or if tail is set of the n that are left, fewer than a vector.
	rotate      func(j int, tail bool)
	four, eight []Int // pointers that move on by 4 and by 8 bytes a pair
	xs, ys      []Int // those of X and of Y
}

func (r *rotor) emit(l *pairLoop) {
	r.Loop("row" + l.name)
	r.load("Pairs", r.n)
	for _, vectors := range []int{2, 1} {
		loop, end := fmt.Sprint("loop", l.name, vectors), fmt.Sprint("end", l.name, vectors)
		n := vectors * l.pairs
		r.Op(r.Sub, n, r.n)
		r.Branch(r.Func, r.n, "LT", "$0", end)
		r.Loop(loop)
		for j := range vectors {
			l.rotate(j, false)
		}
		for _, p := range l.four {
			r.Op(r.Add, 4*n, p)
		}
		for _, p := range l.eight {
			r.Op(r.Add, 8*n, p)
		}
		r.Op(r.Sub, n, r.n)
		r.Branch(r.Func, r.n, "GE", "$0", loop)
		r.Label(end)
		r.Op(r.Add, n, r.n)
	}
	next := "next" + l.name
	r.Branch(r.Func, r.n, "EQ", "$0", next)
	l.rotate(0, true)
	r.Op(r.Shl, 2, r.n)
	for _, p := range l.four {
		r.Op(r.Add, r.n, p)
	}
	for _, p := range l.eight {
		r.Op(r.Add, r.n, p)
		r.Op(r.Add, r.n, p)
	}
	r.Label(next)
	for _, p := range l.xs {
		r.Op(r.Add, r.xStep, p)
	}
	for _, p := range l.ys {
		r.Op(r.Add, r.yStep, p)
	}
	r.Op(r.Add, r.tStep, r.cos)
	r.Op(r.Add, r.tStep, r.sin)
	r.Countdown(r.rows, "row"+l.name)
	r.Return(r.Func)
}

// halves returns the rotation of a vector of first elements with one of second elements.
func (r *rotor) halves(m *vecMap) func(j int, tail bool) {
	v := m.take(4, "cos, sin, x0 and x1")
	y := m.take(2, "y0 and y1")
	cos, sin, x0, x1, y0, y1 := v[0], v[1], v[2], v[3], y[0], y[1]
	return func(j int, tail bool) {
		if tail {
			r.tailMask(r.n, r.tmp)
		}
		for i, p := range []Int{r.cos, r.sin, r.x, r.x1} {
			r.loadPart(p, j, r.n, tail, v[i])
		}
		r.Op(r.MulV, cos, x0, y0)
		r.Op(r.MulV, cos, x1, y1)
		r.Op(r.FMSV, sin, x1, y0)
		r.Op(r.FMAV, sin, x0, y1)
		r.storePart(y0, r.y, j, r.n, tail)
		r.storePart(y1, r.y1, j, r.n, tail)
	}
}

// neighbours returns the rotation of the pairs in a vector of neighbours: the tables are
// spread over both elements of a pair, and the sine of the first is negated.
func (r *rotor) neighbours(m *vecMap) func(j int, tail bool) {
	v := m.take(3, "cos, sin and x")
	swapped, y := m.one("x, neighbours swapped"), m.one("y")
	signs := m.one("signs of first elements")
	cos, sin, x := v[0], v[1], v[2]
	words := make([]uint32, r.Lanes)
	for i := 0; i < len(words); i += 2 {
		words[i] = math.Float32bits(negZero)
	}
	r.Address(r.Func, r.symbol(fmt.Sprintf("evenSigns%d", r.Lanes), words...), r.n)
	r.Op(r.Load, mem(r.n, 0), signs)
	return func(j int, tail bool) {
		for i, p := range []Int{r.cos, r.sin} {
			if !tail {
				r.LoadPairs(r.Func, mem(p, j*r.Bytes()/2), v[i])
				continue
			}
			if i == 0 {
				r.tailMask(r.n, r.tmp)
			}
			r.loadPart(p, j, r.n, true, v[i])
			r.SpreadPairs(r.Func, v[i])
		}
		n := r.tmp
		if tail {
			r.Op(r.Mov, r.n, n)
			r.Op(r.Add, r.n, n)
			r.tailMask(n, r.x1) // which has no second elements here
		}
		r.loadPart(r.x, j, n, tail, x)
		r.Op(r.XorV, signs, sin, sin)
		r.SwapPairs(r.Func, x, swapped)
		r.Op(r.MulV, cos, x, y)
		r.Op(r.FMAV, sin, swapped, y)
		r.storePart(y, r.y, j, n, tail)
	}
}

// tailMask makes the mask of the first n lanes.
func (r *rotor) tailMask(n, tmp Int) {
	if r.TailMask != nil {
		r.TailMask(r.Func, n, tmp, r.mask)
	}
}

// loadPart loads vector j from p on, or the first n lanes of one.
func (r *rotor) loadPart(p Int, j int, n Int, tail bool, v Vec) {
	if !tail {
		r.Op(r.Load, mem(p, j*r.Bytes()), v)
		return
	}
	r.Zero(r.Func, v)
	r.LoadScaled(r.Func, mem(p, 0), n, r.one, r.mask, v)
}

// storePart stores it.
func (r *rotor) storePart(v Vec, p Int, j int, n Int, tail bool) {
	if !tail {
		r.Op(r.Store, v, mem(p, j*r.Bytes()))
		return
	}
	r.StoreMasked(r.Func, v, n, r.mask, mem(p, 0))
}
