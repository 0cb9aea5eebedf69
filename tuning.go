package qkv

import (
	"fmt"
	"io"
	"os"

	"github.com/klauspost/cpuid/v2"

	"github.com/qkv-go/qkv/internal/jsontree"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// TuningFormat is what a [Tuning] says of its format.
const TuningFormat = "qkv-tuning-1"

// A Tuning is choices that a CPU was measured to be fastest with on a kernel set (qkv tune), in
// place of those that an [Engine] makes from the sizes of its caches. It changes how fast calls
// are, and not a bit of their results: key blocks and the order of sums are no choices.
type Tuning struct {
	Format string       `json:"format"` // see [TuningFormat]
	CPU    string       `json:"cpu"`    // see [CPUName]
	Kernel string       `json:"kernel"` // kernel set
	Rules  []TuningRule `json:"rules"`  // the first that fits a call counts
}

// A TuningRule is the choices for calls whose head dims are at most MaxDim. A field that is 0
// leaves a choice to the Engine.
type TuningRule struct {
	MaxDim int `json:"max_dim"` // the largest head dim of queries, keys and values that the rule is for

	// Lanes is how many query rows stand side by side in vectors, which says how many rows a
	// micro-tile has: a multiple of the set's vector, at most its lanes, see [kernel.Set].
	Lanes int `json:"lanes,omitempty"`

	// QueryRows is how many query rows go through the keys together, at least Lanes.
	QueryRows int `json:"query_rows,omitempty"`

	// DecodeRows is the most query rows of a KV head that are decoded, -1 for none.
	DecodeRows int `json:"decode_rows,omitempty"`
}

// A TuningError says why a tuning cannot be used: it is of another CPU or kernel set, or has
// impossible choices.
type TuningError struct {
	Field     string // "cpu", "kernel", "format", "rules[1].lanes"
	Got, Want string // what the tuning has there, and what it would have to have
}

func (e *TuningError) Error() string {
	return fmt.Sprintf("qkv: tuning: %s is %s, %s is needed", e.Field, e.Got, e.Want)
}

// CPUName names the CPU that this program runs on, as a [Tuning] does.
func CPUName() string {
	c := &cpuid.CPU
	return fmt.Sprintf("%s, family %d, model %d", c.BrandName, c.Family, c.Model)
}

const (
	maxTuning   = 1 << 16 // bytes of a file
	tuningDepth = 3       // the tuning, its rules, a rule
)

// ReadTuning reads a file that qkv tune has written. Whether it is of this machine is checked
// by [New].
func ReadTuning(path string) (*Tuning, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTuning+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxTuning {
		return nil, fmt.Errorf("qkv: %s: a tuning has at most %d bytes", path, maxTuning)
	}
	t, err := parseTuning(data)
	if err != nil {
		return nil, fmt.Errorf("qkv: %s is not a tuning: %w", path, err)
	}
	return t, nil
}

// ParseTuning reads the text of a file, see [ReadTuning]. A field that is missing, null, of
// another type, there twice or not known is an error.
func ParseTuning(data []byte) (*Tuning, error) {
	t, err := parseTuning(data)
	if err != nil {
		return nil, fmt.Errorf("qkv: not a tuning: %w", err)
	}
	return t, nil
}

func parseTuning(data []byte) (*Tuning, error) {
	o, err := jsontree.Parse(data, tuningDepth)
	if err != nil {
		return nil, err
	}
	t := new(Tuning)
	return t, jsontree.DecodeExact(o, t)
}

// check reports why the tuning cannot be used on a set.
func (t *Tuning) check(set *kernel.Set) error {
	for _, f := range []struct{ name, got, want string }{
		{"format", t.Format, TuningFormat}, {"cpu", t.CPU, CPUName()}, {"kernel", t.Kernel, set.Name},
	} {
		if f.got != f.want {
			return &TuningError{f.name, fmt.Sprintf("%q", f.got), fmt.Sprintf("%q", f.want)}
		}
	}
	for i, r := range t.Rules {
		wrong := func(field string, got int, want string) error {
			return &TuningError{fmt.Sprintf("rules[%d].%s", i, field), fmt.Sprint(got), want}
		}
		switch {
		case r.MaxDim < 1 || r.MaxDim > MaxDim:
			return wrong("max_dim", r.MaxDim, fmt.Sprintf("1 to %d", MaxDim))
		case r.Lanes < 0 || r.Lanes > set.Lanes || r.Lanes%set.Vec != 0:
			return wrong("lanes", r.Lanes, fmt.Sprintf("a multiple of %d up to %d", set.Vec, set.Lanes))
		case r.QueryRows < 0 || r.QueryRows > MaxSeq || r.QueryRows > 0 && r.QueryRows < max(r.Lanes, set.Vec):
			return wrong("query_rows", r.QueryRows, fmt.Sprintf("%d to %d", max(r.Lanes, set.Vec), MaxSeq))
		case r.DecodeRows < -1 || r.DecodeRows > set.DecodeRows:
			return wrong("decode_rows", r.DecodeRows, fmt.Sprintf("-1 to %d", set.DecodeRows))
		}
	}
	return nil
}

// tile returns the tuning as package tile has it, for this CPU; t may be nil.
func (t *Tuning) tile() tile.Tuning {
	to := tile.Tuning{Near: asksNear(&cpuid.CPU), Apart: takesApart(&cpuid.CPU), Turns: takesTurns(&cpuid.CPU)}
	if t != nil {
		for _, r := range t.Rules {
			to.Rules = append(to.Rules, tile.Rule(r))
		}
	}
	return to
}
