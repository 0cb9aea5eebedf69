package main

import (
	"os/exec"
	"strings"
	"testing"
)

// echo is a system that prints some lines.
func echo(name string, lines ...string) system {
	return system{name, func(file string, threads int) *exec.Cmd {
		return exec.Command("printf", strings.Join(lines, "\n")+"\n")
	}}
}

func TestMeasure(t *testing.T) {
	var b strings.Builder
	systems := []system{echo("a", "pp4       10.5 tokens/s", "tg2@9  3.25 tokens/s"), echo("b", "pp4 7 tokens/s")}
	if err := measure(&b, "dir/x.gguf", []string{"pp4", "tg2@9"}, []int{1, 2}, systems, 2); err != nil {
		t.Fatal(err)
	}
	const want = `| x.gguf | threads | a | b |
|---|---|---|---|
| pp4 | 1 | 10.5 | 7.0 |
| pp4 | 2 | 10.5 | 7.0 |
| tg2@9 | 1 | 3.2 | – |
| tg2@9 | 2 | 3.2 | – |
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	for _, s := range []system{echo("c", "no rate"), {"d", func(string, int) *exec.Cmd { return exec.Command("sh", "-c", "echo lost >&2; exit 3") }}} {
		if err := measure(&b, "x", []string{"pp4"}, []int{1}, []system{s}, 1); err == nil || !strings.HasPrefix(err.Error(), s.name+": ") {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}
