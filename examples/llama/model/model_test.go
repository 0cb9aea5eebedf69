package model

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func newModel(t testing.TB, cfg qkv.Config, c Config) (*Model, *Weights) {
	t.Helper()
	e, err := qkv.New(cfg)
	must(err)
	w, err := Random(c, 1)
	must(err)
	m, err := New(e, w)
	must(err)
	return m, w
}

// newModelOf returns a random model whose products are of a class: of class Int8 by weights in Q8_0.
func newModelOf(t testing.TB, cfg qkv.Config, c Config, class qkv.Precision) *Model {
	t.Helper()
	e, err := qkv.New(cfg)
	must(err)
	w, err := Random(c, 1)
	must(err)
	tensors := tensorsOf(w)
	if class == qkv.PrecisionInt8 {
		tensors = quantized(w)
	}
	m, err := NewOf(e, tensors, class, true)
	must(err)
	return m
}

// quantized returns weights whose matrices are in Q8_0.
func quantized(w *Weights) *Tensors {
	t := tensorsOf(w)
	quantize := func(m *qkv.Matrix, x []float32) {
		if x == nil {
			return
		}
		data := make([]byte, len(x)/32*34)
		must(qkv.Quantize(qkv.WeightQ8_0, data, x))
		*m = qkv.WeightMatrix(qkv.WeightQ8_0, data, m.Rows(), m.Cols())
	}
	quantize(&t.Out, w.Out)
	for i := range t.Blocks {
		b, x := &t.Blocks[i], &w.Blocks[i]
		quantize(&b.Q, x.Q)
		quantize(&b.K, x.K)
		quantize(&b.V, x.V)
		quantize(&b.O, x.O)
		mlp := func(m *MLPOf[qkv.Matrix], x *MLPOf[[]float32]) {
			quantize(&m.Gate, x.Gate)
			quantize(&m.Up, x.Up)
			quantize(&m.Down, x.Down)
		}
		mlp(&b.MLPOf, &x.MLPOf)
		mlp(&b.Shared, &x.Shared)
		for j := range b.Experts {
			mlp(&b.Experts[j], &x.Experts[j])
		}
	}
	return t
}

func newEngine(t testing.TB, m *Model, cfg EngineConfig) *Engine {
	t.Helper()
	e, err := NewEngine(m, cfg)
	must(err)
	return e
}

// forced is the kernel set that the environment chooses.
var forced = os.Getenv("QKV_KERNEL")

// forEachSet runs a test on each kernel set that this machine has, or the one that QKV_KERNEL forces; under the race
// detector on the best. Sets that differ from another in numerical classes alone are not taken in class Float32.
func forEachSet(t *testing.T, class qkv.Precision, f func(t *testing.T, cfg qkv.Config)) {
	for _, k := range qkv.Kernels() {
		switch {
		case k.Missing != 0:
		case forced != "" && k.Set.Name != forced:
		case forced == "" && k.Set.Base != "" && class == qkv.PrecisionFloat32:
		default:
			t.Run("kernel="+k.Set.Name, func(t *testing.T) { f(t, qkv.Config{Kernel: k.Set.Name, Workers: 2}) })
			if raceEnabled {
				return
			}
		}
	}
}

func randomTokens(n, vocab int, seed uint64) []int32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(r.IntN(vocab))
	}
	return x
}

// read runs tokens in chunks and returns the logits of all.
func read(e *Engine, s *qkv.Sequence, tokens []int32, chunk int) []float32 {
	var all []float32
	for part := range slices.Chunk(tokens, chunk) {
		logits, err := e.Forward([]Input{{s, part, len(part)}})
		must(err)
		all = append(all, logits[0]...)
		must(e.Step.Commit())
	}
	return all
}

