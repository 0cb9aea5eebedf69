package onednn

import (
	"runtime"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

// products are paths for Y = X Wᵀ, with weights of float32 or bfloat16.
func (l *library) products(p bench.Product, workers int, x []float32, w unsafe.Pointer, y []float32) ([]bench.Path, error) {
	plain, err := l.product(p, workers, x, w, y, false)
	if err != nil {
		return nil, err
	}
	packed, err := l.product(p, workers, x, w, y, true)
	if err != nil {
		plain.Close()
		return nil, err
	}
	return []bench.Path{plain, packed}, nil
}

// product is a path with weights as they are or as the product wants them. With weights in bfloat16 X is
// rounded to it at each call, and Y is float32. OpenMP has a team of threads for each thread that calls
// it, so that the goroutine stays on its own until Close.
func (l *library) product(p bench.Product, workers int, x []float32, w unsafe.Pointer, y []float32, pack bool) (path bench.Path, err error) {
	typ := int32(float32s)
	path.Name = "matmul"
	if p.Weights == qkv.WeightBFloat16 {
		typ = bfloat16
		path.Name, path.Rounds.X = "matmul, bfloat16, x bfloat16", bench.RoundoffBFloat16
	}
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
	call := func(prim *primitive) (*call, error) {
		closers = append(closers, prim.close)
		c, err := prim.call()
		if err == nil {
			closers = append(closers, c.close)
		}
		return c, err
	}
	src, err := l.matrix(typ, p.M, p.K, p.K, 1)
	if err != nil {
		return path, err
	}
	natural, err := l.matrix(typ, p.K, p.N, 1, p.K)
	if err != nil {
		return path, err
	}
	dst, err := l.matrix(float32s, p.M, p.N, p.N, 1)
	if err != nil {
		return path, err
	}
	weights := natural
	if pack {
		weights = new(desc)
		path.Name += ", packed weights"
		dims := [2]int64{int64(p.K), int64(p.N)}
		if err := check("dnnl_memory_desc_init_by_tag", l.memoryDescTag(weights, 2, &dims[0], typ, anyTag)); err != nil {
			return path, err
		}
	}
	prim, err := l.matmul(src, weights, dst, 1)
	if err != nil {
		return path, err
	}
	if pack {
		*weights = prim.weights
	}
	multiply, err := call(prim)
	if err != nil {
		return path, err
	}
	if pack {
		packed := make([]byte, l.memoryDescSize(weights))
		reorder, err := l.reorder(natural, weights)
		if err != nil {
			return path, err
		}
		defer reorder.close()
		if err := reorder.once(w, at(packed)); err != nil {
			return path, err
		}
		w = at(packed)
	}
	path.Close, path.Rest = done, func() { time.Sleep(settle) }
	if typ == float32s {
		path.Run = func() error { return multiply.run(at(x), w, at(y)) }
		return path, nil
	}
	wide, err := l.matrix(float32s, p.M, p.K, p.K, 1)
	if err != nil {
		return path, err
	}
	prim, err = l.reorder(wide, src)
	if err != nil {
		return path, err
	}
	round, err := call(prim)
	if err != nil {
		return path, err
	}
	rounded := make([]uint16, p.M*p.K)
	path.Run = func() error {
		if err := round.run(at(x), at(rounded)); err != nil {
			return err
		}
		return multiply.run(at(rounded), w, at(y))
	}
	return path, nil
}
