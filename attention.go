package qkv

import (
	"math"
	"runtime"
	"sync"
	"unsafe"

	"github.com/klauspost/cpuid/v2"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

const (
	// MaxDim is the largest head dim of queries, keys and values.
	MaxDim = 1 << 14

	// MaxSeq is the largest sequence length.
	MaxSeq = 1<<31 - 1
)

// Config says how an [Attention] computes. The zero value is the best that the
// machine can do.
type Config struct {
	// Kernel forces a kernel set by name, see [Kernels]. If it is empty, the
	// environment variable QKV_KERNEL does; if that is empty too, it is the best
	// set that the machine can run.
	Kernel string

	// Workers is the most goroutines that one call computes on, the caller's
	// among them; 0 means GOMAXPROCS. It never changes a result.
	Workers int

	// Labels makes workers carry the pprof label "phase" (pack, scores, softmax,
	// accumulate, finish), for use under a CPU profile. All the work is then
	// done on goroutines other than the caller's.
	Labels bool
}

// An Attention computes scaled dot-product attention. It keeps workspaces between
// calls, so that calls allocate nothing in steady state; they grow with the head
// dims and the number of calls at one time, not with sequence lengths. It is safe
// for use by several goroutines at once.
type Attention struct {
	set     *kernel.Set
	why     string
	workers int
	engine  *tile.Engine
}

// New returns an Attention. The error is a [*KernelError] for a kernel set that this
// machine cannot run, or an [*ArgError].
func New(cfg Config) (*Attention, error) {
	if cfg.Workers < 0 {
		return nil, argError("workers", cfg.Workers, 0, "workers is %d, at least 0 is needed", cfg.Workers)
	}
	name, why := kernelName(cfg.Kernel)
	set, err := pick(Kernels(), name)
	if err != nil {
		return nil, err
	}
	return &Attention{
		set:     set,
		why:     why,
		workers: cfg.Workers,
		engine:  tile.New(set, caches(&cpuid.CPU), cfg.Labels),
	}, nil
}

// Kernel returns the kernel set in use.
func (a *Attention) Kernel() *kernel.Set { return a.set }

// Workers returns the most goroutines that one call computes on.
func (a *Attention) Workers() int {
	if a.workers == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return a.workers
}

// A Call is the operands of one attention:
//
//	Out = softmax(Scale * Q Kᵀ + mask) V
//
// for each batch and each of the heads of Q. K and V may have fewer heads, in a
// number that divides Q's: head h then reads KV head h / (heads / KV heads)
// (grouped-query attention; Ainslie et al., 2023). The head dim of Q and K may differ
// from that of V and Out. Any of the lengths batch, heads and seq may be 0.
//
// A query without any key has an output of zeros and a log-sum-exp of -Inf. Keys
// and values that a query does not attend never reach its output, not even if they
// are NaN; a NaN that it does attend always does.
type Call struct {
	Q   View // [batch, heads, seqQ, dimQK]
	K   View // [batch, kvHeads, seqKV, dimQK]
	V   View // [batch, kvHeads, seqKV, dimV]
	Out View // [batch, heads, seqQ, dimV], written

	// LSE, if not nil, receives for each row the natural logarithm of the sum of
	// exponentials of its scaled and masked scores: contiguous [batch, heads, seqQ].
	LSE []float32

	// Scale multiplies the scores; 0 means 1/sqrt(dimQK). It may be negative.
	Scale float32

	Mask Mask
}

// Run computes c. The error is an [*ArgError]; nothing has been written then.
//
// Out may be the very view that Q is. Otherwise it must share no element with Q, K,
// V or LSE.
func (a *Attention) Run(c *Call) error {
	var p tile.Problem
	if err := c.problem(&p); err != nil {
		return err
	}
	a.engine.Run(&p, a.Workers())
	return nil
}

var defaultAttention = sync.OnceValues(func() (*Attention, error) { return New(Config{}) })

// Run computes c on the best kernel set (or the one that QKV_KERNEL names when it
// is first called) with GOMAXPROCS workers.
func Run(c *Call) error {
	a, err := defaultAttention()
	if err != nil {
		return err
	}
	return a.Run(c)
}

// problem checks the call and translates it.
func (c *Call) problem(p *tile.Problem) error {
	views := [...]struct {
		name string
		view *View
	}{{"q", &c.Q}, {"k", &c.K}, {"v", &c.V}, {"out", &c.Out}}
	for _, x := range views {
		if err := x.view.check(x.name); err != nil {
			return err
		}
	}
	q, k, v, out := &c.Q, &c.K, &c.V, &c.Out
	for _, m := range [...]struct {
		a, b         *View
		aName, bName string
		axis         int
	}{
		{k, q, "k", "q", axisBatch},
		{v, q, "v", "q", axisBatch},
		{out, q, "out", "q", axisBatch},
		{v, k, "v", "k", axisHeads},
		{out, q, "out", "q", axisHeads},
		{v, k, "v", "k", axisSeq},
		{out, q, "out", "q", axisSeq},
		{k, q, "k", "q", axisDim},
		{out, v, "out", "v", axisDim},
	} {
		if got, want := m.a.shape[m.axis], m.b.shape[m.axis]; got != want {
			return argError(m.aName, got, want, "%s has %s %d, %s has %d", m.aName, axisNames[m.axis], got, m.bName, want)
		}
	}
	for _, x := range views[:3] {
		if d := x.view.shape[axisDim]; d < 1 {
			return argError(x.name, d, 1, "%s has head dim %d, at least 1 is needed", x.name, d)
		} else if d > MaxDim {
			return argError(x.name, d, MaxDim, "%s has head dim %d, at most %d is supported", x.name, d, MaxDim)
		}
	}
	for _, x := range views[:2] {
		if n := x.view.shape[axisSeq]; n > MaxSeq {
			return argError(x.name, n, MaxSeq, "%s has sequence length %d, at most %d is supported", x.name, n, MaxSeq)
		}
	}
	heads, kvHeads := q.shape[axisHeads], k.shape[axisHeads]
	if heads > 0 && (kvHeads == 0 || heads%kvHeads != 0) {
		return argError("q", heads, kvHeads, "q has %d heads, not a multiple of k's %d", heads, kvHeads)
	}
	if err := out.checkWritable("out"); err != nil {
		return err
	}
	for _, x := range views[1:3] {
		if at := out.first(); at != nil && at == x.view.first() {
			return argError("out", 0, 0, "out and %s begin at the same element", x.name)
		}
	}
	batch, seqQ, seqKV := q.shape[axisBatch], q.shape[axisSeq], k.shape[axisSeq]
	if n := mul(batch, heads, seqQ); c.LSE != nil && len(c.LSE) != n {
		return argError("lse", len(c.LSE), n, "lse has length %d, out has %d rows", len(c.LSE), n)
	}
	if s := float64(c.Scale); math.IsNaN(s) || math.IsInf(s, 0) {
		return argError("scale", 0, 0, "scale is %v, a finite number is needed", c.Scale)
	}
	mask, err := c.Mask.resolve(seqQ, seqKV)
	if err != nil {
		return err
	}

	p.Q = tile.Operand{Base: q.first(), Stride: q.stride}
	p.K = tile.Operand{Base: k.first(), Stride: k.stride}
	p.V = tile.Operand{Base: v.first(), Stride: v.stride}
	p.Out = tile.Operand{Base: out.first(), Stride: out.stride}
	p.LSE = unsafe.Pointer(unsafe.SliceData(c.LSE))
	p.Batch, p.Heads, p.KVHeads = batch, heads, kvHeads
	p.SeqQ, p.SeqKV = seqQ, seqKV
	p.DimQK, p.DimV = q.shape[axisDim], v.shape[axisDim]
	p.Scale = c.Scale
	if p.Scale == 0 {
		p.Scale = float32(1 / math.Sqrt(float64(p.DimQK)))
	}
	p.Mask = mask
	return nil
}
