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

// A mergeJob is a Merging being computed.
type mergeJob struct {
	task
	engine *Engine
	Merging
	items workItems
}

// A mergeTerm is a row of a part and its weight.
type mergeTerm struct {
	row    *float32
	stride int // elements from dim to dim
	weight float64
}

// Merge merges with at most workers goroutines, the caller's among them, and reports whether all of it
// is done. If it is not, since m.Done was closed, each row is either merged or as it was.
func (e *Engine) Merge(m *Merging, workers int) bool {
	j := e.merges.Get().(*mergeJob)
	j.Merging = *m
	workers = j.items.open(m.Batch*m.Heads*m.Seq, len(m.Parts)*m.Dim, mergeItem, mergeWorth, workers)
	e.crew.run(&j.task, workers, e.labels)
	whole := j.items.whole()
	j.Merging = Merging{}
	e.merges.Put(j)
	return whole
}

// drain merges items until none is left.
func (j *mergeJob) drain() {
	e := j.engine
	e.phase(phaseMerge)
	terms := e.mergeTerms.Get().(*[]mergeTerm)
	j.items.each(j.Done, func(from, to int) {
		for row := from; row < to; row++ {
			j.row(terms, row)
		}
	})
	clear((*terms)[:cap(*terms)]) // keeps no tensor alive
	e.mergeTerms.Put(terms)
	e.phase(phaseNone)
}

// row merges a row: that of the log-sum-exp at the index row. Sums are in float64, in the order of the
// parts. A log-sum-exp of -Inf counts for nothing, whatever is beside it.
func (j *mergeJob) row(room *[]mergeTerm, row int) {
	b, h, s := row/j.Seq/j.Heads, row/j.Seq%j.Heads, row%j.Seq
	top := float32(math.Inf(-1))
	for i := range j.Parts {
		// NaN, once there, stays.
		if x := j.Parts[i].LSE[row]; x > top || x != x {
			top = x
		}
	}
	terms, sum := (*room)[:0], 0.0
	for i := range j.Parts {
		if p := &j.Parts[i]; !math.IsInf(float64(p.LSE[row]), -1) {
			t := mergeTerm{row: (*float32)(p.Out.at(b, h, s)), stride: p.Out.Stride[3], weight: mergeWeight(p.LSE[row], top)}
			terms = append(terms, t)
			sum += t.weight
		}
	}
	*room = terms
	to := mergeTerm{row: (*float32)(j.Out.at(b, h, s)), stride: j.Out.Stride[3]}
	for d := range j.Dim {
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
	if j.LSE != nil {
		j.LSE[row] = top
		if sum != 0 {
			j.LSE[row] = float32(float64(top) + fp.Log(sum))
		}
	}
}

func (t *mergeTerm) at(d int) *float32 { return ptr.At(t.row, d*t.stride) }

// mergeWeight returns exp(lse - top), of the same bits everywhere.
func mergeWeight(lse, top float32) float64 {
	return float64(fp.Exp2(float32((float64(lse) - float64(top)) * (math.Log2E / 2))))
}
