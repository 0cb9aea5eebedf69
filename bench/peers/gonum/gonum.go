// Package gonum measures the matrix products of Gonum, gonum.org/v1/gonum: it has no attention,
// but products, and a softmax between two of them is one.
package gonum

import (
	"math"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
	"gonum.org/v1/gonum/blas"
	blasgonum "gonum.org/v1/gonum/blas/gonum"
)

const module = "gonum.org/v1/gonum"

// System is Gonum's BLAS in Go.
type System struct{}

// Open returns the system. It is linked, so dir is not looked at.
func Open(dir string) (bench.System, error) { return &System{}, nil }

// Name returns "gonum".
func (*System) Name() string { return "gonum" }

// Version returns the version of the module.
func (*System) Version() string { return shared.ModuleVersion(module) }

// Paths returns attention by products of matrices and, of single queries, of vectors, or a
// product. Keys and values are float32.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	switch in := in.(type) {
	case *bench.Operands:
		shape := in.Shape
		if extra := shared.Extra(shape); extra != "" {
			return nil, s.unsupported(in, "attention by products has no "+extra)
		}
		if shape.KV.K != kernel.Float32 || shape.KV.V != kernel.Float32 {
			return nil, s.unsupported(in, "its products are of float32")
		}
		if shape.SeqQ == 1 {
			return []bench.Path{attention(in, workers), decode(in, workers)}, nil
		}
		return []bench.Path{attention(in, workers)}, nil
	case *bench.ProductInputs:
		return []bench.Path{product(in, workers)}, nil
	}
	return nil, s.unsupported(in, "there is no call for it")
}

func (s *System) unsupported(in bench.Inputs, reason string) error {
	return &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
}

// impl is the BLAS. Sgemm starts a goroutine for each block of 64 x 64 of large results, so
// that threads are limited from outside.
var impl blasgonum.Implementation

// attention is two products and the softmax between them, by blocks of queries so that a causal
// mask spares work.
func attention(in *bench.Operands, workers int) bench.Path {
	const rows = 128
	s, blocks := in.Shape, shared.Blocks(in, rows)
	dim, dimV, scale := s.DimQK, s.DimV, shared.Scale(s)
	scores := make([][]float32, workers)
	for i := range scores {
		scores[i] = make([]float32, rows*s.SeqKV)
	}
	one := func(worker, i int) {
		b, p := &blocks[i], scores[worker]
		k, v := in.K.Float32[b.KV*s.SeqKV*dim:], in.V.Float32[b.KV*s.SeqKV*dimV:]
		impl.Sgemm(blas.NoTrans, blas.Trans, b.Rows, b.Keys, dim, scale, b.Q, dim, k, dim, 0, p, b.Keys)
		for row := range b.Rows {
			n := b.Attends(row)
			x := p[row*b.Keys:][:b.Keys]
			softmax(x[:n])
			clear(x[n:])
		}
		impl.Sgemm(blas.NoTrans, blas.NoTrans, b.Rows, dimV, b.Keys, 1, p, b.Keys, v, dimV, 0, b.Out, dimV)
	}
	return bench.Path{
		Name: "Sgemm, softmax and Sgemm by blocks of 128 queries",
		Run: func() error {
			shared.Procs(workers, func() { shared.Parallel(workers, len(blocks), one) })
			return nil
		},
		NoLSE: true,
	}
}

// decode is attention of single queries.
func decode(in *bench.Operands, workers int) bench.Path {
	s := in.Shape
	dim, dimV, n, scale := s.DimQK, s.DimV, s.SeqKV, shared.Scale(s)
	scores := make([][]float32, workers)
	for i := range scores {
		scores[i] = make([]float32, n)
	}
	return bench.Path{
		Name: "Sgemv, softmax and Sgemv",
		Run: func() error {
			shared.Parallel(workers, s.Batch*s.Heads, func(worker, head int) {
				p, kv := scores[worker], head/(s.Heads/s.KVHeads)
				k, v := in.K.Float32[kv*n*dim:], in.V.Float32[kv*n*dimV:]
				impl.Sgemv(blas.NoTrans, n, dim, scale, k, dim, in.Q[head*dim:], 1, 0, p, 1)
				softmax(p)
				// It clears all of the last vector, however long.
				impl.Sgemv(blas.Trans, n, dimV, 1, v, dimV, p, 1, 0, in.Out[head*dimV:][:dimV], 1)
			})
			return nil
		},
		NoLSE: true,
	}
}

// softmax replaces scores by weights.
func softmax(x []float32) {
	most := x[0]
	for _, v := range x {
		most = max(most, v)
	}
	var sum float32
	for i, v := range x {
		e := float32(math.Exp(float64(v - most)))
		x[i] = e
		sum += e
	}
	for i := range x {
		x[i] /= sum
	}
}

// product is a path for X Wᵀ.
func product(in *bench.ProductInputs, workers int) bench.Path {
	p := in.Product
	if p.M == 1 {
		const rows = 64 // of W
		return bench.Path{
			Name: "Sgemv",
			Run: func() error {
				shared.Parallel(workers, (p.N+rows-1)/rows, func(_, i int) {
					first := i * rows
					impl.Sgemv(blas.NoTrans, min(rows, p.N-first), p.K, 1, in.W[first*p.K:], p.K, in.X, 1, 0, in.Y[first:], 1)
				})
				return nil
			},
		}
	}
	return bench.Path{
		Name: "Sgemm",
		Run: func() error {
			shared.Procs(workers, func() {
				impl.Sgemm(blas.NoTrans, blas.Trans, p.M, p.N, p.K, 1, in.X, p.K, in.W, p.K, 0, in.Y, p.N)
			})
			return nil
		},
	}
}
