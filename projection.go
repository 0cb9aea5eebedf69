package qkv

import (
	"context"
	"sync"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A Linear is the weights of a linear layer, y = x W + Bias.
type Linear struct {
	W      Matrix        // [in, out]; weights that are stored [out, in] are its transpose, see [Matrix.T]
	Packed *PackedMatrix // in the place of W, for one that was packed before, see [Engine.PackHeads]
	Bias   []float32     // [out], or nil
}

// given reports whether there are weights.
func (l *Linear) given() bool { return l.Packed != nil || l.W.given() }

// columns returns the number of columns of unchecked weights.
func (l *Linear) columns() int {
	if l.Packed != nil {
		return l.Packed.cols
	}
	return l.W.cols
}

// check reports weights that e cannot use in products of a class. They have so many rows and columns.
func (l *Linear) check(e *Engine, name string, precision Precision) (rows, cols int, err error) {
	if l.Packed == nil {
		return l.W.rows, l.W.cols, l.W.checkWeights(name)
	}
	if l.W.given() {
		return 0, 0, argError(name, l.Packed.rows, l.W.rows, "%s is given twice, packed with %d rows and not packed with %d", name, l.Packed.rows, l.W.rows)
	}
	return l.Packed.rows, l.Packed.cols, l.Packed.checkFor(e, name, precision)
}

// A ProjectionConfig says what a [Projection] computes. Of Q, K and V those without weights
// are left out. Weights that are packed already have the heads of the projection,
// see [Engine.PackHeads].
type ProjectionConfig struct {
	Q Linear // [in, Heads*dimQK]
	K Linear // [in, KVHeads*dimQK]
	V Linear // [in, KVHeads*dimV]

	Heads   int // of queries
	KVHeads int // of keys and values; 0 means Heads

	// Precision is the numerical class of the products, of all that a [LayerConfig] has as well: see
	// [Product.Precision]. Weights that are packed already are packed for it. Sums, and what they go through
	// here, are float32.
	Precision Precision

	// QNorm and KNorm [dimQK], if not nil, are the weights of a normalisation of each head
	// of the queries and keys by its root mean square (Qwen 3, Gemma 3, 2025), see
	// docs/numerics.md. NormEps is added to the mean square; 0 means 1e-6, and 2^-125 is the
	// least.
	QNorm, KNorm []float32
	NormEps      float32

	// Rotary, if not nil, rotates queries and keys by their positions, after that.
	Rotary *Rotary

	// QueryScale, if not nil, returns what the queries at a position are multiplied by after that. The
	// product is rounded to float32. For example, the attention temperature of Llama 4:
	//
	//	func(position int) float32 {
	//		return float32(math.Log(math.Floor(float64(position+1)/8192)+1)*0.1 + 1)
	//	}
	//
	// A call of the Projection calls it once for each token, on the goroutine of its caller, before
	// anything is written. Several calls may do so at once.
	QueryScale func(position int) float32

	// InPlace reads the weights that are not packed yet where they are at each call, as those of a
	// file mapped into memory. Otherwise NewProjection packs them, see [Engine.PackFor]: memory for another copy,
	// which is read faster.
	InPlace bool
}

// A Projection computes queries, keys and values from the same rows in one product,
//
//	Q = X Wq + bq, K = X Wk + bk, V = X Wv + bv
//
// and writes each where attention will read it, see [Projection.Run], or into a cache, see
// [Projection.Step]. It is safe for use by several goroutines at once.
type Projection struct {
	engine    *Engine
	precision Precision
	parts     []projectedPart
	in        int
	rotary    *Rotary
	scale     func(position int) float32
	norms     [2][]float32 // of q and k
	eps       float32
}

// Bytes returns the size of the packed weights of Q, K and V, [PackedMatrix.Bytes] of each. It is 0
// if they are read in place, and of nil.
func (p *Projection) Bytes() int {
	if p == nil {
		return 0
	}
	n := 0
	for i := range p.parts {
		n += p.parts[i].packed.Bytes()
	}
	return n
}

// A projectedPart is one of Q, K and V.
type projectedPart struct {
	tile.Part
	index  int           // of q, k and v
	packed *PackedMatrix // nil if the weights are read in place
}

var projectionNames = [3]string{"q", "k", "v"}

// NewProjection returns a Projection, for use on e. It keeps the biases, the weights of
// the norms, and the other weights if they are read in place. The error is an [*ArgError], or a
// [*MemoryError] for more memory than there is.
func (e *Engine) NewProjection(cfg ProjectionConfig) (*Projection, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	if err := cfg.Precision.check("precision"); err != nil {
		return nil, err
	}
	eps, err := normEps("normEps", cfg.NormEps)
	if err != nil {
		return nil, err
	}
	p := &Projection{engine: e, precision: cfg.Precision, rotary: cfg.Rotary, scale: cfg.QueryScale, norms: [2][]float32{cfg.QNorm, cfg.KNorm}, eps: eps}
	heads := [3]int{cfg.Heads, cfg.KVHeads, cfg.KVHeads}
	if cfg.KVHeads == 0 {
		heads[1], heads[2] = cfg.Heads, cfg.Heads
	}
	var first string
	for i, l := range [...]*Linear{&cfg.Q, &cfg.K, &cfg.V} {
		if !l.given() {
			continue
		}
		name := projectionNames[i] + " weights"
		rows, cols, err := l.check(e, name, cfg.Precision)
		if err != nil {
			return nil, err
		}
		if heads[i] < 1 {
			return nil, argError(name, heads[i], 1, "%s has %d columns for %d heads, at least 1 is needed", name, cols, heads[i])
		}
		if cols%heads[i] != 0 {
			return nil, argError(name, cols, heads[i], "%s has %d columns, not a multiple of %d heads", name, cols, heads[i])
		}
		if n := l.Packed.Heads(); l.Packed != nil && n != heads[i] {
			return nil, argError(name, n, heads[i], "%s is packed as %d heads, the projection has %d", name, n, heads[i])
		}
		width := cols / heads[i]
		if width > MaxDim {
			return nil, argError(name, width, MaxDim, "%s has head dim %d, at most %d is supported", name, width, MaxDim)
		}
		if err := checkBias(projectionNames[i]+" bias", l.Bias, name, cols); err != nil {
			return nil, err
		}
		if first == "" {
			first, p.in = name, rows
		} else if rows != p.in {
			stored := ""
			if cols == p.in && l.Packed == nil {
				stored = ": weights stored [out, in] are given as W.T()"
			}
			return nil, argError(name, rows, p.in, "%s has %d rows, %s has %d%s", name, rows, first, p.in, stored)
		}
		if err := p.checkEpilogue(i, width); err != nil {
			return nil, err
		}
		p.parts = append(p.parts, projectedPart{index: i, packed: l.Packed, Part: tile.Part{Heads: heads[i], Width: width}})
	}
	if first == "" {
		return nil, argError("weights", 0, 1, "the projection has %d matrices of weights, at least 1 is needed", 0)
	}
	for i := range p.parts {
		part := &p.parts[i]
		l := [...]*Linear{&cfg.Q, &cfg.K, &cfg.V}[part.index]
		name := projectionNames[part.index] + " weights"
		var err error
		switch {
		case part.packed != nil:
			part.Part = part.packed.part(tile.Matrix{})
		case cfg.InPlace:
			part.W = l.W.tile()
			if part.Int8, err = l.W.int8Form(name, cfg.Precision); err != nil {
				return nil, err
			}
		default:
			if part.packed, err = e.pack(name, cfg.Precision, l.W, part.Heads); err != nil {
				return nil, err
			}
			part.Part = part.packed.part(tile.Matrix{})
		}
		part.Bias = unsafe.Pointer(unsafe.SliceData(l.Bias))
		if part.index < len(p.norms) {
			part.Norm, part.Eps = p.norms[part.index], p.eps
			if p.rotary != nil {
				part.Rotary = &p.rotary.tables
			}
		}
	}
	return p, nil
}

// checkEpilogue reports what cannot be done to a head of so many dims.
func (p *Projection) checkEpilogue(index, width int) error {
	if index == len(p.norms) { // values
		return nil
	}
	name := projectionNames[index]
	if w := p.norms[index]; w != nil && len(w) != width {
		return argError(name+" norm", len(w), width, "%s norm has length %d, %s has head dim %d", name, len(w), name, width)
	}
	if r := p.rotary; r != nil && r.tables.Pairs == 0 {
		return argError("rotary", 0, 0, "rotary is empty, one of NewRotary is needed")
	} else if r != nil && width < r.Dim() {
		return argError(name, width, r.Dim(), "%s has head dim %d, the rotary embedding has %d", name, width, r.Dim())
	}
	return nil
}

// keptNames are those of what a Projection keeps of the caller's memory.
var keptNames = [3][3]string{
	{"q weights", "q bias", "q norm"}, {"k weights", "k bias", "k norm"}, {"v weights", "v bias", ""},
}

// checkKept reports an output that shares memory with weights, biases, norms or tables that p keeps.
func (p *Projection) checkKept(name string, written *region) error {
	for i := range p.parts {
		part := &p.parts[i]
		names, cols := &keptNames[part.index], part.Heads*part.Width
		var err error
		if part.packed != nil { // maybe in memory of the caller
			err = checkFloatsApart(name, written, names[0], part.packed.mem)
		} else if w := part.W.Weights; w != nil {
			err = checkWeightsApart(name, written, names[0], w)
		} else {
			kept := floatAxes(part.W.Base, regionAxis{4 * part.W.Row, p.in - 1}, regionAxis{4 * part.W.Col, cols - 1})
			err = checkApart(name, written, names[0], &kept)
		}
		if err == nil && part.Bias != nil {
			err = checkFloatsApart(name, written, names[1], unsafe.Slice((*float32)(part.Bias), cols))
		}
		if err == nil && part.index < len(p.norms) {
			err = checkFloatsApart(name, written, names[2], p.norms[part.index])
		}
		if err != nil {
			return err
		}
	}
	if p.rotary == nil {
		return nil
	}
	return p.rotary.checkTables(name, written)
}

// A ProjectionCall is the operands of a [Projection].
type ProjectionCall struct {
	X Matrix // [batch*seq, in]: token s of sequence b in row b*seq + s

	// Q, K and V [batch, heads, seq, dim], in any strides, are written. What the projection has no
	// weights of is not given. They share no element with each other, with X or with weights, biases,
	// norms and tables that the Projection keeps.
	Q, K, V View

	// Positions [seq], or [batch*seq] where each sequence has its own, are those of the
	// tokens for the rotary embedding and QueryScale; nil means 0 to seq-1.
	Positions []int
}

// Run computes c. The error is an [*ArgError]; nothing has been written then.
func (p *Projection) Run(c *ProjectionCall) error {
	_, err := p.run(c, nil)
	return err
}

// RunContext is Run that ends early, within some milliseconds, when ctx is done. The error is then
// that of the context, wrapped, and its cause. Q, K and V are unspecified then. A context that is done
// before the call has nothing written.
func (p *Projection) RunContext(ctx context.Context, c *ProjectionCall) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := p.run(c, done)
	return outcome(ctx, whole, err)
}

