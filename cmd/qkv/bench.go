package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

const benchSynopsis = `qkv bench [flags]

Measures the ceilings of this machine, then shapes beside the peak of their own minute, and
few queries beside the rate at which as many keys and values are read, too.
Every result is compared with float64 before it is timed: up to 64 rows spread over
batch, heads and positions, to within the error bound of float32 arithmetic.

Other than attention there are

  m=512,n=4096,k=4096                   a matrix product, X [m, k] by the transpose of weights
                                        [n, k], packed in float32; w=q4_k: weights of that type,
                                        read in place: float32, float16, bfloat16, int8 (with a
                                        scale a row), q8_0, q4_0, q4_1, q5_0, q5_1, q2_k to q6_k,
                                        iq4_nl, mxfp4; w=q4_k,packed=1: such weights, packed;
                                        class= as below
  project=512,in=4096,h=32,hkv=8,d=128  queries, keys and values of 512 tokens in one product,
                                        rotated by their positions
  append=512,hkv=8,d=128                keys and values of 512 tokens into a cache; kv= and
                                        page= as below

A shape is KEY=VALUE,... of which h, sq and d are needed:

  b=1              sequences
  h=32, hkv=8      heads of queries, and of keys and values (default: h)
  sq=512, skv=512  queries and keys (default: sq) of a sequence
  d=128, dv=128    head dim of queries and keys, and of values (default: d)
  mask=causal      none, causal (the last query attends all keys), causal-top-left (the first
                   attends the first key alone), causal@OFFSET (query i attends keys up to
                   i+OFFSET); none-bottom-right, none-top-left and none@OFFSET say where the
                   queries stand for a window or ALiBi, needed if sq and skv differ
  window=1023:0    a sliding window, LEFT:RIGHT of the query's position, or all
  prefix=64        keys that every query attends whatever the mask and window say
  segments=4       documents of equal length
  blocks=128:0.25  blocks of SIZE by SIZE, of which each row keeps that share
  keep=0.98        a boolean mask [sq, skv] that keeps that share of the pairs
  ragged=16        sequences of 16 to sq tokens, packed as [tokens, heads, dim]
  padded=16        sequences of 16 to sq tokens, padded to sq
  kvlens=100       sequences of 100 to skv keys, each with sq queries
  prefill=4        4 sequences, spread over the batch, of sq queries, the others of one
  bias=head        a bias [h, sq, skv]; shared: [sq, skv]; head16, shared16: in float16
  alibi=1          a slope for each head
  softcap=50       scores bounded to within ±50
  sinks=1          a logit for each head
  kv=float16       the type of keys and values: float32, float16, bfloat16, int8, q8_0, e4m3,
                   e5m2, q4_0 or q4_1; k=, v= for one of them
  page=16          keys and values in pages of 16 tokens, shuffled
  cache=slots      keys and values in slots of a cache; ring: in one that has gone round
  class=int8       the numerical class: float32, int8 or bfloat16
  values=int8      in class int8, that of weighted values: float32, int8 or bfloat16
  layout=bshd      the order of axes in memory: bhsd (batch, heads, seq, dim), bshd, qkv (one
                   tensor of all three, token by token) or bhds; bshd+16 has 16 elements
                   behind each row`

const (
	maxWorkers = 4096 // far more than pays, and few enough to start
	maxCount   = 1000
	maxLabel   = 60 // characters

	// recordCount is how often a record measures everything, so that others can be compared
	// with it though neighbours disturb some passes. Each is short then.
	recordCount = 8
	passTime    = 400 * time.Millisecond
)

// benchFlags are the flags of qkv bench.
type benchFlags struct {
	preset  bench.Preset
	kernel  string
	workers int // 0 means what the preset says
	count   int

	announce bool // works that take long are the user's own

	cold      bool
	neighbour string
	counters  bool
	tuning    string
	json      string
	add       bool
	label     string

	cpuprofile, memprofile, trace string
}

