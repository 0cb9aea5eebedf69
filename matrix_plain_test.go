package qkv

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestPlainMatrices: a matrix that is found plain is one that the general check takes, and those whose rows follow each
// other are.
func TestPlainMatrices(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 1))
	numbers := []int{math.MinInt, -3, -1, 0, 1, 2, 3, 4, 8, 12, 1 << 20, math.MaxInt / 2, math.MaxInt - 1, math.MaxInt}
	pick := func() int { return numbers[r.IntN(len(numbers))] }
	data, plain := make([]float32, 24), 0
	for range 200_000 {
		m := StridedMatrix(data[:r.IntN(len(data)+1)], pick(), pick(), pick(), pick(), 1)
		if !m.plain() {
			continue
		}
		plain++
		if v := m.view(); v.check("m", &matrixAxisNames) != nil || v.checkWritable("m", &matrixAxisNames) != nil || v.empty() {
			t.Fatalf("%d values, offset %d, [%d, %d], row stride %d: %v", len(m.data), m.offset, m.rows, m.cols, m.rowStride, v.check("m", &matrixAxisNames))
		}
	}
	if plain < 100 {
		t.Errorf("%d matrices are plain", plain)
	}
	for _, m := range []Matrix{RowMajor(data, 4, 6), RowMajor(data, 24, 1), RowMajor(data, 1, 24), StridedMatrix(data, 2, 3, 4, 9, 1), RowMajor(data, 4, 6).Slice(2, 4)} {
		if !m.plain() {
			t.Errorf("%+v is not plain", m)
		}
	}
	for _, m := range []Matrix{{}, RowMajor(data, 4, 6).T(), RowMajor(data, 5, 5), RowMajor(data, 0, 6), StridedMatrix(data, 1, 4, 6, 6, 1)} {
		if m.plain() {
			t.Errorf("%+v is plain", m)
		}
	}
}
