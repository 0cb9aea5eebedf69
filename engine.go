package qkv

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/klauspost/cpuid/v2"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

const (
	// MaxDim is the largest head dim of queries, keys and values.
	MaxDim = 1 << 14

	// MaxSeq is the largest sequence length.
	MaxSeq = 1 << 30
)

// Config says how an [Engine] computes. The zero value is the best that the
// machine can do.
type Config struct {
	// Kernel forces a kernel set by name, see [Kernels]. If it is empty, the
	// environment variable QKV_KERNEL does; if that is empty too, it is the best
	// set that the machine can run. avx512amx is taken only where it is named.
	Kernel string

	// Workers is the most goroutines that one call computes on, the caller's
	// among them; 0 means GOMAXPROCS. It never changes a result.
	Workers int

	// Labels makes workers carry the pprof label "phase", for CPU profiles. Attention has the phases
	// pack, mask, scores, modify, softmax, accumulate, merge and unpack. Matrix products have pack and
	// multiply; a [Projection] has project, and rotate for what is done to its complete heads. A
	// [Layer] with a gate has gate. An [Activation] of a product is in activate. Keys and values are
	// written into a [Cache] in the phase store. Engine.Rotate is in rotate, RMSNorm and LayerNorm are in
	// norm, and Engine.Merge is in merge. All work is done on goroutines other than the caller's then.
	Labels bool

	// Tuning, if not nil, has choices for this CPU and kernel set, see [ReadTuning]. It never
	// changes a result.
	Tuning *Tuning
}

// An Engine computes scaled dot-product attention, and the matrix products on either side
// of it, on a kernel set. It is safe for use by several goroutines at once.
//
// It keeps workspaces between calls, so that calls allocate nothing in steady state. Workspaces grow
// with the head dims, the inner dimension of products up to a bound, the number of calls at one time,
// and the logarithm of the longest sequence. Those of products of class Int8 hold the integers of X, and
// grow with it.
type Engine struct {
	set     *kernel.Set
	why     string
	workers int
	engine  *tile.Engine
}

// New returns an Engine. The error is a [*KernelError] for a kernel set that this
// machine cannot run, a [*TuningError], or an [*ArgError].
func New(cfg Config) (*Engine, error) {
	if cfg.Workers < 0 {
		return nil, argError("workers", cfg.Workers, 0, "workers is %d, at least 0 is needed", cfg.Workers)
	}
	name, env, why := kernelName(cfg.Kernel)
	set, err := choose(name)
	if e := (*KernelError)(nil); errors.As(err, &e) {
		e.Env = env
	}
	if err != nil {
		return nil, err
	}
	if cfg.Tuning != nil {
		if err := cfg.Tuning.check(set); err != nil {
			return nil, err
		}
	}
	return &Engine{
		set:     set,
		why:     why,
		workers: cfg.Workers,
		engine:  tile.New(set, caches(&cpuid.CPU), cfg.Labels, cfg.Tuning.tile()),
	}, nil
}

// noEngine is what is wrong with an Engine that New has not made.
const noEngine = "engine is nil or zero: New makes one"

// ready reports an Engine that New has not made.
func (e *Engine) ready() error {
	if e == nil || e.engine == nil {
		return argError("engine", 0, 1, noEngine)
	}
	return nil
}

// Kernel returns a copy of the kernel set in use. It panics on an Engine that New has not made.
func (e *Engine) Kernel() *kernel.Set {
	if e.ready() != nil {
		panic("qkv: " + noEngine)
	}
	set := *e.set
	return &set
}

// Workers returns the most goroutines that one call computes on. It panics on an Engine that New
// has not made.
func (e *Engine) Workers() int {
	if e.ready() != nil {
		panic("qkv: " + noEngine)
	}
	if e.workers == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return e.workers
}

// Run computes c. The error is an [*ArgError]; nothing has been written then.
//
// Out may be Q: views of the same elements, in the same places. Otherwise Out, LSE and Scores share no
// element with each other or with anything that is read.
func (e *Engine) Run(c *Call) error {
	_, err := e.run(c, nil)
	return err
}

// RunContext is Run that ends early when ctx is done, see the package's documentation. The error then
// wraps that of the context and its cause. Each row of Out and LSE is either computed or as it was, without
// a sign of which; where Out is Q, the same holds for the queries. Scores are unspecified. If ctx is done
// before the call, nothing is written.
func (e *Engine) RunContext(ctx context.Context, c *Call) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.run(c, done)
	return outcome(ctx, whole, err)
}

// run computes c until done is closed, and reports whether all of it is computed.
func (e *Engine) run(c *Call, done tile.Done) (whole bool, err error) {
	if err := e.ready(); err != nil {
		return false, err
	}
	var p tile.Problem
	if err := c.problem(&p); err != nil {
		return false, err
	}
	p.Done = done
	return e.engine.Run(&p, e.Workers()), nil
}

var defaultEngine = sync.OnceValues(func() (*Engine, error) { return New(Config{}) })

// Run computes c on the best kernel set (or the one that QKV_KERNEL names when it
// is first called) with GOMAXPROCS workers. The error is that of [Engine.Run], or a [*KernelError].
func Run(c *Call) error {
	e, err := defaultEngine()
	if err != nil {
		return err
	}
	return e.Run(c)
}
