package tile

import (
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// TestByKey: numbers of blocks are beside each other by key, of any number of blocks in a row.
func TestByKey(t *testing.T) {
	set := kernel.Set{}.With(kernel.Funcs{Float16: func(dst *float32, src *uint16, n int) {
		for i := range n {
			*ptr.At(dst, i) = float32(*ptr.At(src, i))
		}
	}})
	const keys, unit, behind = 3, 20, 2
	for groups := 1; groups <= 9; groups++ {
		blocks := make([]uint16, keys*groups*unit/2)
		var off []int
		for k := range keys {
			off = append(off, (keys-1-k)*groups*unit)
			for i := range groups {
				blocks[(off[k]+i*unit+behind)/2] = uint16(300*k + 7*i + 1)
			}
		}
		m := weigher{halves: make([]uint16, keys*groups)}
		v := keyRows{base: unsafe.Pointer(&blocks[0]), kv: &KV{Stride: [4]int{3: unit}}}
		got := make([]float32, keys*groups)
		m.byKey(set, &v, off, groups, behind, &got[0])
		for i, x := range got {
			if want := float32(300*(i/groups) + 7*(i%groups) + 1); x != want {
				t.Errorf("%d blocks: number %d of key %d is %v, want %v", groups, i%groups, i/groups, x, want)
			}
		}
	}
}
