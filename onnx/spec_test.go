package onnx_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/qkv-go/qkv/onnx"
)

// An array is a tensor of float64 in row-major order, and the type that it stands for.
type array struct {
	typ  onnx.ElementType
	dims []int
	data []float64
}

func newArray(typ onnx.ElementType, dims ...int) *array {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return &array{typ, dims, make([]float64, n)}
}

// at returns an element, of an axis of 1 the only one.
func (a *array) at(index ...int) *float64 {
	i := 0
	for axis, d := range a.dims {
		i *= d
		if d != 1 {
			i += index[axis]
		}
	}
	return &a.data[i]
}

// tensor is the array as a tensor. Types of 16 bits take only what they have exactly.
func (a *array) tensor(name string) *onnx.Tensor {
	t := &onnx.Tensor{Name: name, Dims: a.dims, Type: a.typ}
	le := binary.LittleEndian
	for _, x := range a.data {
		switch a.typ {
		case onnx.Float:
			t.Data = le.AppendUint32(t.Data, math.Float32bits(float32(x)))
		case onnx.Double:
			t.Data = le.AppendUint64(t.Data, math.Float64bits(x))
		case onnx.BFloat16:
			t.Data = le.AppendUint16(t.Data, uint16(math.Float32bits(float32(x))>>16))
		case onnx.Float16:
			t.Data = le.AppendUint16(t.Data, float16(x))
		case onnx.Bool:
			t.Data = append(t.Data, byte(x))
		case onnx.Int64:
			t.Data = le.AppendUint64(t.Data, uint64(int64(x)))
		}
	}
	return t
}

// float16 returns the bits of a normal binary16 number, a zero, an infinity or a NaN.
func float16(x float64) uint16 {
	b := math.Float64bits(x)
	sign := uint16(b >> 48 & 0x8000)
	switch {
	case math.IsNaN(x):
		return 0x7e00
	case math.IsInf(x, 0):
		return sign | 0x7c00
	case x == 0:
		return sign
	}
	return sign | uint16(int(b>>52&0x7ff)-1023+15)<<10 | uint16(b>>42&0x3ff)
}

// arrayOf is the values of a tensor, nil of none.
func arrayOf(t *onnx.Tensor) *array {
	if t == nil {
		return nil
	}
	a := newArray(t.Type, t.Dims...)
	le := binary.LittleEndian
	for i := range a.data {
		switch t.Type {
		case onnx.Float:
			a.data[i] = float64(math.Float32frombits(le.Uint32(t.Data[4*i:])))
		case onnx.Double:
			a.data[i] = math.Float64frombits(le.Uint64(t.Data[8*i:]))
		case onnx.BFloat16:
			a.data[i] = float64(math.Float32frombits(uint32(le.Uint16(t.Data[2*i:])) << 16))
		case onnx.Float16:
			h := le.Uint16(t.Data[2*i:])
			x, e := float64(h&0x3ff)*0x1p-10, int(h>>10&0x1f)
			switch e {
			case 0:
				x *= 0x1p-14
			case 31:
				x = math.Inf(1) + 0/(1-min(1, x*0x1p10)) // NaN with a fraction
			default:
				x = math.Ldexp(1+x, e-15)
			}
			a.data[i] = math.Copysign(x, 1-2*float64(h>>15))
		case onnx.Bool:
			a.data[i] = float64(t.Data[i])
		case onnx.Int64:
			a.data[i] = float64(int64(le.Uint64(t.Data[8*i:])))
		}
	}
	return a
}

// near reports where a tensor is not the array, its values within tol of those. NaN is
// near NaN.
func near(got *onnx.Tensor, want *array, tol onnx.Tolerance) error {
	if got == nil || got.Type != want.typ || !slices.Equal(got.Dims, want.dims) {
		return fmt.Errorf("got %+v, want shape %v of %v", got, want.dims, want.typ)
	}
	for i, g := range arrayOf(got).data {
		w := want.data[i]
		if g == w || math.IsNaN(g) && math.IsNaN(w) || math.Abs(g-w) <= tol.Abs+tol.Rel*math.Abs(w) && !math.IsInf(g-w, 0) {
			continue
		}
		return fmt.Errorf("%s of %v: element %d is %.9g, want %.9g", got.Name, want.dims, i, g, w)
	}
	return nil
}

// model is a model of one node.
func model(op string, opset int64, ints map[string]int64, floats map[string]float32, inputs, outputs []string) *onnx.Model {
	m := &onnx.Model{Opsets: []onnx.Opset{{Version: opset}}, Node: onnx.Node{Op: op, Inputs: inputs, Outputs: outputs}}
	for name, v := range ints {
		m.Node.Attributes = append(m.Node.Attributes, onnx.Attribute{Name: name, Type: onnx.AttrInt, Int: v})
	}
	for name, v := range floats {
		m.Node.Attributes = append(m.Node.Attributes, onnx.Attribute{Name: name, Type: onnx.AttrFloat, Float: v})
	}
	return m
}

