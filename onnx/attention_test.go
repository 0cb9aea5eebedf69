package onnx_test

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/shareddata"
	"github.com/qkv-go/qkv/onnx"
)

// loadCases returns every backend node test, which have a folder each.
func loadCases(t testing.TB) []*onnx.Case {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(shareddata.Path(t, "onnx"), "test_*"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []*onnx.Case
	for _, dir := range dirs {
		c, err := onnx.LoadCase(dir)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	return cases
}

// everyKernel calls f with each kernel set that this machine can run.
func everyKernel(t *testing.T, f func(t *testing.T, a *qkv.Engine)) {
	t.Helper()
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 || k.Set.Base != "" {
			t.Logf("kernel set %s needs %v", k.Set.Name, k.Missing)
			continue
		}
		a, err := qkv.New(qkv.Config{Kernel: k.Set.Name})
		if err != nil {
			t.Fatal(err)
		}
		t.Run("kernel="+k.Set.Name, func(t *testing.T) { f(t, a) })
	}
}

func TestCases(t *testing.T) {
	cases := loadCases(t)
	if len(cases) == 0 {
		t.Fatal("no case")
	}
	everyKernel(t, func(t *testing.T, a *qkv.Engine) {
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) {
				largest, err := c.Check(a)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("largest difference %.2g", largest)
				if c.Model.Node.Op == "Attention" {
					checkRounding(t, a, c)
				}
			})
		}
	})
}

