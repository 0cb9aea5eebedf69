package main

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/kernel"
)

// waves returns an array of numbers of many magnitudes.
func waves(dims ...int) array {
	a := ramp(dims...)
	for i := range a.data {
		a.data[i] = float32(math.Sin(float64(i)) * math.Exp(math.Cos(float64(7*i))))
	}
	return a
}

// values returns an array with what rows of 32 numbers stand for in a type.
func values(a array, round func(to, from []float32)) array {
	b := array{dims: a.dims, data: make([]float32, len(a.data))}
	for i := 0; i < len(a.data); i += 32 {
		round(b.data[i:][:32], a.data[i:][:32])
	}
	return b
}

// each rounds numbers one by one.
func each(f func(float32) float32) func(to, from []float32) {
	return func(to, from []float32) {
		for i, x := range from {
			to[i] = f(x)
		}
	}
}

// inBlocks rounds a block.
func inBlocks[T any](quantize func([]T, []float32) error, dequantize func([]float32, []T) error) func(to, from []float32) {
	return func(to, from []float32) {
		var b [1]T
		if quantize(b[:], from) != nil || dequantize(to, b[:]) != nil {
			panic("no block")
		}
	}
}

// TestRunTypes: keys and values that are rounded to a type have the result of the numbers that these stand for.
func TestRunTypes(t *testing.T) {
	q, k, v := waves(2, 4, 5, 32), waves(2, 2, 7, 32), waves(2, 2, 7, 32)
	run := func(k, v array, flags ...string) []float32 {
		t.Helper()
		dir := t.TempDir()
		out := filepath.Join(dir, "out.npy")
		if code, stdout, errs := qkvRun(append(append(inputs(t, dir, q, k, v), "-o", out), flags...)...); code != exitOK || stdout != "" || errs != "" {
			t.Fatalf("%q: exit %d, stdout %q, stderr %q", flags, code, stdout, errs)
		}
		return readArray(t, out).data
	}
	exact := run(k, v)
	for name, round := range map[string]func(to, from []float32){
		"float16":  each(func(x float32) float32 { return qkv.ToFloat16(x).Float32() }),
		"bfloat16": each(func(x float32) float32 { return qkv.ToBFloat16(x).Float32() }),
		"e4m3":     each(func(x float32) float32 { return qkv.ToFloat8E4M3(x).Float32() }),
		"e5m2":     each(func(x float32) float32 { return qkv.ToFloat8E5M2(x).Float32() }),
		"q8_0":     inBlocks(qkv.QuantizeQ8_0, qkv.DequantizeQ8_0),
		"q4_0":     inBlocks(qkv.QuantizeQ4_0, qkv.DequantizeQ4_0),
		"q4_1":     inBlocks(qkv.QuantizeQ4_1, qkv.DequantizeQ4_1),
		"int8": func(to, from []float32) {
			var b [32]int8
			scale, err := qkv.QuantizeInt8(b[:], from)
			if err != nil || qkv.DequantizeInt8(to, b[:], scale) != nil {
				panic("no row")
			}
		},
	} {
		got, want := run(k, v, "-kv", name), run(values(k, round), values(v, round))
		if !slices.Equal(got, want) || slices.Equal(got, exact) {
			t.Errorf("%s: the output is not that of rounded keys and values", name)
		}
	}
}

