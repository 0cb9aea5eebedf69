// Package asmgen generates the kernel sets in machine code at the root of the module: their
// assembly, kernel_*.s, and its Go side, kernel_*.go, with a stub of each function and the
// numbers of each set.
//
// An [Arch] is a record of registers, mnemonics and hooks. An emitter (one a
// kernel: scores, softmax, ...) holds the algorithm and is the same for every
// Arch. To add an instruction set, write its record, and a [File] that lists it.
//
// The package's test regenerates the files in memory and fails with the
// difference from those on disk; with -generate it writes them:
//
//	go test ./internal/asmgen -generate
package asmgen

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// A File is the generated files of an architecture: Name.s and Name.go.
type File struct {
	Name  string
	Build string  // build constraint
	Sets  []*Arch // best first
	// Chains are instruction sets with no more than the functions of [chainEmitters]. The
	// rest of their kernels is in Go, and so is the variable of their [kernel.Set].
	Chains []*Arch
}

// Files lists the generated files.
var Files = []File{
	{Name: "kernel_amd64", Build: "!purego", Sets: []*Arch{avx512amx, avx512bf16, avx512vnni, avx512, avxvnni, avx2}, Chains: []*Arch{sse2}},
	{Name: "kernel_arm64", Build: "!purego", Sets: []*Arch{neondot, neon}},
}

// An emitter writes the function that is a field of [kernel.Funcs].
type emitter struct {
	field string
	emit  func(*Arch) *Func // nil: sets take the Go code
	// of reports whether an Arch has the instructions; one without takes the Go code. It is nil of what
	// every Arch has.
	of func(*Arch) bool
	// where says what operands the machine code is for, if not for all. A function of the root,
	// such as packWith, then makes the field of it and of the Go code.
	where string
	// narrow says that where dims are no multiple of a vector, the code of Arch.Narrow serves. A function of the root, such as
	// decodeAccumulateBy, then makes the field of both.
	narrow bool
	// doc says what the function does, if that is not what the Go code does.
	doc string
}

// emitters are the kernels of a set, in the order of [kernel.Funcs].
var emitters = []emitter{
	{field: "Pack", emit: pack, where: "DimStride is 1"},
	{field: "Scores", emit: scores},
	{field: "Softcap", emit: softcap},
	{field: "ALiBi", emit: alibi},
	{field: "Bias", emit: bias},
	{field: "Softmax", emit: softmax},
	{field: "Accumulate", emit: accumulate},
	{field: "Unpack", emit: unpack, where: "DimStride is 1"},
	{field: "Merge", emit: merge},
	{field: "Convert", emit: convert, where: "UnitStride is that of units without gaps"},
	{field: "Store", emit: store},
	{field: "DecodeScores", emit: decodeScores},
	{field: "DecodeAccumulate", emit: decodeAccumulate, narrow: true},
	{field: "DecodeScoresInt8", emit: decodeScoresInt8, of: hasDot4},
	{field: "DecodeAccumulateInt8", emit: decodeAccumulateInt8, of: hasDot4},
	{field: "Multiply", emit: multiply},
	{field: "MultiplyFew", emit: multiplyFew, where: "ColStride is 1"},
	{field: "Combine", emit: combine},
	{field: "Dots", emit: dots},
	{field: "Dequantize", emit: dequantize, where: "a row has 16 bytes or more"},
	{field: "DotWeights", emit: dotWeights, where: "Type.Fused says so"},
	{field: "Pairs", emit: pairs, of: hasPairs, where: "ColStride is 1, and rows are whole vectors"},
	{field: "MultiplyPairs", emit: multiplyPairs, of: hasDotPairs},
	{field: "MultiplyPairsFew", emit: multiplyPairsFew, where: "ColStride is 1"},
	{field: "ScoresPairs", emit: scoresPairs, of: hasDotPairs},
	{field: "PairWeights", emit: pairWeights, of: hasDotPairs},
	{field: "AccumulatePairs", emit: accumulatePairs, of: hasDotPairs},
	{field: "Quantize", emit: quantize, of: hasDot4, where: "ColStride is 1"},
	{field: "UnpackInt8", emit: unpackInt8},
	{field: "MultiplyInt8", emit: multiplyInt8, of: hasDot4},
	{field: "MultiplyRowInt8", emit: multiplyRowInt8, of: hasDot4},
	{field: "PackWeights", emit: packWeights},
	{field: "ConvertInt8", emit: convertInt8, of: hasDot4, where: "UnitStride is that of units without gaps"},
	{field: "PackInt8", emit: packInt8, of: hasDot4},
	{field: "TransposeInt8", emit: transposeInt8, of: hasDot4, where: "UnitStride is that of units without gaps"},
	{field: "MultiplyStrips", emit: multiplyStrips},
	{field: "DequantizeStrips", emit: dequantizeStrips},
	{field: "Float16", emit: float16},
	{field: "Rotary", emit: rotary},
	{field: "Activate", emit: activate},
	{field: "Sums", emit: sums},
	{field: "Normalize", emit: normalize},
	{field: "Hadamard", emit: hadamard, where: "Cols is a multiple of 16"},
	{field: "Above", emit: above},
	{field: "Peak", emit: peak, doc: fmt.Sprintf("runs n rounds of %d multiply-adds of vectors", peakFMAs)},
	{field: "PeakInt8", emit: peakInt8, of: hasDot4, doc: "runs n rounds of products of integers, each of Set.PeakInt8Ops operations"},
	{field: "PeakBFloat16", emit: peakBFloat16, doc: fmt.Sprintf("runs n rounds of %d multiply-adds of vectors, or of pairs", peakFMAs)},
	{field: "Read", emit: read, doc: fmt.Sprintf("returns the sum of n values, n a multiple of %d", readFloats)},
}

// owns reports whether the Arch has machine code of its own for a field, rather than that of its Base or
// Go code.
func (arch *Arch) owns(e *emitter) bool {
	return e.emit != nil && (e.of == nil || e.of(arch)) && (arch.Base == nil || slices.Contains(arch.Own, e.field))
}

// owner returns the Arch whose machine code the set has for a field, or nil if that is Go code.
func (arch *Arch) owner(e *emitter) *Arch {
	for arch != nil && !arch.owns(e) {
		arch = arch.Base
	}
	return arch
}

// derive returns an Arch that is base and more instructions, for which the emitters of some fields write
// code of its own.
func derive(base *Arch, name string, needs kernel.Features, own ...string) Arch {
	arch := *base
	arch.Name, arch.Base, arch.Own, arch.Needs = name, base, own, base.Needs|needs
	return arch
}

// functions returns the functions of the file, in its order.
func (file *File) functions() []*Func {
	var all []*Func
	for _, arch := range file.Sets {
		for _, e := range emitters {
			if arch.owns(&e) {
				all = append(all, e.emit(arch))
			}
		}
	}
	for _, arch := range file.Chains {
		for _, e := range chainEmitters {
			all = append(all, e.emit(arch))
		}
	}
	return all
}

// Assembly returns the contents of the file of assembly.
func (file *File) Assembly() []byte {
	var out bytes.Buffer
	file.header(&out)
	out.WriteString("#include \"funcdata.h\"\n#include \"textflag.h\"\n")
	data := newPool()
	for _, f := range file.functions() {
		out.WriteByte('\n')
		f.writeTo(&out)
		data.merge(f.data)
	}
	data.writeTo(&out)
	return out.Bytes()
}

func (file *File) header(out *bytes.Buffer) {
	fmt.Fprintf(out, "// Code generated by internal/asmgen. DO NOT EDIT.\n\n//go:build %s\n\n", file.Build)
}
