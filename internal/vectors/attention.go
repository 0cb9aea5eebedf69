package vectors

import "math"

// attention computes every score, and then the weights of each row.
func (c *Case) attention(draw func() float64) {
	a := c.Attention
	q := Numbers(draw, a.Batch*a.Heads*a.Queries*a.DimQK)
	k := Numbers(draw, a.Batch*a.KVHeads*a.Keys*a.DimQK)
	v := Numbers(draw, a.Batch*a.KVHeads*a.Keys*a.DimV)
	o := a.Options(draw)
	if a.Cache != nil {
		round(k, a.DimQK, a.Cache.KeyType)
		round(v, a.DimV, a.Cache.ValueType)
	}
	c.Out, c.LSE = make([]float64, a.Batch*a.Heads*a.Queries*a.DimV), make([]*float64, a.Batch*a.Heads*a.Queries)
	scale := a.Scale
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(a.DimQK))
	}
	for _, s := range a.sequences() {
		for h := range a.Heads {
			for i := range s.queries {
				row := (s.batch*a.Heads+h)*a.Queries + s.q0 + i
				kv := (s.batch*a.KVHeads+h/(a.Heads/a.KVHeads))*a.Keys + s.k0
				scores := make([]float64, s.keys)
				for j := range scores {
					if !a.kept(&s, &o, i, j) {
						scores[j] = math.Inf(-1)
						continue
					}
					x := scale * dot(q[row*a.DimQK:][:a.DimQK], k[(kv+j)*a.DimQK:][:a.DimQK])
					if a.Softcap != 0 {
						x = a.Softcap * math.Tanh(x/a.Softcap)
					}
					if a.ALiBi {
						x -= o.ALiBi[h] * math.Abs(float64(i+s.offset-j))
					}
					if a.Bias {
						x += o.Bias[(h*a.Queries+i)*a.Keys+j]
					}
					scores[j] = x
				}
				var sink *float64
				if a.Sinks {
					sink = &o.Sinks[h]
				}
				weights, lse := softmax(scores, sink)
				if !math.IsInf(lse, -1) {
					c.LSE[row] = &lse
				}
				for d := range a.DimV {
					var out sum
					for j, w := range weights {
						out.add(w * v[(kv+j)*a.DimV+d])
					}
					c.Out[row*a.DimV+d] = out.total()
				}
			}
		}
	}
}

// Options are what an Attention draws besides Q, K and V.
type Options struct {
	Bias, ALiBi, Sinks []float64
	Keep, Blocks       []bool
}

// Options draws them.
func (a *Attention) Options(draw func() float64) (o Options) {
	above := func(n int, least float64) []bool {
		kept := make([]bool, n)
		for i := range kept {
			kept[i] = draw() > least
		}
		return kept
	}
	if a.Bias {
		o.Bias = Numbers(draw, a.Heads*a.Queries*a.Keys)
	}
	if a.Keep {
		o.Keep = above(a.Queries*a.Keys, -0.5)
	}
	if a.Block != 0 {
		rows, columns := a.Blocks()
		o.Blocks = above(rows*columns, -0.3)
	}
	if a.ALiBi {
		o.ALiBi = Numbers(draw, a.Heads)
		for i, x := range o.ALiBi {
			o.ALiBi[i] = math.Abs(x)
		}
	}
	if a.Sinks {
		o.Sinks = Numbers(draw, a.Heads)
	}
	return o
}

// Blocks returns the number of blocks of queries and of keys.
func (a *Attention) Blocks() (rows, columns int) {
	return (a.Queries + a.Block - 1) / a.Block, (a.Keys + a.Block - 1) / a.Block
}

// A sequence is a part of the tensors.
type sequence struct{ batch, q0, k0, queries, keys, offset int }

func (a *Attention) sequences() (all []sequence) {
	n := a.Batch
	if a.CuLensQ != nil {
		n = len(a.CuLensQ) - 1
	}
	for b := range n {
		s := sequence{batch: b, queries: a.Queries, keys: a.Keys}
		if a.LensQ != nil {
			s.queries = a.LensQ[b]
		}
		if a.LensKV != nil {
			s.keys = a.LensKV[b]
		}
		if a.CuLensQ != nil {
			s = sequence{q0: a.CuLensQ[b], k0: a.CuLensKV[b], queries: a.CuLensQ[b+1] - a.CuLensQ[b], keys: a.CuLensKV[b+1] - a.CuLensKV[b]}
		}
		switch a.Align {
		case "bottom-right":
			s.offset = s.keys - s.queries
		case "offset":
			s.offset = a.Offset
		}
		all = append(all, s)
	}
	return all
}

// Segment returns the segment of token i of n.
func (a *Attention) Segment(i, n int) int { return i * a.Segments / n }

// kept reports whether a query attends a key.
func (a *Attention) kept(s *sequence, o *Options, i, j int) bool {
	ahead := j - (i + s.offset)
	if j >= a.Prefix {
		if a.Causal && ahead > 0 {
			return false
		}
		if w := a.Window; w != nil && (w[0] >= 0 && -ahead > w[0] && j >= a.First || w[1] >= 0 && ahead > w[1]) {
			return false
		}
	}
	if a.Segments != 0 && a.Segment(s.q0+i, a.Queries) != a.Segment(s.k0+j, a.Keys) {
		return false
	}
	if a.Block != 0 {
		if _, columns := a.Blocks(); !o.Blocks[i/a.Block*columns+j/a.Block] {
			return false
		}
	}
	return !a.Keep || o.Keep[i*a.Keys+j]
}

// round makes of rows of x what a type keeps of them.
func round(x []float64, dim int, kind string) {
	size := dim
	if kind == "BlockQ8_0" {
		size = 32
	}
	for ; len(x) > 0; x = x[size:] {
		row := x[:size]
		var top float64
		for _, e := range row {
			top = max(top, math.Abs(e))
		}
		scale := float64(float32(top / 127))
		for i, e := range row {
			switch kind {
			case "Float16":
				row[i] = nearest(e, 11, -24)
			case "BFloat16":
				row[i] = nearest(e, 8, -133)
			case "int8":
				row[i] = float64(float32(scale * math.RoundToEven(e/scale)))
			case "BlockQ8_0":
				row[i] = nearest(scale, 11, -24) * math.Round(e/scale)
			}
		}
	}
}

// nearest returns the number nearest to x, ties to even, that has so many bits and is a
// multiple of 2^least.
func nearest(x float64, bits, least int) float64 {
	_, exp := math.Frexp(x)
	place := math.Ldexp(1, max(exp-bits, least))
	return math.RoundToEven(x/place) * place
}
