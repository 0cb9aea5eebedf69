package asmgen

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv/kernel"
)

// Comparisons of VCMPPS and VPCMPD.
const (
	cmpUnordered  = 0x03 // a NaN is among them
	cmpEqual      = 0x00 // false for a NaN
	cmpNotEqual   = 0x04 // !(a == b), true for a NaN
	cmpNotLess    = 0x15 // !(a < b), true for a NaN; quiet
	cmpNotAtLeast = 0x19 // !(a >= b), true for a NaN; quiet
	cmpIntAtLeast = 0x05 // a >= b of VPCMPD
	cmpIntAbove   = 0x06 // a > b
)

// roundNearest is ties to even, of VCVTPS2PH.
const roundNearest = 0

// Interleavings of the 128-bit parts.
var (
	unpackPS = interleave{"VUNPCKLPS", "VUNPCKHPS"}
	unpackPD = interleave{"VUNPCKLPD", "VUNPCKHPD"}
)

// x86 returns the part of an Arch that AVX2 and AVX-512 share: vectors of n
// lanes, in registers called reg0, reg1, ... count of them, whose lower halves are
// called half0, half1, ...
func x86(n int, reg string, count int, half string) Arch {
	arch := Arch{
		Lanes: n,
		// Not SP and BP, and not R15, which position-independent code may lose.
		Ints: []Int{"DI", "SI", "AX", "BX", "CX", "DX", "R8", "R9", "R10", "R11", "R12", "R13", "R14"},

		Mov: "MOVQ", Add: "ADDQ", Sub: "SUBQ", And: "ANDQ", Shl: "SHLQ", MulInt: "IMULQ",
		ClearInt: func(f *Func, bits Int, addr string) {
			f.Op("NOTQ", bits)
			f.Op("ANDQ", bits, addr)
		},
		Branch: func(f *Func, x Int, cond, y, label string) {
			if y == "$0" && (cond == "EQ" || cond == "NE") {
				f.Op("TESTQ", x, x)
			} else {
				f.Op("CMPQ", x, y)
			}
			f.Op("J"+cond, label)
		},
		Count:        func(f *Func, r Int) { f.Op("DECQ", r) },
		Again:        func(f *Func, label string) { f.Op("JNE", label) },
		LoadByte:     func(f *Func, addr string, dst Int) { f.Op("MOVBLZX", addr, dst) },
		SubLoad:      func(f *Func, addr string, dst Int) { f.Op("SUBQ", addr, dst) },
		AddMem:       func(f *Func, addr string, dst Int) { f.Op("ADDQ", addr, dst) },
		LoadSigned:   func(f *Func, addr string, dst Int) { f.Op("MOVLQSX", addr, dst) },
		LoadHalfInt:  func(f *Func, addr string, dst Int) { f.Op("MOVWLZX", addr, dst) },
		StoreHalfInt: func(f *Func, src Int, addr string) { f.Op("MOVW", src, addr) },
		StoreWordInt: func(f *Func, src Int, addr string) { f.Op("MOVL", src, addr) },
		LocalBase: func(f *Func, dst Int) {
			f.Op("LEAQ", fmt.Sprintf("%d(SP)", cacheLine-1), dst)
			f.Op("ANDQ", -cacheLine, dst)
		},
		AddressAt: x86Address,
		AddressOf: x86Address,
		FMABroadcast: func(f *Func, addr string, y, acc, tmp Vec) {
			f.Op("VBROADCASTSS", addr, tmp)
			f.Op("VFMADD231PS", tmp, y, acc)
		},
		StorePart: func(f *Func, v Vec, part, n int, ptr Int, tmp Vec) {
			x, extract := low(v, "X"), "VEXTRACTF128"
			if reg == "Z" {
				extract = "VEXTRACTF32X4"
			}
			if part > 0 && n == 4 {
				f.Op(extract, part, v, mem(ptr, 0))
				return
			}
			if part > 0 {
				x = low(tmp, "X")
				f.Op(extract, part, v, x)
			}
			switch n {
			case 4:
				f.Op("VMOVUPS", x, mem(ptr, 0))
			case 3:
				f.Op("VMOVSD", x, mem(ptr, 0))
				f.Op("VEXTRACTPS", 2, x, mem(ptr, 8))
			case 2:
				f.Op("VMOVSD", x, mem(ptr, 0))
			case 1:
				f.Op("VMOVSS", x, mem(ptr, 0))
			}
		},
		Interleave:   [2]interleave{unpackPS, unpackPD},
		PrefetchNear: func(f *Func, addr string) { f.Op("PREFETCHT0", addr) },
		Prefetch:     func(f *Func, addr string) { f.Op("PREFETCHT1", addr) },
		Address:      func(f *Func, symbol string, dst Int) { f.Op("LEAQ", symbol+"(SB)", dst) },
		Return: func(f *Func) {
			f.Op("VZEROUPPER")
			f.Op("RET")
		},

		Local: x86Local,
		KeptAll: func(f *Func, i Int, label string) {
			f.Op("CMPQ", x86Local(f, i, 0), -1)
			f.Op("JEQ", label)
		},
		KeptNone: func(f *Func, i Int, vecs int, label string) {
			// The lanes that are not there are ones. A comparison holds no more than 32 bits.
			if none := -1 << (vecs * n); none >= math.MinInt32 {
				f.Op("CMPQ", x86Local(f, i, 0), none)
				f.Op("JEQ", label)
			}
		},

		RowsPerPtr: 3,
		RowAddr: func(ptr, stride Int, i int) string {
			if i == 0 {
				return mem(ptr, 0)
			}
			return fmt.Sprintf("(%s)(%s*%d)", ptr, stride, i)
		},
		Indexed: func(_ *Func, ptr, i Int) string { return fmt.Sprintf("(%s)(%s*4)", ptr, i) },

		Load: "VMOVUPS", Store: "VMOVUPS", Element: "VBROADCASTSS", Copy: "VMOVAPS",
		AddV: "VADDPS", SubV: "VSUBPS", MulV: "VMULPS", DivV: "VDIVPS", OrV: "VORPS", XorV: "VXORPS", ShlV: "VPSLLD",
		FMAV: "VFMADD231PS", FMSV: "VFNMADD231PS",
		Broadcast: func(f *Func, addr string, v Vec) { f.Op("VBROADCASTSS", addr, v) },
		Zero:      func(f *Func, v Vec) { f.Op("VXORPS", v, v, v) },
		FMA:       func(f *Func, x, y, acc Vec) { f.Op("VFMADD231PS", y, x, acc) },
		Mul:       func(f *Func, x, y, acc Vec) { f.Op("VMULPS", y, x, acc) },
		MulAdd: func(f *Func, c string, x, p, spare Vec) (Vec, Vec) {
			f.Op("VFMADD213PS", c, x, p)
			return p, spare
		},
		Update: func(f *Func, c, x, p Vec) Vec {
			f.Op("VFMADD213PS", c, x, p)
			return p
		},
		// Enough for two units with a latency of five cycles and for three with four.
		PeakAccs:  12,
		ClearBits: func(f *Func, bits, v Vec) { f.Op("VANDNPS", v, bits, v) },
		// The second source, m, is the result where s is not greater, a NaN included.
		MaxOf:   func(f *Func, s, m, _ Vec) { f.Op("VMAXPS", m, s, m) },
		MinOf:   func(f *Func, s, m, _ Vec) { f.Op("VMINPS", m, s, m) },
		MulLoad: func(f *Func, addr string, x, v Vec) { f.Op("VMULPS", addr, x, v) },
		LoadElem: func(f *Func, e kernel.Elem, addr string, v Vec) {
			switch e {
			case kernel.Float16:
				f.Op("VCVTPH2PS", addr, v)
			case kernel.BFloat16:
				f.Op("VPMOVZXWD", addr, v)
				f.Op(f.ShlV, 16, v, v)
			case kernel.Int8, kernel.Q8_0:
				f.Op("VPMOVSXBD", addr, v)
				f.Op("VCVTDQ2PS", v, v)
			default:
				f.Op(f.Load, addr, v)
			}
		},
		LoadOne: func(f *Func, e kernel.Elem, addr string, tmp Int, v Vec) {
			x := low(v, "X")
			switch e {
			case kernel.Float16:
				f.Op("MOVWLZX", addr, tmp)
				f.Op("VMOVD", tmp, x)
				f.Op("VCVTPH2PS", low(v, half), v)
			case kernel.BFloat16:
				f.Op("MOVWLZX", addr, tmp)
				f.Op("SHLL", 16, tmp)
				f.Op("VMOVD", tmp, x)
			case kernel.Int8, kernel.Q8_0:
				f.Op("MOVBLSX", addr, tmp)
				f.Op("VMOVD", tmp, x)
				f.Op("VCVTDQ2PS", x, x)
			default:
				f.Op("VMOVSS", addr, x)
			}
		},
		BroadcastHalf: func(f *Func, addr string, v Vec) {
			f.Op("VCVTPH2PS", addr, low(v, "X")) // a conversion from memory takes no shuffle
			f.Op("VBROADCASTSS", low(v, "X"), v)
		},
		LoadBytes: func(f *Func, addr string, v Vec) { f.Op("VPMOVZXBD", addr, v) },
		LoadWords: func(f *Func, addr string, v Vec) { f.Op("VPMOVSXBW", addr, low(v, half)) },
		LoadWord: func(f *Func, addr string, tmp Int, v Vec) {
			f.Op("MOVBLSX", addr, tmp)
			f.Op("VMOVD", tmp, low(v, "X"))
		},
		SwapPairs: func(f *Func, v, dst Vec) { f.Op("VPERMILPS", 0b10_11_00_01, v, dst) },
		LoadPairs: func(f *Func, addr string, v Vec) {
			f.Op("VPMOVZXDQ", addr, v)
			f.Op("VMOVSLDUP", v, v)
		},
		SpreadPairs: func(f *Func, v Vec) {
			f.Op("VPMOVZXDQ", low(v, half), v)
			f.Op("VMOVSLDUP", v, v)
		},
		StoreElement: func(f *Func, v Vec, addr string) { f.Op("VMOVSS", low(v, "X"), addr) },
		StoreUnit: func(f *Func, e kernel.Elem, v Vec, addr string) {
			x := low(v, "X")
			switch e {
			case kernel.Float16:
				f.Op("VCVTPS2PH", roundNearest, x, x)
				f.Op("VPEXTRW", 0, x, addr)
			case kernel.BFloat16:
				f.Op("VPEXTRW", 0, x, addr)
			case kernel.Int8, kernel.Q8_0:
				f.Op("VPACKSSDW", x, x, x)
				f.Op("VPACKSSWB", x, x, x)
				f.Op("VPEXTRB", 0, x, addr)
			case kernel.E4M3, kernel.E5M2:
				f.Op("VPEXTRB", 0, x, addr)
			default:
				f.Op("VMOVSS", x, addr)
			}
		},
		RoundEven: func(f *Func, v Vec) { f.Op("VCVTPS2DQ", v, v) },
		RoundAway: func(f *Func, v, half, sign, tmp Vec) {
			f.Op("VANDPS", sign, v, tmp)
			f.Op("VORPS", half, tmp, tmp)
			f.Op("VADDPS", tmp, v, v)
			f.Op("VCVTTPS2DQ", v, v)
		},
		Truncate: func(f *Func, v Vec) { f.Op("VCVTTPS2DQ", v, v) },
		AndV:     "VANDPS", MaxBits: "VPMAXSD",
		BitsFirst: func(f *Func, src Int, v Vec) { f.Op("VMOVD", src, low(v, "X")) },
		ReduceMax: func(f *Func, v, tmp Vec) { reduceLanes(f, "VPMAXSD", v, tmp) },
		ReduceEnds: func(f *Func, low, high, tmp Vec) {
			reduceLanes(f, "VMINPS", low, tmp)
			reduceLanes(f, "VMAXPS", high, tmp)
		},
		First:     func(v Vec) Vec { return low(v, "X") },
		FirstBits: func(f *Func, v Vec, dst Int) { f.Op("VMOVD", low(v, "X"), dst) },
		Spread:    func(f *Func, v, dst Vec) { f.Op("VBROADCASTSS", low(v, "X"), dst) },
		DotHalves: func(f *Func, w, x, acc, tmp Vec) {
			f.Op("VPMADDWD", w, x, tmp)
			f.Op("VPADDD", tmp, acc, acc)
		},
		AddLoad:      func(f *Func, addr string, v Vec) { f.Op("VADDPS", addr, v, v) },
		LocalAt:      func(off int) string { return fmt.Sprintf("%d(SP)", off) },
		LoadConstant: func(f *Func, addr string, v Vec) { f.Op("VMOVUPS", addr, v) },
		LoadPart: func(f *Func, addr string, part int, v Vec) {
			switch {
			case part == 0:
				f.Op("VMOVUPS", addr, low(v, "X"))
			case reg == "Z":
				f.Op("VINSERTI32X4", part, addr, v, v)
			default:
				f.Op("VINSERTI128", part, addr, v, v)
			}
		},
		Shuffle: func(f *Func, index string, v, dst Vec) { f.Op("VPSHUFB", index, v, dst) },
		ShrV:    "VPSRLD",
		Choose: func(f *Func, _, others string, x, v Vec) {
			f.Op(f.XorV, x, v, v)
			f.Op(f.AndV, others, v, v)
			f.Op(f.XorV, x, v, v)
		},
		AddInts:    "VPADDD",
		IntToFloat: func(f *Func, v, dst Vec) { f.Op("VCVTDQ2PS", v, dst) },
	}
	for i := range count {
		arch.Vectors = append(arch.Vectors, Vec(fmt.Sprint(reg, i)))
	}
	return arch
}

