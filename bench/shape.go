package bench

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv"
)

// A Shape is the lengths, the mask and the values of an attention, and how its keys and
// values are stored.
type Shape struct {
	Batch, Heads, KVHeads int
	SeqQ, SeqKV           int
	DimQK, DimV           int
	Mask                  Mask
	Lengths               Lengths
	Values                Values
	KV                    KV
	Layout                Layout
	Precision             qkv.Precision // numerical class
	ValuePrecision        qkv.Precision // of weighted values in class Int8
}

// maxBytes bounds the operands of a shape together, and so keeps Pairs from
// overflowing.
const maxBytes = 32 << 30

// ParseShape reads a shape as [Shape.String] writes it:
//
//	b=1,h=32,hkv=8,sq=2048,skv=2048,d=128,dv=128,mask=causal
//
// in any order. h, sq and d are needed; the others default to b=1, hkv=h, skv=sq,
// dv=d and mask=none. Masks are those of [ParseMask]. More keys add to it:
//
//	window=1023:0     a sliding window, LEFT:RIGHT of the query's position, or all
//	prefix=64         keys that every query attends whatever the mask and window say
//	segments=4        documents of equal length
//	blocks=128:0.25   blocks of SIZE by SIZE, of which each row keeps that share
//	keep=0.98         a boolean mask [sq, skv] that keeps that share of the pairs
//	ragged=16         sequences of 16 to sq tokens, packed as [tokens, heads, dim]
//	padded=16         sequences of 16 to sq tokens, padded to sq
//	kvlens=100        sequences of 100 to skv keys, each with sq queries
//	prefill=4         4 sequences, spread over the batch, of sq queries, the others of one,
//	                  packed as [tokens, heads, dim]
//	bias=head         a bias [h, sq, skv]; shared has [sq, skv]; head16, shared16 are float16
//	alibi=1           a slope for each head
//	softcap=50        scores bounded to within ±50
//	sinks=1           a logit for each head
//	kv=float16        the type of keys and values: float32, float16, bfloat16, int8 (with a
//	                  scale for each row), q8_0, e4m3, e5m2, q4_0 or q4_1; k and v for one of them
//	page=16           keys and values in pages of 16 tokens, shuffled
//	cache=slots       keys and values in slots of a cache, or in a ring that has gone round
//	layout=bshd       the order of the axes in memory: bhsd, bshd, qkv (one tensor [batch, seq,
//	                  heads + 2 KV heads, dim]) or bhds; bshd+16 has 16 elements behind each row
//	class=int8        the numerical class: float32, int8 or bfloat16
//	values=int8       in class int8, that of weighted values: float32, int8 or bfloat16
//
// What is random in them is the same for each shape. ragged and padded need skv=sq, and have
// neither kvlens nor prefill.
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
			s.Mask.Causal, s.Mask.Align, s.Mask.Offset = mask.Causal, mask.Align, mask.Offset
			continue
		}
		if i := slices.IndexFunc(options, func(o option) bool { return o.key == key }); i >= 0 {
			if err := options[i].parse(&s, value); err != nil {
				return Shape{}, fmt.Errorf("shape %q: %s=%w", text, key, err)
			}
			continue
		}
		length := lengths[key]
		if length == nil {
			known := "b, h, hkv, sq, skv, d, dv, mask"
			for _, o := range options {
				known += ", " + o.key
			}
			return Shape{}, fmt.Errorf("shape %q: unknown key %q, want one of %s", text, key, known)
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
	for _, x := range exclusive {
		if seen[x[0]] && seen[x[1]] {
			return Shape{}, fmt.Errorf("shape %q: %s and %s exclude each other", text, x[0], x[1])
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

// exclusive are the keys that exclude each other.
var exclusive = [][2]string{
	{"ragged", "padded"}, {"ragged", "kvlens"}, {"padded", "kvlens"}, {"ragged", "prefill"}, {"padded", "prefill"},
	{"ragged", "page"}, {"kv", "k"}, {"kv", "v"}, {"page", "cache"},
}

// Options writes the keys that stand behind the mask in the text of the shape, "" if
// there are none.
func (s Shape) Options() string {
	var fields []string
	for _, o := range options {
		if text := o.format(s); text != "" {
			fields = append(fields, o.key+"="+text)
		}
	}
	return strings.Join(fields, ",")
}

func (s Shape) check() error {
	if s.Heads%s.KVHeads != 0 {
		return fmt.Errorf("%d heads are not a multiple of %d KV heads", s.Heads, s.KVHeads)
	}
	if d := max(s.DimQK, s.DimV); d > qkv.MaxDim {
		return fmt.Errorf("head dim %d, at most %d is supported", d, qkv.MaxDim)
	}
	if s.ValuePrecision != qkv.PrecisionFloat32 && s.Precision != qkv.PrecisionInt8 {
		return fmt.Errorf("values=%s without class=int8", className(s.ValuePrecision))
	}
	if n := s.Mask.Prefix; n > s.SeqKV {
		return fmt.Errorf("a prefix of %d keys, there are %d", n, s.SeqKV)
	}
	if n := s.Mask.Segments; n > min(s.SeqQ, s.SeqKV) {
		return fmt.Errorf("%d segments of %d queries and %d keys", n, s.SeqQ, s.SeqKV)
	}
	if n := s.Lengths.Least; n > s.SeqQ {
		return fmt.Errorf("sequences of at least %d tokens, and at most %d", n, s.SeqQ)
	} else if n > 0 && s.SeqQ != s.SeqKV {
		return fmt.Errorf("ragged and padded need skv=sq")
	}
	if n := s.Lengths.LeastKV; n > s.SeqKV {
		return fmt.Errorf("sequences of at least %d keys, and at most %d", n, s.SeqKV)
	}
	if n := s.Lengths.Prefill; n > 0 {
		switch {
		case n >= s.Batch:
			return fmt.Errorf("prefill of %d of %d sequences leaves none with one query", n, s.Batch)
		case s.SeqQ < 2:
			return fmt.Errorf("prefill of %d query, at least 2 are needed", s.SeqQ)
		case s.SeqQ > s.SeqKV:
			return fmt.Errorf("prefill of %d queries, there are %d keys", s.SeqQ, s.SeqKV)
		}
	}
	if n := s.KV.Page; n > qkv.MaxSeq {
		return fmt.Errorf("pages of %d tokens, at most %d are supported", n, qkv.MaxSeq)
	}
	if err := s.KV.check(s.DimQK, s.DimV); err != nil {
		return err
	}
	if err := s.Layout.check(s); err != nil {
		return err
	}
	if err := s.KV.Cache.check(s); err != nil {
		return err
	}
	if s.Bytes() > maxBytes {
		return fmt.Errorf("the operands take more than %d GiB", maxBytes>>30)
	}
	return s.checkAlign()
}

// Bytes returns the size of the operands Q, K, V, Out and LSE, of their copies in the layout, and of what
// there is for each pair, or more than can be had where that overflows. Padding counts, packed or not.
func (s Shape) Bytes() int64 {
	pages, page := 1, s.SeqKV
	if s.KV.Page != 0 {
		pages, page = s.pagesOf(s.SeqKV), s.KV.Page
	}
	bytes := satAdd(
		satMul(4, s.Batch, s.Heads, s.SeqQ, s.DimQK+s.DimV+1),
		satMul(s.kvRowBytes(), s.Batch, s.KVHeads, pages, page))
	return satAdd(satAdd(bytes, s.Layout.bytes(s)), satAdd(s.KV.Cache.bytes(s), s.pairBytes()))
}

// pairBytes returns the size of boolean masks and biases.
func (s Shape) pairBytes() int64 {
	var bytes int64
	if s.Mask.Keep != 0 {
		bytes = satMul(s.SeqQ, s.SeqKV)
	}
	if b := s.Values.Bias; b.Given {
		bytes = satAdd(bytes, satMul(b.size(), s.biasHeads(), s.SeqQ, s.SeqKV))
	}
	return bytes
}

// MovedBytes returns the size of what there is of Q, Out, K and V for the lengths of the
// sequences, of keys that some query attends, and of what there is for each pair.
func (s Shape) MovedBytes() int64 {
	tokens := int64(s.Batch) * int64(s.SeqQ)
	if queries, _ := s.lengths(); queries != nil {
		tokens = 0
		for _, n := range queries {
			tokens += int64(n)
		}
	}
	return 4*tokens*int64(s.Heads)*int64(s.DimQK+s.DimV) + s.KVBytes() + s.pairBytes()
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
	text := fmt.Sprintf("b=%d,h=%d,hkv=%d,sq=%d,skv=%d,d=%d,dv=%d,mask=%s",
		s.Batch, s.Heads, s.KVHeads, s.SeqQ, s.SeqKV, s.DimQK, s.DimV, MaskName(s.Mask))
	if o := s.Options(); o != "" {
		text += "," + o
	}
	return text
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
	if name := MaskName(s.Mask); name != "none" {
		fields = append(fields, "mask="+name)
	}
	if o := s.Options(); o != "" {
		fields = append(fields, o)
	}
	return strings.Join(fields, ",")
}

// Unmasked returns the shape that computes every pair of its own sizes and changes no
// score, of the same keys and values, and whether that is another shape. Of a batch whose lengths differ
// it has one sequence, of the greatest length.
func (s Shape) Unmasked() (Shape, bool) {
	u := s
	u.Mask, u.Lengths, u.Values = Mask{}, Lengths{}, Values{}
	if s.Lengths != (Lengths{}) {
		u.Batch = 1
	}
	return u, u != s
}

// fewQueries is how many queries an engine decodes at once, drafted ones among them.
const fewQueries = 16

// Decodes reports whether some of the sequences have as few queries as where an engine
// decodes: it is reading keys and values that may then take the time, whatever the path.
func (s Shape) Decodes() bool { return s.SeqQ <= fewQueries || s.Lengths.Prefill != 0 }

// ReadBytes returns KVBytes of a shape that decodes.
func (s Shape) ReadBytes() int64 {
	if !s.Decodes() {
		return 0
	}
	return s.KVBytes()
}

// reused returns KVBytes.
func (s Shape) reused() int64 { return s.KVBytes() }

// Inputs is [NewOperands].
func (s Shape) Inputs(seed uint64) Inputs { return NewOperands(s, seed) }

func (s Shape) describe(r *Run) {
	r.Kind = KindAttention
	r.Batch, r.Heads, r.KVHeads = s.Batch, s.Heads, s.KVHeads
	r.SeqQ, r.SeqKV = s.SeqQ, s.SeqKV
	r.DimQK, r.DimV = s.DimQK, s.DimV
	r.Mask, r.Options = MaskName(s.Mask), s.Options()
	r.KDType, r.VDType = s.KV.K.Name(), s.KV.V.Name()
	r.Precision = s.peakName()
}

// FLOPs returns the floating-point operations that count: a multiplication and an
// addition for each kept pair and each dim of both products. Nothing counts of the
// softmax, nor of what changes the scores.
func (s Shape) FLOPs() float64 {
	return 2 * float64(s.Pairs()) * float64(s.DimQK+s.DimV)
}
