package kernel

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
)

// The methods of a Set call its functions. None that calls one is inlined, so that each begins with what
// a function in Go has and machine code has not: a look whether the goroutine is to stop.
// One that divides its work calls itself, for the same reason. After a call the arguments are
// those before it, but for what the function writes.

// Pack calls [Funcs.Pack].
//
//go:noinline
func (s *Set) Pack(a *PackArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Pack(a)
		return
	}
	src, dst, dim := a.Src, a.Dst, a.Dim
	step := part(dim, a.Work())
	for d := 0; d < dim; d += step {
		a.Src, a.Dst, a.Dim = ptr.At(src, d*a.DimStride), ptr.At(dst, d*a.Stride), min(step, dim-d)
		s.Pack(a)
	}
	a.Src, a.Dst, a.Dim = src, dst, dim
}

// Scores calls [Funcs.Scores].
func (s *Set) Scores(a *ScoresArgs) { s.scores(s.funcs.Scores, a) }

//go:noinline
func (s *Set) scores(run func(*ScoresArgs), a *ScoresArgs) {
	if a.Work() <= MaxWork || a.Keys == 1 {
		run(a)
		return
	}
	key, scores, keys := a.K, a.S, a.Keys
	step := s.wholeTiles(part(keys, a.Work()))
	for k := 0; k < keys; k += step {
		a.K, a.S, a.Keys = ptr.At(key, k*a.KeyStride), ptr.At(scores, k*a.Stride), min(step, keys-k)
		s.scores(run, a)
	}
	a.K, a.S, a.Keys = key, scores, keys
}

// ScoresPairs calls [Funcs.ScoresPairs].
func (s *Set) ScoresPairs(a *ScoresArgs) { s.scores(s.funcs.ScoresPairs, a) }

// part returns how many of n rows or dims have no more than [MaxWork] of their work, and at
// least one.
func part(n int, work int64) int { return int(max(1, MaxWork*int64(n)/work)) }

// wholeTiles returns at most n rows, of whole micro-tiles if they have as many.
func (s *Set) wholeTiles(n int) int {
	if n >= s.Rows {
		n -= n % s.Rows
	}
	return n
}

// Softcap calls [Funcs.Softcap].
//
//go:noinline
func (s *Set) Softcap(a *SoftcapArgs) { s.funcs.Softcap(a) }

// ALiBi calls [Funcs.ALiBi].
//
//go:noinline
func (s *Set) ALiBi(a *ALiBiArgs) { s.funcs.ALiBi(a) }

// Bias calls [Funcs.Bias].
//
//go:noinline
func (s *Set) Bias(a *BiasArgs) { s.funcs.Bias(a) }

// Softmax calls [Funcs.Softmax].
//
//go:noinline
func (s *Set) Softmax(a *SoftmaxArgs) { s.funcs.Softmax(a) }

// Accumulate calls [Funcs.Accumulate].
func (s *Set) Accumulate(a *AccumulateArgs) { s.accumulate(s.funcs.Accumulate, a) }

//go:noinline
func (s *Set) accumulate(run func(*AccumulateArgs), a *AccumulateArgs) {
	if a.Work() <= MaxWork {
		run(a)
		return
	}
	value, out, dim := a.V, a.O, a.Dim
	step := s.wholeTiles(part(dim, a.Work()))
	for d := 0; d < dim; d += step {
		a.V, a.O, a.Dim = ptr.At(value, d*a.DimStride), ptr.At(out, d*a.Stride), min(step, dim-d)
		s.accumulate(run, a)
	}
	a.V, a.O, a.Dim = value, out, dim
}

// PairWeights calls [Funcs.PairWeights].
//
//go:noinline
func (s *Set) PairWeights(a *PairWeightsArgs) { s.funcs.PairWeights(a) }

// AccumulatePairs calls [Funcs.AccumulatePairs].
func (s *Set) AccumulatePairs(a *AccumulateArgs) { s.accumulate(s.funcs.AccumulatePairs, a) }

