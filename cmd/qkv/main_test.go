package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// qkvRun carries out a command line.
func qkvRun(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = command(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"help"}, {"-h"}, {"--help"}} {
		if code, out, errs := qkvRun(args...); code != exitOK || !strings.Contains(out, "qkv bench") || errs != "" {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
	for _, name := range []string{"run", "view", "bench", "compare", "report", "tune", "conform", "info", "version"} {
		if code, out, errs := qkvRun("help", name); code != exitOK || !strings.HasPrefix(out, "usage: qkv "+name) || errs != "" {
			t.Errorf("help %s: exit %d, stdout %q, stderr %q", name, code, out, errs)
		}
		if code, out, errs := qkvRun(name, "-h"); code != exitOK || !strings.HasPrefix(out, "usage: qkv "+name) || errs != "" {
			t.Errorf("%s -h: exit %d, stdout %q, stderr %q", name, code, out, errs)
		}
	}
	for _, name := range []string{"version", "-v", "-version", "--version"} {
		if code, out, _ := qkvRun(name); code != exitOK || !strings.HasPrefix(out, "qkv ") {
			t.Errorf("%s: exit %d, %q", name, code, out)
		}
	}
}

func TestBadUsage(t *testing.T) {
	files := func(more ...string) []string {
		return append([]string{"run", "-q", "q.npy", "-k", "k.npy", "-v", "v.npy", "-o", "o.npy"}, more...)
	}
	view := func(more ...string) []string {
		return append([]string{"view", "-q", "q.npy", "-k", "k.npy"}, more...)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "(qkv run -h says more)"},
		{[]string{"compare", "a", "-x"}, "(qkv compare -h says more)"},
		{view("-o", filepath.Join("none", "new")+"/"), "is no directory yet"},
		{[]string{"walk"}, `unknown command "walk"`},
		{[]string{"run"}, "-q is missing"},
		{[]string{"run", "-q", "q", "-k", "k", "-v", "v"}, "-o is missing"},
		{files("more"), `unexpected argument "more"`},
		{files("-none"), "not defined: -none"},
		{files("-layout", "sbhd"), `-layout is "sbhd"`},
		{files("-causal", "left"), "want top-left, bottom-right or a whole number"},
		{files("-scale", "0"), "want a finite number other than 0"},
		{files("-scale", "NaN"), "want a finite number other than 0"},
		{files("-scale", "1e99"), "want a finite number other than 0"},
		{files("-scale", "x"), "want a finite number other than 0"},
		{files("-align", "left"), "want top-left, bottom-right or a whole number"},
		{files("-align", "3", "-causal", "3"), "-causal and -align exclude each other"},
		{files("-align", "3"), "-align says where queries stand for -window and -alibi, and neither is given"},
		{files("-window", "3"), "want LEFT:RIGHT"},
		{files("-window", "3:-1"), "want LEFT:RIGHT"},
		{files("-window", "3:x"), "want LEFT:RIGHT"},
		{files("-window", "1:2:3"), "want LEFT:RIGHT"},
		{files("-prefix", "-1"), "want a whole number of at least 0"},
		{files("-softcap", "-1"), "want a finite number above 0"},
		{files("-softcap", "0"), "want a finite number above 0"},
		{files("-workers", "-1"), "-workers is -1"},
		{files("-workers", "x"), "invalid value"},
		{files("-kernel", "quantum"), `unknown kernel set "quantum"`},
		{files("-lse", "./o.npy"), "the same file"},
		{files("-class", "int4"), `"int4" is not float32, int8 or bfloat16`},
		{files("-kv", "int4"), `"int4" is not float32, float16, `},
		{files("-values", "int8", "-class", "bfloat16"), "-values goes with -class int8"},
		{[]string{"view", "-k", "k"}, "-q is missing"},
		{[]string{"view", "-q", "q"}, "-k is missing"},
		{view("-v", "v"), "not defined: -v"},
		{[]string{"view", "-model", "m"}, "LETTERS is missing"},
		{[]string{"view", "-model", "m", "A", "B"}, `unexpected argument "B"`},
		{view("-model", "m", "A"), "-model and -q exclude each other"},
		{view("more"), `unexpected argument "more"`},
		{view("-o", "x.jpg"), `-o is "x.jpg", want a directory or a name that ends in .png or .svg`},
		{view("-o", "pictures"), `-o is "pictures", which is no directory yet, and no name that ends in .png or .svg`},
		{view("-layout", "sbhd"), `-layout is "sbhd"`},
		{view("-batch", "-1"), "-batch is -1, want 0 or more"},
		{view("-head", "-1"), "-head is -1, want 0 or more"},
		{view("-workers", "-1"), "-workers is -1, want 0 or more"},
		{view("-tokens", "a", "-tokens-file", "b"), "-tokens and -tokens-file exclude each other"},
		{view("-align", "3", "-causal", "3"), "-causal and -align exclude each other"},
		{view("-align", "bottom-right", "-prefix", "1"), "and neither is given"},
		{view("-scale", "0"), "want a finite number other than 0"},
		{view("-kernel", "quantum"), `unknown kernel set "quantum"`},
		{view("-class", "Int8"), `"Int8" is not float32, int8 or bfloat16`},
		{view("-values", "int8"), "not defined: -values"},
		{[]string{"view", "-model", "m", "A", "-class", "int8"}, "-model and -class exclude each other"},
		{[]string{"bench", "-preset", "none"}, "want default, prefill, lengths, dims, small"},
		{[]string{"bench", "-shape", "h=1"}, "sq is missing"},
		{[]string{"bench", "-shape", "h=1,sq=1,d=1,bias=row"}, "is not head, shared, head16 or shared16"},
		{[]string{"bench", "-shape", "h=1,sq=1,d=1", "-preset", "small"}, "exclude each other"},
		{[]string{"bench", "-kernel", "quantum"}, `unknown kernel set "quantum"`},
		{[]string{"bench", "-workers", "-1"}, "-workers is -1"},
		{[]string{"bench", "-workers", "1000000"}, "-workers is 1000000"},
		{[]string{"bench", "now"}, `unexpected argument "now"`},
		{[]string{"bench", "-json", "./x", "-cpuprofile", "x"}, "-json and -cpuprofile name the same file"},
		{[]string{"bench", "-count", "0"}, "-count is 0"},
		{[]string{"bench", "-label", "x"}, "there is no -json"},
		{[]string{"bench", "-json", "x", "-label", strings.Repeat("x", 61)}, "-label has 61 characters, want at most 60"},
		{[]string{"bench", "-unmasked", "-shape", "m=1,n=1,k=1", "-shape", "h=1,sq=1,d=1"}, "-unmasked: no work has a mask or changed scores"},
		{[]string{"compare", "a"}, "1 record given"},
		{[]string{"compare", "a", "b", "-threshold", "200"}, "is not a share"},
		{[]string{"compare", "a", "b", "-format", "xml"}, `-format is "xml"`},
		{[]string{"report"}, "no record given"},
		{[]string{"report", "a", "-o", "x.jpg"}, "want a name that ends in .html, .md, .svg, .png, or -format"},
		{[]string{"tune", "-workers", "-1"}, "-workers is -1"},
		{[]string{"tune", "-rounds", "0"}, "-rounds is 0"},
		{[]string{"tune", "-time", "-1s"}, "-time is -1s"},
		{[]string{"tune", "-time", "15"}, `"15" for flag -time: want a time such as 15ms`},
		{[]string{"bench", "-count", "x y"}, `"x y" for flag -count: want a whole number`},
		{[]string{"tune", "-kernel", "quantum"}, `unknown kernel set "quantum"`},
		{[]string{"help", "nonsense"}, `unknown command "nonsense"`},
		{[]string{"conform"}, "DIR is missing"},
		{[]string{"conform", "-workers", "1"}, "DIR is missing"},
		{[]string{"conform", "a", "-workers", "1", "b"}, `unexpected argument "b"`},
		{[]string{"conform", "a", "-workers", "-1"}, "-workers is -1"},
		{[]string{"conform", "-kernel", "quantum", "a"}, `unknown kernel set "quantum"`},
		{[]string{"conform", "a", "-json"}, "not defined: -json"},
		{[]string{"info", "-xml"}, "not defined: -xml"},
		{[]string{"version", "2"}, `unexpected argument "2"`},
	} {
		code, out, errs := qkvRun(c.args...)
		if code != exitUsage || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "qkv") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q; want exit 2 and one line with %q", c.args, code, out, errs, c.want)
		}
	}
}
