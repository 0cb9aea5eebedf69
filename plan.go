package qkv

import (
	"context"
	"fmt"
	"strings"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A Plan says what a call runs.
type Plan struct {
	Kernel     string    // kernel set
	Precision  Precision // numerical class
	Values     Precision // that of weighted values, where Precision is PrecisionInt8
	Path       string    // "prefill": queries in lanes; "decode": few queries; "prefill and decode": of each some sequences
	Lanes      int       // query rows of a lane group: those that stand side by side in vectors
	Rows       int       // micro-tile rows of a full lane group of the set: keys, value dims
	KeyBlock   int       // keys per softmax update
	QueryBlock int       // query rows of a work item, over the heads that share a KV head
	Items      int       // work items of prefill
	Decode     int       // work items of decoding: chunks of keys, or all of them, of some KV heads
	Workers    int       // goroutines

	// ScoreBlocks counts the blocks of up to Lanes queries by up to KeyBlock keys. Of them,
	// Skipped hold no pair that the mask keeps and are not computed, and Full none that it
	// does not keep; the others are Masked. What a bias takes away is not known before.
	ScoreBlocks, Skipped, Masked, Full int64

	Pairs int64   // (query, key) pairs that the mask keeps, over all heads
	FLOPs float64 // 2 * Pairs * (dimQK + dimV)

	// Why gives the reasons, one sentence each.
	Why []string
}

// Explain returns what Run would do with c, without doing it. The error is an [*ArgError], as of Run.
func (e *Engine) Explain(c *Call) (Plan, error) {
	return e.explain(c, nil)
}

// ExplainContext is Explain that ends early when ctx is done: it looks at every block of a mask that
// is read from memory. The error is then that of the context, wrapped, and its cause.
func (e *Engine) ExplainContext(ctx context.Context, c *Call) (Plan, error) {
	done, err := begin(ctx)
	if err != nil {
		return Plan{}, err
	}
	plan, err := e.explain(c, done)
	if err == nil && done.Over() {
		return Plan{}, ended(ctx)
	}
	return plan, err
}

// explain explains c, wrongly once done is closed.
func (e *Engine) explain(c *Call, done tile.Done) (Plan, error) {
	if err := e.ready(); err != nil {
		return Plan{}, err
	}
	var p tile.Problem
	if err := c.problem(&p); err != nil {
		return Plan{}, err
	}
	p.Done = done
	return e.explained(&p), nil
}

// explained says what is run for p.
func (e *Engine) explained(p *tile.Problem) Plan {
	s := e.engine.Schedule(p, e.Workers())
	survey := e.engine.Survey(p, &s)
	plan := Plan{
		Kernel:      e.set.Name,
		Precision:   Precision(p.Precision),
		Values:      Precision(p.Values),
		Path:        "prefill",
		Lanes:       s.Lanes,
		Rows:        e.set.Rows,
		KeyBlock:    kernel.KeyBlock,
		QueryBlock:  s.Rows(),
		Items:       s.Items,
		Decode:      s.Decode,
		Workers:     s.Workers,
		ScoreBlocks: survey.ScoreBlocks,
		Skipped:     survey.Skipped,
		Masked:      survey.Masked(),
		Full:        survey.Full,
		Pairs:       survey.Pairs,
	}
	switch {
	case s.Decode > 0 && s.Items > 0:
		plan.Path = "prefill and decode"
	case s.Decode > 0:
		plan.Path = "decode"
	}
	plan.FLOPs = 2 * float64(plan.Pairs) * float64(p.DimQK+p.DimV)
	plan.Why = append(plan.Why,
		fmt.Sprintf("kernel set %s: %s", plan.Kernel, e.why),
		counted(s.Lanes, "lane")+": "+s.LanesWhy,
		fmt.Sprintf("key blocks of %d: the numerical contract, the same on every set", kernel.KeyBlock),
		fmt.Sprintf("%s: %d skipped, %d masked, %d full", counted(plan.ScoreBlocks, "score block"), plan.Skipped, plan.Masked, plan.Full),
	)
	if why := classWhy(p); why != "" {
		plan.Why = append(plan.Why, fmt.Sprintf("class %v: what was asked for; %s", plan.Precision, why))
	}
	if s.Items > 0 || s.Decode == 0 {
		plan.Why = append(plan.Why, fmt.Sprintf("%s of up to %s: %s", counted(s.Items, "item"), counted(s.Rows(), "row"), s.LaneGroupsWhy))
	}
	if s.Items > 0 {
		plan.Why = append(plan.Why, "keys: "+s.KeysWhy(), "values: "+s.ValuesWhy())
	}
	if s.Decode > 0 {
		plan.Why = append(plan.Why, fmt.Sprintf("%s of few queries: %s", counted(s.Decode, "item"), s.DecodeWhy))
	}
	if s.OrderWhy != "" {
		plan.Why = append(plan.Why, "decoding reads "+s.OrderWhy)
	}
	plan.Why = append(plan.Why,
		e.workersWhy(s.Workers, s.WorkersWhy),
	)
	return plan
}

// workersWhy says how many workers a call has, and why.
func (e *Engine) workersWhy(n int, why string) string {
	if e.workers == 0 && why == tile.AskedFor {
		why = "as many as GOMAXPROCS, since Config.Workers is 0"
	}
	return fmt.Sprintf("%d of at most %s: %s", n, counted(e.Workers(), "worker"), why)
}

// classWhy says what the class of p does, "" of class Float32.
func classWhy(p *tile.Problem) string {
	switch {
	case p.Precision == kernel.PrecisionBFloat16:
		return "queries, keys, weights and values are rounded"
	case p.Precision != kernel.PrecisionInt8:
		return ""
	}
	why := "keys are multiplied as integers, by queries that are quantised in blocks of 32 dims"
	if !p.K.Elem.Integers() {
		why = fmt.Sprintf("keys of type %v have no integers, and are multiplied as in class Float32", p.K.Elem)
	}
	switch {
	case p.Values == kernel.PrecisionFloat32:
	case p.Values == kernel.PrecisionBFloat16:
		why += "; weights and values are rounded to bfloat16"
	case p.V.Elem.Integers():
		why += "; values are multiplied as integers, by weights that are quantised in blocks of 32 keys"
	default:
		why += fmt.Sprintf("; values of type %v have no integers, and are multiplied as in class Float32", p.V.Elem)
	}
	return why
}

// String describes the plan on several lines.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s", p.Path, p.Kernel)
	if p.Precision != PrecisionFloat32 {
		fmt.Fprintf(&b, " in class %v", p.Precision)
	}
	if p.Values != PrecisionFloat32 {
		fmt.Fprintf(&b, " with values in %v", p.Values)
	}
	b.WriteString(": ")
	if p.Items > 0 || p.Decode == 0 {
		fmt.Fprintf(&b, "%s x %s, key block %d, query block %d, %s",
			counted(p.Lanes, "lane"), counted(p.Rows, "row"), p.KeyBlock, p.QueryBlock, counted(p.Items, "item"))
	}
	if p.Items > 0 && p.Decode > 0 {
		b.WriteString(" and ")
	}
	if p.Decode > 0 {
		fmt.Fprintf(&b, "%s of few queries", counted(p.Decode, "item"))
	}
	fmt.Fprintf(&b, " on %s, %.4g GFLOP", counted(p.Workers, "worker"), p.FLOPs*1e-9)
	for _, w := range p.Why {
		b.WriteString("\n  ")
		b.WriteString(w)
	}
	return b.String()
}

// counted writes a number of things.
func counted[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
