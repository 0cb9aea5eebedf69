package gomlx

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/embed/bert"
	"github.com/qkv-go/qkv/internal/safetensorsbuild"
)

// An encoder is all-MiniLM-L6-v2 with random weights and few words: its shape, and its tensors by their names.
type encoder struct {
	bert.Config
	tensors map[string][]float32
	dims    map[string][]int
	names   []string
}

func newEncoder(layers int) *encoder {
	e := &encoder{Config: bert.Config{
		Type: "bert", Layers: layers, Width: 384, Heads: 12, FFN: 1536, Vocab: 1000, Context: 64, Types: 2, Activation: "gelu", NormEps: 1e-12,
	}, tensors: map[string][]float32{}, dims: map[string][]int{}}
	r := rand.New(rand.NewPCG(1, 1))
	tensor := func(name string, mean, scale float64, dims ...int) {
		n := 1
		for _, d := range dims {
			n *= d
		}
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(mean + scale*r.NormFloat64())
		}
		e.tensors[name], e.dims[name], e.names = x, dims, append(e.names, name)
	}
	norm := func(name string) {
		tensor(name+".LayerNorm.weight", 1, 0.1, e.Width)
		tensor(name+".LayerNorm.bias", 0, 0.1, e.Width)
	}
	tensor("embeddings.word_embeddings.weight", 0, 1, e.Vocab, e.Width)
	tensor("embeddings.position_embeddings.weight", 0, 1, e.Context, e.Width)
	tensor("embeddings.token_type_embeddings.weight", 0, 1, e.Types, e.Width)
	norm("embeddings")
	for i := range e.Layers {
		layer := fmt.Sprintf("encoder.layer.%d.", i)
		linear := func(name string, out, in int) {
			tensor(layer+name+".weight", 0, 1/math.Sqrt(float64(in)), out, in)
			tensor(layer+name+".bias", 0, 0.1, out)
		}
		for _, name := range []string{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"} {
			linear(name, e.Width, e.Width)
		}
		linear("intermediate.dense", e.FFN, e.Width)
		linear("output.dense", e.Width, e.FFN)
		norm(layer + "attention.output")
		norm(layer + "output")
	}
	return e
}

