package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/cmd/qkv/npy"
	"github.com/qkv-go/qkv/internal/memory"
)

const runSynopsis = `qkv run -q Q.npy -k K.npy -v V.npy -o OUT.npy [flags]

Q, K and V are all of the same rank: [seq, dim], [heads, seq, dim] or
[batch, heads, seq, dim]; with -layout bshd [seq, heads, dim] and [batch, seq, heads, dim].
They may be float32, float64 or float16, in any byte order and order of the axes, and are
computed with in float32, or as -class and -kv say. float32 is what is written.
K and V may have fewer heads, in a number that divides Q's. OUT has the rank and the
layout of Q. LSE, the log-sum-exp of the scores, is [batch, heads, seq], less the axes
that Q lacks. A score goes through -scale, -softcap, -alibi, -bias and the masks in this
order.`

// runFlags are the flags of qkv run.
type runFlags struct {
	q, k, v, out, lse string
	layout, kernel    string
	workers           int
	explain           bool
	mask              maskFlags
	values            valueFlags
	class             classFlags
}

func (r *runFlags) parse(args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.StringVar(&r.q, "q", "", "read the queries from `FILE`")
	f.StringVar(&r.k, "k", "", "read the keys from `FILE`")
	f.StringVar(&r.v, "v", "", "read the values from `FILE`")
	f.StringVar(&r.out, "o", "", "write the output to `FILE`")
	f.StringVar(&r.lse, "lse", "", "write the log-sum-exp to `FILE`")
	f.StringVar(&r.layout, "layout", "bhsd", "the `LAYOUT` of all files, bhsd or bshd")
	f.StringVar(&r.kernel, "kernel", "", "use the kernel set `NAME`, as qkv info lists them")
	f.IntVar(&r.workers, "workers", 0, "compute on at most `N` processors, 0 for all")
	f.BoolVar(&r.explain, "explain", false, "say what runs, and why")
	r.mask.register(f)
	r.values.register(f)
	r.class.registerValues(f)
	if err := parseFlags(f, args, runSynopsis, stdout); err != nil {
		return err
	}
	for _, needed := range []struct{ name, value string }{{"q", r.q}, {"k", r.k}, {"v", r.v}, {"o", r.out}} {
		if needed.value == "" {
			return badUsage("-%s is missing", needed.name)
		}
	}
	if r.layout != "bhsd" && r.layout != "bshd" {
		return badUsage("-layout is %q, want bhsd or bshd", r.layout)
	}
	if r.workers < 0 {
		return badUsage("-workers is %d, want 0 or more", r.workers)
	}
	inputs := []flagFile{{"-q", r.q}, {"-k", r.k}, {"-v", r.v}, {"-mask", r.mask.keep}, {"-alibi", r.values.alibi}, {"-bias", r.values.bias}, {"-sinks", r.values.sinks}}
	if err := checkFiles(inputs, []flagFile{{"-o", r.out}, {"-lse", r.lse}}); err != nil {
		return err
	}
	if err := r.mask.check(r.values.alibi != ""); err != nil {
		return err
	}
	if err := r.class.check(); err != nil {
		return err
	}
	return checkKernelFlag(r.kernel)
}

