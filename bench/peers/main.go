// Command peers measures what people would use in place of qkv beside it: the same works, the
// same inputs, the same count of operations and the same comparison with float64.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/kernel"
)

// defaultWorks are prefill in float32, with tokens first too, prefill in 16 bits, decoding, and
// matrix products, two of them by weights in blocks.
var defaultWorks = []string{
	"h=12,sq=128,d=64",
	"h=12,sq=1024,d=64",
	"h=32,sq=512,d=128",
	"h=32,hkv=8,sq=512,d=128,mask=causal",
	"h=8,sq=2048,d=128",
	"h=32,hkv=8,sq=2048,d=128,mask=causal",
	"h=12,sq=1024,d=64,layout=bshd",
	"h=8,sq=2048,d=128,layout=bshd",
	"h=32,hkv=8,sq=2048,d=128,mask=causal,layout=bshd",
	"h=32,hkv=8,sq=512,d=128,mask=causal,kv=float16",
	"h=32,hkv=8,sq=512,d=128,mask=causal,kv=bfloat16",
	"h=32,hkv=8,sq=1,skv=1024,d=128",
	"h=32,hkv=8,sq=1,skv=8192,d=128",
	"h=32,hkv=8,sq=1,skv=8192,d=128,layout=bshd",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=bfloat16",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q8_0",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q4_0",
	"m=1,n=4096,k=4096",
	"m=128,n=768,k=768",
	"m=512,n=4096,k=4096",
	"m=2048,n=1024,k=1024",
	"m=1,n=4096,k=4096,w=q4_k",
	"m=512,n=4096,k=4096,w=q4_k",
}

// classWorks are those of class Int8 and class BFloat16, beside what others do in 8 and 16 bits.
var classWorks = []string{
	"m=512,n=4096,k=4096,w=q8_0,class=int8",
	"m=512,n=4096,k=4096,w=q4_0,class=int8",
	"m=512,n=4096,k=4096,w=q4_k,class=int8",
	"m=512,n=4096,k=4096,w=bfloat16,class=bfloat16",
	"m=1,n=4096,k=4096,w=q8_0,class=int8",
	"m=1,n=4096,k=4096,w=q4_0,class=int8",
	"m=1,n=4096,k=4096,w=q4_k,class=int8",
	"h=8,sq=2048,d=128,kv=bfloat16,class=bfloat16",
	"h=32,hkv=8,sq=512,d=128,mask=causal,kv=int8,class=int8",
	"h=32,hkv=8,sq=512,d=128,mask=causal,kv=q8_0,class=int8",
	"h=32,hkv=8,sq=512,d=128,mask=causal,kv=q4_0,class=int8",
	"h=8,sq=2048,d=128,kv=q8_0,class=int8",
	"h=8,sq=2048,d=128,kv=q4_0,class=int8",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8,class=int8",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q8_0,class=int8",
	"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q4_0,class=int8",
}

// weightRows and weightSizes are the rows of X, and the rows and columns of weights, that -weights
// measures.
var (
	weightRows  = []int{1, 8, 64, 512}
	weightSizes = []int{4096, 1024}
)

// parseWorks reads works.
func parseWorks(texts []string) ([]bench.Work, error) {
	var works []bench.Work
	for _, text := range texts {
		w, err := bench.ParseWork(text)
		if err != nil {
			return nil, err
		}
		works = append(works, w)
	}
	return works, nil
}

// worksOf returns products by weights in place of types: names with commas between them, or all that
// others than qkv have.
func worksOf(names string) ([]bench.Work, error) {
	list := strings.Split(names, ",")
	if names == "all" {
		list = nil
		for _, w := range kernel.Weights() {
			if w != kernel.WeightInt8 {
				list = append(list, strings.ToLower(w.String()))
			}
		}
	}
	var works []bench.Work
	for _, name := range list {
		for _, n := range weightSizes {
			for _, m := range weightRows {
				w, err := bench.ParseWork(fmt.Sprintf("m=%d,n=%d,k=%d,w=%s", m, n, n, name))
				if err != nil {
					return nil, err
				}
				works = append(works, w)
			}
		}
	}
	return works, nil
}

// farBehind is how many times the least time of a work a system may take to be measured in
// more than one pass: what disturbs a machine for a moment does not make up for more.
const farBehind = 5

// slowest is how many times the time for a work a system may take: its calls are fewer then.
const slowest = 10

// A system that has taken more than farBehind times the least time in so many works of a kind as
// enoughBehind is left out of those of the same kind whose calls take longer than longCall.
const (
	enoughBehind = 2
	longCall     = 0.03 // seconds
)

// options are the flags.
type options struct {
	lib     string
	only    string
	works   []bench.Work
	workers []int
	time    time.Duration
	passes  int
	limit   time.Duration
	slow    bool
	cold    bool
	beside  string
	json    string
	md      bool
}

