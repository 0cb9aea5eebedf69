package qkv

import (
	"context"
	"math"
	"strconv"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
	"github.com/qkv-go/qkv/tile"
)

// A RotaryConfig describes a rotary position embedding (RoFormer; Su et al., 2021): pair i
// of the elements of a query or key at position p is rotated by the angle
// p * Base^(-2i/Dim), or one that Scaling makes of it.
type RotaryConfig struct {
	// Dim is how many elements of a head are rotated, even, the first ones of it. What
	// follows them stays as it is (partial_rotary_factor * head_dim in a config.json).
	Dim int

	// Interleaved pairs neighbours, elements 2i and 2i+1, as RoFormer, GPT-J and the
	// original Llama code do, and as GGUF files of the architecture llama have the rows of Q
	// and K. Otherwise pairs are elements i and i + Dim/2, as in GPT-NeoX, in models of
	// Hugging Face transformers, and in GGUF files of Qwen, Gemma, Phi and gpt-oss.
	Interleaved bool

	// MaxPositions is the number of positions, from 0 on, that tables are made for.
	MaxPositions int

	// Base is rope_theta of a config.json, more than 1; 0 means 10000.
	Base float64

	// Scaling is rope_scaling of a config.json.
	Scaling RotaryScaling

	// Cos and Sin [positions, Dim/2], if not nil, are the tables, in place of those made
	// from the fields from MaxPositions on, which are left at zero. They are not copied
	// and may not change any more.
	Cos, Sin []float32
}

// A Rotary is the tables of a rotary position embedding. It does not change, and is safe
// for use by several goroutines at once.
//
// A table that is not given is made in float64, by the same operations everywhere, and
// rounded once: it has the same bits on every architecture.
type Rotary struct {
	tables    tile.Rotary
	positions int
}

// maxTable bounds the elements of a table: 1 GiB of them, or a quarter of that where an int
// has 32 bits.
const maxTable = 1 << (28 - 2*(64-strconv.IntSize)/32)

// NewRotary makes the tables of an embedding. The error is an [*ArgError], or a [*MemoryError] for
// more memory than there is.
func NewRotary(cfg RotaryConfig) (*Rotary, error) {
	dim := cfg.Dim
	switch {
	case dim < 2:
		return nil, argError("dim", dim, 2, "dim is %d, at least 2 is needed", dim)
	case dim > MaxDim:
		return nil, argError("dim", dim, MaxDim, "dim is %d, at most %d is supported", dim, MaxDim)
	case dim%2 != 0:
		return nil, argError("dim", dim, dim-1, "dim is %d, an even number is needed", dim)
	}
	r := &Rotary{tables: tile.Rotary{Pairs: dim / 2}}
	if cfg.Interleaved {
		r.tables.Pairing = kernel.Interleaved
	}
	if cfg.Cos != nil || cfg.Sin != nil {
		if err := r.give(&cfg); err != nil {
			return nil, err
		}
		return r, nil
	}
	n := cfg.MaxPositions
	if n < 1 {
		return nil, argError("maxPositions", n, 1, "maxPositions is %d, at least 1 is needed", n)
	}
	if most := maxTable / r.tables.Pairs; n > most {
		return nil, argError("maxPositions", n, most, "maxPositions is %d, at most %d are supported for dim %d", n, most, dim)
	}
	base := cfg.Base
	if base == 0 {
		base = 10000
	}
	if !(base > 1) || math.IsInf(base, 0) {
		return nil, argError("base", 0, 1, "base is %v, a finite number above 1 is needed", base)
	}
	s := &cfg.Scaling
	if err := s.check(dim, n); err != nil {
		return nil, err
	}
	if b := s.scaledBase(dim, n, base); !(b <= math.MaxFloat64) {
		return nil, argError("base", 0, 1, "base is %v and its scaling %q makes it %v", base, string(s.Type), b)
	}
	if err := checkMemory("maxPositions", 2*4*int64(n)*int64(r.tables.Pairs)); err != nil {
		return nil, err
	}
	r.positions = n
	r.fill(s.frequencies(dim, n, base), s.attentionFactor())
	return r, nil
}

// give takes the tables of a config.
func (r *Rotary) give(cfg *RotaryConfig) error {
	cos, sin, pairs := len(cfg.Cos), len(cfg.Sin), r.tables.Pairs
	switch {
	case cos != sin:
		return argError("sin", sin, cos, "sin has length %d, cos has %d", sin, cos)
	case cos%pairs != 0:
		return argError("cos", cos, pairs, "cos has length %d, not a multiple of half of dim, %d", cos, pairs)
	case cfg.MaxPositions != 0:
		return argError("maxPositions", cfg.MaxPositions, 0, "maxPositions is %d, beside given tables it is 0", cfg.MaxPositions)
	case cfg.Base != 0:
		return argError("base", 0, 0, "base is %v, beside given tables it is 0", cfg.Base)
	case cfg.Scaling.Type != "":
		return argError("scaling", 0, 0, "scaling has type %q, beside given tables it has none", string(cfg.Scaling.Type))
	}
	r.positions, r.tables.Cos, r.tables.Sin = cos/pairs, cfg.Cos, cfg.Sin
	return nil
}

