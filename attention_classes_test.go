package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// attentionClasses are the classes of attention.
var attentionClasses = []qkv.Precision{qkv.PrecisionFloat32, qkv.PrecisionInt8, qkv.PrecisionBFloat16}

// withIntegers reports whether class Int8 multiplies keys of a type as integers.
func withIntegers(typ qkv.ElemType) bool { return slices.Contains(scaledTypes, typ) }

// An int8Block is a block of 32 integers, the last ones of a row 0, which stand for d*q + least.
type int8Block struct {
	q        [32]float64
	d, least float64
}

// int8Query returns the blocks of a query as class Int8 has them. The least of a block is the sum of its values.
func int8Query(row []float32, factor float32) (blocks []int8Block) {
	for len(row) > 0 {
		n := min(32, len(row))
		var x [32]float32
		most := float32(0)
		for i := range n {
			x[i] = row[i] * factor
			most = max(most, float32(math.Abs(float64(x[i]))))
		}
		var b int8Block
		sum := 0.0
		if inverse := 127 / most; inverse <= math.MaxFloat32 {
			b.d = float64(most / 127)
			for i, x := range x {
				b.q[i] = math.RoundToEven(float64(x * inverse))
				sum += b.q[i]
			}
		}
		b.least = float64(float32(b.d * sum))
		blocks, row = append(blocks, b), row[n:]
	}
	return blocks
}

// int8Key returns the blocks that a row is in a type.
func int8Key(typ qkv.ElemType, row []float32) (blocks []int8Block) {
	block := func(d, least float64, q func(i int) int) {
		b := int8Block{d: d, least: least}
		for i := range min(32, len(row)-32*len(blocks)) {
			b.q[i] = float64(q(i))
		}
		blocks = append(blocks, b)
	}
	half := func(x uint16) float64 { return float64(qkv.Float16(x).Float32()) }
	p := newPool(typ, [4]int{1, 1, 1, len(row)})
	p.set(0, 0, 0, row)
	for i := range (len(row) + 31) / 32 {
		switch typ {
		case qkv.TypeInt8:
			block(float64(p.scales[0]), 0, func(j int) int { return int(p.ints[32*i+j]) })
		case qkv.TypeQ8_0:
			block(half(p.blocks[i].Scale), 0, func(j int) int { return int(p.blocks[i].Quants[j]) })
		case qkv.TypeQ4_0:
			block(half(p.q4[i].Scale), 0, func(j int) int { return int(p.q4[i].Quants[j%16]>>(j/16*4)&15) - 8 })
		case qkv.TypeQ4_1:
			block(half(p.q41[i].Scale), half(p.q41[i].Min), func(j int) int { return int(p.q41[i].Quants[j%16] >> (j / 16 * 4) & 15) })
		}
	}
	return blocks
}

// factor returns what queries are multiplied by as they are packed, and the units of the scores then.
func (p *problem) factor(scale float64) (factor float32, unit float64) {
	if unit = math.Log2E / 2; p.scoreMod != nil {
		unit = 1
	}
	return float32(float64(float32(scale)) * unit), unit
}

// roundQuery sets q to a scaled query as class BFloat16 multiplies it.
func (p *problem) roundQuery(q []float64, row []float32, scale float64) {
	factor, unit := p.factor(scale)
	for d, x := range row {
		q[d] = float64(kernel.Brain(x*factor)) / unit
	}
}

// roundsValues reports whether weights and values are rounded to bfloat16.
func (p *problem) roundsValues() bool {
	return p.precision == qkv.PrecisionBFloat16 || p.valuePrecision == qkv.PrecisionBFloat16
}

// multiplied returns a key or a value as it is multiplied, rounded to bfloat16 or not.
func multiplied(x float32, rounded bool) float64 {
	if rounded {
		x = kernel.Brain(x)
	}
	return float64(x)
}

// int8Scores returns what computes the score of a query and a key in class Int8, without the rounding of what the
// class quantises, and a bound of the error: the product of two scales is rounded, and a sum after each block and
// after each minimum.
func (p *problem) int8Scores(query []float32, scale float64, key func(j int) []float32) func(j int) (x, e float64) {
	factor, unit := p.factor(scale)
	queries := int8Query(query, factor)
	return func(j int) (x, e float64) {
		size := 0.0
		for b, k := range int8Key(p.keys, key(j)) {
			q, sum := &queries[b], 0.0
			for i := range q.q {
				sum += q.q[i] * k.q[i]
			}
			y, least := sum*k.d*q.d, k.least*q.least
			x += y + least
			size += math.Abs(y) + math.Abs(least)
			e += u*math.Abs(y) + 2*u*size
		}
		return x / unit, e/unit + 0x1p-140
	}
}