func main() {
	bench.BeNeighbour()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(2)
	}
	if err := o.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.lib, "lib", "lib", "the `DIR` that setup has put libraries in")
	f.StringVar(&o.only, "only", "", "measure only the systems of these `NAMES`, with commas between them, beside qkv")
	f.Func("work", "measure the `WORK`, such as h=32,sq=512,d=128 or m=512,n=4096,k=4096; may be repeated", func(text string) error {
		w, err := bench.ParseWork(text)
		o.works = append(o.works, w)
		return err
	})
	f.Func("weights", "measure products of 1 to 512 rows by weights of these `TYPES`, such as q4_k,bfloat16, or of all; may be repeated", func(text string) error {
		works, err := worksOf(text)
		o.works = append(o.works, works...)
		return err
	})
	f.BoolFunc("classes", "measure works of class Int8 and class BFloat16", func(string) error {
		works, err := parseWorks(classWorks)
		o.works = append(o.works, works...)
		return err
	})
	workers := f.Int("workers", 0, "compute on `N` threads (default: one, and all processors)")
	f.DurationVar(&o.time, "time", 400*time.Millisecond, "time each work on each system for `D` in all")
	f.IntVar(&o.passes, "passes", 2, "go through the systems of a work `N` times, and keep the best of each: another program that\nruns for a moment then hits nobody alone")
	f.DurationVar(&o.limit, "limit", 9*time.Minute, "leave out what has not begun after `D`")
	f.BoolVar(&o.slow, "slow", false, "measure paths that take many times as long as others, too")
	f.BoolVar(&o.cold, "cold", false, "have each call find keys, values and weights in memory, see qkv bench -h")
	f.StringVar(&o.beside, "neighbour", "", "measure beside a neighbour of the `KIND` cache or memory, see qkv bench -h")
	f.StringVar(&o.json, "json", "", "write the record to `FILE`")
	format := f.String("format", "table", "write the results as a `FORMAT`: table or md")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case *format != "table" && *format != "md":
		return nil, fmt.Errorf("-format is %q, want table or md", *format)
	case o.passes < 1 || o.passes > 100:
		return nil, fmt.Errorf("-passes is %d, want 1 to 100", o.passes)
	case *workers < 0:
		return nil, fmt.Errorf("-workers is %d, at least 1 is needed", *workers)
	}
	o.md = *format == "md"
	if *workers != 0 {
		o.workers = []int{*workers}
	} else if o.workers = []int{1}; runtime.GOMAXPROCS(0) > 1 {
		o.workers = append(o.workers, runtime.GOMAXPROCS(0))
	}
	if o.works == nil {
		var err error
		if o.works, err = parseWorks(defaultWorks); err != nil {
			return nil, err
		}
	}
	for _, name := range o.names() {
		if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.name == name }) {
			return nil, fmt.Errorf("-only: there is no system %q", name)
		}
	}
	return o, nil
}

// names lists the systems that were asked for, none if all.
func (o *options) names() []string {
	return strings.FieldsFunc(o.only, func(c rune) bool { return c == ',' || c == ' ' })
}

