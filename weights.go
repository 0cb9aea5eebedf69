package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// storedWeights is what a [Matrix] of another type than float32 reads.
type storedWeights struct {
	kernel.WeightRows
	rows int
}

// WeightMatrix returns the matrix [rows, cols] of weights of a type. data has it row after row, each of
// whole blocks, and is read where it is: it may be a mapped file, at any address. A tensor of a model file
// is such a matrix with a row for each output and a column for each input, and a product takes its
// transpose. For example, the queries' weights of a layer:
//
//	w := qkv.WeightMatrix(qkv.WeightQ4_K, data, heads*dim, hidden).T()
//
// It may be [Product.W] and [Linear.W], what is packed, and the table of [Engine.Lookup], and no other operand.
// There it stands for the float32 values of its elements: results have the bits that these give.
//
// A product by a matrix in place makes float32 of it a piece at a time, once for as many rows of X as the
// second-level cache has KiB. A packed copy, see [Engine.Pack], keeps the type if [PackedMatrix] has a form of
// it, and is read faster, by few rows of X as by many. docs/performance.md has figures.
// Weights of type [WeightFloat32] at an address of float32 are read as they are.
//
// Uses of the matrix report an unknown type, columns that are no whole blocks, and data that are too short.
func WeightMatrix(t WeightType, data []byte, rows, cols int) Matrix {
	return matrixOf(&storedWeights{kernel.WeightRows{Type: kernel.Weight(t), Data: data, Cols: cols}, rows})
}

// Int8Matrix returns the matrix [rows, cols] of integers, row after row, each multiplied by the scale of
// its group and rounded. A row is cut into groups of groupSize values; its last may be smaller. scales has
// those of all groups, row after row. A groupSize of 0 means whole rows: for weights [out, in], a scale for
// each output. It is for what [WeightMatrix] is for.
func Int8Matrix(data []int8, scales []float32, rows, cols, groupSize int) Matrix {
	if groupSize == 0 {
		groupSize = max(1, cols)
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data))
	return matrixOf(&storedWeights{kernel.WeightRows{
		Type: kernel.WeightInt8, Data: bytes, Cols: cols, Scales: scales, GroupSize: groupSize,
	}, rows})
}

// matrixOf returns the matrix of weights, without what lies behind them in their slices.
func matrixOf(w *storedWeights) Matrix {
	if n := w.bytes(); n >= 0 && n < len(w.Data) {
		w.Data = w.Data[:n]
	}
	if n := w.scales(); n >= 0 && n < len(w.Scales) {
		w.Scales = w.Scales[:n]
	}
	return Matrix{weights: w, rows: w.rows, cols: w.Cols, rowStride: w.Cols, colStride: 1}
}

// bytes returns how many bytes of data there should be.
func (w *storedWeights) bytes() int {
	values, bytes := WeightType(w.Type).Block()
	return mul(w.rows, w.Cols/max(1, values), bytes)
}

// scales returns how many scales there should be.
func (w *storedWeights) scales() int { return mul(w.rows, (w.Cols-1)/max(1, w.GroupSize)+1) }

// check reports weights that are not in their slices. They have rows and columns.
func (w *storedWeights) check(name string) error {
	t := WeightType(w.Type)
	if err := t.check(name); err != nil {
		return err
	}
	values, _ := t.Block()
	if w.Cols%values != 0 {
		return argError(name, w.Cols, values, "%s has rows of %d values, not a multiple of the %d of a block of %v", name, w.Cols, values, t)
	}
	if need := w.bytes(); len(w.Data) < need {
		return argError(name, len(w.Data), need, "%s has %d bytes, %d rows of %d values of type %v take %d", name, len(w.Data), w.rows, w.Cols, t, need)
	}
	if t != WeightInt8 {
		return nil
	}
	if w.GroupSize == 0 { // not of Int8Matrix
		return argError(name, 0, 1, "%s is of type int8 without scales: Int8Matrix takes them", name)
	}
	if w.GroupSize < 1 {
		return argError(name, w.GroupSize, 1, "%s has groups of %d values, at least 1 is needed", name, w.GroupSize)
	}
	if need := w.scales(); len(w.Scales) < need {
		return argError(name, len(w.Scales), need, "%s has %d scales, %d rows in groups of %d of %d values need %d", name, len(w.Scales), w.rows, w.GroupSize, w.Cols, need)
	}
	return nil
}

// checkWeightsApart reports an output that shares memory with weights, or with their scales.
func checkWeightsApart(name string, written *region, other string, w *kernel.WeightRows) error {
	data, scales := bytesRegion(w.Data), floatsRegion(w.Scales)
	if err := checkApart(name, written, other, &data); err != nil {
		return err
	}
	if how := written.shares(&scales); how != apart {
		return argError(name, 0, 0, "%s and the scales of %s %s", name, other, how)
	}
	return nil
}
