package qkv_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// The snippets of README.md and docs/guide.md, in their order, with what stands for "..." in them: they compile, and run.

func readmeCache(e *qkv.Engine, q, k, v, out qkv.View, layers []qkv.CacheLayer, prompt int) error {
	cache, err := qkv.NewCache(qkv.CacheConfig{Layers: layers, Pages: 4096, PageTokens: 16})
	if err != nil {
		return err
	}
	step, err := e.NewStep(cache)
	if err != nil {
		return err
	}
	a, b := cache.NewSequence(), cache.NewSequence()
	err = step.Begin([]qkv.StepSequence{{Sequence: a, Tokens: prompt}, {Sequence: b, Tokens: 1}})
	if err != nil {
		return err
	}
	for layer := range layers {
		err = step.Write(layer, k, v) // [1, kvHeads, tokens, dim]: those of a, then those of b
		if err != nil {
			return err
		}
		err = step.Attend(layer, &qkv.Call{Q: q, Out: out, Mask: qkv.Mask{Causal: true}})
		if err != nil {
			return err
		}
	}
	err = step.Commit() // or Rollback, or CommitFirst for a draft
	return err
}

func readmeWeights(e *qkv.Engine, data []byte, embedding qkv.Matrix, ids []int32, x []float32, model, seq, heads, dim int) (*qkv.PackedMatrix, error) {
	wq := qkv.WeightMatrix(qkv.WeightQ4_K, data, heads*dim, model) // data: where a mapped file has the tensor
	packed, err := e.PackHeads(wq.T(), heads)
	if err != nil {
		return nil, err
	}
	err = e.Lookup(qkv.RowMajor(x, seq, model), embedding, ids) // rows of a table of any type; or e.LookupPacked
	return packed, err
}

func readmeInt8(e *qkv.Engine, wq, x, y qkv.Matrix) error {
	packed, err := e.PackFor(qkv.PrecisionInt8, wq.T(), 1) // as many bytes as the file has, of Q8_0, Q4_0, Q4_1, IQ4_NL
	if err != nil {
		return err
	}
	err = e.MatMul(&qkv.Product{X: x, Packed: packed, Y: y, Precision: qkv.PrecisionInt8})
	return err
}

func readmeCall(q, k, v, out []float32, batch, seq, heads, kvHeads, dim int) (*qkv.Engine, error) {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		return nil, err
	}
	err = e.Run(&qkv.Call{
		Q:    qkv.BSHD(q, batch, seq, heads, dim), // or BHSD, PackedQKV, Strided
		K:    qkv.BSHD(k, batch, seq, kvHeads, dim),
		V:    qkv.BSHD(v, batch, seq, kvHeads, dim),
		Out:  qkv.BSHD(out, batch, seq, heads, dim),
		Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight, Window: qkv.Sliding(1023, 0)},
	})
	return e, err
}

func readmeLayer(e *qkv.Engine, wq, wk, wv, wo, bq, x, y []float32, model, seq, heads, kvHeads, dim int, rotary *qkv.Rotary) error {
	layer, err := e.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{
			Q: qkv.Linear{W: qkv.RowMajor(wq, heads*dim, model).T(), Bias: bq}, K: qkv.Linear{W: qkv.RowMajor(wk, kvHeads*dim, model).T()}, V: qkv.Linear{W: qkv.RowMajor(wv, kvHeads*dim, model).T()},
			Heads: heads, KVHeads: kvHeads, Rotary: rotary,
		},
		Out:       qkv.Linear{W: qkv.RowMajor(wo, model, heads*dim).T()},
		Attention: qkv.Call{Mask: qkv.Mask{Causal: true}},
	})
	if err != nil {
		return err
	}
	err = layer.Forward(qkv.RowMajor(y, seq, model), qkv.RowMajor(x, seq, model))
	return err
}

func readmeRest(e *qkv.Engine, x, h, gate, up, hidden, down, out qkv.Matrix, norm, logits []float32, vocab int, top []qkv.Ranked) (_ int, err error) {
	err = e.RMSNorm(&qkv.Norm{X: x, Add: h, Weight: norm, Y: h}) // x = x + h, and h is the norm of that
	if err != nil {
		return 0, err
	}
	err = e.MatMul(&qkv.Product{X: h, W: gate.T(), Activation: qkv.SiLU, Up: qkv.Linear{W: up.T()}, Y: hidden})
	if err != nil {
		return 0, err
	}
	err = e.MatMul(&qkv.Product{X: hidden, W: down.T(), Y: x, Accumulate: true})
	if err != nil {
		return 0, err
	}
	if err = e.RMSNorm(&qkv.Norm{X: x, Y: h}); err != nil {
		return 0, err
	}
	err = e.MatMul(&qkv.Product{X: h, W: out.T(), Y: qkv.RowMajor(logits, 1, vocab)}) // h: the norm of the last x
	if err != nil {
		return 0, err
	}
	n := e.TopK(top, logits) // top []qkv.Ranked, the greatest first; ArgMax for that alone
	return n, nil
}