// run computes c until done is closed, and reports whether all of it is computed.
func (p *Projection) run(c *ProjectionCall, done tile.Done) (whole bool, err error) {
	if err := p.ready(); err != nil {
		return false, err
	}
	if c == nil {
		return false, argError("call", 0, 1, "call is nil")
	}
	run := p.begin()
	if err = run.prepare(c); err == nil {
		run.product.Done = done
		whole = p.engine.engine.Multiply(&run.product, p.engine.Workers())
	}
	run.release()
	return whole, err
}

// ready reports a Projection that NewProjection has not made.
func (p *Projection) ready() error {
	if p == nil || p.engine == nil {
		return argError("projection", 0, 1, "projection is nil or zero: NewProjection makes one")
	}
	return nil
}

// positioned reports whether positions make a difference.
func (p *Projection) positioned() bool { return p.rotary != nil || p.scale != nil }

// checkPositions reports positions that the rotary embedding does not have, or not of each token.
func (p *Projection) checkPositions(batch, seq int, positions []int) error {
	if p.rotary != nil {
		return p.rotary.checkPositions("x", batch, seq, positions, false)
	}
	return checkPositionCount("x", batch, seq, positions)
}

// projecting is a call of a Projection.
type projecting struct {
	projection *Projection
	product    tile.Product
	scales     []float32 // of the queries of each row
	positions  []int     // a copy of those of the call, which a QueryScale may change
}

