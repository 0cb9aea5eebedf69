package tile

import (
	"math"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel/fp"
)

// A Merging makes of attentions of the same queries over disjoint sets of keys the attention over all
// of them.
type Merging struct {
	Out                    Operand   // [Batch, Heads, Seq, Dim]
	LSE                    []float32 // [Batch*Heads*Seq], or nil
	Parts                  []MergePart
	Batch, Heads, Seq, Dim int

	Done Done
}

// A MergePart is one of the attentions. Out and LSE may be those of the Merging.
type MergePart struct {
	Out Operand // [Batch, Heads, Seq, Dim]
	LSE []float32
}

const (
	// mergeItem is about the elements of all parts that an item of a Merging reads.
	mergeItem = 1 << 13

	// mergeWorth is the elements of all parts that pay for another goroutine.
	mergeWorth = 1 << 15
)

// A mergeSpace is what a worker on a Merging needs: room for the terms of a row.
type mergeSpace struct{ terms []mergeTerm }

// release drops the references to the caller's memory.
func (ws *mergeSpace) release() { clear(ws.terms[:cap(ws.terms)]) }

// A mergeTerm is a row of a part and its weight.
type mergeTerm struct {
	row    *float32
	stride int // elements from dim to dim
	weight float64
}

// Merge merges with at most workers goroutines, the caller's among them, and reports whether all of it
// is done. If it is not, since m.Done was closed, each row is either merged or as it was.
func (e *Engine) Merge(m *Merging, workers int) bool {
	j := e.merges.job()
	j.operands = *m
	cut := rowCut{m.Batch * m.Heads * m.Seq, len(m.Parts) * m.Dim, mergeItem, mergeWorth}
	return j.run(cut, workers, m.Done)
}

// merge merges the rows [from, to).
func (m *Merging) merge(_ *Engine, ws *mergeSpace, from, to int) {
	for row := from; row < to; row++ {
		m.row(ws, row)
	}
}

// row merges a row: that of the log-sum-exp at the index row. Sums are in float64, in the order of the
// parts. A log-sum-exp of -Inf counts for nothing, whatever is beside it.
func (m *Merging) row(ws *mergeSpace, row int) {
	b, h, s := row/m.Seq/m.Heads, row/m.Seq%m.Heads, row%m.Seq
	top := float32(math.Inf(-1))
	for i := range m.Parts {
		// NaN, once there, stays.
		if x := m.Parts[i].LSE[row]; x > top || x != x {
			top = x
		}
	}
	terms, sum := ws.terms[:0], 0.0
	for i := range m.Parts {
		if p := &m.Parts[i]; !math.IsInf(float64(p.LSE[row]), -1) {
			t := mergeTerm{row: (*float32)(p.Out.at(b, h, s)), stride: p.Out.Stride[3], weight: mergeWeight(p.LSE[row], top)}
			terms = append(terms, t)
			sum += t.weight
		}
	}
	ws.terms = terms
	to := mergeTerm{row: (*float32)(m.Out.at(b, h, s)), stride: m.Out.Stride[3]}
	for d := range m.Dim {
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
	if m.LSE != nil {
		m.LSE[row] = top
		if sum != 0 {
			m.LSE[row] = float32(float64(top) + fp.Log(sum))
		}
	}
}

func (t *mergeTerm) at(d int) *float32 { return ptr.At(t.row, d*t.stride) }

// mergeWeight returns exp(lse - top), of the same bits everywhere.
func mergeWeight(lse, top float32) float64 {
	return float64(fp.Exp2(float32((float64(lse) - float64(top)) * (math.Log2E / 2))))
}
