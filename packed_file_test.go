package qkv_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// aligned returns a copy of data that begins at a multiple of 64.
func aligned(data []byte) []byte {
	m := make([]byte, len(data)+64)
	m = m[-int(uintptr(unsafe.Pointer(&m[0])))&63:][:len(data):len(data)]
	copy(m, data)
	return m
}

// TestPackedFile: what is written is what PackInto makes, and both multiply as what was packed.
func TestPackedFile(t *testing.T) {
	for _, set := range sets() {
		e := newAttention(t, qkv.Config{Kernel: set, Workers: 3})
		for _, size := range [][3]int{{1, 1, 1}, {300, 70, 1}, {300, 70, 5}, {7, 6, 6}, {700, 1500, 1}, {700, 1500, 15}} {
			heads := size[2]
			w := newMatrix("rows", size[0], size[1], normal(1)).matrix()
			packed, err := e.PackHeads(w, heads)
			if err != nil {
				t.Fatal(err)
			}
			var file bytes.Buffer
			n, err := packed.WriteTo(&file)
			want := e.PackedSize(qkv.PrecisionFloat32, w, heads)
			if err != nil || n != int64(file.Len()) || file.Len() != want || want%64 != 0 || want-packed.Bytes()-64 < 0 || want-packed.Bytes()-64 > 63 {
				t.Fatalf("%d bytes, %d said, PackedSize is %d, Bytes %d: %v", file.Len(), n, want, packed.Bytes(), err)
			}
			given := aligned(bytes.Repeat([]byte{1}, file.Len()))
			into, err := e.PackInto(given, qkv.PrecisionFloat32, w, heads)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(given, file.Bytes()) {
				t.Errorf("%s %v: PackInto and WriteTo differ", set, size)
			}
			mapped, err := e.MapPacked(aligned(file.Bytes()))
			if err != nil || mapped.Rows() != size[0] || mapped.Cols() != size[1] || mapped.Heads() != heads {
				t.Fatalf("%d rows, %d columns, %d heads of %v: %v", mapped.Rows(), mapped.Cols(), mapped.Heads(), size, err)
			}
			one, err := e.Pack(w)
			if err != nil {
				t.Fatal(err)
			}
			x := newMatrix("rows", 3, size[0], normal(2)).matrix()
			var results [4][]float32
			for i, p := range []*qkv.PackedMatrix{one, packed, into, mapped} {
				results[i] = make([]float32, 3*size[1])
				if err := e.MatMul(&qkv.Product{X: x, Packed: p, Y: qkv.RowMajor(results[i], 3, size[1])}); err != nil {
					t.Fatal(err)
				}
				for c, v := range results[i] {
					if v != results[0][c] {
						t.Fatalf("%s %v: element %d is %v, want %v", set, size, c, v, results[0][c])
					}
				}
			}
		}
	}
}

// TestPackedFileErrors: a header with any byte changed, of any length or place, is an error.
func TestPackedFileErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	packed, err := e.Pack(newMatrix("rows", 5, 7, normal(1)).matrix())
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	packed.WriteTo(&file)
	bad := func(what string, data []byte) {
		t.Helper()
		var arg *qkv.ArgError
		if p, err := e.MapPacked(data); p != nil || !errors.As(err, &arg) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range 64 {
		data := aligned(file.Bytes())
		data[i] ^= 4
		bad("changed", data)
		binary.LittleEndian.PutUint32(data[60:], crc32.ChecksumIEEE(data[:60]))
		if i < 60 && i != 48 { // as many lanes hold 3 columns as 7
			bad("changed, with its checksum", data)
		}
	}
	bad("nil", nil)
	bad("short", aligned(file.Bytes()[:file.Len()-4]))
	bad("long", aligned(append(bytes.Clone(file.Bytes()), 0, 0, 0, 0)))
	bad("misplaced", aligned(append([]byte{0}, file.Bytes()...))[1:])
	for _, size := range [][2]uint64{{0, 7}, {1 << 63, 1 << 63}, {1 << 32, 1 << 32}, {5, 1<<64 - 1}, {1<<62 + 5, 7}} {
		data := aligned(file.Bytes())
		binary.LittleEndian.PutUint64(data[40:], size[0])
		binary.LittleEndian.PutUint64(data[48:], size[1])
		binary.LittleEndian.PutUint32(data[60:], crc32.ChecksumIEEE(data[:60]))
		bad("sizes", data)
	}
	other := aligned(file.Bytes())
	copy(other, "GGUF\x03\x00\x00\x00")
	if _, err := e.MapPacked(other); err == nil || !strings.Contains(err.Error(), `it begins with "GGUF\x03`) {
		t.Errorf("a file of another kind: %v", err)
	}
	var none *qkv.PackedMatrix
	if _, err := none.WriteTo(&file); err == nil {
		t.Error("nil was written")
	}
	if _, err := e.PackInto(make([]byte, 8), qkv.PrecisionFloat32, newMatrix("rows", 5, 7, normal(1)).matrix(), 1); err == nil {
		t.Error("packed into 8 bytes")
	}
	if n := e.PackedSize(qkv.PrecisionFloat32, qkv.RowMajor(nil, math.MaxInt/2, math.MaxInt/2), 1); n != 0 {
		t.Errorf("a size of %d", n)
	}
	for _, typ := range []qkv.WeightType{-1, qkv.WeightMXFP4 + 1} {
		for class := range qkv.PrecisionBFloat16 + 1 {
			if n := e.PackedSize(class, qkv.WeightMatrix(typ, nil, 32, 256).T(), 1); n != 0 {
				t.Errorf("a size of %d of %v in class %v", n, typ, class)
			}
		}
	}
}