func (b *benchFlags) parse(args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	var list strings.Builder
	for _, p := range bench.Presets() {
		fmt.Fprintf(&list, "\n  %-8s %s", p.Name, p.About)
	}
	var shapes []string
	preset := f.String("preset", "", "run the shapes of the preset `NAME`:"+list.String())
	f.Func("shape", "run the shape `SHAPE`, such as h=32,hkv=8,sq=2048,d=128,mask=causal or m=512,n=4096,k=4096; may be repeated", func(text string) error {
		shapes = append(shapes, text)
		return nil
	})
	f.StringVar(&b.kernel, "kernel", "", "use the kernel set `NAME`, as qkv info lists them")
	f.StringVar(&b.tuning, "tuning", "", "use the choices of `FILE`, which qkv tune has written")
	f.IntVar(&b.workers, "workers", 0, "compute on `N` processors, 0 for all (default: the preset's choice)")
	f.IntVar(&b.count, "count", 0, fmt.Sprintf("measure everything `N` times over, which takes N times as long, so that a record has what\nchanges in between (default: %d for a record, 1 without -json or with -append)", recordCount))
	f.BoolVar(&b.cold, "cold", false, "have each call find keys, values and weights in memory, as a layer of a model does, not in a\ncache: copies of them take turns, enough to fill every cache twice")
	f.StringVar(&b.neighbour, "neighbour", "", "have a process on another processor, and on the other thread of the core where there is one,\nwork through as much memory as the second level of caches holds, or far more than the last does:\n`KIND` is cache or memory")
	f.BoolVar(&b.counters, "counters", false, "count cycles, instructions, cache misses and the like of each run, where the machine can")
	unmasked := f.Bool("unmasked", false, "time each shape in turns with one of its sizes without mask and changed scores, and print its\nshare of that rate (default: the preset's choice)")
	f.StringVar(&b.json, "json", "", "write the record to `FILE`")
	f.BoolVar(&b.add, "append", false, "add to the record of -json, if it is there: one pass (or -count) more of the same build, so that two\nbuilds can take turns")
	f.StringVar(&b.label, "label", "", "have the record called `TEXT` in reports and comparisons (default: by its file)")
	f.StringVar(&b.cpuprofile, "cpuprofile", "", "write a CPU profile to `FILE`, with phases as labels")
	f.StringVar(&b.memprofile, "memprofile", "", "write a profile of allocations to `FILE`")
	f.StringVar(&b.trace, "trace", "", "write an execution trace to `FILE`")
	if err := parseFlags(f, args, benchSynopsis, stdout); err != nil {
		return err
	}
	if b.workers < 0 || b.workers > maxWorkers {
		return badUsage("-workers is %d, want 0 to %d", b.workers, maxWorkers)
	}
	if b.neighbour != "" && b.neighbour != bench.NeighbourCache && b.neighbour != bench.NeighbourMemory {
		return badUsage("-neighbour is %q, want %s or %s", b.neighbour, bench.NeighbourCache, bench.NeighbourMemory)
	}
	if n := utf8.RuneCountInString(b.label); n > maxLabel {
		return badUsage("-label has %d characters, want at most %d", n, maxLabel)
	}
	if b.label != "" && b.json == "" {
		return badUsage("-label is of a record, and there is no -json")
	}
	if b.add && b.json == "" {
		return badUsage("-append adds to a record, and there is no -json")
	}
	unmaskedGiven, countGiven := false, false
	f.Visit(func(f *flag.Flag) {
		switch {
		case f.Name == "count":
			countGiven = true
		case f.Name == "workers" && b.workers == 0:
			b.workers = runtime.GOMAXPROCS(0)
		case f.Name == "unmasked":
			unmaskedGiven = true
		}
	})
	switch {
	case !countGiven && b.json != "" && !b.add:
		b.count = recordCount
	case !countGiven:
		b.count = 1
	case b.count < 1 || b.count > maxCount:
		return badUsage("-count is %d, want 1 to %d", b.count, maxCount)
	}
	if err := checkFiles([]flagFile{{"-tuning", b.tuning}}, []flagFile{{"-json", b.json}, {"-cpuprofile", b.cpuprofile}, {"-memprofile", b.memprofile}, {"-trace", b.trace}}); err != nil {
		return err
	}
	switch {
	case shapes == nil:
		if *preset == "" {
			*preset = bench.Presets()[0].Name
		}
		var err error
		if b.preset, err = bench.FindPreset(*preset); err != nil {
			return badUsage("%v", err)
		}
	case *preset != "":
		return badUsage("-preset and -shape exclude each other")
	default:
		b.preset.Workers, b.announce = []int{0}, true
		for _, text := range shapes {
			w, err := bench.ParseWork(text)
			if err != nil {
				return badUsage("%v", err)
			}
			b.preset.Works = append(b.preset.Works, w)
		}
	}
	if unmaskedGiven {
		b.preset.Unmasked = *unmasked
		if *unmasked && !slices.ContainsFunc(b.preset.Works, hasUnmasked) {
			return badUsage("-unmasked: no work has a mask or changed scores")
		}
	}
	return checkKernelFlag(b.kernel)
}

