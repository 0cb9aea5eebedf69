// Package gomlx computes the operations of GoMLX's Go backend, github.com/gomlx/compute, by qkv: fused
// attention and matrix products, over the flat slices that the backend's buffers have.
//
// The backend's registration of operations is internal to its module. The file overlay/qkv.go registers
// this package there, in a copy of the module that the script try makes; README.md says what the module would have to
// export for that to be an import.
package gomlx

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/qkv-go/qkv"
)

// engines are an engine for calls by themselves, and one for calls of which several run at once.
var engines = sync.OnceValues(func() (e struct{ all, one *qkv.Engine }, err error) {
	if e.all, err = qkv.New(qkv.Config{Workers: runtime.GOMAXPROCS(0)}); err != nil {
		return e, err
	}
	e.one, err = qkv.New(qkv.Config{Workers: 1})
	return e, err
})

// MatMul computes out = lhs rhs for each matrix of a batch, in float32: lhs is [batch, m, k], rhs is
// [batch, k, n], or [batch, n, k] if transposed says so, and out is [batch, m, n]. All are contiguous. A slice that is
// too short is an error, and nothing is written then. A sum of no terms is 0.
func MatMul(out, lhs, rhs []float32, batch, m, n, k int, transposed bool) error {
	for _, x := range []struct {
		name      string
		len, a, b int
	}{{"out", len(out), m, n}, {"lhs", len(lhs), m, k}, {"rhs", len(rhs), k, n}} {
		if x.a < 0 || x.b < 0 || batch < 0 {
			return fmt.Errorf("gomlx: %s has a negative dimension: batch %d of %d by %d", x.name, batch, x.a, x.b)
		}
		if batch > 0 && x.a > 0 && x.b > x.len/batch/x.a { // batch*a*b may overflow
			return fmt.Errorf("gomlx: %s has %d elements, which a batch of %d of %d by %d is not in", x.name, x.len, batch, x.a, x.b)
		}
	}
	if m == 0 || n == 0 {
		return nil // however many there are
	}
	if k == 0 {
		clear(out[:batch*m*n])
		return nil
	}
	e, err := engines()
	if err != nil {
		return err
	}
	multiply := func(e *qkv.Engine, i int) error {
		w := qkv.RowMajor(rhs[i*k*n:(i+1)*k*n], k, n)
		if transposed {
			w = qkv.RowMajor(rhs[i*k*n:(i+1)*k*n], n, k).T()
		}
		return e.MatMul(&qkv.Product{
			X: qkv.RowMajor(lhs[i*m*k:(i+1)*m*k], m, k), W: w, Y: qkv.RowMajor(out[i*m*n:(i+1)*m*n], m, n),
		})
	}
	// Many products are shared by workers one by one: each is too small to be shared itself.
	if workers := runtime.GOMAXPROCS(0); batch >= 2*workers {
		errs := make([]error, batch)
		err := e.all.Parallel(batch, (batch+4*workers-1)/(4*workers), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				errs[i] = multiply(e.one, i)
			}
		})
		for _, e := range errs {
			if err == nil {
				err = e
			}
		}
		return err
	}
	for i := range batch {
		if err := multiply(e.all, i); err != nil {
			return err
		}
	}
	return nil
}
