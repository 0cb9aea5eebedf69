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

func (s cacheShape) config(sequences, capacity int) qkv.CacheConfig {
	return qkv.CacheConfig{
		Sequences: sequences, KVHeads: s.kvHeads, Capacity: capacity, DimQK: s.dimQK, DimV: s.dimV,
		KeyType: s.keyType, ValueType: s.valueType,
	}
}

func (s cacheShape) paged(pages, pageTokens int) qkv.PagedConfig {
	return qkv.PagedConfig{
		Pages: pages, PageTokens: pageTokens, KVHeads: s.kvHeads, DimQK: s.dimQK, DimV: s.dimV,
		KeyType: s.keyType, ValueType: s.valueType,
	}
}

// A cached is a cache of any kind with sequences by number.
type cached struct {
	append func(sequence int, k, v qkv.View) error
	use    func(c *qkv.Call, b *qkv.Batch, sequences []int) error
}

func contiguous(c *qkv.Cache) cached { return cached{c.Append, c.Use} }

func paged(t testing.TB, cfg qkv.PagedConfig, sequences int) cached {
	c, err := qkv.NewPagedCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := draw(sequences, c.NewSequence)
	return cached{
		func(i int, k, v qkv.View) error { return all[i].Append(k, v) },
		func(call *qkv.Call, b *qkv.Batch, which []int) error {
			var some []*qkv.Sequence
			for _, i := range which {
				some = append(some, all[i])
			}
			return c.Use(call, b, some)
		},
	}
}

// checkChunks appends to the sequences in rounds, chunks[round][i] tokens to sequence i, and
// attends after each round what was appended, in one call and in a call of each sequence.
func checkChunks(t *testing.T, s cacheShape, c cached, chunks [][]int, v variant, mask qkv.Mask, hide bool) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(len(chunks)), 31))
	a := newAttention(t, qkv.Config{Workers: 2})
	histories := draw(len(chunks[0]), func() *history { return new(history) })
	var b qkv.Batch
	for round, chunk := range chunks {
		var some []int
		var which []*history
		var queries []int
		for i, n := range chunk {
			if n == 0 {
				continue
			}
			k, v := s.tokens(r, n)
			if err := c.append(i, k.view(), v.view()); err != nil {
				t.Fatal(err)
			}
			histories[i].append(s, k, v)
			some, which, queries = append(some, i), append(which, histories[i]), append(queries, n)
		}
		use := func(which []int) func(*qkv.Call) error {
			return func(call *qkv.Call) error {
				if hide { // for the cache to set
					call.Mask.Window, call.Mask.First = qkv.Window{}, 0
				}
				return c.use(call, &b, which)
			}
		}
		p := s.attend(r, 1+round%3, which, queries)
		p.mask = mask
		v.add(r, p)
		what := fmt.Sprintf("round %d, sequences %v", round, some)
		p.checkUse(t, what, a, use(some))
		if v.name == "segments" || v.name == "everything" {
			continue // those of each sequence would be others
		}
		for i := range some {
			sequence := p.sequence(i)
			g := region{i, 0, p.q.shape[1], 0, sequence.lenQ}
			p.change = nil
			p.run(t, a)
			out, lse, _ := p.pick(g)
			one := p.alone(g)
			one.change = func(call *qkv.Call) {
				if err := use(some[i : i+1])(call); err != nil {
					t.Fatal(err)
				}
			}
			gotOut, gotLSE := one.run(t, a)
			sameBits(t, what+" alone out", gotOut, out)
			sameBits(t, what+" alone lse", gotLSE, lse)
		}
	}
}

// mixed has prefill and one-token steps of three sequences in one round.
var mixed = [][]int{{130, 7, 0}, {1, 290, 1}, {1, 1, 1}, {0, 5, 60}, {3, 1, 0}}

