package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// avx512bf16 has VDPBF16PS, which Go's assembler lacks.
var avx512bf16 = func() *Arch {
	arch := derive(avx512vnni, "AVX512BF16", kernel.AVX512BF16, "MultiplyPairs", "PeakBFloat16")
	arch.DotPairs = func(f *Func, x, y, acc Vec) { f.Op("VDPBF16PS", y, x, acc) }
	arch.Instr = encoded("VDPBF16PS", evexDot)
	return &arch
}()

// evexDot returns VDPBF16PS of registers of 512 bits as bytes. It is EVEX.512.F3.0F38.W0 52 /r.
func evexDot(y, x, acc int) string {
	bit := func(n, i int) int { return ^n >> i & 1 } // inverted
	bytes := [...]int{
		0x62,
		bit(acc, 3)<<7 | bit(y, 4)<<6 | bit(y, 3)<<5 | bit(acc, 4)<<4 | 0x02, // upper bits of registers, and the map 0F38
		(^x&15)<<3 | 1<<2 | 0x02, // W0, the second operand, F3
		0x40 | bit(x, 4)<<3,      // 512 bits, its upper bit
		0x52,
		0xc0 | acc&7<<3 | y&7,
	}
	return fmt.Sprintf("%s // vdpbf16ps zmm%d, zmm%d, zmm%d", directives(bytes[:]), acc, x, y)
}
