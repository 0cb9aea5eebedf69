package onnx

import (
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
)

// attentionOperator is Attention of the ONNX standard, as opsets 23 and 24 define it
// after their corrections of 2026 (https://github.com/onnx/onnx/blob/main/docs/Operators.md):
// softcap comes before the mask (onnx#7867), the output modes follow the order of
// computation (onnx#7913), a causal mask counts from the end of nonpad_kv_seqlen, and a
// query without any key gives zeros (onnx#8068). The windows are those of onnx#8108,
// which was written for opset 25 and merged when 27 was out: they are taken from opset 25
// on.
var attentionOperator = operator{
	attributes: []parameter{
		{name: "is_causal"},
		{name: "kv_num_heads"},
		{name: "left_window_size", opset: 25},
		{name: "q_num_heads"},
		{name: "qk_matmul_output_mode"},
		{name: "right_window_size", opset: 25},
		{name: "scale"},
		{name: "softcap"},
		{name: "softmax_precision"},
	},
	inputs: []parameter{
		{name: "Q", required: true},
		{name: "K", required: true},
		{name: "V", required: true},
		{name: "attn_mask"},
		{name: "past_key"},
		{name: "past_value"},
		{name: "nonpad_kv_seqlen", opset: 24},
	},
	outputs: []parameter{
		{name: "Y", required: true},
		{name: "present_key"},
		{name: "present_value"},
		{name: "qk_matmul_output"},
	},
	compute: computeAttention,
}

// An attention is an Attention node whose attributes and inputs are checked.
type attention struct {
	q, k, v operand // k and v with the past before them
	mask    attentionMask

	scale   float32 // 0 if the head size says,
	zero    bool    // unless it is
	softcap float32
	causal  bool
	// left and right are the bounds of the window, math.MaxInt32 if there is none: no
	// key is so far from a query.
	left, right int
	offsets     []int // of the first query of each sequence among the keys
	lens        []int // keys that count of each sequence, nil if all
	stage       qkv.Stage
	double      bool // computed in float64
}

func computeAttention(p *application) error {
	var n attention
	if err := n.readAttributes(p); err != nil {
		return err
	}
	if err := n.readOperands(p); err != nil {
		return err
	}
	if err := n.readMask(p); err != nil {
		return err
	}
	y, err := n.output(p)
	if err != nil {
		return err
	}
	var scores *Tensor
	if p.wants(3) {
		scores, err = p.give(3, n.q.Type, n.q.shape[0], n.q.shape[1], n.q.shape[2], n.k.shape[2])
		if err != nil {
			return err
		}
	}
	if n.double {
		return n.rows(y, scores)
	}
	return n.run(p.attention, y, scores)
}

func (n *attention) readAttributes(p *application) error {
	causal, err := p.int("is_causal", 0, 0, 1)
	if err != nil {
		return err
	}
	n.causal = causal == 1
	stage, err := p.int("qk_matmul_output_mode", 0, 0, 3)
	if err != nil {
		return err
	}
	n.stage = qkv.Stage(stage) // the modes are numbered alike
	for _, side := range []struct {
		name  string
		bound *int
	}{{"left_window_size", &n.left}, {"right_window_size", &n.right}} {
		v, err := p.int(side.name, -1, -1, math.MaxInt64)
		if err != nil {
			return err
		}
		if v < 0 {
			v = math.MaxInt32
		}
		*side.bound = int(min(v, math.MaxInt32))
	}
	precision, err := p.node.Int("softmax_precision", int64(Float))
	if err != nil {
		return err
	}
	if t := ElementType(precision); int64(t) != precision || !isFloat(t) {
		return fmt.Errorf("softmax_precision is %d, want 1, 10, 11 or 16 for FLOAT, FLOAT16, DOUBLE or BFLOAT16", precision)
	}
	n.double = ElementType(precision) == Double
	if n.scale, err = p.node.Float("scale", 0); err != nil {
		return err
	}
	if n.scale == 0 && p.node.Attribute("scale") != nil {
		n.zero, n.double = true, true // a call of package qkv has no scale of 0
	}
	if n.softcap, err = p.node.Float("softcap", 0); err != nil {
		return err
	}
	// The standard multiplies Q and K by the root of scale each.
	for _, x := range []struct {
		name  string
		value float32
	}{{"scale", n.scale}, {"softcap", n.softcap}} {
		if !(x.value >= 0) || x.value > math.MaxFloat32 {
			return fmt.Errorf("%s is %v, a finite number of at least 0 is needed", x.name, x.value)
		}
	}
	return nil
}