// Unpack calls [Funcs.Unpack].
//
//go:noinline
func (s *Set) Unpack(a *UnpackArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Unpack(a)
		return
	}
	out, dst, dim := a.O, a.Dst, a.Dim
	step := part(dim, a.Work())
	for d := 0; d < dim; d += step {
		a.O, a.Dst, a.Dim = ptr.At(out, d*a.Stride), ptr.At(dst, d*a.DimStride), min(step, dim-d)
		s.Unpack(a)
	}
	a.O, a.Dst, a.Dim = out, dst, dim
}

// Merge calls [Funcs.Merge].
//
//go:noinline
func (s *Set) Merge(a *MergeArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Merge(a)
		return
	}
	// Each part of the dims begins with the maxima and sums of the first.
	var top, sum [MaxLanes]float32
	tops, sums := unsafe.Slice(a.Max, a.Lanes), unsafe.Slice(a.Sum, a.Lanes)
	copy(top[:], tops)
	copy(sum[:], sums)
	out, chunk, dim := a.O, a.Chunk, a.Dim
	step := part(dim, a.Work())
	for d := 0; d < dim; d += step {
		copy(tops, top[:])
		copy(sums, sum[:])
		a.O, a.Chunk, a.Dim = ptr.At(out, d*a.Stride), ptr.At(chunk, d*a.Stride), min(step, dim-d)
		s.Merge(a)
	}
	a.O, a.Chunk, a.Dim = out, chunk, dim
}

// Convert calls [Funcs.Convert].
//
//go:noinline
func (s *Set) Convert(a *ConvertArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Convert(a)
		return
	}
	src, dst, dim, values := a.Src, a.Dst, a.Dim, a.Elem.UnitValues()
	step := part(dim/values, a.Work()) * values
	for d := 0; d < dim; d += step {
		a.Src, a.Dst, a.Dim = unsafe.Add(src, d/values*a.UnitStride), ptr.At(dst, d), min(step, dim-d)
		s.Convert(a)
	}
	a.Src, a.Dst, a.Dim = src, dst, dim
}

// Store calls [Funcs.Store].
//
//go:noinline
func (s *Set) Store(a *StoreArgs) {
	if a.Work() <= MaxWork || a.Rows == 1 {
		s.funcs.Store(a)
		return
	}
	src, dst, scale, rows := a.Src, a.Dst, a.Scale, a.Rows
	step := part(rows, a.Work())
	for r := 0; r < rows; r += step {
		a.Src, a.Dst, a.Rows = ptr.At(src, r*a.SrcStride), unsafe.Add(dst, r*a.DstStride), min(step, rows-r)
		if scale != nil {
			a.Scale = ptr.At(scale, r*a.ScaleStride)
		}
		s.Store(a)
	}
	a.Src, a.Dst, a.Scale, a.Rows = src, dst, scale, rows
}

// DecodeScores calls [Funcs.DecodeScores].
//
//go:noinline
func (s *Set) DecodeScores(a *DecodeScoresArgs) {
	if a.Work() <= MaxWork || a.Keys == 1 {
		s.funcs.DecodeScores(a)
		return
	}
	off, scale, scores, keys := a.Off, a.Scale, a.S, a.Keys
	step := part(keys, a.Work())
	for k := 0; k < keys; k += step {
		a.Off, a.S, a.Keys = offsetsFrom(off, k), ptr.At(scores, k*a.Stride), min(step, keys-k)
		if a.Elem == Int8 {
			a.Scale = ptr.At(scale, k)
		}
		s.DecodeScores(a)
	}
	a.Off, a.Scale, a.S, a.Keys = off, scale, scores, keys
}

// DecodeScoresInt8 calls [Funcs.DecodeScoresInt8].
//
//go:noinline
func (s *Set) DecodeScoresInt8(a *DecodeScoresInt8Args) {
	if a.Work() <= MaxWork || a.Keys == 1 {
		s.funcs.DecodeScoresInt8(a)
		return
	}
	off, scale, scores, keys := a.Off, a.Scale, a.S, a.Keys
	step := part(keys, a.Work())
	for k := 0; k < keys; k += step {
		a.Off, a.S, a.Keys = offsetsFrom(off, k), ptr.At(scores, k*a.Stride), min(step, keys-k)
		if a.Elem == Int8 {
			a.Scale = ptr.At(scale, k)
		}
		s.DecodeScoresInt8(a)
	}
	a.Off, a.Scale, a.S, a.Keys = off, scale, scores, keys
}

