package asmgen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

// A word is an instruction of A64 and what its comment says that it is.
type word struct {
	bits uint32
	text string
}

var wordLine = regexp.MustCompile(`^\s*WORD \$0x([0-9a-f]{8}) // (.*)$`)

// parseWord returns the word of a line that is one.
func parseWord(t *testing.T, line string) (w word, ok bool) {
	t.Helper()
	m := wordLine.FindStringSubmatch(line)
	if m == nil {
		if strings.Contains(line, "WORD") {
			t.Fatalf("%q has no word and comment", line)
		}
		return word{}, false
	}
	bits, err := strconv.ParseUint(m[1], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return word{uint32(bits), m[2]}, true
}

// words returns every word that the generator writes, and every encoding with random
// operands, each once.
func words(t *testing.T) []word {
	t.Helper()
	var all []word
	for _, file := range Files {
		for line := range strings.Lines(string(file.Assembly())) {
			if w, ok := parseWord(t, strings.TrimRight(line, "\n")); ok {
				all = append(all, w)
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("the generator writes no word")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for op, e := range encodings {
		for range 100 {
			w, ok := parseWord(t, a64(op, e.operands(r)))
			if !ok {
				t.Fatalf("%s is no word", op)
			}
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b word) int { return strings.Compare(a.text, b.text) })
	return slices.Compact(all)
}

// operands returns random operands.
func (e encoding) operands(r *rand.Rand) []any {
	reg := func() any { return Vec(fmt.Sprint("V", r.IntN(32))) }
	switch e.form {
	case shiftS4:
		return []any{1 + r.IntN(32), reg(), reg()}
	case widen:
		return []any{reg(), reg()}
	case byHalf:
		return []any{Vec(fmt.Sprint("V", r.IntN(16))), reg(), reg()}
	}
	return []any{reg(), reg(), reg()}
}

// later are mnemonics that arm64asm does not know, of Armv8.2 and on. TestLaterWords and TestWordsObjdump have
// them.
var later = regexp.MustCompile(`^sdot `)

// TestWords disassembles every word and compares it with its comment.
func TestWords(t *testing.T) {
	for _, w := range words(t) {
		inst, err := arm64asm.Decode(binary.LittleEndian.AppendUint32(nil, w.bits))
		if later.MatchString(w.text) {
			if err == nil {
				t.Errorf("%#08x // %s: arm64asm knows it", w.bits, w.text)
			}
		} else if err != nil {
			t.Errorf("%#08x // %s: %v", w.bits, w.text, err)
		} else if got := arm64asm.GNUSyntax(inst); got != w.text {
			t.Errorf("%#08x // %s: disassembles to %s", w.bits, w.text, got)
		}
	}
}

// TestLaterWords compares words with what the assembler of binutils makes of their comments.
func TestLaterWords(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []struct {
		op       string
		operands []any
		want     word
	}{
		{"SDOT.B[0]", []any{Vec("V2"), Vec("V1"), Vec("V0")}, word{0x4f82e020, "sdot v0.4s, v1.16b, v2.4b[0]"}},
		{"SDOT.B[1]", []any{Vec("V5"), Vec("V4"), Vec("V3")}, word{0x4fa5e083, "sdot v3.4s, v4.16b, v5.4b[1]"}},
		{"SDOT.B[2]", []any{Vec("V15"), Vec("V30"), Vec("V31")}, word{0x4f8febdf, "sdot v31.4s, v30.16b, v15.4b[2]"}},
		{"SDOT.B[3]", []any{Vec("V29"), Vec("V20"), Vec("V10")}, word{0x4fbdea8a, "sdot v10.4s, v20.16b, v29.4b[3]"}},
		{"SDOT.S4", []any{Vec("V3"), Vec("V2"), Vec("V1")}, word{0x4e839441, "sdot v1.4s, v2.16b, v3.16b"}},
	} {
		seen[c.op] = true
		if w, ok := parseWord(t, a64(c.op, c.operands)); !ok || w != c.want {
			t.Errorf("%s: %#08x // %s, want %#08x // %s", c.op, w.bits, w.text, c.want.bits, c.want.text)
		}
	}
	for op, e := range encodings {
		if later.MatchString(e.text) && !seen[op] {
			t.Errorf("%s has no word", op)
		}
	}
}

// TestWordsObjdump is TestWords with binutils.
func TestWordsObjdump(t *testing.T) {
	const objdump = "aarch64-linux-gnu-objdump"
	all := words(t)
	var code []byte
	for _, w := range all {
		code = binary.LittleEndian.AppendUint32(code, w.bits)
	}
	path := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(path, code, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "aarch64", path).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("no %s (Debian: binutils-aarch64-linux-gnu)", objdump)
	} else if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := regexp.MustCompile(`(?m)^ *[0-9a-f]+:\t([0-9a-f]{8}) \t(.*)$`).FindAllStringSubmatch(string(out), -1)
	if len(lines) != len(all) {
		t.Fatalf("%d lines for %d words", len(lines), len(all))
	}
	for i, w := range all {
		if got := strings.Join(strings.Fields(lines[i][2]), " "); got != w.text {
			t.Errorf("%#08x // %s: disassembles to %s", w.bits, w.text, got)
		}
	}
}

// known are instructions that the assembler knows, of every form that it has one of:
// by element it has none.
var known = map[string]encoding{
	"VFMLA.S4":  {threeSame, 0x4e20cc00, ""},
	"VFMLS.S4":  {threeSame, 0x4ea0cc00, ""},
	"VADD.S4":   {threeSame, 0x4ea08400, ""},
	"VCMTST.S4": {threeSame, 0x4ea08c00, ""},
	"VEOR.B16":  {threeSame, 0x6e201c00, ""},
	"VUSHR.S4":  {shiftS4, 0x6f000400, ""},
}

// TestForms encodes instructions that the assembler knows, and compares.
func TestForms(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var code strings.Builder
	var want []uint32
	var lines []string
	code.WriteString("TEXT ·f(SB), 4, $0-0\n")
	for op, e := range known {
		for range 50 {
			operands := e.operands(r)
			w, _ := parseWord(t, e.word(operands)+"none")
			want = append(want, w.bits)
			lines = append(lines, a64(op, operands))
			fmt.Fprintf(&code, "\t%s\n", lines[len(lines)-1])
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "f.s")
	if err := os.WriteFile(path, []byte(code.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "tool", "asm", "-S", "-p", "f", "-o", filepath.Join(dir, "f.o"), path)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no go command")
	} else if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The bytes of a symbol stand below its name, in lines that begin with a tab.
	_, text, _ := strings.Cut(string(out), "f.f STEXT")
	if end := regexp.MustCompile(`(?m)^\S`).FindStringIndex(text); end != nil {
		text = text[:end[0]]
	}
	var got []byte
	for _, m := range regexp.MustCompile(`(?m)^\t0x[0-9a-f]+((?: [0-9a-f]{2}){1,16})  `).FindAllStringSubmatch(text, -1) {
		for _, x := range strings.Fields(m[1]) {
			b, err := strconv.ParseUint(x, 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, byte(b))
		}
	}
	if len(got) < 4*len(want) {
		t.Fatalf("%d bytes for %d instructions:\n%s", len(got), len(want), out)
	}
	for i, w := range want {
		if g := binary.LittleEndian.Uint32(got[4*i:]); g != w {
			t.Fatalf("%s: %#08x, the assembler says %#08x", lines[i], w, g)
		}
	}
}
