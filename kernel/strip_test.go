package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestStrips: values of strips are those of the rows that were packed, whatever is in their blocks, and lanes
// without a column are zeros. A strip has as many bytes as StripBytes says.
func TestStrips(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, w := range Weights() {
		if w.Strip().SubBlock == 0 {
			continue
		}
		const blocks, rows = 5, 9
		n := w.Values()
		rowsOf := &WeightRows{Type: w, Data: make([]byte, rows*blocks*w.Bytes()), Cols: blocks * n}
		for i := range rowsOf.Data {
			rowsOf.Data[i] = byte(r.Uint32())
		}
		for _, c := range []struct{ vec, row, col, cols, depth int }{
			{4, 0, 0, 4, 5}, {8, 1, 1, 8, 3}, {16, 0, 0, 9, 5}, {4, 5, 2, 4, 2}, {4, 8, 4, 1, 1},
		} {
			depth := c.depth * n
			strip := make([]byte, w.StripBytes(depth)*c.vec)
			for i := range strip {
				strip[i] = 0xa5
			}
			rowsOf.PackStrip(strip, c.vec, c.row*rowsOf.Cols+c.col*n, c.cols, depth)
			got, want := make([]float32, depth), make([]float32, depth)
			for l := range c.vec {
				w.StripValues(got, &strip[0], c.vec, l)
				if clear(want); l < c.cols {
					rowsOf.Values(want, (c.row+l)*rowsOf.Cols+c.col*n)
				}
				if !slices.EqualFunc(got, want, func(x, y float32) bool {
					return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y || l >= c.cols && x == 0
				}) {
					t.Errorf("%v, %d lanes of %d columns: lane %d is %v, want %v", w, c.vec, c.cols, l, got, want)
				}
			}
		}
	}
}