// fill makes the tables of frequencies.
func (r *Rotary) fill(freqs []float64, factor float64) {
	r.tables.Cos, r.tables.Sin = make([]float32, r.positions*r.tables.Pairs), make([]float32, r.positions*r.tables.Pairs)
	i := 0
	for p := range r.positions {
		for _, f := range freqs {
			sin, cos := fp.Sincos(float64(p), f)
			r.tables.Cos[i], r.tables.Sin[i] = float32(cos*factor), float32(sin*factor)
			i++
		}
	}
}

// Dim returns the number of elements of a head that are rotated. Of nil it is 0.
func (r *Rotary) Dim() int {
	if r == nil {
		return 0
	}
	return 2 * r.tables.Pairs
}

// Positions returns the number of positions that the tables have, from 0 on. Of nil it is 0.
func (r *Rotary) Positions() int {
	if r == nil {
		return 0
	}
	return r.positions
}

// Tables returns the cosines and sines, [positions, Dim/2], of nil none. They may not be changed.
func (r *Rotary) Tables() (cos, sin []float32) {
	if r == nil {
		return nil, nil
	}
	return r.tables.Cos, r.tables.Sin
}

// Rotate rotates x in place, queries or keys [batch, heads, seq, dim] with any strides,
// whose dim is at least r's. Positions [seq], or [batch*seq] where each sequence has its
// own, are those of the tokens; nil means 0 to seq-1. The error is an [*ArgError]; nothing
// has been written then.
//
// For each pair, y0 = fma(-sin, x1, x0*cos) and y1 = fma(sin, x0, x1*cos), the first
// product rounded, on every kernel set. The batch and the other tokens do not matter.
func (e *Engine) Rotate(r *Rotary, x View, positions []int) error {
	_, err := e.rotate(r, &x, positions, nil)
	return err
}

// RotateContext is Rotate that ends early, within some milliseconds, when ctx is done. The error
// is then that of the context, wrapped, and its cause. Each token is then either rotated or as it was,
// without a sign of which. A context that is done before the call has nothing written.
func (e *Engine) RotateContext(ctx context.Context, r *Rotary, x View, positions []int) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.rotate(r, &x, positions, done)
	return outcome(ctx, whole, err)
}

// rotate rotates x until done is closed, and reports whether all of it is rotated.
func (e *Engine) rotate(r *Rotary, x *View, positions []int, done tile.Done) (whole bool, err error) {
	if err := e.ready(); err != nil {
		return false, err
	}
	if err := r.check(x, positions); err != nil {
		return false, err
	}
	if x.empty() {
		return true, nil
	}
	return e.engine.Rotate(&tile.Rotation{
		X: x.operand(), Batch: x.shape[axisBatch], Heads: x.shape[axisHeads], Seq: x.shape[axisSeq],
		Rotary: &r.tables, Done: done,
	}, positions, e.Workers()), nil
}

// check reports a view that cannot be rotated, and positions that the tables do not have.
func (r *Rotary) check(x *View, positions []int) error {
	if r == nil || r.tables.Pairs == 0 {
		return argError("rotary", 0, 0, "rotary is nil or empty, one of NewRotary is needed")
	}
	if err := x.checkKind("x", kindFloat32); err != nil {
		return err
	}
	if err := x.check("x", &axisNames); err != nil {
		return err
	}
	if d := x.shape[axisDim]; d < r.Dim() {
		return argError("x", d, r.Dim(), "x has head dim %d, the rotary embedding has %d", d, r.Dim())
	}
	if err := x.checkWritable("x", &axisNames); err != nil {
		return err
	}
	written := x.region()
	if err := r.checkTables("x", &written); err != nil {
		return err
	}
	return r.checkPositions("x", x.shape[axisBatch], x.shape[axisSeq], positions, x.empty())
}

// checkPositionCount reports positions of a tensor of that name that are not those of its tokens.
func checkPositionCount(name string, batch, seq int, positions []int) error {
	if n := len(positions); positions != nil && n != seq && n != mul(batch, seq) {
		return argError("positions", n, seq, "positions has length %d, %s has sequence length %d and batch %d", n, name, seq, batch)
	}
	return nil
}

// checkTables reports an output that shares memory with the tables.
func (r *Rotary) checkTables(name string, written *region) error {
	const tables = "the tables of the rotary embedding"
	if err := checkFloatsApart(name, written, tables, r.tables.Cos); err != nil {
		return err
	}
	return checkFloatsApart(name, written, tables, r.tables.Sin)
}

// checkPositions reports positions of a tensor of that name that the tables do not have.
func (r *Rotary) checkPositions(name string, batch, seq int, positions []int, empty bool) error {
	if err := checkPositionCount(name, batch, seq, positions); err != nil {
		return err
	}
	if positions == nil && seq > r.positions && !empty {
		return argError(name, seq, r.positions, "%s has sequence length %d, the rotary embedding has %d positions", name, seq, r.positions)
	}
	for i, p := range positions {
		if p < 0 || p >= r.positions {
			return argError("positions", p, r.positions, "positions[%d] is %d, the rotary embedding has %d positions", i, p, r.positions)
		}
	}
	return nil
}