// checkRounding holds Y of FLOAT to rounding.
//
// An output is a mean of values by weights that sum to 1, so relative errors of at most
// e in the weights and in their sum move it by at most 2e times the largest value.
// Here e is about a dozen roundings, of scores that are mostly below 4 and of an
// exponential, made twice: by us and in the file. If all were of one sign that would
// be some 160 units of roundoff; they are not, and 16 units (1e-6) is several times
// what is seen.
func checkRounding(t *testing.T, a *qkv.Engine, c *onnx.Case) {
	t.Helper()
	const rounding = 16 * 0x1p-24
	for i := range c.Sets {
		in, out := c.Sets[i].Inputs, c.Sets[i].Outputs
		if out[0].Type != onnx.Float {
			return
		}
		largest := largestOf(t, in[2])
		if len(in) > 5 && in[5] != nil {
			largest = max(largest, largestOf(t, in[5]))
		}
		got, err := onnx.Run(a, c.Model, in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := onnx.Compare(got[0], out[0], onnx.Tolerance{Abs: rounding * largest}); err != nil {
			t.Error(err)
		}
	}
}

func largestOf(t *testing.T, x *onnx.Tensor) float64 {
	t.Helper()
	v, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	largest := 0.0
	for _, x := range v {
		largest = max(largest, math.Abs(float64(x)))
	}
	return largest
}

// The attributes and inputs of a node of TestSpecification.
type spec struct {
	name           string
	opset          int64 // 25 if 0
	ints           map[string]int64
	floats         map[string]float32
	q, k, v        []int
	mask           []int // none if nil
	boolMask       bool
	past           int // keys; -1: none, but present outputs
	nonpad         []int64
	scores         bool // the output qk_matmul_output is wanted
	maskedRow      bool // the mask of the first query masks everything
	poison         bool // keys and values beyond nonpad are NaN
	otherTypeValue bool // V is FLOAT where Q is not, and DOUBLE where it is
}

var specs = func() []spec {
	q, k, v := []int{2, 6, 5, 8}, []int{2, 2, 7, 8}, []int{2, 2, 7, 10}
	list := []spec{
		{name: "plain", q: q, k: k, v: v},
		{name: "scale", q: q, k: k, v: v, floats: map[string]float32{"scale": 0.7}},
		{name: "scale 0", q: q, k: k, v: v, floats: map[string]float32{"scale": 0}},
		{name: "heads given", q: q, k: k, v: v, ints: map[string]int64{"q_num_heads": 6, "kv_num_heads": 2}},
		{name: "softmax in float64", q: q, k: k, v: v, ints: map[string]int64{"softmax_precision": 11, "is_causal": 1}},
		{name: "softmax in float16", q: q, k: k, v: v, ints: map[string]int64{"softmax_precision": 10}},
		{name: "newest opset", opset: 28, q: q, k: k, v: v},
		{name: "values of another type", q: q, k: k, v: v, otherTypeValue: true, past: 2, scores: true},

		{name: "3-D grouped", ints: map[string]int64{"q_num_heads": 6, "kv_num_heads": 2, "is_causal": 1},
			q: []int{2, 5, 48}, k: []int{2, 7, 16}, v: []int{2, 7, 20}, scores: true},
		{name: "3-D past", ints: map[string]int64{"q_num_heads": 6, "kv_num_heads": 2, "is_causal": 1},
			q: []int{2, 5, 48}, k: []int{2, 7, 16}, v: []int{2, 7, 20}, past: 4, scores: true},
		{name: "3-D present only", ints: map[string]int64{"q_num_heads": 6, "kv_num_heads": 2},
			q: []int{2, 5, 48}, k: []int{2, 7, 16}, v: []int{2, 7, 20}, past: -1},
		{name: "3-D static cache", ints: map[string]int64{"q_num_heads": 6, "kv_num_heads": 2, "is_causal": 1},
			q: []int{2, 3, 48}, k: []int{2, 7, 16}, v: []int{2, 7, 20}, nonpad: []int64{7, 4}},

		{name: "static cache", q: q, k: k, v: v, nonpad: []int64{3, 7}, poison: true},
		{name: "static cache causal", q: q, k: k, v: v, nonpad: []int64{6, 7}, poison: true, ints: map[string]int64{"is_causal": 1}},
		{name: "negative offset", q: q, k: k, v: v, nonpad: []int64{2, 0}, poison: true, ints: map[string]int64{"is_causal": 1}},
		{name: "negative offset probabilities", q: q, k: k, v: v, nonpad: []int64{2, 0}, scores: true,
			ints: map[string]int64{"is_causal": 1, "qk_matmul_output_mode": 3}},
		{name: "short mask of a static cache", q: q, k: k, v: v, nonpad: []int64{3, 4}, mask: []int{2, 6, 5, 4}, poison: true},
		{name: "mask shorter than a static cache", q: q, k: k, v: v, nonpad: []int64{3, 7}, mask: []int{5, 4}, ints: map[string]int64{"is_causal": 1}},

		{name: "opset 23 broadcasts a key", opset: 23, q: q, k: k, v: v, mask: []int{5, 1}},
		{name: "opset 24 pads a key", opset: 24, q: q, k: k, v: v, mask: []int{5, 1}},
		{name: "mask of no key", q: q, k: k, v: v, mask: []int{5, 0}},

		{name: "left window", q: q, k: k, v: v, ints: map[string]int64{"left_window_size": 2}},
		{name: "right window", q: q, k: k, v: v, ints: map[string]int64{"right_window_size": 1}},
		{name: "window of none", q: q, k: k, v: v, ints: map[string]int64{"left_window_size": -1, "right_window_size": -1}},
		{name: "window of itself", q: q, k: k, v: v, ints: map[string]int64{"left_window_size": 0, "right_window_size": 0}, past: 1, scores: true},
		{name: "huge window", q: q, k: k, v: v, ints: map[string]int64{"left_window_size": math.MaxInt64, "right_window_size": 1 << 40}},
		{name: "causal window", q: q, k: k, v: v, past: 4, ints: map[string]int64{"left_window_size": 2, "right_window_size": 3, "is_causal": 1}},
		{name: "window in a static cache", q: q, k: k, v: v, nonpad: []int64{2, 6}, poison: true,
			ints: map[string]int64{"left_window_size": 1, "right_window_size": 1}},
		{name: "window beside a mask", q: q, k: k, v: v, mask: []int{6, 1, 7}, boolMask: true, scores: true,
			ints: map[string]int64{"left_window_size": 1, "right_window_size": 2, "qk_matmul_output_mode": 2}},

		{name: "one query", q: []int{3, 4, 1, 16}, k: []int{3, 1, 9, 16}, v: []int{3, 1, 9, 16}, past: 200, ints: map[string]int64{"is_causal": 1}},
		{name: "several blocks of keys", q: []int{1, 2, 70, 16}, k: []int{1, 1, 300, 16}, v: []int{1, 1, 300, 16}, past: 90, mask: []int{70, 390},
			scores: true, ints: map[string]int64{"is_causal": 1, "qk_matmul_output_mode": 3}},

		{name: "no queries", q: []int{2, 6, 0, 8}, k: k, v: v, past: 2, scores: true, mask: []int{0, 9}},
		{name: "no keys", q: q, k: []int{2, 2, 0, 8}, v: []int{2, 2, 0, 10}, scores: true, ints: map[string]int64{"qk_matmul_output_mode": 3}},
		{name: "no keys but the past", q: q, k: []int{2, 2, 0, 8}, v: []int{2, 2, 0, 10}, past: 3, ints: map[string]int64{"is_causal": 1}},
		{name: "no keys and a mask", q: q, k: []int{2, 2, 0, 8}, v: []int{2, 2, 0, 10}, mask: []int{5, 1}},
		{name: "no batch", q: []int{0, 6, 5, 8}, k: []int{0, 2, 7, 8}, v: []int{0, 2, 7, 10}, past: 2, scores: true,
			ints: map[string]int64{"is_causal": 1, "qk_matmul_output_mode": 3}},
		{name: "no heads", q: []int{2, 0, 5, 8}, k: []int{2, 0, 7, 8}, v: []int{2, 0, 7, 10}, past: -1},
		{name: "nothing", q: []int{0, 0, 0, 8}, k: []int{0, 0, 0, 8}, v: []int{0, 0, 0, 8}, scores: true, ints: map[string]int64{"qk_matmul_output_mode": 2}},
	}
	for _, dims := range [][]int{{11}, {5, 11}, {6, 5, 11}, {6, 1, 11}, {2, 6, 5, 11}, {2, 1, 5, 11}, {1, 6, 1, 11}, {1, 1, 1, 11}, {2, 6, 5, 8}, {3}} {
		for _, boolMask := range []bool{false, true} {
			for mode := range int64(4) {
				for _, causal := range []int64{0, 1} {
					list = append(list, spec{
						name: fmt.Sprintf("mask %v bool=%v mode=%d causal=%d", dims, boolMask, mode, causal),
						q:    q, k: k, v: v, past: 4, mask: dims, boolMask: boolMask, scores: true, maskedRow: mode%2 == 1,
						ints:   map[string]int64{"qk_matmul_output_mode": mode, "is_causal": causal},
						floats: map[string]float32{"softcap": 1.5},
					})
				}
			}
			list = append(list, spec{
				name: fmt.Sprintf("mask %v bool=%v", dims, boolMask),
				q:    q, k: k, v: v, past: 4, mask: dims, boolMask: boolMask, maskedRow: true,
			})
		}
	}
	return list
}()

func TestSpecification(t *testing.T) {
	everyKernel(t, func(t *testing.T, a *qkv.Engine) {
		for _, typ := range []onnx.ElementType{onnx.Float, onnx.Float16, onnx.BFloat16, onnx.Double} {
			if typ == onnx.Double && a.Kernel().Name != "generic" {
				continue // no kernel takes part
			}
			for _, s := range specs {
				t.Run(fmt.Sprintf("%v/%s", typ, s.name), func(t *testing.T) {
					m, in := s.build(typ)
					got, err := onnx.Run(a, m, in)
					if err != nil {
						t.Fatal(err)
					}
					for i, want := range s.evaluate(typ, in) {
						if want == nil {
							if i < len(got) && got[i] != nil {
								t.Errorf("output %d is there", i)
							}
							continue
						}
						if got[i].Name != m.Node.Outputs[i] {
							t.Errorf("output %d is named %q", i, got[i].Name)
						}
						if err := near(got[i], want, allowed(got[i].Type)); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
	})
}

// allowed is half a unit in the last place of an output rounded once, and about 64 of the
// type that it is computed in: scores are up to 10 and outputs up to 2.
func allowed(typ onnx.ElementType) onnx.Tolerance {
	const float32s = 64 * 0x1p-24
	switch typ {
	case onnx.Double:
		return onnx.Tolerance{Rel: 64 * 0x1p-53, Abs: 64 * 0x1p-53}
	case onnx.Float16:
		return onnx.Tolerance{Rel: 0x1p-11 + float32s, Abs: float32s}
	case onnx.BFloat16:
		return onnx.Tolerance{Rel: 0x1p-8 + float32s, Abs: float32s}
	}
	return onnx.Tolerance{Rel: float32s, Abs: float32s}
}

// A NaN that a query attends shows in all that it attends, in float32 and in float64, and
// what is masked stays so.
func TestAttentionNaN(t *testing.T) {
	s := spec{q: []int{1, 1, 2, 4}, k: []int{1, 1, 3, 4}, v: []int{1, 1, 3, 4}, scores: true, ints: map[string]int64{"is_causal": 1, "qk_matmul_output_mode": 3}}
	nan := math.NaN()
	everyKernel(t, func(t *testing.T, a *qkv.Engine) {
		for _, typ := range []onnx.ElementType{onnx.Float, onnx.Double} {
			m, in := s.build(typ)
			k := arrayOf(in[1])
			k.data[4], k.data[8] = nan, nan // of the keys 1 and 2
			in[1] = k.tensor("")
			got, err := onnx.Run(a, m, in)
			if err != nil {
				t.Fatal(err)
			}
			if err := near(got[3], &array{typ, []int{1, 1, 2, 3}, []float64{1, 0, 0, nan, nan, 0}}, onnx.Tolerance{}); err != nil {
				t.Errorf("%v: %v", typ, err)
			}
			y := slices.Concat(arrayOf(in[2]).data[:4], []float64{nan, nan, nan, nan})
			if err := near(got[0], &array{typ, []int{1, 1, 2, 4}, y}, onnx.Tolerance{}); err != nil {
				t.Errorf("%v: %v", typ, err)
			}
		}
	})
}
