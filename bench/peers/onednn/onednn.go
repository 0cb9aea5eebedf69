// Package onednn measures oneDNN 2, as Debian has it, through its C API: it has no attention,
// but products and a softmax.
package onednn

import (
	"errors"
	"runtime"
	"time"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

// settle is longer than threads of libgomp spin for work.
const settle = 10 * time.Millisecond

// System is a loaded oneDNN.
type System struct{ l *library }

// Open loads libdnnl.so.2 from where the dynamic linker finds it; dir is not looked at.
func Open(dir string) (bench.System, error) {
	l, err := load()
	if err != nil {
		return nil, err
	}
	return &System{l}, nil
}

// Name returns "onednn".
func (*System) Name() string { return "onednn" }

// Version returns the version of the library.
func (s *System) Version() string { return s.l.version }

// Paths returns attention by products and softmaxes of blocks of queries, or products. Keys and
// values are float32 or bfloat16.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	var paths []bench.Path
	var err error
	switch in := in.(type) {
	case *bench.Operands:
		paths, err = s.attention(in, workers)
	case *bench.ProductInputs:
		paths, err = s.l.products(in, workers)
	default:
		return nil, s.unsupported(in, "there is no call for it")
	}
	if status := (*statusError)(nil); errors.As(err, &status) && status.status == statusUnsupported {
		return nil, s.unsupported(in, "it is not implemented on this processor: "+err.Error())
	}
	return paths, err
}

func (s *System) unsupported(in bench.Inputs, reason string) error {
	return &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
}

func (s *System) attention(in *bench.Operands, workers int) ([]bench.Path, error) {
	shape := in.Shape
	if extra := shared.Extra(shape); extra != "" {
		return nil, s.unsupported(in, "attention by products has no "+extra)
	}
	if kv := shape.KV; kv.K != kv.V || kv.K != kernel.Float32 && kv.K != kernel.BFloat16 {
		return nil, s.unsupported(in, "its products are of float32 or bfloat16")
	}
	var paths []bench.Path
	for rows := 128; ; rows *= 2 {
		p, err := s.l.attention(in, workers, rows)
		if err != nil {
			for _, p := range paths {
				p.Close()
			}
			return nil, err
		}
		paths = append(paths, p)
		if rows >= shape.SeqQ || rows == 512 {
			return paths, nil
		}
	}
}

// products are paths for X Wᵀ.
func (l *library) products(in *bench.ProductInputs, workers int) ([]bench.Path, error) {
	plain, err := l.product(in, workers, false)
	if err != nil {
		return nil, err
	}
	packed, err := l.product(in, workers, true)
	if err != nil {
		plain.Close()
		return nil, err
	}
	return []bench.Path{plain, packed}, nil
}

// product is a path with weights as they are or as the product wants them. OpenMP has a team of
// threads for each thread that calls it, so that the goroutine stays on its own until Close.
func (l *library) product(in *bench.ProductInputs, workers int, pack bool) (path bench.Path, err error) {
	p := in.Product
	runtime.LockOSThread()
	l.ompSetNumThreads(int32(workers))
	closers := []func(){runtime.UnlockOSThread}
	done := func() {
		for _, c := range closers {
			c()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	src, err := l.matrix(float32s, p.M, p.K, p.K, 1)
	if err != nil {
		return path, err
	}
	natural, err := l.matrix(float32s, p.K, p.N, 1, p.K)
	if err != nil {
		return path, err
	}
	dst, err := l.matrix(float32s, p.M, p.N, p.N, 1)
	if err != nil {
		return path, err
	}
	weights, w, name := natural, in.W, "matmul"
	if pack {
		weights, name = new(desc), "matmul of packed weights"
		dims := [2]int64{int64(p.K), int64(p.N)}
		if err := check("dnnl_memory_desc_init_by_tag", l.memoryDescTag(weights, 2, &dims[0], float32s, anyTag)); err != nil {
			return path, err
		}
	}
	prim, err := l.matmul(src, weights, dst, 1)
	if err != nil {
		return path, err
	}
	closers = append(closers, prim.close)
	if pack {
		*weights = prim.weights
		w = make([]float32, l.memoryDescSize(weights)/4)
		reorder, err := l.reorder(natural, weights)
		if err != nil {
			return path, err
		}
		defer reorder.close()
		if err := reorder.once(at(in.W), at(w)); err != nil {
			return path, err
		}
	}
	c, err := prim.call()
	if err != nil {
		return path, err
	}
	closers = append(closers, c.close)
	return bench.Path{
		Name:  name,
		Run:   func() error { return c.run(at(in.X), at(w), at(in.Y)) },
		Close: done,
		Rest:  func() { time.Sleep(settle) },
	}, nil
}
