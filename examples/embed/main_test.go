package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/examples/internal/models"
)

func embed(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errOut strings.Builder
	code = command(args, strings.NewReader(stdin), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"-h"}, exitOK, "usage: embed", ""},
		{[]string{"-x"}, exitUsage, "", "embed: flag provided but not defined: -x"},
		{[]string{"-workers", "-1", "a"}, exitFailed, "", "embed: workers is -1, at least 0 is needed"},
		{[]string{"-model", "nowhere", "a"}, exitFailed, "", "embed: nowhere: "},
	} {
		code, stdout, stderr := embed("", c.args...)
		if code != c.code || !strings.HasPrefix(stdout, c.stdout) || !strings.HasPrefix(stderr, c.stderr) || (c.stderr == "") != (stderr == "") {
			t.Errorf("%v: exit code %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
}

// TestModel: sentences of one meaning are near each other, from arguments and from standard input.
func TestModel(t *testing.T) {
	model := []string{"-model", filepath.Dir(models.Path(t, models.MiniLM))}
	sentences := []string{"A man is eating.", "Someone has a meal.", "The sky is blue."}
	want := "  1.000  0.714 -0.010  A man is eating.\n  0.714  1.000  0.126  Someone has a meal.\n -0.010  0.126  1.000  The sky is blue.\n"
	code, stdout, stderr := embed("", append(model, sentences...)...)
	if code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if _, stdout, _ := embed(strings.Join(sentences, "\n"), model...); stdout != want {
		t.Errorf("by standard input\n%s", stdout)
	}
	if code, stdout, stderr := embed("", model...); code != exitOK || stdout != "" || stderr != "" {
		t.Errorf("of none: exit code %d\n%s%s", code, stdout, stderr)
	}
}
