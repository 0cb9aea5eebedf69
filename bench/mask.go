package bench

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv"
)

// A Mask is a mask that text describes: which keys a query attends.
type Mask struct {
	Causal bool
	Align  qkv.Align // said where it matters, as package qkv wants it
	Offset int

	Window   Window
	Prefix   int    // keys that every query attends whatever Causal and Window say
	Segments int    // documents of equal length, each apart from the others; 0 for none
	Blocks   Blocks // kept at random

	// Keep is the share of pairs that a mask without structure keeps, each pair at random,
	// the same in all sequences and heads; 0 for no such mask.
	Keep float64
}

// A Window is a sliding window. The zero Window is none.
type Window struct {
	Given       bool
	Left, Right int // or [qkv.Unbounded]
}

// Blocks are the kept blocks of a block mask, the same in all sequences and heads. The
// zero Blocks are no such mask.
type Blocks struct {
	Size int     // queries and keys of a block
	Keep float64 // share of the blocks of each row that are kept, at least one
}

// ParseMask reads the name of a mask of one part: none (or full), causal (or
// causal-bottom-right), where the last query attends all keys as a decoder's does,
// causal-top-left, where the first query attends the first key alone, or causal@OFFSET, where
// query i attends the keys up to i+OFFSET. none-bottom-right, none-top-left and none@OFFSET keep
// all keys too, and say where the queries stand for a window or ALiBi: that is needed where
// a sequence has queries and keys in different numbers.
func ParseMask(text string) (Mask, error) {
	switch text {
	case "none", "full":
		return Mask{}, nil
	case "none-bottom-right":
		return Mask{Align: qkv.BottomRight}, nil
	case "none-top-left":
		return Mask{Align: qkv.TopLeft}, nil
	case "causal", "causal-bottom-right":
		return Mask{Causal: true, Align: qkv.BottomRight}, nil
	case "causal-top-left":
		return Mask{Causal: true, Align: qkv.TopLeft}, nil
	}
	if part, at, ok := strings.Cut(text, "@"); ok && (part == "causal" || part == "none") {
		if offset, err := strconv.Atoi(at); err == nil {
			return Mask{Causal: part == "causal", Align: qkv.AlignOffset, Offset: offset}, nil
		}
	}
	return Mask{}, fmt.Errorf("unknown mask %q, want none, causal, causal-top-left or causal@OFFSET", text)
}

// MaskName returns the name that [ParseMask] reads of Causal, Align and Offset.
func MaskName(m Mask) string {
	switch {
	case m.Align == qkv.AlignOffset && m.Causal:
		return fmt.Sprintf("causal@%d", m.Offset)
	case m.Align == qkv.AlignOffset:
		return fmt.Sprintf("none@%d", m.Offset)
	case m.Align == qkv.TopLeft && m.Causal:
		return "causal-top-left"
	case m.Align == qkv.TopLeft:
		return "none-top-left"
	case m.Causal: // bottom-right, or the same
		return "causal"
	case m.Align == qkv.BottomRight:
		return "none-bottom-right"
	}
	return "none"
}

// checkAlign reports a window or ALiBi of a shape whose mask does not say where the queries stand,
// which package qkv refuses. Causal masks that are parsed say it.
func (s Shape) checkAlign() error {
	if s.Mask.Align != 0 || !s.Mask.Window.Given && !s.Values.ALiBi {
		return nil
	}
	p := newPairs(Shape{Batch: s.Batch, SeqQ: s.SeqQ, SeqKV: s.SeqKV, Lengths: s.Lengths})
	for b := range s.Batch {
		if queries, keys := p.length(b); queries != keys {
			return fmt.Errorf("mask=none does not say where %d queries stand among %d keys, for a window or ALiBi; none-bottom-right, none-top-left and none@OFFSET do",
				queries, keys)
		}
	}
	return nil
}

// parseWindow reads LEFT:RIGHT, each a number or all.
func parseWindow(text string) (Window, error) {
	left, right, ok := strings.Cut(text, ":")
	w := Window{Given: true}
	for _, side := range []struct {
		text string
		n    *int
	}{{left, &w.Left}, {right, &w.Right}} {
		if side.text == "all" {
			*side.n = qkv.Unbounded
			continue
		}
		n, err := strconv.Atoi(side.text)
		if !ok || err != nil || n < 0 || n > qkv.MaxSeq {
			return Window{}, fmt.Errorf("%q is not LEFT:RIGHT, each a length or all", text)
		}
		*side.n = n
	}
	return w, nil
}

func (w Window) String() string {
	if !w.Given {
		return ""
	}
	side := func(n int) string {
		if n == qkv.Unbounded {
			return "all"
		}
		return strconv.Itoa(n)
	}
	return side(w.Left) + ":" + side(w.Right)
}

// parseBlocks reads SIZE:SHARE.
func parseBlocks(text string) (b Blocks, err error) {
	size, fraction, ok := strings.Cut(text, ":")
	if b.Size, err = strconv.Atoi(size); !ok || err != nil || b.Size < 1 {
		return Blocks{}, fmt.Errorf("%q is not SIZE:SHARE", text)
	}
	b.Keep, err = parseFraction(fraction)
	return b, err
}

func (b Blocks) String() string {
	if b.Size == 0 {
		return ""
	}
	return strconv.Itoa(b.Size) + ":" + formatNumber(b.Keep)
}
