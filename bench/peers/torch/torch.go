// Package torch measures PyTorch, in a Python process of its own that this package starts. A
// pipe says when to compute; tensors are memory that both have.
package torch

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

// settle is longer than threads of OpenBLAS look for work.
const settle = 50 * time.Millisecond

// System is an installed PyTorch.
type System struct{ python, version string }

// Open finds a Python that has PyTorch: that of the virtual environment dir/venv, Debian's or
// the one on the path.
func Open(dir string) (bench.System, error) {
	var reasons []string
	for _, python := range []string{filepath.Join(dir, "venv", "bin", "python3"), "/usr/bin/python3", "python3"} {
		if _, err := exec.LookPath(python); err != nil {
			continue
		}
		out, err := exec.Command(python, "-c", "import torch; print(torch.__version__)").Output()
		if err == nil {
			return &System{python, strings.TrimSpace(string(out))}, nil
		}
		reasons = append(reasons, fmt.Sprintf("%s: %v", python, reason(err)))
	}
	if reasons == nil {
		reasons = []string{"there is no python3"}
	}
	return nil, fmt.Errorf("torch: no PyTorch is installed (Debian: python3-torch): %s", strings.Join(reasons, "; "))
}

// reason is the last line that a command wrote to its standard error, if there is one.
func reason(err error) string {
	if exit, ok := err.(*exec.ExitError); ok {
		if lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n"); lines[len(lines)-1] != "" {
			return lines[len(lines)-1]
		}
	}
	return err.Error()
}

// Name returns "torch".
func (*System) Name() string { return "torch" }

// Version returns what PyTorch says of itself.
func (s *System) Version() string { return s.version }

// Paths returns the ways that PyTorch has for attention or for products, of one process. Each
// call of a path takes about 10 µs for the pipe, and copies queries or X. Keys and values are
// float32, float16 or bfloat16.
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
	d, err := start(s.python, w, tensors, out)
	if err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	if len(d.Ways) == 0 {
		d.close()
		return nil, s.unsupported(in, "of its ways none works: "+strings.Join(d.Missing, "; "))
	}
	open := len(d.Ways)
	var paths []bench.Path
	for i, way := range d.Ways {
		p := bench.Path{
			Name:   way.Name,
			Run:    func() error { return d.run(i) },
			Finish: func() error { return d.finish(i) },
			Close: func() {
				if open--; open == 0 {
					d.close()
				}
			},
			NoLSE: true,
			Rest:  func() { time.Sleep(settle) },
		}
		_, product := in.Work().(bench.Product)
		switch {
		case product && way.Type == "bfloat16": // sums are float32, and rounded at the end
			p.Rounds = bench.Rounds{X: bench.RoundoffBFloat16, Y: bench.RoundoffBFloat16}
		case way.Type == "float16":
			p.Roundoff = bench.RoundoffFloat16
		case way.Type == "bfloat16":
			p.Roundoff = bench.RoundoffBFloat16
		}
		paths = append(paths, p)
	}
	return paths, nil
}
