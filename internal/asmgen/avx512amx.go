package asmgen

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/qkv-go/qkv/kernel"
)

// avx512amx has the tiles of AMX and TDPBSSD for products of integers. Go's assembler lacks the instructions.
// TDPBF16PS adds the even and the odd terms by themselves, which class BFloat16 does not. The set has run in an
// emulator only, so it is not taken by itself.
var avx512amx = func() *Arch {
	arch := derive(avx512bf16, "AVX512AMX", kernel.AMXINT8, "MultiplyInt8", "PeakInt8")
	arch.Tiles, arch.OnlyNamed = true, true
	arch.Instr = tileInstr
	return &arch
}()

// A tileShape is the rows of a tile, and the bytes of each.
type tileShape struct{ rows, bytes int }

// tileConfig returns the 64 bytes of a configuration of tiles, as words.
func tileConfig(tiles []tileShape) []uint32 {
	var config [64]byte
	config[0] = 1 // the palette
	for i, t := range tiles {
		binary.LittleEndian.PutUint16(config[16+2*i:], uint16(t.bytes))
		config[48+i] = byte(t.rows)
	}
	var words []uint32
	for i := 0; i < len(config); i += 4 {
		words = append(words, binary.LittleEndian.Uint32(config[i:]))
	}
	return words
}

// Prefixes and opcodes of the VEX map 0F38.
const (
	vexNone, vexF3, vexF2 = 0, 2, 3

	opTileConfig, opTileMove, opTileDots = 0x49, 0x4b, 0x5e
)

// tileInstr returns an instruction of AMX as bytes. Memory is a base, an index, which is the bytes from row to
// row, and a displacement.
func tileInstr(op string, operands []any) string {
	tile := func(i int) int { return number(operands[i].(Vec)) }
	switch op {
	case "LDTILECFG":
		base := operands[0].(Int)
		return tileText(vexMemory(vexNone, opTileConfig, 0, base, "", 0), "ldtilecfg %s", intelAddress(base, "", 0))
	case "TILERELEASE":
		return tileText(vexTiles(vexNone, opTileConfig, 0, 0, 0), "tilerelease")
	case "TILEZERO":
		return tileText(vexTiles(vexF2, opTileConfig, tile(0), 0, 0), "tilezero tmm%d", tile(0))
	case "TDPBSSD": // b, a, c
		b, a, c := tile(0), tile(1), tile(2)
		return tileText(vexTiles(vexF2, opTileDots, c, a, b), "tdpbssd tmm%d, tmm%d, tmm%d", c, a, b)
	case "TILELOADD": // base, index, displacement, tile
		base, index, disp := operands[0].(Int), operands[1].(Int), operands[2].(int)
		return tileText(vexMemory(vexF2, opTileMove, tile(3), base, index, disp), "tileloadd tmm%d, %s", tile(3), intelAddress(base, index, disp))
	case "TILESTORED": // tile, base, index, displacement
		base, index, disp := operands[1].(Int), operands[2].(Int), operands[3].(int)
		return tileText(vexMemory(vexF3, opTileMove, tile(0), base, index, disp), "tilestored %s, tmm%d", intelAddress(base, index, disp), tile(0))
	}
	return ""
}

func tileText(bytes []int, format string, args ...any) string {
	return directives(bytes) + " // " + fmt.Sprintf(format, args...)
}

// vexTiles returns an instruction of tiles: of the fields reg and r/m, and of the second source.
func vexTiles(prefix, op, reg, rm, second int) []int {
	return []int{0xc4, 0xe2, (^second&15)<<3 | prefix, op, 0xc0 | reg<<3 | rm}
}

// vexMemory returns an instruction of a tile, or of none, and memory. index may be "".
func vexMemory(prefix, op, tile int, base, index Int, disp int) []int {
	const scaled = 4 // r/m of an address with an index
	b, x := intNumber(base), 0
	if index != "" {
		x = intNumber(index)
	}
	bytes := []int{0xc4, 0xe2 &^ (x>>3<<6 | b>>3<<5), 0xf<<3 | prefix, op}
	mod := 0
	switch {
	case disp < -128 || disp > 127:
		mod = 2
	case disp != 0 || b&7 == 5: // without a displacement, that base is none
		mod = 1
	}
	switch {
	case index != "":
		bytes = append(bytes, mod<<6|tile<<3|scaled, x&7<<3|b&7)
	case b&7 == scaled: // an address with the index that is none
		bytes = append(bytes, mod<<6|tile<<3|scaled, scaled<<3|b&7)
	default:
		bytes = append(bytes, mod<<6|tile<<3|b&7)
	}
	for i := range []int{0, 1, 4}[mod] {
		bytes = append(bytes, disp>>(8*i)&0xff)
	}
	return bytes
}

// intNumber returns the number of an integer register.
func intNumber(r Int) int {
	n := slices.Index([]Int{"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"}, r)
	if n < 0 {
		panic("asmgen: no register: " + string(r))
	}
	return n
}

// intelName returns an integer register as disassemblers write it.
func intelName(r Int) string {
	if intNumber(r) < 8 {
		return "r" + strings.ToLower(string(r))
	}
	return strings.ToLower(string(r))
}

// intelAddress returns an address as disassemblers write it.
func intelAddress(base, index Int, disp int) string {
	text := "[" + intelName(base)
	if index != "" {
		text += "+" + intelName(index) + "*1"
	}
	switch {
	case disp < 0:
		text += fmt.Sprintf("-%#x", -disp)
	case disp > 0 || intNumber(base)&7 == 5:
		text += fmt.Sprintf("+%#x", disp)
	}
	return text + "]"
}
