package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/internal/safetensorsbuild"
)

// file returns a file with a header.
var file = safetensorsbuild.WithHeader

const good = `{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,1,2],"data_offsets":[4,12]},` +
	`"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"c":{"dtype":"I8","shape":[0],"data_offsets":[12,12]}}`

var goodData = []byte{0, 0, 0x80, 0x3f, 0x80, 0x3f, 0, 0x40, 0, 0, 0x80, 0xbf} // 1; 1, 2, 0, -1

func TestParse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, file(good, goodData...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !slices.Equal(f.Names, []string{"a", "b", "c"}) || f.Tensor("d") != nil {
		t.Error(f.Names)
	}
	for name, want := range map[string][]float32{"a": {1}, "b": {1, 2, 0, -1}} {
		x, err := f.Tensor(name).Float32()
		if err != nil || !slices.Equal(x, want) {
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
	if m, err := f.Tensor("b").Matrix(); err != nil || m.Rows() != 2 || m.Cols() != 2 {
		t.Error(m.Rows(), m.Cols(), err)
	}
	c := f.Tensor("c")
	_, err = c.Matrix()
	_, err2 := c.Float32()
	if err == nil || err2 == nil || !strings.Contains(err.Error(), "type I8") {
		t.Error(err, err2)
	}
}

// TestEmpty: a dim is what the file says, also where an int of 32 bits does not hold it, and the tensor is empty.
func TestEmpty(t *testing.T) {
	for _, d := range []int64{0, 7, 1 << 31, 1 << 32} {
		f, err := Parse(file(fmt.Sprintf(`{"x":{"dtype":"F32","shape":[0,%d],"data_offsets":[0,0]}}`, d)))
		if (err == nil) != (d <= math.MaxInt) {
			t.Errorf("%d: %v", d, err)
		} else if err == nil && int64(f.Tensor("x").Shape[1]) != d {
			t.Errorf("%d: %v", d, f.Tensor("x").Shape)
		}
	}
}

func TestErrors(t *testing.T) {
	one := func(dtype, shape, offsets string) string {
		return `{"x":{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}}`
	}
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "0 bytes"},
		{binary.LittleEndian.AppendUint64(nil, 1<<63), "9223372036854775808 bytes"},
		{file("{}")[:9], "the header has 2 bytes"},
		{file("[]"), "an object is needed"},
		{file(`{"x":[[[[]]]]}`), "lie in each other"},
		{file(`{"x":{},"x":{}}`), "x"},
		{file(one("F4", "[1]", "[0,1]"), 1), `type "F4"`},
		{file(one("F32", "1", "[0,4]"), 1, 2, 3, 4), "needs a shape"},
		{file(one("F32", "[1]", "[0]"), 1, 2, 3, 4), "needs a shape"},
		{file(one("F32", "[1.5]", "[0,6]"), 1, 2, 3, 4, 5, 6), "needs a shape"},
		{file(one("F32", "[-1]", "[0,4]"), 1, 2, 3, 4), "needs a shape"},
		{file(one("F32", "[1]", "[4,0]"), 1, 2, 3, 4), "needs a shape"},
		{file(one("F32", "[9007199254740991,9007199254740991]", "[0,4]"), 1, 2, 3, 4), "too large"},
		{file(one("F32", "[2]", "[0,4]"), 1, 2, 3, 4), "has 8 bytes"},
		{file(one("F32", "[1]", "[0,4]"), 1, 2, 3), "from 0 to 4"},
		{file(one("F32", "[1]", "[0,4]"), 1, 2, 3, 4, 5), "have 4 bytes, the file has 5"},
		{file(one("F32", "[1]", "[1,5]"), 1, 2, 3, 4, 5), "from 1 to 5"},
		{file(`{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 1, 2, 3), "from 1 to 3, where the one before ends at 2"},
		{file(one("F32", "[2]", "[0,8]"), 1, 2, 3, 4, 5), "from 0 to 8, the file has 5 bytes for tensors: it is not whole"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Parse(c.data)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) || after.TotalAlloc-before.TotalAlloc > 1<<20 {
			t.Errorf("%v, %v, %d bytes allocated: want %q", f, err, after.TotalAlloc-before.TotalAlloc, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(good, goodData...))
	f.Add(file("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		used := 0
		for _, name := range file.Names {
			x := file.Tensor(name)
			used += len(x.Data)
			if _, err := x.Float32(); (err == nil) != types[x.Type].known {
				t.Errorf("%s: %v", x.Type, err)
			}
			if rows, cols := x.Size(); rows < 0 || cols < 0 {
				t.Errorf("%v", x.Shape)
			}
		}
		if used > len(data) {
			t.Errorf("tensors of %d bytes in a file of %d", used, len(data))
		}
	})
}
