package onnx

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
)

// An attentionMask is the input attn_mask, nil if there is none.
type attentionMask struct {
	*Tensor
	shape [4]int // right-aligned
	keys  int    // of K

	// short is whether the mask has fewer keys than K: those beyond are masked.
	short bool
}

// readMask checks attn_mask. From opset 24 on, a mask of fewer keys than K is padded with
// -Inf, even one of a single key; in opset 23 a single key is broadcast, for there the
// text has broadcasting only, while the reference implementation pads what is between.
func (n *attention) readMask(p *application) error {
	t := p.in[3]
	if t == nil {
		return nil
	}
	if t.Type != Bool && !isFloat(t.Type) {
		return fmt.Errorf("attn_mask has elements of type %v, BOOL, FLOAT, FLOAT16, BFLOAT16 or DOUBLE is needed", t.Type)
	}
	if len(t.Dims) < 1 || len(t.Dims) > 4 {
		return fmt.Errorf("attn_mask has %d dims, 1 to 4 are needed", len(t.Dims))
	}
	m := &n.mask
	*m = attentionMask{Tensor: t, shape: [4]int{1, 1, 1, 1}, keys: n.k.shape[2]}
	copy(m.shape[4-len(t.Dims):], t.Dims)
	want := [4]int{n.q.shape[0], n.q.shape[1], n.q.shape[2], m.keys}
	for axis, got := range m.shape {
		if got == want[axis] || got == 1 && (axis < 3 || got > m.keys || p.opset < 24) {
			continue
		}
		if axis == 3 && got < m.keys {
			m.short = true
			continue
		}
		return fmt.Errorf("attn_mask has shape %v, which does not broadcast to %v", t.Dims, want)
	}
	return nil
}

// put adds the mask to a call, with all keys of K: a short one is written out in full.
func (m *attentionMask) put(c *qkv.Call) error {
	s := m.shape
	keys := s[3]
	if m.short {
		s[3] = m.keys
	}
	rows := s[0] * s[1] * s[2]
	switch {
	case m.Type == Bool:
		keep, err := bools(m.Tensor)
		if err != nil {
			return fmt.Errorf("attn_mask: %w", err)
		}
		if m.short {
			keep = widen(keep, rows, keys, s[3], false)
		}
		c.Mask.Keep = qkv.Pairs(keep, s[0], s[1], s[2], s[3])
	case m.Type == Float16 && !m.short:
		c.Bias = qkv.Pairs(float16s(m.Tensor), s[0], s[1], s[2], s[3])
	default:
		bias := floats[float32](m.Tensor)
		if m.short {
			bias = widen(bias, rows, keys, s[3], float32(math.Inf(-1)))
		}
		c.Bias = qkv.Pairs(bias, s[0], s[1], s[2], s[3])
	}
	return nil
}

// widen returns rows of n elements as rows of more, the new ones of value fill.
func widen[T any](data []T, rows, n, to int, fill T) []T {
	wide := make([]T, 0, rows*to)
	for r := range rows {
		wide = append(wide, data[r*n:][:n]...)
		for range to - n {
			wide = append(wide, fill)
		}
	}
	return wide
}
