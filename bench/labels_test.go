package bench

import (
	"bytes"
	"compress/gzip"
	"io"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// TestLabels profiles works with labels until each phase was seen: the names are strings of the
// profile.
func TestLabels(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, c := range []struct {
		text   string
		phases []string
	}{
		{"h=8,sq=512,d=64", []string{"scores", "softmax", "accumulate"}},
		{"h=8,hkv=2,sq=1,skv=4096,d=64,kv=float16", []string{"scores", "softmax", "accumulate"}},
		{"m=64,n=256,k=256", []string{"multiply"}},
		{"project=64,in=256,h=4,d=64", []string{"project", "rotate"}},
		{"append=512,hkv=2,d=64,kv=int8", []string{"append"}},
	} {
		w, err := ParseWork(c.text)
		if err != nil {
			t.Fatal(err)
		}
		paths, err := engine{labels: true}.Paths(w.Inputs(1), 1)
		if err != nil {
			t.Fatal(err)
		}
		missing := c.phases
		for end := time.Now().Add(20 * time.Second); len(missing) > 0 && time.Now().Before(end); {
			var profile bytes.Buffer
			if err := pprof.StartCPUProfile(&profile); err != nil {
				t.Skip(err) // of the whole test run there is one
			}
			for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
				if err := paths[0].Run(); err != nil {
					t.Fatal(err)
				}
			}
			pprof.StopCPUProfile()
			zip, err := gzip.NewReader(&profile)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(zip)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, phase := range missing {
				// A string of the profile is preceded by its length (profile.proto).
				if !strings.Contains(string(text), string(rune(len(phase)))+phase) {
					left = append(left, phase)
				}
			}
			missing = left
		}
		if len(missing) > 0 {
			t.Errorf("%s: profiles have no phase %s", c.text, strings.Join(missing, ", "))
		}
	}
}
