package qkv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

func newCache(t testing.TB, cfg qkv.CacheConfig) *qkv.Cache {
	t.Helper()
	c, err := qkv.NewCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// layer returns a layer of a cache.
func (s cacheShape) layer() qkv.CacheLayer {
	return qkv.CacheLayer{KVHeads: s.kvHeads, DimQK: s.dimQK, DimV: s.dimV, KeyType: s.keyType, ValueType: s.valueType}
}

// config returns a cache of one layer.
func (s cacheShape) config(pages, pageTokens int) qkv.CacheConfig {
	return qkv.CacheConfig{Layers: []qkv.CacheLayer{s.layer()}, Pages: pages, PageTokens: pageTokens}
}

// ring returns a cache of one layer with a window.
func (s cacheShape) ring(sequences, pageTokens, window, first, step int) qkv.CacheConfig {
	l := s.layer()
	l.Window, l.First = window, first
	return qkv.CacheConfig{Layers: []qkv.CacheLayer{l}, Sequences: sequences, PageTokens: pageTokens, StepTokens: step}
}

func newStep(t testing.TB, e *qkv.Engine, c *qkv.Cache) *qkv.Step {
	t.Helper()
	s, err := e.NewStep(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// appendTokens adds tokens to a sequence of a cache of one layer.
func appendTokens(step *qkv.Step, s *qkv.Sequence, k, v qkv.View) error {
	if err := step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: k.Shape()[2]}}); err != nil {
		return err
	}
	if err := step.Write(0, k, v); err != nil {
		return errors.Join(err, step.Rollback())
	}
	return step.Commit()
}

// attended computes a call that attends sequences, each with so many queries.
func attended(step *qkv.Step, c *qkv.Call, sequences []*qkv.Sequence, queries []int) error {
	var batch []qkv.StepSequence
	for i, s := range sequences {
		batch = append(batch, qkv.StepSequence{Sequence: s, Queries: queries[i]})
	}
	if err := step.Begin(batch); err != nil {
		return err
	}
	return errors.Join(step.Attend(0, c), step.Commit())
}

// checkChunks has steps of new tokens of sequences, chunks[round][i] of sequence i, that attend what
// the sequences have, and then each sequence by itself.
func checkChunks(t *testing.T, s cacheShape, cfg qkv.CacheConfig, chunks [][]int, v variant, mask qkv.Mask) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(len(chunks)), 31))
	e := newAttention(t, qkv.Config{Workers: 2})
	c := newCache(t, cfg)
	step := newStep(t, e, c)
	sequences := draw(len(chunks[0]), c.NewSequence)
	histories := draw(len(chunks[0]), func() *history { return new(history) })
	for round, chunk := range chunks {
		var some []*qkv.Sequence
		var which []*history
		var batch []qkv.StepSequence
		var queries []int
		total := 0
		for i, n := range chunk {
			if n == 0 && round%2 == 0 {
				continue
			}
			some, which, queries = append(some, sequences[i]), append(which, histories[i]), append(queries, n)
			batch = append(batch, qkv.StepSequence{Sequence: sequences[i], Tokens: n})
			total += n
		}
		if err := step.Begin(batch); err != nil {
			t.Fatal(err)
		}
		k, values := s.tokens(r, total)
		if err := step.Write(0, k.view(), values.view()); err != nil {
			t.Fatal(err)
		}
		first := 0
		for i, h := range which {
			h.append(s, k, values, first, queries[i])
			first += queries[i]
		}
		p := s.attend(r, 1+round%3, which, queries)
		p.mask = mask
		v.add(r, p)
		what := fmt.Sprintf("round %d of %v", round, chunks)
		p.checkAttend(t, what, e, func(c *qkv.Call) error { return step.Attend(0, c) })
		if err := step.Commit(); err != nil {
			t.Fatal(err)
		}
		if v.name == "segments" || v.name == "everything" {
			continue // those of each sequence would be others
		}
		for i := range some {
			g := region{i, 0, p.q.shape[1], 0, p.sequence(i).lenQ}
			out, lse, _ := p.pick(g)
			one := p.alone(g)
			if one.q.shape[2] == 0 {
				continue
			}
			one.attend = func(c *qkv.Call) error {
				c.K, c.V, c.LensQ, c.LensKV, c.CuLensQ, c.CuLensKV = qkv.View{}, qkv.View{}, nil, nil, nil, nil
				c.Mask.Align, c.Mask.Offset, c.Mask.First = 0, 0, 0
				return attended(step, c, some[i:i+1], queries[i:i+1])
			}
			gotOut, gotLSE := one.run(t, e)
			sameBits(t, what+" alone out", gotOut, out)
			sameBits(t, what+" alone lse", gotLSE, lse)
		}
	}
}

// mixed has prefill and one-token steps of three sequences in one round.
var mixed = [][]int{{130, 7, 0}, {1, 290, 1}, {1, 1, 1}, {0, 5, 60}, {3, 1, 0}}

