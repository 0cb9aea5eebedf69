// Package highway measures go-highway, github.com/ajroetker/go-highway, which is SIMD in Go.
//
// On amd64 its vector code needs GOEXPERIMENT=simd at build time. Without it, it computes
// number by number, a hundred times slower, which the names of paths say.
package highway

import (
	"fmt"
	"unsafe"

	"github.com/ajroetker/go-highway/hwy"
	"github.com/ajroetker/go-highway/hwy/contrib/matmul"
	"github.com/ajroetker/go-highway/hwy/contrib/workerpool"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

const module = "github.com/ajroetker/go-highway"

// System is go-highway.
type System struct{}

// Open returns the system. It is linked, so dir is not looked at.
func Open(dir string) (bench.System, error) { return &System{}, nil }

// Name returns "go-highway".
func (*System) Name() string { return "go-highway" }

// Version returns the version of the module.
func (*System) Version() string { return shared.ModuleVersion(module) }

// vectors reports whether there is vector code.
func vectors() bool { return hwy.CurrentLevel() != hwy.DispatchScalar }

// slow says of large works why a path is slow that multiplies by the keys as they are: with AVX2
// alone v0.0.12 has no fast code for it.
func slow(in *bench.Operands) string {
	if most := 1e9; in.Shape.FLOPs() < most || hwy.CurrentLevel() != hwy.DispatchAVX2 {
		return ""
	}
	return "it takes 30 times as long as qkv without AVX-512"
}

// named adds the vectors that a path uses to its name.
func named(name string) string {
	if !vectors() {
		return name + ", scalar (no GOEXPERIMENT=simd)"
	}
	return name + ", " + hwy.CurrentName()
}

// Paths returns attention as package nn has it and, of float32, as products and a softmax, or
// products. Keys and values are float32, float16 or bfloat16.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	switch in := in.(type) {
	case *bench.Operands:
		return s.attention(in, workers)
	case *bench.ProductInputs:
		return products(in, workers), nil
	}
	return nil, s.unsupported(in, "there is no call for it")
}

func (s *System) unsupported(in bench.Inputs, reason string) error {
	return &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
}

func (s *System) attention(in *bench.Operands, workers int) ([]bench.Path, error) {
	shape := in.Shape
	if extra := shared.Extra(shape); extra != "" {
		return nil, s.unsupported(in, "its attention has no "+extra)
	}
	if most := 1e9; !vectors() && shape.FLOPs() > most {
		return nil, s.unsupported(in, fmt.Sprintf("built without GOEXPERIMENT=simd, it needs seconds for %.2g operations", most))
	}
	if shape.DimQK != shape.DimV {
		return nil, s.unsupported(in, "its attention has one dim for keys and values")
	}
	if shape.KV.K != shape.KV.V {
		return nil, s.unsupported(in, "its attention has one type for keys and values")
	}
	switch shape.KV.K {
	case kernel.Float32:
		paths := []bench.Path{sdpa(in, workers)}
		if vectors() { // without, these products are slower by far
			paths = append(paths, threeSteps(in, workers))
		}
		return paths, nil
	case kernel.Float16:
		k, v := cast[hwy.Float16](in.K.Float16), cast[hwy.Float16](in.V.Float16)
		return halves(in, workers, k, v, hwy.Float32ToFloat16, "float16", bench.RoundoffFloat16), nil
	case kernel.BFloat16:
		k, v := cast[hwy.BFloat16](in.K.BFloat16), cast[hwy.BFloat16](in.V.BFloat16)
		return halves(in, workers, k, v, hwy.Float32ToBFloat16, "bfloat16", bench.RoundoffBFloat16), nil
	}
	return nil, s.unsupported(in, "it has no attention with such keys and values")
}

// halves are paths for keys and values of 16 bits. Without vectors, what v0.0.12 computes in 16
// bits is wrong.
func halves[T half](in *bench.Operands, workers int, k, v []T, round func(float32) T, name string, roundoff float64) []bench.Path {
	paths := []bench.Path{sdpaWidened(in, workers, k, v, name)}
	if vectors() {
		paths = append(paths, sdpaHalf(in, workers, k, v, round, name, roundoff))
	}
	return paths
}

// half is a type of 16 bits.
type half interface {
	hwy.Float16 | hwy.BFloat16
	Float32() float32
}

// cast names the elements as go-highway does.
func cast[T half, S ~uint16](x []S) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// products are paths for X Wᵀ.
func products(in *bench.ProductInputs, workers int) []bench.Path {
	p := in.Product
	pool := workerpool.New(workers)
	dots := matmul.MatMulKLastFloat32
	paths := []bench.Path{{
		Name: named("MatMulKLast"),
		Run: func() error {
			if p.M == 1 {
				pool.ParallelFor(p.N, func(from, to int) {
					dots(in.X, in.W[from*p.K:to*p.K], in.Y[from:to], 1, to-from, p.K)
				})
				return nil
			}
			pool.ParallelFor(p.M, func(from, to int) {
				dots(in.X[from*p.K:to*p.K], in.W, in.Y[from*p.N:to*p.N], to-from, p.N, p.K)
			})
			return nil
		},
		Close: pool.Close,
	}}
	if !vectors() {
		return paths
	}
	packed := workerpool.New(workers)
	w := make([]float32, p.K*p.N)
	transpose(w, in.W, p.K)
	return append(paths, bench.Path{
		Name: named("ParallelPackedMatMulV2 of transposed weights"),
		Run: func() error {
			matmul.ParallelPackedMatMulV2(packed, in.X, w, in.Y, p.M, p.N, p.K)
			return nil
		},
		Close: packed.Close,
	})
}
