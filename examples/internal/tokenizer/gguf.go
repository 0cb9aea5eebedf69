package tokenizer

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/examples/internal/gguf"
)

// FromGGUF returns the tokenizer in a file. The error names what is missing or not supported.
func FromGGUF(f *gguf.File) (*Tokenizer, error) {
	t, err := fromGGUF(f)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

func fromGGUF(f *gguf.File) (*Tokenizer, error) {
	tokens, ok := f.Texts("tokenizer.ggml.tokens")
	if !ok || len(tokens) == 0 {
		return nil, fmt.Errorf("the file has no tokenizer.ggml.tokens")
	}
	types, ok := f.Ints("tokenizer.ggml.token_type")
	if !ok {
		types = slices.Repeat([]int64{normalToken}, len(tokens))
	}
	if len(types) != len(tokens) {
		return nil, fmt.Errorf("the file has %d tokens, and types of %d", len(tokens), len(types))
	}
	t := newTokenizer(tokens, types)
	absent := none
	if id, ok := f.Int("tokenizer.ggml.unknown_token_id"); ok && id >= 0 && id < int64(len(t.tokens)) {
		absent = int32(id)
	}
	for _, x := range []struct {
		key string
		to  *int32
	}{{"bos", &t.BOS}, {"eos", &t.EOS}} {
		key := "tokenizer.ggml." + x.key + "_token_id"
		if id, ok := f.Int(key); ok {
			if id < 0 || id >= int64(len(t.tokens)) {
				return nil, fmt.Errorf("%s is %d, the file has %d tokens", key, id, len(t.tokens))
			}
			*x.to = int32(id)
		}
	}
	if t.EOS != none {
		t.ends[t.EOS] = true
	}
	switch name, _ := f.Text("tokenizer.ggml.model"); name {
	case "gpt2":
		merges, ok := f.Texts("tokenizer.ggml.merges")
		if !ok {
			return nil, fmt.Errorf("the file has no tokenizer.ggml.merges")
		}
		ranks, err := newRanks(merges)
		if err != nil {
			return nil, err
		}
		name, _ := f.Text("tokenizer.ggml.pre")
		pre, ok := splitters[name]
		if !ok {
			return nil, fmt.Errorf("tokenizer.ggml.pre is %.40q, which is not supported", name)
		}
		t.model = newBPE(t, ranks, pre.split, pre.whole, absent)
	case "llama":
		t.AddBOS = true
		scores, ok := f.Floats("tokenizer.ggml.scores")
		if !ok || len(scores) != len(t.tokens) {
			return nil, fmt.Errorf("the file has %d tokens, and scores of %d", len(t.tokens), len(scores))
		}
		prefix := anyPrefix
		if add, ok := f.Bool("tokenizer.ggml.add_space_prefix"); ok && !add {
			prefix = noPrefix
		}
		t.model = newSentencePiece(t, t.byScore(scores), prefix, absent)
	default:
		return nil, fmt.Errorf("tokenizer.ggml.model is %.40q, gpt2 and llama are supported", name)
	}
	if add, ok := f.Bool("tokenizer.ggml.add_bos_token"); ok {
		t.AddBOS = add
	}
	t.AddBOS = t.AddBOS && t.BOS != none
	return t, nil
}
