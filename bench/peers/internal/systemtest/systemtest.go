// Package systemtest tests systems.
package systemtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/qkv-go/qkv/bench"
)

// Computes has a system compute works on one and two threads, by all of its paths, and compares
// all rows of each with float64. It does so twice, the second time with other queries or rows
// of X, for a path must not keep them.
func Computes(t *testing.T, sys bench.System, works ...string) {
	for _, text := range works {
		for _, workers := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", text, workers), func(t *testing.T) {
				w, err := bench.ParseWork(text)
				if err != nil {
					t.Fatal(err)
				}
				in := w.Inputs(1)
				paths, err := sys.Paths(in, workers)
				if err != nil {
					t.Fatal(err)
				}
				if len(paths) == 0 {
					t.Fatal("no paths and no error")
				}
				for i := range paths {
					if err := compute(in, &paths[i]); err != nil {
						t.Errorf("%s: %v", paths[i].Name, err)
					}
					negate(in)
					if err := compute(in, &paths[i]); err != nil {
						t.Errorf("%s, again: %v", paths[i].Name, err)
					}
					if paths[i].Close != nil {
						paths[i].Close()
					}
				}
			})
		}
	}
}

func compute(in bench.Inputs, p *bench.Path) error {
	in.Spoil()
	if err := p.Compute(); err != nil {
		return err
	}
	_, err := in.Check(context.Background(), 1<<20, p)
	return err
}

// negate changes queries or X.
func negate(in bench.Inputs) {
	var x []float32
	switch in := in.(type) {
	case *bench.Operands:
		x = in.Q
	case *bench.ProductInputs:
		x = in.X
	case *bench.WeightInputs:
		x = in.X
	}
	for i := range x {
		x[i] = -x[i]
	}
}

// Refuses expects a system to have no way to compute works.
func Refuses(t *testing.T, sys bench.System, works ...string) {
	for _, text := range works {
		w, err := bench.ParseWork(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sys.Paths(w.Inputs(1), 1)
		var unsupported *bench.UnsupportedError
		if !errors.As(err, &unsupported) {
			t.Errorf("%s: the error is %v, want an *UnsupportedError", text, err)
		}
	}
}
