package bench

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv"
)

// A Shape is the lengths and the mask of an attention.
type Shape struct {
	Batch, Heads, KVHeads int
	SeqQ, SeqKV           int
	DimQK, DimV           int
	Mask                  Mask
}

// maxBytes bounds the operands of a shape together, and so keeps Pairs from
// overflowing.
const maxBytes = 32 << 30

// ParseShape reads a shape as [Shape.String] writes it:
//
//	b=1,h=32,hkv=8,sq=2048,skv=2048,d=128,dv=128,mask=causal
//
// in any order. h, sq and d are needed; the others default to b=1, hkv=h, skv=sq,
// dv=d and mask=none. Masks are those of [ParseMask].
func ParseShape(text string) (Shape, error) {
	s := Shape{Batch: 1}
	lengths := map[string]*int{
		"b": &s.Batch, "h": &s.Heads, "hkv": &s.KVHeads, "sq": &s.SeqQ, "skv": &s.SeqKV, "d": &s.DimQK, "dv": &s.DimV,
	}
	seen := make(map[string]bool)
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			return Shape{}, fmt.Errorf("shape %q: %q is not key=value", text, field)
		}
		if seen[key] {
			return Shape{}, fmt.Errorf("shape %q: %s is given twice", text, key)
		}
		seen[key] = true
		if key == "mask" {
			mask, err := ParseMask(value)
			if err != nil {
				return Shape{}, fmt.Errorf("shape %q: %w", text, err)
			}
			s.Mask = mask
			continue
		}
		length := lengths[key]
		if length == nil {
			return Shape{}, fmt.Errorf("shape %q: unknown key %q, want b, h, hkv, sq, skv, d, dv or mask", text, key)
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return Shape{}, fmt.Errorf("shape %q: %s=%s is not a positive number", text, key, value)
		}
		*length = n
	}
	for _, key := range []string{"h", "sq", "d"} {
		if !seen[key] {
			return Shape{}, fmt.Errorf("shape %q: %s is missing", text, key)
		}
	}
	for _, f := range []struct{ length, from *int }{{&s.KVHeads, &s.Heads}, {&s.SeqKV, &s.SeqQ}, {&s.DimV, &s.DimQK}} {
		if *f.length == 0 {
			*f.length = *f.from
		}
	}
	if err := s.check(); err != nil {
		return Shape{}, fmt.Errorf("shape %q: %w", text, err)
	}
	return s, nil
}

func (s Shape) check() error {
	if s.Heads%s.KVHeads != 0 {
		return fmt.Errorf("%d heads are not a multiple of %d KV heads", s.Heads, s.KVHeads)
	}
	if d := max(s.DimQK, s.DimV); d > qkv.MaxDim {
		return fmt.Errorf("head dim %d, at most %d is supported", d, qkv.MaxDim)
	}
	if s.Bytes() > maxBytes {
		return fmt.Errorf("the operands take more than %d GiB", maxBytes>>30)
	}
	return nil
}

// Bytes returns the size of the operands Q, K, V, Out and LSE, or more than can be
// had where that overflows.
func (s Shape) Bytes() int64 {
	return satAdd(
		satMul(4, s.Batch, s.Heads, s.SeqQ, s.DimQK+s.DimV+1),
		satMul(4, s.Batch, s.KVHeads, s.SeqKV, s.DimQK+s.DimV))
}

func satAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func satMul(factors ...int) int64 {
	p := uint64(1)
	for _, f := range factors {
		hi, lo := bits.Mul64(p, uint64(f))
		if hi != 0 || lo > math.MaxInt64 {
			return math.MaxInt64
		}
		p = lo
	}
	return int64(p)
}

// String writes the shape in full, so that it names the shape in a record.
func (s Shape) String() string {
	return fmt.Sprintf("b=%d,h=%d,hkv=%d,sq=%d,skv=%d,d=%d,dv=%d,mask=%s",
		s.Batch, s.Heads, s.KVHeads, s.SeqQ, s.SeqKV, s.DimQK, s.DimV, MaskName(s.Mask))
}

// Short writes the shape without what [ParseShape] adds of its own.
func (s Shape) Short() string {
	var fields []string
	add := func(key string, n, standard int) {
		if n != standard {
			fields = append(fields, fmt.Sprintf("%s=%d", key, n))
		}
	}
	add("b", s.Batch, 1)
	add("h", s.Heads, 0)
	add("hkv", s.KVHeads, s.Heads)
	add("sq", s.SeqQ, 0)
	add("skv", s.SeqKV, s.SeqQ)
	add("d", s.DimQK, 0)
	add("dv", s.DimV, s.DimQK)
	if s.Mask.Causal {
		fields = append(fields, "mask="+MaskName(s.Mask))
	}
	return strings.Join(fields, ",")
}

// Keys returns how many keys, counted from the first, query i attends.
func (s Shape) Keys(i int) int {
	var offset int
	switch {
	case !s.Mask.Causal:
		return s.SeqKV
	case s.Mask.Align == qkv.BottomRight:
		offset = s.SeqKV - s.SeqQ
	case s.Mask.Align == qkv.AlignOffset:
		offset = max(-s.SeqQ, min(s.Mask.Offset, s.SeqKV)) // beyond these nothing changes
	}
	return max(0, min(i+offset+1, s.SeqKV))
}

// Pairs returns the number of (query, key) pairs that the mask keeps, over all heads.
func (s Shape) Pairs() int64 {
	var pairs int64
	for i := range s.SeqQ {
		pairs += int64(s.Keys(i))
	}
	return pairs * int64(s.Batch) * int64(s.Heads)
}

// FLOPs returns the floating-point operations that count: a multiplication and an
// addition for each kept pair and each dim of both products. Softmax counts for
// nothing.
func (s Shape) FLOPs() float64 {
	return 2 * float64(s.Pairs()) * float64(s.DimQK+s.DimV)
}
