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

// TestTrained: logits of trained models are those of a forward pass in float64 that is not ours, within 2e-6 of the
// largest, in prompts in parts.
func TestTrained(t *testing.T) {
	data, err := os.ReadFile("testdata/logits.json") // by examples/llama/reference.py
	must(err)
	var want map[string]struct {
		Tokens  []int32
		Largest float64
		Rows    []struct {
			At     int
			Best   int32
			LSE    float64
			Logits map[int]float64
		}
	}
	must(json.Unmarshal(data, &want))
	for name, file := range map[string]string{"smollm2": models.SmolLM2, "gemma3": models.Gemma3} {
		t.Run(name, func(t *testing.T) {
			if raceEnabled || testing.Short() && name == "gemma3" {
				t.Skip("it takes seconds, and arithmetic is no matter of races")
			}
			m := trained(t, qkv.Config{}, file, false)
			w := want[name]
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
			if !(worst <= 2e-6*w.Largest) || !(lse <= 2e-6*w.Largest) || best != len(w.Rows) || len(rows) > 0 {
				t.Errorf("largest error %v of %v, of log-sum-exps %v, %d of %d tokens", worst, w.Largest, lse, best, len(w.Rows))
			}
		})
	}
}
