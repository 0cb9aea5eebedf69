// Command llama runs a model of the Llama family as a server does: several texts in one step, forks,
// drafts, files. The engine is in package model, which is the part to read.
//
//	go run ./examples/llama
//	go run ./examples/llama -model FILE.gguf -prompt "Once upon a time"
//	go run ./examples/llama -model FILE.gguf -prompt "One" -prompt "Another" -draft 4
//	go run ./examples/llama -model FILE.gguf -prompt "A long beginning" -prompt-cache FILE
//	go run ./examples/llama -model FILE.gguf -perplexity text.txt
//	go run ./examples/llama -model FILE.gguf -speed pp512,tg64@4096
//	go run ./examples/llama -model FILE.gguf -explain
//	go run ./examples/llama -model FOLDER -prompt "Once upon a time"
//	go run ./examples/llama -model stories15M.bin -prompt "Once upon a time"
//
// With a GGUF file, a folder with config.json, tokenizer.json and safetensors, or a file of
// https://github.com/karpathy/llama2.c beside its tokenizer.bin, it continues texts, says how likely the model finds one, or
// how fast it reads. Otherwise it shows what the engine does, with random weights, whose tokens mean nothing and take
// the same way.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/llama/model"
)

const usage = `usage: llama [flags]

Runs a model. With -model it continues a prompt, rates a text, times steps, or says what runs. Otherwise it shows what an engine does,
with random weights.

`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// least is how many tokens there have to be to show something.
const least = 8

// options are what the command line says.
type options struct {
	seed            uint64
	tokens, workers int
	kv              qkv.ElemType

	// Of a model from a file.
	model, perplexity string
	prompts           []string
	promptCache       string
	context, draft    int
	class             qkv.Precision
	inPlace, compare  bool
	explain           bool
	values            qkv.Precision // of weighted values in class Int8
	hadamard          bool
	keyMean           string
	profile           string
	speed             []work
	sampler           model.Sampler
}

// The names of types of keys and values and of classes, by their numbers.
var (
	typeNames  = namesOf[qkv.ElemType]()
	classNames = namesOf[qkv.Precision]()
)

// namesOf returns the names that flags have for the values of a type, which are those of the library without the
// words that several share: q8_0 is BlockQ8_0. What has no name in the library has its number in brackets.
func namesOf[T interface {
	~int
	fmt.Stringer
}]() (names []string) {
	short := strings.NewReplacer("block", "", "float8", "")
	for v := T(0); !strings.Contains(v.String(), "("); v++ {
		names = append(names, short.Replace(strings.ToLower(v.String())))
	}
	return names
}

// ofModels are the flags that need a model from a file.
var ofModels = []string{"class", "context", "cpuprofile", "draft", "hadamard", "in-place", "key-mean", "min-p", "temperature", "top-k", "top-p"}

// named defines a flag that takes one of some names, whose indices are the values.
func named[T ~int](f *flag.FlagSet, name, noun, usage string, names []string, to *T) {
	f.Func(name, fmt.Sprintf("`%s` %s: %s", noun, usage, strings.Join(names, ", ")), func(s string) error {
		i := slices.Index(names, s)
		if i < 0 {
			return fmt.Errorf("want %s", strings.Join(names, ", "))
		}
		*to = T(i)
		return nil
	})
}