// offsetsFrom returns the offsets from one on. Nobody reads those beyond the array.
//
//go:nocheckptr
func offsetsFrom(off *[2 * KeyBlock]int, i int) *[2 * KeyBlock]int {
	return (*[2 * KeyBlock]int)(unsafe.Add(unsafe.Pointer(off), i*int(unsafe.Sizeof(off[0]))))
}

// DecodeAccumulateInt8 calls [Funcs.DecodeAccumulateInt8].
//
//go:noinline
func (s *Set) DecodeAccumulateInt8(a *DecodeAccumulateInt8Args) {
	if a.Work() <= MaxWork {
		s.funcs.DecodeAccumulateInt8(a)
		return
	}
	value, from, to, out, dim, unit, values := a.V, a.From, a.To, a.O, a.Dim, a.Elem.Unit(), a.Elem.UnitValues()
	codes, scales, mins := a.Codes, a.Scales, a.Mins
	step := part(dim, a.Work()) / MaxLanes * MaxLanes // whole vectors and blocks: there are few keys
	for d := 0; d < dim; d += step {
		a.V, a.O, a.Dim = unsafe.Add(value, d/values*unit), ptr.At(out, d), min(step, dim-d)
		if values > 1 {
			group := d / values
			at := group * a.GroupScales
			a.Codes, a.Scales = (*int8)(unsafe.Add(unsafe.Pointer(codes), group*a.GroupCodes)), ptr.At(scales, at)
			if mins != nil {
				a.Mins = ptr.At(mins, at)
			}
		}
		if from != nil {
			a.From = ptr.At(from, d)
		}
		if to != nil {
			a.To = ptr.At(to, d)
		}
		s.DecodeAccumulateInt8(a)
	}
	a.V, a.From, a.To, a.O, a.Dim, a.Codes, a.Scales, a.Mins = value, from, to, out, dim, codes, scales, mins
}

// DecodeAccumulate calls [Funcs.DecodeAccumulate].
//
//go:noinline
func (s *Set) DecodeAccumulate(a *DecodeAccumulateArgs) {
	if a.Work() <= MaxWork {
		s.funcs.DecodeAccumulate(a)
		return
	}
	value, from, to, out, dim, unit, values := a.V, a.From, a.To, a.O, a.Dim, a.Elem.Unit(), a.Elem.UnitValues()
	step := part(dim, a.Work()) / MaxLanes * MaxLanes // whole vectors and blocks: there are few keys
	for d := 0; d < dim; d += step {
		a.V, a.O, a.Dim = unsafe.Add(value, d/values*unit), ptr.At(out, d), min(step, dim-d)
		if from != nil {
			a.From = ptr.At(from, d)
		}
		if to != nil {
			a.To = ptr.At(to, d)
		}
		s.DecodeAccumulate(a)
	}
	a.V, a.From, a.To, a.O, a.Dim = value, from, to, out, dim
}

// Multiply calls [Funcs.Multiply].
func (s *Set) Multiply(a *MultiplyArgs) { s.multiply(s.funcs.Multiply, a) }

//go:noinline
func (s *Set) multiply(run func(*MultiplyArgs), a *MultiplyArgs) {
	if a.Work() <= MaxWork {
		run(a)
		return
	}
	left, out, rows := a.A, a.C, a.Rows
	step := s.wholeTiles(part(rows, a.Work()))
	for r := 0; r < rows; r += step {
		a.A, a.C, a.Rows = ptr.At(left, r*a.RowStride), ptr.At(out, r*a.Stride), min(step, rows-r)
		s.multiply(run, a)
	}
	a.A, a.C, a.Rows = left, out, rows
}

