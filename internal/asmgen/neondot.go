package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// neondot has SDOT, products of integers of 8 bits in fours, which Go's assembler lacks.
var neondot = func() *Arch {
	arch := derive(neon, "NEONDOT", kernel.ASIMDDP, "DecodeScoresInt8", "DecodeAccumulateInt8", "MultiplyInt8", "MultiplyRowInt8", "PeakInt8")
	arch.SumVectors = 1
	arch.QuadOf = func(_ *Func, x Vec, _ int, _ Vec) Vec { return x }
	arch.DotQuad = func(f *Func, w, x Vec, i int, sum []Vec, _ Vec) { f.Op(fmt.Sprintf("SDOT.B[%d]", i), x, w, sum[0]) }
	arch.JoinSum = func(*Func, []Vec) {}
	arch.DotBytes = func(f *Func, x, y, sum, _ Vec) { f.Op("SDOT.S4", x, y, sum) }
	return &arch
}()
