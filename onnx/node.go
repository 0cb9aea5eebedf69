package onnx

import "fmt"

// A Node is a NodeProto: one application of an operator.
type Node struct {
	Op     string // operator, such as "Attention"
	Domain string // of the operator; empty for the ONNX standard

	// Inputs and Outputs are names of values, in the order of the operator's
	// definition. An optional one that is left out has an empty name, or is missing
	// at the end.
	Inputs, Outputs []string

	Attributes []Attribute
}

func (n *Node) parse(b []byte) error {
	for f, err := range fields(b) {
		if err != nil {
			return err
		}
		var s string
		switch f.num {
		case 1:
			s, err = f.string()
			n.Inputs = append(n.Inputs, s)
		case 2:
			s, err = f.string()
			n.Outputs = append(n.Outputs, s)
		case 4:
			n.Op, err = f.string()
		case 5:
			var data []byte
			if data, err = f.bytes(); err == nil {
				var a Attribute
				err = a.parse(data)
				n.Attributes = append(n.Attributes, a)
			}
		case 7:
			n.Domain, err = f.string()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Attribute returns the attribute of the given name, nil if the node has none.
func (n *Node) Attribute(name string) *Attribute {
	for i := range n.Attributes {
		if n.Attributes[i].Name == name {
			return &n.Attributes[i]
		}
	}
	return nil
}

// Int returns the value of an integer attribute, or absent if the node does not have
// it.
func (n *Node) Int(name string, absent int64) (int64, error) {
	a, err := n.typed(name, AttrInt)
	if a == nil {
		return absent, err
	}
	return a.Int, nil
}

// Float returns the value of a float attribute, or absent if the node does not have it.
func (n *Node) Float(name string, absent float32) (float32, error) {
	a, err := n.typed(name, AttrFloat)
	if a == nil {
		return absent, err
	}
	return a.Float, nil
}

// typed returns the attribute of the given name, nil if the node has none or, with an
// error, one of another type.
func (n *Node) typed(name string, want AttributeType) (*Attribute, error) {
	a := n.Attribute(name)
	if a == nil {
		return nil, nil
	}
	if a.Type != want {
		return nil, fmt.Errorf("onnx: attribute %q of %s has type %v, want %v", name, n.Op, a.Type, want)
	}
	return a, nil
}
