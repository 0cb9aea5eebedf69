package kerneltest

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// edges16 are numbers of 16 bits that are special in binary16 or in bfloat16: zeros,
// subnormal and least normal numbers, the largest, infinities, and NaNs, quiet or not.
var edges16 = []uint16{
	0, 1 << 15, 1, 0x8001, 0x3ff, 0x400, 0x7f, 0x80, 0x7bff, 0x7c00, 0xfc00, 0x7c01, 0x7e00, 0x7f7f, 0x7f80, 0xff80, 0x7f81, 0xffff,
}

// elemDims are head dims around the widths of vectors, and usual ones.
func elemDims(e kernel.Elem) []int {
	if n := e.UnitValues(); n > 1 {
		var dims []int
		for _, units := range []int{1, 2, 3, 4, 5, 8} {
			if units*n <= 256 {
				dims = append(dims, units*n)
			}
		}
		return dims
	}
	return append(dims(), 47, 48, 49, 96)
}

// elemLayouts are layouts in bytes of rows of n units, of which the first three, with unit
// strides, share no memory.
func elemLayouts(e kernel.Elem, n int) []layout {
	u, a := e.Unit(), e.Align()
	return []layout{
		{"contiguous", n * u, u},
		{"padded", n*u + 3*a, u},
		{"backward", -n*u - a, u},
		{"one row", 0, u},
		{"overlapping", a, u},
		{"every other", 2*n*u + a, 2 * u},
		{"units padded", n * (u + a), u + a},
		{"transposed", u, kernel.KeyBlock * u},
		{"inner backward", n * u, -u},
		{"one unit", a, 0},
		{"overlapping units", 3 * a, a},
	}
}

// elems returns scattered rows of n values, flush against the guard to the byte, the
// offsets of the rows, and their scales if they have any.
func (s *suite) elems(name string, e kernel.Elem, rows, n int, l layout, g gen) (unsafe.Pointer, *[2 * kernel.KeyBlock]int, *float32) {
	off := (*[2 * kernel.KeyBlock]int)(unsafe.Pointer(unsafe.SliceData(
		s.arena.exactWords(s.TB, name+" offsets", 2*kernel.KeyBlock*int(unsafe.Sizeof(int(0)))/4))))
	for i := range off {
		off[i] = 1 << 28 // not an operand; an address that faults
	}
	n /= e.UnitValues()
	least, most := min(0, (n-1)*l.inner), max(0, (n-1)*l.inner)
	first, last := 0, 0
	for i, p := range s.Perm(rows) {
		off[i] = (p - rows/2) * l.outer
		first = min(first, off[i]+least)
		last = max(last, off[i]+most)
	}
	size := last - first + e.Unit()
	words := s.arena.exactWords(s.TB, name, (size+3)/4)
	base := unsafe.Pointer(unsafe.SliceData(words))
	if s.edge == back {
		base = unsafe.Add(base, 4*len(words)-size)
	}
	base = unsafe.Add(base, -first)
	raw := s.IntN(4) == 0
	for i := range rows {
		for d := range n {
			s.unit(unsafe.Add(base, off[i]+d*l.inner), e, g, raw)
		}
	}
	if e.Scale() != kernel.RowScale {
		return base, off, nil
	}
	return base, off, s.matrix(name+" scales", 1, rows, rows, g)
}

