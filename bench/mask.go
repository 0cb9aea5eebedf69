package bench

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv"
)

// A Mask is a mask that a name describes.
type Mask struct {
	Causal bool
	Align  qkv.Align
	Offset int
}

// ParseMask reads the name of a mask: none (or full), causal-top-left, causal (or
// causal-bottom-right), or causal@OFFSET, where query i attends the keys up to
// i+OFFSET.
func ParseMask(text string) (Mask, error) {
	switch text {
	case "none", "full":
		return Mask{}, nil
	case "causal", "causal-bottom-right":
		return Mask{Causal: true, Align: qkv.BottomRight}, nil
	case "causal-top-left":
		return Mask{Causal: true}, nil
	}
	if at, ok := strings.CutPrefix(text, "causal@"); ok {
		if offset, err := strconv.Atoi(at); err == nil {
			return Mask{Causal: true, Align: qkv.AlignOffset, Offset: offset}, nil
		}
	}
	return Mask{}, fmt.Errorf("unknown mask %q, want none, causal, causal-top-left or causal@OFFSET", text)
}

// MaskName returns the name of a mask that [ParseMask] reads.
func MaskName(m Mask) string {
	switch {
	case !m.Causal:
		return "none"
	case m.Align == qkv.TopLeft:
		return "causal-top-left"
	case m.Align == qkv.BottomRight:
		return "causal"
	}
	return fmt.Sprintf("causal@%d", m.Offset)
}
