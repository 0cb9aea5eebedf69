package tile

import (
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// TestInt8Asks: kernels of class Int8 ask for what is read next, of keys and values, in the order in which it is read:
// so many rows before it is. Where values are not integers, keys are asked for before them.
func TestInt8Asks(t *testing.T) {
	const heads, kvHeads, keys, dim = 32, 8, 1000, 64
	for _, c := range []struct {
		values bool
		dimV   int
	}{{true, dim}, {true, 2 * dim}, {false, dim}} {
		values := c.values
		operand := func(dim int) KV {
			mem, scale := make([]int8, kvHeads*keys*dim), make([]float32, kvHeads*keys)
			return KV{
				Elem: kernel.Int8, Base: unsafe.Pointer(&mem[0]), Stride: [4]int{kvHeads * keys * dim, keys * dim, dim, 1},
				Scale: Operand{unsafe.Pointer(&scale[0]), [4]int{kvHeads * keys, keys, 1, 1}},
			}
		}
		p := Problem{
			Batch: 1, Heads: heads, KVHeads: kvHeads, SeqQ: 1, SeqKV: keys, TokensQ: 1, TokensKV: keys,
			DimQK: dim, DimV: c.dimV, Scale: 1, Mask: Mask{Left: Unbounded, Right: Unbounded},
			K: operand(dim), V: operand(c.dimV), LensKV: []int{keys}, Precision: kernel.PrecisionInt8,
		}
		if values {
			p.Values = kernel.PrecisionInt8
		}
		q, out := make([]float32, heads*dim), make([]float32, heads*c.dimV)
		p.Q = Operand{unsafe.Pointer(&q[0]), [4]int{0, dim, dim, 1}}
		p.Out = Operand{unsafe.Pointer(&out[0]), [4]int{0, c.dimV, c.dimV, 1}}

		asked := map[uintptr]int{} // when
		read, early, scales := 0, 0, 0
		note := func(base unsafe.Pointer, off *[2 * kernel.KeyBlock]int, n int) {
			for k := range n {
				if when, ok := asked[uintptr(base)+uintptr(off[k])]; ok && (read-when == p.rowsAhead() || !values) {
					early++
				}
				asked[uintptr(base)+uintptr(off[kernel.Upcoming+k])] = read
				read++
			}
		}
		set := kernel.Set{Name: "test", Vec: 16, Lanes: 16, Rows: 6, DecodeRows: 16}.With(kernel.Funcs{
			Pack:     func(*kernel.PackArgs) {},
			Softmax:  func(*kernel.SoftmaxArgs) {},
			Unpack:   func(*kernel.UnpackArgs) {},
			Merge:    func(*kernel.MergeArgs) {},
			Quantize: func(*kernel.QuantizeArgs) {},
			PackInt8: func(*kernel.PackInt8Args) {},
			DecodeScoresInt8: func(a *kernel.DecodeScoresInt8Args) {
				note(a.K, a.Off, a.Keys)
				head, key := (uintptr(a.K)-uintptr(p.K.Base))/(keys*dim), (uintptr(a.K)-uintptr(p.K.Base))%(keys*dim)/dim
				if want := uintptr(p.V.Scale.at(0, int(head), int(key))); uintptr(unsafe.Pointer(a.Scale))+uintptr(a.ScaleAhead) == want {
					scales += a.Keys
				}
			},
			DecodeAccumulateInt8: func(a *kernel.DecodeAccumulateInt8Args) { note(a.V, a.Off, a.Keys) },
			DecodeAccumulate:     func(*kernel.DecodeAccumulateArgs) {},
		})
		New(set, Caches{48 << 10, 256 << 10, 64 << 10}, false, Tuning{Near: true}).Run(&p, 1)
		want := keys * kvHeads
		if scales != want*95/100 && scales != want {
			t.Errorf("values of %d dims, integers %v: of %d keys %d had scales of values asked for", c.dimV, values, want, scales)
		}
		if values {
			want *= 2
		}
		if read != want {
			t.Errorf("values of %d dims, integers %v: %d rows were read, want %d", c.dimV, values, read, want)
		}
		if early < read*85/100 {
			t.Errorf("values of %d dims, integers %v: of %d rows %d were asked for in time", c.dimV, values, read, early)
		}
	}
}
