package qkv

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A MatMulPlan says what a product runs, or several of the same X.
type MatMulPlan struct {
	Kernel    string    // kernel set
	Precision Precision // numerical class

	// Path is "packed" for packed weights, and "packing" for weights that are packed a block at
	// a time on the way. Weights that are read in place have one of four paths: "transposed"
	// has rows of X in the lanes of vectors, "dots" has columns of Y there, and "combine" adds
	// up multiples of rows of weights. "fused" multiplies by weights of another type as it decodes
	// them. All give the same bits. Of several matrices it names each path once, as in
	// "packed and dots".
	Path string

	NR      int // lanes of a micro-tile: columns of Y, or rows where it is transposed
	MR      int // rows of a micro-tile of NR lanes
	KC      int // terms of a sum by itself
	MC      int // rows of a work item
	NC      int // columns of a work item, about
	Items   int // work items
	Workers int // goroutines; a call has one while those of its size were faster on one

	FLOPs float64 // 2 * m * n * k, n columns of all products, and of Up

	// Why gives the reasons, one sentence each.
	Why []string
}

// ExplainMatMul returns what MatMul would do with the products, without doing it. The error is an
// [*ArgError], as of MatMul.
func (e *Engine) ExplainMatMul(products ...*Product) (MatMulPlan, error) {
	if err := e.ready(); err != nil {
		return MatMulPlan{}, err
	}
	var q tile.Product
	if err := e.translate(products, &q); err != nil {
		return MatMulPlan{}, err
	}
	t := e.engine.PlanProduct(&q, e.Workers())
	columns := 0
	var paths, why []string
	for i := range q.Parts {
		columns += q.Parts[i].Heads * q.Parts[i].Width
		path, because := e.explainPath(&q, i)
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
		if because = fmt.Sprintf("path %s: %s", path, because); !slices.Contains(why, because) {
			why = append(why, because)
		}
	}
	plan := MatMulPlan{
		Kernel: e.set.Name, Precision: Precision(q.Precision), Path: strings.Join(paths, " and "), NR: t.Lanes, MR: e.set.Rows, KC: kernel.KC,
		MC: min(t.MC, q.Rows), NC: (columns + t.Runs - 1) / t.Runs, Items: t.Items(), Workers: t.Workers,
		FLOPs: 2 * float64(q.Rows) * float64(columns) * float64(q.Depth),
	}
	plan.Why = append([]string{fmt.Sprintf("kernel set %s: %s", e.set.Name, e.why)}, why...)
	if plan.Precision == PrecisionInt8 {
		plan.Why = append(plan.Why, "class Int8: what was asked for; rows of x are quantised in blocks of 32 first, and integers are multiplied")
	}
	if plan.Precision == PrecisionBFloat16 {
		how := "as float32, which is faster here than in pairs"
		switch {
		case t.Pairs:
			how = "in pairs, by an instruction for them"
		case !e.set.Paired:
			how = "as float32, since the kernel set has no instruction for pairs"
		}
		plan.Why = append(plan.Why, "class BFloat16: what was asked for; x and the weights are rounded, and multiplied "+how)
	}
	plan.Why = append(plan.Why,
		fmt.Sprintf("sums of %d terms: the numerical contract, the same on every set", plan.KC),
		fmt.Sprintf("%s of up to %s and about %s: what the second-level cache holds, and what keeps every worker busy",
			counted(plan.Items, "item"), counted(plan.MC, "row"), counted(plan.NC, "column")),
	)
	if t.CopyX && !t.Rounded {
		plan.Why = append(plan.Why, "rows of x are copied, some terms of each at a time: what an item reads of them does not fit the second-level cache")
	}
	plan.Why = append(plan.Why, e.workersWhy(plan.Workers, t.WorkersWhy))
	return plan, nil
}

// explainPath names the path of a part of a product, and says why it takes that.
func (e *Engine) explainPath(q *tile.Product, i int) (path, why string) {
	part := &q.Parts[i]
	if part.Panels != nil {
		if part.Strips != kernel.WeightFloat32 {
			return "packed", fmt.Sprintf("the weights were packed before, in type %v", WeightType(part.Strips))
		}
		return "packed", "the weights were packed before"
	}
	switch e.engine.ProductPath(q, i) {
	case tile.PathTransposed:
		return "transposed", "the weights are contiguous along the inner dimension, and rows fill a vector"
	case tile.PathDots:
		return "dots", "the weights are contiguous along the inner dimension, and rows do not fill a vector"
	case tile.PathFused:
		return "fused", fmt.Sprintf("the weights are of type %v, which one row of x is multiplied by as it is decoded", WeightType(part.W.Weights.Type))
	case tile.PathCombine:
		return "combine", "the rows of the weights are contiguous, and those of x are few"
	}
	switch {
	case part.Int8 != nil:
		return "packing", fmt.Sprintf("the weights are of type %v, whose integers are packed on the way", WeightType(part.Int8.Type))
	case part.W.Weights != nil:
		return "packing", fmt.Sprintf("the weights are of type %v, which is decoded on the way", WeightType(part.W.Weights.Type))
	case part.W.Row != 1:
		return "packing", "the weights are not contiguous along the inner dimension"
	}
	return "packing", "the inner dimension is very long, or no whole vector"
}

// String describes the plan on several lines.
func (p MatMulPlan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s", p.Path, p.Kernel)
	if p.Precision != PrecisionFloat32 {
		fmt.Fprintf(&b, " in class %v", p.Precision)
	}
	fmt.Fprintf(&b, ": %d x %d micro-tiles, KC %d, MC %d, NC %d, %s on %s, %.4g GFLOP",
		p.MR, p.NR, p.KC, p.MC, p.NC, counted(p.Items, "item"), counted(p.Workers, "worker"), p.FLOPs*1e-9)
	for _, w := range p.Why {
		b.WriteString("\n  ")
		b.WriteString(w)
	}
	return b.String()
}
