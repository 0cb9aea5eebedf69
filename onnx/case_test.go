package onnx

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scalar is a tensor of one byte.
func scalar(v byte) message { return message{}.varint(2, 2).bytes(9, []byte{v}) }

// writeCase writes the case of [attentionModel], each tensor the scalar of its file's number.
func writeCase(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "test_case")
	set := filepath.Join(dir, "test_data_set_0")
	if err := os.MkdirAll(set, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "model.onnx"), attentionModel())
	for i, name := range []string{"input_0.pb", "input_1.pb", "input_2.pb", "input_3.pb", "output_0.pb"} {
		write(t, filepath.Join(set, name), scalar(byte(i)))
	}
	return dir
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestLoadCase(t *testing.T) {
	c, err := LoadCase(writeCase(t))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "test_case" || c.Model.Node.Op != "Attention" || len(c.Sets) != 1 {
		t.Fatalf("got %+v", c)
	}
	in, out := c.Sets[0].Inputs, c.Sets[0].Outputs
	if len(in) != 5 || in[0].Data[0] != 0 || in[1].Data[0] != 1 || in[2].Data[0] != 2 || in[3] != nil || in[4].Data[0] != 3 {
		t.Errorf("inputs %v", in)
	}
	if len(out) != 1 || out[0].Data[0] != 4 {
		t.Errorf("outputs %v", out)
	}
}

func TestLoadCaseErrors(t *testing.T) {
	set := "test_data_set_0"
	for _, c := range []struct {
		name string
		harm func(t *testing.T, dir string)
		want string
	}{
		{"no model", func(t *testing.T, dir string) { remove(t, dir, "model.onnx") }, "model.onnx"},
		{"bad model", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "model.onnx"), []byte{0}) }, "test_case: onnx: model"},
		{"no data set", func(t *testing.T, dir string) { remove(t, dir, set) }, "no data set"},
		{"file missing", func(t *testing.T, dir string) { remove(t, dir, set, "input_1.pb") }, "3 files input_N.pb, the graph has 4"},
		{"file extra", func(t *testing.T, dir string) { write(t, filepath.Join(dir, set, "output_1.pb"), scalar(0)) }, "2 files output_N.pb"},
		{"file misnamed", func(t *testing.T, dir string) {
			remove(t, dir, set, "input_1.pb")
			write(t, filepath.Join(dir, set, "input_9.pb"), scalar(0))
		}, "input_1.pb"},
		{"bad tensor", func(t *testing.T, dir string) { write(t, filepath.Join(dir, set, "input_2.pb"), []byte{0}) }, "input_2.pb: onnx: tensor"},
		{"input of the node only", func(t *testing.T, dir string) {
			node := message{}.string(1, "Q", "X").string(2, "Y").string(4, "Attention")
			graph := message{}.bytes(1, node).bytes(12, value("Y"))
			for _, name := range []string{"Q", "K", "V", "P"} {
				graph = graph.bytes(11, value(name))
			}
			write(t, filepath.Join(dir, "model.onnx"), message{}.bytes(7, graph))
		}, `input "X" of the node is none of the graph`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := writeCase(t)
			c.harm(t, dir)
			if _, err := LoadCase(dir); err == nil {
				t.Error("no error")
			} else if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

// A case of another operator is told apart before its tensors are read.
func TestLoadCaseUnsupported(t *testing.T) {
	node := func(op string) message { return message{}.string(1, "X").string(2, "Y").string(4, op) }
	for _, c := range []struct {
		graph message
		want  string
	}{
		{message{}.bytes(1, node("Relu")), `operator "Relu" is not supported`},
		{message{}.bytes(1, node("Attention").string(7, "com.microsoft")), `of domain "com.microsoft" is not supported`},
		{message{}.bytes(1, node("Attention")).bytes(1, node("Relu")), "a model of 2 nodes is not supported"},
		{message{}.bytes(1, node("Attention")).bytes(5, nil), "a model with initializers is not supported"},
	} {
		dir := writeCase(t)
		write(t, filepath.Join(dir, "model.onnx"), message{}.bytes(7, c.graph))
		_, err := LoadCase(dir)
		if u := (*UnsupportedError)(nil); !errors.As(err, &u) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
}

func remove(t *testing.T, path ...string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(path...)); err != nil {
		t.Fatal(err)
	}
}
