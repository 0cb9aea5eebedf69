package ggml

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/qkv-go/qkv/bench"
)

// maxTensors are those of a graph.
const maxTensors = 16

// A graph is a computation that is ready to run.
type graph struct {
	sys     *System
	ctx     handle
	graph   handle
	backend handle
	pool    handle
	buffers []handle
	params  []byte
	workers int
}

// start makes a backend with threads of its own, and an empty graph.
func (s *System) start(workers int) *graph {
	g := &graph{sys: s, ctx: s.newContext(maxTensors), backend: s.initBackend(), workers: workers}
	// ggml_threadpool_params: a mask of 512 CPUs, and six fields.
	const size = 1024
	g.params = make([]byte, size) // on the heap: stacks move
	s.initPoolParams(address(g.params), int32(workers))
	g.pool = s.newPool(address(g.params))
	s.setThreads(g.backend, int32(workers))
	s.setPool(g.backend, g.pool)
	g.graph = s.newGraph(g.ctx)
	return g
}

func address[T any](x []T) handle { return handle(unsafe.Pointer(unsafe.SliceData(x))) }

// tensor makes a tensor without data.
func (g *graph) tensor(typ int, ne ...int) handle {
	n := [4]int64{1, 1, 1, 1}
	for i, x := range ne {
		n[i] = int64(x)
	}
	return g.sys.newTensor(g.ctx, int32(typ), n[0], n[1], n[2], n[3])
}

func bytesOf[T any](x []T) uintptr { return uintptr(len(x)) * unsafe.Sizeof(x[0]) }

// set copies x to a tensor that has memory.
func set[T any](g *graph, t handle, x []T) {
	g.sys.set(t, address(x), 0, bytesOf(x))
	runtime.KeepAlive(x)
}

// get copies a tensor to x.
func get[T any](g *graph, t handle, x []T) {
	g.sys.get(t, address(x), 0, bytesOf(x))
	runtime.KeepAlive(x)
}

// alloc gives memory to what has none.
func (g *graph) alloc() {
	if b := g.sys.alloc(g.ctx, g.backend); b != 0 {
		g.buffers = append(g.buffers, b)
	}
}

func (g *graph) run() error {
	status, _, _ := purego.SyscallN(g.sys.compute, g.backend, g.graph)
	if int32(status) != 0 {
		return fmt.Errorf("ggml_backend_graph_compute returned %d", int32(status))
	}
	return nil
}

func (g *graph) close() {
	for _, b := range g.buffers {
		g.sys.freeBuffer(b)
	}
	g.sys.freeBackend(g.backend)
	g.sys.freePool(g.pool)
	g.sys.freeContext(g.ctx)
}

// path returns the way that a graph is.
func (g *graph) path(name string, roundoff float64, load, finish func()) bench.Path {
	p := bench.Path{Name: name, Roundoff: roundoff, NoLSE: true, Run: g.run, Close: g.close}
	p.Load = func() error { load(); return nil }
	p.Finish = func() error { finish(); return nil }
	if g.workers > 1 {
		p.Rest = func() { g.sys.pausePool(g.pool) } // it goes on with the next computation
	}
	return p
}
