package bench

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/perf/benchfmt"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(3, 4)) }

// TestWriteBenchfmt reads with the library that benchstat reads with.
func TestWriteBenchfmt(t *testing.T) {
	a, b := noisy(newRand(), 1), steady(4, 2, 1)
	b.Machine.CPU = "one\nBenchmarkX 1 2 ns/op"
	var text bytes.Buffer
	if err := WriteBenchfmt(&text, a, b); err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]int)
	for r := benchfmt.NewReader(&text, "test"); r.Scan(); {
		result, ok := r.Result().(*benchfmt.Result)
		if !ok {
			t.Fatalf("%v", r.Result())
		}
		lines[result.Name.String()]++
		if result.GetConfig("kernel") != "avx512" || result.GetConfig("system") != "qkv" || result.GetConfig("cpu") == "" {
			t.Errorf("%s has the configuration %v", result.Name, result.Config)
		}
		if v, ok := result.Value("sec/op"); !ok || !(v > 0) {
			t.Errorf("%s has the values %v", result.Name, result.Values)
		}
	}
	if len(lines) != 5 || lines["Attention/workers=1/b=1/h=8/hkv=8/sq=64/skv=64/d=64/dv=64/mask=none"] != 10 ||
		lines["Product/workers=1/m=64/n=64/k=64"] != 10 || lines["Attention/workers=2/b=1/h=1/hkv=1/sq=64/skv=64/d=64/dv=64/mask=none"] != 4 {
		t.Errorf("%v", lines)
	}
}
