package onnx

import "fmt"

// A Model is a ModelProto whose graph is a single node.
type Model struct {
	IRVersion int64
	Opsets    []Opset
	Node      Node

	// Inputs and Outputs are the names of the graph's, in its order.
	Inputs, Outputs []string
}

// An Opset is an OperatorSetIdProto: a version of the operators of a domain.
type Opset struct {
	Domain  string
	Version int64
}

// Opset returns the version of a domain's operators that the model is written for, 0
// if it imports none. The ONNX standard's domain may be written "" or "ai.onnx".
func (m *Model) Opset(domain string) int64 {
	version := int64(0)
	for _, o := range m.Opsets {
		if canonical(o.Domain) == canonical(domain) {
			version = max(version, o.Version)
		}
	}
	return version
}

func canonical(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

// ParseModel reads a ModelProto. A graph of more than one node is an [*UnsupportedError],
// and so is one with initializers.
func ParseModel(b []byte) (*Model, error) {
	m := new(Model)
	var g graph
	for f, err := range fields(b) {
		if err == nil {
			err = m.parse(&f, &g)
		}
		if err != nil {
			return nil, fmt.Errorf("onnx: model: %w", err)
		}
	}
	switch {
	case g.nodes == 0:
		return nil, fmt.Errorf("onnx: model: no node")
	case g.nodes > 1:
		return nil, &UnsupportedError{fmt.Sprintf("a model of %d nodes is not supported", g.nodes)}
	case g.initializers > 0:
		return nil, &UnsupportedError{"a model with initializers is not supported"}
	}
	return m, nil
}

// A graph is what is counted of a GraphProto.
type graph struct{ nodes, initializers int }

func (m *Model) parse(f *field, g *graph) (err error) {
	var data []byte
	switch f.num {
	case 1:
		m.IRVersion, err = f.int64()
	case 7:
		if data, err = f.bytes(); err == nil {
			err = m.parseGraph(data, g)
		}
	case 8:
		if data, err = f.bytes(); err == nil {
			var o Opset
			err = o.parse(data)
			m.Opsets = append(m.Opsets, o)
		}
	}
	return err
}

// parseGraph reads a GraphProto.
func (m *Model) parseGraph(b []byte, g *graph) error {
	for f, err := range fields(b) {
		if err != nil {
			return fmt.Errorf("graph: %w", err)
		}
		var data []byte
		var name string
		switch f.num {
		case 1:
			// Others are counted, not read.
			if g.nodes++; g.nodes == 1 {
				if data, err = f.bytes(); err == nil {
					err = m.Node.parse(data)
				}
			}
		case 5, 15:
			g.initializers++
		case 11:
			if data, err = f.bytes(); err == nil {
				name, err = valueName(data)
				m.Inputs = append(m.Inputs, name)
			}
		case 12:
			if data, err = f.bytes(); err == nil {
				name, err = valueName(data)
				m.Outputs = append(m.Outputs, name)
			}
		}
		if err != nil {
			return fmt.Errorf("graph: %w", err)
		}
	}
	return nil
}

// valueName returns the name in a ValueInfoProto.
func valueName(b []byte) (name string, err error) {
	for f, err := range fields(b) {
		if err == nil && f.num == 1 {
			name, err = f.string()
		}
		if err != nil {
			return "", err
		}
	}
	return name, nil
}

func (o *Opset) parse(b []byte) error {
	for f, err := range fields(b) {
		if err != nil {
			return err
		}
		switch f.num {
		case 1:
			o.Domain, err = f.string()
		case 2:
			o.Version, err = f.int64()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
