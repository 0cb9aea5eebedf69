package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHuggingFace: tokens of texts by files of each kind are those of Hugging Face's tokenizers, and make the texts again.
func TestHuggingFace(t *testing.T) {
	data, err := os.ReadFile("testdata/huggingface.json") // by reference.py
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][]struct {
		Text    string
		IDs     []int32
		Decoded *string
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/huggingface/*.json")
	if err != nil || len(files) != len(want) || len(files) < 8 {
		t.Fatalf("%d files, %d with tokens; %v", len(files), len(want), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		x, err := FromHuggingFace(data, []byte(`{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}`))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if x.BOS != 1 || x.EOS != 2 || !x.IsEnd(2) || !x.IsEnd(x.ids["<|end|>"]) {
			t.Errorf("%s: BOS %d, EOS %d", file, x.BOS, x.EOS)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if x.AddBOS != slices.Contains([]string{"gemma", "llama2", "llama3", "mistral"}, name) {
			t.Errorf("%s: BOS is added: %v", name, x.AddBOS)
		}
		for _, c := range want[name] {
			got := x.Encode(c.Text, true)
			if !slices.Equal(got, c.IDs) {
				t.Errorf("%s, %.80q:\n%v\nwant\n%v", name, c.Text, got, c.IDs)
			}
			switch back := x.Decode(got); {
			case c.Decoded != nil && back != *c.Decoded:
				t.Errorf("%s, %.80q: back it is %.80q", name, c.Text, back)
			case c.Decoded == nil && !strings.ContainsAny(c.Text, "<"+space) && !strings.HasPrefix(c.Text, "Hello, w") && (name != "mistral" || !strings.HasPrefix(c.Text, " ")) && back != c.Text:
				t.Errorf("%s, %.80q: back it is %.80q", name, c.Text, back)
			}
		}
	}
}

// TestHuggingFaceErrors: what is missing or not supported is named.
func TestHuggingFaceErrors(t *testing.T) {
	read := func(name string) map[string]any {
		data, err := os.ReadFile("testdata/huggingface/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var x map[string]any
		if err := json.Unmarshal(data, &x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	object := func(x any, key string) map[string]any { return x.(map[string]any)[key].(map[string]any) }
	bytes := func(prefix bool) map[string]any {
		return map[string]any{"type": "ByteLevel", "add_prefix_space": prefix, "use_regex": true}
	}
	for _, c := range []struct {
		file, want string
		change     func(x map[string]any)
	}{
		{"gpt2", `model.type is "Unigram", BPE is supported`, func(x map[string]any) { object(x, "model")["type"] = "Unigram" }},
		{"gpt2", "model.vocab has no token", func(x map[string]any) { object(x, "model")["vocab"] = map[string]any{} }},
		{"gpt2", `token "far" is 9000000, the file has `, func(x map[string]any) { object(object(x, "model"), "vocab")["far"] = 9000000 }},
		{"gpt2", `token "far" is -1, the file has `, func(x map[string]any) { object(object(x, "model"), "vocab")["far"] = -1 }},
		{"gpt2", ` are both 5`, func(x map[string]any) { object(object(x, "model"), "vocab")["far"] = 5 }},
		{"gpt2", "a merge of 1 parts, two that are not empty are needed", func(x map[string]any) { object(x, "model")["merges"] = []any{[]any{"a"}} }},
		{"gpt2", `merge "ab", two parts with a space between them are needed`, func(x map[string]any) { object(x, "model")["merges"] = []any{"ab"} }},
		{"gpt2", "a sequence has more than 64 parts", func(x map[string]any) {
			x["normalizer"] = map[string]any{"type": "Sequence", "normalizers": make([]map[string]any, 65)}
		}},
		{"gpt2", `token "odd" has normalized`, func(x map[string]any) {
			x["added_tokens"] = []any{map[string]any{"id": 700, "content": "odd", "normalized": true}}
		}},
		{"gpt2", "dropout are not supported", func(x map[string]any) { object(x, "model")["dropout"] = 0.1 }},
		{"gpt2", `normalizer "Lowercase" is not supported`, func(x map[string]any) { x["normalizer"] = map[string]any{"type": "Lowercase"} }},
		{"gpt2", `pre_tokenizer "ByteLevel" is not supported as it is there`, func(x map[string]any) { x["pre_tokenizer"] = bytes(true) }},
		{"gpt2", "neither the bytes of a text nor its spaces", func(x map[string]any) { x["pre_tokenizer"] = nil }},
		{"gpt2", `post_processor "RobertaProcessing" is not supported`, func(x map[string]any) { x["post_processor"] = map[string]any{"type": "RobertaProcessing"} }},
		{"llama3", `splits by "a+", which is not supported`, func(x map[string]any) {
			object(x, "pre_tokenizer")["pretokenizers"].([]any)[0].(map[string]any)["pattern"] = map[string]any{"Regex": "a+"}
		}},
		{"llama3", "does not make its bytes characters", func(x map[string]any) {
			p := object(x, "pre_tokenizer")
			p["pretokenizers"] = p["pretokenizers"].([]any)[:1]
		}},
		{"llama3", `the template has "<s>" as its part 1`, func(x map[string]any) {
			p := object(x, "post_processor")
			s := p["single"].([]any)
			p["single"] = []any{s[1], s[0]}
		}},
		{"llama2", "the bytes of a text are characters, and its spaces are replaced", func(x map[string]any) { x["pre_tokenizer"] = bytes(false) }},
		{"mistral", `pre_tokenizer "Metaspace" is not supported as it is there`, func(x map[string]any) { object(x, "pre_tokenizer")["split"] = true }},
		{"mistral", `prepend_scheme "sometimes" is not supported`, func(x map[string]any) { object(x, "pre_tokenizer")["prepend_scheme"] = "sometimes" }},
		{"mistral", "need byte_fallback, and a token for each byte", func(x map[string]any) { object(x, "model")["byte_fallback"] = false }},
		{"mistral", "need byte_fallback, and a token for each byte", func(x map[string]any) { delete(object(object(x, "model"), "vocab"), "<0x7F>") }},
	} {
		x := read(c.file)
		c.change(x)
		data, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := FromHuggingFace(data, nil); err == nil || !strings.HasPrefix(err.Error(), "tokenizer: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.file, err, c.want)
		}
	}
	data, err := os.ReadFile("testdata/huggingface/gpt2.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FromHuggingFace(data, []byte(`{"eos_token": "<eos>"}`)); err == nil || !strings.Contains(err.Error(), `eos_token is "<eos>", which is no token`) {
		t.Errorf("error %v", err)
	}
	if _, err := OpenHuggingFace(t.TempDir()); !os.IsNotExist(err) {
		t.Errorf("error %v of an empty folder", err)
	}
}

// FuzzHuggingFace: any file is a tokenizer or an error, and a tokenizer takes any text.
func FuzzHuggingFace(f *testing.F) {
	files, _ := filepath.Glob("testdata/huggingface/*.json")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(`{"eos_token": "</s>"}`), "Hello <s> 日本  ")
	}
	f.Fuzz(func(t *testing.T, data, config []byte, text string) {
		x, err := FromHuggingFace(data, config)
		if err != nil {
			return
		}
		for _, special := range []bool{false, true} {
			for _, id := range x.Encode(text, special) {
				if id < 0 || int(id) >= x.Len() {
					t.Fatalf("token %d of %d", id, x.Len())
				}
			}
		}
		x.Decode([]int32{-1, 0, int32(x.Len()) - 1, int32(x.Len())})
	})
}

// TestOverlapping: of tokens that overlap in a text the leftmost counts, and then the longest, as in tokenizers.
func TestOverlapping(t *testing.T) {
	x := newTokenizer([]string{"ab", "bcd", "abc", "d", "a", "b", "c"}, []int64{4, 4, 3, 1, 1, 1, 1})
	for special, want := range map[bool]string{false: "ab cd", true: "abc d"} {
		var got []string
		for _, p := range x.cut("abcd", special) {
			if got = append(got, p.text); p.token != none {
				got[len(got)-1] += x.tokens[p.token]
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("special %v: %q, want %q", special, got, want)
		}
	}
}

// TestLimit: added tokens that a model has no embedding of are left out, and others are an error.
func TestLimit(t *testing.T) {
	data, err := os.ReadFile("testdata/huggingface/gemma.json")
	if err != nil {
		t.Fatal(err)
	}
	x, err := FromHuggingFace(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := x.Len() - 3 // <|start|>, <|end|> and another were added
	if err := x.Limit(n); err != nil || x.Len() != n || x.IsEnd(int32(n+1)) {
		t.Fatalf("%d tokens, %v", x.Len(), err)
	}
	if err := x.Limit(n); err != nil {
		t.Error(err)
	}
	for _, id := range x.Encode("<|start|>Hello, w<|end|>", true) {
		if int(id) >= n {
			t.Errorf("token %d of %d", id, n)
		}
	}
	if err := x.Limit(n - 1); err == nil || !strings.Contains(err.Error(), "the model has") {
		t.Errorf("error %v", err)
	}
}
