package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

const softmaxFormula = `
for k := range Keys {
	m = kept(k) && S[k] > m ? S[k] : m, from Max
}
Alpha = exp(Max - m)
for k := range Keys {
	S[k] = kept(k) ? exp(S[k] - m) : -0
	sum += S[k], from +0
}
Sum = fma(Sum, Alpha, sum)
Moved = any Alpha != 1

exp(y): t = y + magic; f = y - (t - magic)
	y < min ? 0 : poly(f) * (t<<23)
`

// A normalizer is the body of Softmax for a number of vectors in a row of lanes.
type normalizer struct {
	*exp
	vecs            int
	s, stride, keys Int
	mask, ptr       Int
	negZero         string
	maxima, sum     []Vec
}

// softmax writes Softmax. The scores are read twice, for the maximum and for the
// exponential, a row of lanes at a time.
func softmax(arch *Arch) *Func {
	f := newFunc(arch, "softmax", reflect.TypeFor[kernel.SoftmaxArgs](), softmaxFormula)
	n := normalizer{
		s:      f.int("S"),
		stride: f.int("S, bytes from row to row"),
		keys:   f.int("keys left"),
		mask:   f.int("mask word"),
		ptr:    f.int("Max, Sum, Alpha"),
	}
	f.loadBytes("Stride", n.stride)
	f.byLanes(n.keys, func(vecs int) {
		n.vecs = vecs
		n.exp = &exp{Func: f}
		n.emit()
	})
	return f
}

func (n *normalizer) emit() {
	m := n.vectors(fmt.Sprintf("%d lanes:", n.vecs*n.Lanes))
	n.maxima = m.take(n.vecs, "m")
	n.sum = m.take(n.vecs, "sum")
	n.y = m.take(n.vecs, "y")
	n.t = m.take(n.vecs, "t")
	n.f = m.take(n.vecs, "f")
	n.p = n.y
	if n.VectorMasks { // y becomes a mask
		n.p = m.take(n.vecs, "p")
	}
	n.exp.spareFrom(m)
	n.exp.constants(m, 0)
	n.min = m.constant(fp.ExpMin, "min")
	n.negZero = m.constant(negZero, "-0")

	n.load("Max", n.ptr)
	for j, v := range n.maxima {
		n.Op(n.Load, n.at(n.ptr, j), v)
	}
	n.overKeys("max", n.maximum)
	n.alpha()
	for _, v := range n.sum {
		n.Zero(n.Func, v)
	}
	n.overKeys("exp", n.weights)
	n.total()
	n.Return(n.Func)
}

// name returns a label of this number of lanes.
func (n *normalizer) name(what string) string {
	return fmt.Sprintf("%s%d", what, n.vecs*n.Lanes)
}

// at returns the address of vector j of a row.
func (n *normalizer) at(base Int, j int) string { return mem(base, j*n.Bytes()) }

// overKeys writes two loops: over the keys that every lane keeps, and over those
// with a mask.
func (n *normalizer) overKeys(pass string, row func(masked bool)) {
	masked, done := n.name(pass+"Masked"), n.name(pass+"Done")
	n.load("S", n.s)
	n.load("MaskFrom", n.keys)
	n.Branch(n.Func, n.keys, "EQ", "$0", masked)
	n.Loop(n.name(pass))
	row(false)
	n.Op(n.Add, n.stride, n.s)
	n.Countdown(n.keys, n.name(pass))

	n.Label(masked)
	n.load("Mask", n.mask)
	n.load("Keys", n.keys)
	n.SubLoad(n.Func, n.arg("MaskFrom"), n.keys)
	n.note("a.MaskFrom")
	n.Branch(n.Func, n.keys, "EQ", "$0", done)
	n.Loop(n.name(pass + "Mask"))
	row(true)
	n.Op(n.Add, n.stride, n.s)
	n.Op(n.Add, 8, n.mask)
	n.Countdown(n.keys, n.name(pass+"Mask"))
	n.Label(done)
}

// maximum takes a row of scores into the maxima.
func (n *normalizer) maximum(masked bool) {
	for j, y := range n.y {
		n.Op(n.Load, n.at(n.s, j), y)
		if masked {
			n.MaxOfKept(n.Func, n.mask, j, y, n.maxima[j], n.t[j])
		} else {
			n.MaxOf(n.Func, y, n.maxima[j], n.t[j])
		}
	}
}

// alpha writes Max, Alpha and Moved.
func (n *normalizer) alpha() {
	n.Comment("Alpha = exp(Max - m)")
	for j, y := range n.y {
		n.Op(n.Load, n.at(n.ptr, j), y)
		n.Op(n.SubV, n.maxima[j], y, y)
		n.Op(n.Store, n.maxima[j], n.at(n.ptr, j))
	}
	n.exp2()
	n.load("Alpha", n.ptr)
	for j, p := range n.p {
		n.Op(n.Store, p, n.at(n.ptr, j))
	}
	n.Moved(n.Func, n.p, n.poly[0], n.keys, n.arg("Moved"))
	n.note("a.Moved")
}

// weights turns a row of scores into weights and adds them to the sums.
func (n *normalizer) weights(masked bool) {
	for j, y := range n.y {
		n.Op(n.Load, n.at(n.s, j), y)
	}
	for j, y := range n.y {
		n.Op(n.SubV, n.maxima[j], y, y)
	}
	n.exp2()
	if masked {
		for j, p := range n.p {
			n.DropMasked(n.Func, n.mask, j, n.negZero, p, n.t[j])
		}
	}
	for j, p := range n.p {
		n.Op(n.AddV, p, n.sum[j], n.sum[j])
		n.Op(n.Store, p, n.at(n.s, j))
	}
}

// total writes Sum.
func (n *normalizer) total() {
	n.Comment("Sum = fma(Sum, Alpha, sum)")
	alpha := n.keys
	n.load("Sum", n.ptr)
	n.load("Alpha", alpha)
	for j, sum := range n.sum {
		n.Op(n.Load, n.at(n.ptr, j), n.y[j])
		n.Op(n.Load, n.at(alpha, j), n.t[j])
		n.Op(n.Store, n.Update(n.Func, sum, n.t[j], n.y[j]), n.at(n.ptr, j))
	}
}