// An integerSum is what class Int8 adds to the error of weighted values by quantising the weights, in blocks of 32
// keys: at most half a step of a 127th of the largest weight times its scale, for each integer.
type integerSum struct {
	block int       // of the keys
	most  []float64 // of each block of 32 dims
	size  []float64 // of each dim, the sum of the magnitudes of integers
}

// add adds the value of a key to a row, for a weight that is off by e at most.
func (x *integerSum) add(r *row, key int, w, e float64, value []int8Block) {
	if key/32 != x.block || x.most == nil {
		x.end(r)
		x.block, x.most, x.size = key/32, make([]float64, len(value)), make([]float64, len(r.out))
	}
	for b := range value {
		v := &value[b]
		x.most[b] = max(x.most[b], (w+e)*math.Abs(v.d))
		for i := range min(32, len(r.out)-32*b) {
			d, product := 32*b+i, v.q[i]*v.d
			r.out[d] += w * (product + v.least)
			r.outTol[d] += e * (math.Abs(product) + math.Abs(v.least))
			x.size[d] += math.Abs(v.q[i])
		}
	}
}

// end adds what a block costs.
func (x *integerSum) end(r *row) {
	for d, size := range x.size {
		r.outTol[d] += (x.most[d/32]/254*(1+1e-4) + 0x1p-120) * size
	}
}

// inInt8 makes keys of p those of a type with integers, and p one of class Int8.
func (p *problem) inInt8(typ qkv.ElemType) *problem {
	p.precision, p.keys = qkv.PrecisionInt8, typ
	return p
}

// sampleClasses calls f with n problems of a few features each of class Int8 with keys of each type of integers,
// and of class BFloat16.
func sampleClasses(t *testing.T, n int, f func(t *testing.T, seed uint64, p *problem)) {
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 31))
		which := feature(r.Uint32()) & (1<<features - 1)
		which &= feature(r.Uint32())
		if seed < features {
			which = feature(1) << seed
		}
		most := drawn(r, sizes{seqQ: 150, seqKV: 300}, sizes{seqQ: 6, seqKV: 1300})
		most.dims, most.dimStep = 140, 1
		typ := append(scaledTypes, qkv.TypeFloat32)[seed%5]
		if inBlocks(typ) {
			most.dims, most.dimStep = 5, 32
		}
		p := fuzzFeaturesOf(which, r.Uint64(), seed, most)
		if p.precision = qkv.PrecisionBFloat16; typ != qkv.TypeFloat32 {
			p.inInt8(typ)
			switch r.IntN(5) {
			case 0, 1:
				p.values = typ
			case 2, 3:
				if p.values = qkv.TypeInt8; r.IntN(2) == 0 {
					p.keys = qkv.TypeFloat32
				}
			}
			p.valuePrecision = drawn(r, attentionClasses...)
		}
		t.Run(fmt.Sprintf("seed=%d,class=%v,values=%v,k=%v,v=%v,with=%v", seed, p.precision, p.valuePrecision, p.keys, p.values, which), func(t *testing.T) { f(t, seed, p) })
	}
}

// TestAttentionClasses: attention of a class is that of what the class makes of queries, keys and values, with any
// features.
func TestAttentionClasses(t *testing.T) {
	t.Parallel()
	n := 120
	if brief() {
		n = 30
	}
	var worst [3][3]float64 // by class and class of values
	sampleClasses(t, n, func(t *testing.T, seed uint64, p *problem) {
		w := &worst[p.precision][p.valuePrecision]
		*w = max(*w, p.checkFeatures(t, seed))
	})
	t.Logf("largest error: %.3g of its bound of class Int8 by values in float32, integers and bfloat16, %.3g of class BFloat16", worst[qkv.PrecisionInt8], worst[qkv.PrecisionBFloat16][0])
}

