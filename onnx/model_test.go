package onnx

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/internal/shareddata"
)

// value is a ValueInfoProto.
func value(name string) message { return message{}.string(1, name) }

// attentionModel is a model of one node with a few attributes.
func attentionModel() message {
	node := message{}.string(1, "Q", "K", "V", "", "P").string(2, "Y").string(4, "Attention").
		bytes(5, message{}.string(1, "scale").float(2, 0.5).varint(20, 1)).
		bytes(5, message{}.string(1, "is_causal").varint(3, 1).varint(20, 2)).
		bytes(5, message{}.string(1, "mode").string(4, "x").varint(20, 3)).
		bytes(5, message{}.string(1, "fs").bytes(7, packedFloats(1, 2)).float(7, 3).varint(20, 6)).
		bytes(5, message{}.string(1, "is").varint(8, -1).bytes(8, packedVarints(2, 3)).varint(20, 7)).
		bytes(5, message{}.string(1, "ss").string(9, "a", "b").varint(20, 8))
	graph := message{}.bytes(1, node).string(2, "g").
		bytes(11, value("Q")).bytes(11, value("K")).bytes(11, value("V")).bytes(11, value("P")).
		bytes(12, value("Y"))
	return message{}.varint(1, 10).string(2, "me").bytes(7, graph).
		bytes(8, message{}.varint(2, 23)).bytes(8, message{}.string(1, "other").varint(2, 3))
}

func TestParseModel(t *testing.T) {
	m, err := ParseModel(attentionModel())
	if err != nil {
		t.Fatal(err)
	}
	if m.IRVersion != 10 || m.Opset("") != 23 || m.Opset("ai.onnx") != 23 || m.Opset("other") != 3 || m.Opset("none") != 0 {
		t.Errorf("IR %d, opsets %v", m.IRVersion, m.Opsets)
	}
	if !slices.Equal(m.Inputs, []string{"Q", "K", "V", "P"}) || !slices.Equal(m.Outputs, []string{"Y"}) {
		t.Errorf("graph inputs %q, outputs %q", m.Inputs, m.Outputs)
	}
	n := &m.Node
	if n.Op != "Attention" || n.Domain != "" || !slices.Equal(n.Inputs, []string{"Q", "K", "V", "", "P"}) ||
		!slices.Equal(n.Outputs, []string{"Y"}) {
		t.Errorf("node %+v", n)
	}
	if v, err := n.Float("scale", 9); v != 0.5 || err != nil {
		t.Errorf("scale: %v, %v", v, err)
	}
	if v, err := n.Float("softcap", 9); v != 9 || err != nil {
		t.Errorf("softcap: %v, %v", v, err)
	}
	if v, err := n.Int("is_causal", 9); v != 1 || err != nil {
		t.Errorf("is_causal: %v, %v", v, err)
	}
	if v, err := n.Int("scale", 9); v != 9 || err == nil || !strings.Contains(err.Error(), "type FLOAT, want INT") {
		t.Errorf("scale as int: %v, %v", v, err)
	}
	if a := n.Attribute("mode"); a == nil || a.Type != AttrString || a.String != "x" {
		t.Errorf("mode: %+v", a)
	}
	if a := n.Attribute("fs"); a == nil || a.Type != AttrFloats || !slices.Equal(a.Floats, []float32{1, 2, 3}) {
		t.Errorf("fs: %+v", a)
	}
	if a := n.Attribute("is"); a == nil || a.Type != AttrInts || !slices.Equal(a.Ints, []int64{-1, 2, 3}) {
		t.Errorf("is: %+v", a)
	}
	if a := n.Attribute("ss"); a == nil || a.Type != AttrStrings || !slices.Equal(a.Strings, []string{"a", "b"}) {
		t.Errorf("ss: %+v", a)
	}
	if a := n.Attribute("none"); a != nil {
		t.Errorf("none: %+v", a)
	}
}

func TestParseModelErrors(t *testing.T) {
	node := message{}.string(4, "Attention")
	for _, c := range []struct {
		name string
		in   message
		want string
	}{
		{"empty", message{}, "no node"},
		{"two nodes", message{}.bytes(7, message{}.bytes(1, node).bytes(1, node)), "a model of 2 nodes is not supported"},
		{"two graphs", message{}.bytes(7, message{}.bytes(1, node)).bytes(7, message{}.bytes(1, node)), "a model of 2 nodes is not supported"},
		{"initializer", message{}.bytes(7, message{}.bytes(1, node).bytes(5, nil)), "initializers"},
		{"graph is a number", message{}.varint(7, 1), "field 7 has wire type 0"},
		{"node is a number", message{}.bytes(7, message{}.varint(1, 1)), "field 1 has wire type 0"},
		{"name is a number", message{}.bytes(7, message{}.bytes(11, message{}.varint(1, 1))), "field 1 has wire type 0"},
		{"version is a string", message{}.bytes(8, message{}.string(2, "23")), "field 2 has wire type 2"},
		{"float is a number", message{}.bytes(7, message{}.bytes(1, node.bytes(5, message{}.varint(2, 1)))), "field 2 has wire type 0"},
		{"truncated", attentionModel()[:40], "field 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := ParseModel(c.in)
			if err == nil {
				t.Fatalf("got %+v", m)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

// FuzzModel looks for panics, and for a model that is more than its bytes.
func FuzzModel(f *testing.F) {
	seedFiles(f, "model.onnx")
	f.Add([]byte(attentionModel()))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseModel(b)
		if err != nil {
			if m != nil {
				t.Fatal("a model beside an error")
			}
			return
		}
		n := &m.Node
		// A name, an attribute or an opset has a tag and a length at least.
		if got := len(n.Inputs) + len(n.Outputs) + len(n.Attributes) + len(m.Inputs) + len(m.Outputs) + len(m.Opsets); got > len(b)/2 {
			t.Fatalf("%d parts from %d bytes", got, len(b))
		}
		m.Opset(n.Domain)
		for i := range n.Attributes {
			a := &n.Attributes[i]
			if _, err := n.Int(a.Name, 0); err == nil && n.Attribute(a.Name).Type != AttrInt {
				t.Fatalf("attribute %q of type %v read as an integer", a.Name, a.Type)
			}
			if len(a.Floats)+len(a.Ints)+len(a.Strings) > len(b) {
				t.Fatalf("attribute %q has more values than the model has bytes", a.Name)
			}
		}
	})
}

// seedFiles adds the files of the real cases, where they are present.
func seedFiles(f *testing.F, pattern string) {
	f.Helper()
	dir, ok := shareddata.Find(f, "onnx")
	if !ok {
		return
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", pattern))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}
