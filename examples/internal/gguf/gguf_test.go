package gguf

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/examples/internal/ggufbuild"
)

var (
	keys = []ggufbuild.Key{
		{Name: "u8", Value: uint8(200)}, {Name: "i8", Value: int8(-3)}, {Name: "u16", Value: uint16(60000)}, {Name: "i16", Value: int16(-300)},
		{Name: "u32", Value: uint32(4e9)}, {Name: "i32", Value: int32(-7)}, {Name: "u64", Value: uint64(1 << 40)}, {Name: "i64", Value: int64(-1 << 40)},
		{Name: "huge", Value: uint64(math.MaxUint64)},
		{Name: "f32", Value: float32(1.5)}, {Name: "f64", Value: 2.5}, {Name: "yes", Value: true}, {Name: "no", Value: false},
		{Name: "s", Value: "a string"}, {Name: "empty", Value: ""},
		{Name: "texts", Value: []string{"a", "", "ccc"}}, {Name: "floats", Value: []float32{1, -2}}, {Name: "ints", Value: []int32{5, -6, 7}},
		{Name: "bytes", Value: []uint8{1, 255}}, {Name: "none", Value: []string{}},
	}
	tensors = []ggufbuild.Tensor{
		{Name: "vector", Dims: []int{3}, Type: 0, Data: ggufbuild.Float32([]float32{1, 2, 3})},
		{Name: "matrix", Dims: []int{32, 2}, Type: 8, Data: append([]byte{0, 0x3c, 1, 2}, make([]byte, 64)...)}, // scale 1
		{Name: "other", Dims: []int{256, 1, 2, 1}, Type: 18, Data: make([]byte, 2*98)},
	}
)

func TestParse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.gguf")
	if err := os.WriteFile(path, ggufbuild.File(keys, tensors), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Keys) != len(keys) || len(f.Tensors) != len(tensors) || f.Tensor("nobody") != nil || f.Version != 3 {
		t.Errorf("%d keys, %d tensors", len(f.Keys), len(f.Tensors))
	}
	if got, want := f.String(), "1 F32, 1 Q8_0, 1 IQ3_XXS"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	type result struct {
		v  any
		ok bool
	}
	all := func(key string) []result {
		var r [7]result
		n, ok := f.Int(key)
		r[0] = result{n, ok}
		x, ok := f.Float(key)
		r[1] = result{x, ok}
		b, ok := f.Bool(key)
		r[2] = result{b, ok}
		s, ok := f.Text(key)
		r[3] = result{s, ok}
		ns, ok := f.Ints(key)
		r[4] = result{ns, ok}
		xs, ok := f.Floats(key)
		r[5] = result{xs, ok}
		ss, ok := f.Texts(key)
		r[6] = result{ss, ok}
		var there []result
		for _, x := range r {
			if x.ok {
				there = append(there, x)
			}
		}
		return there
	}
	integer := func(n int64) []any { return []any{n, float64(n), []int64{n}} }
	for key, want := range map[string][]any{
		"u8": integer(200), "i8": integer(-3), "u16": integer(60000), "i16": integer(-300), "u32": integer(4e9), "i32": integer(-7),
		"u64": integer(1 << 40), "i64": integer(-1 << 40), "huge": nil,
		"f32": {1.5}, "f64": {2.5}, "yes": {true}, "no": {false}, "s": {"a string"}, "empty": {""},
		"texts": {[]string{"a", "", "ccc"}}, "floats": {[]float32{1, -2}}, "ints": {[]int64{5, -6, 7}, []float32{5, -6, 7}},
		"bytes": {[]int64{1, 255}, []float32{1, 255}}, "none": {[]int64{}, []float32{}, []string{}}, "absent": nil,
	} {
		got := all(key)
		if len(got) != len(want) || f.Has(key) != (key != "absent") {
			t.Errorf("%s: %v, want %v", key, got, want)
			continue
		}
		for i, w := range want {
			if !reflect.DeepEqual(got[i].v, w) {
				t.Errorf("%s: %#v, want %#v", key, got[i].v, w)
			}
		}
	}
	v, err := f.Tensor("vector").Float32()
	if err != nil || !slices.Equal(v, []float32{1, 2, 3}) {
		t.Error(v, err)
	}
	m := f.Tensor("matrix")
	x, err := m.Float32()
	if err != nil || m.Rows() != 2 || !slices.Equal(x[:3], []float32{1, 2, 0}) || len(x) != 64 {
		t.Error(x, err)
	}
	if w, err := m.Matrix(); err != nil || w.Rows() != 2 || w.Cols() != 32 {
		t.Error(w.Rows(), w.Cols(), err)
	}
	other := f.Tensor("other")
	if _, err := other.Matrix(); err == nil || !strings.Contains(err.Error(), "IQ3_XXS") || len(other.Data) != 196 {
		t.Error(err)
	}
	if _, err := other.Float32(); err == nil {
		t.Error("no error")
	}
}