// random returns values between -2 and 2 that every type has exactly.
func random(rng *rand.Rand, typ onnx.ElementType, dims ...int) *array {
	a := newArray(typ, dims...)
	for i := range a.data {
		a.data[i] = float64(rng.IntN(65)-32) / 16
	}
	return a
}

// build returns the node with elements of a type, and random inputs.
func (s *spec) build(typ onnx.ElementType) (*onnx.Model, []*onnx.Tensor) {
	rng := rand.New(rand.NewPCG(1, 2))
	valueType := typ
	if s.otherTypeValue {
		valueType = onnx.Float
		if typ == onnx.Float {
			valueType = onnx.Double
		}
	}
	var in [7]*array
	in[0], in[1], in[2] = random(rng, typ, s.q...), random(rng, typ, s.k...), random(rng, valueType, s.v...)
	if s.mask != nil && s.boolMask {
		in[3] = newArray(onnx.Bool, s.mask...)
		for i := range in[3].data {
			in[3].data[i] = float64(min(1, rng.IntN(4)))
		}
	} else if s.mask != nil {
		in[3] = random(rng, typ, s.mask...)
		for i := range in[3].data {
			if rng.IntN(4) == 0 {
				in[3].data[i] = math.Inf(-1)
			}
		}
	}
	if s.maskedRow {
		for i := range s.mask[len(s.mask)-1] {
			in[3].data[i] = math.Inf(-1)
			if s.boolMask {
				in[3].data[i] = 0
			}
		}
	}
	if s.past > 0 {
		_, kv := s.heads()
		k, v := split(in[1], kv), split(in[2], kv)
		in[4] = random(rng, typ, k.dims[0], kv, s.past, k.dims[3])
		in[5] = random(rng, valueType, k.dims[0], kv, s.past, v.dims[3])
	}
	if s.nonpad != nil {
		in[6] = newArray(onnx.Int64, len(s.nonpad))
		for b, n := range s.nonpad {
			in[6].data[b] = float64(n)
			for _, x := range in[1:3] {
				d := x.dims[len(x.dims)-2:] // keys and elements of one
				for i := range x.data {
					if s.poison && i*len(s.nonpad)/len(x.data) == b && i/d[1]%d[0] >= int(n) {
						x.data[i] = math.NaN()
					}
				}
			}
		}
	}
	opset := s.opset
	if opset == 0 {
		opset = 25
	}
	outputs := []string{"out Y", "", "", ""}
	if s.past != 0 {
		outputs[1], outputs[2] = "out K", "out V"
	}
	if s.scores {
		outputs[3] = "out S"
	}
	var names []string
	var tensors []*onnx.Tensor
	for i, x := range in {
		if x == nil {
			names, tensors = append(names, ""), append(tensors, nil)
			continue
		}
		names = append(names, fmt.Sprint("in ", i))
		tensors = append(tensors, x.tensor(names[i]))
	}
	for names[len(names)-1] == "" {
		names, tensors = names[:len(names)-1], tensors[:len(names)-1]
	}
	return model("Attention", opset, s.ints, s.floats, names, outputs), tensors
}

// heads returns the heads of the queries and of the keys.
func (s *spec) heads() (q, kv int) {
	if len(s.q) == 4 {
		return s.q[1], s.k[1]
	}
	return int(s.ints["q_num_heads"]), int(s.ints["kv_num_heads"])
}

// split returns [batch, seq, heads*dim] as [batch, heads, seq, dim].
func split(a *array, heads int) *array {
	if len(a.dims) == 4 {
		return a
	}
	d := a.dims
	s := newArray(a.typ, d[0], heads, d[1], d[2]/heads)
	for b := range d[0] {
		for t := range d[1] {
			for e := range d[2] {
				*s.at(b, e/s.dims[3], t, e%s.dims[3]) = a.data[(b*d[1]+t)*d[2]+e]
			}
		}
	}
	return s
}

// join is the inverse of split.
func join(a *array) *array {
	d := a.dims
	j := newArray(a.typ, d[0], d[2], d[1]*d[3])
	for b := range d[0] {
		for h := range d[1] {
			for t := range d[2] {
				for e := range d[3] {
					j.data[(b*d[2]+t)*d[1]*d[3]+h*d[3]+e] = a.data[((b*d[1]+h)*d[2]+t)*d[3]+e]
				}
			}
		}
	}
	return j
}

