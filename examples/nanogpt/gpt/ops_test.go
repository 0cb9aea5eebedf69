package gpt

import (
	"math"
	"testing"
)

func near(t *testing.T, what string, got []float32, want ...float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i, v := range got {
		if !(math.Abs(float64(v)-want[i]) <= 1e-7*max(1, math.Abs(want[i]))) {
			t.Errorf("%s[%d] = %v, want %v", what, i, v, want[i])
		}
	}
}

func TestNorm(t *testing.T) {
	n := norm{weight: []float32{1, 2, -1}, bias: []float32{0, 0.5, 10}}
	y := n.apply(Tensor{[]int{2, 3}, []float32{1, 2, 6, 5, 5, 5}})
	s := math.Sqrt(14.0/3 + 1e-5) // mean 3, squares 4 + 1 + 9
	near(t, "norm", y.Data, -2/s, 0.5-2/s, 10-3/s, 0, 0.5, 10)
}

// The values of the tanh form, to 9 digits.
func TestGELU(t *testing.T) {
	y := gelu(Tensor{[]int{5}, []float32{0, 1, -1, 100, -100}})
	near(t, "gelu", y.Data, 0, 0.841191991, -0.158808009, 100, 0)
}

func TestSoftmax(t *testing.T) {
	y := softmax(Tensor{[]int{2, 3}, []float32{0, float32(math.Log(2)), float32(math.Log(5)), 1e30, 1e30, -1e30}})
	near(t, "softmax", y.Data, 1.0/8, 2.0/8, 5.0/8, 0.5, 0.5, 0)
}