// TestCaches: a step that attends a cache of any pages and types has the bits of a call on tensors of
// float32 that hold what the cache does, of sequences together and alone.
func TestCaches(t *testing.T) {
	t.Parallel()
	for i, s := range cacheShapes {
		for j, c := range []struct {
			name string
			cfg  qkv.CacheConfig
		}{{"slots", s.config(3, 304)}, {"pages", s.config(32, 16)}, {"pages of 1", s.config(501, 1)}} {
			for k, v := range variants {
				// Each two of a type, pages and a variant meet, or all pages meet each type and each variant.
				if !brief() && (i+j+k)%3 > 0 || brief() && k != (i+3*j)%len(variants) {
					continue
				}
				t.Run(fmt.Sprintf("%v,%s,%s", s, c.name, v.name), func(t *testing.T) {
					checkChunks(t, s, c.cfg, mixed, v, bottomRight)
				})
			}
		}
	}
}

// TestRings: a layer with a window has the bits of one that forgets nothing under the same window, in
// rings of one page and of several, whose first tokens end within a page.
func TestRings(t *testing.T) {
	t.Parallel()
	const first, window = 5, 40
	for k, s := range cacheShapes {
		for i, v := range variants {
			if v.name == "all" || brief() && i > 0 && i != 2+k%(len(variants)-2) {
				continue
			}
			for m, step := range []int{1, 2, 31} {
				if step < 31 && i > 0 {
					continue
				}
				for n, page := range []int{first + window - 1 + step, 16, 1} {
					if (i+k+m+n)%3 > 0 { // each two of a type, a variant, a step and pages meet
						continue
					}
					cfg := s.ring(3, page, window, first, step)
					size := (first + window - 1 + step + page - 1) / page * page
					chunks := [][]int{{size, 20, 0}, {1, step, 6}, {step, 24, 1}}
					for range 12 + 20/step {
						chunks = append(chunks, []int{step, 1, (step + 1) / 2})
					}
					mask := qkv.Mask{Causal: true, Align: qkv.BottomRight, First: first, Window: qkv.Sliding(window-1, 0)}
					t.Run(fmt.Sprintf("%v,step=%d,page=%d,%s", s, step, page, v.name), func(t *testing.T) {
						checkChunks(t, s, cfg, chunks, v, mask)
					})
				}
			}
		}
	}
}

// TestGeneration: a prompt and then a token at a time give the bits of all tokens at once.
func TestGeneration(t *testing.T) {
	t.Parallel()
	const prompt, total, headsPerKV = 200, 230, 2
	e := newAttention(t, qkv.Config{})
	for i, s := range cacheShapes {
		for j, page := range []int{total, 9} {
			if brief() && (i+j)%2 > 0 {
				continue
			}
			r := rand.New(rand.NewPCG(5, 41))
			k, v := s.tokens(r, total)
			h := new(history)
			h.append(s, k, v, 0, total)
			p := s.attend(r, headsPerKV, []*history{h}, []int{total})
			want, wantLSE := p.run(t, e)
			p.check(t, 20)

			c := newCache(t, s.config(2*((total+page-1)/page), page))
			step := newStep(t, e, c)
			for _, steps := range [][]int{{total}, slices.Concat([]int{prompt}, slices.Repeat([]int{1}, total-prompt))} {
				sequence := c.NewSequence()
				p.out.each(func(i int) { p.out.data[i] = canary })
				first := 0
				for _, n := range steps {
					must(step.Begin([]qkv.StepSequence{{Sequence: sequence, Tokens: n}}))
					must(step.Write(0, k.rows(first, n), v.rows(first, n)))
					call := &qkv.Call{Q: p.q.rows(first, n), Out: p.out.rows(first, n), LSE: make([]float32, s.kvHeads*headsPerKV*n), Mask: qkv.Mask{Causal: true}}
					must(step.Attend(0, call))
					must(step.Commit())
					for h := range s.kvHeads * headsPerKV {
						copy(p.lse[h*total+first:], call.LSE[h*n:][:n])
					}
					first += n
				}
				what := fmt.Sprintf("%v, pages of %d, %d steps", s, page, len(steps))
				sameBits(t, what+" out", p.out.values(), want)
				sameBits(t, what+" lse", p.lse, wantLSE)
			}
		}
	}
}

// memory returns keys and values [places, heads, tokens, dim] of one slice, each token's
// values behind its keys, its heads and dims in reverse.
func memory[T qkv.Element](places, heads, tokens, unitsK, unitsV, values int) (k, v qkv.View) {
	token := heads*(unitsK+unitsV) + 3
	data := make([]T, places*tokens*token+1)
	view := func(last, units int) qkv.View {
		return qkv.Strided(data, last, [4]int{places, heads, tokens, units * values}, [4]int{tokens * token, -units, token, -1})
	}
	return view(heads*unitsK, unitsK), view(heads*(unitsK+unitsV), unitsV)
}