// TestCaches: a call that attends a cache of any kind and types has the bits of one on
// tensors of float32 that hold what the cache does, of sequences together and alone.
func TestCaches(t *testing.T) {
	t.Parallel()
	for _, s := range cacheShapes {
		for i, v := range variants {
			if brief() && i > 0 && i < len(variants)-1 {
				continue
			}
			for name, c := range map[string]func() cached{
				"contiguous": func() cached { return contiguous(newCache(t, s.config(3, 304))) },
				"paged":      func() cached { return paged(t, s.paged(32, 16), 3) },
				"pages of 1": func() cached { return paged(t, s.paged(501, 1), 3) },
			} {
				t.Run(fmt.Sprintf("%v,%s,%s", s, name, v.name), func(t *testing.T) {
					checkChunks(t, s, c(), mixed, v, bottomRight, false)
				})
			}
		}
	}
}

// TestRings: a ring has the bits of a cache that forgets nothing under the same window and
// prefix, as long as the chunks leave room for the window.
func TestRings(t *testing.T) {
	t.Parallel()
	const keep, window = 5, 40
	for _, s := range cacheShapes {
		for i, v := range variants {
			if v.name == "all" || brief() && i > 0 && i < len(variants)-1 {
				continue
			}
			for _, slack := range []int{0, 1, 30} {
				if slack < 30 && i > 0 {
					continue
				}
				cfg := s.config(3, keep+window+slack)
				cfg.Ring, cfg.Keep, cfg.Window = true, keep, window
				n := slack + 1 // the longest chunk of a full ring
				chunks := [][]int{{cfg.Capacity, 20, 0}, {1, n, 6}, {n, 24, 1}}
				for range 12 + 20/n {
					chunks = append(chunks, []int{n, 1, 1 + n/2})
				}
				mask := qkv.Mask{Causal: true, Align: qkv.BottomRight, First: keep, Window: qkv.Sliding(window-1, 0)}
				t.Run(fmt.Sprintf("%v,slack=%d,%s", s, slack, v.name), func(t *testing.T) {
					checkChunks(t, s, contiguous(newCache(t, cfg)), chunks, v, mask, slack > 0)
				})
			}
		}
	}
}

// TestRingWithoutWindow: one token at a time attends all that a ring holds.
func TestRingWithoutWindow(t *testing.T) {
	s := cacheShapes[3]
	for _, keep := range []int{0, 1, 4} {
		cfg := s.config(2, 20)
		cfg.Ring, cfg.Keep = true, keep
		chunks := [][]int{{20, 3}}
		for range 50 {
			chunks = append(chunks, []int{1, 1})
		}
		mask := qkv.Mask{Causal: true, Align: qkv.BottomRight, First: keep, Window: qkv.Sliding(20-keep-1, 0)}
		c := newCache(t, cfg)
		hidden := contiguous(c)
		hidden.use = func(call *qkv.Call, b *qkv.Batch, slots []int) error {
			call.Mask.Window = qkv.Window{}
			return c.Use(call, b, slots)
		}
		checkChunks(t, s, hidden, chunks, variants[0], mask, false)
	}
}

