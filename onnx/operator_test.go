package onnx_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/onnx"
)

func TestRunErrors(t *testing.T) {
	a, err := qkv.New(qkv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	float := func(dims ...int) *onnx.Tensor { return newArray(onnx.Float, dims...).tensor("") }
	of := func(typ onnx.ElementType, dims ...int) *onnx.Tensor { return newArray(typ, dims...).tensor("") }
	ints := func(v ...float64) *onnx.Tensor {
		return (&array{onnx.Int64, []int{len(v)}, v}).tensor("")
	}
	q, k := float(2, 4, 3, 8), float(2, 2, 5, 8)
	q3, k3 := float(2, 3, 32), float(2, 5, 16)
	type attrs = map[string]int64
	type floats = map[string]float32
	for _, c := range []struct {
		name   string
		opset  int64
		in     []*onnx.Tensor
		out    string // besides Y: K, V, S
		ints   attrs
		floats floats
		want   string
	}{
		{name: "old opset", opset: 22, in: []*onnx.Tensor{q, k, k}, want: "opset 22 does not define it, 23 is the first"},
		{name: "no opset", opset: 0, in: []*onnx.Tensor{q, k, k}, want: "opset 0"},
		{name: "future opset", opset: 1000, in: []*onnx.Tensor{q, k, k}, want: "opset 1000 is not known"},
		{name: "no V", opset: 25, in: []*onnx.Tensor{q, k}, want: "input V is missing"},
		{name: "no K", opset: 25, in: []*onnx.Tensor{q, nil, k}, want: "input K is missing"},
		{name: "too many inputs", opset: 25, in: []*onnx.Tensor{q, k, k, nil, nil, nil, nil, k}, want: "8 inputs, at most 7"},
		{name: "length input too early", opset: 23, in: []*onnx.Tensor{q, k, k, nil, nil, nil, ints(1, 1)}, want: "input nonpad_kv_seqlen needs opset 24, the model has 23"},
		{name: "window too early", opset: 24, in: []*onnx.Tensor{q, k, k}, ints: attrs{"left_window_size": 1}, want: `attribute "left_window_size" needs opset 25, the model has 24`},
		{name: "unknown attribute", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"sinks": 1}, want: `attribute "sinks" is not known`},
		{name: "attribute of another type", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"scale": 1}, want: `attribute "scale" of Attention has type INT, want FLOAT`},
		{name: "causal", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"is_causal": 2}, want: "is_causal is 2, want 0 to 1"},
		{name: "mode", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"qk_matmul_output_mode": 4}, want: "qk_matmul_output_mode is 4"},
		{name: "window", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"right_window_size": -2}, want: "right_window_size is -2, at least -1 is needed"},
		{name: "precision", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"softmax_precision": 7}, want: "softmax_precision is 7"},
		{name: "large precision", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"softmax_precision": 1<<32 + 1}, want: "softmax_precision is 4294967297"},
		{name: "negative scale", opset: 25, in: []*onnx.Tensor{q, k, k}, floats: floats{"scale": -1}, want: "scale is -1"},
		{name: "infinite softcap", opset: 25, in: []*onnx.Tensor{q, k, k}, floats: floats{"softcap": float32(math.Inf(1))}, want: "softcap is +Inf"},
		{name: "NaN", opset: 25, in: []*onnx.Tensor{q, k, k}, floats: floats{"scale": float32(math.NaN())}, want: "scale is NaN"},

		{name: "rank", opset: 25, in: []*onnx.Tensor{float(4, 8), k, k}, want: "q has 2 dims, 3 or 4 are needed"},
		{name: "ranks", opset: 25, in: []*onnx.Tensor{q, k3, k}, ints: attrs{"kv_num_heads": 2}, want: "q, k and v have 4, 3 and 4 dims"},
		{name: "no heads attribute", opset: 25, in: []*onnx.Tensor{q3, k3, k3}, ints: attrs{"q_num_heads": 4}, want: "k has 3 dims, which need the attribute kv_num_heads"},
		{name: "heads do not divide", opset: 25, in: []*onnx.Tensor{q3, k3, k3}, ints: attrs{"q_num_heads": 3, "kv_num_heads": 1}, want: "q has hidden size 32, not a multiple of q_num_heads, 3"},
		{name: "other heads", opset: 25, in: []*onnx.Tensor{q, k, k}, ints: attrs{"q_num_heads": 2}, want: "q has 4 heads, q_num_heads is 2"},
		{name: "zero heads", opset: 25, in: []*onnx.Tensor{q3, k3, k3}, ints: attrs{"q_num_heads": -1}, want: "q_num_heads is -1, at least 1 is needed"},
		{name: "groups", opset: 25, in: []*onnx.Tensor{q, float(2, 3, 5, 8), float(2, 3, 5, 8)}, want: "q has 4 heads, not a multiple of k's 3"},
		{name: "batch", opset: 25, in: []*onnx.Tensor{q, float(1, 2, 5, 8), k}, want: "k has batch size 1, q has 2"},
		{name: "head size", opset: 25, in: []*onnx.Tensor{q, float(2, 2, 5, 7), k}, want: "k has head size 7, q has 8"},
		{name: "no head size", opset: 25, in: []*onnx.Tensor{q, k, float(2, 2, 5, 0)}, want: "v has head size 0"},
		{name: "lengths", opset: 25, in: []*onnx.Tensor{q, k, float(2, 2, 6, 8)}, want: "v has sequence length 6, k has 5"},
		{name: "huge", opset: 25, in: []*onnx.Tensor{q, k, float(2, 0, 1<<31-1, 8)}, want: "V has shape [2 0 2147483647 8] and no elements"},
		{name: "type", opset: 25, in: []*onnx.Tensor{of(onnx.Int64, 2, 4, 3, 8), k, k}, want: "q has elements of type INT64"},
		{name: "types", opset: 25, in: []*onnx.Tensor{of(onnx.Float16, 2, 4, 3, 8), k, k}, want: "k has elements of type FLOAT, q has FLOAT16"},
		{name: "data", opset: 25, in: []*onnx.Tensor{{Type: onnx.Float, Dims: []int{1, 1, 1, 1}}, k, k}, want: "Q has 0 bytes of data"},
		{name: "negative dim", opset: 25, in: []*onnx.Tensor{{Type: onnx.Float, Dims: []int{1, -1, 1, 0}}, k, k}, want: "Q has dim 1 of -1"},

		{name: "mask type", opset: 25, in: []*onnx.Tensor{q, k, k, of(onnx.Int64, 3, 5)}, want: "attn_mask has elements of type INT64"},
		{name: "mask shape", opset: 25, in: []*onnx.Tensor{q, k, k, float(2, 5)}, want: "attn_mask has shape [2 5], which does not broadcast to [2 4 3 5]"},
		{name: "mask heads", opset: 25, in: []*onnx.Tensor{q, k, k, float(2, 3, 5)}, want: "does not broadcast"},
		{name: "mask too long", opset: 25, in: []*onnx.Tensor{q, k, k, float(3, 6)}, want: "does not broadcast"},
		{name: "mask rank", opset: 25, in: []*onnx.Tensor{q, k, k, float()}, want: "attn_mask has 0 dims"},
		{name: "mask rank 5", opset: 25, in: []*onnx.Tensor{q, k, k, float(1, 1, 1, 3, 5)}, want: "attn_mask has 5 dims"},
		{name: "no boolean", opset: 25, in: []*onnx.Tensor{q, k, k, {Type: onnx.Bool, Dims: []int{5}, Data: []byte{0, 1, 2, 0, 0}}}, want: "attn_mask: element 2 is 2"},

		{name: "past alone", opset: 25, in: []*onnx.Tensor{q, k, k, nil, k}, want: "past_key and past_value go together"},
		{name: "past lengths", opset: 25, in: []*onnx.Tensor{q, k, k, nil, k, float(2, 2, 4, 8)}, want: "past_value has sequence length 4, past_key has 5"},
		{name: "past shape", opset: 25, in: []*onnx.Tensor{q, k, k, nil, float(2, 2, 8), k}, want: "past_key has shape [2 2 8], want [2 2 past 8]"},
		{name: "past type", opset: 25, in: []*onnx.Tensor{q, k, k, nil, of(onnx.Float16, 2, 2, 1, 8), k}, want: "past_key has elements of type FLOAT16, want FLOAT"},
		{name: "lengths beside past", opset: 25, in: []*onnx.Tensor{q, k, k, nil, k, k, ints(1, 1)}, want: "goes without past and present"},
		{name: "lengths beside present", opset: 25, in: []*onnx.Tensor{q, k, k, nil, nil, nil, ints(1, 1)}, out: "K", want: "goes without past and present"},
		{name: "number of lengths", opset: 25, in: []*onnx.Tensor{q, k, k, nil, nil, nil, ints(1)}, want: "nonpad_kv_seqlen has shape [1] of INT64, want [2]"},
		{name: "length", opset: 25, in: []*onnx.Tensor{q, k, k, nil, nil, nil, ints(1, 6)}, want: "nonpad_kv_seqlen[1] is 6, want 0 to 5"},
		{name: "negative length", opset: 25, in: []*onnx.Tensor{q, k, k, nil, nil, nil, ints(-1, 1)}, want: "nonpad_kv_seqlen[0] is -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := make([]string, len(c.in))
			for i, x := range c.in {
				if x != nil {
					names[i] = "X"
				}
			}
			m := model("Attention", c.opset, c.ints, c.floats, names, []string{"Y", c.out})
			wantError(t, a, m, c.in, "onnx: Attention: ", c.want)
		})
	}

	cos, ids := float(9, 4), newArray(onnx.Int64, 2, 3).tensor("")
	for _, c := range []struct {
		name string
		in   []*onnx.Tensor
		ints attrs
		want string
	}{
		{"no caches", []*onnx.Tensor{q}, nil, "input cos_cache is missing"},
		{"rank of caches", []*onnx.Tensor{q, cos, cos}, nil, "cos_cache has shape [9 4], want [2 3 4] without position_ids"},
		{"rank of caches with ids", []*onnx.Tensor{q, cos, float(2, 3, 4), ids}, nil, "sin_cache has 3 dims, 2 are needed with position_ids"},
		{"columns", []*onnx.Tensor{q, float(9, 3), cos, ids}, nil, "cos_cache has 3 columns, at least 4 are needed"},
		{"caches differ", []*onnx.Tensor{q, cos, float(8, 4), ids}, nil, "sin_cache has shape [8 4], cos_cache has [9 4]"},
		{"cache type", []*onnx.Tensor{q, cos, of(onnx.Double, 9, 4), ids}, nil, "sin_cache has elements of type DOUBLE, x has FLOAT"},
		{"odd", []*onnx.Tensor{q, cos, cos, ids}, attrs{"rotary_embedding_dim": 3}, "rotary_embedding_dim is 3, an even number is needed"},
		{"more than a head", []*onnx.Tensor{q, cos, cos, ids}, attrs{"rotary_embedding_dim": 10}, "rotary_embedding_dim is 10, want 1 to 8"},
		{"heads", []*onnx.Tensor{q3, cos, cos, ids}, nil, "x has 3 dims, which need the attribute num_heads"},
		{"ids", []*onnx.Tensor{q, cos, cos, newArray(onnx.Int64, 2, 4).tensor("")}, nil, "position_ids has shape [2 4] of INT64, want [2 3]"},
		{"position", []*onnx.Tensor{q, float(0, 4), float(0, 4), ids}, nil, "position_ids has 0, the caches have 0 positions"},
		{"unknown attribute", []*onnx.Tensor{q, cos, cos, ids}, attrs{"scale": 1}, `attribute "scale" is not known`},
	} {
		t.Run("rotary/"+c.name, func(t *testing.T) {
			names := []string{"X", "C", "S", "P"}[:len(c.in)]
			wantError(t, a, model("RotaryEmbedding", 23, c.ints, nil, names, []string{"Y"}), c.in, "onnx: RotaryEmbedding: ", c.want)
		})
	}

	for _, c := range []struct {
		name string
		m    *onnx.Model
		want string
	}{
		{"operator", model("Softmax", 23, nil, nil, []string{"X"}, []string{"Y"}), `operator "Softmax" is not supported`},
		{"domain", &onnx.Model{Node: onnx.Node{Op: "Attention", Domain: "com.microsoft"}}, `operator "Attention" of domain "com.microsoft" is not supported`},
		{"no outputs", model("Attention", 23, nil, nil, []string{"Q", "K", "V"}, nil), "output Y is missing"},
		{"no tensors", model("Attention", 23, nil, nil, []string{"Q", "K", "V"}, []string{"Y"}), "0 tensors for the 3 inputs"},
		{"attribute twice", &onnx.Model{Opsets: []onnx.Opset{{Version: 23}}, Node: onnx.Node{Op: "Attention", Attributes: []onnx.Attribute{
			{Name: "scale", Type: onnx.AttrFloat, Float: 1}, {Name: "scale", Type: onnx.AttrFloat, Float: 2}}}}, `attribute "scale" is given twice`},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, a, c.m, nil, "onnx: ", c.want) })
	}
	m := model("Attention", 23, nil, nil, []string{"Q", "K", "V"}, []string{"Y"})
	wantError(t, a, m, []*onnx.Tensor{q, nil, k}, "onnx: Attention: ", "the tensor of K is nil, or should be")
}

