package qkv

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/tile"
)

// TestMatMulCopyX: a product whose rows of X are copied has the bits of one whose rows are read
// where they are, with columns of Y that machine code writes and with others, and says so.
func TestMatMulCopyX(t *testing.T) {
	const m, depth, cols = 133, 600, 83
	const small = 16 << 10 // bytes of a second-level cache that is too small for blocks of six rows
	r := rand.New(rand.NewPCG(1, 2))
	floats := func(n int) []float32 {
		s := make([]float32, n)
		for i := range s {
			s[i] = float32(r.NormFloat64())
		}
		return s
	}
	x, w, bias, old := floats(m*(depth+3)), floats(depth*cols), floats(cols), floats(2*m*cols)
	for _, k := range Kernels() {
		if k.Missing != 0 || k.Set.Rows < 6 {
			continue
		}
		set := k.Set
		for _, workers := range []int{1, 3} {
			for _, step := range []int{1, 2} { // from column to column of Y
				for variant := range 4 {
					if testing.Short() && (workers == 1 || variant%3 != 0) {
						continue
					}
					var want []float32
					for _, l2 := range []int{64 << 20, small} {
						e := &Engine{set: set, workers: workers, engine: tile.New(set, tile.Caches{L1: 32 << 10, L2: l2, L3: 64 << 20}, false, tile.Tuning{})}
						y := slices.Clone(old)
						p := Product{
							X: StridedMatrix(x, 3, m, depth, depth+3, 1), Y: StridedMatrix(y, 0, m, cols, step*cols, step),
							Accumulate: variant&1 != 0,
						}
						if variant&2 != 0 {
							p.Bias = bias
						}
						var err error
						if p.Packed, err = e.Pack(RowMajor(w, depth, cols)); err != nil {
							t.Fatal(err)
						}
						plan, err := e.ExplainMatMul(&p)
						if err != nil {
							t.Fatal(err)
						}
						copies := strings.Contains(plan.String(), "rows of x are copied")
						if copies != (l2 == small && set.Lanes < 64) { // wide panels have time to read them where they are
							t.Fatalf("%s: a second-level cache of %d bytes: %s", set.Name, l2, plan)
						}
						if err := e.MatMul(&p); err != nil {
							t.Fatal(err)
						}
						if want == nil {
							want = y
							continue
						}
						what := fmt.Sprintf("kernel=%s workers=%d step=%d variant=%d", set.Name, workers, step, variant)
						for i, v := range y {
							if v != want[i] {
								t.Fatalf("%s: element %d is %v, in place %v", what, i, v, want[i])
							}
						}
					}
				}
			}
		}
	}
}