// reference is the forward pass in float64, one token after the other, as it is written down in papers.
func reference(w *Weights, tokens []int32) []float64 {
	dim, headsPerKV := w.Dim(), w.Heads/w.KVHeads
	dot := func(row []float32, x []float64) float64 {
		sum := 0.0
		for i, v := range row {
			sum += float64(v) * x[i]
		}
		return sum
	}
	product := func(m []float32, x []float64) []float64 {
		y := make([]float64, len(m)/len(x))
		for i := range y {
			y[i] = dot(m[i*len(x):][:len(x)], x)
		}
		return y
	}
	or := func(x, other float64) float64 { // x, where the options say one
		if x == 0 {
			return other
		}
		return x
	}
	norm := func(x []float64, weight []float32) []float64 {
		sum, y := 0.0, make([]float64, len(x))
		for _, v := range x {
			sum += v * v
		}
		for i, v := range x {
			y[i] = v / math.Sqrt(sum/float64(len(x))+or(float64(w.NormEps), 1e-5)) * float64(weight[i])
		}
		return y
	}
	heads := func(x []float64, bias, weight []float32) []float64 {
		for i := range x {
			if bias != nil {
				x[i] += float64(bias[i])
			}
		}
		for i := 0; i < len(x) && weight != nil; i += dim {
			copy(x[i:], norm(x[i:i+dim], weight))
		}
		return x
	}
	rotate := func(x []float64, at int, cfg qkv.RotaryConfig) {
		freqs, factor := frequencies(cfg, dim)
		for head := 0; head < len(x); head += dim {
			for i := range dim / 2 {
				a, b := head+2*i, head+2*i+1
				if w.HalfSplit {
					a, b = head+i, head+i+dim/2
				}
				sin, cos := math.Sincos(float64(at) * freqs[i])
				x[a], x[b] = factor*(x[a]*cos-x[b]*sin), factor*(x[a]*sin+x[b]*cos)
			}
		}
	}
	bound := func(x float64, limit float32) float64 {
		if limit == 0 {
			return x
		}
		return float64(limit) * math.Tanh(x/float64(limit))
	}
	post := func(x []float64, weight []float32) []float64 {
		if weight == nil {
			return x
		}
		return norm(x, weight)
	}
	keys, values := make([][][]float64, w.Layers), make([][][]float64, w.Layers)
	var all []float64
	for at, token := range tokens {
		x := make([]float64, w.Width)
		for i := range x {
			x[i] = float64(w.Embedding[int(token)*w.Width+i]) * or(float64(w.EmbeddingScale), 1)
		}
		for l, b := range w.Blocks {
			h := norm(x, b.AttnNorm)
			q, k, v := heads(product(b.Q, h), b.QBias, b.QNorm), heads(product(b.K, h), b.KBias, b.KNorm), heads(product(b.V, h), b.VBias, nil)
			rotary, first := w.Rotary, 0
			if w.Period != 0 && l%w.Period != w.Period-1 {
				rotary, first = w.LocalRotary, max(0, at+1-w.Window)
			}
			rotate(q, at, rotary)
			rotate(k, at, rotary)
			keys[l], values[l] = append(keys[l], k), append(values[l], v)
			out := make([]float64, w.Heads*dim)
			for head := range w.Heads {
				scores, sum := make([]float64, at+1), 0.0
				kv := head / headsPerKV * dim
				for j := range scores {
					for i := range dim {
						scores[j] += q[head*dim+i] * keys[l][j][kv+i] * or(float64(w.QueryScale), 1/math.Sqrt(float64(dim)))
					}
					scores[j] = bound(scores[j], w.Softcap)
					if j < first {
						scores[j] = math.Inf(-1)
					}
				}
				most := slices.Max(scores)
				if b.Sinks != nil {
					sum = math.Exp(float64(b.Sinks[head]) - most)
				}
				for j, s := range scores {
					scores[j] = math.Exp(s - most)
					sum += scores[j]
				}
				for j, p := range scores {
					for i := range dim {
						out[head*dim+i] += p / sum * values[l][j][kv+i]
					}
				}
			}
			for i, v := range post(heads(product(b.O, out), b.OBias, nil), b.AttnPost) {
				x[i] += v
			}
			h = norm(x, b.FFNNorm)
			mlp := func(b *MLPOf[[]float32]) []float64 {
				gate, up := heads(product(b.Gate, h), b.GateBias, nil), heads(product(b.Up, h), b.UpBias, nil)
				for i, v := range gate {
					switch {
					case w.Clamp != 0:
						v = min(v, float64(w.Clamp))
						up[i] = (max(min(up[i], float64(w.Clamp)), -float64(w.Clamp)) + 1) * v / (1 + math.Exp(-1.702*v))
					case w.Activation == qkv.GELUTanh:
						up[i] *= v / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
					default:
						up[i] *= v / (1 + math.Exp(-v))
					}
				}
				return heads(product(b.Down, up), b.DownBias, nil)
			}
			y := make([]float64, w.Width)
			switch len(b.Experts) {
			case 0:
				y = mlp(&b.MLPOf)
			default:
				for expert, weight := range chosen(w.Config, heads(product(b.Router, h), b.RouterBias, nil)) {
					for i, v := range mlp(&b.Experts[expert]) {
						y[i] += weight * v
					}
				}
				if w.SharedFFN != 0 {
					for i, v := range mlp(&b.Shared) {
						y[i] += v / (1 + math.Exp(-dot(b.SharedGate, h)))
					}
				}
			}
			for i, v := range post(y, b.FFNPost) {
				x[i] += v
			}
		}
		for _, v := range product(w.Out, norm(x, w.Norm)) {
			all = append(all, bound(v, w.LogitCap))
		}
	}
	return all
}

