package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

const lowest = -math.MaxFloat32

// scored returns a call of one query whose scores are the keys. Its values are the unit
// vectors, so that its output is the weights.
func scored(scores ...float32) *qkv.Call {
	n := len(scores)
	v := make([]float32, n*n)
	for j := range n {
		v[j*n+j] = 1
	}
	return &qkv.Call{
		Q: qkv.BHSD([]float32{1}, 1, 1, 1, 1), K: qkv.BHSD(scores, 1, 1, n, 1), V: qkv.BHSD(v, 1, 1, n, n),
		Scale: 1,
	}
}

// valued returns a call of one query and equal scores, of values of one dim.
func valued(values ...float32) *qkv.Call {
	c := scored(make([]float32, len(values))...)
	c.V = qkv.BHSD(values, 1, 1, len(values), 1)
	return c
}

// biased adds a bias to each key.
func biased(c *qkv.Call, bias ...float32) *qkv.Call {
	c.Bias = qkv.Pairs(bias, 1, 1, 1, len(bias))
	return c
}

func sunk(c *qkv.Call, sink float32) *qkv.Call {
	c.Sinks = []float32{sink}
	return c
}

func capped(c *qkv.Call, softcap float32) *qkv.Call {
	c.Softcap = softcap
	return c
}

// of returns a callback that makes values of what it gets, by key.
func of(values ...float32) func(*qkv.ScoreBlock) {
	return func(t *qkv.ScoreBlock) {
		t.Each(func(_, _, key int, _ float32) float32 { return values[key] })
	}
}

func scoreMod(c *qkv.Call, values ...float32) *qkv.Call {
	c.ScoreMod = of(values...)
	return c
}

func probMod(c *qkv.Call, values ...float32) *qkv.Call {
	c.ProbMod = of(values...)
	return c
}

// gives runs a call of one row and compares its output and its log-sum-exp, to what the class rounds: of one head, which
// is decoded, and of so many that share the keys that it is not.
func gives(t *testing.T, a *subject, c *qkv.Call, lse float64, out ...float32) {
	t.Helper()
	sinks := c.Sinks
	a.convert(t, c)
	for _, heads := range []int{1, 40} {
		n, dim := c.V.Shape()[3], c.Q.Shape()[3]
		got, gotLSE := all(canary, heads*n), all(canary, heads)
		q := make([]float32, heads*dim)
		for i := range q {
			q[i] = c.Q.At(0, 0, 0, i%dim)
		}
		c.Q = qkv.BHSD(q, 1, heads, 1, dim)
		if sinks != nil {
			c.Sinks = all(sinks[0], heads)
		}
		c.Out, c.LSE = qkv.BHSD(got, 1, heads, 1, n), gotLSE
		if err := a.Run(c); err != nil {
			t.Fatal(err)
		}
		for h := range heads {
			row := got[h*n:][:n]
			for d, want := range out {
				if x := row[d]; !a.near(float64(x), float64(want), out) || math.Float32bits(x) == 1<<31 {
					t.Fatalf("of %d heads, out %g, want %g", heads, row, out)
				}
			}
			if !a.near(float64(gotLSE[h]), lse, nil) {
				t.Fatalf("of %d heads, lse %g, want %g", heads, gotLSE[h], lse)
			}
		}
	}
}

// sameWith requires the bits of a problem's results not to change.
func sameWith(t *testing.T, a *subject, p *problem, change func()) {
	t.Helper()
	a.prepare(p)
	out, lse := p.run(t, a.Engine)
	change()
	gotOut, gotLSE := p.run(t, a.Engine)
	sameBits(t, "out", gotOut, out)
	sameBits(t, "lse", gotLSE, lse)
}

var (
	infinite  = math.Inf(1)
	undefined = math.NaN()
)

