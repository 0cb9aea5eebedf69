package gpt

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/jsontree"
	"github.com/qkv-go/qkv/internal/shareddata"
)

// The trained model, and every value on the way through it for three inputs, in PyTorch.
const (
	modelFile    = "gpt-nano-sort-model.json"
	partialsFile = "gpt-nano-sort-t0-partials.json"
)

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(shareddata.Path(t, "nano-gpt", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func newEngine(t testing.TB, cfg qkv.Config) *qkv.Engine {
	t.Helper()
	e, err := qkv.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// forEachSet runs a test on each kernel set that this machine has.
func forEachSet(t *testing.T, f func(t *testing.T, e *qkv.Engine)) {
	for _, k := range qkv.Kernels() {
		if k.Missing == 0 {
			t.Run("kernel="+k.Set.Name, func(t *testing.T) { f(t, newEngine(t, qkv.Config{Kernel: k.Set.Name})) })
		}
	}
}

// TestForward compares all values on the way with what PyTorch has for the same inputs.
// The sums are in another order there, of terms up to about 10.
func TestForward(t *testing.T) {
	data := readFile(t, modelFile)
	want, err := parseCheckpoint(readFile(t, partialsFile))
	if err != nil {
		t.Fatal(err)
	}
	const tolerance = 2e-6
	const batch = 3
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(want.values)), func(s string) bool { return s == "config" || s == "idx" })
	if len(names) != 24 {
		t.Fatalf("the file has %d values: %v", len(names), names)
	}
	idx, err := want.tensor("idx", batch, want.Context)
	if err != nil {
		t.Fatal(err)
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		m, err := Parse(data, e)
		if err != nil {
			t.Fatal(err)
		}
		traces := make([]Trace, batch)
		for b := range traces {
			tokens := make([]int, m.Context)
			for i, v := range idx.row(b) {
				tokens[i] = int(v)
			}
			traces[b] = Trace{}
			logits, err := m.Forward(tokens, traces[b])
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, "logits", logits.Data, traces[b]["lm_head"].Data)
			untraced, err := m.Forward(tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, "logits without a trace", untraced.Data, logits.Data)
		}
		worst, worstName := 0.0, ""
		for _, name := range names {
			w, err := decode(name, want.values[name].(jsontree.Object))
			if err != nil {
				t.Fatal(err)
			}
			for b, trace := range traces {
				x := trace[name]
				got, from := x.Data, w.Data
				if w.Shape[0] == batch {
					from = from[b*len(got):][:len(got)]
				} // else it is the same for all inputs
				if !slices.Equal(x.Shape, w.Shape[1:]) || len(got) != len(from) {
					t.Fatalf("%s has shape %v, in PyTorch %v", name, x.Shape, w.Shape)
				}
				for i, v := range got {
					if v == from[i] {
						continue // -Inf too
					}
					diff := math.Abs(float64(v) - float64(from[i]))
					if !(diff <= tolerance) {
						t.Fatalf("input %d: %s[%d] = %g, in PyTorch %g", b, name, i, v, from[i])
					}
					if diff > worst {
						worst, worstName = diff, name
					}
				}
				if name == "lm_head" || name == "probs" {
					for s := range m.Context {
						if got, want := argmax(x.row(s)), argmax(from[s*m.Vocab:][:m.Vocab]); got != want {
							t.Errorf("input %d: token %d follows position %d, in PyTorch %d", b, got, s, want)
						}
					}
				}
			}
		}
		t.Logf("largest difference: %.2g, of %s", worst, worstName)
	})
}

