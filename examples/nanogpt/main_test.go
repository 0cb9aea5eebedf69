package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/internal/shareddata"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, errOut strings.Builder
	code = command(args, &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestSort(t *testing.T) {
	modelFile := shareddata.Path(t, "nano-gpt", "gpt-nano-sort-model.json")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"CBABBC"}, "ABBBCC\n"},
		{[]string{"CBABBC", "-kernel", "generic", "CCCAAA"}, "ABBBCC\nAAACCC\n"},
		{[]string{"CBABBC", "-v"}, `seen                A        B        C   next
CBABBC        99.998%   0.001%   0.001%   A
CBABBC A       0.004%  99.995%   0.002%   B
CBABBC AB      0.001%  99.996%   0.003%   B
CBABBC ABB     0.000%  99.982%   0.018%   B
CBABBC ABBB    0.001%   0.002%  99.996%   C
CBABBC ABBBC   0.001%   0.003%  99.996%   C

ABBBCC
`},
	} {
		code, stdout, stderr := run(append([]string{"-model", modelFile}, c.args...)...)
		if code != exitOK || stdout != c.want || stderr != "" {
			t.Errorf("%v: exit code %d\n%s%swant\n%s", c.args, code, stdout, stderr, c.want)
		}
	}
	for _, c := range []struct{ word, want string }{
		{"ABC", "nanogpt: \"ABC\" has 3 letters, the model sorts 6\n"},
		{"ABCABD", "nanogpt: \"ABCABD\" has 'D', the model knows A to C\n"},
		{"", "nanogpt: \"\" has 0 letters, the model sorts 6\n"},
	} {
		if code, stdout, stderr := run("-model", modelFile, c.word); code != exitFailed || stdout != "" || stderr != c.want {
			t.Errorf("%q: exit code %d\n%s%swant\n%s", c.word, code, stdout, stderr, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.json")
	for _, c := range []struct {
		args []string
		code int
		want string // begins what is printed
	}{
		{nil, exitUsage, "nanogpt: no -model; try -h\n"},
		{[]string{"-model", none}, exitUsage, "nanogpt: no letters; try -h\n"},
		{[]string{"-x"}, exitUsage, "nanogpt: flag provided but not defined: -x\n"},
		{[]string{"-model", none, "ABCABC"}, exitFailed, "nanogpt: open " + none},
		{[]string{"-model", "main.go", "ABCABC"}, exitFailed, "nanogpt: main.go: gpt: checkpoint is not JSON of tensors: invalid character '/'"},
		{[]string{"-model", none, "-kernel", "abacus", "ABCABC"}, exitFailed, `nanogpt: qkv: unknown kernel set "abacus"; this machine can run `},
	} {
		if code, stdout, stderr := run(c.args...); code != c.code || stdout != "" || !strings.HasPrefix(stderr, c.want) {
			t.Errorf("%q: exit code %d\n%s%swant %d\n%s", c.args, code, stdout, stderr, c.code, c.want)
		}
	}
	if code, stdout, stderr := run("-h"); code != exitOK || !strings.HasPrefix(stdout, "usage: nanogpt ") || stderr != "" {
		t.Errorf("-h: exit code %d\n%s%s", code, stdout, stderr)
	}
}