// projectings are those that no call uses. All projections take them from here: what the layer before has used is in a
// cache yet.
var projectings = sync.Pool{New: func() any { return new(projecting) }}

// begin returns what a call needs, until it is released.
func (p *Projection) begin() *projecting {
	r := projectings.Get().(*projecting)
	r.projection = p
	return r
}

// prepare checks the call and translates it.
func (r *projecting) prepare(c *ProjectionCall) error {
	p := r.projection
	if err := p.checkX(&c.X); err != nil {
		return err
	}
	views := [3]*View{&c.Q, &c.K, &c.V}
	var batch, seq int
	for i := range p.parts {
		part := &p.parts[i]
		name, v := projectionNames[part.index], views[part.index]
		if err := v.checkKind(name, kindFloat32); err != nil {
			return err
		}
		if err := v.check(name, &axisNames); err != nil {
			return err
		}
		if i == 0 {
			batch, seq = v.shape[axisBatch], v.shape[axisSeq]
			if n := mul(batch, seq); n != c.X.rows {
				return argError(name, n, c.X.rows, "%s has %d tokens (batch %d, sequence length %d), x has %d rows", name, n, batch, seq, c.X.rows)
			}
		}
		if err := part.checkShape(v, batch, seq); err != nil {
			return err
		}
	}
	if err := p.checkApart(c); err != nil {
		return err
	}
	if c.Positions != nil && !p.positioned() {
		return argError("positions", len(c.Positions), 0, "positions has length %d, and the projection has neither a rotary embedding nor a query scale", len(c.Positions))
	}
	if err := p.checkPositions(batch, seq, c.Positions); err != nil {
		return err
	}
	r.translate(&c.X, seq, c.Positions)
	for i := range p.parts {
		r.product.Parts[i].Y = views[p.parts[i].index].operand()
	}
	r.scale()
	return nil
}

