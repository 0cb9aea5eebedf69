package qkv_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// poisons is what a row that does not attend it must not see.
var poisons = []float32{nan, posInf, negInf}

// fewAndMany is the queries of a head of problems that are decoded, and that are not.
var fewAndMany = []int{1, 3, 30}

// kvProblem returns a problem of so many queries and 37 keys.
func kvProblem(queries int, mask qkv.Mask) *problem {
	return newProblem(dims{1, 4, 2, queries, 37, 64, 64}, "bhsd", mask, normal(1))
}

// pools returns random keys and values of a type.
func pools(typ qkv.ElemType, shape [4]int) (k, v *pool) {
	r := rand.New(rand.NewPCG(1, 2))
	k, v = newPool(typ, shape), newPool(typ, shape)
	for b := range shape[0] {
		for h := range shape[1] {
			for t := range shape[2] {
				k.set(b, h, t, draw(shape[3], func() float32 { return float32(r.NormFloat64()) }))
				v.set(b, h, t, draw(shape[3], func() float32 { return float32(r.NormFloat64()) }))
			}
		}
	}
	return k, v
}

// all returns a row of one value.
func all(x float32, n int) []float32 { return draw(n, func() float32 { return x }) }

// setScale gives a row of int8, or its first block, another scale, or another Min.
func (p *pool) setScale(b, h, t int, scale float32) {
	n := (b*p.shape[1]+h)*p.shape[2] + t
	half := uint16(qkv.ToFloat16(scale))
	switch p.typ {
	case qkv.TypeInt8:
		p.scales[n] = scale
	case qkv.TypeQ8_0:
		p.blocks[n*p.rowUnits].Scale = half
	case qkv.TypeQ4_0:
		p.q4[n*p.rowUnits].Scale = half
	case qkv.TypeQ4_1:
		p.q41[n*p.rowUnits].Min = half
	}
}

// testUnusedTokens poisons tokens of pages behind the last key of a sequence, and a page that
// no sequence has.
func testUnusedTokens(t *testing.T, a *subject) {
	table := []int32{3, 0, 1}
	for _, typ := range a.elemTypes() {
		for _, queries := range fewAndMany {
			for _, poison := range poisons {
				p := kvProblem(queries, bottomRight)
				k, v := pools(typ, [4]int{5, 2, 16, 64})
				p.change = func(c *qkv.Call) {
					c.K, c.KScale = k.views()
					c.V, c.VScale = v.views()
					c.Tables, c.LensKV = [][]int32{table}, []int{37}
				}
				sameWith(t, a, p, func() {
					for h := range 2 {
						for token := range 16 {
							for _, x := range []*pool{k, v} {
								x.set(2, h, token, all(poison, 64))
								x.set(4, h, token, all(poison, 64))
								if token >= 37-32 {
									x.set(1, h, token, all(poison, 64))
								}
							}
						}
					}
				})
			}
		}
	}
}

// testOverwritten poisons a token before a ring overwrites it, and one that lies in the place
// of an overwritten one and that no query attends.
func testOverwritten(t *testing.T, a *subject) {
	for _, typ := range a.elemTypes() {
		for _, queries := range fewAndMany {
			for _, poison := range poisons {
				p := kvProblem(queries, bottomRight)
				poisoned := false
				p.attend = func(c *qkv.Call) error {
					ring := newCache(t, cacheShape{2, 64, 64, typ, typ}.ring(1, 8, 6, 2, 1))
					step, sequence := newStep(t, a.Engine, ring), ring.NewSequence()
					r := rand.New(rand.NewPCG(3, 4))
					for token := range 20 {
						row := draw(2*64, func() float32 { return float32(r.NormFloat64()) })
						if poisoned && token == 5 {
							row = all(poison, 2*64)
						}
						x := qkv.BHSD(row, 1, 2, 1, 64)
						must(appendTokens(step, sequence, x, x))
					}
					c.K, c.V, c.Mask.Align = qkv.View{}, qkv.View{}, 0
					return attended(step, c, []*qkv.Sequence{sequence}, []int{queries})
				}
				sameWith(t, a, p, func() { poisoned = true })

				// Key 20 lies where key 4 did; the last query stands at key 19.
				p = kvProblem(queries, causalAt(19-(queries-1)))
				k, v := pools(typ, [4]int{1, 2, 16, 64})
				p.change = func(c *qkv.Call) {
					c.K, c.KScale = k.views()
					c.V, c.VScale = v.views()
					c.Tables, c.LensKV, c.Ring = [][]int32{{0}}, []int{21}, true
				}
				sameWith(t, a, p, func() {
					for h := range 2 {
						k.set(0, h, 4, all(poison, 64))
						v.set(0, h, 4, all(poison, 64))
					}
				})
			}
		}
	}
}

