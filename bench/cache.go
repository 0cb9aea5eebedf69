package bench

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// A CacheKind says which [qkv.Cache] holds keys and values, if any.
type CacheKind int

const (
	NoCache CacheKind = iota

	// Slots is a cache with a slot more than there are sequences, which have theirs in the
	// opposite order. A slot has room for a power of two of tokens, more than there are.
	Slots

	// Ring is one whose slots are full and have gone round: the oldest token is in the middle.
	Ring
)

var cacheNames = [...]string{NoCache: "", Slots: "slots", Ring: "ring"}

// String writes the kind as the text of a shape has it.
func (c CacheKind) String() string { return cacheNames[c] }

func parseCache(text string) (CacheKind, error) {
	if i := slices.Index(cacheNames[1:], text); i >= 0 {
		return CacheKind(i + 1), nil
	}
	return NoCache, fmt.Errorf("%q is not slots or ring", text)
}

// check reports a shape whose keys a cache of the kind cannot have. Masks other than those of a decoder
// are not asked for; they are measured without a cache.
func (c CacheKind) check(s Shape) error {
	m := s.Mask
	m.Causal, m.Align = false, qkv.BottomRight
	lengths := s.Lengths
	if c == Slots {
		lengths.LeastKV = 0
	}
	exact := func(e kernel.Elem) bool { return e != kernel.Int8 && e != kernel.Q8_0 }
	switch {
	case c == NoCache:
	case !exact(s.KV.K) || !exact(s.KV.V):
		return fmt.Errorf("cache=%v needs float32, float16 or bfloat16", c)
	case lengths != Lengths{}:
		return fmt.Errorf("cache=%v needs sequences of equal length", c)
	case m != Mask{Align: qkv.BottomRight} || s.Mask.Causal && s.Mask.Align != qkv.BottomRight || s.Values.Bias.Given || s.Values.ALiBi:
		return fmt.Errorf("cache=%v has no mask but causal, and no bias", c)
	}
	return nil
}

// capacity returns the tokens of a slot.
func (c CacheKind) capacity(s Shape) int {
	if c == Slots {
		return 1 << bits.Len(uint(s.SeqKV))
	}
	return s.SeqKV
}

// bytes returns the size of the cache of a shape.
func (c CacheKind) bytes(s Shape) int64 {
	if c == NoCache {
		return 0
	}
	n, pad := c.capacity(s), s.Layout.Pad
	return satAdd(satMul(s.Batch+1, s.KVHeads, n, s.kvRowBytes()+8*pad), satMul(s.Batch+1, s.KVHeads, pad, s.kvRowBytes()))
}

// cached has a call attend keys and values in a cache, which has the layout of the shape.
func (o *Operands) cached(call *qkv.Call) error {
	s := o.Shape
	slots, capacity := s.Batch+1, s.KV.Cache.capacity(s)
	cfg := qkv.CacheConfig{
		Sequences: slots, KVHeads: s.KVHeads, Capacity: capacity, DimQK: s.DimQK, DimV: s.DimV,
		KeyType: qkv.ElemType(s.KV.K), ValueType: qkv.ElemType(s.KV.V), Ring: s.KV.Cache == Ring,
	}
	if s.Layout != (Layout{}) {
		cfg.K = s.Layout.empty(s.KV.K, [4]int{slots, s.KVHeads, capacity, s.DimQK})
		cfg.V = s.Layout.empty(s.KV.V, [4]int{slots, s.KVHeads, capacity, s.DimV})
	}
	c, err := qkv.NewCache(cfg)
	if err != nil {
		return err
	}
	before := 0 // tokens that are overwritten: it is all the same what they are
	if s.KV.Cache == Ring {
		before = (capacity + 1) / 2
	}
	use := make([]int, s.Batch)
	keys := s.keys()
	for b := range use {
		use[b] = s.Batch - b
		k, v := o.tokensOf(&o.K, b, keys[b]), o.tokensOf(&o.V, b, keys[b])
		if before > 0 {
			if err := c.Append(use[b], o.tokensOf(&o.K, b, before), o.tokensOf(&o.V, b, before)); err != nil {
				return err
			}
		}
		if err := c.Append(use[b], k, v); err != nil {
			return err
		}
	}
	return c.Use(call, new(qkv.Batch), use)
}

// tokensOf returns the keys or values of a sequence in float32, [1, kvHeads, tokens, dim].
func (o *Operands) tokensOf(t *Tensor, batch, tokens int) qkv.View {
	heads := o.Shape.KVHeads
	x := make([]float32, heads*tokens*t.dim)
	parallel(heads, func(h int) {
		for i := range tokens {
			to := x[(h*tokens+i)*t.dim:][:t.dim]
			copy(to, t.row(o.keyRow(batch, h, i), to))
		}
	})
	return qkv.BHSD(x, 1, heads, tokens, t.dim)
}

// empty returns memory in the layout, of zeros.
func (l Layout) empty(e kernel.Elem, shape [4]int) qkv.View {
	stride, n := l.strides(shape)
	switch e {
	case kernel.Float16:
		return qkv.Strided(make([]qkv.Float16, n), 0, shape, stride)
	case kernel.BFloat16:
		return qkv.Strided(make([]qkv.BFloat16, n), 0, shape, stride)
	}
	return qkv.Strided(make([]float32, n), 0, shape, stride)
}
