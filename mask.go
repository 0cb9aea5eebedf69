package qkv

import (
	"fmt"
	"math"
	"strings"

	"github.com/qkv-go/qkv/tile"
)

// Align says where the queries of a sequence stand among its keys: query i is at position i+c of the
// keys, with an offset c. Causal masks, windows and ALiBi go by these positions. For example, of 2
// queries and 4 keys under a causal mask:
//
//	                           query 0 attends   query 1 attends
//	TopLeft                    key 0             keys 0 and 1
//	BottomRight                keys 0 to 2       keys 0 to 3
//	AlignOffset, Offset 1      keys 0 and 1      keys 0 to 2
//
// The zero Align says nothing. That is enough where each sequence has as many queries as keys, or none
// of one of them: [TopLeft] and [BottomRight] are the same there. Otherwise a call with a causal mask, a
// window or ALiBi is an error. A [Step] knows the positions, and its calls say nothing.
//
// A call over a part of the keys, see [Merge], has the offset of that part: the position of query 0 less
// that of the part's first key, which may be negative.
type Align int

const (
	alignUnsaid Align = iota
	// TopLeft has offset 0: the first query stands at the first key.
	TopLeft
	// BottomRight has the offset (keys - queries) of each sequence: the last query
	// stands at the last key. It is what a decoder with cached keys means.
	BottomRight
	// AlignOffset has the offset Mask.Offset, or Mask.Offsets for each sequence. It may
	// be negative.
	AlignOffset
)

func (a Align) String() string {
	switch a {
	case alignUnsaid:
		return "not said"
	case TopLeft:
		return "top-left"
	case BottomRight:
		return "bottom-right"
	case AlignOffset:
		return "offset"
	}
	return fmt.Sprintf("Align(%d)", int(a))
}

// Unbounded is a side of a [Window] without a bound.
const Unbounded = math.MaxInt

// A Window is a sliding window (Beltagy et al., Longformer, 2020), see [Sliding]. The zero
// Window is none.
type Window struct {
	left, right int
	given       bool
}

// Sliding returns the window in which the query at position p attends the keys from p-left to
// p+right. Both are at least 0, or [Unbounded]; that is checked where the window is used. A
// model that attends the last n keys, the query's own among them, has Sliding(n-1, 0).
func Sliding(left, right int) Window { return Window{left: left, right: right, given: true} }

// Bounds returns what [Sliding] made the window of, and whether there is one.
func (w Window) Bounds() (left, right int, ok bool) { return w.left, w.right, w.given }

// A Mask says which keys a query attends: those that each of its parts keeps. The zero Mask keeps all.
// For example, the mask of a decoder whose queries attend the last 1,024 keys, their own among them, and
// the first 4:
//
//	qkv.Mask{Causal: true, Window: qkv.Sliding(1023, 0), First: 4}
//
// Blocks of keys that no query of a block attends are not computed.
type Mask struct {
	// Causal keeps the keys up to the query's own position.
	Causal bool

	// Window, if there is one, keeps the keys near the query's own position.
	Window Window

	// Align is where the queries stand among the keys, for Causal, Window and Call.ALiBi. It has no
	// effect without one of them. Offset, or Offsets [sequences] for one of each sequence, go with
	// AlignOffset only.
	Align   Align
	Offset  int
	Offsets []int

	// Prefix is how many of the first keys every query attends, whatever Causal and Window say: the
	// prompt of a prefix language model (Raffel et al., 2020). A sequence may have fewer keys. Prefixes
	// [sequences], if not nil, is a Prefix of each sequence instead.
	Prefix   int
	Prefixes []int

	// First is how many of the first keys the left side of Window does not take away: the tokens that
	// a stream keeps (StreamingLLM; Xiao et al., 2023). Causal and the right side of Window hold for
	// them as for other keys. It excludes Prefix and Prefixes.
	First int

	// SegmentsQ and SegmentsKV, if not nil, keep the keys whose segment is the query's, such as the
	// document of a packed sequence. They are contiguous, [batch, seqQ] and [batch, seqKV], or [tokens]
	// of a ragged batch; for Tables see [Call]. There are both or neither.
	SegmentsQ, SegmentsKV []int32

	// Blocks, if not nil, keeps some blocks of pairs.
	Blocks *BlockMask

	// Keep, if given, is true where a query attends a key. It is bool, with any strides, and has the
	// shape [batch, heads, seqQ, seqKV] or one that broadcasts to it, see [Pairs]. In a ragged batch,
	// seqQ and seqKV are 1 or at least those of the longest sequence.
	Keep View
}

