// Package onednn measures oneDNN 2, as Debian has it, through its C API: it has no attention,
// but products and a softmax.
package onednn

import (
	"errors"
	"time"

	"github.com/qkv-go/qkv"
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
		paths, err = s.l.products(in.Product, workers, in.X, at(in.W), in.Y)
	case *bench.WeightInputs:
		if in.Product.Weights != qkv.WeightBFloat16 {
			return nil, s.unsupported(in, "its products are of float32 or bfloat16")
		}
		paths, err = s.l.products(in.Product, workers, in.X, at(in.Data), in.Y)
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