// withOptions returns a model that has all options.
func withOptions() Config {
	c := Small
	c.Layers, c.Vocab, c.FFN = 5, 90, 96
	c.Options = Options{
		HeadDim: 40, NormEps: 1e-3, Activation: qkv.GELUTanh, Bias: true, QKNorm: true, PostNorm: true,
		EmbeddingScale: 11, QueryScale: 0.3, Softcap: 3, LogitCap: 5, HalfSplit: true, Window: 30, Period: 3,
		Rotary: qkv.RotaryConfig{Base: 1e5}, LocalRotary: qkv.RotaryConfig{Base: 1e3},
	}
	return c
}

// TestReference: logits are those of float64, within 1e-5 of the largest.
func TestReference(t *testing.T) {
	tied := Small
	tied.Tied, tied.KVHeads, tied.FFN, tied.Vocab = true, 4, 100, 77
	local := withOptions() // without a layer that attends all
	local.Layers, local.PostNorm = 2, false
	for _, c := range []Config{Small, tied, withOptions(), local, likeQwen2MoE(), partlyMixed(), likeGPTOSS()} {
		tokens, chunk := randomTokens(100, c.Vocab, 2), 64
		if testing.Short() {
			tokens, chunk = tokens[:50], 32
		}
		var want []float64
		forEachSet(t, qkv.PrecisionFloat32, func(t *testing.T, cfg qkv.Config) {
			m, w := newModel(t, cfg, c)
			if want == nil {
				want = reference(w, tokens)
			}
			e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 8})
			got := read(e, e.Cache.NewSequence(), tokens, chunk)
			most, worst := 0.0, 0.0
			for i, v := range want {
				most, worst = max(most, math.Abs(v)), max(worst, math.Abs(float64(got[i])-v))
			}
			t.Logf("largest logit %.3g, largest error %.2g of it", most, worst/most)
			if !(worst <= 1e-5*most) || most < 1 || len(got) != len(want) {
				t.Errorf("largest logit %v, largest error %v", most, worst)
			}
		})
	}
}

