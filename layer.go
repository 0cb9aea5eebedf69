package qkv

import (
	"context"
	"math"
	"sync"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A LayerConfig is the weights and the options of a [Layer].
type LayerConfig struct {
	// The projection has weights for all of Q, K and V; or for Q alone, for a layer that attends what
	// others have written, in [Layer.Step].
	ProjectionConfig

	Out Linear // [Heads*dimV, out]; packed or not, whatever the others are

	// Gate [in, Heads*dimV], if given, is the weights of an output gate: the attention's output is
	// multiplied by the sigmoids of X Wg + bg, element by element, before the weights of the output
	// (Qwen3-Next, 2025; Qiu et al., Gated Attention, 2025). Packed or not, whatever the others are.
	// Tokens of padding have gates as well: a NaN in their rows of X makes those rows of Y NaN, and no
	// others.
	Gate Linear

	// Attention has the options of the attention: everything but its operands and what else
	// it writes, which belong to a call.
	Attention Call

	// MaxTokens, if not 0, is the most tokens, over all sequences, of one call. It bounds
	// what the layer needs of a workspace, see [Layer.Workspace].
	MaxTokens int
}

// A Layer is a whole attention layer of a network,
//
//	Y = softmax(scale * Q Kᵀ + mask) V Wo + bo, where Q, K and V are projections of X
//
// for heads side by side. A gate, if there is one, multiplies what comes before Wo. Workspaces
// are kept between calls, one for all layers that run one after the other, so that calls allocate nothing in steady
// state. A Layer is safe for use by several goroutines at once.
type Layer struct {
	projection *Projection
	out, gate  layerWeights // of the output, and of its gate, if there is one
	options    Call
	max        int

	heads, dimQK, dimV int
	kvHeads            int // 0 without weights of keys and values
}

// layerWeights are weights of a Layer besides those of its projection.
type layerWeights struct {
	precision Precision
	packed    *PackedMatrix // nil if the weights are read in place
	inPlace   Matrix
	int8      *kernel.Int8Form // of those in place
	bias      []float32
	cols      int // 0 if there are none
}

// keep keeps checked weights of so many columns, after a check of their bias.
func (w *layerWeights) keep(e *Engine, name string, l *Linear, cols int, cfg *ProjectionConfig) (err error) {
	if err := checkBias(name+" bias", l.Bias, name+" weights", cols); err != nil {
		return err
	}
	w.precision, w.packed, w.bias, w.cols = cfg.Precision, l.Packed, l.Bias, cols
	switch {
	case w.packed != nil:
	case cfg.InPlace:
		w.inPlace = l.W
		w.int8, err = l.W.int8Form(name+" weights", cfg.Precision)
	default:
		w.packed, err = e.pack(name+" weights", cfg.Precision, l.W, 1)
	}
	return err
}

// part returns the part of a product that the weights make, without where it goes.
func (w *layerWeights) part() tile.Part {
	var part tile.Part
	if w.packed != nil {
		part = w.packed.part(tile.Matrix{})
	} else {
		part.Heads, part.Width, part.W, part.Int8 = 1, w.cols, w.inPlace.tile(), w.int8
	}
	part.Bias = unsafe.Pointer(unsafe.SliceData(w.bias))
	return part
}

// product returns the product of x and the weights.
func (w *layerWeights) product(x, y Matrix) Product {
	return Product{X: x, W: w.inPlace, Packed: w.packed, Precision: w.precision, Bias: w.bias, Y: y}
}

// checkApart reports an output that shares memory with the weights or the bias.
func (w *layerWeights) checkApart(output string, written *region, name string) error {
	if err := w.inPlace.checkApart(output, written, name+" weights"); err != nil {
		return err
	}
	kept := [...]region{{}, floatsRegion(w.bias)}
	if w.packed != nil { // maybe in memory of the caller
		kept[0] = floatsRegion(w.packed.mem)
	}
	for i, other := range [...]string{" weights", " bias"} {
		if kept[i].base == nil {
			continue
		}
		if err := checkApart(output, written, name+other, &kept[i]); err != nil {
			return err
		}
	}
	return nil
}

// Bytes returns the size of the packed copies of the weights: that of the projection, see
// [Projection.Bytes], and those of the output and the gate, see [PackedMatrix.Bytes]. It is 0 if they
// are read in place, and of nil.
func (l *Layer) Bytes() int {
	if l == nil {
		return 0
	}
	return l.projection.Bytes() + l.out.packed.Bytes() + l.gate.packed.Bytes()
}

// NewLayer returns a Layer, for use on e. It keeps the biases, the weights of the norms, and
// the other weights if they are read in place. The error is an [*ArgError], or a [*MemoryError] for more
// memory than there is.
func (e *Engine) NewLayer(cfg LayerConfig) (*Layer, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	for i, l := range [...]*Linear{&cfg.Q, &cfg.K, &cfg.V} {
		if name := projectionNames[i] + " weights"; !l.given() && (i == 0 || cfg.K.given() || cfg.V.given()) {
			return nil, argError(name, 0, 1, "%s is not given, a layer has those of q, k and v, or of q alone", name)
		}
	}
	o := &cfg.Attention
	for i, v := range [...]*View{&o.Q, &o.K, &o.V, &o.Out, &o.Scores} {
		if v.given() {
			name := [...]string{"q", "k", "v", "out", "scores"}[i]
			return nil, argError(name, v.shape[axisDim], 0, "%s is given, with dim %d, in a configuration; it belongs to a call", name, v.shape[axisDim])
		}
	}
	if o.LSE != nil {
		return nil, argError("lse", len(o.LSE), 0, "lse is given, with length %d, in a configuration; it belongs to a call", len(o.LSE))
	}
	if cfg.MaxTokens < 0 {
		return nil, argError("maxTokens", cfg.MaxTokens, 0, "maxTokens is %d, at least 0 is needed", cfg.MaxTokens)
	}
	p, err := e.NewProjection(cfg.ProjectionConfig)
	if err != nil {
		return nil, err
	}
	const name = "out weights"
	rows, cols, err := cfg.Out.check(e, name, cfg.Precision)
	if err != nil {
		return nil, err
	}
	q := &p.parts[0]
	l := &Layer{
		projection: p, options: cfg.Attention, max: cfg.MaxTokens,
		heads: q.Heads, dimQK: q.Width, dimV: rows / q.Heads,
	}
	if len(p.parts) > 1 {
		k, v := &p.parts[1], &p.parts[2]
		l.kvHeads, l.dimV = k.Heads, v.Width
		if k.Width != q.Width {
			return nil, argError("k weights", k.Width, q.Width, "k weights has %d heads of dim %d, q weights has %d of dim %d", k.Heads, k.Width, q.Heads, q.Width)
		}
		if l.heads%l.kvHeads != 0 {
			return nil, argError("heads", l.heads, l.kvHeads, "there are %d heads, not a multiple of %d KV heads", l.heads, l.kvHeads)
		}
	}
	if n := mul(l.heads, l.dimV); rows != n {
		return nil, argError(name, rows, n, "%s has %d rows, the heads have %d values", name, rows, n)
	}
	if err := l.out.keep(e, "out", &cfg.Out, cols, &cfg.ProjectionConfig); err != nil {
		return nil, err
	}
	if err := l.keepGate(&cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// keepGate keeps the weights of the gate, if there is one.
func (l *Layer) keepGate(cfg *LayerConfig) error {
	if !cfg.Gate.given() {
		return nil
	}
	const name = "gate weights"
	p := l.projection
	rows, cols, err := cfg.Gate.check(p.engine, name, cfg.Precision)
	switch n := l.heads * l.dimV; {
	case err != nil:
		return err
	case rows != p.in:
		return argError(name, rows, p.in, "%s has %d rows, %d are needed", name, rows, p.in)
	case cols != n:
		return argError(name, cols, n, "%s has %d columns, the heads have %d values", name, cols, n)
	}
	return l.gate.keep(p.engine, "gate", &cfg.Gate, cols, &cfg.ProjectionConfig)
}

// Workspace returns the bytes that a call of so many tokens, over all sequences, needs at most: for
// the queries, keys and values, for the attention's output where that does not take the place of the
// queries, and for the gate. [Layer.Step] needs none for keys and values, which go into the cache. There
// are as many workspaces as there are calls of layers at one time. It is 0 of nil.
func (l *Layer) Workspace(tokens int) int {
	if l == nil {
		return 0
	}
	return mul(4, tokens, l.rowValues(l.kvHeads))
}

// rowValues returns the float32 values of a token in a workspace, with keys and values of so many
// heads.
func (l *Layer) rowValues(kvHeads int) int {
	row := l.heads*l.dimQK + kvHeads*(l.dimQK+l.dimV)
	if l.dimQK != l.dimV {
		row += l.heads * l.dimV
	}
	return row + l.gate.cols
}

// A LayerCall is the operands of a [Layer].
type LayerCall struct {
	X     Matrix // [batch*seq, in]: token s of sequence b in row b*seq + s
	Y     Matrix // [batch*seq, out], written; it may be X, and shares no element with what the Layer keeps
	Batch int    // sequences, of equal length; 0 means 1

	// Positions [seq], or [batch*seq] where each sequence has its own, are those of the
	// tokens for the rotary embedding and QueryScale; nil means 0 to seq-1. A ragged batch, by
	// CuLensQ of Attention, is one sequence here: its tokens need the positions of their own.
	Positions []int

	// Attention, if not nil, replaces the options of the [LayerConfig]. A literal in the call is
	// allocated at each call: keep one instead.
	//
	// Q, K, V and Out of it [batch, heads, seq, dim], if given, receive the queries, keys, values and
	// the attention's output, which go to a workspace otherwise. Out is laid out as by [BSHD]. Tokens
	// of a ragged batch that no sequence has count as zeros; with an Out, as what it holds.
	Attention *Call
}

// Forward computes the layer for one sequence, x [seq, in], into y [seq, out], which may
// be x. The error is an [*ArgError]; nothing has been written then.
func (l *Layer) Forward(y, x Matrix) error {
	return l.Run(&LayerCall{X: x, Y: y})
}

// A layerSpace is what a call of a Layer needs.
type layerSpace struct {
	mem     []float32
	project ProjectionCall
	out     Product
	product tile.Product
	gates   Matrix // where the gate goes, and then what is left of the output
	gating  tile.Gating

	// Of a call that is no step's, which has these itself.
	call    Call
	problem tile.Problem
	ours    bool // the output of the attention is in mem
}

// layerSpaces are those that no call uses. All layers take them from here: what the layer before has used is in a cache
// yet, and a model needs the memory of one.
var layerSpaces = sync.Pool{New: func() any { return new(layerSpace) }}

// Run computes c. The error is an [*ArgError], or a [*MemoryError] for a workspace larger than
// there is memory; nothing has been written then.
func (l *Layer) Run(c *LayerCall) error {
	_, err := l.run(c, nil)
	return err
}

// RunContext is Run that ends early, within some milliseconds, when ctx is done. The error is then
// that of the context, wrapped, and its cause. Y and what Attention receives are unspecified
// then. A context that is done before the call has nothing written.
func (l *Layer) RunContext(ctx context.Context, c *LayerCall) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := l.run(c, done)
	return outcome(ctx, whole, err)
}

// run computes c until done is closed, and reports whether all of it is computed.
func (l *Layer) run(c *LayerCall, done tile.Done) (whole bool, err error) {
	if l == nil || l.projection == nil {
		return false, argError("layer", 0, 1, "layer is nil or zero: NewLayer makes one")
	}
	if l.kvHeads == 0 {
		return false, argError("layer", 0, 1, "layer has no weights of keys and values: Step attends those of a cache")
	}
	if c == nil {
		return false, argError("call", 0, 1, "call is nil")
	}
	s := layerSpaces.Get().(*layerSpace)
	run := l.projection.begin()
	if err = l.prepare(c, s, run); err == nil {
		s.end(done, run)
		s.problem.Done = done
		whole = l.compute(s, run)
	}
	run.release()
	s.call, s.problem, s.ours = Call{}, tile.Problem{}, false
	s.release()
	layerSpaces.Put(s)
	return whole, err
}

// prepare checks the call and translates it: everything is checked before anything is written.
func (l *Layer) prepare(c *LayerCall, s *layerSpace, run *projecting) error {
	batch := c.Batch
	if batch == 0 {
		batch = 1
	}
	if err := c.X.check("x"); err != nil {
		return err
	}
	tokens := c.X.rows
	if batch < 0 || tokens%batch != 0 {
		return argError("x", tokens, batch, "x has %d rows, not a multiple of batch %d", tokens, batch)
	}
	if l.max != 0 && tokens > l.max {
		return argError("x", tokens, l.max, "x has %d tokens, the layer is made for at most %d", tokens, l.max)
	}

	// Y has elements of its own for each token, so that these bound the workspace.
	if err := l.checkOutput(&c.Y, tokens); err != nil {
		return err
	}
	s.call = l.options
	if c.Attention != nil {
		s.call = *c.Attention
	}
	s.ours = !s.call.Out.given()
	if err := l.place(s, &s.call, batch, tokens/batch, true); err != nil {
		return err
	}
	o := &s.call.Out
	if err := o.check("out", &axisNames); err != nil {
		return err
	}
	if l.heads > 1 && o.stride[axisHeads] != mul(l.dimV, o.stride[axisDim]) || batch > 1 && o.stride[axisBatch] != mul(tokens/batch, o.stride[axisSeq]) {
		return argError("out", o.stride[axisHeads], l.dimV, "out has strides %v, those of [batch, seq, heads, dim] are needed", o.stride)
	}

	s.project = ProjectionCall{X: c.X, Q: s.call.Q, K: s.call.K, V: s.call.V, Positions: c.Positions}
	if err := run.prepare(&s.project); err != nil {
		return err
	}
	if err := s.call.problem(&s.problem); err != nil {
		return err
	}
	if err := l.prepareOutput(s, o, run, &c.Y); err != nil {
		return err
	}
	written := c.Y.region()
	if err := l.checkKept(s); err != nil {
		return err
	}
	if a := c.Attention; a != nil { // what is given is the caller's to keep
		given := [...]region{a.Q.region(), a.K.region(), a.V.region(), a.Out.region()}
		for i, name := range [...]string{"q", "k", "v", "out"} {
			if err := checkApart("y", &written, name, &given[i]); err != nil {
				return err
			}
		}
	}
	a := &s.call
	others := [...]region{a.Scores.region(), floatsRegion(a.LSE)}
	for i, name := range [...]string{"scores", "lse"} {
		if err := checkApart("y", &written, name, &others[i]); err != nil {
			return err
		}
	}
	return a.checkOptions("y", &written)
}

// checkKept reports an output of the attention, or of the projection, that shares memory with
// weights or biases that l keeps, and one of the projection with options of the attention.
func (l *Layer) checkKept(s *layerSpace) error {
	c := &s.call
	written := [...]region{c.Q.region(), c.K.region(), c.V.region(), c.Out.region(), c.Scores.region(), floatsRegion(c.LSE)}
	for i, name := range [...]string{"q", "k", "v", "out", "scores", "lse"} {
		var err error
		if i < len(projectionNames) { // the projection has looked at what it keeps itself
			err = c.checkOptions(name, &written[i])
		} else {
			err = l.projection.checkKept(name, &written[i])
		}
		if err != nil {
			return err
		}
		if err := l.checkOwn(name, &written[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkOwn reports an output that shares memory with weights or biases of the output and the gate.
func (l *Layer) checkOwn(name string, written *region) error {
	if err := l.out.checkApart(name, written, "out"); err != nil {
		return err
	}
	return l.gate.checkApart(name, written, "gate")
}

// prepareOutput checks y and translates what comes after the attention, and the gate, which becomes a part
// of the product that is prepared. The output of the attention is o.
func (l *Layer) prepareOutput(s *layerSpace, o *View, run *projecting, y *Matrix) error {
	p := &run.product
	rows := Matrix{data: o.floats(), offset: o.offset, rows: p.Rows, cols: l.heads * l.dimV, rowStride: o.stride[axisSeq], colStride: o.stride[axisDim]}
	written := y.region()
	if l.gate.cols > 0 {
		part, gates := l.gate.part(), s.gates.tile()
		part.Y = tile.Operand{Base: gates.Base, Stride: [4]int{p.Seq * gates.Row, part.Width * gates.Col, gates.Row, gates.Col}}
		p.Parts = append(p.Parts, part)
		s.gating = tile.Gating{X: rows.tile(), Gate: gates, Rows: rows.rows, Cols: rows.cols}
		if err := l.gate.checkApart("y", &written, "gate"); err != nil {
			return err
		}
		rows = s.gates
	}
	s.out = l.out.product(rows, *y)
	if err := s.out.problem(l.projection.engine, &s.product); err != nil {
		return err
	}
	return l.projection.checkKept("y", &written)
}

// release drops the references to the caller's memory.
func (s *layerSpace) release() {
	releaseProduct(&s.product)
	s.project, s.out, s.gates, s.gating = ProjectionCall{}, Product{}, Matrix{}, tile.Gating{}
}

// end has all parts of a call end when done is closed.
func (s *layerSpace) end(done tile.Done, run *projecting) {
	run.product.Done, s.gating.Done, s.product.Done = done, done, done
}

// output computes what comes after the attention, and reports whether all of it is computed.
func (l *Layer) output(s *layerSpace) bool {
	e, workers := l.projection.engine.engine, l.projection.engine.Workers()
	return (l.gate.cols == 0 || e.Gate(&s.gating, workers)) && e.Multiply(&s.product, workers)
}

// compute computes what prepare has checked, and reports whether all of it is computed.
func (l *Layer) compute(s *layerSpace, run *projecting) bool {
	e, o := l.projection.engine.engine, &s.call.Out
	workers := l.projection.engine.Workers()
	tokens := s.out.X.rows
	from, to := 0, tokens // those of a ragged batch; a callback may change its lengths
	if cu := s.call.CuLensQ; cu != nil {
		from, to = cu[0], cu[len(cu)-1]
	}
	if !e.Multiply(&run.product, workers) || !e.Run(&s.problem, workers) {
		return false
	}
	if s.ours { // what no sequence has is not written: queries, or another call's
		row, all := o.stride[axisSeq], o.floats()
		kernel.Clear(all[:from*row])
		kernel.Clear(all[to*row : tokens*row])
	}
	return l.output(s)
}

// checkOutput reports a y that has not a row for each token, and tokens that need a workspace
// larger than can be addressed.
func (l *Layer) checkOutput(y *Matrix, tokens int) error {
	if err := y.check("y"); err != nil {
		return err
	}
	if y.rows != tokens {
		return argError("y", y.rows, tokens, "y has %d rows, x has %d", y.rows, tokens)
	}
	if err := y.checkWritable("y"); err != nil {
		return err
	}
	if times(tokens, l.Workspace(1)) == math.MaxInt {
		most := math.MaxInt / l.Workspace(1)
		return argError("x", tokens, most, "x has %d tokens, the workspace of at most %d can be addressed", tokens, most)
	}
	return nil
}

// place gives the operands of the attention c that are not the caller's a place in the
// workspace: keys and values each head by itself, unless they go into a cache, queries and outputs
// token by token. The error is a [*MemoryError].
func (l *Layer) place(s *layerSpace, c *Call, batch, seq int, kv bool) error {
	kvHeads := 0
	if kv {
		kvHeads = l.kvHeads
	}
	if n := mul(batch*seq, l.rowValues(kvHeads)); len(s.mem) < n {
		if err := checkMemory("workspace", 4*int64(n)); err != nil {
			return err
		}
		s.mem = make([]float32, n)
	}
	free := s.mem
	take := func(n int) []float32 {
		m := free[:n:n]
		free = free[n:]
		return m
	}
	if kvHeads > 0 && !c.K.given() {
		c.K = BHSD(take(batch*seq*kvHeads*l.dimQK), batch, kvHeads, seq, l.dimQK)
	}
	if kvHeads > 0 && !c.V.given() {
		c.V = BHSD(take(batch*seq*kvHeads*l.dimV), batch, kvHeads, seq, l.dimV)
	}
	if n := l.gate.cols; n > 0 {
		s.gates = RowMajor(take(batch*seq*n), batch*seq, n)
	}
	q := take(batch * seq * l.heads * l.dimQK)
	if !c.Out.given() {
		out := q
		if l.dimQK != l.dimV {
			out = take(batch * seq * l.heads * l.dimV)
		}
		c.Out = BSHD(out, batch, seq, l.heads, l.dimV)
	}
	if !c.Q.given() {
		c.Q = BSHD(q, batch, seq, l.heads, l.dimQK)
	}
	return nil
}
