package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// TuneOptions say how a [Tuner] measures. The zero value is a good choice.
type TuneOptions struct {
	Kernel  string        // see [qkv.Config]
	Workers int           // see [qkv.Config]
	Time    time.Duration // of a sample, 0 means 15 ms
	Rounds  int           // of samples in turns, 0 means 12
	Seq     int           // most queries and keys of a shape, 0 means no bound
}

// A Trial is choices that were measured in turns with the built-in one.
type Trial struct {
	Knob   string // lanes, query rows, or decoding
	Dims   string // head dims that it is for: "to 64"
	Shapes []Shape
	Plan   qkv.Plan // the built-in choice, on the first shape

	Choices []Choice
	Best    int // of Choices, -1 for the built-in one
}

// A Choice is beside the built-in one.
type Choice struct {
	Name string
	Rule qkv.TuningRule

	// Speed is the rate over the built-in one's, the geometric mean over the shapes of medians
	// over the rounds. Wins is the share of rounds in which it was the faster.
	Speed, Wins float64
}

const (
	// A choice has to be so much faster, in so many of the rounds, to be taken.
	leastGain = 0.015
	leastWins = 0.8
)

// better reports whether it is faster beyond the noise.
func (c *Choice) better() bool { return c.Speed > 1+leastGain && c.Wins >= leastWins }

// dimClasses are head dims that have a rule of their own, each measured at the last of it.
var dimClasses = []struct {
	name           string
	maxDim, sample int
}{{"to 64", 64, 64}, {"to 128", 128, 128}, {"above", qkv.MaxDim, 256}}

// A Tuner looks for the fastest choices on this machine.
type Tuner struct {
	opts   TuneOptions
	set    *kernel.Set
	trials []tuneStep

	// run is what is timed: a call on the engine with a tuning, nil for the built-in choices.
	run func(ctx context.Context, e *qkv.Engine, tuning *qkv.Tuning, call *qkv.Call) error
}

// A tuneStep is a trial to be made. Its rules are those of the class of head dims that it adds to.
type tuneStep struct {
	trial Trial
	class int // index of dimClasses, -1 for all
}

// NewTuner returns a Tuner. The error is that of [qkv.New].
func NewTuner(opts TuneOptions) (*Tuner, error) {
	if opts.Time == 0 {
		opts.Time = 15 * time.Millisecond
	}
	if opts.Rounds == 0 {
		opts.Rounds = 12
	}
	e, err := qkv.New(qkv.Config{Kernel: opts.Kernel, Workers: opts.Workers})
	if err != nil {
		return nil, err
	}
	t := &Tuner{opts: opts, set: e.Kernel(), run: func(ctx context.Context, e *qkv.Engine, _ *qkv.Tuning, call *qkv.Call) error {
		return e.RunContext(ctx, call)
	}}
	for i, class := range dimClasses {
		prefill := tuneShapes("h=8,sq=512,d=%d", "h=8,hkv=2,sq=1024,d=%d,mask=causal")(class.sample)
		lanes := Trial{Knob: "lanes", Dims: class.name, Shapes: prefill}
		for n := (t.set.Lanes/2 + t.set.Vec - 1) / t.set.Vec * t.set.Vec; n <= t.set.Lanes; n += t.set.Vec {
			lanes.Choices = append(lanes.Choices, Choice{Name: fmt.Sprintf("%d lanes", n), Rule: qkv.TuningRule{Lanes: n}})
		}
		rows := Trial{Knob: "query rows", Dims: class.name, Shapes: prefill}
		for n := t.set.Lanes; n <= 16*t.set.Lanes; n *= 2 {
			rows.Choices = append(rows.Choices, Choice{Name: fmt.Sprintf("%d rows", n), Rule: qkv.TuningRule{QueryRows: n}})
		}
		t.trials = append(t.trials, tuneStep{lanes, i}, tuneStep{rows, i})
	}
	for n := 1; n <= t.set.DecodeRows; n *= 2 {
		dims := fmt.Sprintf("%d rows a KV head", n)
		if n == 1 {
			dims = "1 row a KV head"
		}
		few := tuneShapes("h=%d,hkv=8,sq=1,skv=2048,d=128", "h=%d,hkv=8,sq=1,skv=2048,d=128,kv=float16")(8 * n)
		rule := qkv.TuningRule{DecodeRows: n / 2}
		if n == 1 {
			rule.DecodeRows = -1
		}
		t.trials = append(t.trials, tuneStep{Trial{
			Knob: "decoding", Dims: dims, Shapes: few,
			Choices: []Choice{{Name: "as prefill", Rule: rule}},
		}, -1})
	}
	if opts.Seq > 0 {
		for _, step := range t.trials {
			for i := range step.trial.Shapes {
				s := &step.trial.Shapes[i]
				s.SeqQ, s.SeqKV = min(s.SeqQ, opts.Seq), min(s.SeqKV, opts.Seq)
			}
		}
	}
	return t, nil
}

// tuneShapes returns shapes whose text has a number left open.
func tuneShapes(formats ...string) func(n int) []Shape {
	return func(n int) []Shape {
		var list []Shape
		for _, f := range formats {
			s, err := ParseShape(fmt.Sprintf(f, n))
			if err != nil {
				panic("bench: " + err.Error())
			}
			list = append(list, s)
		}
		return list
	}
}

// Kernel returns the kernel set that is tuned.
func (t *Tuner) Kernel() *kernel.Set { return t.set }