// TestSameBitsAttentionClasses: a class has the same bits on every set, of any number of workers, of rows alone and
// of heads alone.
func TestSameBitsAttentionClasses(t *testing.T) {
	t.Parallel()
	n := 40
	if brief() {
		n = 10
	}
	sampleClasses(t, n, func(t *testing.T, seed uint64, p *problem) {
		p.checkSameSample(t, rand.New(rand.NewPCG(seed, 32)), p.sets())
	})
	if brief() {
		return
	}
	for i, typ := range append(scaledTypes, qkv.TypeFloat32) {
		for _, d := range []dims{{1, 8, 2, 1, 1100, 64, 32}, {1, 4, 1, 3, 300, 320, 16}, {1, 2, 2, 90, 200, 576, 20}} {
			p := newProblem(d, "bshd", bottomRight, normal(uint64(i)))
			if p.precision = qkv.PrecisionBFloat16; typ != qkv.TypeFloat32 {
				p.inInt8(typ)
				if d.dimV%32 == 0 || !inBlocks(typ) {
					p.values = typ
				}
				p.valuePrecision = attentionClasses[1+(i+d.seqQ)%2]
			}
			t.Run(fmt.Sprintf("class=%v,values=%v,k=%v,v=%v,%v", p.precision, p.valuePrecision, typ, p.values, d), func(t *testing.T) { p.checkSame(t) })
		}
	}
}

// TestInt8AttentionError: scores of class Int8 are off by what quantising the query costs, half a step of a block
// for each dim, and roundings.
func TestInt8AttentionError(t *testing.T) {
	const queries, keys, dim = 3, 50, 96
	for _, typ := range scaledTypes {
		p := newProblem(dims{1, 2, 1, queries, keys, dim, 8}, "bhsd", none, normal(uint64(typ)))
		p.scale = 1
		x := converted(p.k, typ)
		p.inInt8(typ).scores = newTensor("bhsd", 1, 2, queries, keys, nil)
		p.run(t, newAttention(t, qkv.Config{}))
		worst := 0.0
		for h := range 2 {
			for i := range queries {
				for j := range keys {
					exact, bound := 0.0, 0.0
					for b := 0; b < dim; b += 32 {
						most, size := 0.0, 0.0
						for d := b; d < b+32; d++ {
							q, k := float64(p.q.at(0, h, i, d)), float64(x.at(0, 0, j, d))
							exact += q * k
							most, size = max(most, math.Abs(q)), size+math.Abs(k)
						}
						bound += most / 254 * size * (1 + 1e-4)
					}
					e := math.Abs(float64(p.scores.at(0, h, i, j)) - exact)
					worst = max(worst, e/bound)
					if e > bound {
						t.Fatalf("%v: score of head %d, query %d, key %d is off by %g, at most %g is right", typ, h, i, j, e, bound)
					}
				}
			}
		}
		t.Logf("%v: largest error %.2g of its bound", typ, worst)
	}
}

// TestBFloat16AttentionError: scores, log-sum-exps and outputs of class BFloat16 are off from those of operands that are
// not rounded by what rounding queries, keys, weights and values costs, and by roundings of float32: by few queries,
// which are decoded, and many.
func TestBFloat16AttentionError(t *testing.T) {
	const keys, dim, dimV = 300, 96, 8
	for _, queries := range []int{1, 70} {
		p := newProblem(dims{1, 2, 1, queries, keys, dim, dimV}, "bhsd", bottomRight, normal(uint64(queries)))
		p.precision = qkv.PrecisionBFloat16
		p.scores = newTensor("bhsd", 1, 2, queries, keys, nil)
		p.run(t, newAttention(t, qkv.Config{}))
		scale := 1 / math.Sqrt(dim)
		s := p.sequence(0)
		var worst [3]float64 // of scores, log-sum-exps and outputs
		check := func(i int, what string, h, q int, got, want, bound float64) {
			t.Helper()
			off := math.Abs(got - want)
			if worst[i] = max(worst[i], off/bound); !(off <= bound) {
				t.Fatalf("%s of head %d, query %d is off by %g, at most %g is right", what, h, q, off, bound)
			}
		}
		for h := range 2 {
			for q := range queries {
				x, e := make([]float64, keys), make([]float64, keys)
				top := math.Inf(-1)
				for j := range keys {
					for d := range dim {
						y := scale * float64(p.q.at(0, h, q, d)) * float64(p.k.at(0, 0, j, d))
						x[j] += y
						e[j] += (0x1p-7 + 0x1p-16 + 4*u) * math.Abs(y)
					}
					check(0, "a score", h, q, float64(p.scores.at(0, h, q, j)), x[j], e[j])
					if p.masked(&s, h, q, j) {
						x[j] = math.Inf(-1)
					}
					top = max(top, x[j])
				}
				sum, most := 0.0, 0.0
				for j, x := range x {
					sum += math.Exp(x - top)
					most += math.Exp(x - top + e[j])
				}
				common := math.Log(most / sum)
				const rounded = 64 * u // exp2, sums in blocks and what else is rounded to float32
				check(1, "log-sum-exp", h, q, float64(p.lse[p.lseIndex(&s, h, q)]), top+math.Log(sum), common+rounded)
				for d := range dimV {
					want, bound := 0.0, 0.0
					for j, x := range x {
						w, v := math.Exp(x-top)/sum, float64(p.v.at(0, 0, j, d))
						want += w * v
						bound += (w*(math.Exp(e[j]+common+rounded)*(1+0x1p-8)*(1+0x1p-8)-1) + 0x1p-56/sum) * math.Abs(v)
					}
					check(2, "an output", h, q, float64(p.out.at(0, h, q, d)), want, bound)
				}
			}
		}
		t.Logf("%d queries: largest error %.2g of the bound of scores, %.2g of log-sum-exps, %.2g of outputs", queries, worst[0], worst[1], worst[2])
	}
}

