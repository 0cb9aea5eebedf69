package model

import (
	"cmp"
	"math"
	"slices"

	"github.com/qkv-go/qkv"
)

// A mixture is the workspace of layers with experts. A token has slots: ExpertsUsed for the experts that its router
// chooses, by their numbers, and one more for the shared expert, if there is one. A slot has a row, and the rows of
// an expert lie one behind the other, in the order of the tokens.
type mixture struct {
	h       []float32    // of the layer: what comes in, [tokens, Width], and what goes out
	logits  []float32    // of the router, [tokens, Experts]
	gates   []float32    // of the shared expert, [tokens]
	ranked  []qkv.Ranked // [tokens*ExpertsUsed], the greatest logits of each token
	weights []float32    // of each slot
	rows    []int        // of each slot, -1 where a router has NaNs in the place of logits
	first   []int        // row of each expert, and how many rows there are
	next    []int

	in, out   []float32 // a row [Width] for each
	gated, up []float32 // a row [FFN] for each, those of the shared expert behind the others and of its width
	products  []qkv.Product
	list      []*qkv.Product

	// Loops over tokens, and over numbers of gated. Values of methods are allocated: they are made once.
	route, gather, combine, clamp func(lo, hi int)
}

// slots returns how many slots a token has.
func (c *Config) slots() int { return c.ExpertsUsed + min(c.SharedFFN, 1) }

// mix replaces rows of h by what the experts of a layer make of them, added for each token in the order of the
// experts, and the shared one behind them. An expert reads all its tokens at once, of whichever text: that does
// not change the bits of any.
func (e *Engine) mix(h qkv.Matrix, b *block) error {
	m, tokens := &e.mixture, h.Rows()
	if m.route == nil {
		m.route, m.gather, m.combine, m.clamp = e.routeTokens, e.gatherTokens, e.combineTokens, e.clampGated
	}
	size := func(buf *[]float32, n int) { *buf = slices.Grow((*buf)[:0], n)[:n] }
	m.h = e.h[:tokens*e.Width]
	chosen := tokens * e.ExpertsUsed
	size(&m.logits, tokens*e.Experts)
	size(&m.weights, tokens*e.slots())
	size(&m.in, chosen*e.Width)
	size(&m.out, tokens*e.slots()*e.Width)
	size(&m.gated, chosen*e.FFN+tokens*e.SharedFFN)
	if e.Clamp != 0 {
		size(&m.up, len(m.gated))
	}
	m.ranked = slices.Grow(m.ranked[:0], chosen)[:chosen]
	m.rows = slices.Grow(m.rows[:0], tokens*e.slots())[:tokens*e.slots()]
	m.first = slices.Grow(m.first[:0], e.Experts+1)[:e.Experts+1]
	m.next = slices.Grow(m.next[:0], e.Experts)[:e.Experts]
	err := e.product32(qkv.RowMajor(m.logits, tokens, e.Experts), h, b.router)
	if e.SharedFFN != 0 {
		size(&m.gates, tokens)
		err = cmp.Or(err, e.product32(qkv.RowMajor(m.gates, tokens, 1), h, b.sharedGate))
	}
	err = cmp.Or(err, e.loop(tokens, 16, m.route))
	if err != nil {
		return err
	}
	e.place(tokens)
	if !e.inPlace(tokens) {
		err = e.loop(tokens, 1+1<<13/e.Width, m.gather)
	}
	err = cmp.Or(err, e.hiddenOfExperts(h, b))
	if e.Clamp != 0 {
		err = cmp.Or(err, e.loop(len(m.gated), 1<<12, m.clamp))
	}
	for i := range b.experts {
		if at := e.rowsOf(i, tokens); at.n > 0 {
			y := qkv.RowMajor(m.out[at.row*e.Width:][:at.n*e.Width], at.n, e.Width)
			err = cmp.Or(err, e.product(y, qkv.RowMajor(m.gated[at.gated:][:at.n*at.ffn], at.n, at.ffn), b.experts[i].down))
		}
	}
	return cmp.Or(err, e.loop(tokens, 1+1<<12/e.Width, m.combine))
}

// loop runs a loop in chunks on the workers.
func (m *Model) loop(n, chunk int, do func(lo, hi int)) error { return m.engine.Parallel(n, chunk, do) }