// contract has a test for each case of the tables in docs/numerics.md, by its name.
var contract = map[string]func(t *testing.T, a *subject){
	"row without a key: there is none, or none that mask, lengths and bias keep": func(t *testing.T, a *subject) {
		no := math.Inf(-1)
		none := scored()
		none.V = qkv.BHSD([]float32{}, 1, 1, 0, 2)
		gives(t, a, none, no, 0, 0)
		gives(t, a, biased(scored(1, 2), negInf, negInf), no, 0, 0)
		for _, m := range []qkv.Mask{
			causalAt(-1),
			{Window: qkv.Sliding(0, 0), Align: qkv.AlignOffset, Offset: 2},
			{SegmentsQ: []int32{1}, SegmentsKV: []int32{0, 2}},
			{Blocks: newBlocks(1, 1, [4]int{1, 1, 1, 2}, func(_, _, _, _ int) bool { return false }).BlockMask},
			{Keep: qkv.Pairs([]bool{false}, 1, 1, 1, 1)},
		} {
			c := scored(nan, 2)
			c.Mask = m
			gives(t, a, c, no, 0, 0)
		}
		c := scored(nan, 2)
		c.LensKV = []int{0}
		gives(t, a, c, no, 0, 0)
		c = scored(nan, 2)
		c.CuLensQ, c.CuLensKV = []int{0, 1}, []int{1, 1}
		gives(t, a, c, no, 0, 0)
	},
	"row without a key, but with a sink": func(t *testing.T, a *subject) {
		for _, sink := range []float32{0, 3, -200, math.MaxFloat32, lowest} {
			c := sunk(scored(nan, 2), sink)
			c.Mask = causalAt(-1)
			gives(t, a, c, float64(sink), 0, 0)
			gives(t, a, sunk(biased(scored(1, 2), negInf, negInf), sink), float64(sink), 0, 0)
		}
	},
	"row of padding, whatever else it has": func(t *testing.T, a *subject) {
		c := biased(sunk(scored(nan, posInf), nan), nan, nan)
		c.LensQ = []int{0}
		gives(t, a, c, math.Inf(-1), 0, 0)
	},
	"no batch, no head or no query": func(t *testing.T, a *subject) {
		for _, d := range []dims{{0, 2, 2, 5, 5, 8, 8}, {1, 0, 0, 5, 5, 8, 8}, {1, 2, 2, 0, 5, 8, 8}} {
			p := newProblem(d, "bhsd", bottomRight, normal(1))
			p.scores = newTensor("bhsd", d.batch, d.heads, d.seqQ, d.seqKV, nil)
			p.sinks, p.alibi = make([]float32, d.heads), make([]float32, d.heads)
			a.prepare(p)
			if out, lse := p.run(t, a.Engine); len(out)+len(lse) != 0 {
				t.Errorf("%v: %d outputs", d, len(out)+len(lse))
			}
		}
	},
	"NaN or Inf in a key or value that the row does not attend": func(t *testing.T, a *subject) {
		seeds := uint64(6)
		if brief() {
			seeds = 2
		}
		for _, which := range []feature{
			withCausal, withCausal | withPrefix, withWindow, withSegments, withBlocks, withKeep, withBias, withBias16, withLens, withRagged,
			withCausal | withSoftcap | withALiBi | withBias | withScoreMod | withSinks | withProbMod,
		} {
			for seed := range seeds {
				r := rand.New(rand.NewPCG(seed, uint64(which)))
				testMaskedPoison(t, a, fuzzFeatures(which, r.Uint64(), seed), r)
			}
		}
	},
	"NaN or Inf in a page beyond the last key of its sequence, or in a page of none": testUnusedTokens,
	"NaN or Inf in a key or value that a ring has overwritten":                       testOverwritten,
	"NaN or Inf in the scale of a key or value that the row does not attend":         testUnattendedScale,
	"NaN in the scale of a key that the row attends": func(t *testing.T, a *subject) {
		testScale(t, a, false, func(qkv.ElemType, int) bool { return true }, true)
	},
	"NaN in the scale of a value that the row attends": func(t *testing.T, a *subject) {
		testScale(t, a, true, func(typ qkv.ElemType, d int) bool { return typ == qkv.TypeInt8 || d < 32 }, false)
	},
	"NaN in the query, or in a key that the row attends": func(t *testing.T, a *subject) {
		gives(t, a, scored(1, nan, 2), undefined, nan, nan, nan)
		c := scored(1, 2)
		c.Q = qkv.BHSD([]float32{nan}, 1, 1, 1, 1)
		gives(t, a, sunk(c, 3), undefined, nan, nan)
	},
	"NaN in a value that the row attends": func(t *testing.T, a *subject) {
		if a.values == qkv.PrecisionInt8 {
			return // an integer is none
		}
		c := scored(100, -100)
		c.V = qkv.BHSD([]float32{1, 2, nan, 3}, 1, 1, 2, 2)
		gives(t, a, c, 100, nan, 2)
	},
	"Inf in a value that the row attends": func(t *testing.T, a *subject) {
		if a.values == qkv.PrecisionInt8 {
			return
		}
		gives(t, a, valued(1, posInf), math.Ln2, posInf)
		gives(t, a, valued(negInf, posInf), math.Ln2, nan)
		c := scored(100, -100)
		c.V = qkv.BHSD([]float32{1, posInf}, 1, 1, 2, 1)
		gives(t, a, c, 100, nan)
	},
	"score of +Inf": func(t *testing.T, a *subject) {
		gives(t, a, scored(posInf, 0), undefined, nan, nan)
		gives(t, a, sunk(scored(posInf, 0), 1), undefined, nan, nan)
	},
	"score of -Inf": func(t *testing.T, a *subject) {
		gives(t, a, scored(negInf, 0, 0), math.Ln2, 0, .5, .5)
		c := scored(negInf, 0)
		c.V = qkv.BHSD([]float32{nan, 1}, 1, 1, 2, 1)
		gives(t, a, c, 0, nan)
	},
	"all scores -Inf": func(t *testing.T, a *subject) {
		gives(t, a, scored(negInf, negInf), math.Inf(-1), 0, 0)
		gives(t, a, sunk(scored(negInf, negInf), 2), 2, 0, 0)
		c := scored(negInf, negInf)
		c.V = qkv.BHSD([]float32{1, posInf}, 1, 1, 2, 1)
		gives(t, a, c, math.Inf(-1), nan)
	},
	"scores as large as float32 holds": func(t *testing.T, a *subject) {
		big := float32(math.MaxFloat32)
		if a.precision == qkv.PrecisionBFloat16 {
			big = 0x1.fep127
		}
		gives(t, a, scored(big, -big, 0), float64(big), 1, 0, 0)
		gives(t, a, scored(-big, -big), float64(-big), .5, .5)
		gives(t, a, sunk(scored(big, big), 0), float64(big), .5, .5)
		gives(t, a, scoreMod(scored(0, 0), math.MaxFloat32, lowest), math.MaxFloat32, 1, 0)
	},
	"score of +Inf or -Inf under a softcap": func(t *testing.T, a *subject) {
		e := math.Exp(-4)
		gives(t, a, capped(scored(posInf, negInf), 2), 2+math.Log1p(e), float32(1/(1+e)), float32(e/(1+e)))
	},
	"score of NaN under a softcap": func(t *testing.T, a *subject) {
		gives(t, a, capped(scored(nan, 1), 2), undefined, nan, nan)
	},
	"bias of -Inf": func(t *testing.T, a *subject) {
		gives(t, a, biased(scored(0, nan, 0), 0, negInf, 0), math.Ln2, .5, 0, .5)
		gives(t, a, biased(scored(0, posInf, 0), 0, negInf, 0), math.Ln2, .5, 0, .5)
		gives(t, a, biased(valued(1, nan), 0, negInf), 0, 1)
	},
	"bias of the lowest finite number": func(t *testing.T, a *subject) {
		gives(t, a, biased(scored(0, 5, 0), 0, lowest, 0), math.Ln2, .5, 0, .5)
		gives(t, a, biased(scored(0, 5), lowest, lowest), lowest, .5, .5)
		gives(t, a, biased(valued(1, nan), 0, lowest), 0, nan)
	},
	"bias of +Inf": func(t *testing.T, a *subject) {
		gives(t, a, biased(scored(0, 0), posInf, 0), undefined, nan, nan)
	},
	"bias of NaN": func(t *testing.T, a *subject) {
		gives(t, a, biased(scored(0, 0), nan, 0), undefined, nan, nan)
	},
	"NaN or Inf in a bias of a pair that the mask takes away": func(t *testing.T, a *subject) {
		for _, poison := range []float32{nan, posInf, negInf} {
			p := keptProblem()
			p.bias = formed("contiguous", p.keep.shape, p.keep.shape, func() float32 { return 0.5 })
			sameWith(t, a, p, func() {
				for i, kept := range p.keep.data {
					if !kept {
						p.bias.data[i] = poison
					}
				}
			})
		}
	},
	"sink of -Inf": func(t *testing.T, a *subject) {
		gives(t, a, sunk(scored(0, 0), negInf), math.Ln2, .5, .5)
		gives(t, a, sunk(scored(negInf), negInf), math.Inf(-1), 0)
	},
	"sink of +Inf or NaN": func(t *testing.T, a *subject) {
		for _, sink := range []float32{nan, posInf} {
			gives(t, a, sunk(scored(0, 0), sink), undefined, nan, nan)
			gives(t, a, sunk(biased(scored(0, 0), negInf, negInf), sink), undefined, nan, nan)
			gives(t, a, probMod(sunk(scored(0, 0), sink), 1, 1), undefined, nan, nan)
		}
	},
	"sink as large as float32 holds": func(t *testing.T, a *subject) {
		gives(t, a, sunk(scored(0, 0), math.MaxFloat32), math.MaxFloat32, 0, 0)
		gives(t, a, sunk(scored(0, 0), lowest), math.Ln2, .5, .5)
	},
	"ScoreMod returns NaN or +Inf": func(t *testing.T, a *subject) {
		gives(t, a, scoreMod(scored(0, 0), nan, 0), undefined, nan, nan)
		gives(t, a, scoreMod(scored(0, 0), 0, posInf), undefined, nan, nan)
	},
	"ScoreMod returns -Inf": func(t *testing.T, a *subject) {
		gives(t, a, scoreMod(scored(0, 0), negInf, 0), 0, 0, 1)
		gives(t, a, scoreMod(valued(nan, 1), negInf, 0), 0, nan)
	},
	"callback returns anything for a pair that the mask takes away": func(t *testing.T, a *subject) {
		for _, poison := range []float64{undefined, infinite, -infinite, -1} {
			for _, which := range []string{"scores", "probabilities"} {
				p := keptProblem()
				s := p.sequence(0)
				poisoning := false
				m := &mod{f: func(_, h, i, j int, x float64) float64 {
					if poisoning && p.masked(&s, h, i, j) {
						return poison
					}
					return x
				}}
				if which == "scores" {
					p.scoreMod = m
				} else {
					p.probMod = m
				}
				sameWith(t, a, p, func() { poisoning = true })
			}
		}
	},
	"ProbMod returns less than 0": func(t *testing.T, a *subject) {
		gives(t, a, probMod(scored(0, 0, 0), -1, negInf, .25), math.Log(3), 0, 0, .25)
		gives(t, a, probMod(valued(nan, 1), -1, .25), math.Ln2, nan)
	},
	"ProbMod returns NaN": func(t *testing.T, a *subject) {
		gives(t, a, probMod(scored(0, 0), nan, 1), math.Ln2, nan, nan)
	},
	"ProbMod returns +Inf": func(t *testing.T, a *subject) {
		if a.values == qkv.PrecisionInt8 {
			gives(t, a, probMod(scored(0, 0), posInf, 1), math.Ln2, nan, nan)
			return
		}
		gives(t, a, probMod(valued(2, 1), posInf, 1), math.Ln2, posInf)
		gives(t, a, probMod(scored(0, 0), posInf, 1), math.Ln2, posInf, nan)
	},
	"ProbMod in a row that is NaN": func(t *testing.T, a *subject) {
		gives(t, a, probMod(scored(nan, 0), 0, 0), undefined, nan, nan)
	},

	"pair that is masked": func(t *testing.T, a *subject) {
		p := keptProblem()
		s := p.sequence(0)
		testRecord(t, a, p, func(h, i, j int) bool { return p.masked(&s, h, i, j) }, "scores", "-Inf", "0")
	},
	"pair of a key of padding": func(t *testing.T, a *subject) {
		p := keptProblem()
		p.lensKV = []int{140}
		testRecord(t, a, p, func(_, _, j int) bool { return j >= 140 }, "scores", "-Inf", "0")
	},
	"row of padding": func(t *testing.T, a *subject) {
		p := keptProblem()
		p.lensQ = []int{30}
		testRecord(t, a, p, func(_, i, _ int) bool { return i >= 30 }, "-Inf", "-Inf", "0")
	},
	"row without a key, with or without a sink": func(t *testing.T, a *subject) {
		p := newProblem(dims{1, 4, 2, 50, 150, 8, 8}, "bhsd", causalAt(-10), normal(2))
		testRecord(t, a, p, func(_, i, _ int) bool { return i < 10 }, "scores", "-Inf", "0")
		p.sinks = []float32{1, 2, 3, 4}
		testRecord(t, a, p, func(_, i, _ int) bool { return i < 10 }, "scores", "-Inf", "0")
	},
	"pair of a key that a ring has overwritten": testRecordOverwritten,
	"row that is NaN": func(t *testing.T, a *subject) {
		p := keptProblem()
		s := p.sequence(0)
		p.sinks = []float32{1, nan, 2, nan}
		of := func(masked bool) func(h, i, j int) bool {
			return func(h, i, j int) bool { return h%2 == 1 && p.masked(&s, h, i, j) == masked }
		}
		testRecord(t, a, p, of(false), "scores", "scores", "NaN")
		testRecord(t, a, p, of(true), "scores", "-Inf", "0")
	},
}

