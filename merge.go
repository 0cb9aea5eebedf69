package qkv

import (
	"context"
	"sync"

	"github.com/qkv-go/qkv/tile"
)

// A Partial is the result of attention over a part of the keys: what [Call] has left in
// Out and LSE.
type Partial struct {
	Out View      // [batch, heads, seqQ, dimV]
	LSE []float32 // contiguous [batch, heads, seqQ]
}

// Merge combines attentions of the same queries over disjoint sets of keys into the attention
// over all of these: with weights w_i = exp(LSE_i - max LSE),
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
func (e *Engine) Merge(out View, lse []float32, parts []Partial) error {
	_, err := e.merge(&out, lse, parts, nil)
	return err
}

// MergeContext is Merge that ends early, within some milliseconds, when ctx is done. The error is then
// that of the context, wrapped, and its cause. Each row, with its log-sum-exp, is then either merged or
// as it was, without a sign of which. A context that is done before the call has nothing written.
func (e *Engine) MergeContext(ctx context.Context, out View, lse []float32, parts []Partial) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.merge(&out, lse, parts, done)
	return outcome(ctx, whole, err)
}

// mergings keeps the operands of merges, and room for their parts.
var mergings = sync.Pool{New: func() any { return new(tile.Merging) }}

// merge merges until done is closed, and reports whether all of it is merged.
func (e *Engine) merge(out *View, lse []float32, parts []Partial, done tile.Done) (whole bool, err error) {
	if err := e.ready(); err != nil {
		return false, err
	}
	if err := checkMerge(out, lse, parts); err != nil {
		return false, err
	}
	m := mergings.Get().(*tile.Merging)
	m.Out, m.LSE, m.Done = out.operand(), lse, done
	m.Batch, m.Heads, m.Seq, m.Dim = out.shape[axisBatch], out.shape[axisHeads], out.shape[axisSeq], out.shape[axisDim]
	for i := range parts {
		m.Parts = append(m.Parts, tile.MergePart{Out: parts[i].Out.operand(), LSE: parts[i].LSE})
	}
	whole = e.engine.Merge(m, e.Workers())
	clear(m.Parts) // the caller's memory
	*m = tile.Merging{Parts: m.Parts[:0]}
	mergings.Put(m)
	return whole, nil
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
