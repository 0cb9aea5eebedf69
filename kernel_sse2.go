//go:build amd64 && !purego

package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// sse2Set is the generic set with fp.Chains in machine code.
var sse2Set = func() *kernel.Set {
	set, f := *genericSet, genericFuncs
	set.Name = "sse2"
	f.Scores = inSSE2.scores
	f.Softmax = softmaxSSE2
	f.Accumulate = inSSE2.accumulate
	f.DecodeScores = decodeScoresSSE2
	f.DecodeAccumulate = decodeAccumulateSSE2
	f.Multiply = inSSE2.multiply
	f.MultiplyFew = inSSE2.multiplyFew
	f.MultiplyPairs = inSSE2.multiplyPairs
	f.MultiplyPairsFew = inSSE2.multiplyPairsFew
	f.Combine = inSSE2.combine
	f.Dots = inSSE2.dots
	f.Peak, f.PeakBFloat16 = inSSE2.peak, inSSE2.peak
	return set.With(f)
}()

// add is fp.Chains.Add, by machine code where no sum leaves the normal range.
//
// Like what else calls machine code here it has no loop and is not inlined: it begins with a
// look whether the goroutine is to stop.
//
//go:noinline
func (code chainCode) add(c *fp.Chains, x *float32, step int, y *terms, n int, xs, ys fp.Span, depth int) {
	if code == inSSE2 && n > 0 && xs.Plain(ys, depth) {
		chainsSSE2(c, x, step, y, n)
		return
	}
	c.Add(x, step, y, n, xs, ys, depth)
}

// addKeys adds q[i] * key[i] to the sum of each of eight keys, at offsets in bytes from k.
// q holds each number twice. Eight offsets more are of keys to ask for.
//
//go:noinline
func addKeys(c *fp.Chains, k unsafe.Pointer, off *[2 * fp.ChainLanes]int, q *[2]float64, n int) {
	keyChainsSSE2(c, k, &off[0], q, n)
}

// addValues adds p[i] * value[l] to sum l for each of n values, at offsets in bytes from v.
// p holds each number twice. Every second value of those at ahead is asked for. It reports
// whether all values have exponents of least to least+127.
//
//go:noinline
func addValues(c *fp.Chains, v unsafe.Pointer, off, ahead *int, p *[2]float64, n, least int) bool {
	return valueChainsSSE2(c, v, off, ahead, p, n, windowBias(least))&windowBit != 0
}

// spanAt returns the span of what s spans and rows of n numbers, at offsets in bytes from p.
//
//go:noinline
func spanAt(p unsafe.Pointer, off *int, rows, n int, s fp.Span) fp.Span {
	return s.AndBits(spanSSE2(p, off, rows, n))
}

// A number has an exponent of least to least+127 if its bits have windowBit when windowBias is
// added.
func windowBias(least int) uint32 { return uint32(128-least) << 23 }

const windowBit = 1 << 30

// window returns the span of such numbers.
func window(least int) fp.Span {
	return fp.NoSpan.AndBits(uint32(least)<<24, uint32(least+127)<<24)
}

// roughSpanAt is spanAt, and may return more: about twice as fast where the numbers have
// exponents of least to least+127, as nearly all have. A zero has none.
//
//go:noinline
func roughSpanAt(p unsafe.Pointer, off *int, rows, n, least int, s fp.Span) fp.Span {
	if n >= 4 && withinSSE2(p, off, rows, n, windowBias(least))&windowBit != 0 {
		return s.AndBits(uint32(least)<<24, uint32(least+127)<<24)
	}
	return s.AndBits(spanSSE2(p, off, rows, n))
}

// span returns the span of rows of n numbers, step apart.
func (code chainCode) span(p *float32, rowStep, rows, step, n int) fp.Span {
	if rowStep == 1 {
		rowStep, rows, step, n = step, n, rowStep, rows
	}
	if code != inSSE2 || step != 1 && n > 1 {
		return spanRows(p, rowStep, rows, step, n)
	}
	s := fp.NoSpan
	var off [kernel.KeyBlock]int
	for r := 0; r < rows; r += len(off) {
		part := off[:min(len(off), rows-r)]
		for i := range part {
			part[i] = 4 * i * rowStep
		}
		s = spanAt(unsafe.Pointer(ptr.At(p, r*rowStep)), &off[0], len(part), n, s)
	}
	return s
}

// A column is four lanes of scores, of keys that are stride apart.
type column struct {
	s            *float32
	stride, keys int
}

