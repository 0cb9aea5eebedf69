package model

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/qkv-go/qkv"
)

// EngineConfig says what an [Engine] has room for.
type EngineConfig struct {
	Type       qkv.ElemType // that the cache keeps keys and values in
	Hadamard   bool         // keys and values are kept multiplied by a Hadamard matrix
	KeyMeans   [][]float32  // of each layer, subtracted from the keys, see [Model.KeyMeans]; or nil
	PageTokens int          // tokens of a page: 16, or Context for a slot for each text
	Pages      int          // of all texts together
	Texts      int          // texts at one time, of a model with windows; 0 means as many as Pages

	// PromptTokens bounds the tokens of one text in one step of [Engine.Continue], a draft among them: a longer prompt
	// comes in several, between which the other texts go on. 0 means 256.
	PromptTokens int
}

// An Engine runs a model over several texts with one cache. It is used by one goroutine at a time;
// what it computes on is up to the engine of the library. It allocates nothing once it has had
// its largest step.
type Engine struct {
	*Model
	Cache  *qkv.Cache
	Step   *qkv.Step // that Forward begins
	Stats  Stats
	prompt int

	// x [tokens, Width] is the residual stream, h what a part of a layer reads, and the attention's output,
	// gated [tokens, FFN] the hidden values of an MLP, and logits [wanted tokens, Vocab] has the rows.
	x, h, gated, logits []float32
	mixture             mixture
	rows                [][]float32
	ids                 []int32 // all tokens of a step
	steps               []qkv.StepSequence
	texts               []*Text // of Continue, and what it reads of each, and how much of that it commits
	inputs              []Input
	taken               []int
}

// Stats counts what an [Engine] has done.
type Stats struct {
	Steps, Tokens int // passes of the model, and tokens in them
	Drafted, Kept int // tokens of drafts, and those that the model agreed with
}

// NewEngine returns an Engine with an empty cache. The error is that of the library, or says that
// PromptTokens is below 0.
func NewEngine(m *Model, cfg EngineConfig) (*Engine, error) {
	if cfg.PromptTokens < 0 {
		return nil, fmt.Errorf("model: PromptTokens is %d, at least 0 are needed", cfg.PromptTokens)
	}
	layer := qkv.CacheLayer{
		KVHeads: m.KVHeads, DimQK: m.Dim(), DimV: m.Dim(), KeyType: cfg.Type, ValueType: cfg.Type, HadamardK: cfg.Hadamard, HadamardV: cfg.Hadamard,
	}
	layers := slices.Repeat([]qkv.CacheLayer{layer}, m.Layers)
	e, err := &Engine{Model: m, prompt: cmp.Or(cfg.PromptTokens, 256)}, error(nil)
	cache := qkv.CacheConfig{Layers: layers, PageTokens: cfg.PageTokens}
	for i := range layers {
		if i < len(cfg.KeyMeans) {
			layers[i].KeyMean = cfg.KeyMeans[i]
		}
		if m.local(i) {
			layers[i].Window = min(m.Window, m.Context) // which is all, if the model reads no more
			cache.Sequences, cache.StepTokens = cmp.Or(cfg.Texts, cfg.Pages), e.prompt
		} else {
			cache.Pages = cfg.Pages
		}
	}
	if e.Cache, err = qkv.NewCache(cache); err == nil {
		e.Step, err = m.engine.NewStep(e.Cache)
	}
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return e, nil
}

// An Input is what a step reads of a sequence.
type Input struct {
	Sequence *qkv.Sequence
	Tokens   []int32 // at least 1, which follow those that the sequence has
	Logits   int     // of how many of the last tokens logits are wanted: 1 to go on, all to rate them
}

// Forward begins a step: it runs the model over the tokens of each input, any number of them, and
// returns the logits that each wants, [Logits, Vocab], which hold until the next step. Commit,
// CommitFirst or Rollback of Step ends it. After an error there is none, and all sequences are as they
// were. The error wraps a [*qkv.PagesError] where the cache has not enough room, which a server answers
// by letting a text wait.
func (e *Engine) Forward(batch []Input) ([][]float32, error) {
	wanted := 0
	e.ids, e.steps = e.ids[:0], e.steps[:0]
	for i, in := range batch {
		n := len(in.Tokens)
		if n == 0 || in.Logits < 0 || in.Logits > n {
			return nil, fmt.Errorf("model: input %d has %d tokens, of which %d have logits", i, n, in.Logits)
		}
		e.ids = append(e.ids, in.Tokens...)
		e.steps = append(e.steps, qkv.StepSequence{Sequence: in.Sequence, Tokens: n})
		wanted += in.Logits
	}
	err := e.Step.Begin(e.steps)
	if err == nil {
		if err = e.compute(batch, wanted); err != nil {
			e.Step.Rollback()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	e.Stats.Steps, e.Stats.Tokens = e.Stats.Steps+1, e.Stats.Tokens+len(e.ids)
	return e.rows, nil
}

// compute runs the model. The tokens of the inputs lie one behind the other in its rows. The library
// reports tokens that the vocabulary does not have, and positions that the model does not read.
func (e *Engine) compute(batch []Input, wanted int) error {
	matrix := func(buf *[]float32, rows, cols int) qkv.Matrix {
		*buf = slices.Grow((*buf)[:0], rows*cols)[:rows*cols]
		return qkv.RowMajor(*buf, rows, cols)
	}
	n := len(e.ids)
	x, h := matrix(&e.x, n, e.Width), matrix(&e.h, n, e.Width)
	var gated qkv.Matrix
	if width := e.mlpWidth(); width != 0 {
		gated = matrix(&e.gated, n, width)
	}
	// What comes after an error computes with what is there, and nobody reads it.
	var left qkv.Matrix // what the last layer has not added to x yet
	err := e.engine.Lookup(x, e.embedding, e.ids)
	e.scale(e.x)
	for i := 0; i < len(e.blocks) && err == nil; i++ {
		b := &e.blocks[i]
		err = cmp.Or(
			e.rmsNorm(h, x, left, b.attnNorm),
			b.attn.Step(e.Step, i, h, h),
			e.postNorm(h, b.attnPost),
			e.rmsNorm(h, x, h, b.ffnNorm),
		)
		switch {
		case err != nil:
		case len(b.experts) > 0: // the next norm adds what they return
			left = h
			err = cmp.Or(e.mix(h, b), e.postNorm(h, b.ffnPost))
		case e.PostNorm:
			left = h
			err = cmp.Or(e.hidden(gated, h, &b.mlp), e.product(h, gated, b.mlp.down), e.postNorm(h, b.ffnPost))
		default:
			left = qkv.Matrix{}
			err = cmp.Or(e.hidden(gated, h, &b.mlp), e.add(x, gated, b.mlp.down))
		}
	}

	// The output matrix may be the largest: it is for the tokens whose logits are wanted.
	logits := matrix(&e.logits, wanted, e.Vocab)
	e.rows = e.rows[:0]
	end, to := 0, 0
	for _, in := range batch {
		n := in.Logits
		end += len(in.Tokens)
		for _, rows := range [][]float32{e.x, e.h} {
			copy(rows[to*e.Width:], rows[(end-n)*e.Width:end*e.Width])
		}
		e.rows = append(e.rows, e.logits[to*e.Vocab:][:n*e.Vocab])
		to += n
	}
	if wanted == 0 {
		return err
	}
	h = h.Slice(0, wanted)
	if left.Rows() > 0 {
		left = h
	}
	err = cmp.Or(err, e.rmsNorm(h, x.Slice(0, wanted), left, e.norm), e.product(logits, h, e.out))
	e.capLogits(e.logits)
	return err
}