// unit writes a unit to p: numbers as g draws them or, of 16 bits and raw, any bits; any bits of 8, and of
// codes.
func (s *suite) unit(p unsafe.Pointer, e kernel.Elem, g gen, raw bool) {
	bits16 := func(convert func(float32) uint16) uint16 {
		switch {
		case !raw:
			return convert(g.draw(s.Rand))
		case s.IntN(8) == 0:
			return edges16[s.IntN(len(edges16))]
		}
		return uint16(s.Uint32())
	}
	switch e {
	case kernel.Float32:
		*(*float32)(p) = g.draw(s.Rand)
	case kernel.Float16:
		*(*uint16)(p) = bits16(fp.Float32ToFloat16)
	case kernel.BFloat16:
		*(*uint16)(p) = bits16(fp.Float32ToBFloat16)
	case kernel.Int8:
		*(*int8)(p) = int8(s.Uint32())
	case kernel.Q8_0:
		b := (*kernel.BlockQ8_0)(p)
		b.Scale = bits16(fp.Float32ToFloat16)
		for i := range b.Quants {
			b.Quants[i] = int8(s.Uint32())
		}
	case kernel.E4M3, kernel.E5M2:
		*(*uint8)(p) = uint8(s.Uint32())
	case kernel.Q4_0:
		b := (*kernel.BlockQ4_0)(p)
		b.Scale = bits16(fp.Float32ToFloat16)
		for i := range b.Quants {
			b.Quants[i] = uint8(s.Uint32())
		}
	case kernel.Q4_1:
		b := (*kernel.BlockQ4_1)(p)
		b.Scale, b.Min = bits16(fp.Float32ToFloat16), bits16(fp.Float32ToFloat16)
		for i := range b.Quants {
			b.Quants[i] = uint8(s.Uint32())
		}
	}
}

func (s *suite) convert(int) {
	for _, e := range kernel.Elems() {
		for _, dim := range elemDims(e) {
			all := elemLayouts(e, dim/e.UnitValues())
			for _, l := range []layout{all[s.IntN(3)], all[s.IntN(3)], all[s.IntN(len(all))]} {
				if s.skip() {
					continue
				}
				s.begin()
				rows := 1 + s.IntN([]int{1, 9, kernel.KeyBlock}[s.IntN(3)])
				stride := s.stride(dim)
				brain := s.IntN(2) == 0
				g := s.decodeKind(decodeShape{brain: brain})
				src, off, scale := s.elems("Src", e, rows, dim, l, g)
				a := kernel.ConvertArgs{
					Brain: brain,
					Src:   src, Off: (*[kernel.KeyBlock]int)(off[:]), Elem: e, UnitStride: l.inner, Scale: scale, Rows: rows, Dim: dim,
					Dst: s.matrix("Dst", rows, dim, stride, unwritten), Stride: stride,
				}
				if s.IntN(2) == 0 {
					a.Ahead = (*[kernel.KeyBlock]int)(off[kernel.Upcoming:])
				}
				got := a
				what := func() string {
					return fmt.Sprintf("Convert %v brain=%t rows=%d dim=%d stride=%d %v %s", e, brain, rows, dim, stride, l, g.name)
				}
				s.check(what, func() { convert(&a) }, func() { s.set.Convert(&got) })
				unchanged(s, what, got, a)
			}
		}
		if e.UnitValues() == 1 && e.Unit() <= 2 && e.Scale() == kernel.NoScale {
			s.convertAll(e, false)
			s.convertAll(e, true)
		}
	}
}

// convertAll converts every number of 16 bits, or of 8.
func (s *suite) convertAll(e kernel.Elem, brain bool) {
	unit := e.Unit()
	all, rows := 1<<(8*unit), 16
	for number := 0; number < all; number += rows * 256 {
		s.begin()
		src, off, _ := s.elems("Src", e, rows, 256, layout{"contiguous", 256 * unit, unit}, zero)
		for r := range rows {
			for i := range 256 {
				if at := unsafe.Add(src, off[r]+unit*i); unit == 1 {
					*(*uint8)(at) = uint8(i)
				} else {
					*(*uint16)(at) = uint16(number + 256*r + i)
				}
			}
		}
		a := kernel.ConvertArgs{
			Src: src, Off: (*[kernel.KeyBlock]int)(off[:]), Elem: e, UnitStride: unit, Rows: rows, Dim: 256, Brain: brain,
			Dst: s.matrix("Dst", rows, 256, 256, unwritten), Stride: 256,
		}
		what := func() string { return fmt.Sprintf("Convert %v brain=%t from %#04x on", e, brain, number) }
		s.check(what, func() { convert(&a) }, func() { s.set.Convert(&a) })
	}
}
