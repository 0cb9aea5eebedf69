// Package torch measures PyTorch, in a Python process of its own that this package starts. A
// pipe says when to compute; tensors are memory that both have.
package torch

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/python"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

//go:embed driver.py
var script string

// settle is longer than threads of OpenBLAS look for work.
const settle = 50 * time.Millisecond

// System is an installed PyTorch.
type System struct{ python, version string }

// Open finds a Python that has PyTorch: that of the virtual environment dir/venv, Debian's or
// the one on the path.
func Open(dir string) (bench.System, error) {
	python, version, err := python.Find("torch", filepath.Join(dir, "venv", "bin", "python3"), "/usr/bin/python3", "python3")
	if err != nil {
		return nil, fmt.Errorf("torch: no PyTorch is installed (Debian: python3-torch): %w", err)
	}
	return &System{python, version}, nil
}

// Name returns "torch".
func (*System) Name() string { return "torch" }

// Version returns what PyTorch says of itself.
func (s *System) Version() string { return s.version }

// Paths returns the ways that PyTorch has for attention or for products, of one process. Keys
// and values are float32, float16 or bfloat16.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	switch in := in.(type) {
	case *bench.Operands:
		return s.attention(in, workers)
	case *bench.ProductInputs:
		return s.product(in, in.Product, workers, "float32", in.X, in.W, in.Y)
	case *bench.WeightInputs:
		if in.Product.Weights != qkv.WeightBFloat16 {
			return nil, s.unsupported(in, "its products are measured in float32 and bfloat16")
		}
		return s.product(in, in.Product, workers, "bfloat16", in.X, in.Data, in.Y)
	}
	return nil, s.unsupported(in, "there is no call for it")
}

func (s *System) unsupported(in bench.Inputs, reason string) error {
	return &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
}

// product returns the ways for a product by weights, [N, K] of float32 or bfloat16.
func (s *System) product(in bench.Inputs, p bench.Product, workers int, typ string, x []float32, w any, y []float32) ([]bench.Path, error) {
	return s.paths(in, work{Kind: "product", Threads: workers, Type: typ, M: p.M, N: p.N, K: p.K}, []any{x, w}, y)
}

func (s *System) attention(in *bench.Operands, workers int) ([]bench.Path, error) {
	shape := in.Shape
	if extra := shared.Extra(shape); extra != "" {
		return nil, s.unsupported(in, "the script for it has no "+extra)
	}
	if shape.KV.K != shape.KV.V {
		return nil, s.unsupported(in, "its attention has one type for keys and values")
	}
	w := work{
		Kind: "attention", Threads: workers,
		Batch: shape.Batch, KVHeads: shape.KVHeads, HeadsPerKV: shape.Heads / shape.KVHeads,
		Queries: shape.SeqQ, Keys: shape.SeqKV, Dim: shape.DimQK, DimV: shape.DimV,
		Causal: shape.Mask.Causal && shape.SeqQ > 1,
	}
	var k, v any
	switch shape.KV.K {
	case kernel.Float32:
		w.Type, k, v = "float32", in.K.Float32, in.V.Float32
	case kernel.Float16:
		w.Type, k, v = "float16", in.K.Float16, in.V.Float16
	case kernel.BFloat16:
		w.Type, k, v = "bfloat16", in.K.BFloat16, in.V.BFloat16
	default:
		return nil, s.unsupported(in, "its attention has no such keys and values")
	}
	return s.paths(in, w, []any{in.Q, k, v}, in.Out)
}

// paths starts the process, which paths share until the last is closed. The first of the tensors
// may change between calls.
func (s *System) paths(in bench.Inputs, w work, tensors []any, out []float32) ([]bench.Path, error) {
	process, err := python.Start(s.python, script, w, environment(w.Threads), tensors, out)
	if err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	if len(process.Ways) == 0 {
		process.Close()
		return nil, s.unsupported(in, "of its ways none works: "+strings.Join(process.Missing, "; "))
	}
	paths := process.Paths()
	_, product := in.Work().(bench.Product)
	for i := range paths {
		p, typ := &paths[i], process.Ways[i].Type
		p.Rest = func() { time.Sleep(settle) }
		switch {
		case product && typ == "bfloat16": // sums are float32, and rounded at the end
			p.Rounds = bench.Rounds{X: bench.RoundoffBFloat16, Y: bench.RoundoffBFloat16}
		case typ == "float16":
			p.Roundoff = bench.RoundoffFloat16
		case typ == "bfloat16":
			p.Roundoff = bench.RoundoffBFloat16
		}
	}
	return paths, nil
}

// work is the argument of the script.
type work struct {
	Kind    string `json:"kind"`
	Threads int    `json:"threads"`

	// Of attention.
	Batch      int  `json:"batch"`
	KVHeads    int  `json:"kv_heads"`
	HeadsPerKV int  `json:"heads_per_kv"` // heads that share a KV head
	Queries    int  `json:"queries"`
	Keys       int  `json:"keys"`
	Dim        int  `json:"dim"`
	DimV       int  `json:"dim_v"`
	Causal     bool `json:"causal"`

	Type string `json:"type"` // of keys and values, or of weights

	// Of a product.
	M int `json:"m"`
	N int `json:"n"`
	K int `json:"k"`
}

// environment limits threads. OpenBLAS is to take the kernels of this processor, whatever the
// environment says, and threads of OpenMP that wait are not to keep those of OpenBLAS from it.
func environment(threads int) []string {
	list := slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "OPENBLAS_CORETYPE=") || strings.HasPrefix(s, "OPENBLAS_L2_SIZE=")
	})
	for _, name := range []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} {
		list = append(list, fmt.Sprintf("%s=%d", name, threads))
	}
	return append(list, "OMP_WAIT_POLICY=passive")
}
