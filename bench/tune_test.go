package bench

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qkv-go/qkv"
)

func TestTuner(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	tuner, err := NewTuner(TuneOptions{Workers: 1, Time: time.Microsecond, Rounds: 1, Seq: 64})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range tuner.trials {
		for _, s := range step.trial.Shapes {
			if s.SeqQ > 64 || s.SeqKV > 64 {
				t.Errorf("%s: the shape %s has more than 64 queries or keys", step.trial.Knob, s)
			}
		}
	}
	var trials []Trial
	began := 0
	tuning, whole, err := tuner.Run(context.Background(), func(i int, name string) {
		if i != began || name == "" {
			t.Errorf("step %d is called %q, want step %d", i, name, began)
		}
		began++
	}, func(x Trial) { trials = append(trials, x) })
	if err != nil {
		t.Fatal(err)
	}
	if began != tuner.Steps() || len(trials) != tuner.Steps()-1 {
		t.Errorf("%d steps began and %d trials were made, of %d", began, len(trials), tuner.Steps())
	}
	for _, x := range trials {
		if len(x.Choices) == 0 || x.Plan.Kernel != tuner.Kernel().Name {
			t.Errorf("%+v", x)
		}
		for _, c := range x.Choices {
			if !(c.Speed > 0 && c.Wins >= 0 && c.Wins <= 1) {
				t.Errorf("%s, %s: %+v", x.Knob, x.Dims, c)
			}
		}
	}
	if len(tuning.Rules) > 0 != (whole.Best == 0) {
		t.Errorf("%+v of %+v", tuning, whole)
	}
	// Whatever was found, an engine takes it.
	if _, err := qkv.New(qkv.Config{Tuning: tuning}); err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := tuner.Run(ctx, func(int, string) {}, func(Trial) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
	if _, err := NewTuner(TuneOptions{Kernel: "none"}); !errors.As(err, new(*qkv.KernelError)) {
		t.Errorf("an unknown kernel set: error %v", err)
	}
}

// TestTunerFinds: a choice that is faster beyond the noise is taken, others are not. The clock is
// one that only the work moves.
func TestTunerFinds(t *testing.T) {
	for _, c := range []struct {
		speed, wins float64
		want        bool
	}{{1.1, 1, true}, {1.1, 0.5, false}, {1.01, 1, false}, {0.9, 0, false}} {
		if got := (&Choice{Speed: c.speed, Wins: c.wins}).better(); got != c.want {
			t.Errorf("a rate of %v in %v of the rounds is better: %v", c.speed, c.wins, got)
		}
	}
	const call = time.Millisecond // of the built-in choice
	always := func(cost float64) func(int) float64 { return func(int) float64 { return cost } }
	for _, c := range []struct {
		name   string
		lanes  func(round int) float64 // what a call costs, over the built-in choice
		decode func(round int) float64
		whole  float64
		best   []int // of each trial
		speed  []float64
		kept   bool // all of it together
	}{
		{"none is faster", always(1.25), always(2), 1, []int{-1, -1}, []float64{0.8, 0.5}, false},
		{"one is", always(0.8), always(2), 0.8, []int{0, -1}, []float64{1.25, 0.5}, true},
		{"both are", always(0.8), always(0.5), 0.5, []int{0, 0}, []float64{1.25, 2}, true},
		{"together they are not", always(0.8), always(0.5), 1.25, []int{0, 0}, []float64{1.25, 2}, false},
		{"by too little", always(1 / 1.01), always(1), 1, []int{-1, -1}, []float64{1.01, 1}, false},
		{"in too few rounds", func(round int) float64 { return []float64{0.8, 0.8, 1.25}[round%3] }, always(1), 1, []int{-1, -1}, []float64{1.25, 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tuner, err := NewTuner(TuneOptions{Kernel: "generic", Workers: 1, Time: call / 2, Rounds: 9})
				if err != nil {
					t.Fatal(err)
				}
				lanes := tuner.Kernel().Lanes
				tuner.trials = []tuneStep{
					{Trial{Knob: "lanes", Shapes: []Shape{parse(t, "h=1,sq=8,d=8")}, Choices: []Choice{{Rule: qkv.TuningRule{Lanes: lanes}}}}, 1},
					{Trial{Knob: "decoding", Shapes: []Shape{parse(t, "h=1,sq=1,skv=8,d=8")}, Choices: []Choice{{Rule: qkv.TuningRule{DecodeRows: -1}}}}, -1},
				}
				calls := make(map[*qkv.Tuning]int)
				tuner.run = func(_ context.Context, e *qkv.Engine, tuning *qkv.Tuning, x *qkv.Call) error {
					// The first call is for the comparison with float64, the second warms.
					round := calls[tuning] - 2
					calls[tuning]++
					cost := 1.0
					switch {
					case tuning == nil:
					case tuning.Rules[0].MaxDim != qkv.MaxDim || len(tuning.Rules) > 1:
						cost = c.whole
					case tuning.Rules[0].Lanes != 0:
						cost = c.lanes(max(round, 0))
					default:
						cost = c.decode(max(round, 0))
					}
					time.Sleep(time.Duration(cost * float64(call)))
					return e.Run(x)
				}
				var trials []Trial
				tuning, whole, err := tuner.Run(t.Context(), func(int, string) {}, func(x Trial) { trials = append(trials, x) })
				if err != nil {
					t.Fatal(err)
				}
				for i, x := range trials {
					if speed := x.Choices[0].Speed; x.Best != c.best[i] || math.Abs(speed/c.speed[i]-1) > 1e-4 {
						t.Errorf("%s: the best is %d at %v of the built-in rate, want %d at %v", x.Knob, x.Best, speed, c.best[i], c.speed[i])
					}
				}
				if (whole.Best == 0) != c.kept || (len(tuning.Rules) > 0) != c.kept {
					t.Errorf("all of it: %+v, rules %+v", whole, tuning.Rules)
				}
				if c.kept && tuning.Rules[len(tuning.Rules)-1].Lanes != lanes && c.best[1] < 0 {
					t.Errorf("rules %+v", tuning.Rules)
				}
			})
		})
	}
}
