package asmgen

import (
	"bytes"
	"fmt"
	"math/bits"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv/kernel"
)

// Vec and Int are registers.
type (
	Vec string
	Int string
)

// A Func is an assembly function being written.
type Func struct {
	*Arch
	name    string
	decl    string // Go declaration after the name
	frame   int    // bytes of arguments and results
	locals  int    // bytes of local variables, without pointers
	formula string
	args    reflect.Type // struct that the first integer register points to
	notes   []string     // register map
	freeInt []Int
	body    bytes.Buffer
	data    *pool
	labels  map[string]int // how often unique has returned each
}

// newFunc begins a function that takes a pointer to args.
func newFunc(arch *Arch, name string, args reflect.Type, formula string) *Func {
	if reflect.TypeFor[uintptr]().Size() != 8 {
		panic("asmgen: offsets are those of a 64-bit machine; run it on one")
	}
	decl := fmt.Sprintf("(a *kernel.%s)", args.Name())
	f := newProbe(arch, name, decl, 8, formula)
	f.args = args
	f.Op(f.Mov, "a+0(FP)", f.int("arguments"))
	return f
}

// newProbe begins a function with another signature.
func newProbe(arch *Arch, name, decl string, frame int, formula string) *Func {
	return &Func{
		Arch:    arch,
		name:    name + arch.Name,
		decl:    decl,
		frame:   frame,
		formula: formula,
		freeInt: arch.Ints,
		data:    newPool(),
	}
}

// Op writes an instruction. Operands are registers, addresses or immediates
// (int).
func (f *Func) Op(op string, operands ...any) {
	line := ""
	if f.Instr != nil {
		line = f.Instr(op, operands)
	}
	if line == "" {
		line = instr(op, operands)
	}
	fmt.Fprintf(&f.body, "\t%s\n", line)
}

// instr returns an instruction in the assembler's syntax.
func instr(op string, operands []any) string {
	var line strings.Builder
	line.WriteString(op)
	for i, x := range operands {
		if i == 0 {
			line.WriteByte(' ')
		} else {
			line.WriteString(", ")
		}
		if n, ok := x.(int); ok {
			line.WriteString(imm(n))
		} else {
			fmt.Fprint(&line, x)
		}
	}
	return line.String()
}

// note adds a comment to the line just written.
func (f *Func) note(format string, args ...any) {
	f.body.Truncate(f.body.Len() - 1)
	fmt.Fprintf(&f.body, " // "+format+"\n", args...)
}

// Comment writes a comment on a line of its own.
func (f *Func) Comment(format string, args ...any) {
	fmt.Fprintf(&f.body, "\n\t// "+format+"\n", args...)
}

// Label writes a label.
func (f *Func) Label(name string) {
	fmt.Fprintf(&f.body, "\n%s:\n", name)
}

// unique returns a label, with a number from the second time on.
func (f *Func) unique(label string) string {
	if f.labels == nil {
		f.labels = map[string]int{}
	}
	f.labels[label]++
	if n := f.labels[label]; n > 1 {
		return fmt.Sprintf("%s_%d", label, n)
	}
	return label
}

// Loop writes a label that is jumped to often. No label that a jump forward leads to may
// stand just before it: where that jump is longer than 127 bytes, Go's assembler for amd64 does
// not come to an end.
func (f *Func) Loop(name string) {
	for _, label := range f.lastLabels() {
		if f.jumpsTo(label) {
			panic(fmt.Sprintf("asmgen: %s: a jump forward leads to %s, just before the loop %s: "+
				"Go's assembler would not come to an end; put an instruction between them", f.name, label, name))
		}
	}
	f.Op("PCALIGN", 32)
	f.Label(name)
}

// lastLabels returns the labels that stand behind the last instruction.
func (f *Func) lastLabels() []string {
	var labels []string
	for _, line := range slices.Backward(strings.Split(f.body.String(), "\n")) {
		label, ok := strings.CutSuffix(line, ":")
		switch {
		case ok:
			labels = append(labels, label)
		case line != "" && !strings.HasPrefix(line, "\t//"):
			return labels
		}
	}
	return labels
}

