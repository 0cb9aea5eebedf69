package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"codeberg.org/sbinet/npyio/npy"
)

// npyBytes builds a file of version 1 from a header and data.
func npyBytes(header string, data []byte) []byte {
	header += "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(b, header...), data...)
}

func dict(descr, order, shape string) string {
	return fmt.Sprintf("{'descr': %s, 'fortran_order': %s, 'shape': %s, }", descr, order, shape)
}

func TestNPYRoundTrip(t *testing.T) {
	for _, dims := range [][]int{{5}, {2, 3}, {0, 7}, {2, 3, 4, 5}, {300, 1000}} {
		n, err := elements(dims)
		if err != nil {
			t.Fatal(err)
		}
		a := array{dims: dims, data: make([]float32, n)}
		for i := range a.data {
			a.data[i] = float32(i) * 0.1
		}
		var b bytes.Buffer
		if err := a.encode(&b); err != nil {
			t.Fatal(err)
		}
		if (b.Len()-4*n)%64 != 0 {
			t.Errorf("%v: the data begins at byte %d", dims, b.Len()-4*n)
		}
		// Of known length, and not.
		for _, size := range []int64{int64(b.Len()), -1} {
			got, err := decodeNPY(bytes.NewReader(b.Bytes()), size)
			if err != nil || !slices.Equal(got.dims, dims) || !slices.Equal(got.data, a.data) {
				t.Errorf("%v: read back %v, %d elements, error %v", dims, got.dims, len(got.data), err)
			}
		}
		// What others read.
		var theirs []float32
		r, err := npy.NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Read(&theirs); err != nil || !slices.Equal(r.Header.Descr.Shape, dims) || !slices.Equal(theirs, a.data) {
			t.Errorf("%v: npyio reads %v, %d elements, error %v", dims, r.Header.Descr.Shape, len(theirs), err)
		}
	}
}

func TestNPYErrors(t *testing.T) {
	good := npyBytes(dict("'<f4'", "False", "(2, 3)"), make([]byte, 24))
	if _, err := decodeNPY(bytes.NewReader(good), int64(len(good))); err != nil {
		t.Fatal(err)
	}
	f4 := func(shape string) []byte { return npyBytes(dict("'<f4'", "False", shape), make([]byte, 24)) }
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "not a .npy file"},
		{"text", []byte("hello, world, this is text"), "not a .npy file"},
		{"magic only", []byte("\x93NUMPY"), "cut short"},
		{"no header", []byte("\x93NUMPY\x01\x00\x76\x00"), "cut short"},
		{"part of a header", good[:40], "cut short"},
		{"version 3", append([]byte("\x93NUMPY\x03\x00"), good[8:]...), "version 3"},
		{"version 0", append([]byte("\x93NUMPY\x00\x00"), good[8:]...), "version 0"},
		{"header of 4 GiB", []byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{}"), "at most 65536 make sense"},
		{"header without a line end", []byte("\x93NUMPY\x01\x00\x04\x00{  }data"), "malformed"},
		{"header of nothing", []byte("\x93NUMPY\x01\x00\x00\x00\x00\x00"), "malformed"},
		{"no dictionary", npyBytes("shape", nil), "malformed"},
		{"empty dictionary", npyBytes("{}", nil), "malformed"},
		{"keys in disorder", npyBytes("{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4', }", nil), "malformed"},
		{"nothing between the keys", npyBytes("'descr': 'fortran_order': 'shape': ", nil), "malformed"},
		{"no shape", npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': , }", nil), "malformed"},
		{"order", npyBytes(dict("'<f4'", "Maybe", "(2, 3)"), nil), "malformed"},
		{"float64", npyBytes(dict("'<f8'", "False", "(2, 3)"), make([]byte, 48)), "dtype is <f8"},
		{"big-endian", npyBytes(dict("'>f4'", "False", "(2, 3)"), make([]byte, 24)), "dtype is >f4"},
		{"pickle", npyBytes(dict("'|O'", "False", "(2, 3)"), make([]byte, 24)), "dtype is |O"},
		{"record", npyBytes(dict("[('a', '<f4')]", "False", "(2, 3)"), make([]byte, 24)), "dtype is [("},
		{"Fortran order", npyBytes(dict("'<f4'", "True", "(2, 3)"), make([]byte, 24)), "Fortran order"},
		{"negative", f4("(-2, -3)"), "negative"},
		{"not a number", f4("(2, x)"), "malformed"},
		{"above int64", f4("(99999999999999999999, 1)"), "too large"},
		{"huge", f4("(4611686018427387904, 1)"), "too large"},
		{"overflow to 0", f4("(65536, 65536, 65536, 65536)"), "too large"},
		{"overflow to little", f4("(2147483647, 2147483647, 2147483647)"), "too large"},
		{"huge beside a 0", f4("(0, 9223372036854775807)"), "too large"},
		{"large", f4("(20000, 20000)"), "needs 1600000000 bytes of data, it has 24"},
		{"cut by a byte", good[:len(good)-1], "needs 24 bytes of data, it has 23"},
		{"cut by an element", good[:len(good)-4], "needs 24 bytes of data, it has 20"},
		{"no data", good[:len(good)-24], "needs 24 bytes of data, it has 0"},
	} {
		for _, size := range []int64{int64(len(c.file)), -1} {
			_, err := decodeNPY(bytes.NewReader(c.file), size)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s (size %d): error %v, want one about %q", c.name, size, err, c.want)
			}
		}
	}
	long := append(slices.Clone(good), 0)
	for size, want := range map[int64]string{int64(len(long)): "needs 24 bytes of data, it has 25", -1: "more data than its shape"} {
		if _, err := decodeNPY(bytes.NewReader(long), size); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("too long (size %d): error %v, want one about %q", size, err, want)
		}
	}
}

