package qkv

import (
	"math"
	"strconv"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/tile"
)

// A Matrix is a strided matrix of float32 over a slice that the caller owns, or one of weights of
// another type, see [WeightMatrix]. It copies nothing. Whether it stays inside its slice is checked where
// it is used. The zero Matrix is none.
type Matrix struct {
	data      []float32
	weights   *storedWeights // in the place of data, which have so many values
	offset    int
	rows      int
	cols      int
	rowStride int
	colStride int
}

// RowMajor returns the matrix [rows, cols] of contiguous data, row after row.
func RowMajor(data []float32, rows, cols int) Matrix {
	return StridedMatrix(data, 0, rows, cols, cols, 1)
}

// StridedMatrix returns a matrix whose element (i, j) is
//
//	data[offset + i*rowStride + j*colStride]
//
// Strides may be 0 or negative. A matrix that has more elements than data may have at most
// 2^28 of them, or 2^26 where an int has 32 bits.
func StridedMatrix(data []float32, offset, rows, cols, rowStride, colStride int) Matrix {
	return Matrix{data: data, offset: offset, rows: rows, cols: cols, rowStride: rowStride, colStride: colStride}
}

// T returns the transpose, in the same memory: that of weights stored [out, in], as
// PyTorch has them, is [in, out].
func (m Matrix) T() Matrix {
	m.rows, m.cols = m.cols, m.rows
	m.rowStride, m.colStride = m.colStride, m.rowStride
	return m
}

// Rows returns the number of rows.
func (m Matrix) Rows() int { return m.rows }

// Cols returns the number of columns.
func (m Matrix) Cols() int { return m.cols }

// given reports whether there is a matrix at all.
func (m *Matrix) given() bool {
	return m.data != nil || m.weights != nil || m.offset != 0 || m.rows != 0 || m.cols != 0 || m.rowStride != 0 || m.colStride != 0
}

// Slice returns rows [lo, hi) and all columns. It panics if there are no such rows.
func (m Matrix) Slice(lo, hi int) Matrix {
	if lo < 0 || hi < lo || hi > m.rows {
		panic("qkv: Matrix.Slice outside of the matrix")
	}
	m.offset = further(m.offset, mul(lo, m.rowStride))
	m.rows = hi - lo
	return m
}

// further returns an offset that is a step on. Where that is no int it is the least one, which no step leaves:
// the next check says so.
func further(offset, step int) int {
	sum := offset + step
	switch {
	case step == 0:
		return offset
	case offset == math.MinInt, abs(step) == math.MaxInt, (sum > offset) != (step > 0):
		return math.MinInt
	}
	return sum
}

// elements returns the number of elements that there are in memory.
func (m *Matrix) elements() int {
	if m.weights != nil {
		return mul(m.weights.rows, m.weights.Cols)
	}
	return len(m.data)
}

// view returns the matrix as a View with rows on the seq axis, without the memory of one of another
// type than float32.
func (m *Matrix) view() View {
	if m.weights != nil {
		v := Strided[float32](nil, m.offset, [4]int{1, 1, m.rows, m.cols}, [4]int{0, 0, m.rowStride, m.colStride})
		v.len = m.elements()
		return v
	}
	return Strided(m.data, m.offset, [4]int{1, 1, m.rows, m.cols}, [4]int{0, 0, m.rowStride, m.colStride})
}

// maxRepeated bounds the elements of a matrix that repeats those of its slice: by strides of
// 0 a few could take any amount of time, and packed of memory. Where an int has 32 bits it
// is a quarter.
const maxRepeated = 1 << (28 - 2*(64-strconv.IntSize)/32)

var matrixAxisNames = [4]string{"batch", "heads", "rows", "columns"}

// check reports a matrix of another type than float32, one without an element, and an element outside
// the slice.
func (m *Matrix) check(name string) error {
	if m.weights != nil {
		t := WeightType(m.weights.Type)
		return argError(name, int(t), int(WeightFloat32), "%s is a matrix of weights of type %v, float32 is needed", name, t)
	}
	return m.checkElements(name)
}

// checkElements reports what check does, of elements of any type.
func (m *Matrix) checkElements(name string) error {
	if m.plain() {
		return nil
	}
	if !m.given() {
		return argError(name, 0, 1, "%s is not given", name)
	}
	if m.rows < 1 {
		return argError(name, m.rows, 1, "%s has %d rows, at least 1 is needed", name, m.rows)
	}
	if m.cols < 1 {
		return argError(name, m.cols, 1, "%s has %d columns, at least 1 is needed", name, m.cols)
	}
	if m.weights != nil {
		if err := m.weights.check(name); err != nil {
			return err
		}
	}
	if n, most := mul(m.rows, m.cols), max(maxRepeated, m.elements()); n > most {
		return argError(name, n, most, "%s has %d elements in a slice of %d, at most %d can share it", name, n, m.elements(), most)
	}
	v := m.view()
	return v.check(name, &matrixAxisNames)
}

// plain reports whether the matrix is one of float32 whose rows follow each other inside its slice, as most are, which
// takes a part of what checkElements does for others to find out.
func (m *Matrix) plain() bool {
	return m.weights == nil && m.rows >= 1 && m.cols >= 1 && m.colStride == 1 && m.rowStride >= m.cols &&
		m.offset >= 0 && m.offset <= len(m.data)-m.cols && times(m.rows-1, m.rowStride) <= len(m.data)-m.cols-m.offset
}

// checkWeights reports what checkElements does, and elements that share memory so much that a copy
// would be larger than the slice.
func (m *Matrix) checkWeights(name string) error {
	if err := m.checkElements(name); err != nil {
		return err
	}
	if n := mul(m.rows, m.cols); n > m.elements() {
		return argError(name, n, m.elements(), "%s has %d elements, its slice has %d", name, n, m.elements())
	}
	return nil
}

// checkWritable reports elements that share memory.
func (m *Matrix) checkWritable(name string) error {
	if m.colStride == 1 && m.rowStride >= m.cols { // most are
		return nil
	}
	v := m.view()
	return v.checkWritable(name, &matrixAxisNames)
}

// tile returns the matrix, which was checked.
func (m *Matrix) tile() tile.Matrix {
	if m.weights != nil {
		if p := m.weights.Floats(); p != nil {
			return tile.Matrix{Base: unsafe.Pointer(ptr.At(p, m.offset)), Row: m.rowStride, Col: m.colStride}
		}
		return tile.Matrix{Row: m.rowStride, Col: m.colStride, Weights: &m.weights.WeightRows, First: m.offset}
	}
	return tile.Matrix{Base: unsafe.Pointer(&m.data[m.offset]), Row: m.rowStride, Col: m.colStride}
}
