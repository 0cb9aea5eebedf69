package asmgen

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// A pool is the read-only data of a file, by symbol.
type pool struct {
	words map[string][]uint32
	notes map[string]string
}

func newPool() *pool {
	return &pool{words: map[string][]uint32{}, notes: map[string]string{}}
}

// constWords is the number of copies of a constant: the widest vector that is a
// memory operand.
const constWords = 8

// negZero is -0.
var negZero = float32(math.Copysign(0, -1))

// constant returns the address of a vector of copies of x.
func (f *Func) constant(x float32) string {
	bits := math.Float32bits(x)
	words := make([]uint32, constWords)
	for i := range words {
		words[i] = bits
	}
	name := f.symbol(fmt.Sprintf("const%08x", bits), words...)
	f.data.notes[name] = fmt.Sprint(x)
	return name + "(SB)"
}

// inMemory tells the address of a constant from a register.
func inMemory(constant string) bool { return strings.HasSuffix(constant, "(SB)") }

// symbol adds a symbol and returns its name.
func (f *Func) symbol(name string, words ...uint32) string {
	name += "<>"
	if len(words)%2 != 0 {
		words = append(words, 0)
	}
	f.data.words[name] = words
	return name
}

func (p *pool) merge(q *pool) {
	for name, words := range q.words {
		if old, ok := p.words[name]; ok && !slices.Equal(old, words) {
			panic("asmgen: two contents of " + name)
		}
	}
	maps.Copy(p.words, q.words)
	maps.Copy(p.notes, q.notes)
}

func (p *pool) writeTo(out *bytes.Buffer) {
	for _, name := range slices.Sorted(maps.Keys(p.words)) {
		out.WriteByte('\n')
		if n := p.notes[name]; n != "" {
			fmt.Fprintf(out, "// %s\n", n)
		}
		words := p.words[name]
		for i := 0; i < len(words); i += 2 {
			if w := uint64(words[i+1])<<32 | uint64(words[i]); w != 0 { // the rest of a symbol is 0
				fmt.Fprintf(out, "DATA %s+%d(SB)/8, $0x%016x\n", name, 4*i, w)
			}
		}
		fmt.Fprintf(out, "GLOBL %s(SB), RODATA|NOPTR, $%d\n", name, 4*len(words))
	}
}