// TestErrors: what a file may say of itself that is not so, for which nothing large is allocated.
func TestErrors(t *testing.T) {
	one := func(dims []int, typ uint32, bytes int) []byte {
		return ggufbuild.File(nil, []ggufbuild.Tensor{{Name: "x", Dims: dims, Type: typ, Data: make([]byte, bytes)}})
	}
	two := ggufbuild.File(nil, []ggufbuild.Tensor{{Name: "x", Dims: []int{8}, Data: make([]byte, 32)}, {Name: "y", Dims: []int{8}, Data: make([]byte, 32)}})
	patch := func(data []byte, at int, with any) []byte {
		data = bytes.Clone(data)
		b, err := binary.Append(nil, binary.LittleEndian, with)
		if err != nil {
			t.Fatal(err)
		}
		copy(data[at:], b)
		return data
	}
	const head = 24 // where the first key or tensor is described
	x := one([]int{8}, 0, 32)
	text := ggufbuild.File([]ggufbuild.Key{{Name: "k", Value: "text"}}, nil)
	list := ggufbuild.File([]ggufbuild.Key{{Name: "k", Value: []string{"a", "b"}}}, nil)
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, `begins with ""`},
		{[]byte("GGML 1234"), "GGUF is needed"},
		{[]byte("GGUF"), "ends too early"},
		{patch(x, 4, uint32(1)), "version 1"},
		{patch(x, 4, uint32(3<<24)), "big-endian"},
		{patch(x, 8, uint64(1<<63)), "9223372036854775808 tensors"},
		{patch(x, 16, uint64(1<<40)), "1099511627776 keys"},
		{patch(text, head, uint64(math.MaxUint64)), "ends too early"},
		{patch(text, head+9, uint32(13)), "type 13"},
		{patch(text, head+9, uint32(1<<31)), "type 2147483648"}, // negative as an int of 32 bits
		{patch(text, head+9, uint32(math.MaxUint32)), "type 4294967295"},
		{patch(text, head+13, uint64(1<<62)), "ends too early"},
		{patch(list, head+13, uint32(9)), "type 9"}, // arrays of arrays
		{patch(list, head+13, uint32(1<<31)), "type 2147483648"},
		{patch(list, head+13, uint32(math.MaxUint32)), "type 4294967295"},
		{patch(list, head+17, uint64(1<<60)), "elements"},
		{patch(list, head+25, uint64(1<<60)), "ends too early"},
		{ggufbuild.File([]ggufbuild.Key{{Name: "k", Value: "a"}, {Name: "k", Value: "b"}}, nil), "twice"},
		{ggufbuild.File([]ggufbuild.Key{{Name: strings.Repeat("k", 1<<16), Value: "a"}}, nil), "65536 bytes"},
		{ggufbuild.File([]ggufbuild.Key{{Name: "general.alignment", Value: uint32(0)}}, nil), "alignment is 0"},
		{ggufbuild.File([]ggufbuild.Key{{Name: "general.alignment", Value: uint32(48)}}, nil), "alignment is 48"},
		{ggufbuild.File([]ggufbuild.Key{{Name: "general.alignment", Value: "x"}}, nil), "alignment is 0"},
		{ggufbuild.File(nil, []ggufbuild.Tensor{{Name: "x", Dims: []int{1}, Data: make([]byte, 4)}, {Name: "x", Dims: []int{1}, Data: make([]byte, 4)}}), "twice"},
		{ggufbuild.File(nil, []ggufbuild.Tensor{{Name: strings.Repeat("n", 64), Dims: []int{1}, Data: make([]byte, 4)}}), "64 bytes"},
		{one(nil, 0, 4), "0 dims"},
		{one([]int{1, 1, 1, 1, 1}, 0, 4), "5 dims"},
		{one([]int{8, 0}, 0, 32), "dim of 0"},
		{patch(one([]int{8, 8}, 0, 256), head+9+4, []uint64{1 << 62, 1 << 62}), "dim of 4611686018427387904"},
		{patch(one([]int{8, 8}, 0, 256), head+9+4, []uint64{1 << 32, 1 << 31}), "dim of"},
		{patch(one([]int{8, 8}, 0, 256), head+9+4, []uint64{640, 1 << 18}), "has 671088640 bytes"}, // as many as models have, of int of any size
		{one([]int{8}, 4, 32), "type 4"},
		{one([]int{8}, 99, 32), "type 99"},
		{one([]int{8}, 1<<31, 32), "type 2147483648"},
		{one([]int{33}, 8, 40), "multiple of 32"},
		{one([]int{128, 2}, 12, 144), "multiple of 256"}, // whole blocks together, but not in a row
		{one([]int{17}, 0, 64), "has 68 bytes"},
		{patch(two, head+9+4+8+4, uint64(4)), "multiple of 32"},
		{patch(two, head+9+4+8+4, uint64(32)), "lies as well"},
		{patch(two, head+9+4+8+4, uint64(1<<63)), "lies at 9223372036854775808"},
		{two[:len(two)-1], "the file has 63"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Parse(c.data)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%v: %d bytes allocated", err, n)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gguf: ") {
			t.Errorf("%v, %v: want %q", f, err, c.want)
		}
	}
	whole := ggufbuild.File(keys, tensors)
	last := len(whole) - 28 // the last tensor ends before
	for n := range whole {
		if _, err := Parse(whole[:n]); (err == nil) != (n >= last) {
			t.Fatalf("%d bytes of %d: %v", n, len(whole), err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error for a file that is not there")
	}
}

// FuzzParse: files of any contents are read or refused; what is read lies in the file, each tensor by itself.
func FuzzParse(f *testing.F) {
	f.Add(ggufbuild.File(keys, tensors))
	f.Add(ggufbuild.File(nil, tensors[:2]))
	f.Add(ggufbuild.File(append(keys[:1:1], ggufbuild.Key{Name: "general.alignment", Value: uint32(64)}), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		used := 0
		for i := range file.Tensors {
			x := &file.Tensors[i]
			used += len(x.Data)
			info := types[x.Type]
			if file.Tensor(x.Name) != x || len(x.Data)*info.values != x.Rows()*x.Dims[0]*info.bytes {
				t.Errorf("%v of %d bytes", x, len(x.Data))
			}
			if v, err := x.Float32(); (err == nil) != info.known || err == nil && len(v) != x.Rows()*x.Dims[0] {
				t.Errorf("%v: %d elements, %v", x, len(v), err)
			}
		}
		if used > len(data) {
			t.Errorf("tensors of %d bytes in a file of %d", used, len(data))
		}
		for _, key := range file.Keys {
			file.Int(key)
			file.Float(key)
			file.Bool(key)
			file.Text(key)
			file.Ints(key)
			file.Floats(key)
			file.Texts(key)
		}
	})
}
