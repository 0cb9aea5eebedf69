package qkv

import (
	"math"
	"slices"

	"github.com/qkv-go/qkv/tile"
)

// turn notes what keys and values go through before they are kept, and reports a mean that no keys have.
func (l *cacheLayer) turn() error {
	if l.cfg.HadamardK {
		l.turned[0].Block = l.cfg.DimQK & -l.cfg.DimQK
	}
	if l.cfg.HadamardV {
		l.turned[1].Block = l.cfg.DimV & -l.cfg.DimV
	}
	mean := l.cfg.KeyMean
	if mean == nil {
		return nil
	}
	if n := l.cfg.KVHeads * l.cfg.DimQK; len(mean) != n {
		return argError("keyMean", len(mean), n, "keyMean has length %d, %d heads of dim %d need %d", len(mean), l.cfg.KVHeads, l.cfg.DimQK, n)
	}
	for i, x := range mean {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return argError("keyMean", i, 0, "keyMean has %v at index %d, finite numbers are needed", x, i)
		}
	}
	l.cfg.KeyMean = slices.Clone(mean)
	l.turned[0].Mean = l.cfg.KeyMean
	return nil
}

// checkMean reports what a call has that sees more of the scores than the softmax does.
func (l *cacheLayer) checkMean(c *Call, layer int) error {
	if l.turned[0].Mean == nil {
		return nil
	}
	for _, x := range [...]struct {
		name  string
		given bool
	}{
		{"softcap", c.Softcap != 0}, {"sinks", c.Sinks != nil}, {"scoreMod", c.ScoreMod != nil},
		{"scores", c.Scores.given() && c.ScoresAt != StageProbs},
	} {
		if x.given {
			return argError(x.name, layer, 0, "%s is given, and layer %d keeps keys without their mean, which only the softmax does not see", x.name, layer)
		}
	}
	return nil
}

// A turning is what a Step does to the operands of a call to a layer whose keys or values are turned.
type turning struct {
	queries, outputs tile.Hadamard // of a block of 0 if they are as they are
	copies           []float32     // queries that are multiplied

	q      View // queries as they are, for the log-sum-exps
	lse    []float32
	mean   []float32
	scale  float32
	shifts []float32 // of the log-sum-exps
}

// forget drops the references to the caller's memory.
func (t *turning) forget() { *t = turning{copies: t.copies, shifts: t.shifts} }

// prepare has the checked call attend the layer with queries that are turned as its keys are.
func (t *turning) prepare(l *cacheLayer, c *Call, p *tile.Problem) {
	dims := c.Q.shape
	rows := dims[axisHeads] * dims[axisSeq]
	if rows == 0 {
		return
	}
	if block := l.turned[0].Block; block > 0 {
		t.copies = slices.Grow(t.copies[:0], rows*dims[axisDim])[:rows*dims[axisDim]]
		turned := THD(t.copies, dims[axisSeq], dims[axisHeads], dims[axisDim])
		t.queries = hadamard(&c.Q, turned.operand(), block)
		p.Q = turned.operand()
	}
	if block := l.turned[1].Block; block > 0 {
		t.outputs = hadamard(&c.Out, p.Out, block)
	}
	if mean := l.turned[0].Mean; mean != nil && c.LSE != nil {
		t.q, t.lse, t.mean, t.scale = c.Q, c.LSE, mean, p.Scale
		t.shifts = slices.Grow(t.shifts[:0], rows)[:rows]
	}
}

// hadamard returns the multiplication of the rows of x, into y.
func hadamard(x *View, y tile.Operand, block int) tile.Hadamard {
	return tile.Hadamard{
		X: x.operand(), Y: y, Batch: x.shape[axisBatch], Heads: x.shape[axisHeads], Seq: x.shape[axisSeq], Dim: x.shape[axisDim], Block: block,
	}
}

// attention computes the call that prepare has left, until it is to end, and reports whether all of it is
// computed.
func (s *Step) attention() bool {
	e, workers, t := s.engine.engine, s.engine.Workers(), &s.turning
	if t.lse != nil { // before outputs, which may be where the queries are
		t.shift()
	}
	if t.queries.Block > 0 {
		e.Hadamard(&t.queries, workers)
	}
	if !e.Run(&s.problem, workers) {
		return false
	}
	if t.outputs.Block > 0 {
		e.Hadamard(&t.outputs, workers)
	}
	for i, x := range t.shifts[:min(len(t.shifts), len(t.lse))] {
		if !math.IsInf(float64(t.lse[i]), -1) { // a row without a key, whatever its query
			t.lse[i] += x
		}
	}
	return true
}

// shift computes what the mean of the keys adds to the log-sum-exps: scale * q·mean, which is rounded once.
func (t *turning) shift() {
	heads, n, dim := t.q.shape[axisHeads], t.q.shape[axisSeq], t.q.shape[axisDim]
	group, all := heads/(len(t.mean)/dim), t.q.floats()
	for head := range heads {
		mean := t.mean[head/group*dim:][:dim]
		for i := range n {
			sum, at := 0.0, t.q.row(0, head, i)
			for d, m := range mean {
				sum += float64(all[at+d*t.q.stride[axisDim]]) * float64(m) // an exact product
			}
			t.shifts[head*n+i] = float32(float64(t.scale) * sum)
		}
	}
}