// TestAttentionClassesNotFinite: a NaN or an infinity in a query makes its row NaN and no other. A scale of a key
// that is NaN does so with rows that attend the key.
func TestAttentionClassesNotFinite(t *testing.T) {
	for _, precision := range []qkv.Precision{qkv.PrecisionInt8, qkv.PrecisionBFloat16} {
		for _, typ := range scaledTypes {
			for _, queries := range fewAndMany {
				for _, set := range classSets() {
					a := newAttention(t, qkv.Config{Kernel: set})
					for _, poison := range poisons {
						p, k, _ := scaled(typ, queries, bottomRight)
						p.precision = precision
						out, lse := p.run(t, a)
						at, row := p.q.index(0, 2, queries-1, 40), 3*queries-1
						old := p.q.data[at]
						p.q.data[at] = poison
						got, gotLSE := p.run(t, a)
						for r := range 4 * queries {
							x, y := got[64*r:][:64], gotLSE[r:][:1]
							if r != row {
								sameBits(t, "out of another row", x, out[64*r:][:64])
								sameBits(t, "lse of another row", y, lse[r:][:1])
							} else if precision == qkv.PrecisionInt8 || poison != poison {
								if !slices.ContainsFunc(y, isNaN) || slices.ContainsFunc(x, func(x float32) bool { return x == x }) {
									t.Fatalf("class %v, %v, %v in a query: out %v, lse %v", precision, typ, poison, x, y)
								}
							}
						}
						p.q.data[at] = old
						k.setScale(0, 1, 20, nan)
						got, gotLSE = p.run(t, a)
						for r := range 4 * queries {
							attends := r >= 2*queries && 37-queries+r%queries >= 20
							if isNaN(gotLSE[r]) != attends || isNaN(got[64*r]) != attends {
								t.Fatalf("class %v, %v, scale NaN of key 20: row %d has out %v, lse %v", precision, typ, r, got[64*r], gotLSE[r])
							}
						}
					}
				}
			}
		}
	}
}

func isNaN(x float32) bool { return x != x }

