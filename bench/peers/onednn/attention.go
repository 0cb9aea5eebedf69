package onednn

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

// size is the sizes of a block of queries, which primitives are made for.
type size struct{ rows, keys int }

// steps compute blocks of one size: the primitives, and for each worker their calls.
type steps struct {
	primitives []*primitive
	calls      [][]*call
}

// attention computes blocks of queries on as many threads, each without OpenMP's help: two
// products and the softmax between them. In bfloat16 queries and weights are rounded to it,
// scores and the output are float32.
func (l *library) attention(in *bench.Operands, workers, rows int) (path bench.Path, err error) {
	s, blocks := in.Shape, shared.Blocks(in, rows)
	k, v, typ, elem := at(in.K.Float32), at(in.V.Float32), int32(float32s), 4
	path.Name = fmt.Sprintf("matmul, softmax and matmul by blocks of %d queries", rows)
	if s.KV.K == kernel.BFloat16 {
		k, v, typ, elem = at(in.K.BFloat16), at(in.V.BFloat16), bfloat16, 2
		path.Name, path.Roundoff = path.Name+", bfloat16", bench.RoundoffBFloat16
	}
	all := make(map[size]*steps)
	path.Close = func() {
		for _, s := range all {
			s.close()
		}
	}
	defer func() {
		if err != nil {
			path.Close()
		}
	}()
	for _, b := range blocks {
		n := size{b.Rows, b.Keys}
		if all[n] == nil {
			if all[n], err = l.steps(n, s, typ, workers); err != nil {
				return path, err
			}
		}
	}
	scores, rounded := make([][]float32, workers), make([][]uint16, workers)
	for i := range workers {
		scores[i] = make([]float32, rows*s.SeqKV)
		if typ == bfloat16 {
			rounded[i] = make([]uint16, rows*max(s.SeqKV, s.DimQK))
		}
	}
	one := func(worker, i int) error {
		b := &blocks[i]
		c, x := all[size{b.Rows, b.Keys}].calls[worker], scores[worker]
		keys := unsafe.Add(k, elem*b.KV*s.SeqKV*s.DimQK)
		values := unsafe.Add(v, elem*b.KV*s.SeqKV*s.DimV)
		q, p := at(b.Q), at(x)
		if typ == bfloat16 {
			q, p = at(rounded[worker]), at(rounded[worker])
			if err := c[3].run(at(b.Q), q); err != nil {
				return err
			}
		}
		if err := c[0].run(q, keys, at(x)); err != nil {
			return err
		}
		for row := range b.Rows {
			masked := x[row*b.Keys:][b.Attends(row):b.Keys]
			for j := range masked {
				masked[j] = float32(math.Inf(-1))
			}
		}
		if err := c[1].run(at(x), p); err != nil {
			return err
		}
		return c[2].run(p, values, at(b.Out))
	}
	errs := make([]error, len(blocks))
	path.NoLSE = true
	path.Run = func() error {
		shared.Parallel(workers, len(blocks), func(worker, i int) {
			// The number of threads is one of the thread that calls.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			l.ompSetNumThreads(1)
			errs[i] = one(worker, i)
		})
		return errors.Join(errs...)
	}
	return path, nil
}

// steps makes the primitives for blocks of one size: the scores, the softmax, the output and,
// in bfloat16, the rounding of queries.
func (l *library) steps(n size, s bench.Shape, typ int32, workers int) (st *steps, err error) {
	st = &steps{calls: make([][]*call, workers)}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	var failed error
	matrix := func(typ int32, rows, columns, rowStride, columnStride int) *desc {
		d, err := l.matrix(typ, rows, columns, rowStride, columnStride)
		failed = errors.Join(failed, err)
		return d
	}
	q := matrix(typ, n.rows, s.DimQK, s.DimQK, 1)
	keys := matrix(typ, s.DimQK, n.keys, 1, s.DimQK)
	scores := matrix(float32s, n.rows, n.keys, n.keys, 1)
	weights := matrix(typ, n.rows, n.keys, n.keys, 1)
	values := matrix(typ, n.keys, s.DimV, s.DimV, 1)
	out := matrix(float32s, n.rows, s.DimV, s.DimV, 1)
	wide := matrix(float32s, n.rows, s.DimQK, s.DimQK, 1)
	if failed != nil {
		return st, failed
	}
	makers := []func() (*primitive, error){
		func() (*primitive, error) { return l.matmul(q, keys, scores, shared.Scale(s)) },
		func() (*primitive, error) { return l.softmax(scores, weights) },
		func() (*primitive, error) { return l.matmul(weights, values, out, 1) },
	}
	if typ != float32s {
		makers = append(makers, func() (*primitive, error) { return l.reorder(wide, q) })
	}
	for _, make := range makers {
		p, err := make()
		if err != nil {
			return st, err
		}
		st.primitives = append(st.primitives, p)
		for w := range st.calls {
			c, err := p.call()
			if err != nil {
				return st, err
			}
			st.calls[w] = append(st.calls[w], c)
		}
	}
	return st, nil
}

func (st *steps) close() {
	for _, list := range st.calls {
		for _, c := range list {
			c.close()
		}
	}
	for _, p := range st.primitives {
		p.close()
	}
}
