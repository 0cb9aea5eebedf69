package tile

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestNormHead compares with float64. The sum of squares has at most (dim/16 + 4)
// roundings, half of which r sees; then come those of the mean, of eps, of the root, of its
// reciprocal and of two products.
func TestNormHead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for dim := 1; dim <= 300; dim++ {
		for _, scale := range []float64{1, 1e-3, 1e10, 1e-19, 1e-22} {
			eps := float32(1e-6)
			if scale < 1e-10 {
				eps = 0x1p-125 // the least; squares underflow
			}
			x, weight := make([]float32, dim+1), make([]float32, dim)
			for i := range weight {
				x[i], weight[i] = float32(scale*r.NormFloat64()), float32(r.NormFloat64())
			}
			x[dim] = 7
			if dim%3 == 0 {
				weight = nil
			}
			mean := 0.0
			for _, v := range x[:dim] {
				mean += float64(v) * float64(v) / float64(dim)
			}
			before := slices.Clone(x)
			normHead(&x[0], dim, 1, weight, eps)
			for i, got := range x[:dim] {
				want := float64(before[i]) / math.Sqrt(mean+float64(float32(eps)))
				if weight != nil {
					want *= float64(weight[i])
				}
				bound := (float64(dim)/32 + 7) * 0x1p-24 * math.Abs(want)
				if !(math.Abs(float64(got)-want) <= bound) {
					t.Fatalf("dim %d, scale %g: element %d is %v, want %v", dim, scale, i, got, want)
				}
			}
			if x[dim] != 7 {
				t.Fatalf("dim %d: element %d was written", dim, dim)
			}
		}
	}
}

// TestNormHeadOrder holds the sum of squares to its order. In any other that is not its
// mirror, a square of 1 beside 2^24 is lost or counts twice.
func TestNormHeadOrder(t *testing.T) {
	sumOf := func(x ...float32) float32 {
		y := slices.Clone(x)
		normHead(&y[0], len(y), 1, nil, 0)
		return y[len(y)-1]
	}
	// By the formula, in exact arithmetic: 16 sums of two squares, then the tree.
	x := make([]float32, 32)
	for i := range x {
		x[i] = 1
	}
	x[0] = 4096 // its square is 2^24, to which 1 adds nothing
	// sum[0] = 2^24 + 1 rounds to 2^24; the other sums are 2. The tree adds 2, 4, 8 and 16.
	const sum = 1<<24 + 30
	r := 1 / float32(math.Sqrt(float64(float32(sum)/32)))
	if got := sumOf(x...); got != r {
		t.Errorf("1/rms is %v, want %v", got, r)
	}
	if straight := 1 / float32(math.Sqrt((1<<24)/32)); r == straight {
		t.Fatal("the order does not show")
	}
}

// TestNormHeadSpecial: zeros stay zeros, signs included, and what is no finite number
// becomes NaN.
func TestNormHeadSpecial(t *testing.T) {
	x := []float32{0, float32(math.Copysign(0, -1))}
	normHead(&x[0], 2, 1, nil, 1e-6)
	if x[0] != 0 || x[1] != 0 || !math.Signbit(float64(x[1])) {
		t.Errorf("zeros become %v", x)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		x := []float32{1, float32(bad)}
		normHead(&x[0], 2, 1, nil, 1e-6)
		if x[1] == x[1] {
			t.Errorf("%v becomes %v", bad, x[1])
		}
	}
}
