package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func convertGeneric(a *kernel.ConvertArgs) {
	for r := range a.Rows {
		row := unsafe.Slice(ptr.At(a.Dst, r*a.Stride), a.Dim)
		a.Elem.Values(row, unsafe.Add(a.Src, a.Off[r]), 0, a.UnitStride, rowScale(a.Elem, a.Scale, r))
		if a.Brain {
			for i, x := range row {
				row[i] = kernel.Brain(x)
			}
		}
	}
}

// widened returns values of a row from the first on, in buf unless they are float32 already.
func widened(buf []float32, e kernel.Elem, row unsafe.Pointer, first int, scale float32) []float32 {
	if e == kernel.Float32 {
		return unsafe.Slice((*float32)(unsafe.Add(row, 4*first)), len(buf))
	}
	e.Values(buf, row, first, e.Unit(), scale)
	return buf
}

// rowScale returns the scale of a row of that type.
func rowScale(e kernel.Elem, scale *float32, row int) float32 {
	if e.Scale() != kernel.RowScale {
		return 1
	}
	return *ptr.At(scale, row)
}

func decodeScoresGeneric(a *kernel.DecodeScoresArgs) { inGo.decodeScores(a) }

func (code chainCode) decodeScores(a *kernel.DecodeScoresArgs) {
	const dims = kernel.KeyBlock
	var buf [dims]float32
	var keys [dims]terms // of ChainLanes keys at a time
	queries := fp.NoSpan
	for r := range a.Rows {
		queries = span(ptr.At(a.Q, r), a.QStride, a.Dim, queries)
	}
	for k0 := 0; k0 < a.Keys; k0 += fp.ChainLanes {
		lanes := min(fp.ChainLanes, a.Keys-k0)
		if lanes < fp.ChainLanes {
			clear(keys[:])
		}
		all := fp.AnySpan
		if code.worth(a.Rows) {
			all = fp.NoSpan
		}
		for d0 := 0; d0 < a.Dim; d0 += dims {
			n := min(dims, a.Dim-d0)
			for l := range lanes {
				row := widened(buf[:n], a.Elem, unsafe.Add(a.K, a.Off[k0+l]), d0, rowScale(a.Elem, a.Scale, k0+l))
				for i, x := range row {
					keys[i][l] = fp.Term(x)
				}
				if code.worth(a.Rows) {
					all = span(&row[0], 1, n, all)
				}
			}
			for r := range a.Rows {
				s := ptr.At(a.S, k0*a.Stride+r)
				var c fp.Chains
				if d0 > 0 {
					for l := range lanes {
						c[l] = fp.Term(*ptr.At(s, l*a.Stride))
					}
				}
				code.add(&c, ptr.At(a.Q, d0*a.QStride+r), a.QStride, &keys[0], n, queries, all, a.Dim)
				for l := range lanes {
					*ptr.At(s, l*a.Stride) = float32(c[l])
				}
			}
		}
	}
}

func decodeAccumulateGeneric(a *kernel.DecodeAccumulateArgs) { inGo.decodeAccumulate(a) }

func (code chainCode) decodeAccumulate(a *kernel.DecodeAccumulateArgs) {
	var buf [fp.ChainLanes]float32
	var values [kernel.KeyBlock]terms // of ChainLanes dims at a time
	weights := fp.NoSpan
	for r := range a.Rows {
		weights = span(ptr.At(a.P, r), a.Stride, a.Keys, weights)
	}
	spans := code.worth(a.Rows) && a.From == nil // what From holds has any
	for d0 := 0; d0 < a.Dim; d0 += fp.ChainLanes {
		lanes := min(fp.ChainLanes, a.Dim-d0)
		all := fp.AnySpan
		if spans {
			all = fp.NoSpan
		}
		for k := range a.Keys {
			row := widened(buf[:lanes], a.Elem, unsafe.Add(a.V, a.Off[k]), d0, rowScale(a.Elem, a.Scale, k))
			load(&values[k], &row[0], lanes)
			if spans {
				all = span(&row[0], 1, lanes, all)
			}
		}
		for r := range a.Rows {
			from := negZeros
			if a.From != nil {
				for l := range lanes {
					from[l] = fp.Term(*ptr.At(a.From, r*a.OStride+d0+l))
				}
			}
			c := from
			code.add(&c, ptr.At(a.P, r), a.Stride, &values[0], a.Keys, weights, all, a.Keys)
			for l := range lanes {
				acc := float32(c[l])
				if a.MaskFrom < a.Keys && tainted(acc) {
					acc = weighTerms(&values, l, float32(from[l]), ptr.At(a.P, r), a.Stride, a.Keys, a.MaskFrom)
				}
				if a.To != nil {
					*ptr.At(a.To, r*a.OStride+d0+l) = acc
					continue
				}
				o := ptr.At(a.O, r*a.OStride+d0+l)
				*o = updated(*o, acc, a.Mode, a.Alpha, r)
			}
		}
	}
}

// weighTerms is weigh for the values of a lane.
func weighTerms(v *[kernel.KeyBlock]terms, lane int, acc float32, p *float32, step, n, maskFrom int) float32 {
	var column [kernel.KeyBlock]float32
	for k := range n {
		column[k] = float32(v[k][lane])
	}
	return weigh(acc, &column[0], 1, p, step, n, maskFrom)
}

func mergeGeneric(a *kernel.MergeArgs) {
	for l := range a.Lanes {
		top, sum := ptr.At(a.Max, l), ptr.At(a.Sum, l)
		m, s := *ptr.At(a.ChunkMax, l), *ptr.At(a.ChunkSum, l)
		newTop := *top
		if m > newTop {
			newTop = m
		}
		wa, wb := fp.Exp2(*top-newTop), fp.Exp2(m-newTop)
		if s == 0 {
			wa, wb = 1, negZero
		} else if *sum == 0 {
			wa = negZero
		}
		*top = newTop
		*sum = fp.FMA(*sum, wa, float32(s*wb))
		for d := range a.Dim {
			o := ptr.At(a.O, d*a.Stride+l)
			*o = fp.FMA(*o, wa, float32(*ptr.At(a.Chunk, d*a.Stride+l)*wb))
		}
	}
}