// readOperands checks Q, K, V, past_key and past_value, and makes the present ones.
func (n *attention) readOperands(p *application) error {
	heads, err := p.int("q_num_heads", 0, 1, math.MaxInt64)
	if err != nil {
		return err
	}
	kvHeads, err := p.int("kv_num_heads", 0, 1, math.MaxInt64)
	if err != nil {
		return err
	}
	if n.q, err = newOperand("q", p.in[0], "q_num_heads", heads); err != nil {
		return err
	}
	if n.k, err = newOperand("k", p.in[1], "kv_num_heads", kvHeads); err != nil {
		return err
	}
	if n.v, err = newOperand("v", p.in[2], "kv_num_heads", kvHeads); err != nil {
		return err
	}
	q, k, v := &n.q, &n.k, &n.v
	if len(k.Dims) != len(q.Dims) || len(v.Dims) != len(q.Dims) {
		return fmt.Errorf("q, k and v have %d, %d and %d dims, the same number is needed", len(q.Dims), len(k.Dims), len(v.Dims))
	}
	if k.Type != q.Type {
		return fmt.Errorf("k has elements of type %v, q has %v", k.Type, q.Type)
	}
	for _, m := range []struct {
		a, b         *operand
		aName, bName string
		axis         int
		what         string
	}{
		{k, q, "k", "q", 0, "batch size"},
		{v, q, "v", "q", 0, "batch size"},
		{v, k, "v", "k", 1, "heads"},
		{v, k, "v", "k", 2, "sequence length"},
		{k, q, "k", "q", 3, "head size"},
	} {
		if got, want := m.a.shape[m.axis], m.b.shape[m.axis]; got != want {
			return fmt.Errorf("%s has %s %d, %s has %d", m.aName, m.what, got, m.bName, want)
		}
	}
	if h, kv := q.shape[1], k.shape[1]; h > 0 && (kv == 0 || h%kv != 0) {
		return fmt.Errorf("q has %d heads, not a multiple of k's %d", h, kv)
	}
	n.double = n.double || q.Type == Double || v.Type == Double
	return n.readPast(p)
}

// readPast puts the past before the keys and values, and makes the outputs of both.
func (n *attention) readPast(p *application) error {
	past := p.in[4:6]
	if (past[0] == nil) != (past[1] == nil) {
		return fmt.Errorf("past_key and past_value go together")
	}
	length := 0
	for i, x := range []struct {
		name string
		now  *operand
	}{{"key", &n.k}, {"value", &n.v}} {
		t := past[i]
		if t != nil {
			if t.Type != x.now.Type {
				return fmt.Errorf("past_%s has elements of type %v, want %v", x.name, t.Type, x.now.Type)
			}
			if s := &x.now.shape; len(t.Dims) != 4 || t.Dims[0] != s[0] || t.Dims[1] != s[1] || t.Dims[3] != s[3] {
				return fmt.Errorf("past_%s has shape %v, want [%d %d past %d]", x.name, t.Dims, s[0], s[1], s[3])
			}
			if i == 1 && t.Dims[2] != length {
				return fmt.Errorf("past_value has sequence length %d, past_key has %d", t.Dims[2], length)
			}
			length = t.Dims[2]
			if length > qkv.MaxSeq-x.now.shape[2] {
				return fmt.Errorf("past_%s has sequence length %d, at most %d is supported", x.name, length, qkv.MaxSeq-x.now.shape[2])
			}
		}
		if t == nil && !p.wants(1+i) {
			continue
		}
		present, err := x.now.after(t)
		if err != nil {
			return fmt.Errorf("present_%s: %w", x.name, err)
		}
		if p.wants(1 + i) {
			present.Name = p.node.Outputs[1+i]
			p.out[1+i] = present.Tensor
		}
		*x.now = present
	}
	n.offsets = make([]int, n.q.shape[0])
	for b := range n.offsets {
		n.offsets[b] = length
	}
	return n.readLengths(p)
}