// TestGeneration: a prompt and then a token at a time give the bits of all tokens at once.
func TestGeneration(t *testing.T) {
	const prompt, total, group = 200, 230, 2
	a := newAttention(t, qkv.Config{})
	for _, s := range cacheShapes {
		for name, c := range map[string]cached{
			"contiguous": contiguous(newCache(t, s.config(2, total))),
			"paged":      paged(t, s.paged(60, 9), 2),
		} {
			r := rand.New(rand.NewPCG(5, 41))
			k, v := s.tokens(r, total)
			h := new(history)
			h.append(s, k, v)
			p := s.attend(r, group, []*history{h}, []int{total})
			want, wantLSE := p.run(t, a)
			p.check(t, 20)

			var b qkv.Batch
			step := func(sequence, first, n int) {
				if err := c.append(sequence, k.rows(first, n), v.rows(first, n)); err != nil {
					t.Fatal(err)
				}
				call := &qkv.Call{Q: p.q.rows(first, n), Out: p.out.rows(first, n), LSE: make([]float32, s.kvHeads*group*n), Mask: bottomRight}
				if err := c.use(call, &b, []int{sequence}); err != nil {
					t.Fatal(err)
				}
				if err := a.Run(call); err != nil {
					t.Fatal(err)
				}
				for h := range s.kvHeads * group {
					copy(p.lse[h*total+first:], call.LSE[h*n:][:n])
				}
			}
			for sequence, steps := range [][]int{{total}, slices.Concat([]int{prompt}, slices.Repeat([]int{1}, total-prompt))} {
				p.out.each(func(i int) { p.out.data[i] = canary })
				first := 0
				for _, n := range steps {
					step(sequence, first, n)
					first += n
				}
				what := fmt.Sprintf("%v, %s, %d steps", s, name, len(steps))
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
		}
		var kScale, vScale qkv.View
		if s.keyType == qkv.TypeInt8 {
			kScale, vScale = memory[float32](places, s.kvHeads, tokens, 1, 1, 1)
		}
		cfg := s.paged(places, tokens)
		cfg.K, cfg.V, cfg.KScale, cfg.VScale = k, v, kScale, vScale
		t.Run("paged,"+s.String(), func(t *testing.T) {
			checkChunks(t, s, paged(t, cfg, 3), mixed, variants[0], bottomRight, false)
		})
		// The same memory as slots.
		own := s.config(places, tokens)
		own.K, own.V, own.KScale, own.VScale = k, v, kScale, vScale
		t.Run("contiguous,"+s.String(), func(t *testing.T) {
			checkChunks(t, s, contiguous(newCache(t, own)), [][]int{{1, 3, 0, 16}, {15, 13, 2, 0}}, variants[0], bottomRight, false)
		})
	}
}

// TestCacheNaN: a value that is no number shows in the rows that attend it, and in no other.
func TestCacheNaN(t *testing.T) {
	for _, s := range cacheShapes[:5] {
		for _, poison := range []float32{nan, posInf} {
			c := newCache(t, s.config(1, 8))
			r := rand.New(rand.NewPCG(1, 1))
			k, v := s.tokens(r, 8)
			v.data[v.index(0, 1, 5, 3)] = poison
			if err := c.Append(0, k.view(), v.view()); err != nil {
				t.Fatal(err)
			}
			out := newTensor("bshd", 1, 2, 8, s.dimV, nil)
			call := &qkv.Call{Q: newTensor("bshd", 1, 2, 8, s.dimQK, normal(1)).view(), Out: out.view(), Mask: topLeft}
			var b qkv.Batch
			if err := errors.Join(c.Use(call, &b, []int{0}), qkv.Run(call)); err != nil {
				t.Fatal(err)
			}
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

// TestUseNone: a call that attends no sequences of a cache has nothing to do.
func TestUseNone(t *testing.T) {
	s := cacheShapes[0]
	slots := newCache(t, s.config(3, 8))
	pages, err := qkv.NewPagedCache(s.paged(3, 8))
	if err != nil {
		t.Fatal(err)
	}
	a := newAttention(t, qkv.Config{})
	for what, use := range map[string]func(*qkv.Call, *qkv.Batch) error{
		"slots": func(c *qkv.Call, b *qkv.Batch) error { return slots.Use(c, b, nil) },
		"pages": func(c *qkv.Call, b *qkv.Batch) error { return pages.Use(c, b, nil) },
	} {
		call := &qkv.Call{
			Q:   qkv.BHSD[float32](nil, 0, s.kvHeads, 1, s.dimQK),
			Out: qkv.BHSD[float32](nil, 0, s.kvHeads, 1, s.dimV),
		}
		if err := errors.Join(use(call, new(qkv.Batch)), a.Run(call)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		call.Q, call.Out = qkv.THD[float32](nil, 0, s.kvHeads, s.dimQK), qkv.THD[float32](nil, 0, s.kvHeads, s.dimV)
		call.CuLensQ = []int{0}
		if err := a.Run(call); err != nil {
			t.Errorf("%s, ragged: %v", what, err)
		}
	}
}
