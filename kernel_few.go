package qkv

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func multiplyFewGeneric(a *kernel.MultiplyArgs) { inGo.multiplyFew(a) }

func (code chainCode) multiplyFew(a *kernel.MultiplyArgs) {
	part := *a
	for k := 0; k < a.Depth; k += kernel.KC {
		part.A, part.B, part.Depth = ptr.At(a.A, k*a.ColStride), ptr.At(a.B, k*a.Lanes), min(kernel.KC, a.Depth-k)
		code.multiply(&part)
		part.Add, part.Bias = true, nil
	}
}

func combineGeneric(a *kernel.CombineArgs) { inGo.combine(a) }

func (code chainCode) combine(a *kernel.CombineArgs) {
	var b [kernel.KC]terms
	for l := 0; l < a.Lanes; l += fp.ChainLanes {
		lanes := min(fp.ChainLanes, a.Lanes-l)
		for k := range a.Depth {
			load(&b[k], ptr.At(a.B, k*a.BStride+l), lanes)
		}
		c := unsafe.Slice(ptr.At(a.C, l), lanes)
		var sums fp.Chains
		if !a.First {
			for j, x := range c {
				sums[j] = fp.Term(x)
			}
		}
		// Sums that are begun may be of any size, so no span rules out that one leaves the normal range.
		code.add(&sums, a.A, a.ColStride, &b[0], a.Depth, fp.AnySpan, fp.AnySpan, kernel.KC)
		for j := range c {
			c[j] = float32(sums[j])
		}
	}
}

func dotsGeneric(a *kernel.DotsArgs) { inGo.dots(a) }

func (code chainCode) dots(a *kernel.DotsArgs) {
	var scores [kernel.KeyBlock * kernel.DotsRows]float32
	var off [2 * kernel.KeyBlock]int
	for l := 0; l < a.Lanes; l += kernel.KeyBlock {
		n := min(kernel.KeyBlock, a.Lanes-l)
		for i := range n {
			off[i] = 4 * i * a.BStride
		}
		code.decode(&kernel.DecodeScoresArgs{
			K: unsafe.Pointer(ptr.At(a.B, l*a.BStride)), Off: &off, Keys: n, Dim: a.Depth,
			Q: a.Q, QStride: a.QStride, Rows: a.Rows, S: &scores[0], Stride: kernel.DotsRows,
		})
		for r := range a.Rows {
			for i := range n {
				*ptr.At(a.C, r*a.Stride+l+i) = scores[i*kernel.DotsRows+r]
			}
		}
	}
}