// row returns the scores of a key.
func (c column) row(k int) *[4]float32 { return quad(c.s, k*c.stride) }

//go:noinline
func (c column) raise(top *[4]float32) { columnMaxSSE2(c.s, c.stride, c.keys, &top[0]) }

//go:noinline
func (c column) exp(top *[4]float32) { columnExpSSE2(c.s, c.stride, c.keys, &top[0]) }

//go:noinline
func (c column) add(sum *[4]float32) { columnSumSSE2(c.s, c.stride, c.keys, &sum[0]) }

// softmaxSSE2 is softmaxGeneric.
func softmaxSSE2(a *kernel.SoftmaxArgs) {
	masked := unsafe.Slice(a.Mask, a.Keys-a.MaskFrom)
	a.Moved = false
	for l := 0; l < a.Lanes; l += 4 {
		c := column{ptr.At(a.S, l), a.Stride, a.Keys}
		m := *quad(a.Max, l)
		if a.MaskFrom > 0 {
			column{c.s, c.stride, a.MaskFrom}.raise(&m)
		}
		for i, word := range masked {
			for j, x := range c.row(a.MaskFrom + i) {
				if word>>(l+j)&1 == 1 && x > m[j] {
					m[j] = x
				}
			}
		}
		c.exp(&m)
		for i, word := range masked {
			row := c.row(a.MaskFrom + i)
			for j := range row {
				if word>>(l+j)&1 == 0 {
					row[j] = negZero
				}
			}
		}
		var sum [4]float32
		c.add(&sum)
		for j, m := range m {
			top, total := ptr.At(a.Max, l+j), ptr.At(a.Sum, l+j)
			alpha := fp.Exp2(*top - m)
			*top, *ptr.At(a.Alpha, l+j) = m, alpha
			*total = fp.FMA(*total, alpha, sum[j])
			if alpha != 1 {
				a.Moved = true
			}
		}
	}
}

// twice fills dst with numbers step apart, each two times, and returns the span of what s
// spans and them.
func twice(dst [][2]float64, p *float32, step int, s fp.Span) fp.Span {
	for i := range dst {
		x := *ptr.At(p, i*step)
		s = s.And(x)
		dst[i] = [2]float64{float64(x), float64(x)}
	}
	return s
}

// The least exponents of keys and values that are tested for at once. Weights of values may
// then be as small as 2^-80.
const (
	leastKey   = 127 - 40
	leastValue = 127 - 23
)

// decodeScoresSSE2 is decodeScoresGeneric. It finds the span of keys on the way, so that memory
// is read once and while there is something to compute; where sums may have left the normal
// range it begins again, in Go.
func decodeScoresSSE2(a *kernel.DecodeScoresArgs) {
	if a.Elem != kernel.Float32 {
		inSSE2.decodeScores(a)
		return
	}
	const dims = kernel.KeyBlock
	var q [dims][2]float64
	keys, queries := fp.NoSpan, fp.NoSpan
	for d0 := 0; d0 < a.Dim; d0 += dims {
		n := min(dims, a.Dim-d0)
		for r := range a.Rows {
			queries = twice(q[:n], ptr.At(a.Q, d0*a.QStride+r), a.QStride, queries)
			for k0 := 0; k0 < a.Keys; k0 += fp.ChainLanes {
				lanes := min(fp.ChainLanes, a.Keys-k0)
				if d0 == 0 && r == 0 {
					keys = roughSpanAt(a.K, &a.Off[k0], lanes, a.Dim, leastKey, keys)
				}
				off := (*[2 * fp.ChainLanes]int)(a.Off[k0:])
				if lanes < fp.ChainLanes {
					off = &[2 * fp.ChainLanes]int{}
					for l := range off {
						off[l] = a.Off[min(k0+l, a.Keys-1)]
					}
				}
				s := ptr.At(a.S, k0*a.Stride+r)
				var c fp.Chains
				if d0 > 0 {
					for l := range lanes {
						c[l] = float64(*ptr.At(s, l*a.Stride))
					}
				}
				addKeys(&c, unsafe.Add(a.K, 4*d0), off, &q[0], n)
				for l := range lanes {
					*ptr.At(s, l*a.Stride) = float32(c[l])
				}
			}
		}
	}
	if !queries.Plain(keys, a.Dim) && !queries.Plain(spanAt(a.K, &a.Off[0], a.Keys, a.Dim, fp.NoSpan), a.Dim) {
		inGo.decodeScores(a)
	}
}

