package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
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
		{"version 4", append([]byte("\x93NUMPY\x04\x00"), good[8:]...), "version 4"},
		{"version 0", append([]byte("\x93NUMPY\x00\x00"), good[8:]...), "version 0"},
		{"header of 4 GiB", []byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{}"), "at most 65536 make sense"},
		{"header without a line end", []byte("\x93NUMPY\x01\x00\x04\x00{  }data"), "malformed"},
		{"header of nothing", []byte("\x93NUMPY\x01\x00\x00\x00\x00\x00"), "malformed"},
		{"no dictionary", npyBytes("shape", nil), "malformed"},
		{"empty dictionary", npyBytes("{}", nil), "malformed"},
		{"a key too many", npyBytes("{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4', 'x': 1}", nil), "malformed"},
		{"a dimension too many", npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 1)}", make([]byte, 12)), "its shape (2, 3, 1) needs 24 bytes of data, it has 12"},
		{"nothing between the keys", npyBytes("'descr': 'fortran_order': 'shape': ", nil), "malformed"},
		{"no shape", npyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': , }", nil), "malformed"},
		{"order", npyBytes(dict("'<f4'", "Maybe", "(2, 3)"), nil), "malformed"},
		{"float64 of too few bytes", npyBytes(dict("'<f8'", "False", "(2, 3)"), make([]byte, 40)), "its shape (2, 3) needs 48 bytes of data, it has 40"},
		{"float64 beyond float32", npyBytes(dict("'<f8'", "False", "(2,)"), binary.LittleEndian.AppendUint64(make([]byte, 8), math.Float64bits(-1e300))), "element 1 is -1e+300, which float32 cannot hold"},
		{"int32", npyBytes(dict("'<i4'", "False", "(2, 3)"), make([]byte, 24)), "dtype is <i4, float32, float64 or float16 is needed: numpy.save(file, x.astype('float32'))"},
		{"complex", npyBytes(dict("'<c8'", "False", "(3,)"), make([]byte, 24)), "dtype is <c8"},
		{"float128", npyBytes(dict("'<f16'", "False", "(3,)"), make([]byte, 48)), "dtype is <f16"},
		{"bfloat16", npyBytes(dict("'<V2'", "False", "(2, 3)"), make([]byte, 12)), "such as bfloat16; float32, float64 or float16 is needed"},
		{"no dtype", npyBytes(dict("''", "False", "(2, 3)"), make([]byte, 24)), "dtype is , "},
		{"escape sequence", npyBytes(dict("'\x1b[31m'", "False", "(2, 3)"), make([]byte, 24)), `dtype is \x1b[31m, `},
		{"pickle", npyBytes(dict("'|O'", "False", "(2, 3)"), make([]byte, 24)), "dtype is |O"},
		{"record", npyBytes(dict("[('a', '<f4')]", "False", "(2, 3)"), make([]byte, 24)), "dtype is [("},
		{"negative", f4("(-2, -3)"), "negative"},
		{"not a number", f4("(2, x)"), "malformed"},
		{"above int64", f4("(99999999999999999999, 1)"), "too large"},
		{"huge", f4("(4611686018427387904, 1)"), "too large"},
		{"overflow to 0", f4("(65536, 65536, 65536, 65536)"), "too large"},
		{"overflow to little", f4("(2147483647, 2147483647, 2147483647)"), "too large"},
		{"huge beside a 0", f4("(0, 9223372036854775807)"), "too large"},
		{"large", f4("(16000, 16000)"), "needs 1024000000 bytes of data, it has 24"},
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
		{"float32", npyBytes(dict("'<f4'", "False", "(2, 3)"), make([]byte, 24)), "dtype is <f4, bool or uint8 is needed: numpy.save(file, x.astype(bool))"},
		{"int8", npyBytes(dict("'|i1'", "False", "(2, 3)"), data), "dtype is |i1"},
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

// TestNPYKinds reads the same numbers from every type, byte order, order of the axes and way
// to write a header that NumPy reads.
func TestNPYKinds(t *testing.T) {
	dims := []int{2, 3, 4}
	numbers := make([]float64, 24) // which every type holds
	for i := range numbers {
		numbers[i] = float64(i-12) / 4
	}
	numbers[3], numbers[4], numbers[5] = math.Inf(1), math.Inf(-1), 0x1p-24
	want := make([]float32, 24)
	for i, x := range numbers {
		want[i] = float32(x)
	}
	appendAs := map[string]func(o binary.AppendByteOrder, b []byte, x float64) []byte{
		"f2": func(o binary.AppendByteOrder, b []byte, x float64) []byte {
			return o.AppendUint16(b, uint16(qkv.ToFloat16(float32(x))))
		},
		"f4": func(o binary.AppendByteOrder, b []byte, x float64) []byte {
			return o.AppendUint32(b, math.Float32bits(float32(x)))
		},
		"f8": func(o binary.AppendByteOrder, b []byte, x float64) []byte {
			return o.AppendUint64(b, math.Float64bits(x))
		},
	}
	native := binary.AppendByteOrder(binary.NativeEndian)
	for _, c := range []struct {
		dtype, kind string
		order       binary.AppendByteOrder
	}{
		{"<f2", "f2", binary.LittleEndian}, {"<f4", "f4", binary.LittleEndian}, {"<f8", "f8", binary.LittleEndian},
		{">f2", "f2", binary.BigEndian}, {">f4", "f4", binary.BigEndian}, {">f8", "f8", binary.BigEndian},
		{"=f4", "f4", native}, {"f4", "f4", native}, {"|f8", "f8", native}, {"float32", "f4", native}, {"d", "f8", native}, {">e", "f2", binary.BigEndian},
	} {
		for _, fortran := range []bool{false, true} {
			var data []byte
			for i := range numbers {
				at := i
				if fortran { // the first axis changes fastest
					at = (i%2*3+i/2%3)*4 + i/6
				}
				data = appendAs[c.kind](c.order, data, numbers[at])
			}
			order := map[bool]string{false: "False", true: "True"}[fortran]
			for _, header := range []string{
				"{'descr': '" + c.dtype + "', 'fortran_order': " + order + ", 'shape': (2, 3, 4), }",
				"{'descr': '" + c.dtype + "', 'fortran_order': " + order + ", 'shape': (2, 3, 4)}",
				`{"shape":(2L,3L,4L),"descr":"` + c.dtype + `","fortran_order":` + order + `}`,
			} {
				file := npyBytes(header, data)
				for _, size := range []int64{int64(len(file)), -1} {
					got, err := decodeNPY(bytes.NewReader(file), size)
					if err != nil || !slices.Equal(got.dims, dims) || !slices.Equal(got.data, want) {
						t.Errorf("%s (size %d): %v %v, error %v, want %v", header, size, got.dims, got.data, err, want)
					}
				}
			}
		}
	}
	bits := []byte{0, 1, 0, 0, 2, 1}
	for _, dtype := range []string{"|b1", "?", "bool", "<u1", "|u1", "uint8"} {
		file := npyBytes(dict("'"+dtype+"'", "True", "(2, 3)"), bits)
		dims, got, err := decodeBools(bytes.NewReader(file), -1)
		if err != nil || !slices.Equal(dims, []int{2, 3}) || !slices.Equal(got, []bool{false, false, true, true, false, true}) {
			t.Errorf("%s: %v %v, error %v", dtype, dims, got, err)
		}
	}
	// A few elements beyond what is converted at a time, in a rank that has no other test.
	n := npyChunk/8 + 5
	data := make([]byte, 8*n)
	binary.BigEndian.PutUint64(data[8*(n-1):], math.Float64bits(7))
	got, err := decodeNPY(bytes.NewReader(npyBytes(dict("'>f8'", "True", fmt.Sprintf("(1, %d)", n)), data)), -1)
	if err != nil || len(got.data) != n || got.data[n-1] != 7 || got.data[0] != 0 {
		t.Errorf("%d elements, error %v", len(got.data), err)
	}
}

// FuzzNPY: no header makes the reader panic or take memory that the file does not fill.
func FuzzNPY(f *testing.F) {
	f.Add(npyBytes(dict("'<f4'", "False", "(2, 3)"), make([]byte, 24)))
	f.Add(npyBytes(dict("'<f4'", "False", "(65536, 65536, 65536, 65536)"), nil))
	f.Add(npyBytes(dict("'|b1'", "False", "(2, 3)"), make([]byte, 6)))
	f.Add(npyBytes(dict("'>f8'", "True", "(2, 3)"), make([]byte, 48)))
	f.Add(npyBytes("{\"shape\":(3L,),\"descr\":'<f2','fortran_order':False}", make([]byte, 6)))
	f.Add([]byte("\x93NUMPY\x02\x00\xff\x00\x00\x00{'descr': "))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, size := range []int64{int64(len(file)), -1} {
			a, err := decodeNPY(bytes.NewReader(file), size)
			if err == nil && 2*len(a.data) > len(file) {
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
