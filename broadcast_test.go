package qkv_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// formed returns a tensor of pairs of a shape: contiguous, with its last axes swapped in
// memory, or one of the full shape whose short axes have stride 0.
func formed[T qkv.Element](form string, shape, full [4]int, next func() T) *strided[T] {
	x := &strided[T]{shape: shape}
	order := [4]int{3, 2, 1, 0}
	if form == "transposed" {
		order = [4]int{2, 3, 0, 1}
	}
	size := 1
	for _, axis := range order {
		x.stride[axis] = size
		size *= shape[axis]
	}
	x.data = draw(size, next)
	if form == "zero" {
		for axis, n := range shape {
			if n == 1 {
				x.stride[axis] = 0
			}
		}
		x.shape = full
	}
	return x
}

// TestBroadcast: every form of a mask of four axes, each full or 1 (those of two axes have
// batch and heads 1), boolean and added, in each order of memory: the forms of PyTorch's
// test_mask_vs_math_cpu.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	d := dims{2, 4, 2, 21, 140, 3, 5}
	full := [4]int{d.batch, d.heads, d.seqQ, d.seqKV}
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		for form := range 16 {
			shape := full
			for axis := range shape {
				if form>>(3-axis)&1 == 0 {
					shape[axis] = 1
				}
			}
			for _, strides := range []string{"contiguous", "transposed", "zero"} {
				for _, kind := range []string{"bool", "float32", "Float16"} {
					t.Run(fmt.Sprintf("shape=%v,strides=%s,kind=%s", shape, strides, kind), func(t *testing.T) {
						r := rand.New(rand.NewPCG(uint64(form), 9))
						p := newProblem(d, "bshd", none, normal(9))
						switch kind {
						case "bool":
							p.keep = formed(strides, shape, full, func() bool { return r.IntN(3) > 0 })
						case "float32":
							p.bias = formed(strides, shape, full, func() float32 { return drawn(r, 0, negInf, float32(r.NormFloat64())) })
						case "Float16":
							p.bias16 = formed(strides, shape, full, func() qkv.Float16 { return drawn[qkv.Float16](r, 0, 0xfc00, 0x3c00, 0xb555, 1) })
						}
						p.run(t, a)
						p.check(t, 4)
					})
				}
			}
		}
	})
}
