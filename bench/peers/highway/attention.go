package highway

import (
	"github.com/ajroetker/go-highway/hwy"
	"github.com/ajroetker/go-highway/hwy/contrib/matmul"
	"github.com/ajroetker/go-highway/hwy/contrib/nn"
	"github.com/ajroetker/go-highway/hwy/contrib/workerpool"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
)

// sdpa is attention in float32.
func sdpa(in *bench.Operands, workers int) bench.Path {
	pool := workerpool.New(workers)
	return bench.Path{
		Name: named("nn.MultiHeadSDPAAuto"),
		Slow: slow(in),
		Run: func() error {
			multiHead(pool, in, in.Q, in.K.Float32, in.V.Float32, in.Out, shared.Scale(in.Shape))
			return nil
		},
		Close: pool.Close,
		NoLSE: true,
	}
}

func multiHead[T hwy.Floats](pool *workerpool.Pool, in *bench.Operands, q, k, v, out []T, scale T) {
	s := in.Shape
	nn.MultiHeadSDPAAuto(pool, q, k, v, nil, out,
		s.Batch, s.Heads, s.KVHeads, s.SeqQ, s.SeqKV, s.DimQK, 0, 0, scale, s.Mask.Causal)
}

// sdpaHalf is attention that is of 16 bits throughout: queries and scores are rounded to them,
// too.
func sdpaHalf[T half](in *bench.Operands, workers int, k, v []T, round func(float32) T, name string, roundoff float64) bench.Path {
	pool := workerpool.New(workers)
	q, out := make([]T, len(in.Q)), make([]T, len(in.Out))
	return bench.Path{
		Name: named("nn.MultiHeadSDPAAuto, " + name),
		Slow: slow(in),
		Run: func() error {
			pool.ParallelFor(len(q), func(from, to int) {
				for i := from; i < to; i++ {
					q[i] = round(in.Q[i])
				}
			})
			multiHead(pool, in, q, k, v, out, round(shared.Scale(in.Shape)))
			return nil
		},
		Finish: func() error {
			for i, x := range out {
				in.Out[i] = x.Float32()
			}
			return nil
		},
		Close:    pool.Close,
		NoLSE:    true,
		Roundoff: roundoff,
	}
}

// sdpaWidened is attention in float32, to which keys and values are widened first.
func sdpaWidened[T half](in *bench.Operands, workers int, k, v []T, name string) bench.Path {
	pool := workerpool.New(workers)
	wideK, wideV := make([]float32, len(k)), make([]float32, len(v))
	return bench.Path{
		Name: named("nn.MultiHeadSDPAAuto, " + name + " K and V widened"),
		Slow: slow(in),
		Run: func() error {
			pool.ParallelFor(len(k), func(from, to int) {
				for i := from; i < to; i++ {
					wideK[i], wideV[i] = k[i].Float32(), v[i].Float32()
				}
			})
			multiHead(pool, in, in.Q, wideK, wideV, in.Out, shared.Scale(in.Shape))
			return nil
		},
		Close: pool.Close,
		NoLSE: true,
	}
}

// threeSteps is attention as two products and the softmax between them, by blocks of queries
// so that a causal mask spares work. Products with transposed keys are the fastest, but they
// are of all keys; those of the keys as they are can be of fewer.
func threeSteps(in *bench.Operands, workers int) bench.Path {
	const rows = 128
	s, blocks := in.Shape, shared.Blocks(in, rows)
	keys, values := s.SeqKV*s.DimQK, s.SeqKV*s.DimV
	scores := make([][]float32, workers)
	for i := range scores {
		scores[i] = make([]float32, rows*s.SeqKV)
	}
	name := "MatMulKLast, softmax and BlockedMatMul"
	var transposed []float32
	slow := slow(in)
	if !s.Mask.Causal && s.SeqQ >= rows {
		name = "PackedMatMul of keys transposed each time, softmax and BlockedMatMul"
		transposed, slow = make([]float32, len(in.K.Float32)), ""
	}
	return bench.Path{
		Name: named(name),
		Slow: slow,
		Run: func() error {
			if transposed != nil {
				shared.Parallel(workers, s.Batch*s.KVHeads, func(_, head int) {
					transpose(transposed[head*keys:][:keys], in.K.Float32[head*keys:][:keys], s.DimQK)
				})
			}
			shared.Parallel(workers, len(blocks), func(worker, i int) {
				b, p := &blocks[i], scores[worker]
				if transposed != nil {
					matmul.PackedMatMul(b.Q, transposed[b.KV*keys:][:keys], p, b.Rows, b.Keys, s.DimQK)
				} else {
					matmul.MatMulKLast(b.Q, in.K.Float32[b.KV*keys:][:keys], p, b.Rows, b.Keys, s.DimQK)
				}
				for row := range b.Rows {
					n := b.Attends(row)
					x := p[row*b.Keys:][:b.Keys]
					nn.SoftmaxWithTemperature(x[:n], x[:n], 1/shared.Scale(s))
					clear(x[n:])
				}
				matmul.BlockedMatMul(p, in.V.Float32[b.KV*values:][:values], b.Out, b.Rows, s.DimV, b.Keys)
			})
			return nil
		},
		NoLSE: true,
	}
}

// transpose writes the transpose of a matrix of that many columns. Transpose2D of go-highway
// v0.0.12 leaves columns out on AVX-512.
func transpose(to, from []float32, columns int) {
	rows := len(from) / columns
	const tile = 16 // rows, a cache line of the result
	for first := 0; first < rows; first += tile {
		last := min(first+tile, rows)
		for c := range columns {
			for r := first; r < last; r++ {
				to[c*rows+r] = from[r*columns+c]
			}
		}
	}
}
