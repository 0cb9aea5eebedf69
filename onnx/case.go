package onnx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/qkv-go/qkv"
)

// A Case is a backend node test: a model and what it computes. On disk it is a folder
// with model.onnx and test_data_set_N/{input_M,output_M}.pb
// (https://github.com/onnx/onnx/blob/main/docs/OnnxBackendTest.md).
type Case struct {
	Name  string // of the folder
	Model *Model
	Sets  []DataSet
}

// A DataSet is inputs of a case and the outputs that it has for them, parallel to the
// Inputs and Outputs of the node. What the node leaves out is nil.
type DataSet struct {
	Inputs, Outputs []*Tensor
}

// LoadCase reads the case in a folder. A file that the graph needs and the folder
// lacks is an error, and so is one that the graph has no use for. A case of another
// operator than those that [Run] computes is an [*UnsupportedError]: its tensors may be
// of a kind that this package does not read.
func LoadCase(dir string) (*Case, error) {
	b, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return nil, err
	}
	m, err := ParseModel(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if _, err := m.Node.operator(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	c := &Case{Name: filepath.Base(dir), Model: m}
	for {
		set := filepath.Join(dir, fmt.Sprintf("test_data_set_%d", len(c.Sets)))
		if _, err := os.Stat(set); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
		var d DataSet
		if d.Inputs, err = loadTensors(set, "input", m.Node.Inputs, m.Inputs); err != nil {
			return nil, err
		}
		if d.Outputs, err = loadTensors(set, "output", m.Node.Outputs, m.Outputs); err != nil {
			return nil, err
		}
		c.Sets = append(c.Sets, d)
	}
	if len(c.Sets) == 0 {
		return nil, fmt.Errorf("onnx: %s has no data set", dir)
	}
	return c, nil
}

// loadTensors returns the tensors named by names. The files are numbered by their place
// among the graph's values, which unlike the node's are never left out.
func loadTensors(dir, kind string, names, graph []string) ([]*Tensor, error) {
	files, err := filepath.Glob(filepath.Join(dir, kind+"_*.pb"))
	if err != nil {
		return nil, err
	}
	if len(files) != len(graph) {
		return nil, fmt.Errorf("onnx: %s has %d files %s_N.pb, the graph has %d %ss", dir, len(files), kind, len(graph), kind)
	}
	tensors := make([]*Tensor, len(names))
	for i, name := range names {
		if name == "" {
			continue
		}
		at := slices.Index(graph, name)
		if at < 0 {
			return nil, fmt.Errorf("onnx: %s: %s %q of the node is none of the graph", dir, kind, name)
		}
		file := filepath.Join(dir, fmt.Sprintf("%s_%d.pb", kind, at))
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if tensors[i], err = ParseTensor(b); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return tensors, nil
}

// Check computes every data set of the case and compares the outputs with those that it
// has. It returns the largest difference of two elements. The error says what differs
// by more than [ToleranceOf] the type allows, or why nothing could be computed.
func (c *Case) Check(a *qkv.Engine) (largest float64, err error) {
	for i := range c.Sets {
		got, err := Run(a, c.Model, c.Sets[i].Inputs)
		if err != nil {
			return largest, err
		}
		for j, want := range c.Sets[i].Outputs {
			if want == nil {
				continue
			}
			diff, err := Compare(got[j], want, ToleranceOf(want.Type))
			largest = max(largest, diff)
			if err != nil && len(c.Sets) > 1 {
				err = fmt.Errorf("%w (data set %d)", err, i)
			}
			if err != nil {
				return largest, err
			}
		}
	}
	return largest, nil
}