// String names the parts of the mask.
func (m Mask) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if m.Causal {
		add("causal")
	}
	if w := m.Window; w.given {
		side := func(n int) string {
			if n == Unbounded {
				return "all"
			}
			return fmt.Sprint(n)
		}
		add("window %s:%s", side(w.left), side(w.right))
	}
	switch {
	case m.Align == AlignOffset && m.Offsets != nil:
		add("at %d offsets", len(m.Offsets))
	case m.Align == AlignOffset:
		add("at %d", m.Offset)
	case m.Align != alignUnsaid:
		add("%v", m.Align)
	}
	if m.Prefixes != nil {
		add("%d prefixes", len(m.Prefixes))
	} else if m.Prefix != 0 {
		add("prefix %d", m.Prefix)
	}
	if m.First != 0 {
		add("first %d", m.First)
	}
	if m.SegmentsQ != nil {
		add("segments")
	}
	if b := m.Blocks; b != nil {
		add("blocks of %d x %d", b.queryBlock, b.keyBlock)
	}
	if m.Keep.given() {
		add("keep %v", m.Keep.shape)
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, " ")
}

// resolve checks the mask against the lengths of p and puts it there.
func (m *Mask) resolve(p *tile.Problem) error {
	if m.Align < alignUnsaid || m.Align > AlignOffset {
		return argError("mask", int(m.Align), int(AlignOffset), "mask has Align %d, the last is %d", m.Align, AlignOffset)
	}
	if m.Align != AlignOffset && m.Offset != 0 {
		return argError("mask", m.Offset, 0, "mask has offset %d, which needs AlignOffset", m.Offset)
	}
	if m.Align != AlignOffset && m.Offsets != nil {
		return argError("mask", len(m.Offsets), 0, "mask has %d offsets, which need AlignOffset", len(m.Offsets))
	}
	if m.Offset != 0 && m.Offsets != nil {
		return argError("mask", m.Offset, 0, "mask has offset %d and %d offsets, one of them is needed", m.Offset, len(m.Offsets))
	}
	if n := p.Batch; m.Offsets != nil && len(m.Offsets) != n {
		return argError("mask", len(m.Offsets), n, "mask has %d offsets, the batch has %d sequences", len(m.Offsets), n)
	}
	p.Mask = tile.Mask{
		Left: tile.Unbounded, Right: tile.Unbounded,
		BottomRight: m.Align == BottomRight, Offset: int64(m.Offset), Offsets: m.Offsets,
	}
	if w := m.Window; w.given {
		for side, n := range [2]int{w.left, w.right} {
			if n < 0 {
				return argError("mask", n, 0, "mask has a window with %s bound %d, at least 0 is needed", [2]string{"left", "right"}[side], n)
			}
		}
		p.Mask.Left, p.Mask.Right = bound(w.left), bound(w.right)
	}
	if m.Causal {
		p.Mask.Right = 0
	}
	if err := m.checkAlign(p); err != nil {
		return err
	}
	if err := m.resolvePrefix(p); err != nil {
		return err
	}
	if err := m.resolveSegments(p); err != nil {
		return err
	}
	if m.Blocks != nil {
		if err := m.Blocks.resolve(p); err != nil {
			return err
		}
	}
	if !m.Keep.given() {
		return nil
	}
	if err := m.Keep.checkKind("mask", kindBool); err != nil {
		return err
	}
	return m.Keep.broadcast("mask", p, &p.Mask.Bool)
}

