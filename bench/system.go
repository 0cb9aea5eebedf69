package bench

import (
	"context"
	"fmt"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// A System computes works: qkv, or what people would use in its place.
type System interface {
	Name() string    // "qkv", "onnxruntime"
	Version() string // of what is linked or loaded

	// Paths returns the ways in which the system computes the inputs on so many threads. What
	// the system would have done before, such as packing weights or laying keys out as its
	// cache has them, is done. The error is an [*UnsupportedError] where it has no way.
	Paths(in Inputs, workers int) ([]Path, error)
}

// A Path is one way of a [System] to compute the inputs that it was made for.
type Path struct {
	Name string // as a record has it: "flash_attn_ext", "sgemm by blocks of 128"

	// Load, if not nil, copies the inputs to where the path has them, in its layout and type.
	// Keys, values and weights may be copied when the path is made: they do not change.
	Load func() error

	// Run computes once. It is what is timed.
	Run func() error

	// Finish, if not nil, copies the result to where the inputs have it.
	Finish func() error

	// Bind, if not nil, gives the context that ends Run and Finish early.
	Bind func(context.Context)

	// Close, if not nil, ends threads and frees memory.
	Close func()

	// Roundoff is the unit roundoff of the arithmetic, 0 for that of float32.
	Roundoff float64

	// Off is how far an element of the output of attention may be off beside that: of values that a path rounds to
	// integers a 0 need not stay 0.
	Off float64

	// Rounds is what a path of a product rounds beside that.
	Rounds Rounds

	// NoLSE says that the log-sum-exp is not returned, and so not checked.
	NoLSE bool

	// Slow, if not empty, says why the path takes so long that it is not to be measured unasked.
	Slow string

	// Rest, if not nil, returns when threads of the system no longer keep processors busy
	// looking for work, which some do after Run has returned.
	Rest func()
}

func (p *Path) roundoff() float64 {
	if p == nil || p.Roundoff == 0 {
		return Roundoff32
	}
	return p.Roundoff
}

func (p *Path) close() {
	if p.Close != nil {
		p.Close()
	}
}

// Compute computes the inputs as they are, and has the result where it is checked.
func (p *Path) Compute() error {
	if p.Load != nil {
		if err := p.Load(); err != nil {
			return err
		}
	}
	if err := p.Run(); err != nil {
		return err
	}
	if p.Finish != nil {
		return p.Finish()
	}
	return nil
}

// An UnsupportedError says why a system does not compute a work.
type UnsupportedError struct {
	System string
	Work   Work
	Reason string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s does not compute %s: %s", e.System, e.Work.Short(), e.Reason)
}

// engine is qkv on a kernel set.
type engine struct {
	kernel string
	labels bool
	tuning *qkv.Tuning

	// made, if not nil, has the engines that were made, by workers: those who take turns are of
	// one, as the layers of a model are.
	made map[int]*qkv.Engine
}

// engine returns the engine of so many workers.
func (s engine) engine(workers int) (*qkv.Engine, error) {
	if e := s.made[workers]; e != nil {
		return e, nil
	}
	e, err := qkv.New(qkv.Config{Kernel: s.kernel, Workers: workers, Labels: s.labels, Tuning: s.tuning})
	if err == nil && s.made != nil {
		s.made[workers] = e
	}
	return e, err
}

// SystemName is the name of qkv as a [System].
const SystemName = "qkv"

// Library returns qkv on the kernel set that [qkv.New] chooses.
func Library() System { return engine{} }

// PackedName is the name of [Packed] as a [System].
const PackedName = "qkv-packed"

// Packed returns qkv with a copy, packed before the clock runs, of weights that a work has in
// place. It computes such products alone.
func Packed() System { return packing{} }

type packing struct{ engine }

func (packing) Name() string { return PackedName }

func (s packing) Paths(in Inputs, workers int) ([]Path, error) {
	p, ok := in.Work().(Product)
	if !ok || !p.InPlace {
		return nil, &UnsupportedError{System: s.Name(), Work: in.Work(), Reason: "there are no weights in place to pack"}
	}
	e, err := s.engine.engine(workers)
	if err != nil {
		return nil, err
	}
	p.InPlace = false
	if w, ok := in.(*WeightInputs); ok {
		return p.paths(e, w.X, w.matrix(), w.Y)
	}
	w := in.(*ProductInputs)
	return p.paths(e, w.X, qkv.RowMajor(w.W, p.N, p.K), w.Y)
}

func (engine) Name() string { return SystemName }

func (engine) Version() string { return ThisBuild().Short() }

func (s engine) Paths(in Inputs, workers int) ([]Path, error) {
	e, err := s.engine(workers)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	bind := func(c context.Context) { ctx = c }
	switch in := in.(type) {
	case *Operands:
		a, err := in.arrange()
		if err != nil {
			return nil, err
		}
		call := a.call
		plan, err := e.Explain(call)
		if err != nil {
			return nil, err
		}
		// Only the output is timed.
		timed := *call
		timed.LSE = nil
		p := Path{
			Name:   plan.Path + inClass(plan.Precision, plan.Values),
			Run:    func() error { return e.RunContext(ctx, &timed) },
			Finish: func() error { return e.RunContext(ctx, call) },
			Bind:   bind,
		}
		if a.load != nil {
			p.Load = func() error { a.load(); return nil }
			p.Finish = func() error {
				if err := e.RunContext(ctx, call); err != nil {
					return err
				}
				a.gather()
				return nil
			}
		}
		return []Path{p}, nil
	case *ProductInputs:
		p := in.Product
		return p.paths(e, in.X, qkv.RowMajor(in.W, p.N, p.K), in.Y)
	case *WeightInputs:
		return in.Product.paths(e, in.X, in.matrix(), in.Y)
	case *ProjectionInputs:
		return s.projection(e, in)
	case *AppendInputs:
		return s.append(e, in)
	}
	return nil, &UnsupportedError{System: s.Name(), Work: in.Work(), Reason: "there is no call for it"}
}

// paths has the one way of a product by weights [N, K].
func (p Product) paths(e *qkv.Engine, x []float32, w qkv.Matrix, y []float32) ([]Path, error) {
	ctx := context.Background()
	product := &qkv.Product{X: qkv.RowMajor(x, p.M, p.K), Y: qkv.RowMajor(y, p.M, p.N), Precision: p.Precision}
	name, rounds := "packed weights", Rounds{}
	switch p.Precision {
	case qkv.PrecisionInt8:
		rounds = Rounds{X: (1 + 1e-4) / 254, Block: kernel.Int8Block}
	case qkv.PrecisionBFloat16:
		rounds = Rounds{X: RoundoffBFloat16, W: RoundoffBFloat16}
	}
	if p.Precision != qkv.PrecisionFloat32 {
		name += ", x " + className(p.Precision)
	}
	if p.InPlace {
		product.W = w.T()
		plan, err := e.ExplainMatMul(product)
		if err != nil {
			return nil, err
		}
		name = fmt.Sprintf("%s, %v, x %s", plan.Path, p.Weights, className(p.Precision))
	} else {
		packed, err := e.PackFor(p.Precision, w.T(), 1)
		if err != nil {
			return nil, err
		}
		product.Packed = packed
		if t := packed.Type(); t != qkv.WeightFloat32 {
			name += ", " + t.String()
		}
	}
	return []Path{{Name: name, Rounds: rounds, Run: func() error { return e.MatMulContext(ctx, product) }, Bind: func(c context.Context) { ctx = c }}}, nil
}

func (s engine) projection(e *qkv.Engine, in *ProjectionInputs) ([]Path, error) {
	p := in.Projection
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: p.Dim, MaxPositions: p.Rows})
	if err != nil {
		return nil, err
	}
	linear := func(w []float32) qkv.Linear { return qkv.Linear{W: qkv.RowMajor(w, len(w)/p.In, p.In).T()} }
	projection, err := e.NewProjection(qkv.ProjectionConfig{
		Q: linear(in.W[0]), K: linear(in.W[1]), V: linear(in.W[2]), Heads: p.Heads, KVHeads: p.KVHeads, Rotary: rotary,
	})
	if err != nil {
		return nil, err
	}
	out := func(x []float32) qkv.View { return qkv.BHSD(x, 1, len(x)/p.Rows/p.Dim, p.Rows, p.Dim) }
	call := &qkv.ProjectionCall{X: qkv.RowMajor(in.X, p.Rows, p.In), Q: out(in.Out[0]), K: out(in.Out[1]), V: out(in.Out[2])}
	ctx := context.Background()
	return []Path{{Name: "packed weights", Run: func() error { return projection.RunContext(ctx, call) }, Bind: func(c context.Context) { ctx = c }}}, nil
}