func wantError(t *testing.T, a *qkv.Engine, m *onnx.Model, in []*onnx.Tensor, prefix, want string) {
	t.Helper()
	if out, err := onnx.Run(a, m, in); err == nil || out != nil {
		t.Errorf("got %v, error %v", out, err)
	} else if !strings.HasPrefix(err.Error(), prefix) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want %q in it", err, want)
	}
}

// Data need not lie where floats do in memory, and inputs are not changed.
func TestRunUnaligned(t *testing.T) {
	a, err := qkv.New(qkv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []onnx.ElementType{onnx.Float, onnx.Float16, onnx.Double} {
		s := spec{q: []int{1, 2, 3, 4}, k: []int{1, 2, 5, 4}, v: []int{1, 2, 5, 4}, mask: []int{3, 5}}
		m, in := s.build(typ)
		want, err := onnx.Run(a, m, in)
		if err != nil {
			t.Fatal(err)
		}
		var before []string
		for _, x := range in {
			x.Data = append(make([]byte, 1, 1+len(x.Data)), x.Data...)[1:]
			before = append(before, string(x.Data))
		}
		got, err := onnx.Run(a, m, in)
		if err != nil {
			t.Fatal(err)
		}
		if string(got[0].Data) != string(want[0].Data) {
			t.Errorf("%v: the result is another", typ)
		}
		for i, x := range in {
			if string(x.Data) != before[i] {
				t.Errorf("%v: input %d is changed", typ, i)
			}
		}
	}
}

// FuzzRun looks for panics on nodes and tensors of bounded size, and for outputs that
// are no tensors.
func FuzzRun(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	a, err := qkv.New(qkv.Config{Workers: 1})
	if err != nil {
		f.Fatal(err)
	}
	types := []onnx.ElementType{onnx.Float, onnx.Float16, onnx.BFloat16, onnx.Double, onnx.Bool, onnx.Int64, onnx.Int4, onnx.Undefined}
	attributes := map[string][]string{
		"Attention":       {"is_causal", "left_window_size", "qk_matmul_output_mode", "right_window_size", "scale", "softcap", "softmax_precision", "none"},
		"RotaryEmbedding": {"interleaved", "rotary_embedding_dim"},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		next := func() int {
			if len(b) == 0 {
				return 0
			}
			v := b[0]
			b = b[1:]
			return int(v)
		}
		op := []string{"Attention", "RotaryEmbedding"}[next()%2]
		m := model(op, []int64{25, 23, 24, 28, 25, 24, 26, 22}[next()%8], nil, nil, nil, nil)
		for n := next() % 3; n > 0; n-- {
			name := attributes[op][next()%len(attributes[op])]
			x := onnx.Attribute{Name: name, Type: onnx.AttrInt, Int: int64(next()%6) - 1}
			if name == "scale" || name == "softcap" {
				x.Type, x.Float = onnx.AttrFloat, float32(x.Int)/8
			}
			m.Node.Attributes = append(m.Node.Attributes, x)
		}
		// Shapes that fit each other, but for a change now and then.
		batch, kvHeads, seqQ, seqKV, past := next()%4, next()%4, next()%8, next()%40, next()%4
		heads, dim, dimV := kvHeads*(1+next()%3), 1+next()%16, 1+next()%9
		typ := types[next()%4]
		q, k, v := []int{batch, heads, seqQ, dim}, []int{batch, kvHeads, seqKV, dim}, []int{batch, kvHeads, seqKV, dimV}
		if next()%3 == 1 {
			q, k, v = []int{batch, seqQ, heads * dim}, []int{batch, seqKV, kvHeads * dim}, []int{batch, seqKV, kvHeads * dimV}
			for name, n := range map[string]int{"q_num_heads": heads, "kv_num_heads": kvHeads, "num_heads": heads} {
				if (op == "Attention") == (name != "num_heads") {
					m.Node.Attributes = append(m.Node.Attributes, onnx.Attribute{Name: name, Type: onnx.AttrInt, Int: int64(n)})
				}
			}
		}
		mask := []int{batch, heads, seqQ, past + next()%2*seqKV}[next()%4:]
		fit := [][]int{q, k, v, mask, {batch, kvHeads, past, dim}, {batch, kvHeads, past, dimV}, {batch}}
		fitTypes := []onnx.ElementType{typ, typ, typ, types[next()%6], typ, typ, onnx.Int64}
		if op == "RotaryEmbedding" {
			cache := []int{batch, seqQ, dim / 2}
			if next()%2 == 1 {
				cache = []int{seqKV, dim / 2}
			}
			fit, fitTypes = [][]int{q, cache, cache, {batch, seqQ}}, []onnx.ElementType{typ, typ, typ, onnx.Int64}
		}
		var in []*onnx.Tensor
		for n := []int{3, 4, 6, 7, 3, 4, 2, 8}[next()%8]; n > 0; n-- {
			i := min(len(in), len(fit)-1)
			change := next()
			if i > 2 && change%3 == 1 || change == 1 {
				in, m.Node.Inputs = append(in, nil), append(m.Node.Inputs, "")
				continue
			}
			x := &onnx.Tensor{Type: fitTypes[i], Dims: slices.Clone(fit[i])}
			switch {
			case change == 2:
				x.Type = types[next()%len(types)]
			case change == 3:
				x.Dims = append(x.Dims, next()%3)
			case change < 8 && len(x.Dims) > 0:
				x.Dims[change%len(x.Dims)] = []int{1, 0, 3, 1 << 30}[next()%4]
			}
			size := (x.Len()*x.Type.Bits() + 7) / 8
			if size > 1<<16 {
				return
			}
			x.Data = make([]byte, size)
			for i := range x.Data {
				if x.Type == onnx.Int64 && i%8 > 0 {
					continue
				}
				x.Data[i] = byte(next())
				if x.Type == onnx.Bool {
					x.Data[i] %= 2
				}
			}
			in, m.Node.Inputs = append(in, x), append(m.Node.Inputs, "X")
		}
		for n := []int{1, 4, 3, 1, 4, 1, 0, 5}[next()%8]; n > 0; n-- {
			m.Node.Outputs = append(m.Node.Outputs, []string{"Y", "", "Y", "Y"}[next()%4])
		}
		out, err := onnx.Run(a, m, in)
		if err != nil {
			if out != nil {
				t.Fatal("outputs beside an error")
			}
			return
		}
		if len(out) != len(m.Node.Outputs) {
			t.Fatalf("%d outputs, want %d", len(out), len(m.Node.Outputs))
		}
		for i, x := range out {
			if (x != nil) != (m.Node.Outputs[i] != "") {
				t.Fatalf("output %d is %v, its name %q", i, x, m.Node.Outputs[i])
			}
			if x != nil && x.Len()*x.Type.Bits() != 8*len(x.Data) {
				t.Fatalf("%d bytes of data for shape %v of %v", len(x.Data), x.Dims, x.Type)
			}
		}
	})
}

// TestRunHuge: dims that no data bounds, beside one of 0, neither take memory nor time.
func TestRunHuge(t *testing.T) {
	a, err := qkv.New(qkv.Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []onnx.ElementType{onnx.Float, onnx.Double} {
		x := &onnx.Tensor{Type: typ, Dims: []int{1 << 28, 1, 0, 8}}
		_, err := onnx.Run(a, model("Attention", 24, nil, nil, []string{"q", "k", "v"}, []string{"y"}), []*onnx.Tensor{x, x, x})
		if err == nil || !strings.Contains(err.Error(), "Q has shape [268435456 1 0 8] and no elements") {
			t.Errorf("%v: error %v", typ, err)
		}
	}
}
