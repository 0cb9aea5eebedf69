package main

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/shareddata"
)

// field appends a field of bytes to a message.
func field[T string | []byte](m []byte, num protowire.Number, data T) []byte {
	return protowire.AppendBytes(protowire.AppendTag(m, num, protowire.BytesType), []byte(data))
}

// number appends a field of a number to a message.
func number(m []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(m, num, protowire.VarintType), v)
}

// writeTest writes a test that rotates (1, 2) by a cosine of 0.5 and a sine of 0.75, with
// an operator and the first element of the output as given, and returns its folder.
func writeTest(t *testing.T, dir, op string, y0 float32) string {
	t.Helper()
	var node, graph []byte
	values := []struct {
		file, name string
		dims       []uint64
		data       []float32
	}{
		{"input_0", "X", []uint64{1, 1, 1, 2}, []float32{1, 2}},
		{"input_1", "C", []uint64{1, 1, 1}, []float32{0.5}},
		{"input_2", "S", []uint64{1, 1, 1}, []float32{0.75}},
		{"output_0", "Y", []uint64{1, 1, 1, 2}, []float32{y0, 1.75}},
	}
	set := filepath.Join(dir, "test_data_set_0")
	if err := os.MkdirAll(set, 0o777); err != nil {
		t.Fatal(err)
	}
	write := func(path string, b []byte) {
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for i, v := range values {
		list := protowire.Number(1 + i/3) // inputs, then outputs
		node = field(node, list, v.name)
		graph = field(graph, 10+list, field(nil, 1, v.name))
		tensor := number(nil, 2, 1) // FLOAT
		for _, d := range v.dims {
			tensor = number(tensor, 1, d)
		}
		var data []byte
		for _, x := range v.data {
			data = protowire.AppendFixed32(data, math.Float32bits(x))
		}
		write(filepath.Join(set, v.file+".pb"), field(tensor, 9, data))
	}
	graph = field(graph, 1, field(node, 4, op))
	write(filepath.Join(dir, "model.onnx"), field(field(nil, 7, graph), 8, number(nil, 2, 23)))
	return dir
}

func TestConform(t *testing.T) {
	dir := t.TempDir()
	good := writeTest(t, filepath.Join(dir, "test_good"), "RotaryEmbedding", -1)
	other := writeTest(t, filepath.Join(dir, "test_other_operator"), "Relu", -1)
	if err := os.Mkdir(filepath.Join(dir, "test_none"), 0o777); err != nil {
		t.Fatal(err)
	}
	total := func(tests string) string { return "\n" + tests + " on kernel set generic: " }

	for _, args := range [][]string{{"conform", dir, "-kernel", "generic", "-workers", "1"}, {"conform", "-kernel", "generic", dir + "/."}} {
		code, out, errs := qkvRun(args...)
		want := "pass  test_good            largest difference 0\n" +
			"skip  test_other_operator  operator \"Relu\" is not supported\n" +
			total("2 tests") + "1 passed, 0 failed, 1 skipped\n"
		if code != exitOK || errs != "" || out != want {
			t.Errorf("%q: exit %d, stderr %q, stdout\n%swant\n%s", args, code, errs, out, want)
		}
	}
	t.Chdir(good) // one test, of the folder's name even if that is not given
	code, out, errs := qkvRun("conform", ".", "-kernel", "generic")
	if want := "pass  test_good  largest difference 0\n" + total("1 test") + "1 passed, 0 failed, 0 skipped\n"; code != exitOK || errs != "" || out != want {
		t.Errorf("exit %d, stderr %q, stdout\n%swant\n%s", code, errs, out, want)
	}

	writeTest(t, filepath.Join(dir, "test_differs"), "RotaryEmbedding", -3)
	broken := writeTest(t, filepath.Join(dir, "test_no_model"), "RotaryEmbedding", -1)
	if err := os.WriteFile(filepath.Join(broken, "model.onnx"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	broken = writeTest(t, filepath.Join(dir, "test_no_tensor"), "RotaryEmbedding", -1)
	if err := os.WriteFile(filepath.Join(broken, "test_data_set_0", "input_1.pb"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	broken = writeTest(t, filepath.Join(dir, "test_no_data"), "RotaryEmbedding", -1)
	if err := os.RemoveAll(filepath.Join(broken, "test_data_set_0")); err != nil {
		t.Fatal(err)
	}
	writeTest(t, filepath.Join(dir, "test_no_attention"), "Attention", -1)
	code, out, errs = qkvRun("conform", dir, "-kernel", "generic")
	if code != exitFailed || errs != "qkv conform: 5 of 7 tests failed\n" {
		t.Errorf("exit %d, stderr %q", code, errs)
	}
	for _, want := range []string{
		"FAIL  test_differs         Y[0 0 0 0] is -1, want -3, largest difference 2\n",
		"FAIL  test_no_attention    Attention: k has 3 dims", "FAIL  test_no_data         test_no_data has no data set\n",
		"FAIL  test_no_model        model: ", "FAIL  test_no_tensor       test_data_set_0/input_1.pb: ", "pass  test_good ",
		total("7 tests") + "1 passed, 5 failed, 1 skipped\n",
	} {
		if !strings.Contains(filepath.ToSlash(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}

	for _, c := range []struct{ dir, want string }{
		{filepath.Join(dir, "none"), "no such file"},
		{filepath.Join(dir, "test_none"), "has no test"},
		{filepath.Join(other, "model.onnx"), "not a directory"},
	} {
		if code, out, errs := qkvRun("conform", c.dir); code != exitFailed || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want exit 1 and %q", c.dir, code, out, errs, c.want)
		}
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := command(ctx, []string{"conform", dir}, &stdout, &stderr); code != exitFailed || stderr.String() != "qkv conform: interrupted\n" {
		t.Errorf("interrupted: exit %d, %q", code, stderr.String())
	}
}

// TestConformCases runs the tests of ONNX that are here on every kernel set.
func TestConformCases(t *testing.T) {
	dir := shareddata.Path(t, "onnx")
	for _, k := range qkv.Kernels() {
		if k.Missing != 0 || k.Set.Base != "" {
			continue
		}
		code, out, errs := qkvRun("conform", dir, "-kernel", k.Set.Name)
		if code != exitOK || errs != "" || !strings.Contains(out, " passed, 0 failed, 0 skipped\n") {
			t.Errorf("%s: exit %d, stderr %q, stdout\n%s", k.Set.Name, code, errs, out)
		}
	}
}
