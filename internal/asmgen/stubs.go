package asmgen

import (
	"bytes"
	"fmt"
	"go/format"
	"reflect"
	"strings"
	"unicode"

	"github.com/qkv-go/qkv/kernel"
)

// Set returns the numbers of the kernel set of the Arch, without its functions.
func (arch *Arch) Set() kernel.Set {
	vecs := arch.MaxVectors()
	return kernel.Set{
		Name:        strings.ToLower(arch.Name),
		Base:        arch.base(),
		Needs:       arch.Needs,
		OnlyNamed:   arch.OnlyNamed,
		Vec:         arch.Lanes,
		Lanes:       vecs * arch.Lanes,
		Rows:        arch.Rows[vecs-1],
		DecodeRows:  arch.DecodeRows,
		DecodeDims:  arch.decodeDims(),
		Turn:        arch.Turn,
		TurnFar:     arch.TurnFar,
		FewRows:     arch.fewRows(),
		Fuses:       true,
		PeakFLOPs:   2 * arch.Lanes * peakFMAs,
		PeakInt8Ops: arch.peakInt8Ops(),
		Paired:      hasDotPairs(arch), PeakBFloat16FLOPs: arch.peakBFloat16FLOPs(),
		Int8Halves: arch.int8Halves(), AnyValues: arch.Lookup != nil, BrainRows: arch.brainRows(), WholePanels: hasDot4(arch), SpreadsLanes: arch.spreadsLanes(), SpreadsBlocks: arch.spreadsBlocks(), StripLanes: arch.stripVectors() * arch.Lanes,
	}
}

// decodeDims is what the dims of DecodeAccumulate are a multiple of.
func (arch *Arch) decodeDims() int {
	if arch.Narrow != nil {
		return arch.Narrow.Lanes
	}
	return arch.Lanes
}

// base names the set whose functions the set of the Arch has but for those of classes, if there is one.
func (arch *Arch) base() string {
	if arch.Base == nil {
		return ""
	}
	for arch.Base != nil {
		arch = arch.Base
	}
	return strings.ToLower(arch.Name)
}

// variable names the kernel set of the Arch at the root.
func (arch *Arch) variable() string { return strings.ToLower(arch.Name) + "Set" }

// Go returns the contents of the file of Go code: archSets, the sets, and a stub of each
// function.
func (file *File) Go() []byte {
	var body bytes.Buffer
	var names []string
	for _, arch := range append(file.Sets, file.Chains...) {
		names = append(names, arch.variable())
	}
	fmt.Fprintf(&body, "\n// archSets returns the kernel sets in machine code, best first.\n"+
		"func archSets() []*kernel.Set { return []*kernel.Set{%s} }\n", strings.Join(names, ", "))
	for _, arch := range file.Sets {
		arch.writeSet(&body)
	}
	for _, arch := range file.Sets {
		for _, e := range emitters {
			if arch.owns(&e) {
				f := e.emit(arch)
				f.writeStub(&body, e.about(f))
			}
		}
	}
	for _, arch := range file.Chains {
		for _, e := range chainEmitters {
			e.emit(arch).writeStub(&body, e.doc)
		}
	}

	var out bytes.Buffer
	file.header(&out)
	out.WriteString("package qkv\n\nimport (\n")
	if bytes.Contains(body.Bytes(), []byte("unsafe.")) {
		out.WriteString("\"unsafe\"\n\n")
	}
	out.WriteString("\"github.com/qkv-go/qkv/kernel\"\n")
	if bytes.Contains(body.Bytes(), []byte("*fp.")) {
		out.WriteString("\"github.com/qkv-go/qkv/kernel/fp\"\n")
	}
	out.WriteString(")\n")
	out.Write(body.Bytes())
	src, err := format.Source(out.Bytes())
	if err != nil {
		panic(fmt.Sprintf("asmgen: %s.go: %v", file.Name, err))
	}
	return src
}

// writeSet writes the variable of a kernel set.
func (arch *Arch) writeSet(out *bytes.Buffer) {
	set := arch.Set()
	vecs := arch.MaxVectors()
	fmt.Fprintf(out, "\n// %s works on up to %d lanes in %d vectors. A micro-tile of all has %d accumulators.\n",
		arch.variable(), set.Lanes, vecs, vecs*set.Rows)
	var needs []string
	for _, name := range set.Needs.Names() {
		needs = append(needs, "kernel."+strings.ToUpper(name))
	}
	fmt.Fprintf(out, "var %s = kernel.Set{\nName: %q,\n", arch.variable(), set.Name)
	if set.Base != "" {
		fmt.Fprintf(out, "Base: %q,\n", set.Base)
	}
	fmt.Fprintf(out, "Needs: %s,\n", strings.Join(needs, "|"))
	if set.OnlyNamed {
		out.WriteString("OnlyNamed: true,\n")
	}
	for _, n := range []struct {
		field string
		value any
	}{
		{"Vec", set.Vec}, {"Lanes", set.Lanes}, {"Rows", set.Rows}, {"DecodeRows", set.DecodeRows}, {"DecodeDims", set.DecodeDims},
		{"Turn", set.Turn}, {"TurnFar", set.TurnFar}, {"FewRows", set.FewRows}, {"Fuses", set.Fuses}, {"PeakFLOPs", set.PeakFLOPs},
		{"PeakInt8Ops", set.PeakInt8Ops}, {"Paired", set.Paired}, {"PeakBFloat16FLOPs", set.PeakBFloat16FLOPs},
		{"Int8Halves", set.Int8Halves}, {"AnyValues", set.AnyValues}, {"BrainRows", set.BrainRows}, {"WholePanels", set.WholePanels}, {"SpreadsLanes", set.SpreadsLanes}, {"SpreadsBlocks", set.SpreadsBlocks}, {"StripLanes", set.StripLanes},
	} {
		if !reflect.ValueOf(n.value).IsZero() {
			fmt.Fprintf(out, "%s: %v, ", n.field, n.value)
		}
	}
	out.WriteString("\n}.With(kernel.Funcs{\n")
	for _, e := range emitters {
		switch owner := arch.owner(&e); {
		case owner == nil:
			fmt.Fprintf(out, "%s: %sGeneric,\n", e.field, unexported(e.field))
		case e.where != "":
			fmt.Fprintf(out, "%s: %sWith(%s),\n", e.field, unexported(e.field), e.emit(owner).name)
		case e.narrow && arch.Narrow != nil:
			fmt.Fprintf(out, "%s: %sBy(%s, %d, %s, %d),\n", e.field, unexported(e.field), e.emit(owner).name, arch.Lanes, e.emit(arch.Narrow).name, arch.Narrow.DecodeRows)
		default:
			fmt.Fprintf(out, "%s: %s,\n", e.field, e.emit(owner).name)
		}
	}
	out.WriteString("})\n")
}

func unexported(field string) string {
	return string(unicode.ToLower(rune(field[0]))) + field[1:]
}

// about says what a function of the emitter does.
func (e *emitter) about(f *Func) string {
	if e.doc != "" {
		return e.doc
	}
	about := "is " + strings.TrimSuffix(f.name, f.Arch.Name) + "Generic"
	if e.where != "" {
		about += " where " + e.where
	}
	return about
}

// writeStub writes the Go declaration of the function. No function keeps a pointer.
func (f *Func) writeStub(out *bytes.Buffer, about string) {
	fmt.Fprintf(out, "\n// %s %s.\n", f.name, about)
	if strings.ContainsAny(f.decl, "*.") {
		out.WriteString("//\n//go:noescape\n")
	}
	fmt.Fprintf(out, "func %s%s\n", f.name, f.decl)
}