// TestSortAll gives the model all that it can be given to sort. No position sees what comes
// after it: run on letters and the right answer, which is six times as fast as step by
// step, the model says at each position what it would say there had it come so far alone.
func TestSortAll(t *testing.T) {
	data := readFile(t, modelFile)
	m, err := Parse(data, newEngine(t, qkv.Config{Workers: 1})) // there is too little work to share
	if err != nil {
		t.Fatal(err)
	}
	const n, all = 6, 729
	right := 0
	for i := range all {
		letters := make([]byte, n)
		for k, rest := 0, i; k < n; k, rest = k+1, rest/3 {
			letters[k] = 'A' + byte(rest%3)
		}
		want := slices.Sorted(slices.Values(letters))
		if i%50 == 0 {
			if sorted, _, err := m.Sort(string(letters)); sorted != string(want) || err != nil {
				t.Errorf("%s is sorted %s, %v", letters, sorted, err)
			}
		}
		tokens, err := m.Tokens(string(letters) + string(want[:n-1]))
		if err != nil {
			t.Fatal(err)
		}
		logits, err := m.Forward(tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		sorted := ""
		for k := range n {
			sorted += Label(argmax(logits.row(n - 1 + k)))
		}
		if sorted == string(want) {
			right++
		} else {
			t.Errorf("%s is sorted %s", letters, sorted)
		}
	}
	t.Logf("%d of %d are right", right, all)
}

// tinyConfig is the shape of a model that tests make up.
var tinyConfig = Config{Layers: 2, Heads: 2, Width: 6, Vocab: 4, Context: 7}

// tinyFile is a checkpoint of random weights, as it is before it is JSON.
func tinyFile(c Config) map[string]map[string]any {
	r := rand.New(rand.NewPCG(1, 2))
	f := map[string]map[string]any{"config": {
		"model_type": "tiny", "n_layer": c.Layers, "n_head": c.Heads, "n_embd": c.Width,
		"vocab_size": c.Vocab, "block_size": c.Context, "attn_pdrop": 0.1,
	}}
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		var raw []byte
		for range n {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(r.NormFloat64())))
		}
		f[name] = map[string]any{"shape": shape, "dtype": "torch.float32", "data": base64.StdEncoding.EncodeToString(raw)}
	}
	w := c.Width
	add("transformer.wte.weight", c.Vocab, w)
	add("transformer.wpe.weight", c.Context, w)
	for i := range c.Layers {
		h := fmt.Sprintf("transformer.h.%d.", i)
		for _, x := range []struct {
			name    string
			in, out int
		}{{"attn.c_attn", w, 3 * w}, {"attn.c_proj", w, w}, {"mlp.c_fc", w, 4 * w}, {"mlp.c_proj", 4 * w, w}} {
			add(h+x.name+".weight", x.out, x.in)
			add(h+x.name+".bias", x.out)
		}
		for _, name := range []string{"ln_1", "ln_2"} {
			add(h+name+".weight", w)
			add(h+name+".bias", w)
		}
	}
	add("transformer.ln_f.weight", w)
	add("transformer.ln_f.bias", w)
	add("lm_head.weight", c.Vocab, w)
	return f
}

func marshal(t testing.TB, x any) []byte {
	t.Helper()
	data, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func tiny(t testing.TB, e *qkv.Engine) *Model {
	t.Helper()
	m, err := Parse(marshal(t, tinyFile(tinyConfig)), e)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSame: no kernel set, no number of workers and nothing that comes later changes what
// is computed.
func TestSame(t *testing.T) {
	tokens := []int{3, 0, 2, 2, 1, 3, 0}
	first, err := tiny(t, newEngine(t, qkv.Config{Kernel: "generic", Workers: 1})).Forward(tokens, nil)
	if err != nil {
		t.Fatal(err)
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		m := tiny(t, e)
		for n := 1; n <= len(tokens); n++ {
			logits, err := m.Forward(tokens[:n], nil)
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, fmt.Sprintf("the first %d tokens", n), logits.Data, first.Data[:n*m.Vocab])
		}
	})
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: number %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}

