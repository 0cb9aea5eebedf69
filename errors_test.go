package qkv_test

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

func TestCallErrors(t *testing.T) {
	data := make([]float32, 4096)
	out := make([]float32, 4096)
	// A call that is right, for each case to break.
	good := func() *qkv.Call {
		return &qkv.Call{
			Q: qkv.BHSD(data, 2, 4, 8, 16), K: qkv.BHSD(data, 2, 2, 8, 16),
			V: qkv.BHSD(data, 2, 2, 8, 16), Out: qkv.BHSD(out, 2, 4, 8, 16),
		}
	}
	if err := qkv.Run(good()); err != nil {
		t.Fatal(err)
	}
	huge := math.MaxInt / 2
	for _, c := range []callError{
		{"k", "qkv: k has head dim 8, q has 16", func(c *qkv.Call) { c.K = qkv.BHSD(data, 2, 2, 8, 8) }},
		{"k", "qkv: k has batch 1, q has 2", func(c *qkv.Call) { c.K = qkv.BHSD(data, 1, 2, 8, 16) }},
		{"v", "qkv: v has batch 1, q has 2", func(c *qkv.Call) { c.V = qkv.BHSD(data, 1, 2, 8, 16) }},
		{"out", "qkv: out has batch 1, q has 2", func(c *qkv.Call) { c.Out = qkv.BHSD(out, 1, 4, 8, 16) }},
		{"v", "qkv: v has heads 1, k has 2", func(c *qkv.Call) { c.V = qkv.BHSD(data, 2, 1, 8, 16) }},
		{"out", "qkv: out has heads 2, q has 4", func(c *qkv.Call) { c.Out = qkv.BHSD(out, 2, 2, 8, 16) }},
		{"v", "qkv: v has sequence length 7, k has 8", func(c *qkv.Call) { c.V = qkv.BHSD(data, 2, 2, 7, 16) }},
		{"out", "qkv: out has sequence length 9, q has 8", func(c *qkv.Call) { c.Out = qkv.BHSD(out, 2, 4, 9, 16) }},
		{"out", "qkv: out has head dim 8, v has 16", func(c *qkv.Call) { c.Out = qkv.BHSD(out, 2, 4, 8, 8) }},
		{"q", "qkv: q has 4 heads, not a multiple of k's 3", func(c *qkv.Call) {
			c.K, c.V = qkv.BHSD(data, 2, 3, 8, 16), qkv.BHSD(data, 2, 3, 8, 16)
		}},
		{"q", "qkv: q has 4 heads, not a multiple of k's 0", func(c *qkv.Call) {
			c.K, c.V = qkv.BHSD(data, 2, 0, 8, 16), qkv.BHSD(data, 2, 0, 8, 16)
		}},
		{"q", "qkv: q has head dim 0, at least 1 is needed", func(c *qkv.Call) {
			c.Q, c.K = qkv.BHSD(data, 2, 4, 8, 0), qkv.BHSD(data, 2, 2, 8, 0)
		}},
		{"q", "qkv: q has head dim 16385, at most 16384 is supported", func(c *qkv.Call) {
			c.Q = qkv.Strided(data, 0, [4]int{2, 4, 8, 16385}, [4]int{})
			c.K = qkv.Strided(data, 0, [4]int{2, 2, 8, 16385}, [4]int{})
		}},
		{"q", "qkv: q reaches element 1023, its slice has 1000", func(c *qkv.Call) { c.Q = qkv.BHSD(data[:1000], 2, 4, 8, 16) }},
		{"k", "qkv: k reaches element 511, its slice has 0", func(c *qkv.Call) { c.K = qkv.BHSD[float32](nil, 2, 2, 8, 16) }},
		{"k", "qkv: k begins at element -1, at least 0 is needed", func(c *qkv.Call) {
			c.K = qkv.Strided(data, -1, [4]int{2, 2, 8, 16}, [4]int{256, 128, 16, 1})
		}},
		{"v", "qkv: v reaches element -15, before the first of its slice (head dim 16, stride -1)", func(c *qkv.Call) {
			c.V = qkv.Strided(data, 0, [4]int{2, 2, 8, 16}, [4]int{256, 128, 16, -1})
		}},
		{"v", "qkv: v has sequence length -8, at least 0 is needed", func(c *qkv.Call) { c.V = qkv.BHSD(data, 2, 2, -8, 16) }},
		{"k", "its slice has 4096", func(c *qkv.Call) {
			c.K = qkv.Strided(data, 0, [4]int{2, 2, 8, 16}, [4]int{huge, huge, huge, huge})
		}},
		{"q", "its slice has 4096", func(c *qkv.Call) { c.Q = qkv.BHSD(data, huge, huge, huge, 16) }},
		{"v", "before the first of its slice", func(c *qkv.Call) {
			c.V = qkv.Strided(data, 5, [4]int{2, 2, 8, 16}, [4]int{math.MinInt, 1, 1, 1})
		}},
		{"out", "qkv: out overlaps itself: its batch stride is 0, at least 1 is needed", func(c *qkv.Call) {
			c.Out = qkv.Strided(out, 0, [4]int{2, 4, 8, 16}, [4]int{0, 128, 16, 1})
		}},
		{"out", "qkv: out overlaps itself: its sequence length stride is 15, at least 16 is needed", func(c *qkv.Call) {
			c.Out = qkv.Strided(out, 0, [4]int{2, 4, 8, 16}, [4]int{512, 128, 15, 1})
		}},
		{"out", "qkv: out and k share elements", func(c *qkv.Call) { c.K = qkv.BHSD(out, 2, 2, 8, 16) }},
		{"lse", "qkv: lse has length 63, out has 64 rows", func(c *qkv.Call) { c.LSE = make([]float32, 63) }},
		{"scale", "qkv: scale is NaN, a finite number is needed", func(c *qkv.Call) { c.Scale = nan }},
		{"scale", "qkv: scale is +Inf, a finite number is needed", func(c *qkv.Call) { c.Scale = posInf }},
		{"mask", "qkv: mask has Align 9, the last is 3", func(c *qkv.Call) { c.Mask.Align = 9 }},
		{"mask", "qkv: mask has Align -1, the last is 3", func(c *qkv.Call) { c.Mask.Align = -1 }},
		{"mask", "qkv: mask has offset 3, which needs AlignOffset", func(c *qkv.Call) { c.Mask = qkv.Mask{Causal: true, Offset: 3} }},
	} {
		c.check(t, good(), out)
	}
}

