package model

import (
	"cmp"
	"encoding/json"
	"iter"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// likeQwen2MoE returns a model with experts, and one that is shared.
func likeQwen2MoE() Config {
	c := Small
	c.Layers, c.Width, c.FFN, c.Vocab = 3, 64, 64, 90
	c.Options = Options{HalfSplit: true, Bias: true, Experts: 6, ExpertsUsed: 3, SoftmaxAll: true, SharedFFN: 96}
	return c
}

// partlyMixed returns a model with a layer with experts between others.
func partlyMixed() Config {
	c := likeQwen2MoE()
	c.Layers, c.Dense, c.DenseFFN = 4, []int{0, 2, 3}, 80
	return c
}

// likeGPTOSS returns a model with what gpt-oss has. Its numbers are such that some are clamped.
func likeGPTOSS() Config {
	c := Small
	c.Layers, c.Width, c.FFN, c.Vocab = 4, 64, 96, 90
	c.Options = Options{
		HeadDim: 32, HalfSplit: true, Bias: true, OutBias: true, Sinks: true, Window: 20, Period: 2,
		Experts: 8, ExpertsUsed: 3, ExpertBias: true, Clamp: 1.5,
	}
	c.Rotary = yarn(5000, 32, 16)
	c.LocalRotary = c.Rotary
	return c
}

// yarn returns the rotary embedding of gpt-oss with other numbers.
func yarn(base, factor float64, original int) qkv.RotaryConfig {
	return qkv.RotaryConfig{Base: base, Scaling: qkv.RotaryScaling{
		Type: qkv.ScalingYaRN, Factor: factor, OriginalMaxPositions: original, BetaFast: 32, BetaSlow: 1, Truncate: new(bool),
	}}
}

// small returns a model of the shape that TestSameBits has.
func small(c Config) Config {
	c.Layers, c.Width, c.Heads, c.KVHeads, c.FFN, c.Vocab, c.Context = 2, 64, 2, 1, 32, 50, 128
	c.Experts, c.SharedFFN = 5, min(c.SharedFFN, 32)
	return c
}

// frequencies returns what the pairs of a head turn by from token to token, and what they are multiplied by.
func frequencies(cfg qkv.RotaryConfig, dim int) (freqs []float64, factor float64) {
	base := cmp.Or(cfg.Base, 10000)
	s := &cfg.Scaling
	pair := func(turns float64) float64 {
		return float64(dim) * math.Log(float64(s.OriginalMaxPositions)/(turns*2*math.Pi)) / (2 * math.Log(base))
	}
	factor = 1
	for i := range dim / 2 {
		f := math.Pow(base, -2*float64(i)/float64(dim))
		if s.Type == qkv.ScalingYaRN { // not truncated
			low, high := max(0, pair(s.BetaFast)), min(float64(dim-1), pair(s.BetaSlow))
			t := max(0, min((float64(i)-low)/(high-low), 1))
			f = f/s.Factor*t + f*(1-t)
			factor = 0.1*math.Log(s.Factor) + 1
		}
		freqs = append(freqs, f)
	}
	return freqs, factor
}

// chosen returns the experts that a router chooses by its logits, and their weights.
func chosen(c Config, logits []float64) iter.Seq2[int, float64] {
	order := make([]int, len(logits))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	all := order
	if !c.SoftmaxAll {
		all = order[:c.ExpertsUsed]
	}
	sum := 0.0
	for _, i := range all {
		sum += math.Exp(logits[i])
	}
	return func(yield func(int, float64) bool) {
		for _, i := range order[:c.ExpertsUsed] {
			if !yield(i, math.Exp(logits[i])/sum) {
				return
			}
		}
	}
}

// numbers counts those of weights.
func numbers(v reflect.Value) (n int) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			n += numbers(v.Field(i))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Struct:
		return v.Len()
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			n += numbers(v.Index(i))
		}
	}
	return n
}

// TestExp: exp is the exponential, and sigmoid bounded by 0 and 1.
func TestExp(t *testing.T) {
	for x := -699.3; x < 700; x += 0.37 {
		if got, want := exp(x), math.Exp(x); !(math.Abs(got/want-1) < 1e-11) {
			t.Errorf("exp(%v) is %v, want %v", x, got, want)
		}
	}
	for _, x := range []float64{math.Inf(-1), -1e300, -701, 0, 701, 1e300, math.Inf(1), math.NaN()} {
		if got, want := float32(sigmoid(x)), float32(1/(1+math.Exp(-x))); got != want && x == x || x != x && got == got {
			t.Errorf("sigmoid(%v) is %v, want %v", x, got, want)
		}
	}
}

