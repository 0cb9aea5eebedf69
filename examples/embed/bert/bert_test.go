package bert

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/bounded"
	"github.com/qkv-go/qkv/examples/internal/models"
	"github.com/qkv-go/qkv/internal/safetensorsbuild"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// readJSON reads a file that examples/embed/reference.py has made.
func readJSON(name string, x any) {
	data, err := os.ReadFile("testdata/" + name)
	must(err)
	must(json.Unmarshal(data, x))
}

// miniLM returns the trained model, on an engine.
func miniLM(t testing.TB, cfg qkv.Config, class qkv.Precision) *Model {
	t.Helper()
	dir := filepath.Dir(models.Path(t, models.MiniLM))
	e, err := qkv.New(cfg)
	must(err)
	m, err := Load(e, dir, class)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestTrained: embeddings are those of a forward pass in float64 that is not ours, all texts in one batch.
func TestTrained(t *testing.T) {
	var want []struct {
		Tokens    []int32
		Embedding []float64
	}
	readJSON("embeddings.json", &want)
	var texts [][]int32
	for _, x := range want {
		texts = append(texts, x.Tokens)
	}
	for _, c := range []struct {
		class         qkv.Precision
		cosine, error float64
	}{{qkv.PrecisionFloat32, 1 - 1e-8, 5e-7}, {qkv.PrecisionBFloat16, 0.9999, 3e-3}} {
		m := miniLM(t, qkv.Config{}, c.class)
		y := make([]float32, len(texts)*m.Width)
		if err := NewEncoder(m).Embed(y, texts); err != nil {
			t.Fatal(err)
		}
		worst, least := 0.0, 1.0
		for i, x := range want {
			cosine, size := 0.0, 0.0
			for j, v := range y[i*m.Width:][:m.Width] {
				worst = max(worst, math.Abs(float64(v)-x.Embedding[j]))
				cosine += float64(v) * x.Embedding[j]
				size += float64(v) * float64(v)
			}
			least = min(least, cosine/math.Sqrt(size))
			if math.Abs(size-1) > 1e-6 {
				t.Errorf("class %v, text %d: length² %v", c.class, i, size)
			}
		}
		t.Logf("class %v, %d texts: largest error %.2g, least cosine 1 - %.2g", c.class, len(texts), worst, 1-least)
		if len(texts) < 10 || !(least >= c.cosine) || !(worst <= c.error) {
			t.Errorf("class %v, %d texts: largest error %v, least cosine %v", c.class, len(texts), worst, least)
		}
	}
}

// TestModelTokens: tokens of texts are those of Hugging Face's tokenizers.
func TestModelTokens(t *testing.T) {
	vocab, err := os.ReadFile(filepath.Join(filepath.Dir(models.Path(t, models.MiniLM)), "vocab.txt"))
	must(err)
	x, err := NewTokenizer(string(vocab))
	must(err)
	var want []struct {
		Text string
		IDs  []int32
	}
	readJSON("tokens.json", &want)
	if len(want) < 100 {
		t.Errorf("%d texts", len(want))
	}
	for _, c := range want {
		if got := x.Encode(c.Text, math.MaxInt); !slices.Equal(got, c.IDs) {
			t.Errorf("%.200q:\n%v\nwant\n%v", c.Text, got, c.IDs)
		}
		cut := c.IDs
		if len(cut) > 7 {
			cut = append(slices.Clone(cut[:6]), cut[len(cut)-1])
		}
		if got := x.Encode(c.Text, 7); !slices.Equal(got, cut) {
			t.Errorf("%.200q, 7 tokens:\n%v\nwant\n%v", c.Text, got, cut)
		}
	}
}

// small is the shape of a model for tests.
var small = Config{
	Type: "bert", Layers: 2, Width: 32, Heads: 2, FFN: 48, Vocab: 20, Context: 40, Types: 2, Activation: "gelu", NormEps: 1e-12,
}

// vocabulary is that of small.
const vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\nab\n##ab\n,\n!\nc\n##c\ne\nthe\n中\n##the\n['\n1\n"

// folder writes a random model of a shape.
func folder(t testing.TB, c Config) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) { must(os.WriteFile(filepath.Join(dir, name), data, 0o600)) }
	config, err := json.Marshal(c)
	must(err)
	write("config.json", config)
	write("vocab.txt", []byte(vocabulary))
	r := rand.New(rand.NewPCG(1, 1))
	var tensors []safetensorsbuild.Tensor
	tensor := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := make([]float32, n)
		for i := range x {
			x[i] = r.Float32() - 0.4
		}
		tensors = append(tensors, safetensorsbuild.Tensor{Name: name, Type: "F32", Shape: shape, Data: safetensorsbuild.Float32(x)})
	}
	norm := func(name string) {
		tensor(name+".LayerNorm.weight", c.Width)
		tensor(name+".LayerNorm.bias", c.Width)
	}
	tensor("embeddings.word_embeddings.weight", c.Vocab, c.Width)
	tensor("embeddings.position_embeddings.weight", c.Context, c.Width)
	tensor("embeddings.token_type_embeddings.weight", c.Types, c.Width)
	norm("embeddings")
	for i := range c.Layers {
		layer := fmt.Sprintf("encoder.layer.%d.", i)
		linear := func(name string, out, in int) {
			tensor(layer+name+".weight", out, in)
			tensor(layer+name+".bias", out)
		}
		for _, name := range []string{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"} {
			linear(name, c.Width, c.Width)
		}
		linear("intermediate.dense", c.FFN, c.Width)
		linear("output.dense", c.Width, c.FFN)
		norm(layer + "attention.output")
		norm(layer + "output")
	}
	write("model.safetensors", safetensorsbuild.File(tensors...))
	return dir
}

