package asmgen

import (
	"fmt"
	"math/bits"
	"reflect"
	"slices"

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
//
// Few scores are so far below their maximum that a weight is 0. Where there is MaxUnsigned, the way through the scores
// that finds the maxima finds the most negative score of each lane, too. If none of these, or 0, is too far below its
// maximum, weights need no comparison. For scores that are all positive 0 stands in.
type normalizer struct {
	*exp
	vecs            int
	turn            int // keys of a turn of the loop over weights, where none needs a comparison
	s, stride, keys Int
	mask, ptr       Int
	to              Int   // where weights go, of a turn of several keys
	parts           []Int // of the scores, for maxima that do not wait for each other
	negZero         string
	maxima, sum     []Vec
	low             []Vec // bits of the most negative scores
	loads           []Vec // of the scores of the first way
	partMaxima      [][]Vec
	partLow         [][]Vec
}

// maxChains is how many vectors of maxima, at least 2 parts of a row, hide their latency.
const maxChains = 8

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
	if arch.MaxUnsigned != "" {
		n.to = f.int("S, of weights")
		n.parts = f.ints(4, "parts of S")
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
	n.turn = max(1, n.Streams/n.vecs)
	streams := n.vecs * n.turn
	n.maxima = m.take(n.vecs, "m")
	n.sum = m.take(n.vecs, "sum")
	n.y = m.take(streams, "y")
	n.t = m.take(streams, "t")
	n.f = m.take(streams, "f")
	n.p = n.y
	free := slices.Concat(n.y, n.t, n.f)
	if n.VectorMasks { // y becomes a mask
		n.p = m.take(streams, "p")
		free = append(free, n.p...)
	}
	if n.MaxUnsigned != "" {
		n.shareParts(m, free)
	}
	n.exp.spareFrom(m)
	n.exp.constants(m, 0)
	n.min = m.constant(fp.ExpMin, "min")
	n.negZero = m.constant(negZero, "-0")

	n.load("Max", n.ptr)
	for j, v := range n.maxima {
		n.Op(n.Load, n.at(n.ptr, j), v)
	}
	far, total := n.name("expFar"), n.name("total")
	n.beginKeys()
	if n.MaxUnsigned != "" {
		n.byParts()
	}
	n.overKeys("max", n.maximum)
	if n.MaxUnsigned != "" {
		n.depth()
	}
	n.first(n.vecs, n.alpha)
	if n.MaxUnsigned != "" {
		n.BelowAny(n.Func, n.min, n.low, n.keys, far)
		n.zeroSums()
		n.beginKeys()
		n.withConstants(func() {
			if n.turn > 1 {
				n.turns()
			}
			n.overKeys("exp", func(masked bool) { n.row(masked, true) })
		})
		n.Jump(total)
		n.Label(far)
	}
	n.zeroSums()
	n.beginKeys()
	n.overKeys(n.slow(), func(masked bool) { n.row(masked, false) })
	if n.MaxUnsigned != "" {
		n.Label(total)
	}
	n.total()
	n.Return(n.Func)
}

// withConstants has body work without masks, and with constants in the registers of p where they take the place
// of memory.
func (n *normalizer) withConstants(body func()) {
	p, poly := n.p, n.poly
	if n.VectorMasks {
		n.p = n.y
		free := p
		for i := range n.poly {
			if len(free) > 0 && inMemory(n.poly[i]) {
				n.Op(n.Load, n.poly[i], free[0])
				n.poly[i], free = string(free[0]), free[1:]
			}
		}
	}
	body()
	n.p, n.poly = p, poly
}

// slow is the name of the pass with a comparison of each score.
func (n *normalizer) slow() string {
	if n.MaxUnsigned != "" {
		return "expAny"
	}
	return "exp"
}

// shareParts shares out registers that are free before the first weight. The sums are the first part's low.
func (n *normalizer) shareParts(m *vecMap, free []Vec) {
	n.low = n.sum
	n.partMaxima, n.partLow = [][]Vec{n.maxima}, [][]Vec{n.low}
	parts := min(max(2, maxChains/n.vecs), len(n.parts))
	const loads = 2
	missing := func() int { return 2*(parts-1)*n.vecs + loads - len(free) }
	for missing() > len(m.free) {
		parts /= 2
	}
	free = append(free, m.take(max(0, missing()), "scratch")...)
	take := func() []Vec {
		v := free[:n.vecs]
		free = free[n.vecs:]
		return v
	}
	for range parts - 1 {
		n.partMaxima = append(n.partMaxima, take())
		n.partLow = append(n.partLow, take())
	}
	n.loads = free
}

// name returns a label of this number of lanes.
func (n *normalizer) name(what string) string {
	return fmt.Sprintf("%s%d", what, n.vecs*n.Lanes)
}

// at returns the address of vector j of a row.
func (n *normalizer) at(base Int, j int) string { return mem(base, j*n.Bytes()) }

// beginKeys goes to the first key.
func (n *normalizer) beginKeys() {
	n.load("S", n.s)
	n.load("MaskFrom", n.keys)
}

// overKeys writes two loops from the present key on: over the keys that every lane keeps, and over those
// with a mask.
func (n *normalizer) overKeys(pass string, row func(masked bool)) {
	masked, done := n.name(pass+"Masked"), n.name(pass+"Done")
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

// byParts takes the keys that every lane keeps, but for some of the last, in parts side by side. The maximum
// of two parts is the first one's unless the other's is greater, as one after the other would have it.
func (n *normalizer) byParts() {
	parts := n.parts[:len(n.partMaxima)]
	few, left := n.name("maxFew"), n.ptr
	for _, low := range n.partLow {
		for _, v := range low {
			n.Zero(n.Func, v)
		}
	}
	n.Op(n.Mov, n.keys, left)
	n.Op("SHRQ", bits.Len(uint(len(parts)))-1, left)
	n.Branch(n.Func, left, "EQ", "$0", few)
	n.Op(n.Mov, n.stride, n.mask)
	n.Op(n.MulInt, left, n.mask) // bytes from part to part
	n.Op(n.Mov, n.s, parts[0])
	for p := 1; p < len(parts); p++ {
		n.Op(n.Mov, parts[p-1], parts[p])
		n.Op(n.Add, n.mask, parts[p])
		for j, v := range n.partMaxima[p] {
			n.Op(n.Copy, n.maxima[j], v)
		}
	}
	n.Op(n.Mov, 0, n.s) // bytes into each part
	n.Loop(n.name("maxParts"))
	for p, part := range parts {
		for j := range n.vecs {
			v := n.loads[(p*n.vecs+j)%len(n.loads)]
			n.Op(n.Load, n.AddressOf(n.Func, part, n.s, j*n.Bytes()), v)
			n.lower(v, n.partLow[p][j])
			n.MaxOf(n.Func, v, n.partMaxima[p][j], "")
		}
	}
	n.Op(n.Add, n.stride, n.s)
	n.Countdown(left, n.name("maxParts"))
	n.Op(n.Add, parts[len(parts)-1], n.s)
	n.Op(n.And, len(parts)-1, n.keys)
	for p := 1; p < len(parts); p++ {
		for j := range n.vecs {
			n.MaxOf(n.Func, n.partMaxima[p][j], n.maxima[j], "")
			n.lower(n.partLow[p][j], n.low[j])
		}
	}
	n.Label(few)
	n.load("Max", n.ptr)
}

// lower takes the bits of scores into the most negative ones.
func (n *normalizer) lower(v, low Vec) { n.Op(n.MaxUnsigned, v, low, low) }

// maximum takes a row of scores into the maxima.
func (n *normalizer) maximum(masked bool) {
	for j, y := range n.y[:n.vecs] {
		n.Op(n.Load, n.at(n.s, j), y)
		if n.MaxUnsigned != "" {
			n.lower(y, n.low[j])
		}
		if masked {
			n.MaxOfKept(n.Func, n.mask, j, y, n.maxima[j], n.t[j])
		} else {
			n.MaxOf(n.Func, y, n.maxima[j], n.t[j])
		}
	}
}

// depth makes of low how far it is above the maximum: no more than what a score is, and a NaN if one has a sign.
func (n *normalizer) depth() {
	n.Comment("low = (sign bit of low ? low : 0) - m")
	for j, low := range n.low {
		n.Op("VPSRAD", 31, low, n.t[j])
		n.Op(n.AndV, n.t[j], low, low)
		n.Op(n.SubV, n.maxima[j], low, low)
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
	n.exp2(false)
	n.load("Alpha", n.ptr)
	for j, p := range n.p {
		n.Op(n.Store, p, n.at(n.ptr, j))
	}
	n.Moved(n.Func, n.p, n.poly[0], n.keys, n.arg("Moved"))
	n.note("a.Moved")
}

func (n *normalizer) zeroSums() {
	for _, v := range n.sum {
		n.Zero(n.Func, v)
	}
}

// turns writes the loop over turns of several keys.
func (n *normalizer) turns() {
	few, name := n.name("expFew"), n.name("expTurn")
	n.Branch(n.Func, n.keys, "LT", imm(n.turn), few)
	n.Loop(name)
	n.Op(n.Mov, n.s, n.to)
	n.weights(n.turn, false, true)
	n.Op(n.Sub, n.turn, n.keys)
	n.Branch(n.Func, n.keys, "GE", imm(n.turn), name)
	n.Label(few)
}

// row is weights of a row.
func (n *normalizer) row(masked, normal bool) {
	n.first(n.vecs, func() { n.weights(1, masked, normal) })
}

// weights turns rows of scores into weights and adds them to the sums, an operation of all vectors at a time.
// normal says that no score needs a comparison. Of several rows S comes to be behind the last.
func (n *normalizer) weights(rows int, masked, normal bool) {
	to := n.s
	if rows > 1 {
		to = n.to
	}
	// next goes on behind the last vector of a row.
	next := func(j int, row Int) {
		if rows > 1 && j%n.vecs == n.vecs-1 {
			n.Op(n.Add, n.stride, row)
		}
	}
	for j, y := range n.y {
		n.Op(n.Load, n.at(n.s, j%n.vecs), y)
		next(j, n.s)
	}
	for j, y := range n.y {
		n.Op(n.SubV, n.maxima[j%n.vecs], y, y)
	}
	n.exp2(normal)
	if masked {
		for j, p := range n.p {
			n.DropMasked(n.Func, n.mask, j, n.negZero, p, n.t[j])
		}
	}
	for j, p := range n.p {
		sum := n.sum[j%n.vecs]
		n.Op(n.AddV, p, sum, sum)
	}
	for j, p := range n.p {
		n.Op(n.Store, p, n.at(to, j%n.vecs))
		next(j, to)
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
