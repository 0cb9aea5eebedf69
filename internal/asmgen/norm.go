package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const sumsFormula = `
for i := range N {
	if Add != nil {
		X[i] += Add[i]
	}
	d = X[i] - Mean
	Sums[i%16] = Squares ? fma(d, d, Sums[i%16]) : Sums[i%16] + d
}
`

// sums writes Sums: a vector for so many of the partial sums, then one element after the other.
func sums(arch *Arch) *Func {
	f := newFunc(arch, "sums", reflect.TypeFor[kernel.SumsArgs](), sumsFormula)
	x, add, sum := f.int("X"), f.int("Add, 0 without"), f.int("Sums")
	n, squares := f.int("elements left"), f.int("Squares")
	m := f.vectors("all:")
	vectors := kernel.NormSums / f.Lanes
	acc := m.take(vectors, "Sums")
	d, t := m.take(vectors, "X, d"), m.take(vectors, "Add")
	mean := m.one("Mean")
	f.load("X", x)
	f.load("Add", add)
	f.load("Sums", sum)
	f.load("N", n)
	f.LoadByte(f, f.arg("Squares"), squares)
	f.Broadcast(f, f.arg("Mean"), mean)
	for j, v := range acc {
		f.Op(f.Load, mem(sum, j*f.Bytes()), v)
	}
	// element adds one of d[0], which all its lanes hold, to the sum that sum points to. The elements left over are
	// fewer than the sums, and the first of them is that of sum 0: X begins with sum 0, and whole rounds of all sums
	// come before. So sum moves up from the first one and does not wrap.
	element := func(square bool) {
		f.Broadcast(f, mem(sum, 0), acc[0])
		addTo(f, square, d[0], acc[0])
		f.StoreElement(f, acc[0], mem(sum, 0))
		f.Op(f.Add, 4, sum)
	}

	f.Branch(f, squares, "EQ", "$0", "plain")
	for _, square := range []bool{true, false} {
		name := "Squares"
		if !square {
			f.Label("plain")
			name = "Plain"
		}
		f.Branch(f, add, "EQ", "$0", "alone"+name)
		for _, alone := range []bool{false, true} {
			name := name
			if alone {
				f.Label("alone" + name)
				name += "Alone"
			}
			f.Op(f.Sub, kernel.NormSums, n)
			f.Branch(f, n, "LT", "$0", "few"+name)
			f.Loop("loop" + name)
			for j := range vectors {
				f.Op(f.Load, mem(x, j*f.Bytes()), d[j])
				if !alone {
					f.Op(f.Load, mem(add, j*f.Bytes()), t[j])
					f.Op(f.AddV, t[j], d[j], d[j])
					f.Op(f.Store, d[j], mem(x, j*f.Bytes()))
				}
			}
			for j := range vectors {
				f.Op(f.SubV, mean, d[j], d[j])
				addTo(f, square, d[j], acc[j])
			}
			f.Op(f.Add, 4*kernel.NormSums, x)
			if !alone {
				f.Op(f.Add, 4*kernel.NormSums, add)
			}
			f.Op(f.Sub, kernel.NormSums, n)
			f.Branch(f, n, "GE", "$0", "loop"+name)

			f.Label("few" + name)
			for j, v := range acc {
				f.Op(f.Store, v, mem(sum, j*f.Bytes()))
			}
			f.Op(f.Add, kernel.NormSums, n)
			f.Branch(f, n, "EQ", "$0", "done"+name)
			f.Loop("element" + name)
			f.Broadcast(f, mem(x, 0), d[0])
			if !alone {
				f.Broadcast(f, mem(add, 0), t[0])
				f.Op(f.AddV, t[0], d[0], d[0])
				f.StoreElement(f, d[0], mem(x, 0))
				f.Op(f.Add, 4, add)
			}
			f.Op(f.SubV, mean, d[0], d[0])
			element(square)
			f.Op(f.Add, 4, x)
			f.Countdown(n, "element"+name)
			f.Label("done" + name)
			f.Return(f)
		}
	}
	return f
}

