package qkv

import (
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
	// set that the machine can run.
	Kernel string

	// Workers is the most goroutines that one call computes on, the caller's
	// among them; 0 means GOMAXPROCS. It never changes a result.
	Workers int

	// Labels makes workers carry the pprof label "phase" (pack, mask, scores, modify,
	// softmax, accumulate, finish; of matrix products pack, multiply, or project in a
	// [Projection], and rotate for what is done to its finished heads), for use under a CPU
	// profile. All the work is then done on goroutines other than the caller's. Caches are
	// written by the caller's, which may label itself, see [runtime/pprof.Do].
	Labels bool

	// Tuning, if not nil, has choices for this CPU and kernel set, see [ReadTuning]. It never
	// changes a result.
	Tuning *Tuning
}

// An Engine computes scaled dot-product attention, and the matrix products on either side
// of it, on a kernel set. It keeps workspaces between calls, so that calls allocate nothing
// in steady state; they grow with the head dims, the inner dimension of products up to a
// bound, and the number of calls at one time, not with sequence lengths. It is safe for use
// by several goroutines at once.
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
	name, why := kernelName(cfg.Kernel)
	set, err := pick(Kernels(), name)
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

// Kernel returns the kernel set in use.
func (e *Engine) Kernel() *kernel.Set { return e.set }

// Workers returns the most goroutines that one call computes on.
func (e *Engine) Workers() int {
	if e.workers == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return e.workers
}

// Run computes c. The error is an [*ArgError]; nothing has been written then.
//
// Out may be the very view that Q is. Otherwise Out, LSE and Scores share no element with
// each other or with anything that is read.
func (e *Engine) Run(c *Call) error {
	var p tile.Problem
	if err := c.problem(&p); err != nil {
		return err
	}
	e.engine.Run(&p, e.Workers())
	return nil
}

var defaultEngine = sync.OnceValues(func() (*Engine, error) { return New(Config{}) })

// Run computes c on the best kernel set (or the one that QKV_KERNEL names when it
// is first called) with GOMAXPROCS workers.
func Run(c *Call) error {
	e, err := defaultEngine()
	if err != nil {
		return err
	}
	return e.Run(c)
}
