package tile

import (
	"math"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// Products of class BFloat16. Rows of X are rounded, a block at a time and over its whole depth, into
// memory of the worker. Panels have pairs of terms. Where the set has an instruction for pairs, and that is
// the faster way, or where rows are few, pairs are multiplied. Otherwise both sides are float32 again, which
// the kernels of class Float32 multiply: the bits are the same.

const (
	// roundedRoom is the bytes of rounded rows that a worker has, unless a micro-tile needs more.
	roundedRoom = 16 << 20

	// fewRounded are the most rows, in terms of those of MultiplyPairsFew, that it multiplies one turn after the
	// other: splitting pairs once for all would take longer. fewRoundedDepth is how deep a panel goes through
	// several turns at once, from a cache.
	fewRounded, fewRoundedDepth = 2, 4 * kernel.KC

	// roundedRun are about the columns of a run, for which a worker rounds rows once.
	roundedRun = 1024
)

// rounds reports whether p is of class BFloat16.
func (p *Product) rounds() bool { return p.Precision == kernel.PrecisionBFloat16 }

// rounded is the rows of X that a worker has rounded.
type rounded struct {
	args   kernel.PairsArgs
	room   buffer
	x      *float32 // [rows][stride], of pairs or of numbers, or nil
	stride int
	row    int // the first of them
	rows   int
	pairs  bool
	panel  buffer // of pairs, or of numbers
}

// release drops the references to the caller's memory.
func (r *rounded) release() {
	r.args.Src, r.args.Dst = nil, nil
	r.x = nil
}

// A pairsWay is how products of many rows and prefill go on a set with an instruction for pairs: on some CPUs it is
// half as fast as multiply-adds.
type pairsWay int32

const (
	wayUnknown pairsWay = iota
	wayPairs
	wayNumbers
)

// TakePairs has products of many rows of class BFloat16, and prefill of the class, multiply pairs, or not, whichever
// is faster, if the set has an instruction for them. Results are the same.
func (e *Engine) TakePairs(pairs bool) {
	way := wayNumbers
	if pairs && e.set.Paired {
		way = wayPairs
	}
	e.pairsWay.Store(int32(way))
}

// pairs reports whether products of many rows and prefill multiply pairs. What is faster is found out once.
func (e *Engine) pairs() bool {
	if pairsWay(e.pairsWay.Load()) == wayUnknown {
		e.TakePairs(e.set.Paired && pairsAreFaster(e.set))
	}
	return pairsWay(e.pairsWay.Load()) == wayPairs
}

// pairsAreFaster compares the two ways for a few microseconds each, the best of several times.
func pairsAreFaster(set *kernel.Set) bool {
	const tries, rounds = 8, 500
	rate := func(peak func(int), flops int) float64 {
		least := math.Inf(1)
		for range tries {
			begin := time.Now()
			peak(rounds)
			least = min(least, time.Since(begin).Seconds())
		}
		return float64(flops) / least
	}
	return rate(set.PeakBFloat16, set.PeakBFloat16FLOPs) > rate(set.Peak, set.PeakFLOPs)
}

// takesPairs reports whether a part of p of class BFloat16 has rows of X in pairs.
func (e *Engine) takesPairs(p *Product, part *Part) bool {
	return e.pairs() && !e.few(p, part)
}

// roundedRows returns the rows of a block of X that is rounded: as many as share what is made of panels
// while the second-level cache has a step over the depth of them.
func (e *Engine) roundedRows(p *Product) int {
	rows := min(e.caches.L2/2/(4*kernel.KC), roundedRoom/4/p.Depth)
	return max(e.set.Rows, rows/e.set.Rows*e.set.Rows)
}

// round has ws.rounded be rows of X, for a part.
func (j *productJob) round(ws *productWorkspace, part *Part, row, rows int) {
	r, x, depth := &ws.rounded, &j.product.X, j.product.Depth
	pairs := j.engine.takesPairs(&j.product, part)
	if r.x != nil && r.row == row && r.rows == rows && r.pairs == pairs {
		return
	}
	j.engine.phase(phasePack)
	kind, cols := kernel.RoundEach, depth+depth%2
	if pairs {
		kind, cols = kernel.PairAcross, (depth+1)/2
	}
	lines := (cols + cacheLine - 1) / cacheLine
	r.stride = (lines | 1) * cacheLine // rows an odd number of lines apart spread over the sets of a cache
	r.x, r.row, r.rows, r.pairs = r.room.room(rows*r.stride), row, rows, pairs
	r.args = kernel.PairsArgs{
		Kind: kind, Src: (*float32)(x.at(row, 0)), RowStride: x.Row, ColStride: x.Col, Rows: rows, Cols: depth,
		Dst: r.x, Stride: r.stride,
	}
	j.engine.set.Pairs(&r.args)
	if !pairs && depth%2 == 1 { // the second number of the last pair
		for i := range rows {
			*ptr.At(r.x, i*r.stride+depth) = 0
		}
	}
	j.engine.phase(j.product.phase())
}

// roundedStep has the kernel multiply by terms of a panel, from row k on, which it makes.
func (j *productJob) roundedStep(ws *productWorkspace, at *panel, weights unsafe.Pointer, k, terms int) {
	set, r, a := j.engine.set, &ws.rounded, &ws.args
	few := j.engine.few(&j.product, at.Part)
	a.Depth = terms
	if r.pairs || few {
		a.Depth = (terms + 1) / 2
	}
	if weights != nil {
		weights = unsafe.Add(weights, 4*(k/2)*at.lanes)
		if a.B = (*float32)(weights); r.pairs || few {
			return
		}
	}
	j.engine.phase(phasePack)
	r.args = kernel.PairsArgs{RowStride: at.lanes, ColStride: 1, Rows: terms, Cols: at.lanes, Stride: at.lanes}
	if weights != nil {
		r.args.Kind, r.args.Src = kernel.SplitDown, a.B
		a.B = r.panel.room(terms * at.lanes)
	} else {
		a.B = ws.panel.room(terms * at.lanes)
		ws.pack(set, unsafe.Pointer(a.B), at, k, terms)
		r.args.Kind, r.args.Src = kernel.RoundEach, a.B
		if r.pairs {
			r.args.Kind, a.B = kernel.PairDown, r.panel.room(a.Depth*at.lanes)
		}
	}
	r.args.Dst = a.B
	set.Pairs(&r.args)
}

// multiplyRounded multiplies n rows of X by what roundedStep has set of a panel.
func (j *productJob) multiplyRounded(ws *productWorkspace, at *panel, row, n, k int) {
	set, r, a := j.engine.set, &ws.rounded, &ws.args
	from := (row - r.row) * r.stride
	a.RowStride, a.ColStride, a.Rows = r.stride, 1, n
	switch {
	case r.pairs:
		a.A = ptr.At(r.x, from+k/2)
		set.MultiplyPairs(a)
	case !j.engine.few(&j.product, at.Part):
		a.A = ptr.At(r.x, from+k)
		set.Multiply(a)
	default:
		turns := (n + set.FewRows - 1) / set.FewRows
		step, c := (n+turns-1)/turns, a.C
		for i := 0; i < n; i += step {
			a.A, a.C, a.Rows = ptr.At(r.x, from+i*r.stride+k), ptr.At(c, i*a.Stride), min(step, n-i)
			set.MultiplyPairsFew(a)
		}
	}
}

// packPairs packs depth rows of the weights of a panel, from row k on, into pairs.
func (ws *productWorkspace) packPairs(set *kernel.Set, dst *float32, p *panel, k, depth int) {
	numbers := ws.panel.room(depth * p.lanes)
	ws.pack(set, unsafe.Pointer(numbers), p, k, depth)
	ws.rounded.args = kernel.PairsArgs{
		Kind: kernel.PairDown, Src: numbers, RowStride: p.lanes, ColStride: 1, Rows: depth, Cols: p.lanes, Dst: dst, Stride: p.lanes,
	}
	set.Pairs(&ws.rounded.args)
}