// checkX reports rows that p does not project.
func (p *Projection) checkX(x *Matrix) error {
	if err := x.check("x"); err != nil {
		return err
	}
	if x.cols != p.in {
		return argError("x", x.cols, p.in, "x has %d columns, the weights have %d rows", x.cols, p.in)
	}
	return nil
}

// checkShape reports a checked view that the part cannot be written to.
func (part *projectedPart) checkShape(v *View, batch, seq int) error {
	name := projectionNames[part.index]
	for axis, want := range [4]int{batch, part.Heads, seq, part.Width} {
		if got := v.shape[axis]; got != want {
			return argError(name, got, want, "%s has %s %d, the projection gives %d", name, axisNames[axis], got, want)
		}
	}
	return v.checkWritable(name, &axisNames)
}

// checkApart reports what a call has too much, and an output that shares memory with anything else.
func (p *Projection) checkApart(c *ProjectionCall) error {
	views := [3]*View{&c.Q, &c.K, &c.V}
	var written [3]region
	x := c.X.region()
	for i, name := range projectionNames {
		v := views[i]
		if !v.given() {
			continue
		}
		if p.part(i) == nil {
			return argError(name, v.shape[axisDim], 0, "%s is given, with head dim %d, and the projection has no weights for it", name, v.shape[axisDim])
		}
		written[i] = v.region()
		for j := range i {
			if err := checkApart(name, &written[i], projectionNames[j], &written[j]); err != nil {
				return err
			}
		}
		if err := checkApart(name, &written[i], "x", &x); err != nil {
			return err
		}
		if err := p.checkKept(name, &written[i]); err != nil {
			return err
		}
	}
	return nil
}

// part returns the part of queries, keys or values, or nil.
func (p *Projection) part(index int) *projectedPart {
	for i := range p.parts {
		if p.parts[i].index == index {
			return &p.parts[i]
		}
	}
	return nil
}

// translate makes the product of checked rows but for where it goes, and for the scales.
func (r *projecting) translate(x *Matrix, seq int, positions []int) {
	p, q := r.projection, &r.product
	if p.scale != nil && positions != nil {
		r.positions = kernel.Append(r.positions[:0], positions)
		positions = r.positions
	}
	q.Project, q.Precision = true, kernel.Precision(p.precision)
	q.X, q.Rows, q.Depth, q.Seq, q.Positions = x.tile(), x.rows, p.in, seq, positions
	q.Parts = q.Parts[:0]
	for i := range p.parts {
		q.Parts = append(q.Parts, p.parts[i].Part)
	}
}

// scale sets what the queries of each row are multiplied by, once all else of the product is: the
// function may change the call.
func (r *projecting) scale() {
	of, q := r.projection.scale, &r.product
	if of == nil || r.projection.part(0) == nil {
		return
	}
	r.scales = r.scales[:0]
	for row := range q.Rows {
		switch {
		case row >= q.Seq && len(q.Positions) <= q.Seq: // as in the first sequence
			r.scales = append(r.scales, r.scales[row-q.Seq])
		case q.Positions == nil:
			r.scales = append(r.scales, of(row))
		default:
			r.scales = append(r.scales, of(q.Positions[row]))
		}
	}
	q.Parts[0].Scales = r.scales
}

// release ends a call, and drops the references to the caller's memory.
func (r *projecting) release() {
	releaseProduct(&r.product)
	r.projection = nil
	projectings.Put(r)
}
