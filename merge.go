package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel/fp"
)

// A Partial is the result of attention over a part of the keys: what [Call] has left in
// Out and LSE.
type Partial struct {
	Out View      // [batch, heads, seqQ, dimV]
	LSE []float32 // contiguous [batch, heads, seqQ]
}

// Merge makes of attentions of the same queries over disjoint sets of keys the attention
// over all of them: with weights w_i = exp(LSE_i - max LSE),
//
//	out = Σ w_i Out_i / Σ w_i
//	lse = max LSE + ln Σ w_i
//
// both summed in the order of parts (Juravsky et al., Hydragen, 2024; the cascades of
// FlashInfer, Ye et al., 2025). A part in which a row has no key, of log-sum-exp -Inf,
// counts for nothing there, NaN included; a log-sum-exp of NaN or +Inf makes the row NaN.
// Sinks take part in one of the calls only.
//
// The sums are in float64, so that the error does not grow with the number of parts of a call.
// To merge part after part into one result rounds it each time.
//
// lse may be nil. out and lse may be those of a part, and share no other element with
// one. The result does not have the bits of a single call over all keys, but it is within
// float32 rounding of it, and the same on every machine. The error is an [*ArgError];
// nothing has been written then.
func Merge(out View, lse []float32, parts []Partial) error {
	if err := checkMerge(&out, lse, parts); err != nil {
		return err
	}
	heads, seq := out.shape[axisHeads], out.shape[axisSeq]
	var few [16]mergeTerm
	terms := few[:0]
	if len(parts) > len(few) {
		terms = make([]mergeTerm, 0, len(parts))
	}
	for row := range mul(out.shape[axisBatch], heads, seq) {
		b, h, s := row/seq/heads, row/seq%heads, row%seq
		mergeRow(&out, lse, parts, terms, b, h, s, row)
	}
	return nil
}

func checkMerge(out *View, lse []float32, parts []Partial) error {
	if len(parts) == 0 {
		return argError("parts", 0, 1, "parts has length 0, at least 1 is needed")
	}
	if err := out.checkKind("out", kindFloat32); err != nil {
		return err
	}
	if err := out.check("out", &axisNames); err != nil {
		return err
	}
	if err := out.checkWritable("out", &axisNames); err != nil {
		return err
	}
	rows := mul(out.shape[axisBatch], out.shape[axisHeads], out.shape[axisSeq])
	if lse != nil && len(lse) != rows {
		return argError("lse", len(lse), rows, "lse has length %d, out has %d rows", len(lse), rows)
	}
	for i := range parts {
		p := &parts[i]
		if err := p.Out.checkKind("parts", kindFloat32); err != nil {
			return err
		}
		if err := p.Out.check("parts", &axisNames); err != nil {
			return err
		}
		for axis, want := range out.shape {
			if got := p.Out.shape[axis]; got != want {
				return argError("parts", got, want, "parts[%d] has %s %d, out has %d", i, axisNames[axis], got, want)
			}
		}
		if got := len(p.LSE); got != rows {
			return argError("parts", got, rows, "parts[%d] has a log-sum-exp of length %d, out has %d rows", i, got, rows)
		}
	}
	return mergeApart(out, lse, parts)
}

// mergeApart reports a result that shares elements with a part, other than one that is that of the
// part.
func mergeApart(out *View, lse []float32, parts []Partial) error {
	rows, sums := out.region(), floatsRegion(lse)
	if err := checkApart("out", &rows, "lse", &sums); err != nil {
		return err
	}
	for i := range parts {
		p := &parts[i]
		partRows, partSums := p.Out.region(), floatsRegion(p.LSE)
		how := rows.shares(&partSums)
		if how == apart && partRows != rows {
			how = rows.shares(&partRows)
		}
		if how != apart {
			return argError("out", i, 0, "out and parts[%d] %s", i, how)
		}
		how = sums.shares(&partRows)
		if how == apart && sums.base != partSums.base {
			how = sums.shares(&partSums)
		}
		if how != apart {
			return argError("lse", i, 0, "lse and parts[%d] %s", i, how)
		}
	}
	return nil
}

// mergeRow merges one row: that of the log-sum-exp at index row. terms has room for one of
// each part.
func mergeRow(out *View, lse []float32, parts []Partial, terms []mergeTerm, b, h, s, row int) {
	top := float32(math.Inf(-1))
	for i := range parts {
		// NaN, once there, stays.
		if x := parts[i].LSE[row]; x > top || x != x {
			top = x
		}
	}
	sum := 0.0
	for i := range parts {
		if x := parts[i].LSE[row]; !math.IsInf(float64(x), -1) {
			v := &parts[i].Out
			t := mergeTerm{row: v.element(b, h, s), stride: v.stride[axisDim], weight: mergeWeight(x, top)}
			terms = append(terms, t)
			sum += t.weight
		}
	}
	to := mergeTerm{row: out.element(b, h, s), stride: out.stride[axisDim]}
	for d := range out.shape[axisDim] {
		x := 0.0
		for i := range terms {
			t := &terms[i]
			x += float64(t.weight * float64(*t.at(d))) // rounded: fused, it would differ
		}
		if sum != 0 {
			x /= sum
		}
		*to.at(d) = float32(x)
	}
	if lse != nil {
		lse[row] = top
		if sum != 0 {
			lse[row] = float32(float64(top) + fp.Log(sum))
		}
	}
}

// A mergeTerm is a row of a part and its weight.
type mergeTerm struct {
	row    unsafe.Pointer
	stride int // elements from dim to dim
	weight float64
}

func (t *mergeTerm) at(d int) *float32 {
	return (*float32)(unsafe.Add(t.row, 4*d*t.stride))
}

// mergeWeight returns exp(lse - top), of the same bits everywhere.
func mergeWeight(lse, top float32) float64 {
	return float64(fp.Exp2(float32((float64(lse) - float64(top)) * (math.Log2E / 2))))
}

// element returns the address of the first dim of a row of a view, nil if it has no dims.
func (v *View) element(b, h, s int) unsafe.Pointer {
	if v.empty() {
		return nil
	}
	return unsafe.Add(v.first(), v.kind.size()*(b*v.stride[0]+h*v.stride[1]+s*v.stride[2]))
}