// checkAlign reports a mask or ALiBi that goes by positions which nothing says: those of a
// sequence that has queries and keys, in different numbers.
func (m *Mask) checkAlign(p *tile.Problem) error {
	what := ""
	switch {
	case m.Align != alignUnsaid:
	case m.Causal:
		what = "is causal"
	case m.Window.given:
		what = "has a window"
	case p.ALiBi != nil:
		what = "has ALiBi beside it"
	}
	if what == "" {
		return nil
	}
	sequences := p.Batch
	if p.CuQ == nil && p.LensQ == nil && p.LensKV == nil { // all have the same; those of no heads may be any number
		sequences = min(sequences, 1)
	}
	for i := range sequences {
		if q, k := p.Lengths(i); q != k && q != 0 && k != 0 {
			return argError("mask", q, k, "mask %s and align is not said: sequence %d has %d queries and %d keys", what, i, q, k)
		}
	}
	return nil
}

// bound returns a side of a window as package tile has it.
func bound(n int) int64 {
	if n == Unbounded {
		return tile.Unbounded
	}
	return int64(n)
}

func (m *Mask) resolvePrefix(p *tile.Problem) error {
	if m.Prefix != 0 && m.Prefixes != nil {
		return argError("mask", m.Prefix, 0, "mask has prefix %d and %d prefixes, one of them is needed", m.Prefix, len(m.Prefixes))
	}
	if n := p.Batch; m.Prefixes != nil && len(m.Prefixes) != n {
		return argError("mask", len(m.Prefixes), n, "mask has %d prefixes, the batch has %d sequences", len(m.Prefixes), n)
	}
	if m.Prefix < 0 {
		return argError("mask", m.Prefix, 0, "mask has prefix %d, at least 0 is needed", m.Prefix)
	}
	if m.First < 0 {
		return argError("mask", m.First, 0, "mask has first %d, at least 0 is needed", m.First)
	}
	if n := m.Prefix + len(m.Prefixes); m.First != 0 && n != 0 {
		return argError("mask", m.First, n, "mask has first %d and a prefix, one of them is needed", m.First)
	}
	for i, n := range m.Prefixes {
		if n < 0 {
			return argError("mask", n, 0, "mask has prefixes[%d] %d, at least 0 is needed", i, n)
		}
	}
	p.Mask.Prefix, p.Mask.Prefixes = m.Prefix, m.Prefixes
	if m.First != 0 {
		p.Mask.Prefix, p.Mask.Behind = m.First, true
	}
	return nil
}

func (m *Mask) resolveSegments(p *tile.Problem) error {
	if m.SegmentsQ == nil && m.SegmentsKV == nil {
		return nil
	}
	for _, s := range [...]struct {
		name, view string
		got, want  int
	}{
		{"segmentsQ", "q", len(m.SegmentsQ), p.TokensQ},
		{"segmentsKV", "k", len(m.SegmentsKV), p.TokensKV},
	} {
		if s.got != s.want {
			return argError("mask", s.got, s.want, "mask has %s of length %d, %s has %d tokens", s.name, s.got, s.view, s.want)
		}
	}
	p.Mask.SegmentsQ, p.Mask.SegmentsKV = m.SegmentsQ, m.SegmentsKV
	return nil
}

// broadcast checks a view of pairs against the lengths of p and puts it into d, with a
// stride of 0 along each axis that all share.
func (v *View) broadcast(name string, p *tile.Problem, d *tile.Pairs) error {
	if err := v.check(name, &pairAxisNames); err != nil {
		return err
	}
	*d = tile.Pairs{Given: true, Base: v.first(), Stride: v.stride}
	for axis, want := range [4]int{p.Batch, p.Heads, p.SeqQ, p.SeqKV} {
		got := v.shape[axis]
		switch {
		case got == want || p.CuQ != nil && axis >= axisSeq && got > want:
		case got == 1:
			d.Stride[axis] = 0
		default:
			return argError(name, got, want, "%s has %s %d, which does not broadcast to %d", name, pairAxisNames[axis], got, want)
		}
	}
	return nil
}