// TestSameBits: an embedding has the same bits on each set, by itself and beside others.
func TestSameBits(t *testing.T) {
	dir := folder(t, small)
	r := rand.New(rand.NewPCG(2, 1))
	var texts [][]int32
	for _, n := range []int{1, 40, 7, 2, 33, 16} {
		text := make([]int32, n)
		for i := range text {
			text[i] = int32(r.IntN(small.Vocab))
		}
		texts = append(texts, text)
	}
	for _, class := range []qkv.Precision{qkv.PrecisionFloat32, qkv.PrecisionBFloat16} {
		var want []float32
		for _, k := range qkv.Kernels() {
			if k.Missing != 0 {
				continue
			}
			for _, workers := range []int{1, 3} {
				e, err := qkv.New(qkv.Config{Kernel: k.Set.Name, Workers: workers})
				must(err)
				m, err := Load(e, dir, class)
				must(err)
				defer m.Close()
				encoder, got := NewEncoder(m), make([]float32, len(texts)*m.Width)
				for i := range texts {
					must(encoder.Embed(got[i*m.Width:][:m.Width], texts[i:i+1]))
				}
				if want == nil {
					want = slices.Clone(got)
				}
				for range 2 {
					if !slices.Equal(got, want) {
						t.Errorf("%s, class %v, %d workers: embeddings are others", k.Set.Name, class, workers)
					}
					clear(got)
					must(encoder.Embed(got, texts))
				}
			}
		}
	}
}