// keptProblem returns a problem with a boolean mask and no row without a key.
func keptProblem() *problem {
	p := newProblem(dims{1, 4, 2, 40, 150, 4, 4}, "bhsd", none, normal(2))
	r := rand.New(rand.NewPCG(1, 2))
	shape := [4]int{1, 4, 40, 150}
	p.keep = formed("contiguous", shape, shape, func() bool { return r.IntN(3) > 0 })
	return p
}

// testRecord compares what is recorded of some pairs: "scores" are those of no mask.
func testRecord(t *testing.T, a *subject, p *problem, pairs func(h, i, j int) bool, want ...string) {
	t.Helper()
	stages := []qkv.Stage{qkv.StageScaled, qkv.StageMasked, qkv.StageProbs, qkv.StageCapped}
	want = append(want, want[0])
	a.prepare(p)
	for x, stage := range stages {
		p.scoresAt = stage
		p.scores = newTensor("bhsd", p.q.shape[0], p.q.shape[1], p.q.shape[2], p.k.shape[2], nil)
		p.run(t, a.Engine)
		free := *p
		free.mask, free.keep, free.lensQ, free.lensKV = none, nil, nil, nil
		free.scoresAt = qkv.StageScaled
		free.scores = newTensor("bhsd", p.q.shape[0], p.q.shape[1], p.q.shape[2], p.k.shape[2], nil)
		free.run(t, a.Engine)
		n := 0
		p.scores.each(func(at int) {
			keys, queries := p.k.shape[2], p.q.shape[2]
			h, i, j := at/keys/queries, at/keys%queries, at%keys
			if !pairs(h, i, j) {
				return
			}
			n++
			got, expect := p.scores.data[at], float32(0)
			switch want[x] {
			case "scores":
				expect = free.scores.data[at]
			case "-Inf":
				expect = negInf
			case "NaN":
				expect = nan
			}
			// At StageMasked a score is that of StageScaled rounded once more.
			if got != expect && !(got != got && expect != expect) && !(stage == qkv.StageMasked && want[x] == "scores" && math.Abs(float64(got-expect)) <= 1e-6) {
				t.Fatalf("stage %d: score of head %d, query %d, key %d is %g, want %g", stage, h, i, j, got, expect)
			}
		})
		if n == 0 {
			t.Fatal("no such pair")
		}
	}
}