// product32 is product in class Float32.
func (m *Model) product32(y, x qkv.Matrix, w qkv.Linear) error {
	return m.engine.MatMul(&qkv.Product{X: x, W: w.W, Packed: w.Packed, Bias: w.Bias, Y: y})
}

// routeTokens chooses experts of tokens and their weights. Until place, rows have the numbers of experts.
func (e *Engine) routeTokens(lo, hi int) {
	m := &e.mixture
	for token := lo; token < hi; token++ {
		logits := m.logits[token*e.Experts:][:e.Experts]
		top := m.ranked[token*e.ExpertsUsed:][:e.ExpertsUsed]
		top = top[:e.engine.TopK(top, logits)] // fewer, of NaNs
		weights, rows := m.weights[token*e.slots():][:e.slots()], m.rows[token*e.slots():][:e.slots()]
		for i := range rows {
			rows[i] = -1
		}
		if len(top) > 0 {
			most, sum := float64(top[0].Value), 0.0
			if e.SoftmaxAll {
				for _, x := range logits {
					sum += exp(float64(x) - most)
				}
			} else {
				for _, x := range top {
					sum += exp(float64(x.Value) - most)
				}
			}
			slices.SortFunc(top, func(a, b qkv.Ranked) int { return cmp.Compare(a.Index, b.Index) })
			for i, x := range top {
				rows[i], weights[i] = x.Index, float32(exp(float64(x.Value)-most)/sum)
			}
		}
		if e.SharedFFN != 0 {
			weights[e.ExpertsUsed] = float32(sigmoid(float64(m.gates[token])))
		}
	}
}

// place gives each slot a row.
func (e *Engine) place(tokens int) {
	m, slots := &e.mixture, e.slots()
	clear(m.next)
	for i, expert := range m.rows {
		if expert >= 0 && i%slots < e.ExpertsUsed {
			m.next[expert]++
		}
	}
	m.first[0] = 0
	for i, n := range m.next {
		m.first[i+1], m.next[i] = m.first[i]+n, m.first[i]
	}
	for i, expert := range m.rows {
		switch {
		case i%slots == e.ExpertsUsed: // the shared one
			m.rows[i] = tokens*e.ExpertsUsed + i/slots
		case expert >= 0:
			m.rows[i] = m.next[expert]
			m.next[expert]++
		}
	}
}

// An expertRows says where the rows of an expert are: the first, how many, and where they begin in gated, and their
// width there.
type expertRows struct{ row, n, gated, ffn int }

// rowsOf returns those of an expert, the shared one being the last.
func (e *Engine) rowsOf(expert, tokens int) expertRows {
	if expert == e.Experts {
		chosen := tokens * e.ExpertsUsed
		return expertRows{chosen, tokens, chosen * e.FFN, e.SharedFFN}
	}
	first := e.mixture.first[expert]
	return expertRows{first, e.mixture.first[expert+1] - first, first * e.FFN, e.FFN}
}

// inPlace tells whether experts read the tokens of a step where they are: one token that is not scaled.
func (c *Config) inPlace(tokens int) bool { return tokens == 1 && c.Clamp == 0 }

// gatherTokens copies tokens to the rows of their experts, and scales them where the gate is clamped. The shared
// expert reads them where they are.
func (e *Engine) gatherTokens(lo, hi int) {
	m := &e.mixture
	for token := lo; token < hi; token++ {
		for _, row := range m.rows[token*e.slots():][:e.ExpertsUsed] {
			if row < 0 {
				continue
			}
			to, x := m.in[row*e.Width:][:e.Width], m.h[token*e.Width:][:e.Width]
			if e.Clamp == 0 {
				copy(to, x)
				continue
			}
			for i, v := range x {
				to[i] = clampSlope * v
			}
		}
	}
}