// TestSameBits: the logits of a text have the same bits however it came to be read.
func TestSameBits(t *testing.T) {
	const n, at = 100, 53 // tokens, and of those where things happen
	c := Config{Layers: 2, Width: 64, Heads: 2, KVHeads: 1, FFN: 96, Vocab: 50, Context: 128}
	windows := c
	windows.Options = Options{PostNorm: true, EmbeddingScale: 3, LogitCap: 4, HalfSplit: true, Window: 30, Period: 2}
	cases := []struct {
		Config
		kv    qkv.ElemType
		class qkv.Precision
	}{
		{small(likeGPTOSS()), qkv.TypeFloat32, qkv.PrecisionFloat32},
		{c, qkv.TypeFloat32, qkv.PrecisionFloat32},
		{windows, qkv.TypeFloat32, qkv.PrecisionFloat32},
		{windows, qkv.TypeQ8_0, qkv.PrecisionInt8},
		{small(likeQwen2MoE()), qkv.TypeInt8, qkv.PrecisionInt8},
		{c, qkv.TypeInt8, qkv.PrecisionFloat32},
		{c, qkv.TypeBFloat16, qkv.PrecisionBFloat16},
		{c, qkv.TypeQ8_0, qkv.PrecisionFloat32},
		{c, qkv.TypeFloat32, qkv.PrecisionInt8},
	}
	if testing.Short() || raceEnabled {
		cases = cases[:4]
	}
	same := func(t *testing.T, what string, got, want []float32) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d logits, want %d", what, len(got), len(want))
		}
		for i, v := range got {
			if math.Float32bits(v) != math.Float32bits(want[i]) {
				t.Fatalf("%s: logit %d of token %d is %v, want %v", what, i%c.Vocab, i/c.Vocab, v, want[i])
			}
		}
	}
	tokens, others := randomTokens(n, c.Vocab, 3), randomTokens(n, c.Vocab, 4)
	for _, x := range cases {
		kv := x.kv
		var want []float32
		forEachSet(t, x.class, func(t *testing.T, cfg qkv.Config) {
			m := newModelOf(t, cfg, x.Config, x.class)
			slot := newEngine(t, m, EngineConfig{Type: kv, PageTokens: c.Context, Pages: 1})
			whole := read(slot, slot.Cache.NewSequence(), tokens, n)
			if want == nil {
				want = whole
			}
			same(t, "whole", whole, want)
			rest := want[at*c.Vocab:]
			pages := []int{16, c.Context, 1}
			if x.Experts != 0 { // which know of no pages
				pages = pages[:1]
			}
			for i, page := range pages {
				what := func(s string) string { return fmt.Sprintf("%s, %v, class %v, pages of %d", s, kv, x.class, page) }
				cfg := EngineConfig{Type: kv, PageTokens: page, Pages: (4*c.Context + page - 1) / page}
				e := newEngine(t, m, cfg)
				for j, chunk := range []int{7, 1, 64} {
					if (testing.Short() || raceEnabled) && i != j {
						continue
					}
					s := e.Cache.NewSequence()
					same(t, what(fmt.Sprintf("chunks of %d", chunk)), read(e, s, tokens, chunk), want)
					must(s.Free())
				}

				// Beside a prompt, the next token and a draft of others.
				s, a, b := e.Cache.NewSequence(), e.Cache.NewSequence(), e.Cache.NewSequence()
				var got []float32
				for i, left := 0, tokens; len(left) > 0; i++ {
					part := left[:min(len(left), 1+i*5%23)]
					left = left[len(part):]
					logits, err := e.Forward([]Input{{a, others[:1+i%9], 1}, {s, part, len(part)}, {b, others[:1], 0}})
					must(err)
					got = append(got, logits[1]...)
					must(e.Step.CommitFirst([]int{i % 2, len(part), 1}))
				}
				same(t, what("beside others"), got, want)
				must(a.Free())
				must(b.Free())

				// After a fork, of which the other goes on differently; and the one from which it forked.
				must(s.Truncate(at))
				f, err := s.Fork()
				must(err)
				read(e, s, others[:20], 20)
				same(t, what("a fork"), read(e, f, tokens[at:], 7), rest)
				must(f.Free())
				must(s.Truncate(at))

				// After a draft that was rolled back, and one of which a part was kept.
				_, err = e.Forward([]Input{{s, others[:30], 0}})
				must(err)
				must(e.Step.Rollback())
				draft := slices.Concat(tokens[at:at+5], others[:12])
				logits, err := e.Forward([]Input{{s, draft, len(draft)}})
				must(err)
				got = append(got[:0], logits[0][:5*c.Vocab]...)
				must(e.Step.CommitFirst([]int{5}))
				same(t, what("drafts"), append(got, read(e, s, tokens[at+5:], 64)...), rest)
				must(s.Truncate(at))

				// In a file, into a cache with other pages.
				text := &Text{Sequence: s, Tokens: slices.Clone(tokens), Limit: n + 1}
				var file bytes.Buffer
				must(text.Save(&file))
				other := newEngine(t, m, EngineConfig{Type: kv, PageTokens: 5, Pages: 40})
				restored, err := other.Restore(&file)
				must(err)
				if file.Len() > 0 || restored.Len() != at || restored.Limit != n+1 || !slices.Equal(restored.Tokens, tokens) {
					t.Fatalf("restored %d tokens of %d, %d bytes are left", restored.Len(), len(restored.Tokens), file.Len())
				}
				same(t, what("restored"), read(other, restored.Sequence, tokens[at:], 16), rest)
				same(t, what("goes on"), read(e, s, tokens[at:], n), rest)
			}
		})
	}
}

