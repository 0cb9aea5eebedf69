// Package ggml computes attention and matrix products with ggml, the library of llama.cpp, that
// is loaded with dlopen from the npm package @node-llama-cpp/linux-x64.
package ggml

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
)

// Values of ggml.h.
const (
	typeF32  = 0
	typeF16  = 1
	typeQ4_0 = 2
	typeQ4_1 = 3
	typeQ8_0 = 8
	typeBF16 = 30

	precF32 = 10
)

// A handle is a pointer to something of ggml's.
type handle = uintptr

// A System is ggml on its best variant for this CPU.
type System struct {
	version string

	initContext    uintptr // takes a structure by value
	freeContext    func(ctx handle)
	newTensor      func(ctx handle, typ int32, ne0, ne1, ne2, ne3 int64) handle
	mulMat         func(ctx, a, b handle) handle
	softMax        func(ctx, a, mask handle, scale, maxBias float32) handle
	flash          func(ctx, q, k, v, mask handle, scale, maxBias, softcap float32) handle
	flashPrec      func(t handle, prec int32)
	newGraph       func(ctx handle) handle
	expand         func(graph, t handle)
	tensorOverhead func() uintptr
	graphOverhead  func() uintptr
	alloc          func(ctx, backend handle) handle // of what has no memory yet
	freeBuffer     func(buffer handle)
	set            func(t, data handle, offset, size uintptr)
	get            func(t, data handle, offset, size uintptr)
	compute        uintptr // backend, graph
	freeBackend    func(backend handle)
	initBackend    func() handle
	setThreads     func(backend handle, n int32)
	setPool        func(backend, pool handle)
	initPoolParams func(params handle, n int32)
	newPool        func(params handle) handle
	pausePool      func(pool handle)
	freePool       func(pool handle)

	// Of types, and of the memory that lays weights out anew.
	typeName    func(typ int32) string
	typeSize    func(typ int32) uintptr
	blockSize   func(typ int32) int64
	typeTraits  func(typ int32) *typeTraits
	device      func(backend handle) handle
	registry    func(device handle) handle
	procAddress func(registry handle, name string) handle
	supportsOp  func(device, op handle) bool
	bufferName  func(bufferType handle) string
	allocSize   func(bufferType, t handle) uintptr
	allocBuffer func(bufferType handle, size uintptr) handle
	bufferBase  func(buffer handle) handle
	place       func(buffer, t, address handle) int32
}