// decodeAccumulateSSE2 is decodeAccumulateGeneric.
func decodeAccumulateSSE2(a *kernel.DecodeAccumulateArgs) {
	if a.Elem != kernel.Float32 || a.Dim < fp.ChainLanes {
		inSSE2.decodeAccumulate(a)
		return
	}
	var p [kernel.KeyBlock][2]float64
	for r := range a.Rows {
		weights := twice(p[:a.Keys], ptr.At(a.P, r), a.Stride, fp.NoSpan)
		rough := weights.Plain(window(leastValue), a.Keys)
		mode := a.Mode
		if mode == kernel.Rescale && *ptr.At(a.Alpha, r) == 1 {
			mode = kernel.Add
		}
		for d0 := 0; d0 < a.Dim; d0 += fp.ChainLanes {
			from := min(d0, a.Dim-fp.ChainLanes) // dims that are left have some before them again
			c, bounded := startAt(a, r*a.OStride+from)
			// A line is the dims of two calls: one asks for even keys of the next block, the
			// other for odd ones.
			ahead := &a.Off[kernel.Upcoming+d0/fp.ChainLanes%2]
			v := unsafe.Add(a.V, 4*from)
			within := addValues(&c, v, &a.Off[0], ahead, &p[0], a.Keys, leastValue)
			if !bounded || !(within && rough || weights.Plain(spanAt(v, &a.Off[0], a.Keys, fp.ChainLanes, fp.NoSpan), a.Keys)) {
				accumulatePart(a, r, d0)
				continue
			}
			if a.MaskFrom == a.Keys && from == d0 && mode != kernel.Rescale && a.To == nil {
				o := (*[fp.ChainLanes]float32)(unsafe.Pointer(ptr.At(a.O, r*a.OStride+d0)))
				for l, sum := range &c {
					old := float32(0)
					if mode == kernel.Add {
						old = o[l]
					}
					o[l] = old + float32(sum)
				}
				continue
			}
			for l := d0 - from; l < fp.ChainLanes; l++ {
				d, acc := from+l, float32(c[l])
				if a.MaskFrom < a.Keys && tainted(acc) {
					acc = weighRows(a, d, r)
				}
				if a.To != nil {
					*ptr.At(a.To, r*a.OStride+d) = acc
					continue
				}
				o := ptr.At(a.O, r*a.OStride+d)
				*o = updated(*o, acc, a.Mode, a.Alpha, r)
			}
		}
	}
}

// startAt returns the sums that those of a row begin with, from element i on, and whether they
// leave room for what is added to sums that begin with zero.
func startAt(a *kernel.DecodeAccumulateArgs, i int) (c fp.Chains, bounded bool) {
	if a.From == nil {
		return negZeros, true
	}
	bounded = true
	for l, x := range (*[fp.ChainLanes]float32)(unsafe.Pointer(ptr.At(a.From, i))) {
		c[l] = float64(x)
		bounded = bounded && -0x1p120 < x && x < 0x1p120
	}
	return c, bounded
}

// accumulatePart is decodeAccumulateGeneric for a row, and dims of one Chains from d0 on.
func accumulatePart(a *kernel.DecodeAccumulateArgs, r, d0 int) {
	part := *a
	part.V, part.Dim = unsafe.Add(a.V, 4*d0), min(fp.ChainLanes, a.Dim-d0)
	part.P, part.O, part.Rows = ptr.At(a.P, r), ptr.At(a.O, r*a.OStride+d0), 1
	if a.From != nil {
		part.From = ptr.At(a.From, r*a.OStride+d0)
	}
	if a.To != nil {
		part.To = ptr.At(a.To, r*a.OStride+d0)
	}
	if a.Mode == kernel.Rescale {
		part.Alpha = ptr.At(a.Alpha, r)
	}
	inGo.decodeAccumulate(&part)
}

// weighRows is weigh for a dim of a row.
func weighRows(a *kernel.DecodeAccumulateArgs, d, r int) float32 {
	var column [kernel.KeyBlock]float32
	for k := range a.Keys {
		column[k] = *(*float32)(unsafe.Add(a.V, a.Off[k]+4*d))
	}
	acc := negZero
	if a.From != nil {
		acc = *ptr.At(a.From, r*a.OStride+d)
	}
	return weigh(acc, &column[0], 1, ptr.At(a.P, r), a.Stride, a.Keys, a.MaskFrom)
}

// decode is the DecodeScores of the set that the code is of.
func (code chainCode) decode(a *kernel.DecodeScoresArgs) {
	if code == inSSE2 {
		decodeScoresSSE2(a)
	} else {
		code.decodeScores(a)
	}
}