// addTo adds d, or its square, to sums.
func addTo(f *Func, square bool, d, sums Vec) {
	if square {
		f.Op(f.FMAV, d, d, sums)
	} else {
		f.Op(f.AddV, d, sums, sums)
	}
}

const normalizeFormula = `
for i := range N {
	y = (X[i] - Mean) * Scale
	Y[i] = Bias != nil ? fma(y, Weight[i], Bias[i]) : Weight != nil ? y * Weight[i] : y
}
`

// normalize writes Normalize: four vectors at a time, one, and one element after the other.
func normalize(arch *Arch) *Func {
	f := newFunc(arch, "normalize", reflect.TypeFor[kernel.NormalizeArgs](), normalizeFormula)
	x, y := f.int("X"), f.int("Y")
	weight, bias := f.int("Weight, 0 without"), f.int("Bias, 0 without")
	n := f.int("elements left")
	const most = 4 // vectors at a time
	m := f.vectors("all:")
	v, w, b := m.take(most, "X, y"), m.take(most, "Weight"), m.take(most, "Bias, y")
	mean, scale := m.one("Mean"), m.one("Scale")
	f.load("X", x)
	f.load("Y", y)
	f.load("Weight", weight)
	f.load("Bias", bias)
	f.load("N", n)
	f.Broadcast(f, f.arg("Mean"), mean)
	f.Broadcast(f, f.arg("Scale"), scale)
	f.Branch(f, weight, "EQ", "$0", "plain")
	f.Branch(f, bias, "EQ", "$0", "weighted")
	for _, c := range []struct {
		name string
		ptrs []Int // beside X and Y
	}{{"biased", []Int{weight, bias}}, {"weighted", []Int{weight}}, {"plain", nil}} {
		if c.name != "biased" {
			f.Label(c.name)
		}
		// block writes the y of so many vectors, or of one element.
		block := func(vectors int, load func(addr string, v Vec), store func(v Vec, addr string)) {
			for j := range vectors {
				load(mem(x, j*f.Bytes()), v[j])
				for i, p := range c.ptrs {
					load(mem(p, j*f.Bytes()), [][]Vec{w, b}[i][j])
				}
			}
			for j := range vectors {
				f.Op(f.SubV, mean, v[j], v[j])
				f.Op(f.MulV, scale, v[j], v[j])
			}
			for j := range vectors {
				switch len(c.ptrs) {
				case 2:
					f.Op(f.FMAV, w[j], v[j], b[j])
					store(b[j], mem(y, j*f.Bytes()))
				case 1:
					f.Op(f.MulV, w[j], v[j], v[j])
					store(v[j], mem(y, j*f.Bytes()))
				default:
					store(v[j], mem(y, j*f.Bytes()))
				}
			}
		}
		advance := func(elements int) {
			for _, p := range append([]Int{x, y}, c.ptrs...) {
				f.Op(f.Add, 4*elements, p)
			}
		}
		for _, vectors := range []int{most, 1} {
			loop, end := fmt.Sprint(c.name, "Loop", vectors), fmt.Sprint(c.name, "End", vectors)
			f.Op(f.Sub, vectors*f.Lanes, n)
			f.Branch(f, n, "LT", "$0", end)
			f.Loop(loop)
			block(vectors, func(addr string, v Vec) { f.Op(f.Load, addr, v) }, func(v Vec, addr string) { f.Op(f.Store, v, addr) })
			advance(vectors * f.Lanes)
			f.Op(f.Sub, vectors*f.Lanes, n)
			f.Branch(f, n, "GE", "$0", loop)
			f.Label(end)
			f.Op(f.Add, vectors*f.Lanes, n)
		}
		f.Branch(f, n, "EQ", "$0", c.name+"Done")
		f.Loop(c.name + "Element")
		block(1, func(addr string, v Vec) { f.Broadcast(f, addr, v) }, func(v Vec, addr string) { f.StoreElement(f, v, addr) })
		advance(1)
		f.Countdown(n, c.name+"Element")
		f.Label(c.name + "Done")
		f.Return(f)
	}
	return f
}