// command carries out a command line and returns the exit code.
func command(args []string, stdout, stderr io.Writer) int {
	o := options{seed: 1, tokens: 64}
	f := flag.NewFlagSet("llama", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.Uint64Var(&o.seed, "seed", o.seed, "of samples, of the prompts shown, and of the weights without a model")
	f.IntVar(&o.tokens, "tokens", o.tokens, "`number` of tokens to generate after each prompt, as far as the model reads")
	f.StringVar(&o.model, "model", "", "read a model and its tokenizer from `file`, a GGUF file, a folder\nof Hugging Face, or a file .bin of llama2.c beside its tokenizer.bin")
	f.Func("prompt", "`text` to continue; names of control tokens in it, as <|im_start|>, are these; several are continued\nside by side", func(s string) error {
		o.prompts = append(o.prompts, s)
		return nil
	})
	f.StringVar(&o.promptCache, "prompt-cache", "", "keep what the model has read in `file`, for a prompt that begins likewise: another turn of the same talk")
	f.StringVar(&o.perplexity, "perplexity", "", "print the perplexity of the text in `file`, in parts of 512 tokens")
	f.BoolVar(&o.compare, "compare", false, "with -perplexity, compare with class and cache float32 too")
	f.Func("speed", "print how many tokens a second the model reads in `works`: pp512 is a prompt of 512 tokens, tg64@4096\n64 tokens one by one behind 4,096; several have commas between them", func(s string) (err error) {
		o.speed, err = parseWorks(s)
		return err
	})
	f.IntVar(&o.context, "context", 0, "most `tokens` that the model reads, if it would read more")
	f.BoolVar(&o.inPlace, "in-place", false, "read the matrices where the file has them, which saves memory for a copy and takes longer")
	f.BoolVar(&o.explain, "explain", false, "say how the attention and the products of a prompt and of a token behind it are computed, and why")
	f.StringVar(&o.profile, "cpuprofile", "", "write a profile of what is done with the model to `file`")
	f.IntVar(&o.draft, "draft", 0, "guess up to `number` tokens by repetitions, which the model reads in one step")
	f.Float64Var(&o.sampler.Temperature, "temperature", 0, "`number` that divides logits; 0 takes the most likely token")
	f.IntVar(&o.sampler.TopK, "top-k", 0, "sample from `number` most likely tokens; 0 for all")
	f.Float64Var(&o.sampler.TopP, "top-p", 0, "sample from the most likely tokens whose `probability` comes to this; 0 for all")
	f.Float64Var(&o.sampler.MinP, "min-p", 0, "sample from tokens at least this `ratio` times as likely as the first")
	f.IntVar(&o.workers, "workers", 0, "most `goroutines` to compute on, GOMAXPROCS by default")
	named(f, "kv", "type", "that the cache keeps keys and values in", typeNames, &o.kv)
	f.BoolVar(&o.hadamard, "hadamard", false, "multiply keys and values of a file's model by a Hadamard matrix, before the cache keeps them")
	f.StringVar(&o.keyMean, "key-mean", "", "subtract the mean of the keys of the text in `file` from all keys of a file's model")
	named(f, "class", "class", "of the products by the matrices of a file, and of the attention", classNames, &o.class)
	named(f, "values", "class", "of weighted values, with -class int8", classNames, &o.values)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
		return exitOK
	case err == nil && f.NArg() > 0:
		err = fmt.Errorf("unexpected %q; try -h", f.Arg(0))
	case err == nil:
		if err = o.check(); err == nil && o.model == "" {
			f.Visit(func(f *flag.Flag) {
				if err == nil && slices.Contains(ofModels, f.Name) {
					err = fmt.Errorf("-%s goes with -model", f.Name)
				}
			})
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "llama: %v\n", err)
		return exitUsage
	}
	if o.model != "" {
		o.sampler.Seed = o.seed
		err = run(o, stdout, stderr)
	} else {
		err = show(o, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "llama: %s\n", strings.TrimPrefix(strings.TrimPrefix(err.Error(), "model: "), "qkv: "))
		return exitFailed
	}
	return exitOK
}

// check reports options that do not go together, and numbers that mean nothing.
func (o *options) check() error {
	switch {
	case o.model == "" && o.tokens < least:
		return fmt.Errorf("-tokens is %d, at least %d are needed", o.tokens, least)
	case o.tokens < 1:
		return fmt.Errorf("-tokens is %d, at least 1 is needed", o.tokens)
	case (o.model != "") != (o.prompts != nil || o.perplexity != "" || o.speed != nil || o.explain):
		return errors.New("-model goes with -prompt, -perplexity, -speed or -explain")
	case o.prompts != nil && o.perplexity != "", o.prompts != nil && o.speed != nil, o.perplexity != "" && o.speed != nil:
		return errors.New("-prompt, -perplexity and -speed exclude each other")
	case o.promptCache != "" && len(o.prompts) != 1:
		return errors.New("-prompt-cache goes with one -prompt")
	case o.draft > 0 && o.prompts == nil:
		return errors.New("-draft goes with -prompt")
	case o.compare && o.perplexity == "":
		return errors.New("-compare goes with -perplexity")
	case o.values != qkv.PrecisionFloat32 && o.class != qkv.PrecisionInt8:
		return errors.New("-values goes with -class int8")
	}
	s := &o.sampler
	for _, x := range []struct {
		name string
		n    int
	}{{"context", o.context}, {"draft", o.draft}, {"top-k", s.TopK}} {
		if x.n < 0 {
			return fmt.Errorf("-%s is %d, at least 0 is needed", x.name, x.n)
		}
	}
	for _, x := range []struct {
		name     string
		v, most  float64
		supports string
	}{{"temperature", s.Temperature, math.MaxFloat64, "a finite number from 0 on"}, {"top-p", s.TopP, 1, "0 to 1"}, {"min-p", s.MinP, 1, "0 to 1"}} {
		if !(x.v >= 0 && x.v <= x.most) { // nor is a NaN
			return fmt.Errorf("-%s is %v, %s is supported", x.name, x.v, x.supports)
		}
	}
	return nil
}