// MultiplyFew calls [Funcs.MultiplyFew].
//
//go:noinline
func (s *Set) MultiplyFew(a *MultiplyArgs) {
	if a.workFew() <= MaxWork || a.Depth <= KC {
		s.funcs.MultiplyFew(a)
		return
	}
	left, panel, depth, add, bias := a.A, a.B, a.Depth, a.Add, a.Bias
	step := stepFew(part(depth, a.workFew()), KC)
	for k := 0; k < depth; k += step {
		a.A, a.B, a.Depth = ptr.At(left, k*a.ColStride), ptr.At(panel, k*a.Lanes), min(step, depth-k)
		s.MultiplyFew(a)
		a.Add, a.Bias = true, nil
	}
	a.A, a.B, a.Depth, a.Add, a.Bias = left, panel, depth, add, bias
}

// stepFew returns at most n steps of MultiplyFew, of whole parts, and at least one part.
func stepFew(n, part int) int {
	n = max(n, part)
	if most := 4 * part; n >= most { // as many as go at a time
		return n - n%most
	}
	return n - n%part
}

// Quantize calls [Funcs.Quantize].
//
//go:noinline
func (s *Set) Quantize(a *QuantizeArgs) {
	work := a.Work()
	if work <= MaxWork {
		s.funcs.Quantize(a)
		return
	}
	x, dst, rows, depth := a.X, a.Dst, a.Rows, a.Depth
	if work/int64(rows) > MaxWork { // one row at a time, a part of it
		step := max(1, int(int64(depth)*MaxWork/(work/int64(rows)))/Int8Block) * Int8Block
		for r := range rows {
			for k := 0; k < depth; k += step {
				a.X, a.Rows, a.Depth = ptr.At(x, r*a.RowStride+k*a.ColStride), 1, min(step, depth-k)
				a.Dst = (*byte)(unsafe.Add(unsafe.Pointer(dst), r*a.RowBytes+k/Int8Block*Int8BlockBytes(a.Halves)))
				s.Quantize(a)
			}
		}
	} else {
		step := part(rows, work)
		for r := 0; r < rows; r += step {
			a.X, a.Rows = ptr.At(x, r*a.RowStride), min(step, rows-r)
			a.Dst = (*byte)(unsafe.Add(unsafe.Pointer(dst), r*a.RowBytes))
			s.Quantize(a)
		}
	}
	a.X, a.Dst, a.Rows, a.Depth = x, dst, rows, depth
}

// UnpackInt8 calls [Funcs.UnpackInt8].
//
//go:noinline
func (s *Set) UnpackInt8(a *UnpackInt8Args) { s.funcs.UnpackInt8(a) }

// MultiplyInt8 calls [Funcs.MultiplyInt8].
//
//go:noinline
func (s *Set) MultiplyInt8(a *MultiplyInt8Args) {
	if a.Work() <= MaxWork {
		s.funcs.MultiplyInt8(a)
		return
	}
	x, c, rows := a.X, a.C, a.Rows
	step := part(rows, a.Work())
	if step > int8Rows {
		step -= step % int8Rows
	}
	for r := 0; r < rows; r += step {
		a.X, a.C, a.Rows = (*byte)(unsafe.Add(unsafe.Pointer(x), r*a.RowBytes)), ptr.At(c, r*a.Stride), min(step, rows-r)
		s.MultiplyInt8(a)
	}
	a.X, a.C, a.Rows = x, c, rows
}

// MultiplyRowInt8 calls [Funcs.MultiplyRowInt8].
//
//go:noinline
func (s *Set) MultiplyRowInt8(a *MultiplyRowInt8Args) {
	if a.Work() <= MaxWork || a.Panels == 1 && a.Depth <= KC {
		s.funcs.MultiplyRowInt8(a)
		return
	}
	x, w, c, bias, depth, panels, add := a.X, a.W, a.C, a.Bias, a.Depth, a.Panels, a.Add
	form := a.Type.Int8()
	if panels > 1 {
		step := part(panels, a.Work())
		for p := 0; p < panels; p += step {
			a.W, a.C, a.Panels = (*byte)(unsafe.Add(unsafe.Pointer(w), p*form.Bytes(depth)*a.Lanes)), ptr.At(c, p*a.Lanes), min(step, panels-p)
			if bias != nil {
				a.Bias = ptr.At(bias, p*a.Lanes)
			}
			s.MultiplyRowInt8(a)
		}
	} else {
		step := max(1, part(depth, a.Work())/KC) * KC
		for k := 0; k < depth; k += step {
			a.X = (*byte)(unsafe.Add(unsafe.Pointer(x), k/Int8Block*Int8BlockBytes(a.Halves)))
			a.W, a.Depth = (*byte)(unsafe.Add(unsafe.Pointer(w), form.Bytes(k)*a.Lanes)), min(step, depth-k)
			s.MultiplyRowInt8(a)
			a.Add, a.Bias = true, nil
		}
	}
	a.X, a.W, a.C, a.Bias, a.Depth, a.Panels, a.Add = x, w, c, bias, depth, panels, add
}