// folder writes the model as examples/embed reads it.
func (e *encoder) folder(t testing.TB) string {
	dir, tensors := t.TempDir(), []safetensorsbuild.Tensor(nil)
	for _, name := range e.names {
		tensors = append(tensors, safetensorsbuild.Tensor{Name: name, Type: "F32", Shape: e.dims[name], Data: safetensorsbuild.Float32(e.tensors[name])})
	}
	config, err := json.Marshal(e.Config)
	words := "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"
	if err := cmp.Or(err,
		os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600),
		os.WriteFile(filepath.Join(dir, "vocab.txt"), []byte(words), 0o600),
		os.WriteFile(filepath.Join(dir, "model.safetensors"), safetensorsbuild.File(tensors...), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A padded is the encoder as a graph of GoMLX, of texts that are padded to the longest.
type padded struct {
	*graph
	e          *encoder
	texts      [][]int32
	tokens     int
	x, mask    []float32 // what the buffers of the first two inputs hold
	inputs     []compute.Buffer
	last       compute.Buffer
	hidden     []float32
	parameters []shapes.Shape
}

// newPadded builds the graph of a batch: the products with biases and GELU, and norms, by what the backend has fused.
func newPadded(e *encoder, texts [][]int32) (*padded, error) {
	p := &padded{e: e, texts: texts}
	for _, text := range texts {
		p.tokens = max(p.tokens, len(text))
	}
	b, n, dim := len(texts), p.tokens, e.Width/e.Heads
	p.parameters = []shapes.Shape{shapes.Make(dtypes.Float32, b, n, e.Width), shapes.Make(dtypes.Float32, b, 1, 1, n)}
	at := map[string]int{}
	for _, name := range e.names[3:] {
		at[name] = len(p.parameters)
		p.parameters = append(p.parameters, shapes.Make(dtypes.Float32, e.dims[name]...))
	}
	var err error
	p.graph, err = newGraph(p.parameters, func(f compute.Function, in []compute.Value) (compute.Value, error) {
		c := chain{f: f}
		of := func(name string) compute.Value { return in[at[name]] }
		norm := func(x compute.Value, name string) compute.Value {
			return c.do(f.FusedLayerNorm(x, []int{2}, e.NormEps, of(name+".LayerNorm.weight"), of(name+".LayerNorm.bias")))
		}
		dense := func(x compute.Value, name string, act compute.ActivationType) compute.Value {
			return c.do(f.FusedDense(x, of(name+".weight"), of(name+".bias"), compute.DenseConfig{Activation: act, WeightLayout: compute.DenseLayoutOutputsInput}))
		}
		x := norm(in[0], "embeddings")
		for i := range e.Layers {
			layer := fmt.Sprintf("encoder.layer.%d.", i)
			heads := func(name string) compute.Value {
				return c.do(f.Reshape(dense(x, layer+"attention.self."+name, compute.ActivationNone), b, n, e.Heads, dim))
			}
			q, k, v := heads("query"), heads("key"), heads("value")
			q = c.do(f.Mul(q, c.do(f.Constant([]float32{float32(1 / math.Sqrt(float64(dim)))}))))
			s := c.do(f.DotGeneral(q, []int{3}, []int{0, 2}, k, []int{3}, []int{0, 2}, compute.DotGeneralConfig{}))
			s = c.do(f.FusedSoftmax(c.do(f.Add(s, in[1])), 3))
			o := c.do(f.DotGeneral(s, []int{3}, []int{0, 1}, v, []int{1}, []int{0, 2}, compute.DotGeneralConfig{}))
			o = c.do(f.Reshape(c.do(f.Transpose(o, 0, 2, 1, 3)), b, n, e.Width))
			x = norm(c.do(f.Add(x, dense(o, layer+"attention.output.dense", compute.ActivationNone))), layer+"attention.output")
			h := dense(x, layer+"intermediate.dense", compute.ActivationGelu)
			x = norm(c.do(f.Add(x, dense(h, layer+"output.dense", compute.ActivationNone))), layer+"output")
		}
		return x, c.err
	})
	if err != nil {
		return nil, err
	}
	for i, to := range []*[]float32{&p.x, &p.mask} {
		buffer, flat, err := p.backend.NewSharedBuffer(0, p.parameters[i])
		if err != nil {
			return nil, err
		}
		p.inputs, *to = append(p.inputs, buffer), flat.([]float32)
	}
	for _, name := range e.names[3:] {
		buffer, err := p.backend.BufferFromFlatData(0, e.tensors[name], p.parameters[len(p.inputs)])
		if err != nil {
			return nil, err
		}
		p.inputs = append(p.inputs, buffer)
	}
	p.hidden = make([]float32, len(p.x))
	return p, nil
}

// embed computes the embeddings of the texts.
func (p *padded) embed(y []float32) (err error) {
	e := p.e
	words, positions, types := e.tensors[e.names[0]], e.tensors[e.names[1]], e.tensors[e.names[2]]
	clear(p.x)
	for i, text := range p.texts {
		for j := range p.tokens {
			p.mask[i*p.tokens+j] = -1e9
			if j < len(text) {
				p.mask[i*p.tokens+j] = 0
				row := p.x[(i*p.tokens+j)*e.Width:][:e.Width]
				word, position := words[int(text[j])*e.Width:], positions[j*e.Width:]
				for k := range row {
					row[k] = word[k] + position[k] + types[k]
				}
			}
		}
	}
	if p.last, err = p.run(p.last, p.inputs...); err != nil {
		return err
	}
	if err = p.last.ToFlatData(p.hidden); err != nil {
		return err
	}
	clear(y)
	for i, text := range p.texts {
		to, squares := y[i*e.Width:][:e.Width], 0.0
		for j := range text {
			for k, x := range p.hidden[(i*p.tokens+j)*e.Width:][:e.Width] {
				to[k] += x
			}
		}
		for _, x := range to {
			squares += float64(x) * float64(x)
		}
		for k := range to {
			to[k] /= float32(math.Sqrt(squares))
		}
	}
	return nil
}

// sentences returns those that examples/embed is measured on, with words of the encoder's.
func sentences(t testing.TB, e *encoder) (texts [][]int32) {
	data, err := os.ReadFile("../../../examples/embed/bert/testdata/sentences.json")
	if err = cmp.Or(err, json.Unmarshal(data, &texts)); err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		for i := range text {
			text[i] %= int32(e.Vocab)
		}
	}
	return texts
}

// qkvEncoder returns the encoder by examples/embed.
func qkvEncoder(t testing.TB, e *encoder) *bert.Encoder {
	engine, err := qkv.New(qkv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := bert.Load(engine, e.folder(t), qkv.PrecisionFloat32)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return bert.NewEncoder(m)
}

// TestEmbed: the graph has the embeddings that examples/embed has.
func TestEmbed(t *testing.T) {
	e := newEncoder(1)
	texts := sentences(t, e)[:3]
	p, err := newPadded(e, texts)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	got, want := make([]float32, len(texts)*e.Width), make([]float32, len(texts)*e.Width)
	if err := cmp.Or(p.embed(got), qkvEncoder(t, e).Embed(want, texts)); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if !(math.Abs(float64(got[i]-want[i])) < 1e-5) {
			t.Fatalf("embedding %d, element %d: %v, examples/embed has %v", i/e.Width, i%e.Width, got[i], want[i])
		}
	}
}

// BenchmarkEmbed is embeddings a second, in the best call, of GoMLX and of examples/embed in turns. Threads are those
// of GOMAXPROCS in the environment: with -cpu, the first number is not that of a loop of b.Loop.
func BenchmarkEmbed(b *testing.B) {
	e := newEncoder(6)
	all, ours := sentences(b, e), qkvEncoder(b, e)
	for _, n := range []int{1, len(all)} {
		p, err := newPadded(e, all[:n])
		if err != nil {
			b.Fatal(err)
		}
		y := make([]float32, n*e.Width)
		b.Run(strings.ReplaceAll(fmt.Sprintf("batch=%d/%s", n, named("gomlx")), " ", "_"), func(b *testing.B) {
			best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
			calls := []func() error{func() error { return p.embed(y) }, func() error { return ours.Embed(y, all[:n]) }}
			for _, call := range calls { // for memory
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				for i, call := range calls {
					start := time.Now()
					if err := call(); err != nil {
						b.Fatal(err)
					}
					best[i] = min(best[i], time.Since(start))
				}
			}
			b.ReportMetric(float64(n)/best[0].Seconds(), "gomlx-sentences/s")
			b.ReportMetric(float64(n)/best[1].Seconds(), "qkv-sentences/s")
		})
		p.close()
	}
}