// TestExplainClasses: a plan says the class, and what it does.
func TestExplainClasses(t *testing.T) {
	p := kvProblem(3, none)
	k, v := pools(qkv.TypeInt8, [4]int{1, 2, 37, 64})
	c := p.call()
	for _, x := range []struct {
		precision qkv.Precision
		integers  bool          // keys that have some
		asked     qkv.Precision // of values
		values    bool          // values that have some
		want      string
	}{
		{qkv.PrecisionFloat32, false, qkv.PrecisionFloat32, false, ""},
		{qkv.PrecisionInt8, true, qkv.PrecisionFloat32, false, "class Int8: what was asked for; keys are multiplied as integers, by queries that are quantised in blocks of 32 dims"},
		{qkv.PrecisionInt8, false, qkv.PrecisionFloat32, true, "class Int8: what was asked for; keys of type float32 have no integers, and are multiplied as in class Float32"},
		{qkv.PrecisionInt8, true, qkv.PrecisionInt8, true, "class Int8: what was asked for; keys are multiplied as integers, by queries that are quantised in blocks of 32 dims; values are multiplied as integers, by weights that are quantised in blocks of 32 keys"},
		{qkv.PrecisionInt8, true, qkv.PrecisionBFloat16, true, "class Int8: what was asked for; keys are multiplied as integers, by queries that are quantised in blocks of 32 dims; weights and values are rounded to bfloat16"},
		{qkv.PrecisionInt8, true, qkv.PrecisionInt8, false, "class Int8: what was asked for; keys are multiplied as integers, by queries that are quantised in blocks of 32 dims; values of type float32 have no integers, and are multiplied as in class Float32"},
		{qkv.PrecisionBFloat16, false, qkv.PrecisionFloat32, false, "class BFloat16: what was asked for; queries, keys, weights and values are rounded"},
	} {
		if c.K, c.KScale = p.k.view(), (qkv.View{}); x.integers {
			c.K, c.KScale = k.views()
		}
		if c.V, c.VScale = p.v.view(), (qkv.View{}); x.values {
			c.V, c.VScale = v.views()
		}
		c.Precision, c.ValuePrecision = x.precision, x.asked
		plan, err := newAttention(t, qkv.Config{}).Explain(c)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Precision != x.precision || plan.Values != x.asked || strings.Contains(plan.String(), fmt.Sprintf(" with values in %v:", x.asked)) != (x.asked != 0) || strings.Contains(plan.String(), "in class ") != (x.want != "") {
			t.Errorf("class %v: plan %v", x.precision, plan)
		}
		if x.want != "" && !slices.Contains(plan.Why, x.want) {
			t.Errorf("class %v: why %q", x.precision, plan.Why)
		}
	}
}

// TestValuesNotFinite: a scale of a value that is no number makes NaN, or an infinity, of the dims that it scales, in rows
// that attend the value, and of no other, in each class of values.
func TestValuesNotFinite(t *testing.T) {
	for _, values := range attentionClasses {
		for _, typ := range scaledTypes {
			for _, queries := range fewAndMany {
				for _, set := range classSets() {
					checkValuesNotFinite(t, set, values, typ, queries)
				}
			}
		}
	}
}

func checkValuesNotFinite(t *testing.T, set string, values qkv.Precision, typ qkv.ElemType, queries int) {
	a := newAttention(t, qkv.Config{Kernel: set})
	for _, poison := range poisons {
		p, k, v := scaled(typ, queries, bottomRight)
		p.precision, p.valuePrecision = qkv.PrecisionInt8, values
		p.change = func(c *qkv.Call) {
			c.K, c.KScale = k.views()
			c.V, c.VScale = v.views()
		}
		out, lse := p.run(t, a)
		const token = 20
		v.setScale(0, 1, token, poison)
		got, gotLSE := p.run(t, a)
		sameBits(t, "lse", gotLSE, lse)
		for r := range 4 * queries {
			attends := r >= 2*queries && 37-queries+r%queries >= token
			for d, x := range got[64*r:][:64] {
				bad := attends && (typ == qkv.TypeInt8 || d < 32)
				// A product of integers that is not 0 is one by NaN. Of floats, and where the Min is infinite, it may be infinite.
				onlyNaN := values == qkv.PrecisionInt8 && typ != qkv.TypeQ4_1 || poison != poison
				switch {
				case bad && x-x == 0, bad && onlyNaN && !isNaN(x), !bad && x != out[64*r+d]:
					t.Fatalf("%v in %v on %s: scale %v: row %d, dim %d is %v, was %v", typ, values, set, poison, r, d, x, out[64*r+d])
				}
			}
		}
	}
}

// checkOutput holds the output of a problem against the rows of one, which may be another, within a bound of each dim.
func checkOutput(t *testing.T, p, exact *problem, bound func(r *row, d int) float64) {
	t.Helper()
	worst, size := 0.0, 0.0
	for h := range p.out.shape[1] {
		for i := range p.out.shape[2] {
			r := exact.row(0, h, i)
			for d, want := range r.out {
				off, most := math.Abs(float64(p.out.at(0, h, i, d))-want), bound(&r, d)
				if !(off <= most) {
					t.Fatalf("%v: head %d, query %d, dim %d is off by %g, at most %g is right", p.values, h, i, d, off, most)
				}
				worst, size = max(worst, off/most), max(size, off)
			}
		}
	}
	t.Logf("%v: largest error %.2g, %.2g of its bound", p.values, size, worst)
}