// TestCacheMemory: a cache writes the caller's memory in any strides, and nothing else.
func TestCacheMemory(t *testing.T) {
	t.Parallel()
	const places, tokens = 40, 16
	for _, s := range cacheShapes {
		if s.keyType != s.valueType {
			continue
		}
		var k, v qkv.View
		switch s.keyType {
		case qkv.TypeFloat32:
			k, v = memory[float32](places, s.kvHeads, tokens, s.dimQK, s.dimV, 1)
		case qkv.TypeFloat16:
			k, v = memory[qkv.Float16](places, s.kvHeads, tokens, s.dimQK, s.dimV, 1)
		case qkv.TypeBFloat16:
			k, v = memory[qkv.BFloat16](places, s.kvHeads, tokens, s.dimQK, s.dimV, 1)
		case qkv.TypeInt8:
			k, v = memory[int8](places, s.kvHeads, tokens, s.dimQK, s.dimV, 1)
		case qkv.TypeQ8_0:
			k, v = memory[qkv.BlockQ8_0](places, s.kvHeads, tokens, s.dimQK/32, s.dimV/32, 32)
		case qkv.TypeFloat8E4M3:
			k, v = memory[qkv.Float8E4M3](places, s.kvHeads, tokens, s.dimQK, s.dimV, 1)
		case qkv.TypeFloat8E5M2:
			k, v = memory[qkv.Float8E5M2](places, s.kvHeads, tokens, s.dimQK, s.dimV, 1)
		case qkv.TypeQ4_0:
			k, v = memory[qkv.BlockQ4_0](places, s.kvHeads, tokens, s.dimQK/32, s.dimV/32, 32)
		case qkv.TypeQ4_1:
			k, v = memory[qkv.BlockQ4_1](places, s.kvHeads, tokens, s.dimQK/32, s.dimV/32, 32)
		}
		var kScale, vScale qkv.View
		if s.keyType == qkv.TypeInt8 {
			kScale, vScale = memory[float32](places, s.kvHeads, tokens, 1, 1, 1)
		}
		cfg := s.config(places, tokens)
		l := &cfg.Layers[0]
		l.K, l.V, l.KScale, l.VScale = k, v, kScale, vScale
		t.Run(s.String(), func(t *testing.T) { checkChunks(t, s, cfg, mixed, variants[0], bottomRight) })
	}
}

// TestCacheNaN: a value that is no number shows in the rows that attend it, and in no other.
func TestCacheNaN(t *testing.T) {
	for _, s := range cacheShapes[:len(elemTypes)] {
		for _, poison := range []float32{nan, posInf} {
			if poison == posInf && (s.keyType == qkv.TypeFloat8E4M3 || s.keyType == qkv.TypeFloat8E5M2) {
				continue // the largest number is nearest
			}
			c := newCache(t, s.config(1, 8))
			step := newStep(t, newAttention(t, qkv.Config{}), c)
			r := rand.New(rand.NewPCG(1, 1))
			k, v := s.tokens(r, 8)
			v.data[v.index(0, 1, 5, 3)] = poison
			out := newTensor("bshd", 1, 2, 8, s.dimV, nil)
			call := &qkv.Call{Q: newTensor("bshd", 1, 2, 8, s.dimQK, normal(1)).view(), Out: out.view(), Mask: qkv.Mask{Causal: true}}
			must(errors.Join(step.Begin([]qkv.StepSequence{{Sequence: c.NewSequence(), Tokens: 8}}), step.Write(0, k.view(), v.view()), step.Attend(0, call), step.Commit()))
			for h := range 2 {
				for i := range 8 {
					got := out.at(0, h, i, 3)
					if number := got-got == 0; number == (h == 1 && i >= 5) {
						t.Errorf("%v, %v: out[%d,%d] is %v", s, poison, h, i, got)
					}
				}
			}
		}
	}
}

// TestStepOfNone: a step without sequences, or without tokens, has nothing to do.
func TestStepOfNone(t *testing.T) {
	s := cacheShapes[0]
	c := newCache(t, s.config(3, 8))
	step := newStep(t, newAttention(t, qkv.Config{}), c)
	none := qkv.THD[float32](nil, 0, s.kvHeads, s.dimQK)
	values := qkv.THD[float32](nil, 0, s.kvHeads, s.dimV)
	for _, batch := range [][]qkv.StepSequence{nil, {{Sequence: c.NewSequence()}}} {
		must(step.Begin(batch))
		if n := len(step.Positions()); n != 0 {
			t.Errorf("%d tokens of none", n)
		}
		must(step.Write(0, none, values))
		must(step.Attend(0, &qkv.Call{Q: none, Out: values, Mask: qkv.Mask{Causal: true}}))
		must(step.Commit())
	}
}