// x86Address is Arch.AddressAt.
func x86Address(_ *Func, base, off Int, disp int) string {
	s := fmt.Sprintf("(%s)(%s*1)", base, off)
	if disp != 0 {
		s = fmt.Sprint(disp) + s
	}
	return s
}

// x86Local is Arch.Local.
func x86Local(_ *Func, i Int, off int) string { return fmt.Sprintf("%d(SP)(%s*8)", off-8, i) }

// low returns a 128-bit or a 256-bit part of a register.
func low(v Vec, part string) Vec { return Vec(part) + v[1:] }

// reduceLanes leaves in the first lane what op makes of all lanes.
func reduceLanes(f *Func, op string, v, tmp Vec) {
	x, t := low(v, "X"), low(tmp, "X")
	if f.Lanes == 16 {
		f.Op("VEXTRACTF64X4", 1, v, low(tmp, "Y"))
		f.Op(op, low(tmp, "Y"), low(v, "Y"), low(v, "Y"))
	}
	f.Op("VEXTRACTF128", 1, low(v, "Y"), t)
	f.Op(op, t, x, x)
	for _, swap := range []int{0b01_00_11_10, 0b10_11_00_01} {
		f.Op("VPERMILPS", swap, x, t)
		f.Op(op, t, x, x)
	}
}

// reduce128 adds the lanes of the low 128 bits of v and stores the sum.
func reduce128(f *Func, v, tmp Vec, addr string) {
	x, t := low(v, "X"), low(tmp, "X")
	for _, swap := range []int{0b01_00_11_10, 0b10_11_00_01} {
		f.Op("VPERMILPS", swap, x, t)
		f.Op("VADDPS", t, x, x)
	}
	f.Op("VMOVSS", x, addr)
}
