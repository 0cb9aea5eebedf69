// Package blas computes attention and matrix products with the sgemm of a BLAS that is loaded
// with dlopen: OpenBLAS or BLIS.
package blas

import (
	"runtime"
	"strings"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/klauspost/cpuid/v2"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
)

// A System is a BLAS.
type System struct {
	name, version string
	sgemm         uintptr
	setThreads    func(n int)
	spin          time.Duration // of idle threads
}

// OpenBLAS loads OpenBLAS. The folder is not looked at.
func OpenBLAS(string) (bench.System, error) {
	// What it does not know, such as a CPU that is newer, it takes for one without AVX-512.
	if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL) {
		if err := shared.Setenv("OPENBLAS_CORETYPE", "SkylakeX"); err != nil {
			return nil, err
		}
	}
	// What the environment says of caches is not always of this machine.
	if err := shared.Setenv("OPENBLAS_L2_SIZE", ""); err != nil {
		return nil, err
	}
	l, err := shared.Load(false, "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0", "libopenblas.so.0")
	if err != nil {
		return nil, err
	}
	// Its threads look for work for 2^26 cycles, by default.
	s := &System{name: "openblas", spin: 40 * time.Millisecond}
	var config func() string
	var threads func(n int32)
	if s.sgemm, err = l.Symbol("sgemm_"); err == nil {
		err = l.Func(&config, "openblas_get_config")
	}
	if err == nil {
		err = l.Func(&threads, "openblas_set_num_threads")
	}
	if err != nil {
		return nil, err
	}
	s.version = strings.TrimSpace(strings.TrimPrefix(config(), "OpenBLAS "))
	s.setThreads = func(n int) { threads(int32(n)) }
	return s, nil
}

// BLIS loads BLIS. The folder is not looked at.
func BLIS(string) (bench.System, error) {
	// Likewise.
	if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL) {
		if err := shared.Setenv("BLIS_ARCH_TYPE", "skx"); err != nil {
			return nil, err
		}
	}
	l, err := shared.Load(false, "libblis.so.4", "libblis.so.3")
	if err != nil {
		return nil, err
	}
	s := &System{name: "blis"}
	var version func() string
	var threads func(n int64)
	if s.sgemm, err = l.Symbol("sgemm_"); err == nil {
		err = l.Func(&version, "bli_info_get_version_str")
	}
	if err == nil {
		err = l.Func(&threads, "bli_thread_set_num_threads")
	}
	if err != nil {
		return nil, err
	}
	s.version = version()
	s.setThreads = func(n int) { threads(int64(n)) }
	return s, nil
}

// Name is "openblas" or "blis".
func (s *System) Name() string { return s.name }

// Version is what the library says.
func (s *System) Version() string { return s.version }

// Paths has for attention scores, softmax and output one after the other for each head, and
// the same by blocks of queries and keys; for products one sgemm.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	switch in := in.(type) {
	case *bench.ProductInputs:
		p, g := in.Product, &gemm{lib: s}
		return []bench.Path{{
			Name: "sgemm",
			Rest: s.rest(workers),
			Run: func() error {
				s.setThreads(workers)
				g.run(false, true, p.M, p.N, p.K, 1, &in.X[0], p.K, &in.W[0], p.K, 0, &in.Y[0], p.N)
				return nil
			},
		}}, nil
	case *bench.Operands:
		if in.K.Float32 == nil || in.V.Float32 == nil {
			return nil, &bench.UnsupportedError{System: s.name, Work: in.Shape, Reason: "sgemm reads float32 only"}
		}
		if extra := shared.Extra(in.Shape); extra != "" {
			return nil, &bench.UnsupportedError{System: s.name, Work: in.Shape, Reason: "of its own it has no " + extra}
		}
		var paths []bench.Path
		for _, rows := range rowBlocks {
			paths = append(paths, s.blocked(in, rows, workers))
		}
		// The scores of all pairs at once take this much memory.
		if shape := in.Shape; 4*shape.SeqQ*shape.SeqKV <= 1<<28 {
			paths = append(paths, s.threeSteps(in, workers))
		}
		return paths, nil
	}
	return nil, &bench.UnsupportedError{System: s.name, Work: in.Work(), Reason: "it is neither attention nor a product"}
}

// rest waits until the threads of the library are idle after a call on so many.
func (s *System) rest(workers int) func() {
	if workers == 1 || s.spin == 0 {
		return nil
	}
	return func() { time.Sleep(s.spin) }
}

// A gemm is the operands of a call of sgemm, which takes pointers to all.
type gemm struct {
	lib           *System
	transA        byte
	transB        byte
	m, n, k       int32
	lda, ldb, ldc int32
	alpha, beta   float32
}

// run computes C = alpha A B + beta C with matrices row by row: A is [m, k], or [k, m] if it is
// to be transposed, and so on. sgemm has them column by column, so it is asked for the transpose.
func (g *gemm) run(transA, transB bool, m, n, k int, alpha float32, a *float32, lda int, b *float32, ldb int, beta float32, c *float32, ldc int) {
	flag := func(trans bool) byte {
		if trans {
			return 'T'
		}
		return 'N'
	}
	g.transA, g.transB = flag(transA), flag(transB)
	g.m, g.n, g.k = int32(m), int32(n), int32(k)
	g.lda, g.ldb, g.ldc = int32(lda), int32(ldb), int32(ldc)
	g.alpha, g.beta = alpha, beta
	at := func(p unsafe.Pointer) uintptr { return uintptr(p) }
	purego.SyscallN(g.lib.sgemm,
		at(unsafe.Pointer(&g.transB)), at(unsafe.Pointer(&g.transA)),
		at(unsafe.Pointer(&g.n)), at(unsafe.Pointer(&g.m)), at(unsafe.Pointer(&g.k)), at(unsafe.Pointer(&g.alpha)),
		at(unsafe.Pointer(b)), at(unsafe.Pointer(&g.ldb)), at(unsafe.Pointer(a)), at(unsafe.Pointer(&g.lda)),
		at(unsafe.Pointer(&g.beta)), at(unsafe.Pointer(c)), at(unsafe.Pointer(&g.ldc)))
	runtime.KeepAlive(g)
	runtime.KeepAlive(a)
	runtime.KeepAlive(b)
	runtime.KeepAlive(c)
}
