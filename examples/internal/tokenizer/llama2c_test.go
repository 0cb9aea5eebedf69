package tokenizer

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// llama2C returns a tokenizer.bin of bytes and some pieces, the first of which has the best score.
func llama2C(pieces ...string) (data []byte, n int) {
	tokens := []string{"<unk>", "\n<s>\n", "\n</s>\n"}
	for i := range 256 {
		tokens = append(tokens, fmt.Sprintf("<0x%02X>", i))
	}
	tokens = append(tokens, pieces...)
	data = binary.LittleEndian.AppendUint32(nil, 27)
	for i, token := range tokens {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(-float32(i)))
		data = binary.LittleEndian.AppendUint32(data, uint32(len(token)))
		data = append(data, token...)
	}
	return data, len(tokens)
}

// TestLlama2C: tokens are those of llama2.c's run.c, by hand: a space before the text, the pair of the best score first, and
// bytes of what is no token.
func TestLlama2C(t *testing.T) {
	data, n := llama2C("he", "ll", " he", "llo", "hello", " ", "h", "e", "l", "o", "é")
	x, err := FromLlama2C(data, n)
	if err != nil {
		t.Fatal(err)
	}
	id := func(token string) int32 {
		i, ok := x.ids[strings.ReplaceAll(token, " ", space)]
		if !ok {
			t.Fatalf("no token %q", token)
		}
		return i
	}
	for text, want := range map[string][]int32{
		"":       {1},
		"hello":  {1, id(" he"), id("llo")}, // he, ll, " he", and llo before hello
		"lo o":   {1, id(" "), id("l"), id("o"), id(" "), id("o")},
		"éx\n":   {1, id(" "), id("é"), 3 + 'x', 3 + '\n'},
		"日":      {1, id(" "), 3 + 0xe6, 3 + 0x97, 3 + 0xa5},
		" hello": {1, id(" "), id(" he"), id("llo")},
	} {
		got := x.Encode(text, false)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if back := x.Decode(got); back != text {
			t.Errorf("%q: back it is %q", text, back)
		}
	}
	if !x.IsEnd(1) || !x.IsEnd(2) || x.IsEnd(3) || x.Len() != n {
		t.Errorf("ends, or %d tokens", x.Len())
	}
	for _, c := range []struct {
		data []byte
		n    int
		want string
	}{
		{data, n + 1, fmt.Sprintf("ends before token %d of %d", n, n+1)},
		{data, n - 1, "10 bytes follow the last of "},
		{data, 2, "there are 2 tokens, at least 3 are needed"},
		{data, math.MaxInt, "the file has"},
		{nil, 3, "the file has 0 bytes, 3 tokens take 28 at least"},
		{data[:len(data)-1], n, "has 2 bytes, the file 1 more"},
		{append(binary.LittleEndian.AppendUint32(slices.Clone(data[:8]), math.MaxUint32), data[12:]...), n, "token 0 of 270 has -1 bytes"},
		{append(binary.LittleEndian.AppendUint32(slices.Clone(data[:4]), 0x7fc00000), data[8:]...), n, "a score is NaN"},
	} {
		if _, err := FromLlama2C(c.data, c.n); err == nil || !strings.HasPrefix(err.Error(), "tokenizer: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d of %d bytes, %d tokens: error %v, want %q", len(c.data), len(data), c.n, err, c.want)
		}
	}
}

// FuzzLlama2C: any file is a tokenizer or an error, and a tokenizer takes any text.
func FuzzLlama2C(f *testing.F) {
	data, n := llama2C("he", " ", "é")
	f.Add(data, n, "he é日")
	f.Fuzz(func(t *testing.T, data []byte, n int, text string) {
		x, err := FromLlama2C(data, n)
		if err != nil {
			return
		}
		for _, id := range x.Encode(text, true) {
			if id < 0 || int(id) >= n {
				t.Fatalf("token %d of %d", id, n)
			}
		}
	})
}