// hiddenOfExperts computes the rows of gated, and of up where they are still to be clamped. One token is read by all
// its experts in one product.
func (e *Engine) hiddenOfExperts(h qkv.Matrix, b *block) error {
	m, tokens := &e.mixture, h.Rows()
	if m.products == nil {
		m.products = make([]qkv.Product, 0, 2*e.slots())
	}
	m.products, m.list = m.products[:0], m.list[:0]
	flush := func() error {
		if len(m.products) == 0 {
			return nil
		}
		for i := range m.products {
			m.list = append(m.list, &m.products[i])
		}
		err := e.engine.MatMul(m.list...)
		m.products, m.list = m.products[:0], m.list[:0]
		return err
	}
	var err error
	for i := range b.experts {
		at, w := e.rowsOf(i, tokens), &b.experts[i]
		if at.n == 0 {
			continue
		}
		x := h
		switch {
		case i == e.Experts || e.inPlace(tokens):
		case tokens == 1: // all rows are the same
			x = qkv.RowMajor(m.in[:e.Width], 1, e.Width)
		default:
			x = qkv.RowMajor(m.in[at.row*e.Width:][:at.n*e.Width], at.n, e.Width)
		}
		matrix := func(to []float32) qkv.Matrix { return qkv.RowMajor(to[at.gated:][:at.n*at.ffn], at.n, at.ffn) }
		if e.Clamp == 0 {
			m.products = append(m.products, e.hiddenProduct(matrix(m.gated), x, w))
		} else {
			gate := e.hiddenProduct(matrix(m.gated), x, w)
			gate.Up = qkv.Linear{}
			m.products = append(m.products, gate, qkv.Product{X: x, W: w.up.W, Packed: w.up.Packed, Bias: w.up.Bias, Precision: e.class, Y: matrix(m.up)})
		}
		if tokens > 1 {
			err = cmp.Or(err, flush())
		}
	}
	return cmp.Or(err, flush())
}

// clampSlope is what the gate is multiplied by in the sigmoid, see [Options].Clamp.
const clampSlope = 1.702

// clampGated makes gated numbers of two products, see [Options].Clamp. Since x is multiplied by the slope s before them,
// and their biases are, too, they are SiLU(s*g) and s*u. SiLU grows above 0 and is negative below, so the bound is put
// on it:
//
//	min(g, Clamp) * sigmoid(s*min(g, Clamp)) = min(SiLU(s*g), SiLU(s*Clamp)) / s
func (e *Engine) clampGated(lo, hi int) {
	limit := clampSlope * e.Clamp
	most := float32(float64(limit) * sigmoid(float64(limit)))
	gated, up := e.mixture.gated[lo:hi], e.mixture.up[lo:hi]
	for i, g := range gated {
		u := max(-limit, min(up[i], limit))
		gated[i] = (float32(u*(1/clampSlope)) + 1) * (min(g, most) * (1 / clampSlope))
	}
}

// combineTokens adds up what the experts of tokens return.
func (e *Engine) combineTokens(lo, hi int) {
	m := &e.mixture
	for token := lo; token < hi; token++ {
		y := m.h[token*e.Width:][:e.Width]
		clear(y)
		weights := m.weights[token*e.slots():]
		for i, row := range m.rows[token*e.slots():][:e.slots()] {
			if row < 0 {
				continue
			}
			w, x := weights[i], m.out[row*e.Width:][:e.Width]
			for j, v := range x {
				y[j] += float32(w * v) // rounded, so that no compiler fuses the two
			}
		}
	}
}

// sigmoid returns 1/(1+e^-x).
func sigmoid(x float64) float64 { return 1 / (1 + exp(-x)) }

// exp returns e^x within 1e-11 of it, and the same bits on every architecture, which those of [math.Exp] are not: no
// compiler may fuse a product that is rounded.
func exp(x float64) float64 {
	switch {
	case x != x:
		return x
	case x > 700:
		return math.Inf(1)
	case x < -700:
		return 0
	}
	const ln2 = math.Ln2
	n := math.Floor(float64(x*(1/ln2)) + 0.5)
	r := x - float64(n*ln2)
	p := 1.0
	for i := 10; i > 0; i-- { // a Taylor series of a number of up to ln2/2
		p = float64(float64(p*r)*inverse[i]) + 1
	}
	return p * math.Float64frombits(uint64(int(n)+1023)<<52)
}

// inverse of the numbers from 1 to 10.
var inverse = [...]float64{1: 1, 1. / 2, 1. / 3, 1. / 4, 1. / 5, 1. / 6, 1. / 7, 1. / 8, 1. / 9, 1. / 10}
