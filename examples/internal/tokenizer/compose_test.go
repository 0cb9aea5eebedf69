package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// TestMarks: texts with many marks behind a letter have the form NFC, and the tokens, that Hugging Face's tokenizers give them.
func TestMarks(t *testing.T) {
	data, err := os.ReadFile("testdata/marks.json") // by reference.py
	if err != nil {
		t.Fatal(err)
	}
	var want []struct {
		Text, NFC string
		IDs       []int32
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile("testdata/huggingface/qwen.json"); err != nil {
		t.Fatal(err)
	}
	x, err := FromHuggingFace(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	many := 0
	for _, c := range want {
		if norm.NFC.String(c.Text) != c.NFC {
			many++
		}
		if got := nfc(c.Text); got != c.NFC {
			t.Errorf("%+q:\n%+q\nwant\n%+q", c.Text, got, c.NFC)
		}
		if got := x.Encode(c.Text, true); !slices.Equal(got, c.IDs) {
			t.Errorf("%+q:\n%v\nwant\n%v", c.Text, got, c.IDs)
		}
	}
	if many < 10 {
		t.Errorf("package norm puts a joiner into %d texts, at least 10 are expected", many)
	}
}

// TestCompose: where there are few marks, texts composed here are those that package norm composes.
func TestCompose(t *testing.T) {
	var all strings.Builder
	for r := range rune(0x30000) {
		if r < 0xd800 || r > 0xdfff {
			text := string([]rune{'a', 0x0323, r, 0x0316, 0x0301, r, 0x1161, 'e', 0x0302})
			if got, want := string(compose(decompose(text))), norm.NFC.String(text); got != want {
				t.Fatalf("%+q: %+q, want %+q", text, got, want)
			}
			all.WriteString(string(r) + "a")
		}
	}
	if got, want := string(compose(decompose(all.String()))), norm.NFC.String(all.String()); got != want {
		t.Error("a text of all characters differs")
	}
}
