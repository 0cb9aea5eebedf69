package bench

import (
	"bytes"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// TestLabels asks for the label in the middle of each phase: what a profile would have found is
// what the goroutine carries there.
func TestLabels(t *testing.T) {
	set := qkv.Kernels()[len(qkv.Kernels())-1].Set
	defer func(old kernel.Set) { *set = old }(*set)
	seen := make(map[string]bool) // "function: phase"
	note := func(function string) {
		var text bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
			t.Error(err)
		}
		_, label, _ := strings.Cut(text.String(), `# labels: {"phase":"`)
		phase, _, _ := strings.Cut(label, `"`)
		seen[function+": "+phase] = true
	}
	old := *set
	*set = *old.With(kernel.Funcs{
		PackQ:            noting(note, "PackQ", old.PackQ),
		Scores:           noting(note, "Scores", old.Scores),
		Softcap:          noting(note, "Softcap", old.Softcap),
		ALiBi:            noting(note, "ALiBi", old.ALiBi),
		Bias:             noting(note, "Bias", old.Bias),
		Softmax:          noting(note, "Softmax", old.Softmax),
		Accumulate:       noting(note, "Accumulate", old.Accumulate),
		Finish:           noting(note, "Finish", old.Finish),
		DecodeScores:     noting(note, "DecodeScores", old.DecodeScores),
		DecodeAccumulate: noting(note, "DecodeAccumulate", old.DecodeAccumulate),
		Multiply:         noting(note, "Multiply", old.Multiply),
		MultiplyFew:      noting(note, "MultiplyFew", old.MultiplyFew),
		Combine:          noting(note, "Combine", old.Combine),
		Dots:             noting(note, "Dots", old.Dots),
		Rotary:           noting(note, "Rotary", old.Rotary),
		Store:            noting(note, "Store", old.Store),
	})
	for _, c := range []struct {
		text string
		want []string
	}{
		{"h=2,sq=40,d=8", []string{"PackQ: pack", "Scores: scores", "Softmax: softmax", "Accumulate: accumulate", "Finish: finish"}},
		{"h=2,sq=40,d=8,alibi=1,softcap=50,bias=head", []string{"Softcap: modify", "ALiBi: modify", "Bias: modify"}},
		{"h=4,hkv=2,sq=1,skv=40,d=8,kv=float16", []string{"DecodeScores: scores", "Softmax: softmax", "DecodeAccumulate: accumulate"}},
		{"m=40,n=16,k=16", []string{"Multiply: multiply"}},
		{"project=40,in=16,h=2,d=8", []string{"Multiply: project", "Rotary: rotate"}},
		{"append=40,hkv=2,d=64,kv=int8", []string{"Store: store"}},
	} {
		clear(seen)
		paths, err := engine{kernel: set.Name, labels: true}.Paths(mustWork(t, c.text).Inputs(1), 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := paths[0].Run(); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !seen[want] {
				t.Errorf("%s: no %s among %v", c.text, want, seen)
			}
		}
		clear(seen)
		if note("after"); !seen["after: "] {
			t.Errorf("%s: afterwards %v", c.text, seen)
		}
	}

}

// noting returns a function that calls note with its name before it does what f does.
func noting[A any](note func(string), name string, f func(*A)) func(*A) {
	return func(a *A) {
		note(name)
		f(a)
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