// TestDenseErrors: layers without experts have to be some of those that there are, and to have a width.
func TestDenseErrors(t *testing.T) {
	for _, c := range []struct {
		change func(c *Config)
		want   string
	}{
		{func(c *Config) { c.Dense = []int{0, 4} }, "layers without experts are [0 4] of 4"},
		{func(c *Config) { c.Dense = []int{-1} }, "layers without experts are [-1] of 4"},
		{func(c *Config) { c.Dense = []int{2, 2} }, "layers without experts are [2 2] of 4"},
		{func(c *Config) { c.Dense = []int{0, 1, 2, 3} }, "4 of 4 layers are without experts"},
		{func(c *Config) { c.Dense = nil }, "the MLP of 0 layers without experts is 80"},
		{func(c *Config) { c.DenseFFN = 0 }, "the MLP of 3 layers without experts is 0"},
		{func(c *Config) { c.DenseFFN = most + 1 }, "the MLP of 3 layers without experts is 16777217"},
		{func(c *Config) { c.SharedFFN, c.Clamp = 0, 1 }, "clamped, beside 3 layers without experts"},
		{func(c *Config) { c.Experts, c.SharedFFN = 0, 0 }, "options of experts, and 0 experts"},
	} {
		x := partlyMixed()
		c.change(&x)
		if _, err := Random(x, 1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestRouterNaN: a router whose logits are NaN has no experts. All logits of the token are NaN, and those of other
// texts are as they are without it.
func TestRouterNaN(t *testing.T) {
	c := likeQwen2MoE()
	m, w := newModel(t, qkv.Config{}, c)
	w.Embedding[3*c.Width+5] = float32(math.NaN())
	e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 4})
	logits, err := e.Forward([]Input{{e.Cache.NewSequence(), []int32{3}, 1}, {e.Cache.NewSequence(), []int32{4, 5}, 2}})
	must(err)
	if i := slices.IndexFunc(logits[0], func(v float32) bool { return v == v }); i >= 0 || len(logits[0]) != c.Vocab {
		t.Errorf("logit %d of %d of the text with NaNs is a number", i, len(logits[0]))
	}
	with := slices.Clone(logits[1])
	must(e.Step.Rollback())
	alone, err := e.Forward([]Input{{e.Cache.NewSequence(), []int32{4, 5}, 2}})
	must(err)
	if !slices.Equal(with, alone[0]) {
		t.Errorf("logits are others beside NaNs")
	}
}

// TestExperts: logits are those of transformers, within 4e-6 of the largest.
func TestExperts(t *testing.T) {
	data, err := os.ReadFile("testdata/experts.json")
	must(err)
	var all map[string]struct {
		Config Config
		referenceLogits
	}
	must(json.Unmarshal(data, &all))
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			m, _ := newModel(t, qkv.Config{}, want.Config)
			want.check(t, m, 4e-6)
		})
	}
	if len(all) < 4 {
		t.Errorf("%d models", len(all))
	}
}

// TestExpertWorkers: the number of workers changes no bit.
func TestExpertWorkers(t *testing.T) {
	c := likeGPTOSS()
	tokens := randomTokens(70, c.Vocab, 1)
	var want []float32
	for _, workers := range []int{1, 2, 5} {
		m, _ := newModel(t, qkv.Config{Workers: workers}, c)
		e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 5})
		got := read(e, e.Cache.NewSequence(), tokens, len(tokens))
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d workers: logits are others", workers)
		}
	}
}

// TestGoldenExperts: models with experts have the same bits of logits on every set and every architecture.
func TestGoldenExperts(t *testing.T) {
	for hash, c := range map[string]Config{"181c101c35bcb84c": likeQwen2MoE(), "bc25662c2882ed5f": likeGPTOSS()} {
		tokens := randomTokens(20, c.Vocab, 1)
		forEachSet(t, qkv.PrecisionFloat32, func(t *testing.T, cfg qkv.Config) {
			m, _ := newModel(t, cfg, c)
			e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 2})
			if got := hashOf(read(e, e.Cache.NewSequence(), tokens, len(tokens))); got != hash {
				t.Errorf("hash %s, want %s", got, hash)
			}
		})
	}
}
