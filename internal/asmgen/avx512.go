package asmgen

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// Mask registers. K0 means no mask.
const (
	maskTail = "K1" // of TailMask, and for Recip before
	maskTmp  = "K7" // made where it is used
)

// maskOf returns the mask register of vector j, of KeptStep and Normal.
func maskOf(j int) string { return fmt.Sprintf("K%d", 1+j) }

var avx512 = func() *Arch {
	arch := x86(16, "Z", 32, "Y")
	arch.PeakAccs = 24 // VDPBF16PS has a latency of six cycles on two units of a Zen 5, and 12 sums do not fill these
	arch.Name = "AVX512"
	arch.Narrow = avx2
	arch.Needs = avx2.Needs | kernel.AVX512F | kernel.AVX512DQ | kernel.AVX512BW | kernel.AVX512VL
	arch.DecodeRows = 16
	arch.DecodePipeline = true
	arch.Rows = []int{12, 8, 8, 6}
	arch.Turn, arch.TurnFar = 256, 48
	arch.NextSteps = 4
	arch.FewAccs = 9 // two units with a latency of four cycles, which also read a row of B for so few multiply-adds

	arch.FMABroadcast = func(f *Func, addr string, y, acc, _ Vec) {
		f.Op("VFMADD231PS.BCST", addr, y, acc)
	}
	arch.KeptStep = func(t *tile) {
		t.mask("K1..K4 lanes kept, of each vector of a row of B")
		for j := range t.bv {
			t.loadB(j, t.bv[j])
			t.Op("KMOVW", t.Local(t.Func, t.k, 2*j), maskOf(j))
		}
		for r, acc := range t.acc {
			x := t.tmp[r%len(t.tmp)]
			t.Broadcast(t.Func, t.elem(r), x)
			for j, b := range t.bv {
				t.Op("VFMADD231PS", b, x, maskOf(j), acc[j])
			}
		}
	}
	arch.KeptLanes = func(f *Func, b Int, j int, i Int, v Vec, _ Int) {
		f.Op(f.Load, mem(b, j*f.Bytes()), v)
		f.Op("VPMOVD2M", v, maskTmp)
		f.Op("KNOTW", maskTmp, maskTmp)
		f.Op("KMOVW", maskTmp, f.Local(f, i, 2*j))
	}
	loadMask := func(f *Func, ptr Int, j int) {
		f.mask("K7 lanes kept, of a vector")
		f.Op("KMOVW", mem(ptr, 2*j), maskTmp)
	}
	arch.MaxOfKept = func(f *Func, ptr Int, j int, s, m, tmp Vec) {
		loadMask(f, ptr, j)
		f.Op("VMAXPS", m, s, maskTmp, m)
	}
	arch.Normal = func(f *Func, min string, y Vec, j int) {
		f.mask("K1..K4 lanes with a normal weight, of each vector")
		f.Op("VCMPPS", cmpNotLess, min, y, maskOf(j))
	}
	arch.MulNormal = func(f *Func, x, y, p Vec, j int) {
		f.Op("VMULPS.Z", x, p, maskOf(j), p)
	}
	arch.MaxUnsigned, arch.Streams = "VPMAXUD", 4
	arch.BelowAny = func(f *Func, min string, v []Vec, _ Int, label string) {
		anyMask(f, cmpNotAtLeast, min, v)
		f.Op("JNE", label)
	}
	arch.DropMasked = func(f *Func, ptr Int, j int, negZero string, p, tmp Vec) {
		loadMask(f, ptr, j)
		f.Op("VBLENDMPS", p, negZero, maskTmp, p)
	}
	arch.WhereZero = func(f *Func, zero, x string, sum, p, _ Vec) {
		f.mask("K7 sums of 0")
		f.Op("VCMPPS", cmpEqual, zero, sum, maskTmp)
		f.Op("VBLENDMPS", x, p, maskTmp, p)
	}
	arch.Moved = func(f *Func, v []Vec, one string, tmp Int, addr string) {
		anyMask(f, cmpNotEqual, one, v)
		f.Op("SETNE", addr)
	}

	arch.CopySign = func(f *Func, addr string, sign, v, _ Vec) {
		const choice = 0xb8 // sign ? memory : v
		f.Op("VPTERNLOGD", choice, addr, sign, v)
	}
	arch.Choose = func(f *Func, mask, _ string, x, v Vec) {
		const choice = 0xd8 // mask ? x : v
		f.Op("VPTERNLOGD", choice, mask, x, v)
	}
	arch.LanesEqual = func(f *Func, x, v, _ Vec, dst Int) {
		f.mask("K7 lanes equal")
		f.Op("VCMPPS", cmpEqual, x, v, maskTmp)
		f.Op("KMOVW", maskTmp, dst)
	}
	arch.TailMask = func(f *Func, n, tmp Int, mask Vec) {
		f.mask("K1 dims of the square")
		var words []uint32 // 16-bit masks of 0 to 16 lanes, two in a word
		for i := 0; i <= 16; i += 2 {
			words = append(words, uint32(1<<i-1)|uint32(1<<(i+1)-1)<<16)
		}
		f.Address(f, f.symbol("lowLanes", words...), tmp)
		f.Op("KMOVW", fmt.Sprintf("(%s)(%s*2)", tmp, n), maskTail)
	}
	arch.LoadScaled = func(f *Func, addr string, _ Int, scale, mask, v Vec) {
		f.Op("VMULPS.Z", addr, scale, maskTail, v)
	}
	arch.StoreMasked = func(f *Func, v Vec, _ Int, mask Vec, addr string) {
		f.Op("VMOVUPS", v, maskTail, addr)
	}
	arch.Recip = func(f *Func, one string, v Vec, tmp [2]Vec) {
		f.Op("VXORPS", tmp[0], tmp[0], tmp[0])
		f.Op("VCMPPS", cmpNotEqual, tmp[0], v, maskTail)
		f.Op("VBROADCASTSS", one, tmp[0])
		f.Op("VDIVPS.Z", v, tmp[0], maskTail, v)
	}
	arch.Transpose = func(f *Func, rows []Vec, tmp Vec) []Vec {
		r := slices.Clone(rows)
		transpose4x4(f, unpackPS, unpackPD, r, &tmp)
		// Even and odd 128-bit parts of two registers, twice: a 4 by 4 transpose of
		// the parts.
		even, odd := []any{"VSHUFF32X4", 0x88}, []any{"VSHUFF32X4", 0xdd}
		out := make([]Vec, 16)
		for c := range 4 {
			butterfly(f, even, odd, &r[c], &r[4+c], &tmp)
			butterfly(f, even, odd, &r[8+c], &r[12+c], &tmp)
			butterfly(f, even, odd, &r[c], &r[8+c], &tmp)
			butterfly(f, even, odd, &r[4+c], &r[12+c], &tmp)
			out[c], out[8+c], out[4+c], out[12+c] = r[c], r[8+c], r[4+c], r[12+c]
		}
		return out
	}
	arch.Swap = func(f *Func, h int, v, dst Vec) {
		swap := map[int]int{1: 0b10_11_00_01, 2: 0b01_00_11_10, 4: 0b10_11_00_01, 8: 0b01_00_11_10}[h]
		if h < 4 {
			f.Op("VPERMILPS", swap, v, dst)
		} else {
			f.Op("VSHUFF32X4", swap, v, v, dst)
		}
	}
	arch.Reduce = func(f *Func, v, tmp Vec, addr string) {
		f.Op("VEXTRACTF64X4", 1, v, low(tmp, "Y"))
		f.Op("VADDPS", low(tmp, "Y"), low(v, "Y"), low(v, "Y"))
		f.Op("VEXTRACTF128", 1, low(v, "Y"), low(tmp, "X"))
		f.Op("VADDPS", low(tmp, "X"), low(v, "X"), low(v, "X"))
		reduce128(f, v, tmp, addr)
	}
	arch.StoreUnits = func(f *Func, e kernel.Elem, v, _ Vec, addr string) {
		switch e {
		case kernel.Float16:
			f.Op("VCVTPS2PH", roundNearest, v, addr)
		case kernel.BFloat16:
			f.Op("VPMOVDW", v, addr)
		case kernel.Int8, kernel.Q8_0:
			f.Op("VPMOVSDB", v, addr)
		case kernel.E4M3, kernel.E5M2:
			f.Op("VPMOVDB", v, addr)
		default:
			f.Op(f.Store, v, addr)
		}
	}
	arch.RoundBrain = func(f *Func, v, tmp Vec, b *brain) {
		f.mask("K7 NaNs")
		f.Op("VCMPPS", cmpUnordered, v, v, maskTmp)
		f.Op("VPSRLD", 16, v, tmp)
		f.Op("VPANDD", b.one, tmp, tmp)
		f.Op("VPADDD", b.half, tmp, tmp)
		f.Op("VPADDD", v, tmp, tmp)
		f.Op("VPORD", b.quiet, v, maskTmp, tmp)
		f.Op("VPSRLD", 16, tmp, v)
	}
	arch.KeepAbove = func(f *Func, least string, v, tmp Vec) {
		f.mask("K7 numbers that are large enough")
		f.Op("VPADDW", v, v, tmp) // without the sign
		f.Op("VPSRLW", 1, tmp, tmp)
		f.Op("VPCMPUD", cmpIntAbove, least, tmp, maskTmp)
		f.Op("VMOVDQA32.Z", v, maskTmp, v)
	}
	arch.BrainFloat = func(f *Func, v Vec, b *brain) {
		f.mask("K6 numbers that are odd, K7 those that are large enough")
		const odd = "K6"
		f.Op("VPTESTMD", b.last, v, odd)
		f.Op("VPADDD", v, v, b.scratch) // without the sign
		f.Op("VPCMPUD", cmpIntAtLeast, b.tops, b.scratch, maskTmp)
		f.Op("VPADDD", b.half, v, b.scratch)
		f.Op("VPADDD", b.up, v, odd, b.scratch)
		f.Op("VFIXUPIMMPS", 0, b.special, v, b.scratch)
		f.Op("VPANDD.Z", b.all, b.scratch, maskTmp, v)
	}
	arch.StorePairs = func(f *Func, v, tmp Vec, addr string) {
		f.Op("VPSRLQ", 32, v, tmp)
		f.Op("VPSLLD", 16, v, v)
		f.Op("VPORD", tmp, v, v)
		f.Op("VPMOVQD", v, addr)
	}
	arch.RoundAway = func(f *Func, v, half, sign, tmp Vec) {
		const either = 0xf8 // tmp | v & sign
		f.Op("VMOVAPS", half, tmp)
		f.Op("VPTERNLOGD", either, sign, v, tmp)
		f.Op("VADDPS", tmp, v, v)
		f.Op("VCVTTPS2DQ", v, v)
	}
	for i := range uint32(16) {
		arch.HalvesIndex = append(arch.HalvesIndex, (4*i+i/8)%32|(4*i+i/8+2)%32<<16) // even words, then odd ones
	}
	arch.Halves = func(f *Func, index string, pairs, lo, hi, tmp Vec) {
		f.Op("VPERMW", pairs, index, tmp)
		f.Op("VCVTPH2PS", low(tmp, "Y"), lo)
		if hi != "" {
			f.Op("VEXTRACTI64X4", 1, tmp, low(tmp, "Y"))
			f.Op("VCVTPH2PS", low(tmp, "Y"), hi)
		}
	}
	// Both halves of a vector have all 16 numbers, 8 in a part of 128 bits: the first half takes the first four
	// of each part, the second one the others, each into the upper half of a lane.
	for i := range uint32(16) {
		at := 2 * (i%4 + i/8*4)
		arch.BrainIndex = append(arch.BrainIndex, 0x8080|at<<16|(at+1)<<24)
	}
	arch.BrainLoad = func(f *Func, index, addr string, v Vec) {
		f.Op("VBROADCASTI64X4", addr, v)
		f.Op("VPSHUFB", index, v, v)
	}
	arch.BrainOrder = func(f *Func, v Vec) {
		const middle = 0b11_01_10_00 // the two parts in the middle in the place of each other
		f.Op("VSHUFF32X4", middle, v, v, v)
	}
	arch.Lookup = func(f *Func, table, index, dst Vec) { f.Op("VPERMPS", table, index, dst) }
	arch.Float8 = func(f *Func, e kernel.Elem, v Vec, q *quarter) {
		h := low(v, "Y")
		if e == kernel.E5M2 {
			f.Op("VPSLLW", 8, h, h)
		} else {
			const choice = 0x78 // mask ? h ^ tmp : h
			tmp := low(q.tmp, "Y")
			f.Op("VPSLLW", 7, h, h)
			f.Op("VPADDW", low(q.carry, "Y"), h, tmp)
			f.Op("VPTERNLOGD", choice, low(q.sign, "Y"), tmp, h)
		}
		f.Op("VCVTPH2PS", h, v)
	}
	return &arch
}()

// anyMask sets the flags to NE if a comparison with x holds in any lane of v, of which the mask registers have each.
func anyMask(f *Func, compare int, x string, v []Vec) {
	for j, y := range v {
		f.Op("VCMPPS", compare, x, y, maskOf(j))
		if j > 0 {
			f.Op("KORW", maskOf(j), maskOf(0), maskOf(0))
		}
	}
	f.Op("KORTESTW", maskOf(0), maskOf(0))
}