// after returns [batch, heads, past + seq, dim], a copy of past, which may be nil, and of
// the operand behind it.
func (o *operand) after(past *Tensor) (operand, error) {
	d := o.shape
	length := 0
	if past != nil {
		length = past.Dims[2]
	}
	t := &Tensor{Type: o.Type, Dims: []int{d[0], d[1], length + d[2], d[3]}}
	size, ok := t.size()
	if !ok {
		return operand{}, fmt.Errorf("shape %v is too large", t.Dims)
	}
	t.Data = make([]byte, 0, size)
	if size > 0 {
		bytes := d[3] * o.Type.Bits() / 8 // of a row
		for b := range d[0] {
			for h := range d[1] {
				if past != nil {
					t.Data = append(t.Data, past.Data[(b*d[1]+h)*length*bytes:][:length*bytes]...)
				}
				for s := range d[2] {
					t.Data = append(t.Data, o.Data[o.row(b, h, s)/d[3]*bytes:][:bytes]...)
				}
			}
		}
	}
	return newOperand("", t, "", 0)
}

// readLengths checks nonpad_kv_seqlen, which says where the queries stand too: the last
// one at the last key that counts.
func (n *attention) readLengths(p *application) error {
	t := p.in[6]
	if t == nil {
		return nil
	}
	if p.in[4] != nil || p.wants(1) || p.wants(2) {
		return fmt.Errorf("nonpad_kv_seqlen goes without past and present keys and values")
	}
	if t.Type != Int64 || len(t.Dims) != 1 || t.Dims[0] != len(n.offsets) {
		return fmt.Errorf("nonpad_kv_seqlen has shape %v of %v, want [%d] of INT64", t.Dims, t.Type, len(n.offsets))
	}
	n.lens = make([]int, len(n.offsets))
	for b, length := range int64s(t) {
		if length < 0 || length > int64(n.k.shape[2]) {
			return fmt.Errorf("nonpad_kv_seqlen[%d] is %d, want 0 to %d, the sequence length of k", b, length, n.k.shape[2])
		}
		n.lens[b] = int(length)
		n.offsets[b] = int(length) - n.q.shape[2]
	}
	return nil
}

// output makes the tensor Y, without Data.
func (n *attention) output(p *application) (operand, error) {
	d := n.q.shape
	dims := []int{d[0], d[1], d[2], n.v.shape[3]}
	heads := int64(0)
	if len(n.q.Dims) == 3 {
		if d[1] > math.MaxInt/n.v.shape[3] {
			return operand{}, fmt.Errorf("y has %d heads of size %d", d[1], n.v.shape[3])
		}
		heads = int64(d[1])
		dims = []int{d[0], d[2], d[1] * n.v.shape[3]}
	}
	t, err := p.give(0, n.q.Type, dims...)
	if err != nil {
		return operand{}, err
	}
	return newOperand("y", t, "q_num_heads", heads)
}

// run computes the node by package qkv.
func (n *attention) run(a *qkv.Engine, y operand, scores *Tensor) error {
	if n.mask.short && scores == nil {
		n.shorten()
	}
	out := make([]float32, y.Len())
	c := qkv.Call{
		Q: n.q.view(floats[float32](n.q.Tensor)), K: n.k.view(floats[float32](n.k.Tensor)),
		V: n.v.view(floats[float32](n.v.Tensor)), Out: y.view(out),
		LensKV: n.lens, Scale: n.scale, Softcap: n.softcap,
	}
	if n.causal || n.left != math.MaxInt32 || n.right != math.MaxInt32 {
		c.Mask = qkv.Mask{Causal: n.causal, Align: qkv.AlignOffset, Offsets: n.offsets, Window: n.window()}
	}
	if n.mask.Tensor != nil {
		if err := n.mask.put(&c); err != nil {
			return err
		}
	}
	var recorded []float32
	if scores != nil {
		recorded = make([]float32, scores.Len())
	}
	if d := n.q.shape; len(recorded) > 0 {
		c.Scores, c.ScoresAt = qkv.BHSD(recorded, d[0], d[1], d[2], n.k.shape[2]), n.stage
	}
	if err := a.Run(&c); err != nil {
		return err
	}
	y.Data = encode(y.Type, out)
	if scores != nil {
		scores.Data = encode(scores.Type, recorded)
	}
	return nil
}

// shorten leaves out the keys beyond a short mask.
func (n *attention) shorten() {
	keys := n.mask.shape[3]
	n.k.shape[2], n.v.shape[2] = keys, keys
	for b := range n.lens {
		n.lens[b] = min(n.lens[b], keys)
	}
	n.mask.keys, n.mask.short = keys, false
}

func (n *attention) window() qkv.Window {
	side := func(bound int) int {
		if bound == math.MaxInt32 {
			return qkv.Unbounded
		}
		return bound
	}
	return qkv.Sliding(side(n.left), side(n.right))
}
