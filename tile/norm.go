package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A Norm normalises rows by their root mean square (RMSNorm; Zhang and Sennrich, 2019), or, centred, by
// their mean and variance (LayerNorm; Ba, Kiros and Hinton, 2016):
//
//	sum[l] = Σ x[i] for i % 16 = l, upwards, from +0
//	mean = tree(sum)/Cols, or 0 if not Centred
//	square[l] = Σ (x[i] - mean)², fused, for i % 16 = l, upwards, from +0
//	r = 1 / sqrt(tree(square)/Cols + Eps)
//	y[i] = ((x[i] - mean) * r) * Weight[i], or fma((x[i] - mean) * r, Weight[i], Bias[i])
//
// where tree adds sum[l+w] to sum[l] for l < w, for w = 8, 4, 2, 1. Every operation is rounded to
// float32. The mean square of elements above 2^63 overflows, and they become zeros.
type Norm struct {
	X, Y       Matrix // [Rows, Cols]; Y may be X, or Add
	Add        Matrix // [Rows, Cols], added to X first, where X is; or none
	Rows, Cols int
	NormWeights

	Done Done
}

// NormWeights are what a Norm has beside rows.
type NormWeights struct {
	Weight, Bias []float32 // [Cols], or nil; with Bias there is Weight
	Eps          float32
	Centred      bool
}

const (
	// normItem is about the elements that an item of a Norm has, or a row, if it has more.
	normItem = 1 << 13

	// normWorth is the elements that pay for another goroutine.
	normWorth = 1 << 15
)

// A normalizer is what a worker has to normalise rows with.
type normalizer struct {
	sums      kernel.SumsArgs
	normalize kernel.NormalizeArgs
	partial   [kernel.NormSums]float32
	rows      [2][]float32 // copies of a row of X, and of one that is added, whose elements lie apart
}

// release drops the references to the caller's memory.
func (w *normalizer) release() { w.sums, w.normalize = kernel.SumsArgs{}, kernel.NormalizeArgs{} }

// Norm normalises with at most workers goroutines, the caller's among them, and reports whether all of it
// is done. If it is not, since n.Done was closed, each row is either done or as it was.
func (e *Engine) Norm(n *Norm, workers int) bool {
	j := e.norms.job()
	j.operands = *n
	return j.run(rowCut{n.Rows, n.Cols, normItem, normWorth}, workers, n.Done)
}

// normalize normalises the rows [from, to).
func (n *Norm) normalize(e *Engine, w *normalizer, from, to int) {
	for row := from; row < to; row++ {
		w.matrixRow(e.set, n, row)
	}
}

// matrixRow normalises a row of matrices, by copies where their elements lie apart.
func (w *normalizer) matrixRow(set *kernel.Set, n *Norm, row int) {
	x, y, add := (*float32)(n.X.at(row, 0)), (*float32)(n.Y.at(row, 0)), (*float32)(nil)
	if n.Add.Base != nil {
		add = (*float32)(n.Add.at(row, 0))
	}
	from, to, plus := x, y, add
	if n.X.Col != 1 {
		from = gather(&w.rows[0], x, n.X.Col, n.Cols)
	}
	if add != nil && n.Add.Col != 1 {
		plus = gather(&w.rows[1], add, n.Add.Col, n.Cols)
	}
	mean, scale := w.measure(set, &n.NormWeights, from, plus, n.Cols)
	if add != nil && from != x {
		scatter(x, n.X.Col, unsafe.Slice(from, n.Cols))
	}
	if n.Y.Col != 1 {
		if to = from; from == x { // X stays as it is
			to = gather(&w.rows[0], x, 1, n.Cols)
		}
	}
	w.scale(set, &n.NormWeights, from, to, n.Cols, mean, scale)
	if to != y {
		scatter(y, n.Y.Col, unsafe.Slice(to, n.Cols))
	}
}

// gather copies n elements, a stride apart, to a slice that it lengthens, and returns the first.
func gather(room *[]float32, p *float32, stride, n int) *float32 {
	if cap(*room) < n {
		*room = make([]float32, n)
	}
	to := (*room)[:n]
	for i := range to {
		to[i] = *ptr.At(p, i*stride)
	}
	return &to[0]
}

// scatter copies elements to where they lie a stride apart.
func scatter(p *float32, stride int, from []float32) {
	for i, x := range from {
		*ptr.At(p, i*stride) = x
	}
}

// head normalises the dim elements from p on, a stride apart, in place.
func (w *normalizer) head(set *kernel.Set, n *NormWeights, p *float32, dim, stride int) {
	x := p
	if stride != 1 {
		x = gather(&w.rows[0], p, stride, dim)
	}
	mean, scale := w.measure(set, n, x, nil, dim)
	w.scale(set, n, x, x, dim, mean, scale)
	if x != p {
		scatter(p, stride, unsafe.Slice(x, dim))
	}
}

// measure adds a row to x, unless that row is nil, and returns the mean and the scale of x.
func (w *normalizer) measure(set *kernel.Set, n *NormWeights, x, add *float32, cols int) (mean, scale float32) {
	w.sums = kernel.SumsArgs{X: x, Add: add, N: cols, Sums: &w.partial}
	if n.Centred {
		mean = w.tree(set) / float32(cols)
		w.sums.Add = nil // it is added
	}
	w.sums.Mean, w.sums.Squares = mean, true
	return mean, 1 / float32(math.Sqrt(float64(w.tree(set)/float32(cols)+n.Eps)))
}

// tree returns the sum of the partial sums.
func (w *normalizer) tree(set *kernel.Set) float32 {
	w.partial = [kernel.NormSums]float32{}
	set.Sums(&w.sums)
	s := &w.partial
	x := func(l int) float32 { return (s[l] + s[l+8]) + (s[l+4] + s[l+12]) } // in registers: loops would wait for stores
	return (x(0) + x(2)) + (x(1) + x(3))
}

// scale writes y, which may be x.
func (w *normalizer) scale(set *kernel.Set, n *NormWeights, x, y *float32, cols int, mean, scale float32) {
	w.normalize = kernel.NormalizeArgs{
		X: x, Y: y, N: cols, Mean: mean, Scale: scale,
		Weight: unsafe.SliceData(n.Weight), Bias: unsafe.SliceData(n.Bias),
	}
	set.Normalize(&w.normalize)
}
