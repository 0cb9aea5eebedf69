package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/qkv-go/qkv/bench"
)

const tuneSynopsis = `qkv tune [flags]

Measures, in turns with the built-in choices, how wide lane groups, how large query blocks and
which few queries should be decoded on this CPU. Takes about half a minute. What is chosen
changes no bit of a result. A program loads the file with qkv.ReadTuning.`

func tuneCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("tune", flag.ContinueOnError)
	var opts bench.TuneOptions
	out := f.String("o", "", "write the choices to `FILE`")
	f.StringVar(&opts.Kernel, "kernel", "", "tune the kernel set `NAME`, as qkv info lists them")
	f.IntVar(&opts.Workers, "workers", 1, "compute on `N` processors, 0 for all")
	f.DurationVar(&opts.Time, "time", 15*time.Millisecond, "time each choice for `D` in a round")
	f.IntVar(&opts.Rounds, "rounds", 12, "take `N` rounds of turns")
	f.IntVar(&opts.Seq, "seq", 2048, "measure with at most `N` queries and keys, as the calls have that it is for")
	if err := parseFlags(f, args, tuneSynopsis, stdout); err != nil {
		return err
	}
	switch {
	case opts.Workers < 0 || opts.Workers > maxWorkers:
		return badUsage("-workers is %d, want 0 to %d", opts.Workers, maxWorkers)
	case opts.Time <= 0 || opts.Time > time.Minute:
		return badUsage("-time is %s, want more than 0 and at most a minute", opts.Time)
	case opts.Seq < 1:
		return badUsage("-seq is %d, at least 1 is needed", opts.Seq)
	case opts.Rounds < 1 || opts.Rounds > maxCount:
		return badUsage("-rounds is %d, want 1 to %d", opts.Rounds, maxCount)
	}
	if opts.Workers == 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if err := checkKernelFlag(opts.Kernel); err != nil {
		return err
	}
	text := reading(stdout, stderr, *out)
	if err := checkWritable(*out); err != nil {
		return err
	}
	tuner, err := bench.NewTuner(opts)
	if err != nil {
		return err
	}
	machine, build := bench.ThisMachine(), bench.ThisBuild()
	t := &table{w: text}
	t.machine(&machine, &build)
	t.printf("kernel set %s, %s; a choice has to be 1.5%% faster in 80%% of the rounds\n\n", tuner.Kernel().Name, plural(opts.Workers, "worker"))
	t.printf("%-28s  %-26s  %s\n", "choice, head dims", "built in", "rate of others over it")
	bar := newProgress(stderr, tuner.Steps())
	defer bar.finish()
	tuning, whole, err := tuner.Run(ctx,
		func(_ int, name string) { bar.begin(name) },
		func(trial bench.Trial) {
			bar.done()
			t.trial(&trial)
		})
	bar.finish()
	if err != nil {
		return err
	}
	switch {
	case len(whole.Choices) == 0:
		t.printf("\nthe built-in choices are the best\n")
	case whole.Best < 0:
		t.printf("\nall of them together are no faster (%.3f), so the built-in choices stay\n", whole.Choices[0].Speed)
	default:
		t.printf("\nall of them together: %.3f of the built-in rate over %s\n", whole.Choices[0].Speed, plural(len(whole.Shapes), "shape"))
	}
	if t.err != nil || *out == "" {
		return t.err
	}
	return writeFiles(ctx, stdout, content{*out, func(w io.Writer) error { return writeJSON(w, tuning) }})
}

// trial writes a line of a trial, with a star at what is chosen.
func (t *table) trial(x *bench.Trial) {
	builtIn := fmt.Sprintf("%d lanes", x.Plan.Lanes)
	switch x.Knob {
	case "query rows":
		builtIn = fmt.Sprintf("%d rows", x.Plan.QueryBlock)
	case "decoding":
		builtIn = x.Plan.Path
	}
	var others []string
	for i, c := range x.Choices {
		star := ""
		if i == x.Best {
			star = " *"
		}
		others = append(others, fmt.Sprintf("%s %.3f%s", c.Name, c.Speed, star))
	}
	t.printf("%-28s  %-26s  %s\n", x.Knob+", "+x.Dims, builtIn, strings.Join(others, ", "))
}