// jumpsTo reports whether an instruction written so far has the label as its last operand.
func (f *Func) jumpsTo(label string) bool {
	for line := range strings.Lines(f.body.String()) {
		instr, _, _ := strings.Cut(strings.TrimSpace(line), " //")
		if fields := strings.Fields(instr); len(fields) > 1 && fields[len(fields)-1] == label {
			return true
		}
	}
	return false
}

// Jump writes a jump.
func (f *Func) Jump(label string) { f.Op("JMP", label) }

// Countdown writes r--, and a jump to label unless that gave 0.
func (f *Func) Countdown(r Int, label string) {
	f.Count(f, r)
	f.Again(f, label)
}

// byLanes writes body for each number of vectors in a row of lanes, below a choice by
// a.Lanes, which n holds for it.
func (f *Func) byLanes(n Int, body func(vecs int)) {
	name := func(vecs int) string { return fmt.Sprintf("lanes%d", vecs*f.Lanes) }
	f.load("Lanes", n)
	for vecs := f.MaxVectors() - 1; vecs > 0; vecs-- {
		f.Branch(f, n, "EQ", imm(vecs*f.Lanes), name(vecs))
	}
	for vecs := f.MaxVectors(); vecs > 0; vecs-- {
		f.Label(name(vecs))
		body(vecs)
	}
}

// byElem writes body for each element type, below a choice by a.Elem, which n holds for it.
func (f *Func) byElem(n Int, body func(e kernel.Elem)) { f.byElemAs(kernel.Elems(), "", n, body) }

// directElems returns the element types that decoding reads, float32 first.
func directElems() (direct []kernel.Elem) {
	for _, e := range kernel.Elems() {
		if e.Direct() {
			direct = append(direct, e)
		}
	}
	return direct
}

// byElemThen is byElemAs whose bodies all go on behind the last one, at a label.
func (f *Func) byElemThen(elems []kernel.Elem, n Int, label string, body func(e kernel.Elem)) {
	f.byElemAs(elems, "", n, func(e kernel.Elem) {
		body(e)
		if e != elems[len(elems)-1] {
			f.Jump(label)
		}
	})
	f.Label(label)
}

// byElemAs is byElem of some types, float32 first, with a prefix of its labels.
func (f *Func) byElemAs(elems []kernel.Elem, prefix string, n Int, body func(e kernel.Elem)) {
	f.load("Elem", n)
	for _, e := range elems[1:] {
		f.Branch(f, n, "EQ", imm(int(e)), prefix+e.String())
	}
	for _, e := range elems {
		f.Label(prefix + e.String())
		body(e)
	}
}

// arg returns the address of a field of the arguments, or of a field of a struct
// there: "Ahead.Rows".
func (f *Func) arg(name string) string {
	t, offset := f.args, uintptr(0)
	for part := range strings.SplitSeq(name, ".") {
		field, ok := t.FieldByName(part)
		if !ok {
			panic(fmt.Sprintf("asmgen: %s has no field %s", t, part))
		}
		t, offset = field.Type, offset+field.Offset
	}
	return mem(f.Ints[0], int(offset))
}

// load loads a field of the arguments.
func (f *Func) load(name string, dst Int) {
	f.Op(f.Mov, f.arg(name), dst)
	f.note("a.%s", name)
}

// keep copies a field of the arguments into local memory.
func (f *Func) keep(name string, tmp, local Int, at int) {
	f.load(name, tmp)
	f.Op(f.Mov, tmp, mem(local, at))
}

// save stores into a field of the arguments.
func (f *Func) save(src Int, name string) {
	f.Op(f.Mov, src, f.arg(name))
	f.note("a.%s", name)
}

// loadBytes loads a field that counts float32 values, as bytes.
func (f *Func) loadBytes(name string, dst Int) {
	f.load(name, dst)
	f.Op(f.Shl, 2, dst)
}

// times multiplies r by a power of two.
func (f *Func) times(n int, r Int) {
	if shift := bits.Len(uint(n)) - 1; shift > 0 {
		f.Op(f.Shl, shift, r)
	}
}

// int reserves an integer register for a purpose.
func (f *Func) int(use string) Int {
	if len(f.freeInt) == 0 {
		panic("asmgen: " + f.name + " needs too many integer registers")
	}
	r := f.freeInt[0]
	f.freeInt = f.freeInt[1:]
	f.notes = append(f.notes, fmt.Sprintf("%s %s", r, use))
	return r
}