// load makes the model.
func load(o options) (*model.Model, error) {
	e, err := qkv.New(qkv.Config{Workers: o.workers})
	if err != nil {
		return nil, err
	}
	w, err := model.Random(model.Small, o.seed)
	if err != nil {
		return nil, err
	}
	return model.New(e, w)
}

// A demo is a model, and a page to write on.
type demo struct {
	*model.Engine
	options
	w     *bytes.Buffer
	start time.Time
}

// print writes a line under a heading.
func (d *demo) print(heading, format string, args ...any) {
	fmt.Fprintf(d.w, "%-9s %s\n", heading, fmt.Sprintf(format, args...))
}

// begin begins a part that is timed.
func (d *demo) begin() {
	d.Stats, d.start = model.Stats{}, time.Now()
}

// rate is how many tokens a second there were since begin.
func (d *demo) rate(tokens int) string {
	return fmt.Sprintf("%.0f tokens/s", float64(tokens)/time.Since(d.start).Seconds())
}

// some is the first tokens of some.
func some(tokens []int32) string {
	const most = 12
	if len(tokens) <= most {
		return fmt.Sprint(tokens)
	}
	return strings.TrimSuffix(fmt.Sprint(tokens[:most]), "]") + " ...]"
}

// show shows what the engine does.
func show(o options, w io.Writer) error {
	m, err := load(o)
	if err != nil {
		return err
	}
	if m.Context < 4*least {
		return fmt.Errorf("the model reads %d tokens, at least %d are needed", m.Context, 4*least)
	}
	const most = 5 // texts at one time
	longest := min(200, m.Context/2)
	o.tokens = min(o.tokens, m.Context-longest)
	cfg := model.EngineConfig{Type: o.kv, PageTokens: pageTokens, Pages: most * (1 + (longest+o.tokens)/pageTokens)}
	e, err := model.NewEngine(m, cfg)
	if err != nil {
		return err
	}
	d := &demo{Engine: e, options: o, w: new(bytes.Buffer)}
	d.print("model", "%d layers, %d wide, %d heads over %d, FFN %d, vocabulary %d: %.1f million weights",
		m.Layers, m.Width, m.Heads, m.KVHeads, m.FFN, m.Vocab, float64(m.Weights())/1e6)
	d.print("cache", "%d pages of %d tokens in %s: %.1f MB", cfg.Pages, pageTokens, typeNames[o.kv], float64(e.Cache.Bytes())/1e6)
	for _, part := range []func([]*model.Text, model.EngineConfig) error{d.generate, d.fork, d.draft, d.score, d.save} {
		r := rand.New(rand.NewPCG(o.seed, 1))
		var texts []*model.Text
		for _, n := range []int{longest, 7, 1} {
			prompt := make([]int32, n)
			for i := range prompt {
				prompt[i] = int32(r.IntN(m.Vocab))
			}
			texts = append(texts, e.NewText(prompt, n+o.tokens))
		}
		err := part(texts, cfg)
		if _, err := d.w.WriteTo(w); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		for _, t := range texts {
			if err := t.Free(); err != nil {
				return err
			}
		}
	}
	return nil
}

// generate continues all texts together.
func (d *demo) generate(texts []*model.Text, _ model.EngineConfig) error {
	d.begin()
	if _, err := d.Continue(texts, nil); err != nil {
		return err
	}
	d.print("prompts", "%d texts in one step: %s", len(texts), d.rate(d.Stats.Tokens))
	d.begin()
	if err := d.Generate(texts, nil); err != nil {
		return err
	}
	d.print("generate", "%d texts in each of %d steps: %s", len(texts), d.Stats.Steps, d.rate(d.Stats.Tokens))
	for _, t := range texts {
		d.print("", "%s", some(t.Tokens[len(t.Tokens)-d.tokens:]))
	}
	return nil
}

