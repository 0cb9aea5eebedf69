package model

import (
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestLongDraft: a draft has as many tokens as a step of layers with a window takes, and no more are asked for.
func TestLongDraft(t *testing.T) {
	const step = 4
	c := withOptions()
	m, _ := newModel(t, qkv.Config{}, c)
	e := newEngine(t, m, EngineConfig{PageTokens: 1, Pages: 90, Texts: 1, PromptTokens: step})
	run := func(draft Draft) []int32 {
		x := e.NewText(randomTokens(6, c.Vocab, 1), 90)
		if err := e.Generate([]*Text{x}, draft); err != nil {
			t.Fatal(err)
		}
		must(x.Free())
		return x.Tokens
	}
	want := run(nil)
	most := 0
	got := run(func(tokens []int32, room int) []int32 {
		most = max(most, room)
		return append(tokens, want[len(tokens):][:room]...)
	})
	if !slices.Equal(got, want) || most != step-1 {
		t.Errorf("drafts of up to %d tokens: %v, want %v", most, got, want)
	}
}
