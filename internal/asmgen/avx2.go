package asmgen

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

var avx2 = func() *Arch {
	arch := x86(8, "Y", 16, "X")
	arch.Name = "AVX2"
	arch.Needs = kernel.AVX2 | kernel.FMA3 | kernel.F16C
	arch.DecodeRows = 12
	arch.DecodeLocal = true
	arch.Unroll = 4
	arch.NextSteps = 4
	arch.FewAccs = 8 // two units with a latency of four cycles
	arch.Rows = []int{12, 6}
	arch.Turn, arch.TurnFar = 32, 16
	arch.MemoryOperands = true
	arch.VectorMasks = true

	arch.KeptStep = func(t *tile) {
		t.keptByZero(vectorLogic{
			signs:  func(v, signs Vec) { t.Op("VPSRAD", 31, v, signs) },
			shift1: func(v, dst Vec) { t.Op("VPSRLD", 1, v, dst) },
			fma:    func(x, y, acc Vec) { t.FMA(t.Func, x, y, acc) },
		})
	}
	arch.KeptLanes = func(f *Func, b Int, j int, i Int, v Vec, tmp Int) {
		f.Op(f.Load, mem(b, j*f.Bytes()), v)
		f.Op("VMOVMSKPS", v, tmp)
		f.Op("NOTL", tmp)
		f.Op("MOVB", tmp, f.Local(f, i, j))
	}
	// takenLanes is v = all ones in the lanes that a mask word takes away, 0 in the others.
	takenLanes := func(f *Func, ptr Int, j int, v Vec) {
		bits := f.symbol("laneBits", 1, 2, 4, 8, 16, 32, 64, 128) + "(SB)"
		f.Op("VPBROADCASTB", mem(ptr, j), v)
		f.Op("VPANDN", bits, v, v)
		f.Op("VPCMPEQD", bits, v, v)
	}
	arch.MaxOfKept = func(f *Func, ptr Int, j int, s, m, tmp Vec) {
		takenLanes(f, ptr, j, tmp)
		f.Op("VORPS", tmp, s, s) // all ones are a NaN, which is not greater
		f.Op("VMAXPS", m, s, m)
	}
	arch.Normal = func(f *Func, min string, y Vec, j int) {
		f.Op("VCMPPS", cmpNotLess, min, y, y)
	}
	arch.MulNormal = func(f *Func, x, y, p Vec, j int) {
		f.Op("VMULPS", x, p, p)
		f.Op("VANDPS", y, p, p)
	}
	arch.MaxUnsigned, arch.Streams = "VPMAXUD", 2
	arch.BelowAny = func(f *Func, min string, v []Vec, tmp Int, label string) {
		anyOf(f, cmpNotAtLeast, min, v, tmp)
		f.Op("JNE", label)
	}
	arch.DropMasked = func(f *Func, ptr Int, j int, negZero string, p, tmp Vec) {
		takenLanes(f, ptr, j, tmp)
		f.Op("VBLENDVPS", tmp, negZero, p, p)
	}
	arch.WhereZero = func(f *Func, zero, x string, sum, p, tmp Vec) {
		f.Op("VCMPPS", cmpEqual, zero, sum, tmp)
		f.Op("VBLENDVPS", tmp, x, p, p)
	}
	arch.Moved = func(f *Func, v []Vec, one string, tmp Int, addr string) {
		anyOf(f, cmpNotEqual, one, v, tmp)
		f.Op("SETNE", addr)
	}

	arch.CopySign = func(f *Func, addr string, sign, v, tmp Vec) {
		f.Op("VANDPS", addr, sign, tmp)
		f.ClearBits(f, sign, v)
		f.Op(f.OrV, tmp, v, v)
	}
	arch.LanesEqual = func(f *Func, x, v, tmp Vec, dst Int) {
		f.Op("VCMPPS", cmpEqual, x, v, tmp)
		f.Op("VMOVMSKPS", tmp, dst)
	}
	arch.TailMask = func(f *Func, n, tmp Int, mask Vec) {
		window := make([]uint32, 16) // n lanes are kept from word 8-n on
		for i := range 8 {
			window[i] = 1<<32 - 1
		}
		f.Address(f, f.symbol("laneWindow", window...), tmp)
		f.Op("NEGQ", n)
		f.Op("VMOVUPS", fmt.Sprintf("32(%s)(%s*4)", tmp, n), mask)
		f.Op("NEGQ", n)
	}
	arch.LoadScaled = func(f *Func, addr string, _ Int, scale, mask, v Vec) {
		f.Op("VMASKMOVPS", addr, mask, v)
		f.Op("VMULPS", scale, v, v)
	}
	arch.StoreMasked = func(f *Func, v Vec, _ Int, mask Vec, addr string) {
		f.Op("VMASKMOVPS", v, mask, addr)
	}
	arch.Recip = func(f *Func, one string, v Vec, tmp [2]Vec) {
		f.Op("VXORPS", tmp[0], tmp[0], tmp[0])
		f.Op("VCMPPS", cmpNotEqual, tmp[0], v, tmp[0])
		f.Op("VMOVUPS", one, tmp[1])
		f.Op("VDIVPS", v, tmp[1], v)
		f.Op("VANDPS", tmp[0], v, v)
	}
	arch.Transpose = func(f *Func, rows []Vec, tmp Vec) []Vec {
		r := slices.Clone(rows)
		transpose4x4(f, unpackPS, unpackPD, r, &tmp)
		for c := range 4 {
			butterfly(f, []any{"VPERM2F128", 0x20}, []any{"VPERM2F128", 0x31}, &r[c], &r[4+c], &tmp)
		}
		return r
	}
	arch.Swap = func(f *Func, h int, v, dst Vec) {
		switch h {
		case 1:
			f.Op("VPERMILPS", 0b10_11_00_01, v, dst)
		case 2:
			f.Op("VPERMILPS", 0b01_00_11_10, v, dst)
		default:
			f.Op("VPERM2F128", 1, v, v, dst)
		}
	}
	arch.Reduce = func(f *Func, v, tmp Vec, addr string) {
		f.Op("VEXTRACTF128", 1, v, low(tmp, "X"))
		f.Op("VADDPS", low(tmp, "X"), low(v, "X"), low(v, "X"))
		reduce128(f, v, tmp, addr)
	}
	arch.StoreUnits = func(f *Func, e kernel.Elem, v, tmp Vec, addr string) {
		x := low(v, "X")
		halves := func(pack string) {
			f.Op("VEXTRACTF128", 1, v, low(tmp, "X"))
			f.Op(pack, low(tmp, "X"), x, x)
		}
		switch e {
		case kernel.Float16:
			f.Op("VCVTPS2PH", roundNearest, v, addr)
		case kernel.BFloat16:
			halves("VPACKUSDW")
			f.Op("VMOVUPS", x, addr)
		case kernel.Int8, kernel.Q8_0:
			halves("VPACKSSDW")
			f.Op("VPACKSSWB", x, x, x)
			f.Op("VMOVSD", x, addr)
		case kernel.E4M3, kernel.E5M2:
			halves("VPACKUSDW")
			f.Op("VPACKUSWB", x, x, x)
			f.Op("VMOVSD", x, addr)
		default:
			f.Op(f.Store, v, addr)
		}
	}
	arch.StoreQuants = func(f *Func, v []Vec, tmp Vec, addr string) {
		f.Op("VMOVUPS", f.symbol("packedOrder", 0, 4, 1, 5, 2, 6, 3, 7)+"(SB)", tmp) // packs go by parts
		f.Op("VPACKSSDW", v[1], v[0], v[0])
		f.Op("VPACKSSDW", v[3], v[2], v[2])
		f.Op("VPACKSSWB", v[2], v[0], v[0])
		f.Op("VPERMD", v[0], tmp, v[0])
		f.Op("VMOVUPS", v[0], addr)
	}
	arch.RoundBrain = func(f *Func, v, tmp Vec, b *brain) {
		f.Op("VPSRLD", 16, v, tmp)
		f.Op("VPAND", b.one, tmp, tmp)
		f.Op("VPADDD", b.half, tmp, tmp)
		f.Op("VPADDD", v, tmp, tmp)
		f.Op("VCMPPS", cmpUnordered, v, v, b.tmp)
		f.Op("VORPS", b.quiet, v, v)
		f.Op("VBLENDVPS", b.tmp, v, tmp, tmp)
		f.Op("VPSRLD", 16, tmp, v)
	}
	arch.KeepAbove = func(f *Func, least string, v, tmp Vec) {
		f.Op("VPADDW", v, v, tmp) // without the sign
		f.Op("VPSRLW", 1, tmp, tmp)
		f.Op("VPCMPGTD", least, tmp, tmp)
		f.Op("VPAND", tmp, v, v)
	}
	arch.StorePairs = func(f *Func, v, tmp Vec, addr string) {
		f.Op("VPSRLQ", 32, v, tmp)
		f.Op("VPSLLD", 16, v, v)
		f.Op("VPOR", tmp, v, v)
		f.Op("VPSHUFD", 0b10_00_10_00, v, v) // the lower ones of each two
		f.Op("VPERMQ", 0b10_00_10_00, v, v)
		f.Op("VMOVUPS", low(v, "X"), addr)
	}
	arch.TestBits = func(f *Func, mask string, v Vec) {
		f.Op("VPAND", mask, v, v)
		f.Op("VPCMPEQB", mask, v, v)
	}
	arch.HalvesIndex = []uint32{0x05040100, 0x0d0c0908, 0x07060302, 0x0f0e0b0a} // in each part
	arch.Halves = func(f *Func, index string, pairs, lo, hi, tmp Vec) {
		f.Op("VPSHUFB", index, pairs, tmp)
		f.Op("VPERMQ", 0b11_01_10_00, tmp, tmp)
		f.Op("VCVTPH2PS", low(tmp, "X"), lo)
		if hi != "" {
			f.Op("VEXTRACTI128", 1, tmp, low(tmp, "X"))
			f.Op("VCVTPH2PS", low(tmp, "X"), hi)
		}
	}
	arch.Float8 = func(f *Func, e kernel.Elem, v Vec, q *quarter) {
		h := low(v, "X")
		if e == kernel.E5M2 {
			f.Op("VPSLLW", 8, h, h)
		} else {
			tmp := low(q.tmp, "X")
			f.Op("VPSLLW", 7, h, h)
			f.Op("VPADDW", low(q.carry, "X"), h, tmp)
			f.Op("VPAND", low(q.sign, "X"), tmp, tmp)
			f.Op("VPXOR", tmp, h, h)
		}
		f.Op("VCVTPH2PS", h, v)
	}
	return &arch
}()

// anyOf sets the flags to NE if a comparison with x holds in any lane of v, which it changes.
func anyOf(f *Func, compare int, x string, v []Vec, tmp Int) {
	for j, y := range v {
		f.Op("VCMPPS", compare, x, y, y)
		if j > 0 {
			f.Op("VORPS", y, v[0], v[0])
		}
	}
	f.Op("VMOVMSKPS", v[0], tmp)
	f.Op("TESTL", tmp, tmp)
}
