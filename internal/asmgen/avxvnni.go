package asmgen

import (
	"fmt"
	"strconv"

	"github.com/qkv-go/qkv/kernel"
)

// avxvnni has VPDPBUSD without AVX-512, in the VEX encoding, which Go's assembler lacks.
var avxvnni = func() *Arch {
	arch := derive(avx2, "AVXVNNI", kernel.AVXVNNI, int8Fields...)
	arch.Dot4 = func(f *Func, w, x, acc, _ Vec) { f.Op("VPDPBUSD.VEX", x, w, acc) }
	arch.Instr = encoded("VPDPBUSD.VEX", vexDot)
	return &arch
}()

// number returns the number of a vector register.
func number(v Vec) int {
	n, err := strconv.Atoi(string(v[1:]))
	if err != nil {
		panic("asmgen: no register: " + string(v))
	}
	return n
}

// vexDot returns VPDPBUSD of registers of 256 bits as bytes: x and w are the sources with and without a
// sign. It is VEX.256.66.0F38.W0 50 /r.
func vexDot(x, w, acc int) string {
	bytes := [...]int{
		0xc4,
		(^acc>>3&1)<<7 | 1<<6 | (^x>>3&1)<<5 | 0x02, // inverted upper bits of registers, and the map 0F38
		(^w&15)<<3 | 1<<2 | 0x01,                    // W0, the inverted second operand, 256 bits, 66
		0x50,
		0xc0 | acc&7<<3 | x&7,
	}
	return fmt.Sprintf("%s // vpdpbusd ymm%d, ymm%d, ymm%d", directives(bytes[:]), acc, w, x)
}

// encoded returns the Instr of an Arch with an instruction of three registers that the assembler lacks.
func encoded(name string, encode func(a, b, c int) string) func(op string, operands []any) string {
	return func(op string, operands []any) string {
		if op != name {
			return ""
		}
		var n [3]int
		for i := range n {
			n[i] = number(operands[i].(Vec))
		}
		return encode(n[0], n[1], n[2])
	}
}

// directives returns bytes as the assembler takes them, a directive each.
func directives(bytes []int) string {
	text := ""
	for i, b := range bytes {
		if i > 0 {
			text += "; "
		}
		text += fmt.Sprintf("BYTE $%#02x", b)
	}
	return text
}