// A callError is a call with one mistake.
type callError struct {
	arg   string
	want  string
	spoil func(c *qkv.Call)
}

// check makes a call with the mistake and requires its error, and no output before it.
func (e callError) check(t *testing.T, c *qkv.Call, out []float32) {
	t.Helper()
	e.spoil(c)
	for i := range out {
		out[i] = canary
	}
	err := qkv.Run(c)
	var arg *qkv.ArgError
	if !errors.As(err, &arg) {
		t.Errorf("%s: error %v", e.want, err)
		return
	}
	if arg.Arg != e.arg || !strings.Contains(err.Error(), e.want) {
		t.Errorf("error %q of %q, want %q of %q", err, arg.Arg, e.want, e.arg)
	}
	for i := range out {
		if out[i] != canary {
			t.Fatalf("%s: out was written", e.want)
		}
	}
	if _, explainErr := newAttention(t, qkv.Config{}).Explain(c); explainErr == nil || explainErr.Error() != err.Error() {
		t.Errorf("Explain says %v, Run %v", explainErr, err)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Setenv(qkv.KernelEnv, "sse9")
	_, err := qkv.New(qkv.Config{})
	var ke *qkv.KernelError
	if !errors.As(err, &ke) || ke.Name != "sse9" || ke.Env != qkv.KernelEnv || ke.Known {
		t.Errorf("QKV_KERNEL=sse9: %v", err)
	}
	if want := `qkv: the environment variable QKV_KERNEL: unknown kernel set "sse9"; this machine can run ` + strings.Join(runnable(), ", "); err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if _, err := qkv.New(qkv.Config{Kernel: "sse8"}); err == nil || !strings.HasPrefix(err.Error(), `qkv: unknown kernel set "sse8"; this`) {
		t.Errorf("Config.Kernel sse8: %v", err)
	}
	// The config is stronger than the environment.
	a, err := qkv.New(qkv.Config{Kernel: "generic"})
	if err != nil || a.Kernel().Name != "generic" {
		t.Errorf("Config.Kernel: %v", err)
	}
	t.Setenv(qkv.KernelEnv, "generic")
	if a, err := qkv.New(qkv.Config{}); err != nil || a.Kernel().Name != "generic" {
		t.Errorf("QKV_KERNEL=generic: %v", err)
	}
	if _, err := qkv.New(qkv.Config{Workers: -1}); err == nil || err.Error() != "qkv: workers is -1, at least 0 is needed" {
		t.Errorf("Workers -1: %v", err)
	}
}

// A broadcast axis can be longer than any memory.
func TestSequenceTooLong(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("no int is longer")
	}
	data := make([]float32, 64)
	kv := qkv.Strided(data, 0, [4]int{1, 1, math.MaxInt, 16}, [4]int{})
	err := qkv.Run(&qkv.Call{Q: qkv.BHSD(data, 1, 1, 1, 16), K: kv, V: kv, Out: qkv.BHSD(make([]float32, 16), 1, 1, 1, 16)})
	if want := "qkv: k has sequence length 9223372036854775807, at most 1073741824 is supported"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