// TestAllocs: a batch allocates nothing.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	e, err := qkv.New(qkv.Config{Workers: 1})
	must(err)
	m, err := Load(e, folder(t, small), qkv.PrecisionFloat32)
	must(err)
	defer m.Close()
	encoder, texts := NewEncoder(m), [][]int32{{2, 4, 5, 3}, {2, 3}}
	y := make([]float32, len(texts)*m.Width)
	if n := testing.AllocsPerRun(20, func() { must(encoder.Embed(y, texts)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestEmbedErrors: what the model does not read is refused, and nothing is written.
func TestEmbedErrors(t *testing.T) {
	e, err := qkv.New(qkv.Config{})
	must(err)
	m, err := Load(e, folder(t, small), qkv.PrecisionFloat32)
	must(err)
	defer m.Close()
	encoder := NewEncoder(m)
	for _, c := range []struct {
		values int
		texts  [][]int32
		want   string
	}{
		{31, [][]int32{{1}}, "y has 31 values, 1 texts have 32 each"},
		{64, [][]int32{{1}, {}}, "text 1 has 0 tokens, 1 to 40"},
		{32, [][]int32{make([]int32, 41)}, "text 0 has 41 tokens, 1 to 40"},
		{32, [][]int32{{3, 20}}, "20"},
		{32, [][]int32{{-1}}, "-1"},
		{0, nil, ""},
	} {
		y := make([]float32, c.values)
		if err := encoder.Embed(y, c.texts); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if slices.ContainsFunc(y, func(v float32) bool { return v != 0 }) {
			t.Errorf("%s: y is written", c.want)
		}
	}
}

// TestLoadErrors: a folder that has no model, or another than its configuration says.
func TestLoadErrors(t *testing.T) {
	e, err := qkv.New(qkv.Config{})
	must(err)
	for _, c := range []struct {
		change func(c *Config)
		want   string
	}{
		{func(c *Config) { c.Type = "roberta" }, `model_type is "roberta"`},
		{func(c *Config) { c.Activation = "relu" }, `hidden_act is "relu"`},
		{func(c *Config) { c.Positions = "relative_key" }, `position_embedding_type is "relative_key"`},
		{func(c *Config) { c.Heads = 3 }, "not a multiple of num_attention_heads, 3"},
		{func(c *Config) { c.Layers = 0 }, "num_hidden_layers is 0"},
		{func(c *Config) { c.Layers = most }, `no tensor "encoder.layer.2.`},
		{func(c *Config) { c.Width = 1 << 30 }, "hidden_size is 1073741824"},
		{func(c *Config) { c.Vocab = 21 }, "is [20, 32], [21, 32] is needed"},
		{func(c *Config) { c.Vocab = 19 }, "vocab.txt has 20 tokens, the model 19"},
		{func(c *Config) { c.FFN = 49 }, "is [48, 32], [49, 32] is needed"},
		{func(c *Config) { c.NormEps = 0 }, "layer_norm_eps is 0"},
	} {
		dir, shape := folder(t, small), small
		c.change(&shape)
		data, err := json.Marshal(shape)
		must(err)
		must(os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600))
		if _, err := Load(e, dir, qkv.PrecisionFloat32); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	for name, want := range map[string]string{"config.json": "config.json", "vocab.txt": "no [CLS]", "model.safetensors": "safetensors"} {
		dir := folder(t, small)
		must(os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
		if _, err := Load(e, dir, qkv.PrecisionFloat32); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		must(os.Remove(filepath.Join(dir, name)))
		if _, err := Load(e, dir, qkv.PrecisionFloat32); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
	for name, most := range map[string]int64{"config.json": bounded.Config, "vocab.txt": mostVocab} {
		dir, size := folder(t, small), new(bounded.SizeError)
		must(os.Truncate(filepath.Join(dir, name), most+1))
		if _, err := Load(e, dir, qkv.PrecisionFloat32); !errors.As(err, &size) || *size != (bounded.SizeError{Path: filepath.Join(dir, name), Size: most + 1, Most: most}) {
			t.Error(err)
		}
	}
}

func TestEncode(t *testing.T) {
	x, err := NewTokenizer(vocabulary)
	must(err)
	for _, c := range []struct {
		text string
		most int
		want []int32
	}{
		{"", 9, []int32{2, 3}},
		{"ABá,b!", 9, []int32{2, 8, 6, 10, 5, 11, 3}},
		{"abab abz\tthethe", 9, []int32{2, 8, 9, 1, 15, 17, 3}},
		{"a中a\x00a", 9, []int32{2, 4, 16, 4, 6, 3}},
		{strings.Repeat("a", 101), 9, []int32{2, 1, 3}},
		{"a b a b", 4, []int32{2, 4, 5, 3}},
		{"a b", 2, []int32{2, 3}},
		{"a b", 0, []int32{2, 3}},
	} {
		if got := x.Encode(c.text, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%.40q: %v, want %v", c.text, got, c.want)
		}
	}
	// A line is a token's number, also where one comes twice.
	twice, err := NewTokenizer("a\n[UNK]\na\n[CLS]\r\n[SEP]\nb\n")
	must(err)
	if got := twice.Encode("a b c", 9); !slices.Equal(got, []int32{3, 2, 5, 1, 4}) || twice.Len() != 6 {
		t.Errorf("%v of %d tokens", got, twice.Len())
	}
}

// FuzzEncode: no text makes other tokens than there are, or more than asked for.
func FuzzEncode(f *testing.F) {
	x, err := NewTokenizer(vocabulary)
	must(err)
	f.Add("abab, é中\x00 \xff", 5)
	f.Fuzz(func(t *testing.T, text string, most int) {
		all := x.Encode(text, most)
		if len(all) < 2 || len(all) > max(most, 2) || all[0] != 2 || all[len(all)-1] != 3 {
			t.Errorf("%v of at most %d", all, most)
		}
		for _, id := range all {
			if id < 0 || int(id) >= x.Len() {
				t.Errorf("token %d", id)
			}
		}
	})
}

// BenchmarkEmbed is sentences of this repository's documents, of 23 tokens in the mean.
func BenchmarkEmbed(b *testing.B) {
	var texts [][]int32
	readJSON("sentences.json", &texts)
	for _, class := range []qkv.Precision{qkv.PrecisionFloat32, qkv.PrecisionBFloat16} {
		m := miniLM(b, qkv.Config{}, class)
		for _, n := range []int{1, len(texts)} {
			b.Run(fmt.Sprintf("class=%v/batch=%d", class, n), func(b *testing.B) {
				encoder, y := NewEncoder(m), make([]float32, n*m.Width)
				must(encoder.Embed(y, texts[:n]))
				b.ReportAllocs()
				best := time.Duration(math.MaxInt64)
				for b.Loop() {
					start := time.Now()
					must(encoder.Embed(y, texts[:n]))
					best = min(best, time.Since(start))
				}
				b.ReportMetric(float64(n)/best.Seconds(), "sentences/s") // as reference.py has it
			})
		}
	}
}
