package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// A Product is a product of X [M, K], float32, by the transpose of weights W [N, K], as models have
// them, and how these are stored.
type Product struct {
	M, N, K int
	Weights qkv.WeightType // the type of W
	InPlace bool           // W is read where it is, otherwise a packed copy, of the type or of float32

	// Precision is the numerical class.
	Precision qkv.Precision
}

// ParseProduct reads m=512,n=4096,k=4096, by packed weights of float32. w=q4_k is the type of weights
// that are read in place, by its name in small letters, and packed=1 beside it has them packed. class=int8 is
// the numerical class, likewise.
func ParseProduct(text string) (Product, error) {
	var p Product
	packed := 0
	fields := []field{{"m", &p.M}, {"n", &p.N}, {"k", &p.K}, {"packed", &packed}}
	err := parseFields("product", text, fields, func(key, value string) (_ bool, err error) {
		switch key {
		case "w":
			p.InPlace = true
			return true, p.parseWeights(value)
		case "class":
			p.Precision, err = ParseClass(value)
			return true, err
		}
		return false, nil
	})
	if err != nil {
		return Product{}, err
	}
	if key := missing(fields[:3]); key != "" {
		return Product{}, fmt.Errorf("product %q: %s is missing", text, key)
	}
	if packed > 1 {
		return Product{}, fmt.Errorf("product %q: packed=%d is not 1", text, packed)
	}
	p.InPlace = p.InPlace && packed == 0
	if values, _ := p.Weights.Block(); p.K%values != 0 {
		return Product{}, fmt.Errorf("product %q: k=%d is not a multiple of the %d of a block of %v", text, p.K, values, p.Weights)
	}
	if p.Precision == qkv.PrecisionInt8 {
		if kernel.Weight(p.Weights).Int8() == nil {
			return Product{}, fmt.Errorf("product %q: class %v has no products by weights of type %v", text, p.Precision, p.Weights)
		}
		if p.K%kernel.Int8Block != 0 {
			return Product{}, fmt.Errorf("product %q: k=%d is not a multiple of the %d of a block of class %v", text, p.K, kernel.Int8Block, p.Precision)
		}
	}
	if b := p.Bytes(); b > maxBytes {
		return Product{}, fmt.Errorf("product %q: the matrices would take %d bytes, at most %d are measured", text, b, int64(maxBytes))
	}
	return p, nil
}

// parseWeights reads the name of a type.
func (p *Product) parseWeights(name string) error {
	var names []string
	for _, w := range kernel.Weights() {
		p.Weights = qkv.WeightType(w)
		if p.weightsName() == name {
			return nil
		}
		names = append(names, p.weightsName())
	}
	return fmt.Errorf("%q is not one of %s", name, strings.Join(names, ", "))
}

func (p Product) weightsName() string { return strings.ToLower(p.Weights.String()) }

// String writes the product as [ParseProduct] reads it.
func (p Product) String() string {
	text := fmt.Sprintf("m=%d,n=%d,k=%d", p.M, p.N, p.K)
	switch {
	case p.InPlace:
		text += ",w=" + p.weightsName()
	case p.Weights != qkv.WeightFloat32:
		text += ",w=" + p.weightsName() + ",packed=1"
	}
	if p.Precision != qkv.PrecisionFloat32 {
		text += ",class=" + className(p.Precision)
	}
	return text
}

// Short is String.
func (p Product) Short() string { return p.String() }

// FLOPs counts a multiplication and an addition for each term.
func (p Product) FLOPs() float64 { return 2 * float64(p.M) * float64(p.N) * float64(p.K) }

// Bytes returns the size of the three matrices, and of a packed copy of weights of another type.
func (p Product) Bytes() int64 {
	bytes := p.MovedBytes()
	if !p.InPlace && (p.Weights != qkv.WeightFloat32 || p.Precision == qkv.PrecisionBFloat16) {
		bytes = satAdd(bytes, p.weightBytes())
	}
	return bytes
}

// MovedBytes returns the size of X and Y, and of the weights as they are read.
func (p Product) MovedBytes() int64 {
	return satAdd(satAdd(satMul(4, p.M, p.K), satMul(4, p.M, p.N)), p.reused())
}

// ReadBytes returns the size of the weights for few rows.
func (p Product) ReadBytes() int64 {
	if p.M > fewQueries {
		return 0
	}
	return p.reused()
}