// TestContinue: texts have the same tokens side by side, with and without drafts, and one by one; those
// that are forked and restored go on likewise.
func TestContinue(t *testing.T) {
	c := Small
	c.Layers, c.Width, c.FFN = 2, 64, 96 // it's about which tokens a step has
	m, _ := newModel(t, qkv.Config{}, c)
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 100, PromptTokens: 32})
	prompts := [][]int32{randomTokens(70, m.Vocab, 5), {1}, randomTokens(9, m.Vocab, 6)}
	var want [3][]int32
	for i, p := range prompts {
		x := e.NewText(p, 120+i)
		s := x.Sequence
		for len(x.Tokens) < x.Limit { // without Continue
			logits, err := e.Forward([]Input{{s, x.Tokens[s.Len():], 1}})
			must(err)
			must(e.Step.Commit())
			x.Tokens = append(x.Tokens, m.argmax(logits[0]))
		}
		want[i] = x.Tokens
		must(x.Free())
	}
	wrong := func(tokens []int32, room int) []int32 { // half of the time
		for i := range min(4, room) {
			guess := int32(7)
			if k := slices.IndexFunc(want[:], func(w []int32) bool { return w[0] == tokens[0] }); i < 2 {
				guess = want[k][len(tokens)]
			}
			tokens = append(tokens, guess)
		}
		return tokens
	}
	for name, draft := range map[string]Draft{"none": nil, "n-gram": NGram(2, 6), "wrong": wrong} {
		e.Stats = Stats{}
		var texts []*Text
		for i, p := range prompts {
			texts = append(texts, e.NewText(p, 120+i))
		}
		for range 10 {
			if _, err := e.Continue(texts, draft); err != nil {
				t.Fatal(err)
			}
		}
		fork, err := texts[0].Fork()
		must(err)
		texts = append(texts, fork)
		var file bytes.Buffer
		must(texts[2].Save(&file))
		must(texts[2].Free())
		texts[2], err = e.Restore(&file)
		must(err)
		before := texts[1].Len()
		if _, err := e.Score(texts[1], []int32{3, 4, 5}); err != nil || texts[1].Len() != before {
			t.Errorf("a score left %d tokens of %d, error %v", texts[1].Len(), before, err)
		}
		must(e.Generate(texts, draft))
		for i, x := range texts {
			if !slices.Equal(x.Tokens, want[i%3]) {
				t.Errorf("draft %s: text %d is\n%v\nwant\n%v", name, i, x.Tokens, want[i%3])
			}
			must(x.Free())
		}
		if s := e.Stats; name == "wrong" && (s.Kept < 100 || s.Kept > s.Drafted*3/4) || s.Kept > s.Drafted {
			t.Errorf("draft %s: %+v", name, s)
		}
	}
	if n := e.Cache.FreePages(0); n != 100 {
		t.Errorf("%d pages of 100 are free", n)
	}
}