func (o *options) run(ctx context.Context, stdout, stderr io.Writer) error {
	start := time.Now()
	progress := func(format string, args ...any) {
		if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			fmt.Fprintf(f, "\r\x1b[K"+format, args...)
		}
	}
	opts := bench.Options{Time: o.time / time.Duration(o.passes), Cold: o.cold, Neighbour: o.beside}
	runner, err := bench.NewRunner(opts)
	if err != nil {
		return err
	}
	defer runner.Close()
	doc := bench.NewDocument()
	table := &table{w: stdout, md: o.md, conditions: opts.Conditions()}
	systems := []bench.System{bench.Library()}
	table.printf("%s, %d processors, kernel set %s\n\n", doc.Machine.CPU, runtime.GOMAXPROCS(0), runner.Kernel().Name)
	table.system(systems[0])
	for _, c := range candidates {
		if names := o.names(); len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		s, err := c.open(o.lib)
		if err != nil {
			table.missing(c, err)
			continue
		}
		if !o.slow {
			s = quick{s}
		}
		s = ownLayout{s}
		systems = append(systems, s)
		table.system(s)
	}
	doc.Ceilings = bench.MeasureCeilings(runner.Kernel(), doc.Machine.Caches, slices.Max(o.workers))

	behind := make(map[pace][]float64) // times over the least, of systems that were far behind
	all := systems
	for _, w := range o.works {
		systems := all
		if p, ok := w.(bench.Product); ok && p.InPlace {
			systems = slices.Insert(slices.Clone(all), 1, bench.Packed())
		}
		for _, workers := range o.workers {
			g := contest{work: w, workers: workers}
			best := make([]bench.Run, len(systems))
			out := make([]bool, len(systems)) // left out
			qkvSeconds := 0.0
			for range o.passes {
				least := math.Inf(1)
				for _, run := range best {
					if run.Rounds != nil {
						least = min(least, run.SecondsMedian)
					}
				}
				for i, s := range systems {
					if out[i] || i > 0 && best[i].SecondsMedian > farBehind*least {
						continue
					}
					if ctx.Err() != nil || time.Since(start) > o.limit {
						if best[i].Rounds == nil {
							out[i] = true
							g.skip(&doc, s, "there was no time left")
						}
						continue
					}
					if reason := leftBehind(behind[paceOf(s, w)], qkvSeconds); i > 0 && reason != "" && !o.slow {
						out[i] = true
						g.skip(&doc, s, reason)
						continue
					}
					progress("%s, %s: %s", w.Short(), threads(workers), s.Name())
					run, err := runner.RunOn(ctx, s, bench.Job{Work: w, Workers: workers}, slowest*o.time)
					var unsupported *bench.UnsupportedError
					switch {
					case errors.As(err, &unsupported):
						g.skip(&doc, s, unsupported.Reason)
					case errors.Is(err, context.Canceled):
						g.skip(&doc, s, "interrupted")
					case err != nil:
						g.fail(&doc, s, err)
					}
					if err == nil {
						doc.Add(run)
					}
					if out[i] = err != nil; !out[i] && (best[i].Rounds == nil || run.SecondsMedian < best[i].SecondsMedian) {
						best[i] = run
					}
					if i == 0 {
						qkvSeconds = best[0].SecondsMedian
					}
				}
			}
			for i, run := range best {
				if !out[i] && run.Rounds != nil {
					g.runs = append(g.runs, run)
				}
			}
			for i, run := range best {
				if least := fastest(g.runs); run.SecondsMedian > farBehind*least {
					key := paceOf(systems[i], w)
					behind[key] = append(behind[key], run.SecondsMedian/least)
				}
			}
			progress("")
			table.contest(&g, &doc)
		}
	}
	table.summary()
	if o.json != "" {
		if err := write(o.json, &doc); err != nil {
			return err
		}
	}
	if table.err != nil {
		return table.err
	}
	if table.failed > 0 {
		return fmt.Errorf("%d of the results failed", table.failed)
	}
	return ctx.Err()
}

// A pace is what a system is expected to be as fast in, beside others.
type pace struct {
	system, kind string
	decodes      bool
	kv           bench.KV // some convert 16 bits one by one
	weights      qkv.WeightType
}

func paceOf(s bench.System, w bench.Work) pace {
	p := pace{system: s.Name(), kind: bench.KindAttention, decodes: w.ReadBytes() > 0}
	if shape, ok := w.(bench.Shape); ok {
		p.kv = bench.KV{K: shape.KV.K, V: shape.KV.V}
	}
	if product, ok := w.(bench.Product); ok {
		p.kind, p.weights = bench.KindProduct, product.Weights
	}
	return p
}

// leftBehind says why a system is left out of a work whose calls take qkv so long, after works of
// its kind in which it took so many times the least; "" if it is not.
func leftBehind(times []float64, qkv float64) string {
	if len(times) < enoughBehind || qkv <= longCall {
		return ""
	}
	return fmt.Sprintf("left out: it took %.0f times the least or more in %d works of this kind; -slow measures it", slices.Min(times), len(times))
}

// fastest returns the least time of a call, 0 of no runs.
func fastest(runs []bench.Run) float64 {
	least := 0.0
	for _, r := range runs {
		if least == 0 || r.SecondsMedian < least {
			least = r.SecondsMedian
		}
	}
	return least
}

// ownLayout is a system that has operands in the layout that it likes best, whatever qkv's is: they are
// head by head, and each path brings them into its own before it is timed.
type ownLayout struct{ bench.System }

func (s ownLayout) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	if o, ok := in.(*bench.Operands); ok && o.Shape.Layout != (bench.Layout{}) {
		plain := *o
		plain.Shape.Layout = bench.Layout{}
		in = &plain
	}
	return s.System.Paths(in, workers)
}

// quick is a system less its slow paths.
type quick struct{ bench.System }

func (s quick) Paths(in bench.Inputs, workers int) ([]bench.Path, error) {
	paths, err := s.System.Paths(in, workers)
	var left []bench.Path
	var reasons []string
	for _, p := range paths {
		if p.Slow == "" {
			left = append(left, p)
			continue
		}
		if p.Close != nil {
			p.Close()
		}
		reasons = append(reasons, fmt.Sprintf("%s is left out: %s", p.Name, p.Slow))
	}
	if err == nil && len(left) == 0 && len(reasons) > 0 {
		err = &bench.UnsupportedError{System: s.Name(), Work: in.Work(), Reason: strings.Join(reasons, "; ") + "; -slow measures it"}
	}
	return left, err
}

// write writes the record when it is whole.
func write(path string, doc *bench.Document) error {
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".peers-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