// hasUnmasked reports whether a work can be compared with one of its sizes without mask.
func hasUnmasked(w bench.Work) bool {
	s, ok := w.(bench.Shape)
	if ok {
		_, ok = s.Unmasked()
	}
	return ok
}

func benchCommand(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	start := time.Now()
	var b benchFlags
	if err := b.parse(args, stdout); err != nil {
		return err
	}
	var tuning *qkv.Tuning
	if b.tuning != "" {
		var err error
		if tuning, err = readTuning(b.tuning); err != nil {
			return err
		}
	}
	opts := bench.Options{Kernel: b.kernel, Tuning: tuning, Labels: b.cpuprofile != "", Unmasked: b.preset.Unmasked, Counters: b.counters, Cold: b.cold, Neighbour: b.neighbour}
	if b.count > 1 || b.add {
		opts.Time = passTime
	}
	runner, err := bench.NewRunner(opts)
	if err != nil {
		return err
	}
	defer runner.Close()
	if err := checkWritable(b.json); err != nil {
		return err
	}
	var earlier *bench.Document
	if b.add {
		if earlier, err = b.earlier(); err != nil {
			return err
		}
	}
	profiles, err := b.profile(stdout)
	if err != nil {
		return err
	}
	defer func() { err = profiles.end(err) }()

	pass := b.preset.Jobs(b.workers)
	jobs := slices.Repeat(pass, b.count)
	var workers int
	for _, j := range jobs {
		workers = max(workers, j.Workers)
	}
	bar := newProgress(stderr, 1+len(jobs))
	defer bar.finish()
	table := newTable(reading(stdout, stderr, b.json, b.cpuprofile, b.memprofile, b.trace), jobs, b.preset.Unmasked, opts.Conditions())

	doc := bench.NewDocument()
	doc.Label = b.label
	table.machine(&doc.Machine, &doc.Build)
	bar.begin("ceilings")
	doc.Ceilings = bench.MeasureCeilings(runner.Kernel(), doc.Machine.Caches, workers)
	bar.done()
	table.ceilings(&doc.Ceilings)
	if b.counters {
		table.counters(runner.Counters())
	}
	if b.announce {
		announce(stderr, runner, jobs)
	}
	table.header()
	limit := b.preset.Limit
	if limit != 0 {
		limit = max(1, limit*time.Duration(b.count)-time.Since(start))
	}
	err = runner.All(ctx, jobs, limit,
		func(i int) {
			if i > 0 && i%len(pass) == 0 { // what disturbed the last measurement may be gone
				c := bench.MeasureCeilings(runner.Kernel(), doc.Machine.Caches, workers)
				doc.Ceilings.Raise(&c)
			}
			step := fmt.Sprintf("%s on %s", jobs[i].Work.Short(), plural(jobs[i].Workers, "worker"))
			if b.count > 1 {
				step = fmt.Sprintf("pass %d of %d, %s", 1+i/len(pass), b.count, step)
			}
			bar.begin(step)
		},
		func(i int, run *bench.Run, skip *bench.Skip) {
			bar.done()
			if run != nil {
				doc.Add(*run)
			} else {
				doc.Skipped = append(doc.Skipped, *skip)
			}
			if i < len(jobs)-len(pass) {
				return // the last pass has the result of all
			}
			if r := doc.Result(jobs[i]); r != nil {
				table.run(jobs[i], r)
			} else {
				table.skip(jobs[i], skip)
			}
		})
	bar.finish()
	if err != nil {
		return err
	}
	table.footer(&doc)
	if table.err != nil {
		return table.err
	}
	if b.json == "" {
		return nil
	}
	if earlier != nil {
		if err := doc.Join(earlier); err != nil {
			return fmt.Errorf("-append: %w", err)
		}
	}
	return writeFiles(ctx, stdout, content{b.json, func(w io.Writer) error { return writeJSON(w, &doc) }})
}