func TestAttention(t *testing.T) {
	m := tiny(t, newEngine(t, qkv.Config{}))
	tokens := []int{3, 1, 0, 2}
	maps, err := m.Attention(tokens)
	if err != nil {
		t.Fatal(err)
	}
	if len(maps) != m.Layers {
		t.Fatalf("%d maps, want one for each of %d blocks", len(maps), m.Layers)
	}
	n := len(tokens)
	for layer, x := range maps {
		if !slices.Equal(x.Shape, []int{m.Heads, n, n}) {
			t.Fatalf("block %d has shape %v", layer, x.Shape)
		}
		for row := range m.Heads * n {
			sum := 0.0
			for key, p := range x.Data[row*n:][:n] {
				sum += float64(p)
				if after := key > row%n; after != (p == 0) {
					t.Errorf("block %d, row %d: key %d has probability %g", layer, row, key, p)
				}
			}
			if math.Abs(sum-1) > 1e-6 {
				t.Errorf("block %d, row %d: the probabilities add up to %g", layer, row, sum)
			}
		}
	}
	if slices.Equal(maps[0].Data, maps[1].Data) {
		t.Error("both blocks have the same map")
	}
}

func TestGenerate(t *testing.T) {
	m := tiny(t, newEngine(t, qkv.Config{}))
	tokens := []int{2, 0, 1, 3}
	steps, err := m.Generate(tokens, 4)
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 4 || len(tokens) != 4 {
		t.Fatalf("%d steps after %d tokens, want 4 after 4", len(steps), len(tokens))
	}
	for i, s := range steps {
		logits, err := m.Forward(tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := argmax(logits.row(len(tokens) - 1)); s.Token != want {
			t.Errorf("step %d gives token %d, the logits say %d", i, s.Token, want)
		}
		sum := 0.0
		for _, p := range s.Probs {
			sum += float64(p)
		}
		if len(s.Probs) != m.Vocab || math.Abs(sum-1) > 1e-6 || s.Probs[s.Token] != slices.Max(s.Probs) {
			t.Errorf("step %d has the probabilities %v", i, s.Probs)
		}
		tokens = append(tokens, s.Token)
	}
}

func TestBadInput(t *testing.T) {
	m := tiny(t, newEngine(t, qkv.Config{}))
	forward := func(tokens ...int) error { _, err := m.Forward(tokens, nil); return err }
	generate := func(n int, tokens ...int) error { _, err := m.Generate(tokens, n); return err }
	sort := func(letters string) error { _, _, err := m.Sort(letters); return err }
	_, attention := m.Attention(nil)
	for _, c := range []struct {
		err        error
		name, want string
	}{
		{forward(), "tokens", "gpt: there are 0 tokens, the model takes 1 to 7"},
		{forward(make([]int, 8)...), "tokens", "gpt: there are 8 tokens, the model takes 1 to 7"},
		{forward(0, 4), "tokens", "gpt: tokens[1] is 4, the model knows 0 to 3"},
		{forward(-1), "tokens", "gpt: tokens[0] is -1, the model knows 0 to 3"},
		{attention, "tokens", "gpt: there are 0 tokens, the model takes 1 to 7"},
		{generate(1), "tokens", "gpt: there are 0 tokens, the model takes 1 to 7"},
		{generate(-1, 0), "tokens", "gpt: -1 tokens are to be generated, at least 0 are needed"},
		{generate(5, 0, 0, 0, 0), "tokens", "gpt: 5 tokens are to follow 4, the model's context has room for 4"},
		{generate(1, make([]int, 20)...), "tokens", "gpt: 1 tokens are to follow 20, the model's context has room for 0"},
		{generate(math.MaxInt, 0), "tokens", fmt.Sprintf("gpt: %d tokens are to follow 1, the model's context has room for 7", math.MaxInt)},
		{sort("ABC"), "letters", `gpt: "ABC" has 3 letters, the model sorts 4`},
		{sort(strings.Repeat("A", 1000)), "letters", `gpt: "AAAAAAAAAAAAAAAAAAAA" has 1000 letters, the model sorts 4`},
		{sort("ABCE"), "letters", `gpt: "ABCE" has 'E', the model knows A to D`},
		{sort("abcd"), "letters", `gpt: "abcd" has 'a', the model knows A to D`},
		{sort("\xffBCD"), "letters", `gpt: "\xffBCD" has '�', the model knows A to D`},
	} {
		var e *InputError
		if !errors.As(c.err, &e) || e.Name != c.name || c.err.Error() != c.want {
			t.Errorf("error %v, want %q of %s", c.err, c.want, c.name)
		}
	}
}