// TestIntegerValuesError: weighted values as integers are off by what quantising the weights costs, half a step of a
// 127th of the largest weight times its scale of 32 keys for each integer, and roundings.
func TestIntegerValuesError(t *testing.T) {
	const queries, keys, dim = 3, 200, 64
	e := newAttention(t, qkv.Config{})
	for _, typ := range scaledTypes {
		p := newProblem(dims{1, 2, 1, queries, keys, dim, dim}, "bhsd", none, normal(uint64(typ)))
		p.precision, p.valuePrecision, p.values, p.known = qkv.PrecisionInt8, qkv.PrecisionInt8, typ, map[[3]int]row{}
		p.run(t, e)
		checkOutput(t, p, p, func(r *row, d int) float64 { return r.outTol[d] })
	}
}

// TestRoundedValuesError: weighted values in bfloat16 are off by what rounding the weights and the values costs, 2^-8 of
// each, and roundings.
func TestRoundedValuesError(t *testing.T) {
	const queries, keys, dim = 3, 200, 64
	e := newAttention(t, qkv.Config{})
	for _, typ := range scaledTypes {
		p := newProblem(dims{1, 2, 1, queries, keys, dim, dim}, "bhsd", none, normal(uint64(typ)))
		p.precision, p.values = qkv.PrecisionInt8, typ
		exact := *p
		exact.known = map[[3]int]row{}
		p.valuePrecision = qkv.PrecisionBFloat16
		p.run(t, e)
		checkOutput(t, p, &exact, func(r *row, d int) float64 {
			sum := 0.0
			for j, w := range r.scores[qkv.StageProbs] {
				sum += w * math.Abs(float64(stored(typ, rowOf(p.v, 0, 0, j))[d]))
			}
			return (0x1p-7+0x1p-16)*sum*(1+1e-4) + r.outTol[d]
		})
	}
}

// TestIntegerValuesBeforeWindow: scales of values before the first key that is attended, in the same block of 32, change nothing,
// and the one of that key does. The lanes of a vector have the rows of two KV heads.
func TestIntegerValuesBeforeWindow(t *testing.T) {
	const heads, kvHeads, keys, dim, first = 8, 2, 200, 64, 130
	q, k, v := draw(heads*dim, normal(1)), make([]int8, kvHeads*keys*dim), make([]int8, kvHeads*keys*dim)
	for i := range k {
		k[i], v[i] = int8(37*i), int8(91*i)
	}
	scales := func(before int, bad float32) []float32 {
		x := slices.Repeat([]float32{0.01}, kvHeads*keys)
		for h := range kvHeads {
			for j := range before {
				x[h*keys+j] = bad
			}
		}
		return x
	}
	for _, set := range classSets() {
		e := newAttention(t, qkv.Config{Kernel: set, Workers: 1})
		run := func(before int, bad float32) []float32 {
			out := make([]float32, heads*dim)
			must(e.Run(&qkv.Call{
				Q: qkv.BHSD(q, 1, heads, 1, dim), K: qkv.BHSD(k, 1, kvHeads, keys, dim), V: qkv.BHSD(v, 1, kvHeads, keys, dim), Out: qkv.BHSD(out, 1, heads, 1, dim),
				KScale: qkv.BHSD(scales(0, 0), 1, kvHeads, keys, 1), VScale: qkv.BHSD(scales(before, bad), 1, kvHeads, keys, 1),
				Precision: qkv.PrecisionInt8, ValuePrecision: qkv.PrecisionInt8,
				Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight, Window: qkv.Sliding(keys-1-first, 0)},
			}))
			return out
		}
		want := run(0, 0)
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), 1e30} {
			sameBits(t, fmt.Sprintf("%s, scales of %v before the window", set, bad), run(first, bad), want)
		}
		if x := run(first+1, float32(math.NaN())); !math.IsNaN(float64(x[0])) {
			t.Errorf("%s: a NaN in the scale of the first key does not show", set)
		}
	}
}