// reused returns the size of the weights as they are read: in their type, where that is how they are packed.
func (p Product) reused() int64 {
	switch {
	case p.InPlace || p.Precision == qkv.PrecisionInt8:
		return p.weightBytes()
	case p.Precision == qkv.PrecisionBFloat16:
		return satMul(2, p.N, p.K)
	case kernel.Weight(p.Weights).Strip().SubBlock == 0:
		return satMul(4, p.N, p.K)
	}
	return p.weightBytes()
}

// weightBytes returns the size of W.
func (p Product) weightBytes() int64 {
	values, size := p.Weights.Block()
	bytes := satMul(p.N, p.K/values, size)
	if p.Weights == qkv.WeightInt8 {
		bytes = satAdd(bytes, satMul(4, p.N))
	}
	return bytes
}

func (p Product) describe(r *Run) {
	r.Kind = KindProduct
	if p.Precision != qkv.PrecisionFloat32 {
		r.Precision = p.Precision.String()
	}
}

// Inputs makes matrices of standard normal numbers, and weights of other types than float32 about as
// large.
func (p Product) Inputs(seed uint64) Inputs {
	if p.Weights != qkv.WeightFloat32 {
		return newWeightInputs(p, seed)
	}
	in := &ProductInputs{
		Product: p,
		X:       make([]float32, p.M*p.K), W: make([]float32, p.N*p.K), Y: make([]float32, p.M*p.N),
	}
	fillNormal(in.X, seed, 5)
	fillNormal(in.W, seed, 6)
	in.Spoil()
	return in
}

// ProductInputs are the matrices of a product by weights of float32, contiguous, row by row.
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

// Check compares elements of Y with float64, 64 of each of at most so many rows.
func (in *ProductInputs) Check(ctx context.Context, rows int, path *Path) (Check, error) {
	return in.Product.check(ctx, rows, path, in.X, in.Y, func(j int) []float32 { return in.W[j*in.Product.K:][:in.Product.K] })
}

// check compares elements of Y with float64. weights returns row j of W. In whatever order K terms are
// summed, the error is at most K times the unit roundoff times the sum of their sizes, to first order
// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). What a path rounds besides, see [Rounds],
// is added.
func (p Product) check(ctx context.Context, rows int, path *Path, xs, y []float32, weights func(j int) []float32) (Check, error) {
	const columns = 64
	roundoff := path.roundoff()
	var rounds Rounds
	if path != nil {
		rounds = path.Rounds
	}
	list, w := sampleRows(p.M, rows), make(map[int][]float32)
	for _, j := range sampleRows(p.N, columns) {
		w[j] = weights(j)
	}
	checks, errs := make([]Check, len(list)), make([]error, len(list))
	parallel(len(list), func(i int) {
		if ctx.Err() != nil {
			return
		}
		c, x := &checks[i], xs[list[i]*p.K:][:p.K]
		errors := rounds.of(x)
		for _, j := range sampleRows(p.N, columns) {
			sum, size, squares := 0.0, 0.0, 0.0
			for l, x := range x {
				t, e := float64(x)*float64(w[j][l]), (errors[l]+rounds.W*math.Abs(float64(x)))*float64(w[j][l])
				sum, size, squares = sum+t, size+math.Abs(t), squares+e*e
			}
			bound := 1.01*(float64(p.K)*roundoff*size+deviations*math.Sqrt(squares)+rounds.Y*math.Abs(sum)) + 1e-30
			got := y[list[i]*p.N+j]
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

// Rounds says what a path of a product rounds to less than the type of its sums. The zero value says
// nothing.
type Rounds struct {
	X     float64 // a value of X is off by at most X times the largest magnitude of its block
	Block int     // values of such a block, 0 or 1 where each is rounded by itself
	W     float64 // the unit roundoff of weights
	Y     float64 // the unit roundoff of results
}

// deviations bounds what K roundings of X add up to: with a chance of at most 2 exp(-6²/2), 3e-8, errors
// that are independent, of mean 0 and no larger than c[i] have a sum beyond 6 √Σc[i]² (Hoeffding).
const deviations = 6

// of returns how far values of a row may be off.
func (r Rounds) of(row []float32) []float64 {
	off := make([]float64, len(row))
	block := max(1, r.Block)
	for first := 0; first < len(row) && r.X != 0; first += block {
		last, most := min(first+block, len(row)), 0.0
		for _, x := range row[first:last] {
			most = max(most, math.Abs(float64(x)))
		}
		for i := first; i < last; i++ {
			off[i] = r.X * most
		}
	}
	return off
}
