package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, errOut strings.Builder
	code = command(args, &out, &errOut)
	return code, out.String(), errOut.String()
}

// TestShow: the program has the same tokens with any number of workers, and as many lines with any
// type of cache.
func TestShow(t *testing.T) {
	rates := regexp.MustCompile(`\d+ tokens/s`)
	var first string
	for _, args := range [][]string{{}, {"-workers", "1"}, {"-workers", "3"}, {"-kv", "int8"}, {"-kv", "q8_0"}, {"-seed", "2"}, {"-tokens", "40"}} {
		code, stdout, stderr := run(append([]string{"-tokens", "16"}, args...)...)
		stdout = rates.ReplaceAllString(stdout, "tokens/s")
		if first == "" {
			first = stdout
		}
		same := len(args) == 0 || args[0] == "-workers"
		if code != exitOK || stderr != "" || (stdout == first) != same || strings.Count(stdout, "\n") != strings.Count(first, "\n") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

func TestFile(t *testing.T) {
	const width, ffn, layers, heads, kvHeads, vocab, context = 8, 12, 2, 2, 1, 9, 40
	const weights = vocab*width + layers*width*(2+2*width+2*width*kvHeads/heads+3*ffn) + width + context*width/heads
	var b bytes.Buffer
	for _, n := range []int32{width, ffn, layers, heads, kvHeads, vocab, context} {
		if err := binary.Write(&b, binary.LittleEndian, n); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(make([]byte, 4*weights))
	name := filepath.Join(t.TempDir(), "model.bin")
	for _, c := range []struct {
		data     []byte
		code     int
		out, err string
	}{
		{b.Bytes(), exitOK, "2 layers, 8 wide, 2 heads over 1, FFN 12, vocabulary 9", ""},
		{b.Bytes()[:99], exitFailed, "", "the file has 99 bytes, its header says"},
		{append(bytes.Clone(b.Bytes()[:24]), 31, 0, 0, 0), exitFailed, "", "its header says"},
	} {
		if err := os.WriteFile(name, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := run("-bin", name); code != c.code || !strings.Contains(stdout, c.out) || !strings.Contains(stderr, c.err) || (stderr == "") != (c.err == "") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-kv", "int4"}, exitUsage, "llama: invalid value \"int4\" for flag -kv: no such type\n"},
		{[]string{"-tokens", "3"}, exitUsage, "llama: -tokens is 3, at least 8 are needed\n"},
		{[]string{"x"}, exitUsage, "llama: unexpected \"x\"; try -h\n"},
		{[]string{"-workers", "-1"}, exitFailed, "llama: workers is -1, at least 0 is needed\n"},
	} {
		if code, stdout, stderr := run(c.args...); code != c.code || stdout != "" || stderr != c.want {
			t.Errorf("%v: exit code %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := run("-h"); code != exitOK || !strings.Contains(stdout, "bfloat16, int8, q8_0") || stderr != "" {
		t.Errorf("-h: exit code %d\n%s%s", code, stdout, stderr)
	}
}
