package vectors

import (
	"encoding/json"
	"math"
)

// Solve computes the results of a case.
func (c *Case) Solve() error {
	draw := Draw(c.Seed)
	switch {
	case c.Attention != nil:
		c.attention(draw)
	case c.Product != nil:
		p := c.Product
		x, w := Numbers(draw, p.M*p.K), Numbers(draw, p.K*p.N)
		bias, y := make([]float64, p.N), make([]float64, p.M*p.N)
		if p.Bias {
			bias = Numbers(draw, p.N)
		}
		if p.Accumulate {
			y = Numbers(draw, p.M*p.N)
		}
		c.Out = product(x, w, bias, p.M, p.K, p.N)
		for i := range y {
			c.Out[i] += y[i]
		}
	case c.Rotary != nil:
		r := c.Rotary
		x := Numbers(draw, r.Seq*r.Heads*r.HeadDim)
		freqs, factor, err := r.frequencies()
		if err != nil {
			return err
		}
		for s := range r.Seq {
			for h := range r.Heads {
				rotate(x[(s*r.Heads+h)*r.HeadDim:], freqs, factor, r.Positions[s], r.Interleaved)
			}
		}
		c.Out = x
	case c.Layer != nil:
		c.layer(draw)
	}
	return nil
}

// A sum adds numbers with the error of one rounding (Neumaier, 1974).
type sum struct{ value, lost float64 }

func (s *sum) add(x float64) {
	t := s.value + x
	if math.Abs(s.value) >= math.Abs(x) {
		s.lost += (s.value - t) + x
	} else {
		s.lost += (x - t) + s.value
	}
	s.value = t
}

func (s *sum) total() float64 { return s.value + s.lost }

// product returns bias + x w.
func product(x, w, bias []float64, m, k, n int) []float64 {
	y := make([]float64, m*n)
	for i := range m {
		for j := range n {
			s := sum{value: bias[j]}
			for l := range k {
				s.add(x[i*k+l] * w[l*n+j])
			}
			y[i*n+j] = s.total()
		}
	}
	return y
}

// rotate turns pairs of elements of x.
func rotate(x, freqs []float64, factor float64, position int, interleaved bool) {
	for i, f := range freqs {
		a, b := i, i+len(freqs)
		if interleaved {
			a, b = 2*i, 2*i+1
		}
		sin, cos := math.Sincos(float64(position) * f)
		x[a], x[b] = factor*(x[a]*cos-x[b]*sin), factor*(x[b]*cos+x[a]*sin)
	}
}

// frequencies returns the radians of each pair from one position to the next, and what
// vectors are multiplied by.
func (r *Rotary) frequencies() (freqs []float64, factor float64, err error) {
	var s struct {
		Type     string    `json:"rope_type"`
		Factor   float64   `json:"factor"`
		Original float64   `json:"original_max_position_embeddings"`
		LowFreq  float64   `json:"low_freq_factor"`
		HighFreq float64   `json:"high_freq_factor"`
		Short    []float64 `json:"short_factor"`
		Long     []float64 `json:"long_factor"`
	}
	if r.Scaling != nil {
		if err := json.Unmarshal(r.Scaling, &s); err != nil {
			return nil, 0, err
		}
	}
	base, dim := r.Base, float64(r.Dim)
	switch s.Type {
	case "ntk":
		base *= math.Pow(s.Factor, dim/(dim-2))
	case "dynamic":
		if n := float64(r.MaxPositions); n > s.Original {
			base *= math.Pow(s.Factor*n/s.Original-(s.Factor-1), dim/(dim-2))
		}
	}
	// corner is the pair that makes so many turns in the original length.
	corner := func(turns float64) float64 {
		return dim * math.Log(s.Original/(turns*2*math.Pi)) / (2 * math.Log(base))
	}
	factor = 1
	for i := range r.Dim / 2 {
		f := math.Pow(base, -2*float64(i)/dim)
		switch s.Type {
		case "linear":
			f /= s.Factor
		case "yarn":
			low, high := max(math.Floor(corner(32)), 0), min(math.Ceil(corner(1)), dim-1)
			ramp := min(max((float64(i)-low)/(high-low), 0), 1)
			f = f/s.Factor*ramp + f*(1-ramp)
			factor = 0.1*math.Log(s.Factor) + 1
		case "llama3":
			wave := 2 * math.Pi / f
			switch {
			case wave > s.Original/s.LowFreq:
				f /= s.Factor
			case wave >= s.Original/s.HighFreq:
				blend := (s.Original/wave - s.LowFreq) / (s.HighFreq - s.LowFreq)
				f = (1-blend)*f/s.Factor + blend*f
			}
		case "longrope":
			factors := s.Short
			if float64(r.MaxPositions) > s.Original {
				factors = s.Long
			}
			f /= factors[i]
			factor = math.Sqrt(1 + math.Log(s.Factor)/math.Log(s.Original))
		}
		freqs = append(freqs, f)
	}
	return freqs, factor, nil
}

