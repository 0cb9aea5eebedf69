package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// avx512bf16 has VDPBF16PS and conversions to bfloat16, which Go's assembler lacks.
var avx512bf16 = func() *Arch {
	arch := derive(avx512vnni, "AVX512BF16", kernel.AVX512BF16, "Pairs", "MultiplyPairs", "ScoresPairs", "PairWeights", "AccumulatePairs", "PeakBFloat16")
	arch.DotPairs = func(f *Func, x, y, acc Vec) { f.Op("VDPBF16PS", y, x, acc) }
	arch.KeptPairs = keptPairs
	// A conversion rounds ties to even and takes subnormal numbers for zeros, which are below kernel.LeastBrain.
	arch.RoundBrain = func(f *Func, v, _ Vec, _ *brain) {
		f.Op("VCVTNEPS2BF16", v, low(v, "Y"))
		f.Op("VPMOVZXWD", low(v, "Y"), v)
	}
	for i := range uint32(16) {
		arch.PairIndex = append(arch.PairIndex, i<<16|(32+i)) // a number of x, and one of y
	}
	arch.PairRows = func(f *Func, weights bool, index, least, x, y, tmp Vec) {
		// VCVTNE2PS2BF16 converts both at once. Bochs takes its second half from beyond the operand.
		f.Op("VCVTNEPS2BF16", x, low(x, "Y"))
		f.Op("VCVTNEPS2BF16", y, low(tmp, "Y"))
		f.Op("VPERMT2W", tmp, index, x)
		keepLarge(f, weights, least, x, tmp, x)
	}
	arch.Instr = func(op string, operands []any) string {
		numbers := make([]int, len(operands))
		switch op {
		case "VDPBF16PS", "VCVTNEPS2BF16":
			for i, v := range operands {
				numbers[i] = number(v.(Vec))
			}
		}
		switch op {
		case "VDPBF16PS":
			return evexDot(numbers[0], numbers[1], numbers[2])
		case "VCVTNEPS2BF16":
			return evexBrain(numbers[0], numbers[1])
		}
		return ""
	}
	return &arch
}()

// keepLarge sets dst to the bfloat16 numbers of v whose magnitude is not below kernel.LeastBrain, and 0. Those of
// weights with a sign stay. least is as PairRows has it.
func keepLarge(f *Func, weights bool, least, v, tmp, dst Vec) {
	f.mask("K7 numbers that are large enough")
	x := v
	if !weights {
		f.Op("VPADDW", v, v, tmp) // without the sign
		x = tmp
	}
	f.Op("VPCMPUW", cmpIntAtLeast, least, x, maskTmp)
	f.Op("VMOVDQU16.Z", v, maskTmp, dst)
}

// keptPairs is Arch.KeptPairs. A half of a lane that is left out adds +0 * -0, which is -0 and changes nothing. Local
// variables have a bit for each half: the first one of vectors 0 and 1, the second one of 2 and 3.
func keptPairs(pairs *Arch) {
	local := func(f *Func, i Int, j int) string { return f.Local(f, i, j/2*8*kernel.KeyBlock/2+j%2*4) }
	pairs.KeptWords = 2
	pairs.KeptStep = func(t *tile) {
		t.mask("K1..K4 halves of lanes kept, of each vector of a row of B")
		gone, x := t.tmp[0], t.tmp[1]
		t.Broadcast(t.Func, t.symbol("negZeroPair", 0x80008000)+"(SB)", gone)
		for j, b := range t.bv {
			t.loadB(j, b)
			t.Op("KMOVD", local(t.Func, t.k, j), maskOf(j))
			t.Op("VPBLENDMW", b, gone, maskOf(j), b)
		}
		for r, acc := range t.acc {
			pair := gone
			t.Broadcast(t.Func, t.elem(r), pair)
			for j, b := range t.bv {
				t.Op("VMOVDQU16.Z", pair, maskOf(j), x)
				t.DotPairs(t.Func, x, b, acc[j])
			}
		}
	}
	pairs.KeptLanes = func(f *Func, b Int, j int, i Int, v Vec, _ Int) {
		f.Op(f.Load, mem(b, j*f.Bytes()), v)
		f.Op("VPMOVW2M", v, maskTmp)
		f.Op("KNOTD", maskTmp, maskTmp)
		f.Op("KMOVD", maskTmp, local(f, i, j))
	}
	both := func(f *Func, i Int, word int, label string) {
		other := f.unique("other")
		f.Op("CMPQ", local(f, i, 0), word)
		f.Op("JNE", other)
		f.Op("CMPQ", local(f, i, 2), word)
		f.Op("JEQ", label)
		f.Label(other)
	}
	pairs.KeptAll = func(f *Func, i Int, label string) { both(f, i, -1, label) }
	pairs.KeptNone = func(f *Func, i Int, vecs int, label string) {
		switch vecs {
		case 4:
			both(f, i, 0, label)
		case 2: // the lanes that are not there are ones
			f.Op("CMPQ", local(f, i, 0), 0)
			f.Op("JEQ", label)
		}
	}
}

// evexDot returns VDPBF16PS of registers of 512 bits as bytes. It is EVEX.512.F3.0F38.W0 52 /r.
func evexDot(y, x, acc int) string {
	return fmt.Sprintf("%s // vdpbf16ps zmm%d, zmm%d, zmm%d", evex(2, 0x52, y, x, acc), acc, x, y)
}

// evexBrain returns VCVTNEPS2BF16, which is EVEX.512.F3.0F38.W0 72 /r.
func evexBrain(x, dst int) string {
	return fmt.Sprintf("%s // vcvtneps2bf16 ymm%d, zmm%d", evex(2, 0x72, x, 0, dst), dst, x)
}

// evex returns an instruction of registers of 512 bits of the map 0F38 with W0 as bytes: y is the operand of the last
// byte, x the other one, 0 for none.
func evex(prefix, opcode, y, x, dst int) string {
	bit := func(n, i int) int { return ^n >> i & 1 } // inverted
	bytes := [...]int{
		0x62,
		bit(dst, 3)<<7 | bit(y, 4)<<6 | bit(y, 3)<<5 | bit(dst, 4)<<4 | 0x02, // upper bits of registers, and the map
		(^x&15)<<3 | 1<<2 | prefix, // W0, the second operand
		0x40 | bit(x, 4)<<3,        // 512 bits, its upper bit
		opcode,
		0xc0 | dst&7<<3 | y&7,
	}
	return directives(bytes[:])
}
