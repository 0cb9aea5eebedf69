package bench

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/memory"
	"github.com/qkv-go/qkv/kernel"
)

// A CacheKind says which cache holds keys and values, if any.
type CacheKind int

const (
	NoCache CacheKind = iota

	// Slots is one with a slot more than there are sequences, which have theirs in the
	// opposite order. A slot has room for a power of two of tokens, more than there are.
	Slots

	// Ring is one whose slots are full and have gone round: the oldest token is in the middle.
	Ring
)

var cacheNames = [...]string{NoCache: "", Slots: "slots", Ring: "ring"}

// String writes the kind as the text of a shape has it.
func (c CacheKind) String() string { return nameOf(cacheNames[:], "CacheKind", int(c)) }

// nameOf returns names[i], or the type and i where there is none.
func nameOf(names []string, typ string, i int) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", typ, i)
	}
	return names[i]
}

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
	exact := func(e kernel.Elem) bool { return e.Scale() == kernel.NoScale }
	switch {
	case c == NoCache:
	case !exact(s.KV.K) || !exact(s.KV.V):
		return fmt.Errorf("cache=%v needs float32, float16, bfloat16, e4m3 or e5m2", c)
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

// cached has a call attend keys and values in slots, which have the layout of the shape. A slot is a
// page as long as a sequence may be.
func (o *Operands) cached(call *qkv.Call) {
	s := o.Shape
	before := 0 // tokens that were overwritten: it is all the same what they are
	if s.KV.Cache == Ring {
		before, call.Ring = (s.KV.Cache.capacity(s)+1)/2, true
	}
	call.K, call.V = o.slots(&o.K, before), o.slots(&o.V, before)
	call.KScale, call.VScale, call.CuLensKV = qkv.View{}, qkv.View{}, nil
	call.Tables, call.LensKV = make([][]int32, s.Batch), make([]int, s.Batch)
	for b, n := range s.keys()[:s.Batch] {
		call.Tables[b], call.LensKV[b] = []int32{int32(s.Batch - b)}, before+n
	}
}

// slots returns a copy of keys or values in slots, behind so many tokens.
func (o *Operands) slots(t *Tensor, before int) qkv.View {
	switch t.elem {
	case kernel.Float16:
		return slotsOf(o, t.Float16, t.dim, before)
	case kernel.BFloat16:
		return slotsOf(o, t.BFloat16, t.dim, before)
	case kernel.E4M3:
		return slotsOf(o, t.E4M3, t.dim, before)
	case kernel.E5M2:
		return slotsOf(o, t.E5M2, t.dim, before)
	}
	return slotsOf(o, t.Float32, t.dim, before)
}

func slotsOf[T qkv.Element](o *Operands, src []T, dim, before int) qkv.View {
	s := o.Shape
	shape := [4]int{s.Batch + 1, s.KVHeads, s.KV.Cache.capacity(s), dim}
	stride, n := s.Layout.strides(shape)
	data := make([]T, n)
	memory.AskHuge(data) // as a Cache does
	keys := s.keys()
	parallel(s.Batch*s.KVHeads, func(i int) {
		b, h := i/s.KVHeads, i%s.KVHeads
		for key := range keys[b] {
			at := (s.Batch-b)*stride[0] + h*stride[1] + (before+key)%shape[2]*stride[2]
			for d, x := range src[o.keyRow(b, h, key)*dim:][:dim] {
				data[at+d*stride[3]] = x
			}
		}
	})
	return qkv.Strided(data, 0, shape, stride)
}
