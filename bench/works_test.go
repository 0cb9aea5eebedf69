package bench

import (
	"context"
	"strings"
	"testing"
)

func TestParseWork(t *testing.T) {
	for _, c := range []struct {
		text, full string
		flops      float64
		read       int64
	}{
		{"project=3,in=5,h=4,d=2", "project=3,in=5,h=4,hkv=4,d=2", 2 * 3 * 5 * 24, 4 * 5 * 24},
		{"project=20,in=5,h=4,hkv=2,d=2", "project=20,in=5,h=4,hkv=2,d=2", 2 * 20 * 5 * 16, 0},
		{"append=7,hkv=2,d=32,kv=q8_0,page=4", "append=7,hkv=2,d=32,kv=q8_0,page=4", 0, 2 * 7 * 2 * (128 + 34)},
		{"append=7,hkv=2,d=3", "append=7,hkv=2,d=3", 0, 2 * 7 * 2 * 24},
	} {
		w := mustWork(t, c.text)
		if w.String() != c.full || w.FLOPs() != c.flops || w.ReadBytes() != c.read {
			t.Errorf("%s: %s of %v FLOPs, %d bytes to read", c.text, w, w.FLOPs(), w.ReadBytes())
		}
		for _, text := range []string{w.String(), w.Short()} {
			if again, err := ParseWork(text); err != nil || again != w {
				t.Errorf("%s is read as %v, error %v", text, again, err)
			}
		}
	}
	for _, c := range []struct{ text, want string }{
		{"project=3,in=5,d=2", "h is missing"},
		{"project=3,in=5,h=4,d=3", "d=3 is odd"},
		{"project=3,in=5,h=4,d=2,sq=4", `unknown key "sq"`},
		{"project=999999999,in=999999999,h=99999,d=2", "would take"},
		{"append=7,hkv=2", "d is missing"},
		{"append=7,hkv=2,d=20,kv=q8_0", "multiple of 32"},
		{"append=7,hkv=2,d=20,kv=x", `"x" is not float32`},
		{"append=7,hkv=2,d=20,page=0", "page=0 is not a positive number"},
		{"append=999999999,hkv=999,d=999", "would take"},
	} {
		if _, err := ParseWork(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.text, err, c.want)
		}
	}
}

func TestRunnerWorks(t *testing.T) {
	r := newRunner(t, quick)
	for _, c := range []struct{ text, kind, limit string }{
		{"project=3,in=40,h=4,hkv=2,d=6", KindProjection, ""},
		{"project=70,in=40,h=4,hkv=2,d=6", KindProjection, ""},
		{"append=70,hkv=2,d=6", KindAppend, LimitBandwidth},
		{"append=70,hkv=2,d=6,kv=float16,page=16", KindAppend, LimitBandwidth},
		{"append=70,hkv=2,d=6,kv=bfloat16", KindAppend, LimitBandwidth},
		{"append=70,hkv=2,d=6,kv=int8,page=16", KindAppend, LimitBandwidth},
		{"append=70,hkv=2,d=64,kv=q8_0", KindAppend, LimitBandwidth},
	} {
		w := mustWork(t, c.text)
		run, err := r.Run(context.Background(), Job{w, 1}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if run.Kind != c.kind || run.CheckedRows == 0 || run.ReadBytes != w.ReadBytes() || c.limit != "" && run.Limit != c.limit {
			t.Errorf("%s: %+v", c.text, run)
		}
	}
}

// TestWorkChecks: results that are wrong in one element are found.
func TestWorkChecks(t *testing.T) {
	for _, c := range []struct {
		text  string
		spoil func(Inputs)
	}{
		{"project=30,in=40,h=4,hkv=2,d=6", func(in Inputs) { in.(*ProjectionInputs).Out[1][100] += 0.1 }},
		{"project=30,in=40,h=4,hkv=2,d=6", func(in Inputs) { in.Spoil() }},
		{"append=30,hkv=2,d=32,kv=int8", func(in Inputs) { in.(*AppendInputs).K[200] += 0.1 }},
		{"append=30,hkv=2,d=32,kv=float16", func(in Inputs) { in.(*AppendInputs).V[200] += 0.1 }},
		{"append=30,hkv=2,d=32", func(in Inputs) { in.Spoil() }},
	} {
		w := mustWork(t, c.text)
		in := w.Inputs(1)
		paths, err := engine{labels: true}.Paths(in, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := paths[0].Compute(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Check(context.Background(), 1000, nil); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		c.spoil(in)
		if _, err := in.Check(context.Background(), 1000, nil); err == nil {
			t.Errorf("%s: what is wrong is not found", c.text)
		}
	}
}

func TestMovedBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"m=2,n=3,k=5":                                 4 * (2*5 + 5*3 + 2*3),
		"append=10,hkv=2,d=8,kv=float16":              10 * 2 * 8 * 2 * (4 + 2),
		"h=2,hkv=1,sq=10,d=8":                         4 * 10 * (2*2 + 2) * 8,
		"h=2,hkv=1,sq=10,d=8,dv=4":                    4 * 10 * (2 + 1) * 12,
		"h=2,sq=1,skv=100,d=8,mask=causal,window=9:0": 4*2*16 + 2*10*16*4,
		"h=1,sq=10,d=8,bias=shared16":                 4*10*4*8 + 2*100,
		"h=1,sq=10,d=8,keep=0.5":                      4*10*4*8 + 100,
		"b=2,h=1,sq=1,skv=9,d=8,kvlens=9":             2 * (4*16 + 9*4*16),
		"b=2,h=1,sq=9,skv=9,d=8,prefill=1":            4*10*16 + 2*9*4*16,
		"h=1,sq=100000,d=8,mask=causal":               4 * 100000 * 4 * 8,
		"project=4,in=8,h=2,hkv=1,d=2":                4 * (4*8 + 8*8 + 4*8),
	} {
		w := mustWork(t, text)
		if got := w.MovedBytes(); got != want {
			t.Errorf("%s moves %d bytes, want %d", text, got, want)
		}
	}
}

func mustWork(t *testing.T, text string) Work {
	t.Helper()
	w, err := ParseWork(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
