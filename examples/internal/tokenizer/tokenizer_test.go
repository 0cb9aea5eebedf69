package tokenizer

import (
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/examples/internal/gguf"
	"github.com/qkv-go/qkv/examples/internal/ggufbuild"
	"github.com/qkv-go/qkv/examples/internal/models"
)

// TestModels: tokens of texts by the vocabularies of models are those of llama.cpp, and make the texts again.
func TestModels(t *testing.T) {
	data, err := os.ReadFile("testdata/tokens.json") // by examples/llama/reference.py
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][]struct {
		Text    string
		Special bool
		IDs     []int32
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"smollm2": models.SmolLM2, "gemma3": models.Gemma3} {
		t.Run(name, func(t *testing.T) {
			f, err := gguf.Open(models.Path(t, file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, err := FromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			if len(want[name]) < 100 {
				t.Errorf("%d texts", len(want[name]))
			}
			for _, c := range want[name] {
				got := x.Encode(c.Text, c.Special)
				if !slices.Equal(got, c.IDs) {
					t.Errorf("%.100q, special %v:\n%v\nwant\n%v", c.Text, c.Special, got, c.IDs)
				}
				back := x.Decode(got)
				if name == "gemma3" { // which has no other character for a space
					c.Text = strings.ReplaceAll(c.Text, space, " ")
				}
				if !c.Special && back != c.Text {
					t.Errorf("%.100q: back it is %.100q", c.Text, back)
				}
			}
		})
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ pre, text, want string }{
		{"gpt-2", "Hello world's  12 x!?\n\n y ", "Hello| world|'s| | 12| x|!?|\n\n| y| "},
		{"gpt-2", "don'T 'll'v  ", "don|'|T| '|ll|'|v|  "},
		{"smollm", "a 12  5½b", "a| |1|2|  |5|½|b"},
		{"smollm", "x  y1  2", "x| | y|1|  |2"},
		{"llama-bpe", "I'M 12345 a_b\r\n\r\n  x=(y)!\n z", "I|'M| |123|45| a|_b|\r\n\r\n| | x|=(|y|)!\n| z"},
		{"llama-bpe", " \n \n  a\t\tb", " \n \n| | a|\t|\tb"},
		{"llama-bpe", "..\n\na  ", "..\n\n|a|  "},
		{"qwen2", "a 123 ٣٤", "a| |1|2|3| |٣|٤"},
		{"qwen2", "日本 é\xffx", "日本| é|\xffx"},
		{"qwen2", "'REal 'x", "'RE|al| '|x"},
		{"gpt-4o", "HelloWorld don't I'LL HTTPServer x//\n/a", "Hello|World| don't| I'LL| HTTPServer| x|//\n/|a"}, // by Python's regex
		{"gpt-4o", "日本語Text ABC日本 aB'sC'd", "日本語Text| ABC日本| a|B's|C'd"},
		{"gpt-4o", "12345 a1B2", "123|45| a|1|B|2"},
		{"gpt-4o", "e\u0301E\u0301 \u0301a  \u0301", "e\u0301|E\u0301| \u0301a| | \u0301"},
		{"gpt-4o", "http://a.b/c\n/d !!!/\r\n/x", "http|://|a|.b|/c|\n|/d| !!!/\r\n/|x"},
	} {
		var got []string
		for piece := range splitters[c.pre].split(c.text) {
			got = append(got, piece)
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s, %q: %q, want %q", c.pre, c.text, s, c.want)
		}
	}
}

// TestSplitLongS: ſ is an s of a contraction in the expressions of tokenizer.json, whose (?i:s) has it, as tokenizers 0.23.3 cuts these
// texts, and not in those of llama.cpp.
func TestSplitLongS(t *testing.T) {
	const text = "x'ſt 'ſ ſ'S"
	for _, c := range []struct {
		what  string
		split splitter
		want  string
	}{
		{"qwen2", splitters["qwen2"].split, "x|'ſt| '|ſ| ſ|'S"},
		{"gpt-4o", splitters["gpt-4o"].split, "x|'ſt| '|ſ| ſ'S"},
		{"gpt-2 of a file", hfSplits[gpt2Pattern], "x|'|ſt| '|ſ| ſ|'|S"},
		{"llama3 of a file", hfSplits[strings.Replace(llama3Pattern, "%d", "3", 1)], "x|'ſ|t| '|ſ| ſ|'S"},
		{"qwen2 of a file", hfSplits[strings.Replace(llama3Pattern, "{1,%d}", "", 1)], "x|'ſ|t| '|ſ| ſ|'S"},
		{"o200k of a file", hfSplits[o200kPattern], "x'ſ|t| '|ſ| ſ'S"},
	} {
		if s := strings.Join(slices.Collect(c.split(text)), "|"); s != c.want {
			t.Errorf("%s: %q, want %q", c.what, s, c.want)
		}
	}
}

// FuzzSplit: pieces are never empty, and together the text; a consumer may stop.
func FuzzSplit(f *testing.F) {
	f.Add("Hello world's  12 x!?\r\n\n y \xff")
	f.Fuzz(func(t *testing.T, text string) {
		for name, s := range splitters {
			all := ""
			for piece := range s.split(text) {
				if piece == "" || len(all) > len(text) {
					t.Fatalf("%s: %q after %q", name, piece, all)
				}
				all += piece
			}
			if all != text {
				t.Errorf("%s: %q of %q", name, all, text)
			}
			next, stop := iter.Pull(s.split(text))
			next()
			stop()
		}
	})
}

// small returns a file with a vocabulary.
func small(t testing.TB, model, pre string, tokens []string, types []int32, more ...ggufbuild.Key) *gguf.File {
	f, err := gguf.Parse(ggufbuild.File(append([]ggufbuild.Key{
		{Name: "tokenizer.ggml.model", Value: model}, {Name: "tokenizer.ggml.pre", Value: pre},
		{Name: "tokenizer.ggml.tokens", Value: tokens}, {Name: "tokenizer.ggml.token_type", Value: types},
	}, more...), nil))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// bytePairs is a vocabulary of byte-level BPE: <s>, </s>, the letters a to h and the space, and merges.
func bytePairs(t testing.TB, more ...ggufbuild.Key) *gguf.File {
	tokens := []string{"<s>", "</s>", "a", "b", "c", "d", "e", "f", "g", "h", "Ġ", "ab", "bc", "abc", "Ġab", "<x>"}
	types := []int32{3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4}
	return small(t, "gpt2", "gpt-2", tokens, types, append([]ggufbuild.Key{
		{Name: "tokenizer.ggml.merges", Value: []string{"b c", "a b", "a bc", "Ġ ab", "e f"}},
		{Name: "tokenizer.ggml.bos_token_id", Value: uint32(0)}, {Name: "tokenizer.ggml.eos_token_id", Value: uint32(1)},
	}, more...)...)
}

func pieces(scores []float32, more ...ggufbuild.Key) func(t testing.TB) *gguf.File {
	return func(t testing.TB) *gguf.File {
		tokens := []string{"<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a", "<0xC3>", "<0xA9>"}
		types := []int32{2, 3, 3, 1, 1, 1, 1, 1, 6, 6}
		return small(t, "llama", "default", tokens, types, append([]ggufbuild.Key{
			{Name: "tokenizer.ggml.scores", Value: scores},
			{Name: "tokenizer.ggml.bos_token_id", Value: uint32(1)}, {Name: "tokenizer.ggml.eos_token_id", Value: uint32(2)},
			{Name: "tokenizer.ggml.unknown_token_id", Value: uint32(0)},
		}, more...)...)
	}
}

func TestEncode(t *testing.T) {
	plain := func(t testing.TB) *gguf.File { return bytePairs(t) }
	withBOS := func(t testing.TB) *gguf.File {
		return bytePairs(t, ggufbuild.Key{Name: "tokenizer.ggml.add_bos_token", Value: true})
	}
	whole := func(t testing.TB) *gguf.File {
		return bytePairs(t, ggufbuild.Key{Name: "tokenizer.ggml.unknown_token_id", Value: uint32(9)})
	}
	better, worse := []float32{0, 0, 0, -1, -2, -2, -3, -4, 0, 0}, []float32{0, 0, 0, -1, -2, -2, -5, -4, 0, 0}
	noPrefix := ggufbuild.Key{Name: "tokenizer.ggml.add_space_prefix", Value: false}
	for _, c := range []struct {
		file    func(testing.TB) *gguf.File
		text    string
		special bool
		want    []int32
		back    string
	}{
		{plain, "abc ab abbc", false, []int32{13, 14, 14, 12}, "abc ab abbc"},
		{plain, "ef", false, []int32{6, 7}, "ef"}, // the merge is no token
		{plain, "azb", false, []int32{2, 3}, "ab"},
		{whole, "azb", false, []int32{2, 9, 3}, "ahb"},
		{plain, "a<s><x>b", true, []int32{2, 0, 15, 3}, "a<x>b"},
		{withBOS, "<x>", false, []int32{0, 15}, "<x>"},
		{pieces(better), "abé", false, []int32{1, 3, 6, 8, 9}, "abé"},
		{pieces(worse), "ab b", false, []int32{1, 7, 5, 3, 5}, "ab b"},
		{pieces(better, noPrefix), "a</s>b€", true, []int32{1, 4, 2, 5, 0, 0, 0}, "ab<unk><unk><unk>"},
	} {
		x, err := FromGGUF(c.file(t))
		if err != nil {
			t.Fatal(err)
		}
		got := x.Encode(c.text, c.special)
		if back := x.Decode(got); !slices.Equal(got, c.want) || back != c.back {
			t.Errorf("%q: %v, want %v; back it is %q", c.text, got, c.want, back)
		}
		if !x.IsEnd(x.EOS) || x.IsEnd(4) || x.Decode([]int32{-1, 1 << 30}) != "" {
			t.Error("ends")
		}
	}
}

func TestErrors(t *testing.T) {
	one := []string{"a"}
	for _, c := range []struct {
		file *gguf.File
		want string
	}{
		{small(t, "gpt2", "gpt-2", nil, nil), "no tokenizer.ggml.tokens"},
		{small(t, "gpt2", "gpt-2", one, []int32{1, 1}), "types of 2"},
		{small(t, "gpt2", "gpt-2", one, []int32{1}), "no tokenizer.ggml.merges"},
		{small(t, "bert", "", one, []int32{1}), `model is "bert"`},
		{small(t, "llama", "", one, []int32{1}), "scores of 0"},
		{small(t, "gpt2", "tekken", one, []int32{1}, ggufbuild.Key{Name: "tokenizer.ggml.merges", Value: []string{"a b"}}), `pre is "tekken"`},
		{small(t, "gpt2", "gpt-2", one, []int32{1}, ggufbuild.Key{Name: "tokenizer.ggml.merges", Value: []string{"ab"}}), `merge 0 is "ab"`},
		{small(t, "gpt2", "gpt-2", one, []int32{1}, ggufbuild.Key{Name: "tokenizer.ggml.eos_token_id", Value: uint32(1)}), "eos_token_id is 1"},
	} {
		if x, err := FromGGUF(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %v, want %q", x, err, c.want)
		}
	}
}

// TestEnds: a message of gpt-oss does not end its text.
func TestEnds(t *testing.T) {
	for want, tokens := range map[string][]string{
		"1 2":   {"a", "<|end|>", "<|im_end|>", "<|return|>"},
		"0 2 3": {"<|return|>", "<|end|>", "<|call|>", "b"},
	} {
		merges := ggufbuild.Key{Name: "tokenizer.ggml.merges", Value: []string{"a b"}}
		eos := ggufbuild.Key{Name: "tokenizer.ggml.eos_token_id", Value: uint32(want[len(want)-1] - '0')}
		x, err := FromGGUF(small(t, "gpt2", "gpt-4o", tokens, []int32{3, 3, 3, 3}, merges, eos))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range tokens {
			if x.IsEnd(int32(i)) {
				got = append(got, fmt.Sprint(i))
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q: ends are %s, want %s", tokens, s, want)
		}
	}
}

// TestLongWords: a word of many characters takes no time that grows with its square.
func TestLongWords(t *testing.T) {
	x, err := FromGGUF(bytePairs(t))
	if err != nil {
		t.Fatal(err)
	}
	const n = 200_000
	if got := len(x.Encode(strings.Repeat("abc", n), false)); got != n {
		t.Errorf("%d tokens, want %d", got, n)
	}
}

func FuzzEncode(f *testing.F) {
	bytes, err := FromGGUF(bytePairs(f, ggufbuild.Key{Name: "tokenizer.ggml.unknown_token_id", Value: uint32(9)}))
	if err != nil {
		f.Fatal(err)
	}
	scores, err := FromGGUF(pieces([]float32{0, 0, 0, -1, -2, -2, -3, -4, 0, 0})(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("ab <s> é<x>")
	f.Fuzz(func(t *testing.T, text string) {
		for _, x := range []*Tokenizer{bytes, scores} {
			for _, special := range []bool{false, true} {
				all := x.Encode(text, special)
				for _, token := range all {
					if token < 0 || int(token) >= x.Len() {
						t.Errorf("%q: %v", text, all)
					}
				}
				if strings.Trim(text, "abcdefgh ") == "" && x == bytes && x.Decode(all) != text {
					t.Errorf("%q: %v", text, fmt.Sprint(all))
				}
			}
		}
	})
}