// layer computes a layer in the order of its parts, each over all tokens.
func (c *Case) layer(draw func() float64) {
	l := c.Layer
	x := Numbers(draw, l.Seq*l.In)
	project := func(x []float64, in, out int) []float64 {
		w := Numbers(draw, in*out)
		for i := range w {
			w[i] /= 2
		}
		return product(x, w, Numbers(draw, out), l.Seq, in, out)
	}
	q, k, v := project(x, l.In, l.Heads*l.Dim), project(x, l.In, l.KVHeads*l.Dim), project(x, l.In, l.KVHeads*l.Dim)
	mix := make([]float64, l.Seq*l.Heads*l.Dim)
	wo := Numbers(draw, l.Heads*l.Dim*l.Out)
	for i := range wo {
		wo[i] /= 2
	}
	bo := Numbers(draw, l.Out)
	for _, part := range []struct {
		x     []float64
		heads int
	}{{q, l.Heads}, {k, l.KVHeads}} {
		var weight []float64
		if l.Norm {
			weight = Numbers(draw, l.Dim)
		}
		for i := range l.Seq * part.heads {
			head := part.x[i*l.Dim:][:l.Dim]
			if l.Norm {
				var squares sum
				for _, e := range head {
					squares.add(e * e)
				}
				r := 1 / math.Sqrt(squares.total()/float64(l.Dim)+1e-6)
				for d := range head {
					head[d] *= r * weight[d]
				}
			}
			if l.Rotary {
				r := Rotary{Dim: l.Dim, Base: 10000}
				freqs, factor, _ := r.frequencies() // there is no scaling to be wrong
				rotate(head, freqs, factor, i/part.heads, false)
			}
		}
	}
	for i := range l.Seq {
		for h := range l.Heads {
			kh := h / (l.Heads / l.KVHeads)
			keys := i + 1
			row := func(x []float64, heads, t, h int) []float64 { return x[(t*heads+h)*l.Dim:][:l.Dim] }
			scores := make([]float64, keys)
			for j := range scores {
				scores[j] = dot(row(q, l.Heads, i, h), row(k, l.KVHeads, j, kh)) / math.Sqrt(float64(l.Dim))
			}
			weights, _ := softmax(scores, nil)
			for d := range l.Dim {
				var s sum
				for j, w := range weights {
					s.add(w * row(v, l.KVHeads, j, kh)[d])
				}
				row(mix, l.Heads, i, h)[d] = s.total()
			}
		}
	}
	c.Out = product(mix, wo, bo, l.Seq, l.Heads*l.Dim, l.Out)
}

func dot(x, y []float64) float64 {
	var s sum
	for i := range x {
		s.add(x[i] * y[i])
	}
	return s.total()
}

// softmax returns the weights of scores, beside a sink if there is one, and the logarithm of
// the sum of exponentials. Of no score that is a number, all are zeros.
func softmax(scores []float64, sink *float64) (weights []float64, lse float64) {
	top := math.Inf(-1)
	for _, s := range scores {
		top = max(top, s)
	}
	if sink != nil {
		top = max(top, *sink)
	}
	weights = make([]float64, len(scores))
	if math.IsInf(top, -1) {
		return weights, top
	}
	var total sum
	for i, s := range scores {
		weights[i] = math.Exp(s - top)
		total.add(weights[i])
	}
	if sink != nil {
		total.add(math.Exp(*sink - top))
	}
	for i := range weights {
		weights[i] /= total.total()
	}
	return weights, top + math.Log(total.total())
}
