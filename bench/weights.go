package bench

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel/fp"
)

// WeightInputs are the matrices of a product by weights of another type than float32, contiguous, row
// by row.
type WeightInputs struct {
	Product Product
	X       []float32 // [M, K]
	Data    []byte    // the weights [N, K], as [qkv.WeightMatrix] reads them
	Scales  []float32 // of weights of type int8, one for each of the N rows; nil for others
	Y       []float32 // [M, N], the result
}

// A blockScale is a number of binary16 in a block of weights, about so large that values are about 1.
type blockScale struct {
	at   int // byte
	size float64
}

// blockScales has the numbers of binary16 in blocks of each type that has any.
var blockScales = map[qkv.WeightType][]blockScale{
	qkv.WeightQ8_0:   {{0, 1. / 74}},
	qkv.WeightQ4_0:   {{0, 1. / 4.6}},
	qkv.WeightQ4_1:   {{0, 1. / 4.6}, {2, -7.5 / 4.6}},
	qkv.WeightQ5_0:   {{0, 1. / 9.2}},
	qkv.WeightQ5_1:   {{0, 1. / 9.2}, {2, -15.5 / 9.2}},
	qkv.WeightQ2_K:   {{80, 1. / 16}, {82, 1.5 / 16}},
	qkv.WeightQ3_K:   {{108, 1. / 42}},
	qkv.WeightQ4_K:   {{0, 1. / 170}, {2, 7.5 / 170}},
	qkv.WeightQ5_K:   {{0, 1. / 340}, {2, 15.5 / 340}},
	qkv.WeightQ6_K:   {{208, 1. / 1370}},
	qkv.WeightIQ4_NL: {{0, 1. / 67}},
}

// newWeightInputs makes X of standard normal numbers, weights of 16 bits that are nearest to such, and
// other blocks of random bits, whose scales make their values about as large.
func newWeightInputs(p Product, seed uint64) *WeightInputs {
	in := &WeightInputs{Product: p, X: make([]float32, p.M*p.K), Y: make([]float32, p.M*p.N)}
	fillNormal(in.X, seed, 5)
	values, size := p.Weights.Block()
	in.Data = make([]byte, p.N*p.K/values*size)
	if p.Weights == qkv.WeightInt8 {
		in.Scales = make([]float32, p.N)
		for i := range in.Scales {
			in.Scales[i] = 1. / 74
		}
	}
	row := p.K / values * size
	parallel(p.N, func(j int) {
		r := rand.New(rand.NewPCG(seed, 6<<40|uint64(j)))
		p.fillWeights(in.Data[j*row:][:row], r)
	})
	in.Spoil()
	return in
}

// fillWeights makes a row of weights.
func (p Product) fillWeights(row []byte, r *rand.Rand) {
	switch p.Weights {
	case qkv.WeightFloat16:
		for i := range p.K {
			binary.LittleEndian.PutUint16(row[2*i:], fp.Float32ToFloat16(float32(r.NormFloat64())))
		}
		return
	case qkv.WeightBFloat16:
		for i := range p.K {
			binary.LittleEndian.PutUint16(row[2*i:], fp.Float32ToBFloat16(float32(r.NormFloat64())))
		}
		return
	}
	for i := range row {
		row[i] = byte(r.Uint32())
	}
	_, size := p.Weights.Block()
	for at := 0; at < len(row); at += size {
		for _, s := range blockScales[p.Weights] {
			d := float32(s.size * (0.75 + 0.5*r.Float64()))
			binary.LittleEndian.PutUint16(row[at+s.at:], fp.Float32ToFloat16(d))
		}
		if p.Weights == qkv.WeightMXFP4 {
			row[at] = byte(124 + r.IntN(3)) // of the scale of a block, 2^-3 to 2^-1
		}
	}
}

func (in *WeightInputs) again() Inputs {
	other := *in
	other.Data, other.Scales = slices.Clone(in.Data), slices.Clone(in.Scales)
	return &other
}

// Work returns the product.
func (in *WeightInputs) Work() Work { return in.Product }

// Spoil overwrites Y with NaN.
func (in *WeightInputs) Spoil() {
	for i := range in.Y {
		in.Y[i] = float32(math.NaN())
	}
}

// matrix returns the weights [N, K].
func (in *WeightInputs) matrix() qkv.Matrix {
	p := in.Product
	if p.Weights == qkv.WeightInt8 {
		return qkv.Int8Matrix(unsafe.Slice((*int8)(unsafe.Pointer(&in.Data[0])), len(in.Data)), in.Scales, p.N, p.K, 0)
	}
	return qkv.WeightMatrix(p.Weights, in.Data, p.N, p.K)
}

// row returns the values of row j of the weights.
func (in *WeightInputs) row(j int) []float32 {
	row, size := make([]float32, in.Product.K), len(in.Data)/in.Product.N
	if err := qkv.Dequantize(in.Product.Weights, row, in.Data[j*size:][:size]); err != nil {
		panic(err) // of a type and a size that were checked
	}
	if in.Scales != nil {
		for i := range row {
			row[i] *= in.Scales[j]
		}
	}
	return row
}

// Check compares elements of Y with float64, 64 of each of at most so many rows, as that of
// [ProductInputs] does: the weights are what [qkv.Dequantize] says.
func (in *WeightInputs) Check(ctx context.Context, rows int, path *Path) (Check, error) {
	return in.Product.check(ctx, rows, path, in.X, in.Y, in.row)
}
