package qkv

import (
	"context"
	"math"
	"strconv"
	"sync"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
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
	// original Llama code do. Otherwise pairs are elements i and i + Dim/2, as in GPT-NeoX
	// and in models of Hugging Face transformers.
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
	pairs     int
	pairing   kernel.Pairing
	positions int
	cos, sin  []float32 // [positions][pairs]
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
	r := &Rotary{pairs: dim / 2}
	if cfg.Interleaved {
		r.pairing = kernel.Interleaved
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
	if most := maxTable / r.pairs; n > most {
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
	if err := checkMemory("maxPositions", 2*4*int64(n)*int64(r.pairs)); err != nil {
		return nil, err
	}
	r.positions = n
	r.tables(s.frequencies(dim, n, base), s.attentionFactor())
	return r, nil
}

// give takes the tables of a config.
func (r *Rotary) give(cfg *RotaryConfig) error {
	cos, sin, pairs := len(cfg.Cos), len(cfg.Sin), r.pairs
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
	r.positions, r.cos, r.sin = cos/pairs, cfg.Cos, cfg.Sin
	return nil
}

// tables makes the tables of frequencies.
func (r *Rotary) tables(freqs []float64, factor float64) {
	r.cos, r.sin = make([]float32, r.positions*r.pairs), make([]float32, r.positions*r.pairs)
	i := 0
	for p := range r.positions {
		for _, f := range freqs {
			sin, cos := sincos(float64(p), f)
			r.cos[i], r.sin[i] = float32(cos*factor), float32(sin*factor)
			i++
		}
	}
}

// Dim returns the number of elements of a head that are rotated. Of nil it is 0.
func (r *Rotary) Dim() int {
	if r == nil {
		return 0
	}
	return 2 * r.pairs
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
	return r.cos, r.sin
}

// rotaryArgs keeps arguments of kernels between calls.
var rotaryArgs = sync.Pool{New: func() any { return new(kernel.RotaryArgs) }}

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
// is then that of the context, wrapped, and its cause. The first tokens are then rotated, of all
// sequences before one and of that one, and the others as they were; nobody knows how many. A
// context that is done before the call has nothing written.
func (e *Engine) RotateContext(ctx context.Context, r *Rotary, x View, positions []int) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.rotate(r, &x, positions, done)
	return outcome(ctx, whole, err)
}

// rotateStep bounds the elements that are rotated between two looks at whether to go on: they take
// a millisecond or two.
const rotateStep = 1 << 20

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
	seq := x.shape[axisSeq]
	step := max(1, rotateStep/mul(x.shape[axisHeads], r.Dim()))
	own := len(positions) != seq // positions of each sequence
	for b := range x.shape[axisBatch] {
		of := positions
		if of != nil && own {
			of = of[b*seq:][:seq]
		}
		for s := 0; s < seq; s += step {
			if done.Over() {
				return false, nil
			}
			r.rotateTokens(e.set, x, b, s, min(s+step, seq), of)
		}
	}
	return true, nil
}

// rotateTokens rotates the tokens [s, end) of a sequence, whose positions are those of all
// of its tokens.
func (r *Rotary) rotateTokens(set *kernel.Set, x *View, b, s, end int, positions []int) {
	a := rotaryArgs.Get().(*kernel.RotaryArgs)
	for s < end {
		first, n := run(positions, s, end)
		r.rotateRun(set, a, x, b, s, n, first)
		s += n
	}
	*a = kernel.RotaryArgs{} // keeps no tensor alive
	rotaryArgs.Put(a)
}

// run returns the position of token s, and how many tokens from it on, below end, have
// positions that go up by 1.
func run(positions []int, s, end int) (first, n int) {
	if positions == nil {
		return s, end - s
	}
	for n = 1; s+n < end && positions[s+n] == positions[s]+n; n++ {
	}
	return positions[s], n
}

// check reports a view that cannot be rotated, and positions that the tables do not have.
func (r *Rotary) check(x *View, positions []int) error {
	if r == nil || r.pairs == 0 {
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
	written, cos, sin := x.region(), floatsRegion(r.cos), floatsRegion(r.sin)
	for _, table := range [...]*region{&cos, &sin} {
		if err := checkApart("x", &written, "the tables of the rotary embedding", table); err != nil {
			return err
		}
	}
	return r.checkPositions("x", x.shape[axisBatch], x.shape[axisSeq], positions, x.empty())
}

// checkPositions reports positions of a tensor of that name that the tables do not have.
func (r *Rotary) checkPositions(name string, batch, seq int, positions []int, empty bool) error {
	if n := len(positions); positions != nil && n != seq && n != mul(batch, seq) {
		return argError("positions", n, seq, "positions has length %d, %s has sequence length %d and batch %d", n, name, seq, batch)
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

// rotateRun rotates all heads of n tokens from token s of a sequence on, at the positions
// from first on. The rows of a call into the kernel set are what lies closer together,
// tokens or heads.
func (r *Rotary) rotateRun(set *kernel.Set, a *kernel.RotaryArgs, x *View, b, s, n, first int) {
	heads := x.shape[axisHeads]
	row := func(h, s int) *float32 {
		i := x.offset + b*x.stride[axisBatch] + h*x.stride[axisHeads] + s*x.stride[axisSeq]
		return (*float32)(unsafe.Add(x.data, 4*i))
	}
	if x.stride[axisDim] != 1 {
		for h := range heads {
			for i := range n {
				r.rotateStrided(row(h, s+i), x.stride[axisDim], first+i)
			}
		}
		return
	}
	if n == 1 || heads > 1 && abs(x.stride[axisHeads]) < abs(x.stride[axisSeq]) {
		for i := range n {
			r.rotateToken(set, a, row(0, s+i), heads, x.stride[axisHeads], first+i)
		}
		return
	}
	for h := range heads {
		r.rotateRows(set, a, row(h, s), n, x.stride[axisSeq], first, r.pairs)
	}
}

// rotateToken rotates the heads of a token in place, the first of which begins at p. args
// are lost.
func (r *Rotary) rotateToken(set *kernel.Set, args *kernel.RotaryArgs, p *float32, heads, headStride, position int) {
	r.rotateRows(set, args, p, heads, headStride, position, 0)
}

// rotateRows rotates rows in place. The first is at a position; the tables of each next
// row are tableStride elements on.
func (r *Rotary) rotateRows(set *kernel.Set, a *kernel.RotaryArgs, p *float32, rows, stride, position, tableStride int) {
	table := position * r.pairs
	*a = kernel.RotaryArgs{
		X: p, XStride: stride, Y: p, YStride: stride,
		Cos: &r.cos[table], Sin: &r.sin[table], TableStride: tableStride,
		Rows: rows, Pairs: r.pairs, Pairing: r.pairing,
	}
	set.Rotary(a)
}

// rotateStrided rotates a row in place whose elements are stride apart.
func (r *Rotary) rotateStrided(p *float32, stride, position int) {
	second, step := r.pairs, 1 // as in rotaryGeneric
	if r.pairing == kernel.Interleaved {
		second, step = 1, 2
	}
	cos, sin := r.cos[position*r.pairs:][:r.pairs], r.sin[position*r.pairs:][:r.pairs]
	for i := range cos {
		x0, x1 := at(p, i*step*stride), at(p, (i*step+second)*stride)
		*x0, *x1 = kernel.Rotate(*x0, *x1, cos[i], sin[i])
	}
}
