package asmgen

// peakDots is the number of sums of products of vectors in a round of PeakInt8.
const peakDots = 24

// goPeakInt8Ops is Set.PeakInt8Ops of Go code.
const goPeakInt8Ops = 2 * 32

// int8Fields are the fields of kernel.Funcs that differ with the instructions for products of integers.
var int8Fields = []string{"DecodeScoresInt8", "DecodeAccumulateInt8", "Quantize", "MultiplyInt8", "MultiplyRowInt8", "ConvertInt8", "TransposeInt8", "PeakInt8"}

// hasDot4 reports whether an Arch has products of integers.
func hasDot4(arch *Arch) bool {
	return arch.Dot4 != nil || arch.DotHalves != nil || arch.DotQuad != nil
}

// int8Halves reports whether integers of rows have 16 bits.
func (arch *Arch) int8Halves() bool { return arch.DotHalves != nil && arch.Dot4 == nil }

// dot returns the instructions for sums of products of integers, and the terms of a lane that they add.
func (arch *Arch) dot() (dot func(f *Func, w, x, acc, tmp Vec), terms int) {
	if arch.Dot4 != nil {
		return arch.Dot4, 4
	}
	return arch.DotHalves, 2
}

// peakInt8Ops is the operations of a round of PeakInt8.
func (arch *Arch) peakInt8Ops() int {
	if !hasDot4(arch) {
		return goPeakInt8Ops
	}
	if arch.Tiles {
		return peakTileOps
	}
	if arch.DotQuad != nil {
		return 2 * 4 * arch.Lanes * peakDots / arch.SumVectors
	}
	_, terms := arch.dot()
	return 2 * terms * arch.Lanes * peakDots
}

// peakInt8 writes PeakInt8: independent sums of products, and nothing else.
func peakInt8(arch *Arch) *Func {
	if arch.Tiles {
		return peakTiles(arch)
	}
	f := newProbe(arch, "peakInt8", "(n int)", 8, `
for range n {
	acc[i] += w * x, of integers, for each i, again and again
}
`)
	n := f.int("rounds left")
	m := f.vectors("all:")
	acc := m.take(f.PeakAccs, "acc")
	w, x, tmp := m.one("w"), m.one("x"), m.one("scratch")
	f.Op(f.Mov, "n+0(FP)", n)
	for _, v := range append(acc, w, x) {
		f.Zero(f, v)
	}
	f.Branch(f, n, "LE", "$0", "done")
	f.Loop("loop")
	if n := f.SumVectors; f.DotQuad != nil {
		for i := 0; i < peakDots; i += n {
			f.DotQuad(f, w, x, 0, acc[i:i+n], tmp)
		}
	} else {
		dot, _ := arch.dot()
		for i := range peakDots {
			dot(f, w, x, acc[i%f.PeakAccs], tmp)
		}
	}
	f.Countdown(n, "loop")
	f.Label("done")
	f.Return(f)
	return f
}
