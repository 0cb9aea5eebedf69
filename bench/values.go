package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Values are what changes the scores of a shape. The zero value changes nothing.
type Values struct {
	Bias    Bias
	ALiBi   bool    // slopes as Press et al. have them: 2^(-8 (head+1) / heads)
	Softcap float64 // 0 for none
	Sinks   bool
}

// A Bias is the kind of a bias of standard normal values, the same for all sequences.
type Bias struct {
	Given   bool
	PerHead bool // [heads, seqQ, seqKV], otherwise [seqQ, seqKV]
	Half    bool // float16, otherwise float32
}

// parseBias reads head, shared, head16 or shared16.
func parseBias(text string) (Bias, error) {
	kind, half := strings.CutSuffix(text, "16")
	if kind != "head" && kind != "shared" {
		return Bias{}, fmt.Errorf("%q is not head, shared, head16 or shared16", text)
	}
	return Bias{Given: true, PerHead: kind == "head", Half: half}, nil
}

func (b Bias) String() string {
	text := ""
	switch {
	case !b.Given:
		return ""
	case b.PerHead:
		text = "head"
	default:
		text = "shared"
	}
	if b.Half {
		text += "16"
	}
	return text
}

// parseSoftcap reads a number that float32 holds.
func parseSoftcap(text string) (float64, error) {
	x, err := strconv.ParseFloat(text, 32)
	if err != nil || !(x > 0) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("%q is not a finite number above 0", text)
	}
	return x, nil
}

// size returns the bytes of an element.
func (b Bias) size() int {
	if b.Half {
		return 2
	}
	return 4
}

// biasHeads returns the heads that a bias of the shape has.
func (s Shape) biasHeads() int {
	if s.Values.Bias.PerHead {
		return s.Heads
	}
	return 1
}