// concat puts past before a along the axis of the sequence.
func concat(past, a *array) *array {
	if past == nil {
		return a
	}
	p, d := past.dims[2], a.dims
	c := newArray(a.typ, d[0], d[1], p+d[2], d[3])
	for b := range d[0] {
		for h := range d[1] {
			for t := range p + d[2] {
				for e := range d[3] {
					if t < p {
						*c.at(b, h, t, e) = past.data[((b*d[1]+h)*p+t)*d[3]+e]
					} else {
						*c.at(b, h, t, e) = a.data[((b*d[1]+h)*d[2]+t-p)*d[3]+e]
					}
				}
			}
		}
	}
	return c
}

// evaluate computes the outputs by the text of the standard, each step for all pairs
// before the next one.
func (s *spec) evaluate(typ onnx.ElementType, tensors []*onnx.Tensor) [4]*array {
	var in [7]*array
	for i, t := range tensors {
		in[i] = arrayOf(t)
	}
	heads, kvHeads := s.heads()
	q := split(in[0], heads)
	k, v := concat(in[4], split(in[1], kvHeads)), concat(in[5], split(in[2], kvHeads))
	batch, queries, keys := q.dims[0], q.dims[2], k.dims[2]
	scores := newArray(typ, batch, heads, queries, keys)
	bias := newArray(typ, batch, heads, queries, keys)
	all := func(f func(b, h, i, j int, score, bias *float64)) {
		at := 0
		for b := range batch {
			for h := range heads {
				for i := range queries {
					for j := range keys {
						f(b, h, i, j, &scores.data[at], &bias.data[at])
						at++
					}
				}
			}
		}
	}

	if m := in[3]; m != nil {
		d := append(slices.Repeat([]int{1}, 4-len(m.dims)), m.dims...)
		m = &array{m.typ, d, m.data}
		padded := d[3] < keys && (d[3] != 1 || s.opset != 23)
		all(func(b, h, i, j int, _, bias *float64) {
			switch {
			case padded && j >= d[3]:
				*bias = math.Inf(-1)
			case m.typ != onnx.Bool:
				*bias = *m.at(b, h, i, j)
			case *m.at(b, h, i, j) == 0:
				*bias = math.Inf(-1)
			}
		})
	}
	all(func(b, h, i, j int, _, bias *float64) {
		offset := 0
		if in[6] != nil {
			offset = int(s.nonpad[b]) - queries
			if j >= int(s.nonpad[b]) {
				*bias = math.Inf(-1)
			}
		} else if in[4] != nil {
			offset = in[4].dims[2]
		}
		if s.ints["is_causal"] == 1 && j > i+offset {
			*bias = math.Inf(-1)
		}
		if left, ok := s.ints["left_window_size"]; ok && left >= 0 && int64(i+offset-j) > left {
			*bias = math.Inf(-1)
		}
		if right, ok := s.ints["right_window_size"]; ok && right >= 0 && int64(j-i-offset) > right {
			*bias = math.Inf(-1)
		}
	})

	scale := 1 / math.Sqrt(float64(q.dims[3]))
	if x, ok := s.floats["scale"]; ok {
		scale = float64(x)
	}
	var stages [4]*array
	record := func(stage int) { stages[stage] = &array{typ, scores.dims, slices.Clone(scores.data)} }
	all(func(b, h, i, j int, score, _ *float64) {
		for e := range q.dims[3] {
			*score += scale * *q.at(b, h, i, e) * k.data[((b*kvHeads+h*kvHeads/heads)*keys+j)*q.dims[3]+e]
		}
	})
	record(0)
	if c := float64(s.floats["softcap"]); c > 0 {
		all(func(_, _, _, _ int, score, _ *float64) { *score = c * math.Tanh(*score/c) })
	}
	record(1)
	all(func(_, _, _, _ int, score, bias *float64) {
		*score += *bias
		if math.IsInf(*bias, -1) {
			*score = *bias
		}
	})
	record(2)
	y := newArray(typ, batch, heads, queries, v.dims[3])
	for row := range batch * heads * queries {
		s := scores.data[row*keys:][:keys]
		largest := math.Inf(-1)
		for _, x := range s {
			largest = max(largest, x)
		}
		sum := 0.0
		for _, x := range s {
			if largest != math.Inf(-1) {
				sum += math.Exp(x - largest)
			}
		}
		kv := row/(heads*queries)*kvHeads + row/queries%heads*kvHeads/heads
		for j, x := range s {
			if s[j] = 0; x == math.Inf(-1) {
				continue
			}
			s[j] = math.Exp(x-largest) / sum
			for e := range v.dims[3] {
				y.data[row*v.dims[3]+e] += s[j] * v.data[(kv*keys+j)*v.dims[3]+e]
			}
		}
	}
	record(3)

	var out [4]*array
	if out[0] = y; len(s.q) == 3 {
		out[0] = join(y)
	}
	if s.past != 0 {
		out[1], out[2] = k, v
	}
	if s.scores {
		out[3] = stages[s.ints["qk_matmul_output_mode"]]
	}
	return out
}
