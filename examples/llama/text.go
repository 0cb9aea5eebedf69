package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/bounded"
	"github.com/qkv-go/qkv/examples/internal/gguf"
	"github.com/qkv-go/qkv/examples/internal/tokenizer"
	"github.com/qkv-go/qkv/examples/llama/model"
)

// pageTokens is how many tokens a page of the cache has, and promptTokens how many of a prompt are read in one step.
const (
	pageTokens   = 16
	promptTokens = 512
)

// mostText bounds the bytes of a file with a text.
const mostText = 128 << 20

// A file is a trained model with its tokenizer.
type file struct {
	*model.Model
	plain     *model.Model // in class Float32, to compare with, or nil
	keyMeans  [][]float32  // of -key-mean, or nil
	tokenizer *tokenizer.Tokenizer
	close     func() error
}

// openFile opens a GGUF file.
func openFile(name string) (*model.Tensors, *tokenizer.Tokenizer, io.Closer, error) {
	f, err := gguf.Open(name)
	if err != nil {
		return nil, nil, nil, err
	}
	w, err := model.FromGGUF(f)
	if err == nil {
		var t *tokenizer.Tokenizer
		if t, err = tokenizer.FromGGUF(f); err == nil {
			return w, t, f, nil
		}
	}
	f.Close()
	return nil, nil, nil, fmt.Errorf("%s: %w", name, err)
}

// openFolder opens a folder of Hugging Face.
func openFolder(name string) (*model.Tensors, *tokenizer.Tokenizer, io.Closer, error) {
	t, err := tokenizer.OpenHuggingFace(name)
	if err != nil {
		return nil, nil, nil, err
	}
	w, f, err := model.OpenHuggingFace(name)
	if err != nil {
		return nil, nil, nil, err
	}
	return w, t, f, nil
}

// openLlama2C opens a file of llama2.c, and the tokenizer.bin in its folder.
func openLlama2C(name string) (*model.Tensors, *tokenizer.Tokenizer, io.Closer, error) {
	w, err := model.OpenLlama2C(name)
	if err != nil {
		return nil, nil, nil, err
	}
	vocab := filepath.Join(filepath.Dir(name), "tokenizer.bin")
	data, err := bounded.ReadFile(vocab, mostText)
	if err != nil {
		return nil, nil, nil, err
	}
	t, err := tokenizer.FromLlama2C(data, w.Vocab)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", vocab, err)
	}
	return w, t, io.NopCloser(nil), nil
}

// open opens a model. Close it when it is not used any more.
func open(o options) (_ *file, err error) {
	read := openFile
	switch info, err := os.Stat(o.model); {
	case err == nil && info.IsDir():
		read = openFolder
	case filepath.Ext(o.model) == ".bin":
		read = openLlama2C
	}
	w, t, f, err := read(o.model)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := t.Limit(w.Vocab); err != nil {
		return nil, fmt.Errorf("%s: %w", o.model, err)
	}
	if o.context > 0 {
		w.Context = min(w.Context, o.context)
	}
	e, err := qkv.New(qkv.Config{Workers: o.workers})
	if err != nil {
		return nil, err
	}
	w.ValuePrecision = o.values
	m := &file{tokenizer: t, close: f.Close}
	if m.Model, err = model.NewOf(e, w, o.class, !o.inPlace); err == nil && o.compare {
		m.plain, err = model.NewOf(e, w, qkv.PrecisionFloat32, !o.inPlace)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.model, err)
	}
	return m, nil
}

// run does what there is to do with a file: it rates a text, or continues one.
func run(o options, stdout, stderr io.Writer) error {
	m, err := open(o)
	if err != nil {
		return err
	}
	defer m.close()
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if o.keyMean != "" {
		data, err := bounded.ReadFile(o.keyMean, mostText)
		if err != nil {
			return err
		}
		if m.keyMeans, err = m.KeyMeans(m.tokenizer.Encode(string(data), true)); err != nil {
			return err
		}
	}
	if o.explain {
		if err := m.explain(o, stdout); err != nil {
			return err
		}
	}
	if o.speed != nil {
		return m.speed(o, stdout)
	}
	if o.perplexity != "" {
		return m.rate(o, stdout, stderr)
	}
	if o.prompts == nil {
		return nil
	}
	return m.write(o, stdout, stderr)
}

// explain says how a prompt as long as fits a step is computed.
func (m *file) explain(o options, stdout io.Writer) error {
	tokens := min(promptTokens, m.Context-1)
	if tokens < 1 {
		return fmt.Errorf("-explain is of 2 tokens and more, the model reads %d", m.Context)
	}
	e, err := m.engine(o, tokens+1, 1)
	if err != nil {
		return err
	}
	return e.Explain(stdout, tokens)
}

// room returns the configuration of a cache with room for texts of so many tokens in all.
func room(kv qkv.ElemType, tokens, texts int) model.EngineConfig {
	return model.EngineConfig{Type: kv, PageTokens: pageTokens, Pages: tokens/pageTokens + texts, Texts: texts, PromptTokens: promptTokens}
}

// engine returns an engine with room for texts, with a cache as the options say.
func (m *file) engine(o options, tokens, texts int) (*model.Engine, error) {
	cfg := room(o.kv, tokens, texts)
	cfg.Hadamard, cfg.KeyMeans = o.hadamard, m.keyMeans
	return model.NewEngine(m.Model, cfg)
}

// rate prints the perplexity of a text.
func (m *file) rate(o options, stdout, stderr io.Writer) error {
	data, err := bounded.ReadFile(o.perplexity, mostText)
	if err != nil {
		return err
	}
	size := min(512, m.Context)
	e, err := m.engine(o, size, 1)
	if err != nil {
		return err
	}
	tokens, first := m.tokenizer.Encode(string(data), false), int32(-1)
	if m.tokenizer.AddBOS {
		first = m.tokenizer.BOS
	}
	if o.compare {
		return m.compare(e, tokens, size, first, stdout)
	}
	start := time.Now()
	p, n, err := e.Perplexity(tokens, size, first)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "perplexity %.4f of %d tokens, in parts of %d\n", p, n, size)
	fmt.Fprintf(stderr, "read      %d tokens, %.1f tokens/s\n", e.Stats.Tokens, float64(e.Stats.Tokens)/time.Since(start).Seconds())
	return nil
}

// compare prints the perplexity of a text, and how far its logits are from those of class and cache float32.
func (m *file) compare(e *model.Engine, tokens []int32, size int, first int32, stdout io.Writer) error {
	plain, err := model.NewEngine(m.plain, room(qkv.TypeFloat32, size, 1))
	if err != nil {
		return err
	}
	d, err := e.Compare(plain, tokens, size, first)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "perplexity %.4f of %d tokens, in parts of %d: %+.4f%% of %.4f\n", d.Perplexity, d.Tokens, size, 100*(d.Perplexity/d.Other-1), d.Other)
	fmt.Fprintf(stdout, "logits     off by up to %.3g of %.3g, divergence %.3g, the same token %d times\n", d.Off, d.Largest, d.Divergence, d.Same)
	return nil
}
