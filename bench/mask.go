package bench

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv"
)

// ParseMask reads the name of a mask: none (or full), causal-top-left, causal (or
// causal-bottom-right), or causal@OFFSET, where query i attends the keys up to
// i+OFFSET.
func ParseMask(text string) (qkv.Mask, error) {
	switch text {
	case "none", "full":
		return qkv.Mask{}, nil
	case "causal", "causal-bottom-right":
		return qkv.Mask{Causal: qkv.CausalBottomRight}, nil
	case "causal-top-left":
		return qkv.Mask{Causal: qkv.CausalTopLeft}, nil
	}
	if at, ok := strings.CutPrefix(text, "causal@"); ok {
		if offset, err := strconv.Atoi(at); err == nil {
			return qkv.Mask{Causal: qkv.CausalAt, Offset: offset}, nil
		}
	}
	return qkv.Mask{}, fmt.Errorf("unknown mask %q, want none, causal, causal-top-left or causal@OFFSET", text)
}

// MaskName returns the name of a mask that [ParseMask] reads.
func MaskName(m qkv.Mask) string {
	switch m.Causal {
	case qkv.NotCausal:
		return "none"
	case qkv.CausalTopLeft:
		return "causal-top-left"
	case qkv.CausalBottomRight:
		return "causal"
	}
	return fmt.Sprintf("causal@%d", m.Offset)
}