// ConvertInt8 calls [Funcs.ConvertInt8].
//
//go:noinline
func (s *Set) ConvertInt8(a *ConvertInt8Args) {
	if a.Work() <= MaxWork {
		s.funcs.ConvertInt8(a)
		return
	}
	src, dst, dim, values := a.Src, a.Dst, a.Dim, a.Elem.UnitValues()
	step := max(1, part(dim, a.Work())/Int8Block) * Int8Block
	for d := 0; d < dim; d += step {
		a.Src, a.Dim = unsafe.Add(src, d/values*a.UnitStride), min(step, dim-d)
		a.Dst = (*byte)(unsafe.Add(unsafe.Pointer(dst), d/Int8Block*Int8BlockBytes(a.Halves)))
		s.ConvertInt8(a)
	}
	a.Src, a.Dst, a.Dim = src, dst, dim
}

// PackWeights calls [Funcs.PackWeights].
//
//go:noinline
func (s *Set) PackWeights(a *PackWeightsArgs) { s.funcs.PackWeights(a) }

// PackInt8 calls [Funcs.PackInt8].
//
//go:noinline
func (s *Set) PackInt8(a *PackInt8Args) {
	if a.Work() <= MaxWork {
		s.funcs.PackInt8(a)
		return
	}
	q, codes, scales, sums, dim, factors, mins := a.Q, a.Codes, a.Scales, a.Sums, a.Dim, a.Factors, a.Mins
	step := max(1, part(dim, a.Work())/Int8Block) * Int8Block
	for d := 0; d < dim; d += step {
		at := d / Int8Block * a.Lanes
		a.Q, a.Dim = ptr.At(q, d*a.Stride), min(step, dim-d)
		if factors != nil {
			a.Factors = ptr.At(factors, d*max(1, a.FactorStride))
		}
		if mins != nil {
			a.Mins = ptr.At(mins, d*max(1, a.FactorStride))
		}
		a.Codes, a.Scales = (*byte)(unsafe.Add(unsafe.Pointer(codes), d*a.Lanes)), ptr.At(scales, at)
		if sums != nil {
			a.Sums = ptr.At(sums, at)
		}
		s.PackInt8(a)
	}
	a.Q, a.Codes, a.Scales, a.Sums, a.Dim, a.Factors, a.Mins = q, codes, scales, sums, dim, factors, mins
}

// TransposeInt8 calls [Funcs.TransposeInt8].
//
//go:noinline
func (s *Set) TransposeInt8(a *TransposeInt8Args) {
	if a.Work() <= MaxWork {
		s.funcs.TransposeInt8(a)
		return
	}
	src, dst, dim, values := a.Src, a.Dst, a.Dim, a.Elem.UnitValues()
	step := max(1, part(dim, a.Work())/Int8Block) * Int8Block
	for d := 0; d < dim; d += step {
		a.Src, a.Dim = unsafe.Add(src, d/values*a.UnitStride), min(step, dim-d)
		a.Dst = (*byte)(unsafe.Add(unsafe.Pointer(dst), d*a.RowBytes))
		s.TransposeInt8(a)
	}
	a.Src, a.Dst, a.Dim = src, dst, dim
}

