package onnx

import (
	"bytes"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestParseTensor(t *testing.T) {
	for _, c := range []struct {
		name string
		in   message
		typ  ElementType
		dims []int
		data []byte
	}{
		{"raw", message{}.varint(1, 2).varint(2, 1).bytes(9, packedFloats(1, -2)),
			Float, []int{2}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{"raw first", message{}.bytes(9, packedFloats(1)).varint(2, 1).varint(1, 1),
			Float, []int{1}, []byte{0, 0, 0x80, 0x3f}},
		{"floats packed", message{}.varint(1, 2).varint(2, 1).bytes(4, packedFloats(1, -2)),
			Float, []int{2}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{"floats one by one", message{}.varint(1, 2).varint(2, 1).float(4, 1, -2),
			Float, []int{2}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{"dims packed", message{}.bytes(1, packedVarints(1, 2)).varint(2, 3).bytes(9, []byte{5, 6}),
			Int8, []int{1, 2}, []byte{5, 6}},
		{"scalar", message{}.varint(2, 9).bytes(5, packedVarints(1)), Bool, nil, []byte{1}},
		{"empty", message{}.varint(1, 0, 7).varint(2, 1), Float, []int{0, 7}, nil},
		{"empty of huge dims", message{}.varint(1, 1<<30, 1<<30, 0).varint(2, 1), Float, []int{1 << 30, 1 << 30, 0}, nil},
		{"float16", message{}.varint(1, 2).varint(2, 10).bytes(5, packedVarints(0x3c00, 0xc000)),
			Float16, []int{2}, []byte{0, 0x3c, 0, 0xc0}},
		{"int8 negative", message{}.varint(1, 1).varint(2, 3).bytes(5, packedVarints(-2)), Int8, []int{1}, []byte{0xfe}},
		{"int4 in pairs", message{}.varint(1, 3).varint(2, 22).bytes(5, packedVarints(0x21, 0x03)),
			Int4, []int{3}, []byte{0x21, 0x03}},
		{"int64", message{}.varint(1, 1).varint(2, 7).bytes(7, packedVarints(-1)),
			Int64, []int{1}, bytes.Repeat([]byte{0xff}, 8)},
		{"uint32", message{}.varint(1, 1).varint(2, 12).bytes(11, packedVarints(0x01020304)),
			Uint32, []int{1}, []byte{4, 3, 2, 1}},
		{"double", message{}.varint(1, 1).varint(2, 11).bytes(10, packedDoubles(1)),
			Double, []int{1}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
		{"complex64", message{}.varint(1, 1).varint(2, 14).bytes(4, packedFloats(1, -2)),
			Complex64, []int{1}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{"unknown field", message{}.varint(1, 1).varint(2, 2).string(99, "x").bytes(9, []byte{7}),
			Uint8, []int{1}, []byte{7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := ParseTensor(c.in.string(8, "X"))
			if err != nil {
				t.Fatal(err)
			}
			if x.Name != "X" || x.Type != c.typ || !slices.Equal(x.Dims, c.dims) || !bytes.Equal(x.Data, c.data) {
				t.Errorf("got %+v", x)
			}
		})
	}
}

func TestParseTensorErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		in   message
		want string
	}{
		{"no type", message{}.varint(1, 1).bytes(9, []byte{1}), "UNDEFINED"},
		{"unknown type", message{}.varint(2, 1000).bytes(9, []byte{1}), "ElementType(1000)"},
		{"negative type", message{}.varint(2, -1).bytes(9, []byte{1}), "ElementType(-1)"},
		{"strings", message{}.varint(1, 1).varint(2, 8).string(6, "x"), "string_data"},
		{"negative dim", message{}.varint(1, 2, -1).varint(2, 1), "dim 1 is -1"},
		{"rank", message{}.bytes(1, bytes.Repeat([]byte{1}, maxRank+1)).varint(2, 2), "more than 64 dims"},
		{"short", message{}.varint(1, 2).varint(2, 1).bytes(9, make([]byte, 7)), "7 bytes of data for shape [2] of FLOAT"},
		{"long", message{}.varint(1, 2).varint(2, 1).bytes(9, make([]byte, 12)), "12 bytes"},
		{"no data", message{}.varint(1, 1<<20).varint(2, 1), "0 bytes"},
		{"product overflows", message{}.varint(1, 1<<30, 1<<30, 1<<30).varint(2, 1), "0 bytes"},
		{"size overflows to 0", message{}.varint(1, 1<<30, 1<<29).varint(2, 1), "0 bytes"},
		{"wrong field", message{}.varint(1, 1).varint(2, 1).bytes(5, packedVarints(1)), "field 5 holds data of type FLOAT"},
		{"two fields", message{}.varint(1, 1).varint(2, 1).float(4, 1).bytes(9, packedFloats(1)), "both hold data"},
		{"external", message{}.varint(1, 1).varint(2, 1).varint(14, 1), "data location 1"},
		{"external entry", message{}.varint(1, 1).varint(2, 1).bytes(13, nil), "external data"},
		{"segment", message{}.varint(1, 1).varint(2, 1).bytes(3, nil), "segments"},
		{"wire type", message{}.string(2, "x"), "field 2 has wire type 2, want 0"},
		{"wire type of numbers", message{}.varint(2, 1).varint(4, 1), "field 4 has wire type 0, want 5"},
		{"ragged floats", message{}.varint(2, 1).bytes(4, make([]byte, 5)), "field 4"},
		{"truncated", message{}.varint(2, 1).bytes(9, make([]byte, 9))[:5], "field 9"},
		{"no field 0", message{0}, "invalid field number"},
		{"open group", protowire.AppendTag(nil, 50, protowire.StartGroupType), "field 50"},
		{"closed group", protowire.AppendTag(nil, 50, protowire.EndGroupType), "field 50"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := ParseTensor(c.in)
			if err == nil {
				t.Fatalf("got %+v", x)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestFloat32s(t *testing.T) {
	want := []float32{1, -2, 0x1p-149, float32(math.Inf(1))}
	x, err := ParseTensor(message{}.varint(1, 2, 2).varint(2, 1).bytes(9, packedFloats(want...)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Float32s(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	x.Type = Int32
	if _, err := x.Float32s(); err == nil {
		t.Error("no error for elements of type INT32")
	}
}

// FuzzTensor holds what is accepted to what a reader of it relies on.
func FuzzTensor(f *testing.F) {
	seedFiles(f, filepath.Join("test_data_set_0", "*.pb"))
	f.Add([]byte(message{}.varint(1, 2, 2).varint(2, 1).bytes(9, packedFloats(1, 2, 3, 4))))
	f.Add([]byte(message{}.varint(1, 3).varint(2, 22).bytes(5, packedVarints(0x21, 0x03))))
	f.Add([]byte(message{}.varint(1, 1<<30, 1<<30).varint(2, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseTensor(b)
		if err != nil {
			if x != nil {
				t.Fatal("a tensor beside an error")
			}
			return
		}
		// A one-byte varint becomes at most 8 bytes.
		if len(x.Data) > 8*len(b) {
			t.Fatalf("%d bytes of data from %d", len(x.Data), len(b))
		}
		if n := x.Len(); n < 0 || (n*x.Type.Bits()+7)/8 != len(x.Data) {
			t.Fatalf("%d bytes of data for shape %v of %v", len(x.Data), x.Dims, x.Type)
		}
		if v, err := x.Float32s(); (err == nil) != (x.Type == Float) || err == nil && len(v) != x.Len() {
			t.Fatalf("%d values of %v, %v", len(v), x.Dims, err)
		}
	})
}