// TestClasses: the numerical class of a call is that of the flags, in both layouts.
func TestClasses(t *testing.T) {
	const batch, heads, kvHeads, seqQ, seqKV, dim = 2, 4, 2, 5, 7, 32
	q, k, v := waves(batch, heads, seqQ, dim), waves(batch, kvHeads, seqKV, dim), waves(batch, kvHeads, seqKV, dim)
	blocksOf := func(a array) []qkv.BlockQ8_0 {
		b := make([]qkv.BlockQ8_0, len(a.data)/32)
		if err := qkv.QuantizeQ8_0(b, a.data); err != nil {
			t.Fatal(err)
		}
		return b
	}
	keys, values := qkv.BHSD(blocksOf(k), batch, kvHeads, seqKV, dim), qkv.BHSD(blocksOf(v), batch, kvHeads, seqKV, dim)
	int8Scale := make([]float32, batch*kvHeads*seqKV)
	int8Keys := make([]int8, len(k.data))
	for i := range int8Scale {
		var err error
		if int8Scale[i], err = qkv.QuantizeInt8(int8Keys[i*dim:][:dim], k.data[i*dim:][:dim]); err != nil {
			t.Fatal(err)
		}
	}
	var seen [][]float32
	for _, c := range []struct {
		flags  []string
		values bool // a flag of qkv run alone
		set    func(c *qkv.Call)
	}{
		{nil, false, func(*qkv.Call) {}},
		{[]string{"-class", "bfloat16"}, false, func(c *qkv.Call) { c.Precision = qkv.PrecisionBFloat16 }},
		{[]string{"-class", "int8", "-kv", "q8_0"}, false, func(c *qkv.Call) { c.Precision, c.K, c.V = qkv.PrecisionInt8, keys, values }},
		{[]string{"-class", "int8", "-kv", "q8_0", "-values", "int8"}, true, func(c *qkv.Call) {
			c.Precision, c.K, c.V, c.ValuePrecision = qkv.PrecisionInt8, keys, values, qkv.PrecisionInt8
		}},
		{[]string{"-class", "int8", "-kv", "q8_0", "-values", "bfloat16"}, true, func(c *qkv.Call) {
			c.Precision, c.K, c.V, c.ValuePrecision = qkv.PrecisionInt8, keys, values, qkv.PrecisionBFloat16
		}},
	} {
		want := waves(batch, heads, seqQ, dim)
		call := qkv.Call{Q: view(q, "bhsd"), K: view(k, "bhsd"), V: view(v, "bhsd"), Out: view(want, "bhsd")}
		c.set(&call)
		probs := make([]float32, batch*heads*seqQ*seqKV)
		call.Scores, call.ScoresAt = qkv.Pairs(probs, batch, heads, seqQ, seqKV), qkv.StageProbs
		if err := qkv.Run(&call); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(seen, func(x []float32) bool { return slices.Equal(x, want.data) }) {
			t.Fatalf("%q: the output is that of other flags", c.flags)
		}
		seen = append(seen, want.data)
		for _, layout := range []string{"bhsd", "bshd"} {
			turn := func(a array) array { return a }
			if layout == "bshd" {
				turn = swap
			}
			dir := t.TempDir()
			out, flags := filepath.Join(dir, "out.npy"), append(slices.Clone(c.flags), "-layout", layout)
			args := append(inputs(t, dir, turn(q), turn(k), turn(v)), "-o", out)
			if code, stdout, errs := qkvRun(append(args, flags...)...); code != exitOK || stdout != "" || errs != "" {
				t.Fatalf("%q: exit %d, stdout %q, stderr %q", flags, code, stdout, errs)
			}
			if got := readArray(t, out); !slices.Equal(got.data, turn(want).data) {
				t.Errorf("run %q: the output differs", flags)
			}
			if c.values {
				continue
			}
			checkHeads(t, append(viewInputs(t, dir, turn(q), turn(k))[1:], flags...), probs, heads, seqQ*seqKV)
		}
	}

	// Scales of rows go with the heads.
	probs := make([]float32, batch*heads*seqQ*seqKV)
	err := qkv.Run(&qkv.Call{
		Q: view(q, "bhsd"), V: view(v, "bhsd"), Out: view(waves(q.dims...), "bhsd"), Precision: qkv.PrecisionInt8,
		K: qkv.BHSD(int8Keys, batch, kvHeads, seqKV, dim), KScale: qkv.BHSD(int8Scale, batch, kvHeads, seqKV, 1),
		Scores: qkv.Pairs(probs, batch, heads, seqQ, seqKV), ScoresAt: qkv.StageProbs,
	})
	if err != nil {
		t.Fatal(err)
	}
	checkHeads(t, append(viewInputs(t, t.TempDir(), q, k)[1:], "-class", "int8", "-kv", "int8"), probs, heads, seqQ*seqKV)

	dir := t.TempDir()
	_, stdout, _ := qkvRun(append(inputs(t, dir, q, k, v), "-o", filepath.Join(dir, "out.npy"), "-explain", "-class", "int8", "-kv", "q4_0")...)
	if !strings.Contains(stdout, "class Int8: what was asked for; keys are multiplied as integers") {
		t.Errorf("-explain says %q", stdout)
	}
	odd := ramp(2, 5, 4)
	code, _, errs := qkvRun(append(inputs(t, dir, odd, odd, odd), "-o", filepath.Join(dir, "out.npy"), "-kv", "q8_0")...)
	if want := "k has head dim 4, a multiple of 32 is needed in type q8_0"; code != exitFailed || !strings.Contains(errs, want) {
		t.Errorf("exit %d, stderr %q, want %q", code, errs, want)
	}
}

// checkHeads compares what qkv view draws of each head with probabilities, so many of a head.
func checkHeads(t *testing.T, args []string, want []float32, heads, pairs int) {
	t.Helper()
	for b := range len(want) / pairs / heads {
		var v viewFlags
		if err := v.parse(args, nil); err != nil {
			t.Fatal(err)
		}
		v.batch = b
		p, err := v.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for h := range heads {
			got, err := p.of(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			if want := want[(b*heads+h)*pairs:][:pairs]; !slices.Equal(got, want) {
				t.Fatalf("view %q: head %d of %d:\n%v, want\n%v", args, h, b, got, want)
			}
		}
	}
}

// TestUsageNames: usage texts name all types and classes.
func TestUsageNames(t *testing.T) {
	for _, name := range []string{"run", "view", "bench"} {
		_, usage, _ := qkvRun(name, "-h")
		usage = strings.Join(strings.Fields(usage), " ")
		wants := []string{bench.ElemNames("or", nil), bench.ClassNames()}
		if name != "bench" {
			wants = append(wants, "-kv "+bench.ElemNames("and", kernel.Elem.Integers)+" have")
		}
		for _, want := range wants {
			if !strings.Contains(usage, want) {
				t.Errorf("qkv %s -h has no %q:\n%s", name, want, usage)
			}
		}
	}
}