// checkKernelFlag reports a name that no kernel set of this architecture has.
func checkKernelFlag(name string) error {
	if name == "" {
		return nil
	}
	_, err := qkv.New(qkv.Config{Kernel: name})
	if e := (*qkv.KernelError)(nil); errors.As(err, &e) && !e.Known {
		return badUsage("%v", err)
	}
	return nil
}

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var r runFlags
	if err := r.parse(args, stdout); err != nil {
		return err
	}
	if err := errors.Join(checkBinary(stdout, "-o", r.out), checkBinary(stdout, "-lse", r.lse)); err != nil {
		return err
	}
	attention, err := qkv.New(qkv.Config{Kernel: r.kernel, Workers: r.workers})
	if err != nil {
		return err
	}
	if err := checkWritable(r.out, r.lse); err != nil {
		return err
	}
	q, err := readNPY(r.q)
	if err != nil {
		return err
	}
	k, err := readNPY(r.k)
	if err != nil {
		return err
	}
	v, err := readNPY(r.v)
	if err != nil {
		return err
	}

	c := qkv.Call{Precision: r.class.class, ValuePrecision: r.class.values}
	if c.Mask, err = r.mask.read(); err != nil {
		return err
	}
	if err := r.values.read(&c); err != nil {
		return err
	}
	if c.Q, err = operand("q", r.q, q, q, r.layout); err != nil {
		return err
	}
	for _, t := range []struct {
		name, path   string
		a            *array
		view, scales *qkv.View
	}{{"k", r.k, &k, &c.K, &c.KScale}, {"v", r.v, &v, &c.V, &c.VScale}} {
		rows, scales, err := r.class.operand(t.name, t.path, *t.a, q, r.layout)
		if err != nil {
			return err
		}
		*t.view, *t.scales = rows.all, scales.all
	}
	out := array{dims: append([]int(nil), q.dims...)}
	out.dims[len(out.dims)-1] = c.V.Shape()[3]
	n, err := elements(out.dims)
	if err != nil {
		return fmt.Errorf("the output: %w", err)
	}
	if bytes := 4 * int64(n); !memory.Has(bytes) {
		return &qkv.MemoryError{Arg: "output of shape " + npy.Tuple(out.dims), Bytes: bytes, Limit: memory.Limit()}
	}
	out.data = make([]float32, n)
	c.Out = view(out, r.layout)

	files := []content{{r.out, out.encode}}
	if r.lse != "" {
		s := c.Q.Shape()
		lse := array{dims: s[4-len(q.dims) : 3], data: make([]float32, s[0]*s[1]*s[2])}
		c.LSE = lse.data
		files = append(files, content{r.lse, lse.encode})
	}
	if r.explain {
		plan, err := attention.ExplainContext(ctx, &c)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(reading(stdout, stderr, r.out, r.lse), plan); err != nil {
			return err
		}
	}
	bar := newPercent(stderr, "computing")
	defer bar.finish()
	c.Progress = bar.to
	err = attention.RunContext(ctx, &c)
	bar.finish()
	if err != nil {
		return err
	}
	return writeFiles(ctx, stdout, files...)
}

// operand returns the view of the array of a file beside that of the queries.
func operand(name, path string, a, q array, layout string) (qkv.View, error) {
	if n := len(a.dims); n < 2 || n > 4 {
		return qkv.View{}, fmt.Errorf("%s: its shape %s has %d axes, 2 to 4 are needed", path, npy.Tuple(a.dims), n)
	}
	if len(a.dims) != len(q.dims) {
		return qkv.View{}, fmt.Errorf("%s has shape %s, q has %s: the number of axes differs", name, npy.Tuple(a.dims), npy.Tuple(q.dims))
	}
	x := view(a, layout)
	if d := x.Shape()[3]; d < 1 || d > qkv.MaxDim { // before it shapes the output
		return qkv.View{}, fmt.Errorf("%s has head dim %d, 1 to %d are supported", name, d, qkv.MaxDim)
	}
	return x, nil
}

// view returns the view of an array of rank 2 to 4 that the layout says.
func view(a array, layout string) qkv.View { return viewOf(a.data, a.dims, layout) }

// viewOf is view of elements of any type.
func viewOf[T qkv.Element](data []T, dims []int, layout string) qkv.View {
	d := [4]int{1, 1, 1, 1}
	copy(d[4-len(dims):], dims)
	if layout == "bshd" {
		if len(dims) == 2 { // [seq, dim]: the axis left out is the heads
			d[1], d[2] = d[2], d[1]
		}
		return qkv.BSHD(data, d[0], d[1], d[2], d[3])
	}
	return qkv.BHSD(data, d[0], d[1], d[2], d[3])
}