// Open loads ggml from the folder that setup has put packages in.
func Open(lib string) (bench.System, error) {
	dir, err := filepath.Abs(filepath.Join(lib, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"))
	if err != nil {
		return nil, err
	}
	base, err := shared.Load(true, filepath.Join(dir, "libggml-base.so"))
	if err != nil {
		return nil, err
	}
	cpu, variant, err := best(dir)
	if err != nil {
		return nil, err
	}
	s := &System{}
	var version func() string
	var setLog func(callback uintptr, data handle)
	for _, f := range []struct {
		lib    *shared.Library
		fn     any
		symbol string
	}{
		{base, &version, "ggml_version"},
		{base, &setLog, "ggml_log_set"},
		{base, &s.freeContext, "ggml_free"},
		{base, &s.newTensor, "ggml_new_tensor_4d"},
		{base, &s.mulMat, "ggml_mul_mat"},
		{base, &s.softMax, "ggml_soft_max_ext"},
		{base, &s.flash, "ggml_flash_attn_ext"},
		{base, &s.flashPrec, "ggml_flash_attn_ext_set_prec"},
		{base, &s.newGraph, "ggml_new_graph"},
		{base, &s.expand, "ggml_build_forward_expand"},
		{base, &s.tensorOverhead, "ggml_tensor_overhead"},
		{base, &s.graphOverhead, "ggml_graph_overhead"},
		{base, &s.alloc, "ggml_backend_alloc_ctx_tensors"},
		{base, &s.freeBuffer, "ggml_backend_buffer_free"},
		{base, &s.set, "ggml_backend_tensor_set"},
		{base, &s.get, "ggml_backend_tensor_get"},
		{base, &s.freeBackend, "ggml_backend_free"},
		{base, &s.initPoolParams, "ggml_threadpool_params_init"},
		{base, &s.typeName, "ggml_type_name"},
		{base, &s.typeSize, "ggml_type_size"},
		{base, &s.blockSize, "ggml_blck_size"},
		{base, &s.device, "ggml_backend_get_device"},
		{base, &s.registry, "ggml_backend_dev_backend_reg"},
		{base, &s.procAddress, "ggml_backend_reg_get_proc_address"},
		{base, &s.supportsOp, "ggml_backend_dev_supports_op"},
		{base, &s.bufferName, "ggml_backend_buft_name"},
		{base, &s.allocSize, "ggml_backend_buft_get_alloc_size"},
		{base, &s.allocBuffer, "ggml_backend_buft_alloc_buffer"},
		{base, &s.bufferBase, "ggml_backend_buffer_get_base"},
		{base, &s.place, "ggml_backend_tensor_alloc"},
		{cpu, &s.typeTraits, "ggml_get_type_traits_cpu"},
		{cpu, &s.initBackend, "ggml_backend_cpu_init"},
		{cpu, &s.setThreads, "ggml_backend_cpu_set_n_threads"},
		{cpu, &s.setPool, "ggml_backend_cpu_set_threadpool"},
		{cpu, &s.newPool, "ggml_threadpool_new"},
		{cpu, &s.freePool, "ggml_threadpool_free"},
		{cpu, &s.pausePool, "ggml_threadpool_pause"},
	} {
		if err := f.lib.Func(f.fn, f.symbol); err != nil {
			return nil, err
		}
	}
	if s.initContext, err = base.Symbol("ggml_init"); err != nil {
		return nil, err
	}
	if s.compute, err = base.Symbol("ggml_backend_graph_compute"); err != nil {
		return nil, err
	}
	s.version = version() + " (" + variant + ")"
	setLog(purego.NewCallback(report), 0)
	return s, nil
}

// report writes what ggml warns of. It says each time when it lays out weights, too.
func report(level int32, text *byte, _ handle) {
	const warning, failure = 3, 4
	if level == warning || level == failure {
		fmt.Fprint(os.Stderr, unix.BytePtrToString(text))
	}
}

// best loads the variant of the CPU backend that scores highest, as ggml itself chooses. It
// opens each on the way, for they say themselves what they need.
func best(dir string) (*shared.Library, string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "libggml-cpu-*.so"))
	if err != nil {
		return nil, "", err
	}
	var lib *shared.Library
	var variant string
	top := int32(0)
	for _, f := range files {
		l, err := shared.Load(false, f)
		if err != nil {
			return nil, "", err
		}
		var score func() int32
		if err := l.Func(&score, "ggml_backend_score"); err != nil {
			return nil, "", err
		}
		if n := score(); n > top {
			lib, top = l, n
			variant = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "libggml-cpu-"), ".so")
		}
	}
	if lib == nil {
		return nil, "", fmt.Errorf("no libggml-cpu of %s runs on this CPU", dir)
	}
	return lib, variant, nil
}

// Name is "ggml".
func (s *System) Name() string { return "ggml" }

// Version is that of ggml, and the variant for this CPU.
func (s *System) Version() string { return s.version }

// newContext returns a context for tensors and a graph whose memory is allocated later.
func (s *System) newContext(tensors int) handle {
	size := uintptr(tensors)*s.tensorOverhead() + s.graphOverhead()
	// The structure is passed on the stack: behind six arguments that fill the registers.
	ctx, _, _ := purego.SyscallN(s.initContext, 0, 0, 0, 0, 0, 0, size, 0, 1)
	return ctx
}