// TestScore: the probabilities of all tokens add up to 1, and those of two tokens multiply.
func TestScore(t *testing.T) {
	m, _ := newModel(t, qkv.Config{}, Small)
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 10})
	x, sum := e.NewText([]int32{5, 6, 7}, 10), 0.0
	for token := range int32(m.Vocab) {
		s, err := e.Score(x, []int32{token})
		must(err)
		sum += math.Exp(s)
	}
	one, err := e.Score(x, []int32{9})
	must(err)
	both, err := e.Score(x, []int32{9, 8})
	must(err)
	x.Tokens = append(x.Tokens, 9)
	two, err := e.Score(x, []int32{8})
	must(err)
	if math.Abs(sum-1) > 1e-5 || math.Abs(both-one-two) > 1e-5 {
		t.Errorf("probabilities add up to %v; %v and %v for two tokens, %v for both", sum, one, two, both)
	}
	for _, tokens := range [][]int32{{-1}, {8, int32(m.Vocab)}, {int32(m.Vocab), 8}} {
		if p, err := e.Score(x, tokens); err == nil || p != 0 || x.Len() != 0 {
			t.Errorf("%v: %v, %v", tokens, p, err)
		}
	}
	if again, err := e.Score(x, []int32{8}); err != nil || again != two {
		t.Errorf("%v, %v after errors, and before %v", again, err, two)
	}
}

// TestWeights: all weights are counted.
func TestWeights(t *testing.T) {
	engine, err := qkv.New(qkv.Config{})
	must(err)
	configs := []Config{Small, withOptions(), likeQwen2MoE(), partlyMixed(), likeGPTOSS()}
	for _, change := range []func(*Config){
		func(c *Config) { c.Tied = true }, func(c *Config) { c.HeadDim = 40 },
		func(c *Config) { c.Bias = true }, func(c *Config) { c.QKNorm = true }, func(c *Config) { c.PostNorm = true },
	} {
		c := Small
		change(&c)
		configs = append(configs, c)
	}
	for _, c := range configs {
		w, err := Random(c, 1)
		must(err)
		want := len(w.Embedding) + len(w.Norm)
		if !c.Tied {
			want += len(w.Out)
		}
		for i := range w.Blocks {
			want += numbers(reflect.ValueOf(w.Blocks[i]))
		}
		m, err := NewOf(engine, tensorsOf(w), qkv.PrecisionFloat32, false)
		must(err)
		if got := m.Weights(); got != want {
			t.Errorf("%+v: %d weights, want %d", c, got, want)
		}
	}
}