// testMaskedPoison puts what no number is into a key and its values and compares the rows
// that do not attend it.
func testMaskedPoison(t *testing.T, a *subject, p *problem, r *rand.Rand) {
	t.Helper()
	if p.k.shape[2] == 0 {
		return
	}
	a.prepare(p)
	p.run(t, a.Engine)
	var wantOut, wantLSE [][]float32
	token := r.IntN(p.k.shape[2])
	regions := p.unattending(token)
	for _, g := range regions {
		out, lse, _ := p.pick(g)
		wantOut, wantLSE = append(wantOut, out), append(wantLSE, lse)
	}
	for _, x := range []*tensor{p.k, p.v} {
		for b := range x.shape[0] {
			for h := range x.shape[1] {
				x.data[x.index(b, h, token, r.IntN(x.shape[3]))] = drawn(r, nan, posInf, negInf)
			}
		}
	}
	p.run(t, a.Engine)
	for i, g := range regions {
		out, lse, _ := p.pick(g)
		sameBits(t, fmt.Sprintf("poison at %d: %v: out", token, g), out, wantOut[i])
		sameBits(t, fmt.Sprintf("poison at %d: %v: lse", token, g), lse, wantLSE[i])
	}
}

// unattending returns the rows that do not attend a token of the keys.
func (p *problem) unattending(token int) (regions []region) {
	for b := range p.sequences() {
		s := p.sequence(b)
		for h := range p.q.shape[1] {
			for i := range s.rows {
				j := token - s.k0
				if i >= s.lenQ || j < 0 || j >= s.lenKV || p.masked(&s, h, i, j) || math.IsInf(p.biasAt(&s, h, i, j), -1) {
					regions = append(regions, region{b, h, 1, i, 1})
				}
			}
		}
	}
	return regions
}