// Combine calls [Funcs.Combine].
//
//go:noinline
func (s *Set) Combine(a *CombineArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Combine(a)
		return
	}
	left, rows, out, depth, lanes, first := a.A, a.B, a.C, a.Depth, a.Lanes, a.First
	const least = 8 // rows at a time
	if step := part(depth, a.Work()) / least * least; step > 0 {
		for k := 0; k < depth; k += step {
			a.A, a.B, a.Depth = ptr.At(left, k*a.ColStride), ptr.At(rows, k*a.BStride), min(step, depth-k)
			s.Combine(a)
			a.First = false
		}
	} else {
		step := MaxWork / KC / MaxLanes * MaxLanes
		for l := 0; l < lanes; l += step {
			a.B, a.C, a.Lanes = ptr.At(rows, l), ptr.At(out, l), min(step, lanes-l)
			s.Combine(a)
		}
	}
	a.A, a.B, a.C, a.Depth, a.Lanes, a.First = left, rows, out, depth, lanes, first
}

// Dots calls [Funcs.Dots].
//
//go:noinline
func (s *Set) Dots(a *DotsArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Dots(a)
		return
	}
	rows, out, lanes := a.B, a.C, a.Lanes
	step := max(s.Vec, part(lanes, a.Work())/s.Vec*s.Vec)
	for l := 0; l < lanes; l += step {
		a.B, a.C, a.Lanes = ptr.At(rows, l*a.BStride), ptr.At(out, l), min(step, lanes-l)
		s.Dots(a)
	}
	a.B, a.C, a.Lanes = rows, out, lanes
}

// Dequantize calls [Funcs.Dequantize].
//
//go:noinline
func (s *Set) Dequantize(a *DequantizeArgs) { s.funcs.Dequantize(a) }

// DotWeights calls [Funcs.DotWeights].
//
//go:noinline
func (s *Set) DotWeights(a *DotWeightsArgs) {
	if a.Work() <= MaxWork {
		s.funcs.DotWeights(a)
		return
	}
	src, x, out, depth, lanes := a.Src, a.X, a.C, a.Depth, a.Lanes
	if lanes > s.Vec {
		step := max(s.Vec, part(lanes, a.Work())/s.Vec*s.Vec)
		for l := 0; l < lanes; l += step {
			a.Src, a.C, a.Lanes = ptr.At(src, l*a.RowBytes), ptr.At(out, l), min(step, lanes-l)
			s.DotWeights(a)
		}
	} else {
		const both = 2 * KC // machine code takes two parts at a time
		step := max(KC, part(depth, a.Work())/both*both)
		for k := 0; k < depth; k += step {
			a.Src, a.X = ptr.At(src, k/a.Type.Values()*a.Type.Bytes()), ptr.At(x, k)
			a.C, a.Depth = ptr.At(out, k/KC*a.Stride), min(step, depth-k)
			s.DotWeights(a)
		}
	}
	a.Src, a.X, a.C, a.Depth, a.Lanes = src, x, out, depth, lanes
}

// Pairs calls [Funcs.Pairs].
//
//go:noinline
func (s *Set) Pairs(a *PairsArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Pairs(a)
		return
	}
	src, dst, rows, cols := a.Src, a.Dst, a.Rows, a.Cols
	if rows > 2 {
		step := max(2, part(rows, a.Work())/2*2)
		for r := 0; r < rows; r += step {
			from, to := r, r
			switch a.Kind {
			case PairDown:
				to = r / 2
			case SplitDown:
				from = r / 2
			}
			a.Src, a.Dst, a.Rows = ptr.At(src, from*a.RowStride), ptr.At(dst, to*a.Stride), min(step, rows-r)
			s.Pairs(a)
		}
	} else {
		const step = maxMoved / 2 / apart
		for c := 0; c < cols; c += step {
			to := c
			if a.Kind == PairAcross {
				to = c / 2
			}
			a.Src, a.Dst, a.Cols = ptr.At(src, c*a.ColStride), ptr.At(dst, to), min(step, cols-c)
			s.Pairs(a)
		}
	}
	a.Src, a.Dst, a.Rows, a.Cols = src, dst, rows, cols
}

// MultiplyPairs calls [Funcs.MultiplyPairs].
func (s *Set) MultiplyPairs(a *MultiplyArgs) { s.multiply(s.funcs.MultiplyPairs, a) }

