package tile

import "github.com/qkv-go/qkv/kernel"

// A Plan keeps how a Problem was divided into items for others that differ from it in nothing that
// matters to that, as those of the layers of a model do in one step. The zero Plan has none. It is for
// one Problem at a time.
type Plan struct {
	of       planKey
	schedule Schedule
	decoding decoding
}

// Forget has the plan made again: lengths or tables have changed.
func (p *Plan) Forget() { p.of = planKey{} }

// A planKey is what a division goes by besides lengths and tables.
type planKey struct {
	workers               int // 0 for no plan
	batch, heads, kvHeads int
	dimQK, dimV           int
	k, v                  planRows
	precision             kernel.Precision
	values                kernel.Precision
	left, right, offset   int64
	bottomRight, behind   bool
	prefix                int
	ring                  bool
	dense, modifies       bool
	decodable             bool
	pairs                 bool // of bfloat16
}

// A planRows is what a division goes by of keys or values.
type planRows struct {
	elem   kernel.Elem
	stride [4]int
	scale  [4]int
}

// planKey returns the key of p, or that of no plan if p has parts of its own that decide.
func (p *Problem) planKey(workers int) planKey {
	m := &p.Mask
	if m.Offsets != nil || m.Prefixes != nil || m.Blocks.Bits != nil {
		return planKey{}
	}
	rows := func(t *KV) planRows { return planRows{t.Elem, t.Stride, t.Scale.Stride} }
	return planKey{
		workers: workers, batch: p.Batch, heads: p.Heads, kvHeads: p.KVHeads, dimQK: p.DimQK, dimV: p.DimV,
		k: rows(&p.K), v: rows(&p.V), precision: p.Precision, values: p.Values,
		left: m.Left, right: m.Right, offset: m.Offset, bottomRight: m.BottomRight, behind: m.Behind,
		prefix: m.Prefix, ring: p.Ring, dense: m.dense(), modifies: p.modifies(),
		decodable: p.ProbMod == nil && p.Record.Base == nil,
	}
}

// divide returns how to divide p for at most workers goroutines, as p.Plan has it or in d.
func (e *Engine) divide(p *Problem, workers int, d *decoding) (Schedule, *decoding) {
	plan, key := p.Plan, planKey{}
	if plan != nil {
		key = p.planKey(workers)
		key.pairs = key.workers > 0 && e.pairsValues(p)
	}
	switch {
	case key.workers == 0:
		return e.schedule(p, workers, d), d
	case plan.of != key:
		plan.schedule = e.schedule(p, workers, &plan.decoding)
		plan.of = key
	}
	return plan.schedule, &plan.decoding
}
