package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/examples/internal/gguf"
	"github.com/qkv-go/qkv/examples/internal/models"
)

func llama(args ...string) (code int, stdout, stderr string) {
	var out, errOut strings.Builder
	code = command(args, &out, &errOut)
	return code, out.String(), errOut.String()
}

// TestShow: the program has the same tokens with any number of workers, and as many lines with any
// type of cache.
func TestShow(t *testing.T) {
	rates := regexp.MustCompile(`\d+ tokens/s`)
	var first string
	for _, args := range [][]string{{}, {"-workers", "1"}, {"-workers", "3"}, {"-kv", "int8"}, {"-kv", "q8_0"}, {"-seed", "2"}, {"-tokens", "40"}} {
		code, stdout, stderr := llama(append([]string{"-tokens", "16"}, args...)...)
		stdout = rates.ReplaceAllString(stdout, "tokens/s")
		if first == "" {
			first = stdout
		}
		same := len(args) == 0 || args[0] == "-workers"
		if code != exitOK || stderr != "" || (stdout == first) != same || strings.Count(stdout, "\n") != strings.Count(first, "\n") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// TestLlama2C: a file of llama2.c is a model with the tokenizer beside it. Its layers add nothing, and a token stands for
// itself, so it repeats the last one.
func TestLlama2C(t *testing.T) {
	const width, ffn, layers, heads, kvHeads, vocab, context = 8, 12, 2, 2, 1, 9, 40
	const weights = layers * (2*width*width + 2*width*width*kvHeads/heads + 3*width*ffn)
	var b, tokens bytes.Buffer
	write := func(b *bytes.Buffer, values ...any) {
		for _, v := range values {
			if err := binary.Write(b, binary.LittleEndian, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(&b, []int32{width, ffn, layers, heads, kvHeads, vocab, context})
	embedding, ones := make([]float32, vocab*width), slices.Repeat([]float32{1}, width)
	write(&tokens, int32(6))
	for i, token := range []string{"<unk>", "\n<s>\n", "\n</s>\n", " ", "a", "b", "c", "d", "e"} {
		embedding[i*width+i%width] = 1
		write(&tokens, float32(-i), int32(len(token)), []byte(token))
	}
	write(&b, embedding, make([]float32, layers*width+weights+layers*width), ones, make([]float32, context*width/heads))
	folder := t.TempDir()
	name := filepath.Join(folder, "model.bin")
	for _, c := range []struct {
		file     string
		data     []byte
		code     int
		out, err string
	}{
		{"model.bin", b.Bytes()[:99], exitFailed, "", "the file has 99 bytes, its header says"},
		{"model.bin", append(bytes.Clone(b.Bytes()[:24]), 31, 0, 0, 0), exitFailed, "", "its header says"},
		{"model.bin", b.Bytes(), exitFailed, "", "tokenizer.bin"},
		{"tokenizer.bin", tokens.Bytes()[:50], exitFailed, "", "tokenizer.bin: tokenizer: "},
		{"tokenizer.bin", tokens.Bytes(), exitOK, "abccc\n", "tokens/s"},
	} {
		if err := os.WriteFile(filepath.Join(folder, c.file), c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := llama("-model", name, "-prompt", "abc", "-tokens", "2"); code != c.code || stdout != c.out || !strings.Contains(stderr, c.err) {
			t.Errorf("exit code %d\n%s%s, want %q and %q", code, stdout, stderr, c.out, c.err)
		}
	}
}

func TestUsage(t *testing.T) {
	long := filepath.Join(t.TempDir(), "long")
	if err := cmp.Or(os.WriteFile(long, nil, 0o600), os.Truncate(long, mostText+1)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-kv", "int4"}, exitUsage, "llama: invalid value \"int4\" for flag -kv: want float32, float16, bfloat16, int8, q8_0, e4m3, e5m2, q4_0, q4_1\n"},
		{[]string{"-class", "int4"}, exitUsage, "llama: invalid value \"int4\" for flag -class: want float32, int8, bfloat16\n"},
		{[]string{"-class", "int8"}, exitUsage, "llama: -class goes with -model\n"},
		{[]string{"-top-k", "3", "-hadamard"}, exitUsage, "llama: -hadamard goes with -model\n"},
		{[]string{"-model", "x", "-prompt", "z", "-compare"}, exitUsage, "llama: -compare goes with -perplexity\n"},
		{[]string{"-model", "x", "-prompt", "y", "-prompt", "z", "-prompt-cache", "c"}, exitUsage, "llama: -prompt-cache goes with one -prompt\n"},
		{[]string{"-model", "x", "-speed", "pp3", "-prompt-cache", "c"}, exitUsage, "llama: -prompt-cache goes with one -prompt\n"},
		{[]string{"-model", "testdata/tiny.gguf", "-explain", "-context", "1"}, exitFailed, "llama: -explain is of 2 tokens and more, the model reads 1\n"},
		{[]string{"-explain"}, exitUsage, "llama: -model goes with -prompt, -perplexity, -speed or -explain\n"},
		{[]string{"-draft", "2"}, exitUsage, "llama: -draft goes with -prompt\n"},
		{[]string{"-tokens", "3"}, exitUsage, "llama: -tokens is 3, at least 8 are needed\n"},
		{[]string{"-model", "x"}, exitUsage, "llama: -model goes with -prompt, -perplexity, -speed or -explain\n"},
		{[]string{"-model", "x", "-prompt", "x", "-speed", "pp1"}, exitUsage, "llama: -prompt, -perplexity and -speed exclude each other\n"},
		{[]string{"-model", "x", "-prompt", "x", "-perplexity", "y"}, exitUsage, "llama: -prompt, -perplexity and -speed exclude each other\n"},
		{[]string{"-model", "x", "-perplexity", "y", "-speed", "pp1"}, exitUsage, "llama: -prompt, -perplexity and -speed exclude each other\n"},
		{[]string{"-prompt", "x"}, exitUsage, "llama: -model goes with -prompt, -perplexity, -speed or -explain\n"},
		{[]string{"-model", "x", "-speed", "pp512,pp0"}, exitUsage, "llama: invalid value \"pp512,pp0\" for flag -speed: \"pp0\" is no work such as pp512 or tg64@4096\n"},
		{[]string{"-model", "x", "-speed", "tg5@-1"}, exitUsage, "llama: invalid value \"tg5@-1\" for flag -speed: \"tg5@-1\" is no work such as pp512 or tg64@4096\n"},
		{[]string{"-model", "x", "-speed", "pp9999999"}, exitUsage, "llama: invalid value \"pp9999999\" for flag -speed: \"pp9999999\" is no work such as pp512 or tg64@4096\n"},
		{[]string{"-model", "testdata/tiny.gguf", "-speed", "pp9999"}, exitFailed, "llama: a work has 9999 tokens, the model reads 256\n"},
		{[]string{"-model", "x", "-prompt", "z", "-tokens", "0"}, exitUsage, "llama: -tokens is 0, at least 1 is needed\n"},
		{[]string{"-temperature", "NaN"}, exitUsage, "llama: -temperature is NaN, a finite number from 0 on is supported\n"},
		{[]string{"-temperature", "-0.1"}, exitUsage, "llama: -temperature is -0.1, a finite number from 0 on is supported\n"},
		{[]string{"-temperature", "Inf"}, exitUsage, "llama: -temperature is +Inf, a finite number from 0 on is supported\n"},
		{[]string{"-top-p", "1.1"}, exitUsage, "llama: -top-p is 1.1, 0 to 1 is supported\n"},
		{[]string{"-top-p", "NaN"}, exitUsage, "llama: -top-p is NaN, 0 to 1 is supported\n"},
		{[]string{"-min-p", "-1"}, exitUsage, "llama: -min-p is -1, 0 to 1 is supported\n"},
		{[]string{"-min-p", "NaN"}, exitUsage, "llama: -min-p is NaN, 0 to 1 is supported\n"},
		{[]string{"-top-k", "-1"}, exitUsage, "llama: -top-k is -1, at least 0 is needed\n"},
		{[]string{"-draft", "-2"}, exitUsage, "llama: -draft is -2, at least 0 is needed\n"},
		{[]string{"-context", "-3"}, exitUsage, "llama: -context is -3, at least 0 is needed\n"},
		{[]string{"-model", "main.go", "-prompt", "z"}, exitFailed, "llama: main.go: gguf: the file begins with \"// C\", GGUF is needed\n"},
		{[]string{"x"}, exitUsage, "llama: unexpected \"x\"; try -h\n"},
		{[]string{"-workers", "-1"}, exitFailed, "llama: workers is -1, at least 0 is needed\n"},
		{[]string{"-model", "testdata/tiny.gguf", "-perplexity", long}, exitFailed, "llama: " + long + " has 134217729 bytes, up to 134217728 are read\n"},
		{[]string{"-model", "testdata/tiny.gguf", "-prompt", "x", "-key-mean", long}, exitFailed, "llama: " + long + " has 134217729 bytes, up to 134217728 are read\n"},
	} {
		if code, stdout, stderr := llama(c.args...); code != c.code || stdout != "" || stderr != c.want {
			t.Errorf("%v: exit code %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	code, stdout, stderr := llama("-h")
	for _, names := range []string{"float32, float16, bfloat16, int8, q8_0, e4m3, e5m2, q4_0, q4_1\n", "float32, int8, bfloat16\n"} {
		if code != exitOK || !strings.Contains(stdout, names) || stderr != "" {
			t.Errorf("-h: exit code %d, want %q\n%s%s", code, names, stdout, stderr)
		}
	}
}

// TestReferenceUsage: reference.py says what it does where it is asked for what there is not.
func TestReferenceUsage(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	for _, c := range []struct{ args, want string }{
		{"quantize LIB FILE Q9_K OUT", "there is no type Q9_K; there are F32, F16, Q4_0, "},
		{"quantize LIB FILE", "quantize: missing a required argument: 'kind'\n\nMakes what tests "},
		{"continue LIB FILE PROMPT 3 4", "continue: too many positional arguments\n\nMakes what tests "},
		{"speak", "Makes what tests "},
		{"", "Makes what tests "},
	} {
		var stderr strings.Builder
		cmd := exec.Command(python, append([]string{"reference.py"}, strings.Fields(c.args)...)...)
		cmd.Stderr = &stderr
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.HasPrefix(stderr.String(), c.want) {
			t.Errorf("%s: %v\n%.200s", c.args, err, stderr.String())
		}
	}
}

// TestLimit: no number of tokens is too large to ask for.
func TestLimit(t *testing.T) {
	for _, c := range [][4]int{{5, 3, 20, 8}, {5, 16, 20, 21}, {5, 17, 20, 21}, {20, 1, 20, 21}, {5, math.MaxInt, 20, 21}} {
		if got := limit(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("%d tokens and %d more, of a model that reads %d: %d, want %d", c[0], c[1], c[2], got, c[3])
		}
	}
}

// TestTiny: the model that comes with the repository adds, and knows what these documents look like.
func TestTiny(t *testing.T) {
	tiny := []string{"-model", "testdata/tiny.gguf"}
	for i, args := range [][]string{{}, {"-class", "int8"}, {"-in-place", "-kv", "q8_0"}, {"-draft", "3"}, {"-workers", "1", "-temperature", "0.1"}} {
		for j, sum := range []string{"12+34=46", "7+93=100", "999+1=1000"} {
			if testing.Short() && i%3 != j {
				continue
			}
			prompt := sum[:strings.Index(sum, "=")+1]
			code, stdout, stderr := llama(slices.Concat(tiny, args, []string{"-prompt", prompt})...)
			if code != exitOK || stdout != sum+"\n" || !strings.Contains(stderr, "tokens/s") {
				t.Errorf("%v, %s: exit code %d\n%s%s", args, prompt, code, stdout, stderr)
			}
		}
	}
	if testing.Short() || os.Getenv("QKV_KERNEL") != "" { // which changes no bit, and takes minutes in Go
		return
	}
	for _, class := range []string{"float32", "int8", "bfloat16"} {
		code, stdout, stderr := llama(append(tiny, "-class", class, "-perplexity", "testdata/text.txt")...)
		if code != exitOK || !regexp.MustCompile(`^perplexity (3\.9|4\.0)\d+ of 19431 tokens, in parts of 256\n$`).MatchString(stdout) {
			t.Errorf("class %s: exit code %d\n%s%s", class, code, stdout, stderr)
		}
	}
}

// TestFolder: a folder of Hugging Face is a model with its tokenizer, as a GGUF file is.
func TestFolder(t *testing.T) {
	f, err := gguf.Open("testdata/tiny.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tokens, _ := f.Texts("tokenizer.ggml.tokens")
	vocab := map[string]int{}
	for id, token := range tokens {
		vocab[token] = id
	}
	end := map[string]any{"id": "<|endoftext|>"}
	tokenizer, err := json.Marshal(map[string]any{
		"added_tokens":   []any{map[string]any{"id": 256, "content": "<|endoftext|>", "special": true}},
		"pre_tokenizer":  map[string]any{"type": "ByteLevel"},
		"post_processor": map[string]any{"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": end}, map[string]any{"Sequence": map[string]any{"id": "A"}}}},
		"model":          map[string]any{"type": "BPE", "vocab": vocab},
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, data := range map[string][]byte{
		"config.json": readFile(t, "testdata/tiny.config.json"), "model.safetensors": readFile(t, "testdata/tiny.safetensors"), "tokenizer.json": tokenizer,
	} {
		code, stdout, stderr := llama("-model", folder, "-prompt", "x")
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, folder) {
			t.Errorf("without %s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, class := range []string{"float32", "bfloat16"} {
		code, stdout, stderr := llama("-model", folder, "-class", class, "-prompt", "12+34=")
		if code != exitOK || stdout != "12+34=46\n" || !strings.Contains(stderr, "generate  3 tokens") {
			t.Errorf("class %s: exit code %d\n%s%s", class, code, stdout, stderr)
		}
	}
	cache := []string{"-model", folder, "-prompt", "12+34=", "-prompt-cache", filepath.Join(t.TempDir(), "cache")}
	for range 2 { // writes it, then reads it
		if code, stdout, stderr := llama(cache...); code != exitOK || stdout != "12+34=46\n" {
			t.Errorf("-prompt-cache: exit code %d\n%s%s", code, stdout, stderr)
		}
	}
	other := readFile(t, "testdata/tiny.config.json")
	if err := os.WriteFile(filepath.Join(folder, "config.json"), append(other, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := llama(cache...); code != exitFailed || !strings.Contains(stderr, "is of another model") {
		t.Errorf("-prompt-cache of another folder: exit code %d\n%s%s", code, stdout, stderr)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestExplain: what runs is said by itself, and before a prompt.
func TestExplain(t *testing.T) {
	tiny := []string{"-model", "testdata/tiny.gguf", "-class", "int8", "-kv", "int8", "-explain"}
	code, stdout, stderr := llama(tiny...)
	for _, part := range []string{
		"a prompt of 255 tokens, attention of layer 0\nprefill on ", "a token behind 255, attention of layer 0\ndecode on ",
		"a token behind 255, gate and up of layer 0\npacked on ", "a token behind 255, logits of one token\npacked on ", "keys are multiplied as integers",
	} {
		if code != exitOK || !strings.Contains(stdout, part) || stderr != "" {
			t.Errorf("exit code %d, want %q\n%s%s", code, part, stdout, stderr)
		}
	}
	if code, with, _ := llama(append(tiny, "-prompt", "12+34=")...); code != exitOK || with != stdout+"12+34=46\n" {
		t.Errorf("with a prompt: exit code %d\n%s", code, with)
	}
}

// TestPrompts: prompts side by side are continued as each alone, with drafts and samples as well, and printed in their order.
func TestPrompts(t *testing.T) {
	prompts := []string{"Attention of ", "7+93=", "The keys and values of ", "12+34="}
	for _, args := range [][]string{{}, {"-draft", "3"}, {"-temperature", "0.7", "-seed", "3"}, {"-temperature", "0.7", "-seed", "3", "-draft", "3"}} {
		args := append([]string{"-model", "testdata/tiny.gguf", "-tokens", "30"}, args...)
		want, together := "", args
		for i, p := range prompts {
			code, stdout, stderr := llama(slices.Concat(args, []string{"-prompt", p})...)
			if code != exitOK || !strings.HasPrefix(stdout, p) {
				t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
			}
			if i > 0 {
				want += "\n"
			}
			want, together = want+stdout, append(together, "-prompt", p)
		}
		if code, stdout, stderr := llama(together...); code != exitOK || stdout != want || !strings.Contains(stderr, "prompt    51 tokens") {
			t.Errorf("%v: exit code %d\n%s%s\nwant\n%s", together, code, stdout, stderr, want)
		}
	}
	if code, _, stderr := llama("-model", "testdata/tiny.gguf", "-prompt", "12+34=", "-prompt", strings.Repeat("x", 300)); code != exitFailed || stderr != "llama: prompt 2 has 301 tokens, the model reads 256\n" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestPromptCache: a prompt that begins as one before is continued as without a file, and what that has is not read again.
func TestPromptCache(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cache")
	tiny := []string{"-model", "testdata/tiny.gguf", "-tokens", "20", "-kv", "q8_0", "-prompt"}
	_, first, _ := llama(append(tiny, "Attention of ")...)
	for _, c := range []struct{ prompt, has string }{
		{"Attention of ", ""}, {"Attention of ", "without the first 13, which " + file}, {first[:20], "without the first 20,"},
		{"Attention to", "without the first 11,"}, {"12+34=", "without the first 1,"}, {"12+35=", "without the first 5,"},
	} {
		_, want, _ := llama(append(tiny, c.prompt)...)
		code, stdout, stderr := llama(append(tiny, c.prompt, "-prompt-cache", file)...)
		if code != exitOK || stdout != want || !strings.Contains(stderr, c.has) || c.has == "" && strings.Contains(stderr, "without") {
			t.Errorf("%q: exit code %d\n%s%s\nwant\n%s", c.prompt, code, stdout, stderr, want)
		}
	}
	if code, stdout, stderr := llama(append(tiny, "x", "-prompt-cache", filepath.Join(dir, "none", "cache"))...); code != exitFailed || stdout != "" || !strings.Contains(stderr, "none") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(whole)
	damaged[len(damaged)-9] ^= 1
	for _, c := range []struct {
		data []byte
		args []string
		want string
	}{
		{whole, []string{"-kv", "float32"}, " is of another model, or of other options"},
		{whole, []string{"-class", "int8"}, " is of another model, or of other options"},
		{whole, []string{"-hadamard"}, " is of another model, or of other options"},
		{whole, []string{"-key-mean", "main.go"}, " is of another model, or of other options"},
		{whole[:43], nil, " is no file of -prompt-cache"},
		{slices.Concat(whole[:40], []byte("\xff\xff\xff\xff"), whole[44:]), nil, " says 4294967295 tokens, the model reads "},
		{[]byte(strings.Repeat("qkvtext", 9)), nil, " is no file of -prompt-cache"},
		{whole[:len(whole)-1], nil, "unexpected EOF"},
		{damaged, nil, "checksum"},
	} {
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := llama(slices.Concat(tiny, []string{"12+34=", "-prompt-cache", file}, c.args)...)
		if left, err := os.ReadFile(file); code != exitFailed || stdout != "" || !strings.Contains(stderr, c.want) || err != nil || !slices.Equal(left, c.data) {
			t.Errorf("%v: exit code %d\n%s%s, want %q", c.args, code, stdout, stderr, c.want)
		}
	}
}

// TestSpeed: every work has a rate.
func TestSpeed(t *testing.T) {
	code, stdout, stderr := llama("-model", "testdata/tiny.gguf", "-speed", "pp3,tg2@5", "-class", "int8")
	if code != exitOK || stderr != "" || !regexp.MustCompile(`^pp3 +[1-9][0-9.]* tokens/s\ntg2@5 +[1-9][0-9.]* tokens/s\n$`).MatchString(stdout) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// TestModelGemma: Gemma 3 writes what is so, in each class.
func TestModelGemma(t *testing.T) {
	file := models.Path(t, models.Gemma3)
	for _, class := range []string{"float32", "int8", "bfloat16"} {
		code, stdout, stderr := llama("-model", file, "-class", class, "-prompt", "Water boils at", "-tokens", "8")
		if code != exitOK || !strings.HasPrefix(stdout, "Water boils at 100 degrees Celsius") {
			t.Errorf("class %s: exit code %d\n%s%s", class, code, stdout, stderr)
		}
	}
}

// TestModel: a trained model knows what every child does, with drafts as without; and another type of cache changes
// little of what it thinks of a text.
func TestModel(t *testing.T) {
	file := models.Path(t, models.SmolLM2)
	profile := filepath.Join(t.TempDir(), "cpu")
	code, stdout, stderr := llama("-model", file, "-prompt", "The capital of France is", "-tokens", "8", "-cpuprofile", profile)
	if info, err := os.Stat(profile); err != nil || info.Size() == 0 {
		t.Errorf("no profile: %v", err)
	}
	if code != exitOK || !strings.HasPrefix(stdout, "The capital of France is Paris") || !strings.Contains(stderr, "tokens/s") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if testing.Short() {
		return
	}
	class := []string{"-model", file, "-class", "int8", "-prompt", "The capital of France is", "-tokens", "12"}
	for _, kv := range []string{"float32", "int8"} { // keys of int8 are multiplied as integers, which changes bits
		code, packed, stderr := llama(append(class, "-kv", kv)...)
		if _, inPlace, _ := llama(append(class, "-kv", kv, "-in-place")...); code != exitOK || inPlace != packed || !strings.HasPrefix(packed, "The capital of France is Paris") {
			t.Errorf("class int8, %s: exit code %d\n%s%s\nin place\n%s", kv, code, packed, stderr, inPlace)
		}
	}
	turn := []string{"-model", file, "-kv", "float16", "-tokens", "30", "-prompt", "<|im_start|>user\nSay 1 2 3 1 2 3.<|im_end|>\n<|im_start|>assistant\n"}
	_, plain, _ := llama(turn...)
	code, stdout, stderr = llama(append(turn, "-draft", "4")...)
	if code != exitOK || stdout != plain || !strings.Contains(stderr, "guesses are kept") || len(stdout) < len(turn[7])+4 {
		t.Errorf("exit code %d\n%s%s\nwithout a draft\n%s", code, stdout, stderr, plain)
	}
	turn = append(turn, "-temperature", "0.8", "-top-k", "40", "-top-p", "0.95", "-min-p", "0.05", "-seed")
	_, one, _ := llama(append(turn, "1")...)
	if _, again, _ := llama(append(turn, "1")...); again != one {
		t.Errorf("%s\nand with the same seed\n%s", one, again)
	}
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 70)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = llama("-model", file, "-perplexity", text, "-kv", "q8_0", "-workers", "1")
	if code != exitOK || !strings.HasPrefix(stdout, "perplexity 1.0") || !strings.Contains(stdout, "of 255 tokens, in parts of 512") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = llama("-model", file, "-perplexity", text, "-class", "int8", "-compare", "-kv", "int8", "-hadamard", "-key-mean", text)
	if code != exitOK || !strings.HasPrefix(stdout, "perplexity 1.0") || !strings.Contains(stdout, "\nlogits     off by up to ") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := llama("-model", file, "-prompt", "The capital of France is", "-context", "3"); code != exitFailed || !strings.Contains(stderr, "5 tokens, the model reads 3") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
