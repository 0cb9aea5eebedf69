package asmgen

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	byteLine   = regexp.MustCompile(`^\s*(BYTE \$0x[0-9a-f]{2}(?:; BYTE \$0x[0-9a-f]{2})*) // (.*)$`)
	byteNumber = regexp.MustCompile(`0x[0-9a-f]{2}`)
)

// TestBytesObjdump disassembles with binutils every instruction that the generator writes as bytes, and each
// with random operands, and compares it with its comment.
func TestBytesObjdump(t *testing.T) {
	const objdump = "objdump"
	if out, err := exec.Command(objdump, "--info").Output(); err != nil || !strings.Contains(string(out), "i386") {
		t.Skipf("no %s for amd64", objdump)
	}
	var lines []string
	for _, file := range Files {
		for line := range strings.Lines(string(file.Assembly())) {
			if strings.Contains(line, "BYTE $") {
				lines = append(lines, line)
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		lines = append(lines, vexDot(r.IntN(16), r.IntN(16), r.IntN(16)), evexDot(r.IntN(32), r.IntN(32), r.IntN(32)),
			evexBrain(r.IntN(32), r.IntN(32)))
		base := func() Int { return avx512amx.Ints[r.IntN(len(avx512amx.Ints))] }
		tiles := r.Perm(8) // the operands of a product differ
		tile := func() Vec { return tileName(r.IntN(8)) }
		disp := []int{0, r.IntN(256) - 128, r.IntN(1<<20) - 1<<19}[r.IntN(3)]
		for _, x := range []struct {
			op       string
			operands []any
		}{
			{"LDTILECFG", []any{base()}}, {"TILERELEASE", nil}, {"TILEZERO", []any{tile()}}, {"TDPBSSD", []any{tileName(tiles[0]), tileName(tiles[1]), tileName(tiles[2])}},
			{"TILELOADD", []any{base(), base(), disp, tile()}}, {"TILESTORED", []any{tile(), base(), base(), disp}},
		} {
			lines = append(lines, tileInstr(x.op, x.operands))
		}
	}
	var code []byte
	var want []string
	for _, line := range lines {
		m := byteLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			t.Fatalf("%q is not bytes and a comment", line)
		}
		for _, b := range byteNumber.FindAllString(m[1], -1) {
			n, err := strconv.ParseUint(b, 0, 8)
			if err != nil {
				t.Fatal(err)
			}
			code = append(code, byte(n))
		}
		want = append(want, strings.ReplaceAll(m[2], ", ", ","))
	}
	path := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(path, code, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--no-show-raw-insn", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		if address, text, ok := strings.Cut(line, ":\t"); ok {
			if _, err := strconv.ParseUint(strings.TrimSpace(address), 16, 32); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			got = append(got, strings.Join(strings.Fields(strings.Replace(text, "{vex} ", "", 1)), " "))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d instructions are disassembled, %d were written", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: disassembles to %s", fmt.Sprint(lines[i]), got[i])
		}
	}
}