// TestErrors: nothing has changed after an error.
func TestErrors(t *testing.T) {
	m, _ := newModel(t, qkv.Config{}, Small)
	if _, err := NewEngine(m, EngineConfig{PageTokens: 16, Pages: 3, PromptTokens: -1}); err == nil || !strings.Contains(err.Error(), "PromptTokens is -1") {
		t.Errorf("an engine of -1 tokens in a step: %v", err)
	}
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 3})
	a, b := e.NewText([]int32{1, 2, 3}, 20), e.NewText(randomTokens(30, m.Vocab, 1), 50)
	draft := func(bad int32) Draft {
		return func(tokens []int32, room int) []int32 { return append(tokens, bad) }
	}
	for _, c := range []struct {
		what  string
		texts []*Text
		draft Draft
	}{
		{"no such token", []*Text{a, b}, draft(int32(m.Vocab))},
		{"a negative token", []*Text{a, b}, draft(-1)},
		{"one text twice", []*Text{a, b, a}, draft(1)},
		{"an empty prompt", []*Text{a, e.NewText(nil, 3)}, draft(1)},
		{"too many tokens", []*Text{{Sequence: a.Sequence, Tokens: make([]int32, m.Context+1), Limit: m.Context + 2}, {Sequence: e.Cache.NewSequence(), Tokens: randomTokens(9, 9, 9), Limit: 10}}, nil},
	} {
		e.prompt = 2000
		if _, err := e.Continue(c.texts, c.draft); err == nil {
			t.Errorf("%s: no error", c.what)
		}
		if len(a.Tokens) != 3 || a.Len() != 0 || len(b.Tokens) != 30 || b.Len() != 0 || e.Cache.FreePages(0) != 3 {
			t.Fatalf("%s: %d and %d tokens, %d pages", c.what, len(a.Tokens), len(b.Tokens), e.Cache.FreePages(0))
		}
	}
	if _, err := e.Continue([]*Text{a, b}, nil); err != nil {
		t.Fatal(err)
	}
	pages := new(qkv.PagesError)
	if err := e.Generate([]*Text{a, b}, nil); !errors.As(err, &pages) || len(a.Tokens) != a.Len()+1 || len(b.Tokens) != b.Len()+1 {
		t.Errorf("error %v after %d and %d tokens", err, len(a.Tokens), len(b.Tokens))
	}
	must(b.Free())
	must(e.Generate([]*Text{a}, nil)) // there is room again

	var file bytes.Buffer
	must(a.Save(&file))
	for n := range file.Len() {
		if _, err := e.Restore(bytes.NewReader(file.Bytes()[:n])); err == nil {
			t.Fatalf("%d bytes of %d are a text", n, file.Len())
		}
	}
	for _, i := range []int{0, 3, 4, 7} {
		bad := bytes.Clone(file.Bytes())
		bad[i] ^= 0xff
		if _, err := e.Restore(bytes.NewReader(bad)); err == nil {
			t.Errorf("no error where byte %d is damaged", i)
		}
	}
	if n := e.Cache.FreePages(0); n != 1 {
		t.Errorf("%d pages are free, want 1", n)
	}
}

// TestWaits: the last texts wait where there are not pages for all, and go on with the same tokens.
func TestWaits(t *testing.T) {
	m, _ := newModel(t, qkv.Config{}, Small)
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 4})
	prompt := randomTokens(30, m.Vocab, 1)
	alone := e.NewText(prompt, 50)
	must(e.Generate([]*Text{alone}, nil))
	must(alone.Free())
	a, b := e.NewText(prompt[:17], 30), e.NewText(prompt, 50)
	wrong := func(tokens []int32, room int) []int32 { return append(tokens, make([]int32, min(room, 3))...) }
	pages := new(qkv.PagesError)
	if err := e.Generate([]*Text{a, b}, wrong); !errors.As(err, &pages) || len(a.Tokens) != a.Limit || len(b.Tokens) >= b.Limit {
		t.Fatalf("error %v after %d and %d tokens", err, len(a.Tokens), len(b.Tokens))
	}
	must(a.Free())
	must(e.Generate([]*Text{b}, nil))
	if !slices.Equal(b.Tokens, alone.Tokens) {
		t.Errorf("%v, alone %v", b.Tokens, alone.Tokens)
	}
}

// TestRestart: a text with another prompt has the tokens of a new one, and what they have in common is not read again.
func TestRestart(t *testing.T) {
	c := withOptions()
	c.Context = 400
	m, _ := newModel(t, qkv.Config{}, c)
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 60, PromptTokens: 32, Texts: 2})
	long := randomTokens(150, c.Vocab, 1)
	x := e.NewText(long[:100], 120)
	must(e.Generate([]*Text{x}, nil))
	for _, c := range []struct {
		prompt []int32
		kept   int // -1 where the window of 30 tokens, and 32 of a step, do not reach back that far
	}{
		{slices.Concat(long[:50], long[:30]), -1}, {slices.Clone(long[:100]), 99}, {slices.Concat(x.Tokens, long[:9]), 119}, {long[:3], -1},
	} {
		want := e.NewText(c.prompt, len(c.prompt)+20)
		must(e.Generate([]*Text{want}, nil))
		had, tokens := x.Len(), slices.Clone(x.Tokens)
		kept, err := e.Restart(x, c.prompt, len(c.prompt)+20)
		if c.kept < 0 {
			if !errors.Is(err, qkv.ErrOverwritten) || x.Len() != had || !slices.Equal(x.Tokens, tokens) {
				t.Errorf("%v, %d tokens, before %d", err, x.Len(), had)
			}
		} else if err != nil || kept != c.kept || x.Len() != kept {
			t.Errorf("%d tokens of %d are kept, want %d; %v", kept, len(c.prompt), c.kept, err)
		} else if must(e.Generate([]*Text{x}, nil)); !slices.Equal(x.Tokens, want.Tokens) {
			t.Errorf("%v, want %v", x.Tokens, want.Tokens)
		}
		must(want.Free())
	}
}

