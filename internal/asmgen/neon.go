package asmgen

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qkv-go/qkv/kernel"
)

// Registers that no emitter is handed, for within a hook.
const (
	neonInt = Int("R17")
	neonVec = Vec("V31")
)

// neon multiplies by an element of a register, so an element of A is loaded by
// itself: one load, where spreading it over the lanes would take a floating-point
// unit away from the multiply-adds.
var neon = func() *Arch {
	arch := Arch{
		Name:    "NEON",
		Needs:   kernel.ASIMD,
		Lanes:   4,
		Rows:    []int{12, 12, 8},
		TurnFar: 24,

		DecodeRows: 12,
		// Not R18, the platform's, and not R27 to R31, which Go's assembler, Go and the
		// calling convention use.
		Ints: []Int{
			"R0", "R19", "R20", "R21", "R22", "R23", "R24", "R25", "R26",
			"R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "R16",
		},

		Instr: a64,

		Mov: "MOVD", Add: "ADD", Sub: "SUB", And: "AND", Shl: "LSL", MulInt: "MUL",
		ClearInt: func(f *Func, bits Int, addr string) {
			f.Op("MOVD", addr, neonInt)
			f.Op("BIC", bits, neonInt)
			f.Op("MOVD", neonInt, addr)
		},
		LoadByte: func(f *Func, addr string, dst Int) { f.Op("MOVBU", addr, dst) },
		SubLoad: func(f *Func, addr string, dst Int) {
			f.Op("MOVD", addr, neonInt)
			f.Op("SUB", neonInt, dst)
		},
		AddMem: func(f *Func, addr string, dst Int) {
			f.Op("MOVD", addr, neonInt)
			f.Op("ADD", neonInt, dst)
		},
		LoadSigned:   func(f *Func, addr string, dst Int) { f.Op("MOVW", addr, dst) },
		LoadHalfInt:  func(f *Func, addr string, dst Int) { f.Op("MOVHU", addr, dst) },
		StoreHalfInt: func(f *Func, src Int, addr string) { f.Op("MOVH", src, addr) },
		StoreWordInt: func(f *Func, src Int, addr string) { f.Op("MOVW", src, addr) },
		LocalBase: func(f *Func, dst Int) { // after the link register
			f.Op("MOVD", "RSP", dst)
			f.Op("ADD", 16, dst)
		},
		AddressAt: func(f *Func, base, off Int, disp int) string {
			f.Op("ADD", base, off)
			return mem(off, disp)
		},
		AddressOf: func(f *Func, base, off Int, disp int) string {
			f.Op("ADD", base, off, neonInt)
			return mem(neonInt, disp)
		},
		FMABroadcast: func(f *Func, addr string, y, acc, tmp Vec) {
			f.Op("FMOVS", addr, tmp)
			f.Op("FMLA.S[0]", tmp, y, acc)
		},
		StorePart: func(f *Func, v Vec, _, n int, ptr Int, _ Vec) {
			switch n {
			case 4:
				f.Op("FMOVQ", v, mem(ptr, 0))
			case 3:
				f.Op("FMOVD", v, mem(ptr, 0))
				f.Op("ADD", 8, ptr, neonInt)
				f.Op("VST1", string(v)+".S[2]", mem(neonInt, 0))
			case 2:
				f.Op("FMOVD", v, mem(ptr, 0))
			case 1:
				f.Op("FMOVS", v, mem(ptr, 0))
			}
		},
		FMAElement:   func(f *Func, x Vec, i int, y, acc Vec) { f.Op(fmt.Sprintf("FMLA.S[%d]", i), x, y, acc) },
		TopsToFloat:  func(f *Func, v Vec) { f.Op("SCVTF.#24", v, v) },
		Interleave:   [2]interleave{{"VZIP1.S4", "VZIP2.S4"}, {"VZIP1.D2", "VZIP2.D2"}},
		PrefetchNear: func(f *Func, addr string) { f.Op("PRFM", addr, "PLDL1KEEP") },
		Prefetch:     func(f *Func, addr string) { f.Op("PRFM", addr, "PLDL2KEEP") },
		Branch: func(f *Func, x Int, cond, y, label string) {
			switch {
			case y == "$0" && cond == "EQ":
				f.Op("CBZ", x, label)
			case y == "$0" && cond == "NE":
				f.Op("CBNZ", x, label)
			default:
				f.Op("CMP", y, x)
				f.Op("B"+cond, label)
			}
		},
		Count:      func(f *Func, r Int) { f.Op("SUBS", 1, r) },
		Again:      func(f *Func, label string) { f.Op("BNE", label) },
		CountEarly: true,
		Address:    func(f *Func, symbol string, dst Int) { f.Op("MOVD", "$"+symbol+"(SB)", dst) },
		Return:     func(f *Func) { f.Op("RET") },

		// One addition moves all rows on, for want of slots rather than of registers.
		RowsPerPtr: 1,
		StepOffset: true,
		RowAddr:    func(ptr, off Int, _ int) string { return fmt.Sprintf("(%s)(%s)", ptr, off) },
		Indexed: func(f *Func, ptr, i Int) string {
			f.Op("ADD", fmt.Sprintf("%s<<2", i), ptr, i)
			return mem(i, 0)
		},

		Load: "FMOVQ", Store: "FMOVQ", Element: "FMOVS", Copy: "VMOV.B16",
		AddV: "FADD.S4", SubV: "FSUB.S4", MulV: "FMUL.S4", DivV: "FDIV.S4", OrV: "VORR.B16", XorV: "VEOR.B16", ShlV: "VSHL.S4",
		FMAV: "VFMLA.S4", FMSV: "VFMLS.S4",
		Broadcast: func(f *Func, addr string, v Vec) {
			if inMemory(addr) {
				f.Op("MOVD", "$"+addr, neonInt)
				addr = mem(neonInt, 0)
			}
			f.Op("FMOVS", addr, v)
			f.Op("VDUP", string(v)+".S[0]", string(v)+".S4")
		},
		Zero: func(f *Func, v Vec) { f.Op("VMOVI.B16", 0, v) },
		FMA:  func(f *Func, x, y, acc Vec) { f.Op("FMLA.S[0]", x, y, acc) },
		Mul:  func(f *Func, x, y, acc Vec) { f.Op("FMUL.S[0]", x, y, acc) },

		// The sum takes the place of the addend, which is a constant here.
		SpareForMulAdd: true,
		MulAdd: func(f *Func, c string, x, p, spare Vec) (Vec, Vec) {
			f.Op("VMOV.B16", Vec(c), spare)
			f.Op("VFMLA.S4", x, p, spare)
			return spare, p
		},
		Update: func(f *Func, c, x, p Vec) Vec {
			f.Op("VFMLA.S4", x, p, c)
			return c
		},
		PeakAccs: 24, // four units with a latency of four cycles need 16

		ClearBits: func(f *Func, bits, v Vec) { f.Op("BIC.B16", bits, v, v) },
		CopySign: func(f *Func, addr string, sign, v, tmp Vec) {
			f.Op("FMOVQ", addr, tmp)
			f.Op("VBIT.B16", sign, tmp, v)
		},

		// A comparison, since FMAX and FMAXNM take +0 for more than -0.
		MaxOf: func(f *Func, s, m, tmp Vec) {
			f.Op("FCMGT.S4", m, s, tmp)
			f.Op("VBIT.B16", tmp, s, m)
		},
		MinOf: func(f *Func, s, m, tmp Vec) {
			f.Op("FCMGT.S4", s, m, tmp)
			f.Op("VBIT.B16", tmp, s, m)
		},
		Normal: func(f *Func, min string, y Vec, _ int) {
			f.Op("FCMGT.S4", y, Vec(min), y) // min > y, false for a NaN: the lanes to clear
		},
		MulNormal: func(f *Func, x, y, p Vec, _ int) {
			f.Op("FMUL.S4", x, p, p)
			f.Op("BIC.B16", y, p, p)
		},

		VectorMasks: true,
		MulLoad: func(f *Func, addr string, x, v Vec) {
			f.Op("FMOVQ", addr, v)
			f.Op("FMUL.S4", x, v, v)
		},
		LoadElem: func(f *Func, e kernel.Elem, addr string, v Vec) {
			switch e {
			case kernel.Float16:
				f.Op("FMOVD", addr, v)
				f.Op("FCVTL.S4", v, v)
			case kernel.BFloat16:
				f.Op("FMOVD", addr, v)
				f.Op("SHLL.S4", v, v)
			case kernel.Int8, kernel.Q8_0:
				f.Op("FMOVS", addr, v)
				f.Op("SXTL.H8", v, v)
				f.Op("SXTL.S4", v, v)
				f.Op("SCVTF.S4", v, v)
			default:
				f.Op(f.Load, addr, v)
			}
		},
		LoadOne: func(f *Func, e kernel.Elem, addr string, tmp Int, v Vec) {
			switch e {
			case kernel.Float16:
				f.Op("MOVHU", addr, tmp)
				f.Op("FMOVS", tmp, v)
				f.Op("FCVTL.S4", v, v)
			case kernel.BFloat16:
				f.Op("MOVHU", addr, tmp)
				f.Op(f.Shl, 16, tmp)
				f.Op("FMOVS", tmp, v)
			case kernel.Int8, kernel.Q8_0:
				f.Op("MOVB", addr, tmp)
				f.Op("SCVTFWS", tmp, v)
			default:
				f.Op("FMOVS", addr, v)
			}
		},
		BroadcastHalf: func(f *Func, addr string, v Vec) {
			f.LoadOne(f, kernel.Float16, addr, neonInt, v)
			f.Op("VDUP", string(v)+".S[0]", string(v)+".S4")
		},
		LoadBytes: func(f *Func, addr string, v Vec) {
			f.Op("FMOVS", addr, v)
			f.Op("UXTL.H8", v, v)
			f.Op("UXTL.S4", v, v)
		},
		LoadWords: func(f *Func, addr string, v Vec) {
			f.Op("FMOVS", addr, v)
			f.Op("SXTL.H8", v, v)
		},
		LoadWord: func(f *Func, addr string, tmp Int, v Vec) {
			f.Op("MOVB", addr, tmp)
			f.Op("FMOVS", tmp, v)
		},
		Float8: func(f *Func, e kernel.Elem, v Vec, q *quarter) {
			if e == kernel.E5M2 {
				f.Op("VSHL.H8", 8, v, v)
			} else {
				f.Op("VSHL.H8", 7, v, v)
				f.Op("VADD.H8", q.carry, v, q.tmp)
				f.Op("VAND.B16", q.sign, q.tmp, q.tmp)
				f.Op("VEOR.B16", q.tmp, v, v)
			}
			f.Op("FCVTL.S4", v, v)
		},
		Swap: func(f *Func, h int, v, dst Vec) {
			if h == 1 {
				f.Op("VREV64.S4", v, dst)
			} else {
				f.Op("VEXT.B16", 8, v, v, dst)
			}
		},
		SwapPairs: func(f *Func, v, dst Vec) { f.Op("VREV64.S4", v, dst) },
		LoadPairs: func(f *Func, addr string, v Vec) {
			f.Op("FMOVD", addr, v)
			f.Op("VZIP1.S4", v, v, v)
		},
		SpreadPairs:  func(f *Func, v Vec) { f.Op("VZIP1.S4", v, v, v) },
		StoreElement: func(f *Func, v Vec, addr string) { f.Op("FMOVS", v, addr) },
		LocalAt:      func(off int) string { return fmt.Sprintf("%d(RSP)", 16+off) }, // after the link register
		LoadConstant: func(f *Func, addr string, v Vec) {
			f.Op("MOVD", "$"+addr, neonInt)
			f.Op("FMOVQ", mem(neonInt, 0), v)
		},
		LoadPart: func(f *Func, addr string, _ int, v Vec) { f.Op("FMOVQ", addr, v) },
		Shuffle: func(f *Func, index string, v, dst Vec) {
			f.Op("VTBL", index+".B16", fmt.Sprintf("[%s.B16]", v), string(dst)+".B16")
		},
		ShrV:       "VUSHR.S4",
		Choose:     func(f *Func, mask, _ string, x, v Vec) { f.Op("VBIT.B16", Vec(mask), x, v) },
		AddInts:    "VADD.S4",
		TestBits:   func(f *Func, mask string, v Vec) { f.Op("VCMTST.B16", Vec(mask), v, v) },
		IntToFloat: func(f *Func, v, dst Vec) { f.Op("SCVTF.S4", v, dst) },
		Halves: func(f *Func, _ string, pairs, lo, hi, _ Vec) {
			if hi != "" {
				f.Op("VUZP2.H8", pairs, pairs, hi)
				f.Op("FCVTL.S4", hi, hi)
			}
			f.Op("VUZP1.H8", pairs, pairs, lo)
			f.Op("FCVTL.S4", lo, lo)
		},
		AddLoad: func(f *Func, addr string, v Vec) {
			f.Op("FMOVQ", addr, neonVec)
			f.Op("FADD.S4", neonVec, v, v)
		},
	}
	for i := range 31 { // all but neonVec
		arch.Vectors = append(arch.Vectors, Vec(fmt.Sprint("V", i)))
	}

	// sum adds the lanes of v, integers.
	sum := func(f *Func, v Vec, dst Int) {
		f.Op("VADDP.S4", v, v, v)
		f.Op("VADDP.S4", v, v, v)
		f.Op("VMOV", string(v)+".S[0]", dst)
	}
	arch.KeptStep = func(t *tile) {
		t.keptByZero(vectorLogic{
			signs:  func(v, signs Vec) { t.Op("SSHR.S4", 31, v, signs) },
			shift1: func(v, dst Vec) { t.Op("VUSHR.S4", 1, v, dst) },
			fma:    func(x, y, acc Vec) { t.Op("VFMLA.S4", x, y, acc) },
		})
	}
	// The link register is saved before the first local variable.
	arch.Local = func(f *Func, i Int, off int) string {
		f.Op("MOVD", "RSP", neonInt)
		f.Op("ADD", fmt.Sprintf("%s<<3", i), neonInt)
		return mem(neonInt, off)
	}
	// Two bytes a vector.
	arch.KeptLanes = func(f *Func, b Int, j int, i Int, v Vec, tmp Int) {
		f.Op(f.Load, mem(b, j*f.Bytes()), v)
		f.Op("SSHR.S4", 31, v, v)
		sum(f, v, tmp)
		f.Op("MVN", tmp, tmp)
		f.Op("MOVH", tmp, f.Local(f, i, 2*j))
	}
	arch.KeptAll = func(f *Func, i Int, label string) {
		f.Op("MOVD", f.Local(f, i, 0), neonInt)
		f.Op("CMN", 1, neonInt)
		f.Op("BEQ", label)
	}
	// laneBits loads the mask bits of the lanes of vector j into neonVec.
	laneBits := func(f *Func, j int) {
		bits := make([]uint32, kernel.MaxLanes/2) // of the low half of a mask word
		for i := range bits {
			bits[i] = 1 << i
		}
		f.Address(f, f.symbol("laneBits", bits...), neonInt)
		f.Op("FMOVQ", mem(neonInt, 16*j), neonVec)
	}
	// keptLanes is v = all ones in the lanes of vector j kept, 0 in the others.
	keptLanes := func(f *Func, ptr Int, j int, v Vec) {
		f.Broadcast(f, mem(ptr, 0), v)
		laneBits(f, j)
		f.Op("VCMTST.S4", neonVec, v, v)
	}
	arch.MaxOfKept = func(f *Func, ptr Int, j int, s, m, tmp Vec) {
		keptLanes(f, ptr, j, tmp)
		f.Op("FCMGT.S4", m, s, neonVec)
		f.Op("VAND.B16", neonVec, tmp, tmp)
		f.Op("VBIT.B16", tmp, s, m)
	}
	arch.DropMasked = func(f *Func, ptr Int, j int, negZero string, p, tmp Vec) {
		keptLanes(f, ptr, j, tmp)
		f.Op("VBIF.B16", tmp, Vec(negZero), p)
	}
	arch.WhereZero = func(f *Func, zero, x string, sum, p, tmp Vec) {
		f.Op("FCMEQ.S4", Vec(zero), sum, tmp)
		f.Op("VBIT.B16", tmp, Vec(x), p)
	}
	arch.Moved = func(f *Func, v []Vec, one string, tmp Int, addr string) {
		for j, x := range v {
			f.Op("FCMEQ.S4", Vec(one), x, x)
			if j > 0 {
				f.Op("VAND.B16", x, v[0], v[0])
			}
		}
		f.Op("VMOV", string(v[0])+".D[0]", tmp)
		f.Op("VMOV", string(v[0])+".D[1]", neonInt)
		f.Op("AND", neonInt, tmp)
		f.Op("CMN", 1, tmp) // all ones: every lane is one
		f.Op("CSET", "NE", tmp)
		f.Op("MOVB", tmp, addr)
	}

	// elements writes an instruction for each of n elements of v, n in 1..3.
	elements := func(f *Func, v Vec, n Int, addr string, one func(element, addr string)) {
		from, done := strings.Trim(addr, "()"), f.unique("done"+string(v))
		for i := range 3 {
			if i > 0 {
				f.Branch(f, n, "EQ", imm(i), done)
				f.Op("ADD", 4, from, neonInt)
				from, addr = string(neonInt), mem(neonInt, 0)
			}
			one(fmt.Sprintf("%s.S[%d]", v, i), addr)
		}
		f.Label(done)
	}
	arch.LoadScaled = func(f *Func, addr string, n Int, scale, _, v Vec) {
		some, loaded := f.unique("some"+string(v)), f.unique("loaded"+string(v))
		f.Branch(f, n, "LT", imm(f.Lanes), some)
		f.Op("FMOVQ", addr, v)
		f.Jump(loaded)
		f.Label(some)
		elements(f, v, n, addr, func(element, addr string) { f.Op("VLD1", addr, element) }) // the rest of v is 0
		f.Label(loaded)
		f.Op("FMUL.S4", scale, v, v)
	}
	arch.StoreMasked = func(f *Func, v Vec, n Int, _ Vec, addr string) {
		elements(f, v, n, addr, func(element, addr string) { f.Op("VST1", element, addr) })
	}
	arch.Recip = func(f *Func, one string, v Vec, tmp [2]Vec) {
		f.Zero(f, tmp[0])
		f.Op("FCMEQ.S4", tmp[0], v, tmp[0])
		f.Broadcast(f, one, tmp[1])
		f.Op("FDIV.S4", v, tmp[1], v)
		f.Op("BIC.B16", tmp[0], v, v)
	}
	arch.LanesEqual = func(f *Func, x, v, tmp Vec, dst Int) {
		f.Op("FCMEQ.S4", x, v, tmp)
		laneBits(f, 0)
		f.Op("VAND.B16", neonVec, tmp, tmp)
		sum(f, tmp, dst)
	}
	arch.Transpose = func(f *Func, rows []Vec, tmp Vec) []Vec {
		r := slices.Clone(rows)
		transpose4x4(f, interleave{"VZIP1.S4", "VZIP2.S4"}, interleave{"VZIP1.D2", "VZIP2.D2"}, r, &tmp)
		return r
	}
	// narrow makes units of the lanes of v.
	narrow := func(f *Func, e kernel.Elem, v Vec) {
		switch e {
		case kernel.Float16:
			f.Op("FCVTN.H4", v, v)
		case kernel.BFloat16:
			f.Op("XTN.H4", v, v)
		case kernel.Int8, kernel.Q8_0:
			f.Op("SQXTN.H4", v, v)
			f.Op("SQXTN.B8", v, v)
		case kernel.E4M3, kernel.E5M2:
			f.Op("XTN.H4", v, v)
			f.Op("XTN.B8", v, v)
		}
	}
	arch.StoreUnits = func(f *Func, e kernel.Elem, v, _ Vec, addr string) {
		narrow(f, e, v)
		switch e {
		case kernel.Float32:
			f.Op(f.Store, v, addr)
		case kernel.Float16, kernel.BFloat16:
			f.Op("FMOVD", v, addr)
		default:
			f.Op("FMOVS", v, addr)
		}
	}
	arch.StoreUnit = func(f *Func, e kernel.Elem, v Vec, addr string) {
		narrow(f, e, v)
		f.FirstBits(f, v, neonInt)
		switch e {
		case kernel.Float32:
			f.Op("FMOVS", v, addr)
		case kernel.Float16, kernel.BFloat16:
			f.Op("MOVH", neonInt, addr)
		default:
			f.Op("MOVB", neonInt, addr)
		}
	}
	arch.RoundBrain = func(f *Func, v, tmp Vec, b *brain) {
		f.Op("VUSHR.S4", 16, v, tmp)
		f.Op("VAND.B16", b.one, tmp, tmp)
		f.Op("VADD.S4", b.half, tmp, tmp)
		f.Op("VADD.S4", v, tmp, tmp)
		f.Op("FCMEQ.S4", v, v, b.tmp)
		f.Op("VORR.B16", b.quiet, v, v)
		f.Op("VBIT.B16", b.tmp, tmp, v)
		f.Op("VUSHR.S4", 16, v, v)
	}
	arch.KeepAbove = func(f *Func, least string, v, tmp Vec) {
		f.Op("VSHL.H8", 1, v, tmp) // without the sign
		f.Op("VUSHR.S4", 1, tmp, tmp)
		f.Op("CMHI.S4", Vec(least), tmp, tmp)
		f.Op("VAND.B16", tmp, v, v)
	}
	arch.StorePairs = func(f *Func, v, _ Vec, addr string) {
		f.Op("XTN.H4", v, v)
		f.Op("VREV32.H8", v, v)
		f.Op("FMOVD", v, addr)
	}
	arch.RoundEven = func(f *Func, v Vec) { f.Op("FCVTNS.S4", v, v) }
	arch.RoundAway = func(f *Func, v, _, _, _ Vec) { f.Op("FCVTAS.S4", v, v) }
	arch.Truncate = func(f *Func, v Vec) { f.Op("FCVTZS.S4", v, v) }
	arch.BitsFirst = func(f *Func, src Int, v Vec) { f.Op("FMOVS", src, v) }
	arch.ReduceEnds = func(f *Func, low, high, _ Vec) {
		for range 2 {
			f.Op("FMINP.S4", low, low, low)
			f.Op("FMAXP.S4", high, high, high)
		}
	}
	arch.AndV, arch.MaxBits = "VAND.B16", "VUMAX.S4"
	arch.ReduceMax = func(f *Func, v, _ Vec) {
		f.Op("UMAXP.S4", v, v, v)
		f.Op("UMAXP.S4", v, v, v)
	}
	arch.First = func(v Vec) Vec { return v }
	arch.FirstBits = func(f *Func, v Vec, dst Int) { f.Op("FMOVS", v, dst) }
	arch.Spread = func(f *Func, v, dst Vec) { f.Op("VDUP", string(v)+".S[0]", string(dst)+".S4") }
	arch.Reduce = func(f *Func, v, _ Vec, addr string) {
		f.Op("FADDP.S4", v, v, v)
		f.Op("FADDP.S4", v, v, v)
		f.Op("FMOVS", v, addr)
	}
	arch.SumVectors = 2
	arch.QuadOf = func(f *Func, x Vec, i int, tmp Vec) Vec {
		f.Op("VDUP", fmt.Sprintf("%s.S[%d]", x, i), string(tmp)+".S4")
		return tmp
	}
	arch.DotQuad = func(f *Func, w, x Vec, _ int, sum []Vec, tmp Vec) {
		f.Op("SMULL.H8", x, w, tmp)
		f.Op("SMULL2.H8", x, w, neonVec)
		f.Op("SADALP.S4", tmp, sum[0])
		f.Op("SADALP.S4", neonVec, sum[1])
	}
	arch.JoinSum = func(f *Func, sum []Vec) { f.Op("VADDP.S4", sum[1], sum[0], sum[0]) }
	arch.DotBytes = func(f *Func, x, y, sum, tmp Vec) {
		f.Op("SMULL.H8", x, y, tmp)
		f.Op("SMULL2.H8", x, y, neonVec)
		f.Op("SADALP.S4", tmp, sum)
		f.Op("SADALP.S4", neonVec, sum)
	}
	return &arch
}()