// MultiplyPairsFew calls [Funcs.MultiplyPairsFew].
//
//go:noinline
func (s *Set) MultiplyPairsFew(a *MultiplyArgs) {
	if a.workFew() <= MaxWork || a.Depth <= KC/2 {
		s.funcs.MultiplyPairsFew(a)
		return
	}
	left, panel, depth, add, bias := a.A, a.B, a.Depth, a.Add, a.Bias
	step := stepFew(part(depth, a.workFew()), KC/2)
	for k := 0; k < depth; k += step {
		a.A, a.B, a.Depth = ptr.At(left, 2*k*a.ColStride), ptr.At(panel, k*a.Lanes), min(step, depth-k)
		s.MultiplyPairsFew(a)
		a.Add, a.Bias = true, nil
	}
	a.A, a.B, a.Depth, a.Add, a.Bias = left, panel, depth, add, bias
}

// MultiplyStrips calls [Funcs.MultiplyStrips].
//
//go:noinline
func (s *Set) MultiplyStrips(a *MultiplyStripsArgs) {
	if a.Work() <= MaxWork || a.Lanes == a.Vec && a.Depth <= KC {
		s.funcs.MultiplyStrips(a)
		return
	}
	src, left, out, bias, depth, lanes, add := a.Src, a.A, a.C, a.Bias, a.Depth, a.Lanes, a.Add
	if lanes > a.Vec {
		step := max(a.Vec, part(lanes, a.Work())/a.Vec*a.Vec)
		for l := 0; l < lanes; l += step {
			a.Src, a.C, a.Lanes = ptr.At(src, l/a.Vec*a.StripBytes), ptr.At(out, l), min(step, lanes-l)
			if bias != nil {
				a.Bias = ptr.At(bias, l)
			}
			s.MultiplyStrips(a)
		}
	} else {
		const most = 4 * KC // machine code takes up to four parts at a time
		step := part(depth, a.Work())
		if step = max(KC, step-step%KC); step >= most {
			step -= step % most
		}
		for k := 0; k < depth; k += step {
			a.Src, a.A, a.Depth = ptr.At(src, a.Type.StripBytes(k)*a.Vec), ptr.At(left, k), min(step, depth-k)
			s.MultiplyStrips(a)
			a.Add, a.Bias = true, nil
		}
	}
	a.Src, a.A, a.C, a.Bias, a.Depth, a.Lanes, a.Add = src, left, out, bias, depth, lanes, add
}

// DequantizeStrips calls [Funcs.DequantizeStrips].
//
//go:noinline
func (s *Set) DequantizeStrips(a *DequantizeStripsArgs) { s.funcs.DequantizeStrips(a) }

// Float16 calls [Funcs.Float16].
//
//go:noinline
func (s *Set) Float16(dst *float32, src *uint16, n int) {
	for ; n > maxMoved; n -= maxMoved {
		s.Float16(dst, src, maxMoved)
		dst, src = ptr.At(dst, maxMoved), ptr.At(src, maxMoved)
	}
	s.funcs.Float16(dst, src, n)
}

// Rotary calls [Funcs.Rotary].
//
//go:noinline
func (s *Set) Rotary(a *RotaryArgs) {
	if a.Work() <= MaxWork || a.Rows == 1 {
		s.funcs.Rotary(a)
		return
	}
	x, y, cos, sin, rows := a.X, a.Y, a.Cos, a.Sin, a.Rows
	step := part(rows, a.Work())
	for r := 0; r < rows; r += step {
		a.X, a.Y, a.Rows = ptr.At(x, r*a.XStride), ptr.At(y, r*a.YStride), min(step, rows-r)
		a.Cos, a.Sin = ptr.At(cos, r*a.TableStride), ptr.At(sin, r*a.TableStride)
		s.Rotary(a)
	}
	a.X, a.Y, a.Cos, a.Sin, a.Rows = x, y, cos, sin, rows
}

// Activate calls [Funcs.Activate].
//
//go:noinline
func (s *Set) Activate(a *ActivateArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Activate(a)
		return
	}
	gate, up, dst, rows, cols := a.Gate, a.Up, a.Dst, a.Rows, a.Cols
	at := func(r, i int) {
		a.Gate, a.Dst = ptr.At(gate, r*a.GateStride+i), ptr.At(dst, r*a.DstStride+i)
		if up != nil {
			a.Up = ptr.At(up, r*a.UpStride+i)
		}
	}
	if step := part(rows, a.Work()); rows > 1 {
		for r := 0; r < rows; r += step {
			at(r, 0)
			a.Rows = min(step, rows-r)
			s.Activate(a)
		}
	} else {
		for i := 0; i < cols; i += maxMoved {
			at(0, i)
			a.Cols = min(maxMoved, cols-i)
			s.Activate(a)
		}
	}
	a.Gate, a.Up, a.Dst, a.Rows, a.Cols = gate, up, dst, rows, cols
}

