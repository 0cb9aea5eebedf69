package bench

import (
	"context"
	"fmt"
	"strings"
)

// A Work is what is measured: a [Shape], a [Product], a [Projection] or an [Append].
type Work interface {
	// String names the work in full, as a record does. [ParseWork] reads it.
	String() string

	// Short names it without what [ParseWork] adds of its own.
	Short() string

	// FLOPs returns the floating-point operations that count.
	FLOPs() float64

	// ReadBytes returns what a call has to read where that may bind it, more than its
	// operations: keys and values for few queries, the weights for few rows. Otherwise it
	// returns 0.
	ReadBytes() int64

	// Bytes returns the size of all operands.
	Bytes() int64

	// MovedBytes returns what a call has to read and write at least: each element that it
	// needs once.
	MovedBytes() int64

	// reused returns the size of what an engine has from before the call, and no cache holds if
	// others have passed through since: keys and values, weights, or the cache that is appended to.
	reused() int64

	// Inputs makes operands, the same for the same seed.
	Inputs(seed uint64) Inputs

	describe(*Run)
}

// Inputs are the operands of a [Work], and room for its result: [*Operands],
// [*ProductInputs], [*WeightInputs], [*ProjectionInputs] or [*AppendInputs].
type Inputs interface {
	// Work returns what they are operands of.
	Work() Work

	// Spoil overwrites the result with NaN.
	Spoil()

	// again returns the same operands, with keys and values or weights in memory of their own,
	// and with the result in the same place.
	again() Inputs

	// Check compares a sample of the result with float64, at most so many rows of it. The
	// error names an element that is off by more than the rounding of the path's arithmetic
	// explains; nil stands for a path in float32. It ends early when the context does.
	Check(ctx context.Context, rows int, p *Path) (Check, error)
}

// The unit roundoffs of arithmetic that a [Path] may use.
const (
	Roundoff32       = 0x1p-24 // float32
	RoundoffFloat16  = 0x1p-11
	RoundoffBFloat16 = 0x1p-8
)

// ParseWork reads what [Work.String] and [Work.Short] write. The first key says which work it
// is: m= a product, see [ParseProduct]; project= a projection, see [ParseProjection]; append=
// tokens for a cache, see [ParseAppend]; any other a shape, see [ParseShape].
func ParseWork(text string) (w Work, err error) {
	key, _, _ := strings.Cut(strings.TrimSpace(text), "=")
	switch key {
	case "m":
		w, err = ParseProduct(text)
	case "project":
		w, err = ParseProjection(text)
	case "append":
		w, err = ParseAppend(text)
	default:
		w, err = ParseShape(text)
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}

// works reads the texts of presets.
func works(texts ...string) []Work {
	var list []Work
	for _, t := range texts {
		w, err := ParseWork(t)
		if err != nil {
			panic(fmt.Sprintf("bench: %v", err))
		}
		list = append(list, w)
	}
	return list
}