// scaled returns a problem of keys and values of a type with scales.
func scaled(typ qkv.ElemType, queries int, mask qkv.Mask) (p *problem, k, v *pool) {
	p = kvProblem(queries, mask)
	k, v = pools(typ, [4]int{1, 2, 37, 64})
	p.change = func(c *qkv.Call) {
		c.K, c.KScale = k.views()
		c.V, c.VScale = v.views()
	}
	return p, k, v
}

var scaledTypes = []qkv.ElemType{qkv.TypeInt8, qkv.TypeQ8_0, qkv.TypeQ4_0, qkv.TypeQ4_1}

// testUnattendedScale poisons scales of keys that no query attends.
func testUnattendedScale(t *testing.T, a *subject) {
	for _, typ := range scaledTypes {
		for _, queries := range fewAndMany {
			for _, poison := range poisons {
				p, k, v := scaled(typ, queries, causalAt(34-(queries-1)))
				sameWith(t, a, p, func() {
					for h := range 2 {
						for token := 35; token < 37; token++ {
							k.setScale(0, h, token, poison)
							v.setScale(0, h, token, poison)
						}
					}
				})
			}
		}
	}
}

// testScale makes the scale of a key or value of the second KV head NaN, and compares which
// outputs and log-sum-exps are NaN with what is wanted of a dim, if the row attends it.
func testScale(t *testing.T, a *subject, value bool, wantOut func(typ qkv.ElemType, d int) bool, wantLSE bool) {
	for _, typ := range scaledTypes {
		for _, queries := range fewAndMany {
			p, k, v := scaled(typ, queries, bottomRight)
			const token = 20
			if value {
				v.setScale(0, 1, token, nan)
			} else {
				k.setScale(0, 1, token, nan)
			}
			a.prepare(p)
			out, lse := p.run(t, a.Engine)
			for h := range 4 {
				for i := range queries {
					row := h*queries + i
					attends := h >= 2 && 37-queries+i >= token
					if got := lse[row] != lse[row]; got != (attends && wantLSE) {
						t.Fatalf("%v: lse of head %d, query %d is %v", typ, h, i, lse[row])
					}
					for d := range 64 {
						x := out[row*64+d]
						if got := x != x; got != (attends && wantOut(typ, d)) {
							t.Fatalf("%v: out of head %d, query %d, dim %d is %v", typ, h, i, d, x)
						}
					}
				}
			}
		}
	}
}

// testRecordOverwritten compares what is recorded of keys that a ring has overwritten: key 0
// lies where key 16 does.
func testRecordOverwritten(t *testing.T, a *subject) {
	p := kvProblem(3, bottomRight)
	k, v := pools(qkv.TypeFloat32, [4]int{1, 2, 16, 64})
	scores := make([]float32, 4*3*18)
	for stage := qkv.StageScaled; stage <= qkv.StageProbs; stage++ {
		a.prepare(p)
		c := p.call()
		c.K, c.KScale = k.views()
		c.V, c.VScale = v.views()
		c.Tables, c.LensKV, c.Ring = [][]int32{{0}}, []int{18}, true
		c.Scores, c.ScoresAt = qkv.Pairs(scores, 1, 4, 3, 18), stage
		if err := a.Run(c); err != nil {
			t.Fatal(err)
		}
		for row := range 4 * 3 {
			for key := range 2 {
				got, want := scores[row*18+key], scores[row*18+key+16]
				switch stage {
				case qkv.StageMasked:
					want = negInf
				case qkv.StageProbs:
					want = 0
				}
				if math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("stage %d: score of row %d, key %d is %g, want %g", stage, row, key, got, want)
				}
			}
		}
	}
}
