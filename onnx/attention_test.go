package onnx_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/onnx"
)

// casesDir has the backend node tests, one folder each.
const casesDir = "../../shared/data/onnx"

// plainCases are the cases that qkv computes as they are: float32, with Q, K and V and
// nothing else.
var plainCases = []string{
	"test_attention_3d",
	"test_attention_3d_causal",
	"test_attention_3d_diff_heads_sizes",
	"test_attention_3d_diff_heads_sizes_causal",
	"test_attention_3d_gqa_scaled",
	"test_attention_3d_scaled",
	"test_attention_3d_transpose_verification",
	"test_attention_4d_causal",
	"test_attention_4d_diff_heads_sizes",
	"test_attention_4d_diff_heads_sizes_causal",
	"test_attention_4d_gqa_causal",
	"test_attention_4d_gqa_scaled",
	"test_attention_4d_scaled",
}

// loadCases returns every case, by name.
func loadCases(t testing.TB) map[string]*onnx.Case {
	t.Helper()
	if _, err := os.Stat(casesDir); err != nil {
		t.Skipf("no ONNX backend node tests here: %v", err)
	}
	dirs, err := filepath.Glob(filepath.Join(casesDir, "test_*"))
	if err != nil {
		t.Fatal(err)
	}
	cases := make(map[string]*onnx.Case)
	for _, dir := range dirs {
		c, err := onnx.LoadCase(dir)
		if err != nil {
			t.Fatal(err)
		}
		cases[c.Name] = c
	}
	return cases
}

// plain reports whether a case is one of plainCases, judged by its model.
func plain(c *onnx.Case) bool {
	n := &c.Model.Node
	if n.Op != "Attention" || n.Domain != "" {
		return false
	}
	for i, name := range n.Inputs {
		if (i < 3) != (name != "") {
			return false
		}
	}
	for i, name := range n.Outputs {
		if (i == 0) != (name != "") {
			return false
		}
	}
	for _, a := range n.Attributes {
		switch a.Name {
		case "is_causal", "kv_num_heads", "q_num_heads", "scale":
		default:
			return false
		}
	}
	return c.Sets[0].Inputs[0].Type == onnx.Float
}

// Every case that qkv can compute is computed, and none leaves the list unseen.
func TestPlainCases(t *testing.T) {
	var got []string
	for name, c := range loadCases(t) {
		if plain(c) {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, plainCases) {
		t.Errorf("plain cases found:\n%q\nwant:\n%q", got, plainCases)
	}
}

func TestAttention(t *testing.T) {
	cases := loadCases(t)
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 {
			t.Logf("kernel set %s needs %v", k.Set.Name, k.Missing)
			continue
		}
		a, err := qkv.New(qkv.Config{Kernel: k.Set.Name})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range plainCases {
			t.Run(fmt.Sprintf("kernel=%s/%s", k.Set.Name, name), func(t *testing.T) {
				c := cases[name]
				if c == nil {
					t.Fatal("no such case")
				}
				for i := range c.Sets {
					runPlain(t, a, &c.Model.Node, &c.Sets[i])
				}
			})
		}
	}
}

func runPlain(t *testing.T, a *qkv.Attention, n *onnx.Node, set *onnx.DataSet) {
	t.Helper()
	q, k, v := set.Inputs[0], set.Inputs[1], set.Inputs[2]
	y := set.Outputs[0]
	heads, kvHeads := intAttr(t, n, "q_num_heads"), intAttr(t, n, "kv_num_heads")
	want := floats(t, y)
	got := make([]float32, len(want))
	scale, err := n.Float("scale", 0)
	if err != nil {
		t.Fatal(err)
	}
	call := &qkv.Call{
		Q:     view(t, q, floats(t, q), heads),
		K:     view(t, k, floats(t, k), kvHeads),
		V:     view(t, v, floats(t, v), kvHeads),
		Out:   view(t, y, got, heads),
		Scale: scale,
	}
	if intAttr(t, n, "is_causal") != 0 {
		// Without a cache no key precedes the first query: query i attends the keys
		// j <= i, however many more keys there are.
		call.Mask.Causal = true
	}
	if err := a.Run(call); err != nil {
		t.Fatal(err)
	}
	compare(t, got, want, floats(t, v))
}

// compare holds got to what the ONNX runner asks, and to rounding.
//
// An output is a mean of values by weights that sum to 1, so relative errors of at most
// e in the weights and in their sum move it by at most 2e times the largest value.
// Here e is about a dozen roundings, of scores that are mostly below 4 and of an
// exponential, made twice: by us and in the file. If all were of one sign that would
// be some 160 units of roundoff; they are not, and 16 units (1e-6) is several times
// what is seen.
func compare(t *testing.T, got, want, values []float32) {
	t.Helper()
	const rtol, atol, rounding = 1e-3, 1e-7, 16 * 0x1p-24
	largest := 0.0
	for _, x := range values {
		largest = max(largest, math.Abs(float64(x)))
	}
	worst := 0.0
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		diff := math.Abs(g - w)
		if !(diff <= atol+rtol*math.Abs(w)) {
			t.Fatalf("y[%d] = %g, want %g, within rtol %g, atol %g", i, g, w, rtol, atol)
		}
		if !(diff <= rounding*largest) {
			t.Fatalf("y[%d] = %g, want %g ± %g", i, g, w, rounding*largest)
		}
		worst = max(worst, diff/largest)
	}
	t.Logf("largest difference %.2g of the largest value", worst)
}

// view is a tensor of the operator, [batch, heads, seq, dim] or [batch, seq, heads*dim].
func view(t *testing.T, x *onnx.Tensor, data []float32, heads int) qkv.View {
	t.Helper()
	switch d := x.Dims; len(d) {
	case 4:
		return qkv.BHSD(data, d[0], d[1], d[2], d[3])
	case 3:
		if heads > 0 && d[2]%heads == 0 {
			return qkv.BSHD(data, d[0], d[1], heads, d[2]/heads)
		}
	}
	t.Fatalf("tensor %q has shape %v, heads %d", x.Name, x.Dims, heads)
	panic("unreachable")
}

func floats(t *testing.T, x *onnx.Tensor) []float32 {
	t.Helper()
	v, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func intAttr(t *testing.T, n *onnx.Node, name string) int {
	t.Helper()
	v, err := n.Int(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return int(v)
}
