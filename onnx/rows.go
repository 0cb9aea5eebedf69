package onnx

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
)

// rows computes the node in float64, a query at a time.
func (n *attention) rows(y operand, scores *Tensor) error {
	q, k, v := floats[float64](n.q.Tensor), floats[float64](n.k.Tensor), floats[float64](n.v.Tensor)
	bias, err := n.mask.bias()
	if err != nil {
		return err
	}
	out := make([]float64, y.Len())
	var recorded []float64
	if scores != nil {
		recorded = make([]float64, 0, scores.Len())
	}
	record := func(stage qkv.Stage, s []float64) {
		if scores != nil && stage == n.stage {
			recorded = append(recorded, s...)
		}
	}
	d, keys := n.q.shape, n.k.shape[2]
	s, attended := make([]float64, keys), make([]bool, keys)
	for b := range d[0] {
		for h := range d[1] {
			kv := h / (d[1] / n.k.shape[1])
			for i := range d[2] {
				query := q[n.q.row(b, h, i):][:d[3]]
				for j := range s {
					s[j] = n.score(query, k[n.k.row(b, kv, j):][:d[3]])
				}
				record(qkv.StageScaled, s)
				if c := float64(n.softcap); c != 0 {
					for j := range s {
						s[j] = c * math.Tanh(s[j]/c)
					}
				}
				record(qkv.StageCapped, s)
				for j := range s {
					x := bias(b, h, i, j)
					attended[j] = n.attends(b, i, j) && !math.IsInf(x, -1)
					if attended[j] {
						s[j] += x
					} else {
						s[j] = math.Inf(-1) // even from NaN
					}
				}
				record(qkv.StageMasked, s)
				softmax(s, attended)
				record(qkv.StageProbs, s)
				sum := out[y.row(b, h, i):][:y.shape[3]]
				for j, p := range s {
					if !attended[j] {
						continue // the value may be NaN
					}
					for e, x := range v[n.v.row(b, kv, j):][:len(sum)] {
						sum[e] += p * x
					}
				}
			}
		}
	}
	y.Data = encode(y.Type, out)
	if scores != nil {
		scores.Data = encode(scores.Type, recorded)
	}
	return nil
}

// score returns the scaled product of a query and a key.
func (n *attention) score(q, k []float64) float64 {
	dot := 0.0
	for e, x := range q {
		dot += x * k[e]
	}
	switch {
	case n.zero:
		return 0 * dot
	case n.scale == 0:
		return dot / math.Sqrt(float64(len(q)))
	}
	return float64(n.scale) * dot
}

// attends reports whether a query attends a key but for the mask.
func (n *attention) attends(b, i, j int) bool {
	at := int64(i) + int64(n.offsets[b]) // of the query among the keys
	if n.lens != nil && j >= n.lens[b] || n.causal && int64(j) > at {
		return false
	}
	return at-int64(j) <= int64(n.left) && int64(j)-at <= int64(n.right)
}

// bias returns what the mask adds to a score.
func (m *attentionMask) bias() (func(b, h, i, j int) float64, error) {
	if m.Tensor == nil {
		return func(b, h, i, j int) float64 { return 0 }, nil
	}
	var values []float64
	if m.Type == Bool {
		keep, err := bools(m.Tensor)
		if err != nil {
			return nil, fmt.Errorf("attn_mask: %w", err)
		}
		values = make([]float64, len(keep))
		for i, k := range keep {
			if !k {
				values[i] = math.Inf(-1)
			}
		}
	} else {
		values = floats[float64](m.Tensor)
	}
	var stride [4]int // 0 where the mask is broadcast
	step := 1
	for axis := 3; axis >= 0; axis-- {
		if m.shape[axis] != 1 {
			stride[axis] = step
		}
		step *= m.shape[axis]
	}
	return func(b, h, i, j int) float64 {
		if m.short && j >= m.shape[3] {
			return math.Inf(-1)
		}
		return values[b*stride[0]+h*stride[1]+i*stride[2]+j*stride[3]]
	}, nil
}

// softmax replaces scores by their probabilities: zeros of what is not attended, even
// beside a NaN, and of all if all are -Inf.
func softmax(s []float64, attended []bool) {
	largest := math.Inf(-1)
	for _, x := range s {
		largest = max(largest, x) // NaN if one is
	}
	if math.IsInf(largest, -1) {
		clear(s)
		return
	}
	sum := 0.0
	for j, x := range s {
		if s[j] = 0; attended[j] {
			s[j] = math.Exp(x - largest)
			sum += s[j]
		}
	}
	for j := range s {
		if attended[j] {
			s[j] /= sum
		}
	}
}
