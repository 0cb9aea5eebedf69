package kernel

import (
	"slices"
	"testing"
)

// TestMove: what is cleared, copied and appended is all of it, divided or not, and nothing
// beside it.
func TestMove(t *testing.T) {
	for _, n := range []int{0, 1, maxMoved - 1, maxMoved, maxMoved + 1, 3*maxMoved + 5} {
		src := make([]float32, n)
		for i := range src {
			src[i] = float32(i + 1)
		}
		dst := make([]float32, n+1)
		dst[n] = -1
		if Copy(dst, src); !slices.Equal(dst[:n], src) || dst[n] != -1 {
			t.Errorf("%d elements: the copy is another", n)
		}
		if got := Append([]float32{-1}, src); !slices.Equal(got, append([]float32{-1}, src...)) {
			t.Errorf("%d elements: %d are appended", n, len(got)-1)
		}
		Clear(dst[:n])
		if i := slices.IndexFunc(dst, func(x float32) bool { return x != 0 }); i != n {
			t.Errorf("%d elements: element %d is %v", n, i, dst[i])
		}
	}
}
