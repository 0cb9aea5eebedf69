package kernel

import (
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel/fp"
)

// TestElem: units are as large as what strides count, and each has a name of its own.
func TestElem(t *testing.T) {
	if n := unsafe.Sizeof(BlockQ8_0{}); n != 34 {
		t.Errorf("a block of Q8_0 is %d bytes, want 34", n)
	}
	if off := unsafe.Offsetof(BlockQ8_0{}.Quants); off != 2 {
		t.Errorf("its values begin at byte %d, want 2", off)
	}
	if off := unsafe.Offsetof(BlockQ4_0{}.Quants); off != 2 {
		t.Errorf("those of Q4_0 begin at byte %d, want 2", off)
	}
	if m, off := unsafe.Offsetof(BlockQ4_1{}.Min), unsafe.Offsetof(BlockQ4_1{}.Quants); m != 2 || off != 4 {
		t.Errorf("of Q4_1, Min and values begin at bytes %d and %d, want 2 and 4", m, off)
	}
	all, seen := Elems(), map[string]bool{}
	for i, c := range []struct {
		elem                          Elem
		name, goType                  string
		unit, align, values, rowBytes int // of a row of 64
		scale                         ScaleKind
		direct                        bool
	}{
		{Float32, "float32", "float32", 4, 4, 1, 256, NoScale, true},
		{Float16, "float16", "Float16", 2, 2, 1, 128, NoScale, true},
		{BFloat16, "bfloat16", "BFloat16", 2, 2, 1, 128, NoScale, true},
		{Int8, "int8", "int8", 1, 1, 1, 64, RowScale, true},
		{Q8_0, "q8_0", "BlockQ8_0", 34, 2, 32, 68, BlockScale, true},
		{E4M3, "e4m3", "Float8E4M3", 1, 1, 1, 64, NoScale, false},
		{E5M2, "e5m2", "Float8E5M2", 1, 1, 1, 64, NoScale, false},
		{Q4_0, "q4_0", "BlockQ4_0", 18, 2, 32, 36, BlockScale, false},
		{Q4_1, "q4_1", "BlockQ4_1", 20, 2, 32, 40, BlockScale, false},
	} {
		e := c.elem
		if i >= len(all) || all[i] != e {
			t.Errorf("type %d is not %v", i, e)
		}
		if e.Name() != c.name || e.String() != c.goType || seen[c.name] || seen[c.goType+" of Go"] {
			t.Errorf("a type is called %q and %v, want %q and %s, of it alone", e.Name(), e, c.name, c.goType)
		}
		seen[c.name], seen[c.goType+" of Go"] = true, true
		if e.Unit() != c.unit || e.Align() != c.align || e.UnitValues() != c.values || e.RowBytes(64) != c.rowBytes || e.Scale() != c.scale || e.Direct() != c.direct {
			t.Errorf("%v: a unit has %d bytes at multiples of %d and %d values, a row of 64 has %d bytes, its scale is %d; want %+v",
				e, e.Unit(), e.Align(), e.UnitValues(), e.RowBytes(64), e.Scale(), c)
		}
		if got, ok := ElemNamed(c.name); got != e || !ok {
			t.Errorf("the type named %q is %v, %v", c.name, got, ok)
		}
	}
	if len(seen) != 2*len(all) {
		t.Errorf("%d types, want %d", len(all), len(seen)/2)
	}
	if _, ok := ElemNamed("Float16"); ok {
		t.Error("a type is named Float16 in texts")
	}
}

// TestElemUnknown: a type that is in the table alone is found out.
func TestElemUnknown(t *testing.T) {
	for name, f := range map[string]func(p unsafe.Pointer, x *float32){
		"Values": func(p unsafe.Pointer, x *float32) { elems.Values(make([]float32, 1), p, 0, 1, 1) },
		"SetRow": func(p unsafe.Pointer, x *float32) { elems.SetRow(p, 1, nil, x, 1, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of no type returns", name)
				}
			}()
			var x [2]float32
			f(unsafe.Pointer(&x[0]), &x[1])
		}()
	}
	for _, e := range Elems() { // and each in the table has code
		block, x, scale := make([]float32, 64), make([]float32, 2*256), float32(0)
		e.SetRow(unsafe.Pointer(&block[0]), e.Unit(), &scale, &x[0], 1, e.UnitValues())
		e.Values(x[:e.UnitValues()], unsafe.Pointer(&block[0]), 0, e.Unit(), 1)
	}
}