func TestNPYBools(t *testing.T) {
	data := []byte{0, 1, 2, 255, 0, 1}
	want := []bool{false, true, true, true, false, true}
	for _, dtype := range []string{"'|b1'", "'|u1'"} {
		file := npyBytes(dict(dtype, "False", "(2, 3)"), data)
		for _, size := range []int64{int64(len(file)), -1} {
			dims, got, err := decodeBools(bytes.NewReader(file), size)
			if err != nil || !slices.Equal(dims, []int{2, 3}) || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v, error %v", dtype, dims, got, err)
			}
		}
	}
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"float32", npyBytes(dict("'<f4'", "False", "(2, 3)"), make([]byte, 24)), "dtype is <f4, bool (|b1) or uint8 (|u1) is needed"},
		{"int8", npyBytes(dict("'|i1'", "False", "(2, 3)"), data), "dtype is |i1"},
		{"Fortran order", npyBytes(dict("'|b1'", "True", "(2, 3)"), data), "Fortran order"},
		{"cut", npyBytes(dict("'|b1'", "False", "(2, 4)"), data), "needs 8 bytes of data, it has 6"},
		{"large", npyBytes(dict("'|b1'", "False", "(65536, 65536, 65536, 65536)"), data), "too large"},
	} {
		for _, size := range []int64{int64(len(c.file)), -1} {
			if _, _, err := decodeBools(bytes.NewReader(c.file), size); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s (size %d): error %v, want one about %q", c.name, size, err, c.want)
			}
		}
	}
}

// FuzzNPY: no header makes the reader panic or take memory that the file does not fill.
func FuzzNPY(f *testing.F) {
	f.Add(npyBytes(dict("'<f4'", "False", "(2, 3)"), make([]byte, 24)))
	f.Add(npyBytes(dict("'<f4'", "False", "(65536, 65536, 65536, 65536)"), nil))
	f.Add(npyBytes(dict("'|b1'", "False", "(2, 3)"), make([]byte, 6)))
	f.Add([]byte("\x93NUMPY\x02\x00\xff\x00\x00\x00{'descr': "))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, size := range []int64{int64(len(file)), -1} {
			a, err := decodeNPY(bytes.NewReader(file), size)
			if err == nil && 4*len(a.data) > len(file) {
				t.Errorf("%d elements from %d bytes", len(a.data), len(file))
			}
			_, bools, err := decodeBools(bytes.NewReader(file), size)
			if err == nil && len(bools) > len(file) {
				t.Errorf("%d booleans from %d bytes", len(bools), len(file))
			}
		}
	})
}

func writeArray(t *testing.T, path string, a array) string {
	t.Helper()
	var b bytes.Buffer
	if err := a.encode(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDimsString(t *testing.T) {
	for _, c := range []struct {
		dims []int
		want string
	}{{nil, "()"}, {[]int{3}, "(3,)"}, {[]int{3, 4}, "(3, 4)"}} {
		if got := dimsString(c.dims); got != c.want {
			t.Errorf("dimsString(%v) = %s, want %s", c.dims, got, c.want)
		}
	}
}

// ramp returns an array of small, varied values.
func ramp(dims ...int) array {
	n := 1
	for _, d := range dims {
		n *= d
	}
	a := array{dims: dims, data: make([]float32, n)}
	for i := range a.data {
		a.data[i] = float32(math.Sin(float64(3*i + n)))
	}
	return a
}

func readArray(t *testing.T, path string) array {
	t.Helper()
	a, err := readNPY(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listDir returns the names in a directory.
func listDir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestEncodeErrors(t *testing.T) {
	for _, n := range []int{0, 200} {
		if err := ramp(100, 10).encode(&failingWriter{n}); err == nil {
			t.Errorf("a writer that fails after %d bytes: no error", n)
		}
	}
}

func TestReadNPYNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.npy")
	if err := os.WriteFile(path, []byte("text"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := readNPY(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name %s", err, path)
	}
}
