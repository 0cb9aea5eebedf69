package bench

import (
	"bytes"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
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
	noting(note, "PackQ", &set.PackQ)
	noting(note, "Scores", &set.Scores)
	noting(note, "Softcap", &set.Softcap)
	noting(note, "ALiBi", &set.ALiBi)
	noting(note, "Bias", &set.Bias)
	noting(note, "Softmax", &set.Softmax)
	noting(note, "Accumulate", &set.Accumulate)
	noting(note, "Finish", &set.Finish)
	noting(note, "DecodeScores", &set.DecodeScores)
	noting(note, "DecodeAccumulate", &set.DecodeAccumulate)
	noting(note, "Multiply", &set.Multiply)
	noting(note, "Rotary", &set.Rotary)
	for _, c := range []struct {
		text string
		want []string
	}{
		{"h=2,sq=40,d=8", []string{"PackQ: pack", "Scores: scores", "Softmax: softmax", "Accumulate: accumulate", "Finish: finish"}},
		{"h=2,sq=40,d=8,alibi=1,softcap=50,bias=head", []string{"Softcap: modify", "ALiBi: modify", "Bias: modify"}},
		{"h=4,hkv=2,sq=1,skv=40,d=8,kv=float16", []string{"DecodeScores: scores", "Softmax: softmax", "DecodeAccumulate: accumulate"}},
		{"m=40,n=16,k=16", []string{"Multiply: multiply"}},
		{"project=40,in=16,h=2,d=8", []string{"Multiply: project", "Rotary: rotate"}},
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

	// A cache has no kernels that could be asked: another goroutine looks until it is there.
	paths, err := engine{labels: true}.Paths(mustWork(t, "append=512,hkv=2,d=64,kv=int8").Inputs(1), 1)
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		for !stop.Load() {
			if err := paths[0].Run(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for clear(seen); !seen["Append: append"] && !t.Failed(); note("Append") {
	}
	stop.Store(true)
	done.Wait()
}

// noting has a kernel function call note with its name first.
func noting[A any](note func(string), name string, f *func(*A)) {
	old := *f
	*f = func(a *A) {
		note(name)
		old(a)
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
