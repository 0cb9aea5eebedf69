package model

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/gguf"
	"github.com/qkv-go/qkv/examples/internal/models"
)

// trained returns a model of a file.
func trained(t testing.TB, cfg qkv.Config, name string, packed bool) *Model {
	t.Helper()
	f, err := gguf.Open(models.Path(t, name))
	must(err)
	t.Cleanup(func() { f.Close() })
	w, err := FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	w.Context = 1024
	e, err := qkv.New(cfg)
	must(err)
	m, err := NewOf(e, w, qkv.PrecisionFloat32, packed)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// reference logits of some tokens, by examples/llama/reference.py.
type referenceLogits struct {
	Tokens  []int32
	Largest float64
	Rows    []struct {
		At     int
		Best   int32
		LSE    float64
		Logits map[int]float64
	}
}

// readReference reads a file of them, by the names of models.
func readReference(file string) (all map[string]*referenceLogits) {
	data, err := os.ReadFile(file)
	must(err)
	must(json.Unmarshal(data, &all))
	return all
}

// check has a model read the tokens, in prompts in parts, and reports logits and log-sum-exps that are off by more
// than a share of the largest logit, and another most likely token than the reference has.
func (w *referenceLogits) check(t *testing.T, m *Model, bound float64) {
	t.Helper()
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: len(w.Tokens)/16 + 1, Texts: 1, PromptTokens: 256})
	s := e.Cache.NewSequence()
	rows := w.Rows
	worst, lse, best := 0.0, 0.0, 0
	for begin := 0; begin < len(w.Tokens); begin += 200 {
		part := w.Tokens[begin:min(begin+200, len(w.Tokens))]
		all, err := e.Forward([]Input{{s, part, len(part)}})
		must(err)
		for len(rows) > 0 && rows[0].At < begin+len(part) {
			row, logits := rows[0], all[0][(rows[0].At-begin)*m.Vocab:][:m.Vocab]
			for token, v := range row.Logits {
				worst = max(worst, math.Abs(float64(logits[token])-v))
			}
			lse = max(lse, math.Abs(float64(logits[row.Best])-logProb(logits, row.Best)-row.LSE))
			if m.argmax(logits) == row.Best {
				best++
			}
			rows = rows[1:]
		}
		must(e.Step.Commit())
	}
	t.Logf("%d tokens, largest logit %.4g: largest error %.2g of it, of its log-sum-exp %.2g; %d of %d have the same token",
		len(w.Tokens), w.Largest, worst/w.Largest, lse, best, len(w.Rows))
	if !(worst <= bound*w.Largest) || !(lse <= bound*w.Largest) || best != len(w.Rows) || len(rows) > 0 || best == 0 {
		t.Errorf("largest error %v of %v, of log-sum-exps %v, %d of %d tokens", worst, w.Largest, lse, best, len(w.Rows))
	}
}

// TestTrained: logits of trained models are those of a forward pass in float64 that is not ours, within 2e-6 of the
// largest.
func TestTrained(t *testing.T) {
	want := readReference("testdata/logits.json")
	for name, file := range map[string]string{"smollm2": models.SmolLM2, "gemma3": models.Gemma3} {
		t.Run(name, func(t *testing.T) {
			if raceEnabled || testing.Short() && name == "gemma3" {
				t.Skip("it takes seconds, and arithmetic is no matter of races")
			}
			want[name].check(t, trained(t, qkv.Config{}, file, false), 2e-6)
		})
	}
}
