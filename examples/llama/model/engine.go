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
	PageTokens int          // tokens of a page: 16, or Context for a slot for each text
	Pages      int          // of all texts together

	// PromptTokens bounds the tokens of one text in one step of [Engine.Continue]: a longer prompt
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

	x      []float32 // [tokens, Width]: the residual stream
	h      []float32 // [tokens, Width]: what a part of a layer reads, and the attention's output
	gateUp []float32 // [tokens, 2*FFN]
	logits []float32 // [wanted tokens, Vocab]
	rows   [][]float32
	steps  []qkv.StepSequence
	texts  []*Text // of Continue, and what it reads of each, and keeps
	inputs []Input
	keep   []int
}

// Stats counts what an [Engine] has done.
type Stats struct {
	Steps, Tokens int // passes of the model, and tokens in them
	Drafted, Kept int // tokens of drafts, and those that the model agreed with
}

// NewEngine returns an Engine with an empty cache. The error is that of the library.
func NewEngine(m *Model, cfg EngineConfig) (*Engine, error) {
	layers := make([]qkv.CacheLayer, m.Layers)
	for i := range layers {
		layers[i] = qkv.CacheLayer{KVHeads: m.KVHeads, DimQK: m.Dim(), DimV: m.Dim(), KeyType: cfg.Type, ValueType: cfg.Type}
	}
	cache, err := qkv.NewCache(qkv.CacheConfig{Layers: layers, PageTokens: cfg.PageTokens, Pages: cfg.Pages})
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	step, err := m.engine.NewStep(cache)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return &Engine{Model: m, Cache: cache, Step: step, prompt: cmp.Or(cfg.PromptTokens, 256)}, nil
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
	tokens, wanted := 0, 0
	e.steps = e.steps[:0]
	for i := range batch {
		in := &batch[i]
		if err := e.checkInput(in); err != nil {
			return nil, fmt.Errorf("model: input %d: %w", i, err)
		}
		e.steps = append(e.steps, qkv.StepSequence{Sequence: in.Sequence, Tokens: len(in.Tokens)})
		tokens, wanted = tokens+len(in.Tokens), wanted+in.Logits
	}
	sized := func(x []float32, n int) []float32 { return slices.Grow(x[:0], n)[:n] }
	e.x, e.h = sized(e.x, tokens*e.Width), sized(e.h, tokens*e.Width)
	e.gateUp, e.logits = sized(e.gateUp, tokens*2*e.FFN), sized(e.logits, wanted*e.Vocab)
	if err := e.Step.Begin(e.steps); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := e.compute(batch, tokens, wanted); err != nil {
		e.Step.Rollback()
		return nil, fmt.Errorf("model: %w", err)
	}
	e.Stats.Steps++
	e.Stats.Tokens += tokens
	return e.rows, nil
}

// checkInput reports tokens that the model cannot read.
func (e *Engine) checkInput(in *Input) error {
	if n := len(in.Tokens); n == 0 || in.Logits < 0 || in.Logits > n {
		return fmt.Errorf("there are %d tokens, of which %d have logits", n, in.Logits)
	}
	if n := in.Sequence.Len() + len(in.Tokens); n > e.Context {
		return fmt.Errorf("the sequence would have %d tokens, the model reads %d", n, e.Context)
	}
	for _, token := range in.Tokens {
		if token < 0 || int(token) >= e.Vocab {
			return fmt.Errorf("token %d is none of the vocabulary's %d", token, e.Vocab)
		}
	}
	return nil
}

// compute runs the model. The tokens of the inputs lie one behind the other in its rows.
func (e *Engine) compute(batch []Input, tokens, wanted int) error {
	x, h := qkv.RowMajor(e.x, tokens, e.Width), qkv.RowMajor(e.h, tokens, e.Width)
	gateUp := qkv.RowMajor(e.gateUp, tokens, 2*e.FFN)
	gated := qkv.StridedMatrix(e.gateUp, 0, tokens, e.FFN, 2*e.FFN, 1) // the first half of each row
	rows := e.x
	for i := range batch {
		for _, token := range batch[i].Tokens {
			rows = rows[copy(rows, e.embedding[int(token)*e.Width:][:e.Width]):]
		}
	}
	for i := range e.blocks {
		b := &e.blocks[i]
		rmsNorm(e.h, e.x, b.attnNorm)
		if err := b.attn.Step(e.Step, i, h, h); err != nil {
			return err
		}
		addTo(e.x, e.h)
		rmsNorm(e.h, e.x, b.ffnNorm)
		if err := e.engine.MatMul(&qkv.Product{X: h, Packed: b.gateUp, Y: gateUp}); err != nil {
			return err
		}
		swiGLU(e.gateUp, e.FFN)
		if err := e.engine.MatMul(&qkv.Product{X: gated, Packed: b.down, Y: x, Accumulate: true}); err != nil {
			return err
		}
	}

	// The output matrix may be the largest: it is for the tokens whose logits are wanted.
	e.rows = e.rows[:0]
	normed, logits, end := e.h, e.logits, 0
	for i := range batch {
		n := batch[i].Logits
		end += len(batch[i].Tokens)
		rmsNorm(normed[:n*e.Width], e.x[(end-n)*e.Width:end*e.Width], e.norm)
		e.rows = append(e.rows, logits[:n*e.Vocab])
		normed, logits = normed[n*e.Width:], logits[n*e.Vocab:]
	}
	if wanted == 0 {
		return nil
	}
	return e.engine.MatMul(&qkv.Product{X: h.Slice(0, wanted), Packed: e.out, Y: qkv.RowMajor(e.logits, wanted, e.Vocab)})
}