// fork has two texts go on from one beginning, of which the cache has one copy.
func (d *demo) fork(texts []*model.Text, _ model.EngineConfig) error {
	a := texts[0]
	if _, err := d.Continue(texts[:1], nil); err != nil {
		return err
	}
	free := d.Cache.FreePages(0)
	b, err := a.Fork()
	if err != nil {
		return err
	}
	defer b.Free()
	last := &b.Tokens[len(b.Tokens)-1]
	*last = (*last + 1) % int32(d.Vocab)
	beginning := a.Len()
	if err := d.Generate([]*model.Text{a, b}, nil); err != nil {
		return err
	}
	d.print("fork", "two texts go on from the same %d tokens, which the cache has once: %d pages more", beginning, free-d.Cache.FreePages(0))
	d.print("", "%s", some(a.Tokens[beginning:]))
	d.print("", "%s", some(b.Tokens[beginning:]))
	return nil
}

// draft guesses tokens, and has the model read them in one step. Guesses are those of repetitions, of
// which a model that has learnt nothing makes few, and then the right ones but for every fifth.
func (d *demo) draft(texts []*model.Text, _ model.EngineConfig) error {
	t := texts[1]
	plain, err := t.Fork()
	if err != nil {
		return err
	}
	defer plain.Free()
	d.begin()
	if err := d.Generate([]*model.Text{plain}, nil); err != nil {
		return err
	}
	d.print("draft", "without: %d steps, %s", d.Stats.Steps, d.rate(d.tokens))
	partly := func(tokens []int32, room int) []int32 {
		for range min(6, room) {
			token := plain.Tokens[len(tokens)]
			if len(tokens)%5 == 0 {
				token = (token + 1) % int32(d.Vocab)
			}
			tokens = append(tokens, token)
		}
		return tokens
	}
	again, err := t.Fork()
	if err != nil {
		return err
	}
	defer again.Free()
	for _, x := range []struct {
		name  string
		text  *model.Text
		draft model.Draft
	}{{"n-grams", t, model.NGram(2, 6)}, {"a made-up one", again, partly}} {
		d.begin()
		if err := d.Generate([]*model.Text{x.text}, x.draft); err != nil {
			return err
		}
		d.print("", "%s: %d steps, %s; %d of %d guesses are kept", x.name, d.Stats.Steps, d.rate(d.tokens), d.Stats.Kept, d.Stats.Drafted)
		if !slices.Equal(x.text.Tokens, plain.Tokens) {
			return errOther
		}
	}
	d.print("", "the tokens are the same")
	return nil
}

var errOther = errors.New("the tokens are not those of the same text before")

// score rates what could follow a text, and takes the steps back.
func (d *demo) score(texts []*model.Text, _ model.EngineConfig) error {
	t := texts[0]
	if _, err := d.Continue(texts[:1], nil); err != nil {
		return err
	}
	before := t.Len()
	d.print("score", "what could follow %d tokens, each in a step that is rolled back:", before)
	likely, err := t.Fork()
	if err != nil {
		return err
	}
	defer likely.Free()
	likely.Limit = len(t.Tokens) + 3
	if err := d.Generate([]*model.Text{likely}, nil); err != nil {
		return err
	}
	for _, tokens := range [][]int32{likely.Tokens[len(t.Tokens):], {0, 0, 0}} {
		p, err := d.Score(t, tokens)
		if err != nil {
			return err
		}
		d.print("", "%-16s log-probability %.2f", fmt.Sprint(tokens), p)
	}
	if t.Len() != before {
		return fmt.Errorf("the text has %d tokens, and had %d", t.Len(), before)
	}
	return nil
}

// save writes a text in the middle, and goes on with it in an engine of its own, as after a restart.
func (d *demo) save(texts []*model.Text, cfg model.EngineConfig) error {
	t := texts[0]
	for range d.tokens / 2 {
		if _, err := d.Continue(texts[:1], nil); err != nil {
			return err
		}
	}
	var file bytes.Buffer
	if err := t.Save(&file); err != nil {
		return err
	}
	d.print("save", "%d tokens in %.1f kB, read into pages of %d", t.Len(), float64(file.Len())/1e3, 4*cfg.PageTokens)
	cfg.PageTokens *= 4
	e, err := model.NewEngine(d.Model, cfg)
	if err != nil {
		return err
	}
	restored, err := e.Restore(&file)
	if err != nil {
		return err
	}
	for _, err := range []error{d.Generate(texts[:1], nil), e.Generate([]*model.Text{restored}, nil)} {
		if err != nil {
			return err
		}
	}
	if !slices.Equal(restored.Tokens, t.Tokens) {
		return errOther
	}
	d.print("", "the tokens that follow are the same")
	return nil
}