// TestElemValue reads units that stand between others, forward and backward.
func TestElemValue(t *testing.T) {
	test := func(e Elem, p unsafe.Pointer, i, stride int, scale float32, want float64) {
		t.Helper()
		if got := e.Value(p, i, stride, scale); float64(got) != want {
			t.Errorf("%v: value %d, %d bytes apart, is %v, want %v", e, i, stride, got, want)
		}
	}
	f := [4]float32{1, -2, 3.5, 5}
	test(Float32, unsafe.Pointer(&f[0]), 1, 4, 7, -2)
	test(Float32, unsafe.Pointer(&f[3]), 1, -8, 7, -2)
	h := [4]uint16{0x3c00, 0xc000, 0x4300, 0x0001}
	test(Float16, unsafe.Pointer(&h[0]), 2, 2, 7, 3.5)
	test(Float16, unsafe.Pointer(&h[3]), 0, 0, 7, 0x1p-24)
	test(Float16, unsafe.Pointer(&h[3]), 1, -4, 7, -2)
	b := [3]uint16{0x3f80, 0xc000, 0x0001}
	test(BFloat16, unsafe.Pointer(&b[0]), 1, 2, 7, -2)
	test(BFloat16, unsafe.Pointer(&b[0]), 1, 4, 7, 0x1p-133)
	q := [3]int8{-128, 127, 3}
	const third = float32(1) / 3
	test(Int8, unsafe.Pointer(&q[0]), 0, 1, third, float64(-128*third))
	test(Int8, unsafe.Pointer(&q[0]), 1, 1, 0.5, 63.5)
	test(Int8, unsafe.Pointer(&q[0]), 2, 1, third, float64(float32(3*float64(third)))) // rounded

	small := [3]uint8{0x38, 0xb9, 0x01} // 1, -1.125 and 2^-9; 0.5, -0.625 and 2^-16
	test(E4M3, unsafe.Pointer(&small[0]), 1, 1, 7, -1.125)
	test(E4M3, unsafe.Pointer(&small[2]), 2, -1, 7, 1)
	test(E4M3, unsafe.Pointer(&small[0]), 1, 2, 7, 0x1p-9)
	test(E5M2, unsafe.Pointer(&small[0]), 1, 1, 7, -0.625)
	test(E5M2, unsafe.Pointer(&small[0]), 1, 2, 7, 0x1p-16)

	third4 := fp.Float32ToFloat16(third)
	fours := [2]BlockQ4_0{{Scale: third4}, {Scale: 0x4000}}                          // a third, and 2
	ones := [2]BlockQ4_1{{Scale: third4, Min: 0x63d0}, {Scale: 0x4000, Min: third4}} // and 1000 added, and a third
	for i := range 16 {
		fours[0].Quants[i], fours[1].Quants[i] = uint8(i|(15-i)<<4), uint8(i<<4)
		ones[0].Quants[i], ones[1].Quants[i] = fours[0].Quants[i], fours[1].Quants[i]
	}
	thirdHalf := float64(fp.Float16ToFloat32(third4))
	for i := range 2 * BlockValues {
		code := float64([]int{i, 31 - i, 0, i - 48}[i/16])
		scale, add := thirdHalf, 1000.0
		if i >= BlockValues {
			scale, add = 2, thirdHalf
		}
		test(Q4_0, unsafe.Pointer(&fours[0]), i, Q4_0.Unit(), 7, scale*(code-8))
		test(Q4_1, unsafe.Pointer(&ones[0]), i, Q4_1.Unit(), 7, float64(float32(scale*code+add)))
		test(Q4_0, unsafe.Pointer(&fours[1]), (i+32)%64, -Q4_0.Unit(), 7, scale*(code-8))
		test(Q4_1, unsafe.Pointer(&ones[1]), (i+32)%64, -Q4_1.Unit(), 7, float64(float32(scale*code+add)))
	}

	var blocks [3]BlockQ8_0
	for j := range blocks {
		blocks[j].Scale = fp.Float32ToFloat16(float32(j) - 0x1.554p-2)
		for i := range blocks[j].Quants {
			blocks[j].Quants[i] = int8(j*41 + i*8 - 128)
		}
	}
	unit := Q8_0.Unit()
	for i := range 3 * BlockValues {
		scale := float64(fp.Float16ToFloat32(blocks[i/32].Scale))
		test(Q8_0, unsafe.Pointer(&blocks[0]), i, unit, 7, scale*float64(blocks[i/32].Quants[i%32]))
		back := &blocks[2-i/32]
		test(Q8_0, unsafe.Pointer(&blocks[2]), i, -unit, 7, float64(fp.Float16ToFloat32(back.Scale))*float64(back.Quants[i%32]))
	}
}
