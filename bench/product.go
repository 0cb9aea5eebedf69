package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// A Product is the sizes of a float32 matrix product with weights as models have them:
// X [M, K] times the transpose of W [N, K].
type Product struct{ M, N, K int }

// ParseProduct reads m=512,n=4096,k=4096.
func ParseProduct(text string) (Product, error) {
	var p Product
	fields := []field{{"m", &p.M}, {"n", &p.N}, {"k", &p.K}}
	if err := parseFields("product", text, fields, nil); err != nil {
		return Product{}, err
	}
	if key := missing(fields); key != "" {
		return Product{}, fmt.Errorf("product %q: %s is missing", text, key)
	}
	if b := p.Bytes(); b > maxBytes {
		return Product{}, fmt.Errorf("product %q: the matrices would take %d bytes, at most %d are measured", text, b, int64(maxBytes))
	}
	return p, nil
}

// String writes the product as [ParseProduct] reads it.
func (p Product) String() string { return fmt.Sprintf("m=%d,n=%d,k=%d", p.M, p.N, p.K) }

// Short is String.
func (p Product) Short() string { return p.String() }

// FLOPs counts a multiplication and an addition for each term.
func (p Product) FLOPs() float64 { return 2 * float64(p.M) * float64(p.N) * float64(p.K) }

// Bytes returns the size of the three matrices.
func (p Product) Bytes() int64 {
	return satAdd(satAdd(satMul(4, p.M, p.K), satMul(4, p.N, p.K)), satMul(4, p.M, p.N))
}

// MovedBytes returns Bytes.
func (p Product) MovedBytes() int64 { return p.Bytes() }

// ReadBytes returns the size of the weights for few rows.
func (p Product) ReadBytes() int64 {
	if p.M > fewQueries {
		return 0
	}
	return satMul(4, p.N, p.K)
}

// reused returns the size of the weights.
func (p Product) reused() int64 { return satMul(4, p.N, p.K) }

func (p Product) describe(r *Run) { r.Kind = KindProduct }

// Inputs makes matrices of standard normal numbers.
func (p Product) Inputs(seed uint64) Inputs {
	in := &ProductInputs{
		Product: p,
		X:       make([]float32, p.M*p.K), W: make([]float32, p.N*p.K), Y: make([]float32, p.M*p.N),
	}
	fillNormal(in.X, seed, 5)
	fillNormal(in.W, seed, 6)
	in.Spoil()
	return in
}

// ProductInputs are the matrices of a product, contiguous, row by row.
type ProductInputs struct {
	Product Product
	X       []float32 // [M, K]
	W       []float32 // [N, K]
	Y       []float32 // [M, N], the result
}

func (in *ProductInputs) again() Inputs {
	other := *in
	other.W = slices.Clone(in.W)
	return &other
}

// Work returns the product.
func (in *ProductInputs) Work() Work { return in.Product }

// Spoil overwrites Y with NaN.
func (in *ProductInputs) Spoil() {
	for i := range in.Y {
		in.Y[i] = float32(math.NaN())
	}
}

// Check compares elements of Y with float64, 64 of each of at most so many rows. In whatever
// order K terms are summed, the error is at most K times the unit roundoff times the sum of
// their sizes, to first order (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).
func (in *ProductInputs) Check(ctx context.Context, rows int, path *Path) (Check, error) {
	const perRow = 64
	p, roundoff := in.Product, path.roundoff()
	list, columns := sampleRows(p.M, rows), sampleRows(p.N, perRow)
	checks, errs := make([]Check, len(list)), make([]error, len(list))
	parallel(len(list), func(i int) {
		if ctx.Err() != nil {
			return
		}
		c, x := &checks[i], in.X[list[i]*p.K:][:p.K]
		for _, j := range columns {
			w := in.W[j*p.K:][:p.K]
			sum, size := 0.0, 0.0
			for l, x := range x {
				t := float64(x) * float64(w[l])
				sum, size = sum+t, size+math.Abs(t)
			}
			got, bound := in.Y[list[i]*p.N+j], 1.01*float64(p.K)*roundoff*size+1e-30
			off := math.Abs(float64(got) - sum)
			c.MaxError, c.OfBound = max(c.MaxError, off), max(c.OfBound, off/bound)
			if errs[i] == nil && !(off <= bound) {
				errs[i] = fmt.Errorf("row %d, column %d is %g, want %g: off by %.3g, at most %.3g is rounding", list[i], j, got, sum, off, bound)
			}
		}
	})
	if ctx.Err() != nil {
		return Check{}, context.Cause(ctx)
	}
	return joinChecks(checks, errs)
}
