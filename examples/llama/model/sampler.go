package model

import (
	"math"
	"math/rand/v2"

	"github.com/qkv-go/qkv"
)

// A Sampler chooses tokens at random, by their probabilities: of the TopK most likely tokens, the fewest
// whose probabilities come to TopP, and of those all that are at least MinP times as likely as the first. What
// is left has its logits divided by Temperature. That is the order of llama.cpp.
//
// The token at a place of a text depends on the logits, the Seed and the place alone: drafts change none, nor
// do other texts. It is used by one goroutine at a time.
type Sampler struct {
	Temperature float64 // 0 means the most likely token, whatever the others say
	TopK        int     // 0 means all
	TopP        float64 // 0 means 1, all
	MinP        float64 // 0 means all
	Seed        uint64

	top   []qkv.Ranked
	probs []float64
}

// choose returns a token, or -1 where there is none, see [Model.argmax].
func (s *Sampler) choose(m *Model, logits []float32, at int) int32 {
	if s.Temperature <= 0 {
		return m.argmax(logits)
	}
	k := len(logits)
	if s.TopK > 0 {
		k = min(k, s.TopK)
	}
	if cap(s.top) < k {
		s.top, s.probs = make([]qkv.Ranked, k), make([]float64, k)
	}
	top := s.top[:k]
	top = top[:m.engine.TopK(top, logits)]
	if len(top) == 0 {
		return -1
	}
	probs, first := s.probs[:len(top)], float64(top[0].Value)
	sum := 0.0
	for i, x := range top {
		probs[i] = math.Exp(float64(x.Value) - first)
		sum += probs[i]
	}
	kept, n := 0.0, 0
	for n < len(top) && (n == 0 || (s.TopP <= 0 || kept < s.TopP*sum) && probs[n] >= s.MinP) {
		kept += probs[n]
		n++
	}
	sum = 0
	for i, x := range top[:n] {
		probs[i] = math.Exp((float64(x.Value) - first) / s.Temperature)
		sum += probs[i]
	}
	var r rand.PCG
	r.Seed(s.Seed, uint64(at))
	left := float64(r.Uint64()>>11) / (1 << 53) * sum
	for i, p := range probs[:n] {
		if left -= p; left < 0 {
			return int32(top[i].Index)
		}
	}
	return int32(top[n-1].Index) // by rounding
}
