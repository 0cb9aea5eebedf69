package main

import (
	"os/exec"
	"strings"
	"testing"
)

// echo is a system that prints some lines.
func echo(name string, lines ...string) system {
	return system{name, "", func(file string, threads int) *exec.Cmd {
		return exec.Command("printf", strings.Join(lines, "\n")+"\n")
	}}
}

// shell is a system that runs a script.
func shell(name, script string) system {
	return system{name, "", func(string, int) *exec.Cmd { return exec.Command("sh", "-c", script) }}
}

func TestMeasure(t *testing.T) {
	var b, log strings.Builder
	systems := []system{
		echo(theirs, "pp4       10.5 tokens/s", "tg2@9  3.25 tokens/s"), echo(theirs, "pp4 7 tokens/s", "tg2@9 4 tokens/s"),
		echo("float32", "pp4 21 tokens/s"), shell("int8", "echo w is of type F16, which class Int8 does not multiply >&2; exit 1"),
	}
	if err := measureAll(&b, &log, []string{"dir/x_y.gguf", "z"}, []string{"pp4", "tg2@9"}, []int{1, 2}, systems, 2); err != nil {
		t.Fatal(err)
	}
	const want = `| | | threads | llama.cpp | float32 | | int8 | |
|---|---|---|---|---|---|---|---|
| x\_y | pp4 | 1 | 10.5 | 21.0 | 2.00 × | – | |
| | | 2 | 10.5 | 21.0 | 2.00 × | – | |
| | tg2@9 | 1 | 4.00 | – | | – | |
| | | 2 | 4.00 | – | | – | |
| z | pp4 | 1 | 10.5 | 21.0 | 2.00 × | – | |
| | | 2 | 10.5 | 21.0 | 2.00 × | – | |
| | tg2@9 | 1 | 4.00 | – | | – | |
| | | 2 | 4.00 | – | | – | |
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if n := strings.Count(log.String(), "\n"); n != 2*2*2*3 {
		t.Errorf("the log has %d lines:\n%s", n, log.String())
	}
	for _, s := range []system{echo("c", "no rate"), shell("d", "echo lost >&2; exit 3")} {
		if err := measureAll(&b, &log, []string{"x"}, []string{"pp4"}, []int{1}, []system{s}, 1); err == nil || !strings.HasPrefix(err.Error(), "x: "+s.name+": ") {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

func TestDigits(t *testing.T) {
	for rate, want := range map[float64]string{0: "–", 3.254: "3.25", 44.92: "44.9", 281.4: "281", 999.4: "999", 999.6: "1,000", 1324.6: "1,325", 12003: "12,003"} {
		if got := digits(rate); got != want {
			t.Errorf("%v: %s, want %s", rate, got, want)
		}
	}
}
