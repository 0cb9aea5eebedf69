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
	copies           []float32     // queries that are multiplied, if the caller's are to stay

	mean   tile.MeanScores // what the mean of the keys adds to the log-sum-exps; of no Heads if nothing
	lse    []float32
	shifts []float32 // of the log-sum-exps
}

// forget drops the references to the caller's memory.
func (t *turning) forget() { *t = turning{copies: t.copies, shifts: t.shifts} }

// prepare has the checked call attend the layer with queries that are turned as its keys are: where they are if
// inPlace, or copies. The error is a [*MemoryError] for copies larger than there is memory.
func (t *turning) prepare(l *cacheLayer, c *Call, p *tile.Problem, inPlace bool) error {
	dims := c.Q.shape
	rows := dims[axisHeads] * dims[axisSeq]
	if rows == 0 {
		return nil
	}
	if block := l.turned[0].Block; block > 0 {
		if !inPlace {
			n := mul(rows, dims[axisDim])
			if cap(t.copies) < n {
				if err := checkMemory("workspace", 4*int64(n)); err != nil {
					return err
				}
				t.copies = make([]float32, n)
			}
			turned := THD(t.copies[:n], dims[axisSeq], dims[axisHeads], dims[axisDim])
			p.Q = turned.operand()
		}
		t.queries = hadamard(&c.Q, p.Q, block)
	}
	if block := l.turned[1].Block; block > 0 {
		t.outputs = hadamard(&c.Out, p.Out, block)
	}
	if mean := l.turned[0].Mean; mean != nil && c.LSE != nil {
		t.lse, t.shifts = c.LSE, slices.Grow(t.shifts[:0], rows)[:rows]
		t.mean = tile.MeanScores{
			X: c.Q.operand(), Mean: mean, Scores: t.shifts, Scale: p.Scale,
			Heads: dims[axisHeads], KVHeads: l.cfg.KVHeads, Seq: dims[axisSeq], Dim: dims[axisDim],
		}
	}
	return nil
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
	if t.mean.Heads > 0 { // before queries are turned in place, and outputs are where they were
		e.MeanScores(&t.mean, workers)
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
