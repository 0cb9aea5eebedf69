package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/qkv-go/qkv"
)

// Opsets that the operators here are known in: from the one that defines them to the one
// that follows ONNX 1.22. In a later one they may be others.
const (
	oldestOpset = 23
	newestOpset = 28
)

// An operator is one that Run computes.
type operator struct {
	attributes, inputs, outputs []parameter
	compute                     func(*application) error
}

// A parameter is an attribute, an input or an output of an operator.
type parameter struct {
	name     string
	opset    int64 // that it came with
	required bool
}

var operators = map[string]*operator{
	"Attention":       &attentionOperator,
	"RotaryEmbedding": &rotaryOperator,
}

// An UnsupportedError reports a well-formed model that needs what this package does not
// have, such as another operator.
type UnsupportedError struct{ msg string }

func (e *UnsupportedError) Error() string { return "onnx: " + e.msg }

// operator returns the operator of a node. The error is an [*UnsupportedError].
func (n *Node) operator() (*operator, error) {
	if canonical(n.Domain) != "" {
		return nil, &UnsupportedError{fmt.Sprintf("operator %q of domain %q is not supported", n.Op, n.Domain)}
	}
	if op := operators[n.Op]; op != nil {
		return op, nil
	}
	return nil, &UnsupportedError{fmt.Sprintf("operator %q is not supported", n.Op)}
}

// Run computes the node of a model, which is an Attention or a RotaryEmbedding, by the
// opset that the model imports. Inputs are parallel to the node's and outputs to its
// outputs; what the node leaves out is nil. It computes in float32, and rounds what is
// of fewer bits at the end; in float64 where a type or softmax_precision is DOUBLE.
//
// Inputs are not changed. Outputs share no memory with them.
func Run(a *qkv.Engine, m *Model, inputs []*Tensor) ([]*Tensor, error) {
	n := &m.Node
	op, err := n.operator()
	if err != nil {
		return nil, err
	}
	p := &application{attention: a, node: n, opset: m.Opset(n.Domain)}
	if err = p.check(op, inputs); err == nil {
		err = op.compute(p)
	}
	if err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", n.Op, err)
	}
	return p.out[:len(n.Outputs)], nil
}

// maxExtent bounds the dims of a tensor beside one of 0, which no data bounds.
const maxExtent = 1 << 20

// An application is a node about to be computed.
type application struct {
	attention *qkv.Engine
	node      *Node
	opset     int64
	in, out   []*Tensor // one for each that the operator defines
}

// check reports what the definition of the operator does not allow of the node, and puts
// the inputs into p.
func (p *application) check(op *operator, inputs []*Tensor) error {
	n := p.node
	if p.opset < oldestOpset {
		return fmt.Errorf("opset %d does not define it, %d is the first", p.opset, oldestOpset)
	}
	if p.opset > newestOpset {
		return fmt.Errorf("opset %d is not known, %d is the newest", p.opset, newestOpset)
	}
	for i := range n.Attributes {
		name := n.Attributes[i].Name
		at := slices.IndexFunc(op.attributes, func(a parameter) bool { return a.name == name })
		if at < 0 {
			return fmt.Errorf("attribute %q is not known", name)
		}
		if a := &op.attributes[at]; a.opset > p.opset {
			return fmt.Errorf("attribute %q needs opset %d, the model has %d", name, a.opset, p.opset)
		}
		if n.Attribute(name) != &n.Attributes[i] {
			return fmt.Errorf("attribute %q is given twice", name)
		}
	}
	for _, x := range []struct {
		kind  string
		names []string
		known []parameter
	}{{"input", n.Inputs, op.inputs}, {"output", n.Outputs, op.outputs}} {
		if len(x.names) > len(x.known) {
			return fmt.Errorf("the node has %d %ss, at most %d are defined", len(x.names), x.kind, len(x.known))
		}
		for i, known := range x.known {
			given := i < len(x.names) && x.names[i] != ""
			if known.required && !given {
				return fmt.Errorf("%s %s is missing", x.kind, known.name)
			}
			if given && known.opset > p.opset {
				return fmt.Errorf("%s %s needs opset %d, the model has %d", x.kind, known.name, known.opset, p.opset)
			}
		}
	}
	if len(inputs) != len(n.Inputs) {
		return fmt.Errorf("%d tensors for the %d inputs of the node", len(inputs), len(n.Inputs))
	}
	p.in, p.out = make([]*Tensor, len(op.inputs)), make([]*Tensor, len(op.outputs))
	for i, t := range inputs {
		name := op.inputs[i].name
		if (t != nil) != (n.Inputs[i] != "") {
			return fmt.Errorf("the tensor of %s is nil, or should be", name)
		}
		if t == nil {
			continue
		}
		for axis, d := range t.Dims {
			if d < 0 {
				return fmt.Errorf("%s has dim %d of %d", name, axis, d)
			}
		}
		if n := t.extent(); n > maxExtent && t.Len() == 0 {
			return fmt.Errorf("%s has shape %v and no elements, dims of a product of at most %d are supported", name, t.Dims, maxExtent)
		}
		if size, ok := t.size(); !ok || size != len(t.Data) || t.Type.Bits() == 0 {
			return fmt.Errorf("%s has %d bytes of data for shape %v of %v", name, len(t.Data), t.Dims, t.Type)
		}
	}
	copy(p.in, inputs)
	return nil
}

// wants reports whether the node asks for an output.
func (p *application) wants(output int) bool {
	return output < len(p.node.Outputs) && p.node.Outputs[output] != ""
}

// give makes an output of the application. Its Data is for the caller to set.
func (p *application) give(output int, typ ElementType, dims ...int) (*Tensor, error) {
	t := &Tensor{Name: p.node.Outputs[output], Type: typ, Dims: dims}
	if _, ok := t.size(); !ok {
		return nil, fmt.Errorf("output %q of shape %v is too large", t.Name, dims)
	}
	p.out[output] = t
	return t, nil
}

// int returns an integer attribute, which must be lo to hi, or absent.
func (p *application) int(name string, absent, lo, hi int64) (int64, error) {
	v, err := p.node.Int(name, absent)
	switch {
	case err != nil || v == absent || v >= lo && v <= hi:
		return v, err
	case hi == math.MaxInt64:
		return 0, fmt.Errorf("%s is %d, at least %d is needed", name, v, lo)
	}
	return 0, fmt.Errorf("%s is %d, want %d to %d", name, v, lo, hi)
}