// earlier reads the record that is added to, nil if there is none. That it is of another build is told
// before anything is measured.
func (b *benchFlags) earlier() (*bench.Document, error) {
	if b.json == standard {
		return nil, badUsage("-append: what goes to standard output cannot be added to")
	}
	d, err := readRecord(b.json)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if build := bench.ThisBuild(); d.Build != build {
		return nil, fmt.Errorf("-append: %s is of build %s, this is %s", b.json, d.Build.Short(), build.Short())
	}
	return d, nil
}

// Works that take longer, or more memory, than these are announced.
const (
	longWork  = 10 * time.Second
	largeWork = 1 << 30
)

// announce says beforehand what works will take.
func announce(w io.Writer, r *bench.Runner, jobs []bench.Job) {
	for i, j := range jobs {
		if slices.Contains(jobs[:i], j) {
			continue
		}
		e := r.Estimate(j)
		if e.Total() < longWork && e.Bytes < largeWork {
			continue
		}
		fmt.Fprintf(w, "qkv bench: %s on %s takes %s of memory and at least %s: %d calls of %s at the peak, and about %s to compare with float64\n",
			j.Work.Short(), plural(j.Workers, "worker"), byteSize(e.Bytes), roundTime(e.Total()), e.Calls, roundTime(e.Call), roundTime(e.Check))
	}
}

// roundTime writes a time to the minute, the second or three digits.
func roundTime(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	case d >= time.Minute:
		return d.Round(time.Second).String()
	}
	unit := time.Duration(1)
	for unit*1000 <= d {
		unit *= 10
	}
	return d.Round(unit).String()
}

// byteSize writes a size in GB or MB.
func byteSize(n int64) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.1f GB", 1e-9*float64(n))
	}
	return fmt.Sprintf("%.1f MB", 1e-6*float64(n))
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// profiles are being taken.
type profiles struct {
	files outputs
	ends  []func() error // in the order that they were begun
}

// profile starts the profiles that are asked for.
func (b *benchFlags) profile(stdout io.Writer) (*profiles, error) {
	p := &profiles{files: outputs{stdout: stdout}}
	nothing := func(io.Writer) error { return nil }
	err := errors.Join(
		p.start(b.memprofile, nothing, func(w io.Writer) error {
			runtime.GC() // the profile is of the last collection
			return pprof.Lookup("allocs").WriteTo(w, 0)
		}),
		p.start(b.trace, trace.Start, func(io.Writer) error { trace.Stop(); return nil }),
		p.start(b.cpuprofile, pprof.StartCPUProfile, func(io.Writer) error { pprof.StopCPUProfile(); return nil }),
	)
	if err != nil {
		return nil, p.end(err)
	}
	return p, nil
}

func (p *profiles) start(path string, begin, end func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := p.files.create(path)
	if err != nil {
		return err
	}
	if err := begin(f); err != nil {
		return err
	}
	p.ends = append(p.ends, func() error { return end(f) })
	return nil
}

// end ends the profiles. Their files are left only if what was measured has ended well.
func (p *profiles) end(err error) error {
	for _, end := range slices.Backward(p.ends) {
		err = errors.Join(err, end())
	}
	if err != nil {
		p.files.discard()
		return err
	}
	return p.files.commit()
}