// Sums calls [Funcs.Sums].
//
//go:noinline
func (s *Set) Sums(a *SumsArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Sums(a)
		return
	}
	x, add, n := a.X, a.Add, a.N
	const step = maxMoved / NormSums * NormSums // each call begins with sum 0, as functions do
	for i := 0; i < n; i += step {
		a.X, a.N = ptr.At(x, i), min(step, n-i)
		if add != nil {
			a.Add = ptr.At(add, i)
		}
		s.Sums(a)
	}
	a.X, a.Add, a.N = x, add, n
}

// Normalize calls [Funcs.Normalize].
//
//go:noinline
func (s *Set) Normalize(a *NormalizeArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Normalize(a)
		return
	}
	x, y, weight, bias, n := a.X, a.Y, a.Weight, a.Bias, a.N
	for i := 0; i < n; i += maxMoved {
		a.X, a.Y, a.N = ptr.At(x, i), ptr.At(y, i), min(maxMoved, n-i)
		if weight != nil {
			a.Weight = ptr.At(weight, i)
		}
		if bias != nil {
			a.Bias = ptr.At(bias, i)
		}
		s.Normalize(a)
	}
	a.X, a.Y, a.Weight, a.Bias, a.N = x, y, weight, bias, n
}

// Hadamard calls [Funcs.Hadamard].
//
//go:noinline
func (s *Set) Hadamard(a *HadamardArgs) {
	if a.Work() <= MaxWork || a.Rows == 1 {
		s.funcs.Hadamard(a)
		return
	}
	x, y, rows := a.X, a.Y, a.Rows
	step := part(rows, a.Work())
	for r := 0; r < rows; r += step {
		a.X, a.Y, a.Rows = ptr.At(x, r*a.XStride), ptr.At(y, r*a.YStride), min(step, rows-r)
		s.Hadamard(a)
	}
	a.X, a.Y, a.Rows = x, y, rows
}

// Above calls [Funcs.Above].
//
//go:noinline
func (s *Set) Above(a *AboveArgs) {
	if a.Work() <= MaxWork {
		s.funcs.Above(a)
		return
	}
	x, n, at := a.X, a.N, a.N
	const step = MaxWork / AboveBlock * AboveBlock
	for i := 0; i < n && at == n; i += step {
		a.X, a.N = ptr.At(x, i), min(step, n-i)
		if s.Above(a); a.At < a.N {
			at = i + a.At
		}
	}
	a.X, a.N, a.At = x, n, at
}

// Peak calls [Funcs.Peak].
//
//go:noinline
func (s *Set) Peak(n int) {
	for ; n > maxRounds; n -= maxRounds {
		s.Peak(maxRounds)
	}
	s.funcs.Peak(n)
}

// PeakInt8 calls [Funcs.PeakInt8].
//
//go:noinline
func (s *Set) PeakInt8(n int) {
	for ; n > maxRounds; n -= maxRounds {
		s.PeakInt8(maxRounds)
	}
	s.funcs.PeakInt8(n)
}

// PeakBFloat16 calls [Funcs.PeakBFloat16].
//
//go:noinline
func (s *Set) PeakBFloat16(n int) {
	for ; n > maxRounds; n -= maxRounds {
		s.PeakBFloat16(maxRounds)
	}
	s.funcs.PeakBFloat16(n)
}

// Read calls [Funcs.Read].
//
//go:noinline
func (s *Set) Read(p *float32, n int) float32 {
	sum := float32(0)
	for ; n > MaxWork; n -= MaxWork {
		sum += s.Read(p, MaxWork)
		p = ptr.At(p, MaxWork)
	}
	return sum + s.funcs.Read(p, n)
}