// ints reserves n integer registers for a purpose.
func (f *Func) ints(n int, use string) []Int {
	r := []Int{f.int(use)}
	for range n - 1 {
		r = append(r, f.freeInt[0])
		f.freeInt = f.freeInt[1:]
	}
	f.notes[len(f.notes)-1] = fmt.Sprintf("%s..%s %s", r[0], r[n-1], use)
	return r
}

// words reserves integer registers for purposes, or, where there are none left, words at the beginning of local
// memory, which amd64 takes in the place of a register.
func (f *Func) words(words []*Int, uses []string) {
	for i, w := range words {
		if len(f.freeInt) > 0 {
			*w = f.int(uses[i])
			continue
		}
		*w = Int(fmt.Sprintf("%d(SP)", 8*i))
		f.notes = append(f.notes, fmt.Sprintf("%s %s", *w, uses[i]))
		f.locals = max(f.locals, 8*len(words))
	}
}

// mask notes the use of mask registers, once.
func (f *Func) mask(use string) {
	if !slices.Contains(f.notes, use) {
		f.notes = append(f.notes, use)
	}
}

// A vecMap shares out the vector registers of a part of a function.
type vecMap struct {
	f    *Func
	free []Vec
	line int
}

// vectors begins a new map of all vector registers.
func (f *Func) vectors(part string) *vecMap {
	f.notes = append(f.notes, part)
	return &vecMap{f: f, free: f.Vectors, line: len(f.notes) - 1}
}

// take reserves n vector registers for a purpose.
func (m *vecMap) take(n int, use string) []Vec {
	if n > len(m.free) {
		panic(fmt.Sprintf("asmgen: %s needs %d vector registers for %s and has %d",
			m.f.name, n, use, len(m.free)))
	}
	r := slices.Clone(m.free[:n])
	m.free = m.free[n:]
	switch n {
	case 0:
		return nil
	case 1:
		m.f.notes[m.line] += fmt.Sprintf(" %s %s;", r[0], use)
	default:
		m.f.notes[m.line] += fmt.Sprintf(" %s..%s %s;", r[0], r[n-1], use)
	}
	return r
}

// one reserves a vector register for a purpose.
func (m *vecMap) one(use string) Vec { return m.take(1, use)[0] }

// constant loads a constant into a register that is left over, or else returns the
// address of it.
func (m *vecMap) constant(x float32, use string) string {
	addr := m.f.constant(x)
	if len(m.free) == 0 {
		if !m.f.MemoryOperands {
			panic("asmgen: no register for " + use)
		}
		return addr
	}
	v := m.one(use)
	m.f.Broadcast(m.f, addr, v)
	return string(v)
}

func mem(base Int, off int) string {
	if off == 0 {
		return fmt.Sprintf("(%s)", base)
	}
	return fmt.Sprintf("%d(%s)", off, base)
}

func imm(n int) string { return "$" + strconv.Itoa(n) }

// writeTo writes the function with its heading.
func (f *Func) writeTo(out *bytes.Buffer) {
	fmt.Fprintf(out, "// func %s%s\n//\n", f.name, f.decl)
	for line := range strings.Lines(strings.TrimSpace(f.formula)) {
		fmt.Fprintf(out, "//\t%s\n", strings.TrimRight(line, "\n"))
	}
	needs := f.Needs.String()
	if f.Needs == 0 {
		needs = "nothing"
	}
	fmt.Fprintf(out, "//\n// Needs: %s.\n// Registers:\n//\n", needs)
	for _, n := range f.notes {
		fmt.Fprintf(out, "//\t%s\n", strings.TrimSuffix(n, ";"))
	}
	if f.locals == 0 {
		fmt.Fprintf(out, "TEXT ·%s(SB), NOSPLIT, $0-%d\n", f.name, f.frame)
	} else {
		fmt.Fprintf(out, "TEXT ·%s(SB), 0, $%d-%d\n", f.name, f.locals, f.frame)
		out.WriteString("\tNO_LOCAL_POINTERS\n")
	}
	out.Write(f.body.Bytes())
}
