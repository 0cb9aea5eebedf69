package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

func TestTuner(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	tuner, err := NewTuner(TuneOptions{Workers: 1, Time: time.Microsecond, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range tuner.trials { // less work, of the same kinds
		for j := range tuner.trials[i].trial.Shapes {
			s := &tuner.trials[i].trial.Shapes[j]
			s.SeqQ, s.SeqKV = min(s.SeqQ, 64), min(s.SeqKV, 64)
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

// TestTunerFinds: a choice that is faster beyond the noise is taken, others are not.
func TestTunerFinds(t *testing.T) {
	for _, c := range []struct {
		speed, wins float64
		want        bool
	}{{1.1, 1, true}, {1.1, 0.5, false}, {1.01, 1, false}, {0.9, 0, false}} {
		if got := (&Choice{Speed: c.speed, Wins: c.wins}).better(); got != c.want {
			t.Errorf("a rate of %v in %v of the rounds is better: %v", c.speed, c.wins, got)
		}
	}
	// Decoding is faster than prefill's way by so much for one row that it shows anywhere.
	tuner, err := NewTuner(TuneOptions{Workers: 1, Time: time.Millisecond, Rounds: 3})
	if err != nil {
		t.Fatal(err)
	}
	tuner.trials = []tuneStep{{Trial{
		Knob: "decoding", Shapes: []Shape{parse(t, "h=8,hkv=8,sq=1,skv=512,d=128")}, Choices: []Choice{{Rule: qkv.TuningRule{DecodeRows: -1}}},
	}, -1}}
	if _, _, err := tuner.Run(context.Background(), func(int, string) {}, func(x Trial) {
		if x.Best >= 0 || x.Choices[0].Speed > 1 {
			t.Errorf("one row as prefill: %+v", x)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