func TestReadmeSnippets(t *testing.T) {
	const batch, seq, heads, kvHeads, dim, model = 2, 3, 4, 2, 8, 16
	ones := func(n int) []float32 { return slices.Repeat([]float32{1}, n) }
	q, k, v, out := ones(batch*seq*heads*dim), ones(batch*seq*kvHeads*dim), ones(batch*seq*kvHeads*dim), make([]float32, batch*seq*heads*dim)
	e, err := readmeCall(q, k, v, out, batch, seq, heads, kvHeads, dim)
	if err != nil || out[0] != 1 {
		t.Fatalf("%v, error %v", out[0], err)
	}
	clear(out)
	layer := qkv.CacheLayer{KVHeads: kvHeads, DimQK: dim, DimV: dim, KeyType: qkv.TypeInt8, ValueType: qkv.TypeFloat16}
	kv := func(x []float32) qkv.View { return qkv.THD(x, 2*seq, kvHeads, dim) }
	err = readmeCache(e, qkv.THD(q, 2*seq, heads, dim), kv(k), kv(v), qkv.THD(out, 2*seq, heads, dim), []qkv.CacheLayer{layer, layer}, 2*seq-1)
	if err != nil || out[len(out)-1] != 1 {
		t.Errorf("%v, error %v", out[len(out)-1], err)
	}
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, MaxPositions: seq, Base: 10000})
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, seq*model)
	wq, wk, wo := ones(heads*dim*model), ones(kvHeads*dim*model), ones(model*heads*dim)
	if err := readmeLayer(e, wq, wk, wk, wo, ones(heads*dim), ones(seq*model), y, model, seq, heads, kvHeads, dim, rotary); err != nil || y[0] != model*heads*dim {
		t.Errorf("%v, error %v", y[0], err)
	}

	matrix := func(rows, cols int, data ...float32) qkv.Matrix { return qkv.RowMajor(data, rows, cols) }
	stream, top := []float32{0, 1}, make([]qkv.Ranked, 2)
	gate, up, down, logits := matrix(1, 2, 1, 1), matrix(1, 2, 1, -1), matrix(2, 1, 1, 1), matrix(3, 2, 1, 1, 3, 3, 2, 2)
	n, err := readmeRest(e, qkv.RowMajor(stream, 1, 2), matrix(1, 2, 2, 1), gate, up, matrix(1, 1, 0), down, logits, ones(2), make([]float32, 3), 3, top)
	if err != nil || n != 2 || top[0].Index != 1 || top[1].Index != 2 || stream[0] != 2 || stream[1] != 2 {
		t.Errorf("%d tokens %v, x is %v, error %v", n, top, stream, err)
	}

	x := make([]float32, 2*256)
	table := qkv.WeightMatrix(qkv.WeightBFloat16, slices.Repeat([]byte{0x80, 0x3f}, 3*256), 3, 256)
	if packed, err := readmeWeights(e, make([]byte, 32*144), table, []int32{2, 0}, x, 256, 2, 4, 8); err != nil || packed.Cols() != 32 || x[511] != 1 {
		t.Errorf("%v, error %v", x[511], err)
	}

	product := []float32{1}
	if err := readmeInt8(e, qkv.WeightMatrix(qkv.WeightQ4_K, make([]byte, 144), 1, 256), matrix(1, 256, x[:256]...), matrix(1, 1, product...)); err != nil {
		t.Error(err)
	}

	// They are those of the pages: between their dots, the same text. A program is the body of the package's example.
	text := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	space := regexp.MustCompile(`\s+`)
	plain := func(s string) string { return space.ReplaceAllString(s, " ") }
	functions := strings.Split(text("readme_test.go"), "\nfunc ")[1:7]
	var snippets []string
	programs := 0
	for _, page := range []string{"README.md", "docs/guide.md"} {
		for _, m := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(text(page), -1) {
			_, body, ok := strings.Cut(m[1], "func main() {")
			if !ok {
				snippets = append(snippets, m[1])
				continue
			}
			programs++
			comment := regexp.MustCompile(` //.*`)
			_, example, _ := strings.Cut(text("example_test.go"), "func Example() {")
			example, _, _ = strings.Cut(example, "// Output:")
			if got, want := plain(comment.ReplaceAllString(body, "")), plain(example+"}\n"); got != want {
				t.Errorf("the program of %s has the body\n%s\nExample has\n%s", page, got, want)
			}
		}
	}
	if programs != 1 || len(snippets) != len(functions) {
		t.Fatalf("the pages have %d programs and %d snippets, here are %d", programs, len(snippets), len(functions))
	}
	for i, snippet := range snippets {
		rest := plain(functions[i])
		for part := range strings.SplitSeq(snippet, "...") {
			part = strings.TrimSpace(plain(part))
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("snippet %d of README.md and docs/guide.md has, and the function here has not or not in that order:\n%s", i, part)
				break
			}
			rest = after
		}
	}
}