// TestPackedFileSharing: weights are not packed over themselves, nor a product written over weights
// that are in memory of the caller, and what is refused has written nothing.
func TestPackedFileSharing(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	const rows, cols = 2, 3
	size := e.PackedSize(qkv.PrecisionFloat32, qkv.RowMajor(nil, rows, cols), 1)
	mem := aligned(make([]byte, size+4*rows*cols))
	data := mem[:size:size]
	floats := unsafe.Slice((*float32)(unsafe.Pointer(&mem[0])), len(mem)/4)
	for i := range floats {
		floats[i] = float32(i)
	}
	was := bytes.Clone(mem)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.As(err, new(*qkv.ArgError)) {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(mem, was) {
			t.Errorf("%s: something was written", what)
			copy(mem, was)
		}
	}
	for _, at := range []int{0, 10, 15, 16, size/4 - 1} { // the header, both, the panels
		_, err := e.PackInto(data, qkv.PrecisionFloat32, qkv.RowMajor(floats[at:], rows, cols), 1)
		refused("packed", err)
	}
	into, err := e.PackInto(data, qkv.PrecisionFloat32, qkv.RowMajor(floats[size/4:], rows, cols), 1)
	if err != nil {
		t.Fatal(err)
	}
	mapped, err := e.MapPacked(data)
	if err != nil {
		t.Fatal(err)
	}
	was = bytes.Clone(mem)
	x := newMatrix("rows", 1, rows, normal(1)).matrix()
	for _, p := range []*qkv.PackedMatrix{into, mapped} {
		for _, at := range []int{14, 16, 16 + p.Bytes()/4 - 1} {
			refused("multiplied", e.MatMul(&qkv.Product{X: x, Packed: p, Y: qkv.RowMajor(floats[at:], 1, cols)}))
		}
		if err := e.MatMul(&qkv.Product{X: x, Packed: p, Y: qkv.RowMajor(floats[size/4:], 1, cols)}); err != nil {
			t.Error(err)
		}
		copy(mem, was)
	}
}

// FuzzMapPacked: no file makes a product leave its memory.
func FuzzMapPacked(f *testing.F) {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		f.Fatal(err)
	}
	packed, err := e.Pack(qkv.RowMajor(make([]float32, 35), 5, 7))
	if err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	packed.WriteTo(&file)
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		data = aligned(data)
		if len(data) >= 64 {
			binary.LittleEndian.PutUint32(data[60:], crc32.ChecksumIEEE(data[:60]))
		}
		p, err := e.MapPacked(data)
		if err != nil {
			return
		}
		x, y := make([]float32, p.Rows()), make([]float32, p.Cols())
		if err := e.MatMul(&qkv.Product{X: qkv.RowMajor(x, 1, len(x)), Packed: p, Y: qkv.RowMajor(y, 1, len(y))}); err != nil {
			t.Fatal(err)
		}
	})
}
