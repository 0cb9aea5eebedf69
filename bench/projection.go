package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// A Projection is the queries, keys and values of Rows tokens of width In, float32, in one
// product, queries and keys rotated by their positions.
type Projection struct {
	Rows, In       int
	Heads, KVHeads int
	Dim            int // even
}

// ParseProjection reads project=512,in=4096,h=32,hkv=8,d=128; hkv is h if it is left out.
func ParseProjection(text string) (Projection, error) {
	var p Projection
	fields := []field{{"project", &p.Rows}, {"in", &p.In}, {"h", &p.Heads}, {"d", &p.Dim}, {"hkv", &p.KVHeads}}
	if err := parseFields("projection", text, fields, nil); err != nil {
		return Projection{}, err
	}
	if key := missing(fields[:4]); key != "" {
		return Projection{}, fmt.Errorf("projection %q: %s is missing", text, key)
	}
	if p.KVHeads == 0 {
		p.KVHeads = p.Heads
	}
	if p.Dim%2 != 0 {
		return Projection{}, fmt.Errorf("projection %q: d=%d is odd, pairs of elements are rotated", text, p.Dim)
	}
	if b := p.Bytes(); b > maxBytes {
		return Projection{}, fmt.Errorf("projection %q: the matrices would take %d bytes, at most %d are measured", text, b, int64(maxBytes))
	}
	return p, nil
}

// String writes the projection in full.
func (p Projection) String() string {
	return fmt.Sprintf("project=%d,in=%d,h=%d,hkv=%d,d=%d", p.Rows, p.In, p.Heads, p.KVHeads, p.Dim)
}

// Short leaves hkv out where it is h.
func (p Projection) Short() string {
	if p.KVHeads == p.Heads {
		return fmt.Sprintf("project=%d,in=%d,h=%d,d=%d", p.Rows, p.In, p.Heads, p.Dim)
	}
	return p.String()
}

// product is the product of all heads.
func (p Projection) product() Product {
	return Product{M: p.Rows, N: int(min(satAdd(satMul(p.Heads, p.Dim), satMul(2, p.KVHeads, p.Dim)), math.MaxInt)), K: p.In}
}

// FLOPs returns those of the products; the rotation counts nothing.
func (p Projection) FLOPs() float64 { return p.product().FLOPs() }

// Bytes returns the size of rows, weights and results.
func (p Projection) Bytes() int64 { return p.product().Bytes() }

// MovedBytes returns Bytes.
func (p Projection) MovedBytes() int64 { return p.Bytes() }

// ReadBytes returns the size of the weights for few rows.
func (p Projection) ReadBytes() int64 { return p.product().ReadBytes() }

// reused returns the size of the weights.
func (p Projection) reused() int64 { return p.product().reused() }

func (p Projection) describe(r *Run) { r.Kind = KindProjection }

// Inputs makes rows and weights of standard normal numbers.
func (p Projection) Inputs(seed uint64) Inputs {
	in := &ProjectionInputs{Projection: p, X: make([]float32, p.Rows*p.In)}
	fillNormal(in.X, seed, 7)
	for i := range in.W {
		heads := p.KVHeads
		if i == 0 {
			heads = p.Heads
		}
		in.W[i] = make([]float32, heads*p.Dim*p.In)
		fillNormal(in.W[i], seed, 8+uint64(i))
		in.Out[i] = make([]float32, heads*p.Rows*p.Dim)
	}
	in.Spoil()
	return in
}

// ProjectionInputs are the operands of a projection, contiguous: of queries, keys and values.
type ProjectionInputs struct {
	Projection Projection
	X          []float32    // [Rows, In]
	W          [3][]float32 // [heads*Dim, In]
	Out        [3][]float32 // [heads, Rows, Dim], the results
}

func (in *ProjectionInputs) again() Inputs {
	other := *in
	for i := range other.W {
		other.W[i] = slices.Clone(in.W[i])
	}
	return &other
}

// Work returns the projection.
func (in *ProjectionInputs) Work() Work { return in.Projection }

// Spoil overwrites the results with NaN.
func (in *ProjectionInputs) Spoil() {
	for _, out := range in.Out {
		for i := range out {
			out[i] = float32(math.NaN())
		}
	}
}

// Check compares elements of a sample of rows with float64, 16 of each of queries, keys and
// values. A rotated element has the errors of its pair, see [ProductInputs.Check], and a few
// roundings of sines, cosines and the sum.
func (in *ProjectionInputs) Check(ctx context.Context, rows int, path *Path) (Check, error) {
	const perRow = 16
	p, u := in.Projection, path.roundoff()
	list := sampleRows(p.Rows, rows)
	checks, errs := make([]Check, len(list)), make([]error, len(list))
	parallel(len(list), func(i int) {
		if ctx.Err() != nil {
			return
		}
		for part := range in.Out {
			for _, at := range sampleRows(len(in.W[part])/p.In, perRow) {
				head, d := at/p.Dim, at%p.Dim
				want, bound := in.element(part, list[i], head, d, u)
				got := in.Out[part][(head*p.Rows+list[i])*p.Dim+d]
				off := math.Abs(float64(got) - want)
				c := &checks[i]
				c.MaxError, c.OfBound = max(c.MaxError, off), max(c.OfBound, off/bound)
				if errs[i] == nil && !(off <= bound) {
					errs[i] = fmt.Errorf("%s of row %d, head %d, dim %d is %g, want %g: off by %.3g, at most %.3g is rounding",
						[...]string{"q", "k", "v"}[part], list[i], head, d, got, want, off, bound)
				}
			}
		}
	})
	if ctx.Err() != nil {
		return Check{}, context.Cause(ctx)
	}
	return joinChecks(checks, errs)
}

// element computes an element and the bound of its error.
func (in *ProjectionInputs) element(part, row, head, d int, u float64) (x, bound float64) {
	p := in.Projection
	dot := func(d int) (sum, size float64) {
		w := in.W[part][(head*p.Dim+d)*p.In:][:p.In]
		for i, x := range in.X[row*p.In:][:p.In] {
			t := float64(x) * float64(w[i])
			sum, size = sum+t, size+math.Abs(t)
		}
		return sum, size
	}
	x, size := dot(d)
	if part == 2 { // values are not rotated
		return x, 1.01*float64(p.In)*u*size + 1e-30
	}
	half := p.Dim / 2
	pair, sign := d+half, -1.0
	if d >= half {
		pair, sign = d-half, 1
	}
	other, otherSize := dot(pair)
	sin, cos := math.Sincos(float64(row) * math.Pow(10000, -2*float64(d%half)/float64(p.Dim)))
	bound = float64(p.In)*u*(size*math.Abs(cos)+otherSize*math.Abs(sin)) + 4*u*(math.Abs(x)+math.Abs(other))
	return x*cos + sign*other*sin, 1.01*bound + 1e-30
}

// joinChecks returns the worst of checks, and the first error.
func joinChecks(checks []Check, errs []error) (Check, error) {
	all := Check{Rows: len(checks)}
	for i, c := range checks {
		all.MaxError, all.OfBound = max(all.MaxError, c.MaxError), max(all.OfBound, c.OfBound)
		if errs[i] != nil {
			return all, errs[i]
		}
	}
	return all, nil
}