// append has a sequence go back to its beginning before each call.
func (s engine) append(e *qkv.Engine, in *AppendInputs) ([]Path, error) {
	a := in.Append
	page, name := a.KV.Page, "pages"
	if page == 0 {
		page, name = a.Tokens, "contiguous"
	}
	shape := [4]int{(a.Tokens-1)/page + 1, a.KVHeads, page, a.Dim}
	rows := shape[0] * shape[1] * shape[2]
	k, v := newTensor(a.KV.K, rows, a.Dim), newTensor(a.KV.V, rows, a.Dim)
	call := new(qkv.Call)
	memory := layout{batch: shape[0], heads: shape[1], seq: shape[2]}
	call.K, call.KScale = k.views(memory)
	call.V, call.VScale = v.views(memory)
	c, err := qkv.NewCache(qkv.CacheConfig{Pages: shape[0], PageTokens: page, Layers: []qkv.CacheLayer{{
		KVHeads: a.KVHeads, DimQK: a.Dim, DimV: a.Dim, KeyType: qkv.ElemType(a.KV.K), ValueType: qkv.ElemType(a.KV.V),
		K: call.K, KScale: call.KScale, V: call.V, VScale: call.VScale,
	}}})
	if err != nil {
		return nil, err
	}
	step, err := e.NewStep(c)
	if err != nil {
		return nil, err
	}
	seq := c.NewSequence()
	batch := []qkv.StepSequence{{Sequence: seq, Tokens: a.Tokens}}
	newK, newV := qkv.BHSD(in.K, 1, a.KVHeads, a.Tokens, a.Dim), qkv.BHSD(in.V, 1, a.KVHeads, a.Tokens, a.Dim)
	run := func() error { return refill(step, batch, newK, newV) }
	finish := func() error {
		table, err := seq.Table(0)
		if err != nil {
			return err
		}
		call.Tables, call.LensKV = [][]int32{table}, []int{a.Tokens}
		in.stored = call
		return nil
	}
	return []Path{{Name: name, Run: run, Finish: finish}}, nil
}

// refill empties the one sequence of a batch and writes its new tokens, of a cache of one layer.
func refill(step *qkv.Step, batch []qkv.StepSequence, k, v qkv.View) error {
	if err := batch[0].Sequence.Truncate(0); err != nil {
		return err
	}
	if err := step.Begin(batch); err != nil {
		return err
	}
	if err := step.Write(0, k, v); err != nil {
		return err
	}
	return step.Commit()
}
