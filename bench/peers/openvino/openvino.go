// Package openvino measures OpenVINO's CPU plugin, in a Python process of its own that this package starts: its
// operation for attention on a cache in blocks has no form in a file, and so none in the C API.
package openvino

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/python"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

//go:embed driver.py
var script string

// System is an installed OpenVINO.
type System struct{ python, version string }

// Open finds a Python that has OpenVINO: that of the virtual environment dir/openvino, or the one on the path.
func Open(dir string) (bench.System, error) {
	python, version, err := python.Find("openvino", filepath.Join(dir, "openvino", "bin", "python3"), "python3")
	if err != nil {
		return nil, fmt.Errorf("openvino: no OpenVINO is installed (PyPI: openvino): %w", err)
	}
	version, _, _ = strings.Cut(version, "-")
	return &System{python, version}, nil
}

// Name returns "openvino".
func (*System) Name() string { return "openvino" }

// Version returns what OpenVINO says of itself.
func (s *System) Version() string { return s.version }

// work is the argument of the script.
type work struct {
	Kind    string `json:"kind"`
	Threads int    `json:"threads"`
	Type    string `json:"type"` // of keys and values, or of weights

	// Of attention.
	Batch   int  `json:"batch"`
	Heads   int  `json:"heads"`
	KVHeads int  `json:"kv_heads"`
	Queries int  `json:"queries"`
	Keys    int  `json:"keys"`
	Dim     int  `json:"dim"`
	DimV    int  `json:"dim_v"`
	Causal  bool `json:"causal"`

	// Of a product.
	M int `json:"m"`
	N int `json:"n"`
	K int `json:"k"`
}

// roundings are what products round, by the arithmetic of their ways. A value in eight bits is off by half of 1/127 of
// the largest of its block.
var roundings = map[string]bench.Rounds{
	"float32":          {},
	"int8":             {X: 1. / 254, Block: 32},
	"bfloat16":         {X: bench.RoundoffBFloat16, W: bench.RoundoffBFloat16, Y: bench.RoundoffBFloat16},
	"int8 of bfloat16": {X: 1./254 + bench.RoundoffBFloat16, Block: 32, Y: bench.RoundoffBFloat16},
}

// Paths returns the ways that OpenVINO has for attention or for products, of one process.
func (s *System) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	switch in := in.(type) {
	case *bench.Operands:
		return s.attention(in, workers)
	case *bench.ProductInputs:
		return s.product(in, in.Product, workers, in.X, in.W, in.Y)
	case *bench.WeightInputs:
		switch in.Product.Weights {
		case qkv.WeightFloat16, qkv.WeightBFloat16, qkv.WeightQ8_0, qkv.WeightQ4_0:
			return s.product(in, in.Product, workers, in.X, in.Data, in.Y)
		}
		return nil, s.unsupported(in, "its products by blocks have a scale and an integer zero point, as Q4_0 and Q8_0 come to")
	}
	return nil, s.unsupported(in, "there is no operation for it")
}

func (s *System) unsupported(in bench.Inputs, reason string) error {
	return &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: reason}
}

func (s *System) product(in bench.Inputs, p bench.Product, workers int, x []float32, weights any, y []float32) ([]bench.Path, error) {
	w := work{Kind: "product", Threads: workers, Type: "float32", M: p.M, N: p.N, K: p.K}
	if p.InPlace {
		w.Type = strings.ToLower(p.Weights.String())
	}
	paths, kinds, err := s.paths(in, w, []any{x, weights}, y)
	for i := range paths {
		paths[i].Rounds = roundings[kinds[i].Type]
	}
	return paths, err
}

func (s *System) attention(in *bench.Operands, workers int) ([]bench.Path, error) {
	shape := in.Shape
	switch {
	case shared.Extra(shape) != "":
		return nil, s.unsupported(in, "the script for it has no "+shared.Extra(shape))
	case shape.KV.K != shape.KV.V:
		return nil, s.unsupported(in, "its attention has one type for keys and values")
	}
	w := work{
		Kind: "attention", Threads: workers,
		Batch: shape.Batch, Heads: shape.Heads, KVHeads: shape.KVHeads,
		Queries: shape.SeqQ, Keys: shape.SeqKV, Dim: shape.DimQK, DimV: shape.DimV,
		Causal: shape.Mask.Causal && shape.SeqQ > 1,
	}
	none := make([]float32, 1) // in the place of scales
	tensors := []any{in.Q, nil, nil, none, none}
	for i, t := range []*bench.Tensor{&in.K, &in.V} {
		switch shape.KV.K {
		case kernel.Float32:
			w.Type, tensors[1+i] = "float32", t.Float32
		case kernel.Float16:
			w.Type, tensors[1+i] = "float16", t.Float16
		case kernel.BFloat16:
			w.Type, tensors[1+i] = "bfloat16", t.BFloat16
		case kernel.Int8:
			w.Type, tensors[1+i], tensors[3+i] = "int8", t.Int8, t.Scale
		case kernel.Q8_0:
			w.Type, tensors[1+i] = "q8_0", t.Q8_0
		case kernel.Q4_0:
			w.Type, tensors[1+i] = "q4_0", t.Q4_0
		default:
			return nil, s.unsupported(in, "its attention has no such keys and values")
		}
	}
	paths, kinds, err := s.paths(in, w, tensors, in.Out)
	for i := range paths {
		paths[i].Off = step(shape.KV.V)
		switch kinds[i].Type {
		case "float16":
			paths[i].Roundoff = bench.RoundoffFloat16
		case "bfloat16":
			paths[i].Roundoff = bench.RoundoffBFloat16
		}
	}
	return paths, err
}

// step returns how far a value of the newest tokens may be off, which a call rounds to integers with a zero point. Values
// are standard normal numbers, the largest of them below 6.
func step(e kernel.Elem) float64 {
	switch e {
	case kernel.Int8, kernel.Q8_0:
		return 6. / 255
	case kernel.Q4_0:
		return 6. / 15
	}
	return 0
}

// paths starts the process, which paths share until the last is closed. The first of the tensors may change between
// calls.
func (s *System) paths(in bench.Inputs, w work, tensors []any, out []float32) ([]bench.Path, []python.Way, error) {
	process, err := python.Start(s.python, script, w, os.Environ(), tensors, out)
	if err != nil {
		return nil, nil, fmt.Errorf("openvino: %w", err)
	}
	if len(process.Ways) == 0 {
		process.Close()
		reason := "it has no operation of this kind"
		if len(process.Missing) > 0 {
			reason = "of its ways none works: " + strings.Join(process.Missing, "; ")
		}
		return nil, nil, s.unsupported(in, reason)
	}
	return process.Paths(), process.Ways, nil
}
