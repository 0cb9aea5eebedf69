package model

import (
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestExplain: models of all kinds say what they run, layers with windows among them, and nothing is left of it.
func TestExplain(t *testing.T) {
	for i, c := range []Config{Small, withOptions(), likeQwen2MoE(), partlyMixed(), likeGPTOSS()} {
		m, _ := newModel(t, qkv.Config{}, c)
		engine := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 4, Texts: 1})
		var b strings.Builder
		if err := engine.Explain(&b, 40); err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		for part, want := range map[string]bool{
			"a prompt of 40 tokens, attention of layer 0": true, "a token behind 40, attention of layer 0": true,
			" in a window of ": c.Period != 0, "gate and up of layer 0": !c.mixed(0), "logits of one token\n": true,
		} {
			if strings.Contains(b.String(), part) != want {
				t.Errorf("%d: %q is %v\n%s", i, part, !want, b.String())
			}
		}
		if err := engine.Explain(&b, 64); err == nil {
			t.Errorf("%d: 65 tokens in 64", i)
		}
		tokens := randomTokens(40, c.Vocab, 1)
		read(engine, engine.Cache.NewSequence(), tokens, 40)
	}
}