// TestAllocs: a step allocates nothing, of prompts, tokens and drafts.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	for i, c := range []struct {
		Config
		kv    qkv.ElemType
		class qkv.Precision
	}{
		{Small, qkv.TypeFloat32, qkv.PrecisionFloat32},
		{withOptions(), qkv.TypeFloat32, qkv.PrecisionFloat32},
		{withOptions(), qkv.TypeFloat32, qkv.PrecisionFloat32},
		{likeQwen2MoE(), qkv.TypeFloat32, qkv.PrecisionFloat32},
		{likeGPTOSS(), qkv.TypeFloat32, qkv.PrecisionFloat32},
		{partlyMixed(), qkv.TypeFloat32, qkv.PrecisionFloat32},
		{Small, qkv.TypeQ8_0, qkv.PrecisionInt8},
		{likeGPTOSS(), qkv.TypeInt8, qkv.PrecisionInt8},
		{withOptions(), qkv.TypeFloat16, qkv.PrecisionBFloat16},
		{Small, qkv.TypeBFloat16, qkv.PrecisionBFloat16},
	} {
		workers := 1 + i%2
		m := newModelOf(t, qkv.Config{Workers: workers}, c.Config, c.class)
		e := newEngine(t, m, EngineConfig{Type: c.kv, PageTokens: 16, Pages: 200})
		a, b := e.NewText(randomTokens(100, m.Vocab, 1), 1000), e.NewText([]int32{1}, 1000)
		prompt := randomTokens(16, m.Vocab, 3)
		b.Sampler = &Sampler{Temperature: 1, TopK: 20, TopP: 0.9}
		texts, draft, rolled := []*Text{a, b}, NGram(1, 4), e.Cache.NewSequence()
		step := func() {
			if n, err := e.Continue(texts, draft); n != 2 || err != nil {
				t.Fatal(n, err)
			}
			_, err := e.Forward([]Input{{rolled, prompt, 16}})
			must(err)
			must(e.Step.Rollback())
		}
		steps := 20
		if testing.Short() {
			steps = 8
		}
		for range steps { // tables of pages grow now and then
			step()
		}
		if n := testing.AllocsPerRun(steps, step); n != 0 {
			t.Errorf("case %d, %d workers: %v allocations in a step", i, workers, n)
		}
	}
}

func TestNGram(t *testing.T) {
	for _, c := range []struct {
		n, most, room int
		tokens, want  []int32
	}{
		{2, 3, 9, []int32{1, 2, 3, 4, 5, 1, 2}, []int32{3, 4, 5}},
		{2, 3, 2, []int32{1, 2, 3, 4, 5, 1, 2}, []int32{3, 4}},
		{2, 3, 0, []int32{1, 2, 3, 4, 5, 1, 2}, nil},
		{2, 5, 9, []int32{8, 1, 8, 1}, []int32{8, 1, 8, 1, 8}},
		{1, 3, 9, []int32{1, 2, 1, 3, 1}, []int32{3, 1, 3}},
		{2, 3, 9, []int32{1, 2, 3}, nil},
		{2, 3, 9, []int32{1}, nil},
	} {
		if got := NGram(c.n, c.most)(slices.Clone(c.tokens), c.room); !slices.Equal(got[len(c.tokens):], c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
