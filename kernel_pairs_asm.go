//go:build !purego && (amd64 || arm64)

package qkv

import (
	"runtime"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// pairsWith returns the Pairs of a set whose machine code needs a ColStride of 1 and whole vectors: what
// is left of rows is Go code's.
func pairsWith(code func(*kernel.PairsArgs)) func(*kernel.PairsArgs) {
	return func(a *kernel.PairsArgs) {
		vec := 16 // of the largest vectors
		if runtime.GOARCH == "arm64" {
			vec = 4
		}
		src, dst, cols := a.Src, a.Dst, a.Cols
		whole := cols &^ (vec - 1)
		if a.ColStride != 1 || whole == 0 {
			pairsGeneric(a)
			return
		}
		a.Cols = whole
		code(a)
		if left := cols - whole; left > 0 {
			to := whole
			if a.Kind == kernel.PairAcross {
				to /= 2
			}
			a.Src, a.Dst, a.Cols = ptr.At(src, whole), ptr.At(dst, to), left
			pairsGeneric(a)
			a.Src, a.Dst = src, dst
		}
		a.Cols = cols
	}
}