// Steps returns how many trials there are, the last of which is of all choices together.
func (t *Tuner) Steps() int { return len(t.trials) + 1 }

// Run makes all trials. It calls begin before each with its number and a name, and done after it.
// It returns the tuning and the trial of it as a whole against the built-in choices; if that is
// no faster, or nothing was, the tuning has no rules.
func (t *Tuner) Run(ctx context.Context, begin func(i int, name string), done func(Trial)) (*qkv.Tuning, Trial, error) {
	rules := make([]qkv.TuningRule, len(dimClasses))
	for i, class := range dimClasses {
		rules[i].MaxDim = class.maxDim
	}
	var shapes []Shape
	decodes := true // as far as the trials have come
	for i, step := range t.trials {
		trial := step.trial
		begin(i, trial.Knob+", "+trial.Dims)
		if err := t.try(ctx, &trial); err != nil {
			return nil, Trial{}, err
		}
		for _, s := range trial.Shapes {
			if !slices.Contains(shapes, s) {
				shapes = append(shapes, s)
			}
		}
		// More rows are decoded only where fewer are.
		if step.class < 0 && !decodes {
			trial.Best = -1
		}
		if trial.Best >= 0 {
			best := trial.Choices[trial.Best].Rule
			for j := range rules {
				if step.class >= 0 && j != step.class {
					continue
				}
				rules[j].Lanes = max(rules[j].Lanes, best.Lanes)
				rules[j].QueryRows = max(rules[j].QueryRows, best.QueryRows)
				if best.DecodeRows != 0 {
					rules[j].DecodeRows, decodes = best.DecodeRows, false
				}
			}
		}
		done(trial)
	}
	rules = slices.DeleteFunc(rules, func(r qkv.TuningRule) bool { return r == qkv.TuningRule{MaxDim: r.MaxDim} })
	tuning := &qkv.Tuning{Format: qkv.TuningFormat, CPU: qkv.CPUName(), Kernel: t.set.Name, Rules: rules}
	whole := Trial{Knob: "all", Shapes: shapes, Best: -1}
	begin(len(t.trials), "all together")
	if len(rules) > 0 {
		whole.Choices = []Choice{{Name: "tuned"}}
		if err := t.tryAll(ctx, &whole, []*qkv.Tuning{tuning}); err != nil {
			return nil, Trial{}, err
		}
		if whole.Choices[0].Speed <= 1 {
			tuning.Rules = []qkv.TuningRule{}
		} else {
			whole.Best = 0
		}
	}
	return tuning, whole, nil
}

// try measures the choices of a trial and finds the best.
func (t *Tuner) try(ctx context.Context, trial *Trial) error {
	var tunings []*qkv.Tuning
	for i := range trial.Choices {
		rule := trial.Choices[i].Rule
		rule.MaxDim = qkv.MaxDim
		tunings = append(tunings, &qkv.Tuning{Format: qkv.TuningFormat, CPU: qkv.CPUName(), Kernel: t.set.Name, Rules: []qkv.TuningRule{rule}})
	}
	if err := t.tryAll(ctx, trial, tunings); err != nil {
		return err
	}
	trial.Best = -1
	for i := range trial.Choices {
		if c := &trial.Choices[i]; c.better() && (trial.Best < 0 || c.Speed > trial.Choices[trial.Best].Speed) {
			trial.Best = i
		}
	}
	return nil
}

// tryAll has the choices of a trial and the built-in one take turns.
func (t *Tuner) tryAll(ctx context.Context, trial *Trial, tunings []*qkv.Tuning) error {
	logs := make([]float64, len(tunings))
	wins := make([]int, len(tunings))
	for n, shape := range trial.Shapes {
		o := NewOperands(shape, 1)
		call := o.Call()
		call.LSE = nil
		var list []*timed // the built-in one first
		for _, tuning := range append([]*qkv.Tuning{nil}, tunings...) {
			e, err := qkv.New(qkv.Config{Kernel: t.opts.Kernel, Workers: t.opts.Workers, Tuning: tuning})
			if err != nil {
				return err
			}
			if tuning == nil && n == 0 {
				if trial.Plan, err = e.Explain(call); err != nil {
					return err
				}
			}
			x, _, err := newTimed(ctx, &Path{NoLSE: true, Run: func() error { return t.run(ctx, e, tuning, call) }}, o, false, 0)
			if err != nil {
				return fmt.Errorf("%s: %w", shape, err)
			}
			list = append(list, x)
		}
		ratios := make([][]float64, len(tunings))
		seconds := make([]float64, len(list))
		for round := range t.opts.Rounds {
			for i := range list {
				at := (i + round) % len(list) // nobody is always the first
				var err error
				if seconds[at], err = list[at].round(ctx, t.opts.Time); err != nil {
					return err
				}
			}
			for i := range tunings {
				ratio := seconds[0] / seconds[i+1]
				ratios[i] = append(ratios[i], ratio)
				if ratio > 1 {
					wins[i]++
				}
			}
		}
		for i := range tunings {
			logs[i] += math.Log(median(ratios[i]))
		}
	}
	for i := range tunings {
		c := &trial.Choices[i]
		c.Speed = math.Exp(logs[i] / float64(len(trial.Shapes)))
		c.Wins = float64(wins[i]) / float64(t.opts.Rounds*len(trial.Shapes))
	}
	return nil
}
