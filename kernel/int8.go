package kernel

import (
	"encoding/binary"
	"unsafe"
)

// Class Int8 multiplies integers of 8 bits. Rows of X are quantised in blocks of Int8Block values, each block
// with a scale of its own; weights are the integers that their type has, each stored as a code, the number
// plus int8Offset, without a sign.

// Int8Block is the terms of a block of class Int8, a divisor of KC.
const Int8Block = 32

// int8Offset is the difference between a code and its number.
const int8Offset = 128

// A block of a row of X is its integers and five numbers of 32 bits behind them:
//
//	D      float32  what an integer is multiplied by
//	Sum    float32  D times the sum of the integers, rounded
//	Whole  int32    -int8Offset times the sum of the integers
//	First  int32    the same of the first half of the block
//	Second int32    the same of the second half
//
// The integers are int8 in order, 32 bytes; or, of a set with Int8Halves, int16, of which each four stand in the
// order 0, 2, 1, 3: 64 bytes.
const (
	Int8D = 4 * iota
	Int8Sum
	Int8Whole
	Int8First
	Int8Second
	int8Behind
)

// Int8Integers returns the bytes of the integers of a block of X.
func Int8Integers(halves bool) int {
	if halves {
		return 2 * Int8Block
	}
	return Int8Block
}

// Int8BlockBytes returns the bytes of a block of X.
func Int8BlockBytes(halves bool) int { return Int8Integers(halves) + int8Behind }

// QuantizeArgs are the operands of Set.Quantize, which makes blocks of integers of rows of X. For each 32 values
// x of a row:
//
//	most = max(|x|)
//	if most is NaN or an infinity {
//		D = NaN, and all integers are 0
//	} else if 127/most is an infinity {
//		D = 0, and all integers are 0
//	} else {
//		D = most / 127
//		an integer is x * (127 / most), each operation rounded to float32, rounded to the nearest, ties to even
//	}
type QuantizeArgs struct {
	X         *float32
	RowStride int   // elements from one row of X to the next, any sign, 0 included
	ColStride int   // elements from one column of X to the next, any sign, 0 included
	Rows      int   // at least 1
	Depth     int   // a multiple of Int8Block
	Halves    bool  // Set.Int8Halves
	Dst       *byte // [Rows][Depth/Int8Block] blocks, written
	RowBytes  int   // from one row of Dst to the next
}

// An Int8Scales is how packed weights have the scales of a step of Depth terms, and what is added to sums. All
// are arrays [Lanes], one after the other, in the order of the machine.
type Int8Scales int

const (
	// Int8Half: for each block a scale of binary16.
	Int8Half Int8Scales = iota
	// Int8HalfMin: for each block a scale of binary16, and a minimum of binary16.
	Int8HalfMin
	// Int8Groups32: d and m of binary16, and for each block s and t, bytes up to 127: the scale d*s and the
	// minimum -m*t, exactly. Depth is KC.
	Int8Groups32
	// Int8Groups16: d of binary16, and for each half of a block s, int8: the scale d*s, exactly. Depth is KC.
	Int8Groups16
	// Int8Float: for each block a scale of float32.
	Int8Float
	int8Scales
)

// Groups returns the scales of a block.
func (s Int8Scales) Groups() int {
	if s == Int8Groups16 {
		return 2
	}
	return 1
}

// HasMins reports whether there are minima.
func (s Int8Scales) HasMins() bool { return s == Int8HalfMin || s == Int8Groups32 }

// Bytes returns the bytes of a lane, of so many terms.
func (s Int8Scales) Bytes(depth int) int {
	blocks := depth / Int8Block
	switch s {
	case Int8Half:
		return 2 * blocks
	case Int8Groups32:
		return depth / KC * (4 + 2*KC/Int8Block)
	case Int8Groups16:
		return depth / KC * (2 + 2*KC/Int8Block)
	}
	return 4 * blocks
}

// UnpackInt8Args are the operands of Set.UnpackInt8, which makes float32 of the scales of a step of packed
// weights, and bytes of codes of 4 bits if they are given:
//
//	for b := range blocks, g := range 4, l := range Lanes, i := range 4 {
//		code := Codes[b][g][l][i]
//		Dst[b][g][l][i], Dst[b][4+g][l][i] = Table[code&15], Table[code>>4]
//	}
type UnpackInt8Args struct {
	Kind   Int8Scales
	Src    *byte // scales as Kind says
	Depth  int   // a multiple of Int8Block, up to KC
	Lanes  int
	Scales *float32 // [Depth/Int8Block*Kind.Groups()][Lanes], written
	Mins   *float32 // [Depth/Int8Block][Lanes], written if there are minima

	Codes *byte     // [Depth/Int8Block][4][Lanes][4], or nil
	Table *[16]byte // of numbers that codes of 4 bits stand for, as codes of 8 bits; of no Codes any
	Dst   *byte     // [Depth/Int8Block][8][Lanes][4], written if there are Codes
}

// MultiplyInt8Args are the operands of Set.MultiplyInt8, a block of a matrix product of class Int8: rows of X,
// quantised, by a step of a panel.
//
//	for i := range Rows, l := range Lanes {
//		acc := float32(0)
//		for each block of row i {
//			for each group of the block, a half of it where Groups is 2 {
//				sum := int32(0)
//				for each term of the group {
//					sum += (code of the term in lane l - 128) * (integer of the block)
//				}
//				acc = fma(float32(sum), round(scale of the group in lane l * D), acc)
//			}
//			if Mins != nil {
//				acc = fma(minimum of the block in lane l, Sum, acc)
//			}
//		}
//		if Alpha != nil {
//			C[i*Stride+l] = round(C[i*Stride+l]*Alpha[l]) + acc
//			continue
//		}
//		c, b := Add ? C[i*Stride+l] : 0, Bias != nil ? Bias[l] : 0
//		C[i*Stride+l] = (c + b) + acc
//	}
//
// An integer sum is exact in any order. Without Table a code is a byte of W. With it a byte of W has two codes of
// 4 bits, the lower one of a term and the upper one of the term 16 further, and a code is that byte of Table.
//
// The memory from Next to NextEnd is what will be read next: MultiplyInt8 may ask the CPU to bring some of it into
// the second-level cache and move Next on by that. Nothing is read: no address there needs to be valid.
type MultiplyInt8Args struct {
	X        *byte // [Rows][Depth/Int8Block] blocks, as Quantize makes them, or ConvertInt8 or TransposeInt8 for one group
	RowBytes int   // from one row of X to the next
	Rows     int   // at least 1; 1 if there is a Table
	Depth    int   // a multiple of Int8Block
	Halves   bool  // Set.Int8Halves

	W      *byte     // [Depth/4][Lanes][4], or [Depth/Int8Block][4][Lanes][4] if there is a Table
	Table  *[16]byte // or nil
	Groups int       // 1 or 2, 1 if there is a Table
	Scales *float32  // [Depth/Int8Block*Groups][Lanes]
	Mins   *float32  // [Depth/Int8Block][Lanes], or nil; nil if Groups is 2

	Bias   *float32 // [Lanes], or nil
	Alpha  *float32 // [Lanes], or nil; nil without Add, with Bias or a Table, and if Groups is 2
	C      *float32 // [Rows][Stride], written or updated; no two elements share memory
	Stride int      // elements from one row of C to the next, any sign
	Lanes  int
	Add    bool

	Next, NextEnd uintptr // addresses, which keep nothing alive; nothing is asked for unless Next is below NextEnd
}

// An Int8Form is how weights of a type are packed for class Int8. A step of up to KC terms of a panel is its codes,
// as MultiplyInt8 has W, and then its scales.
type Int8Form struct {
	Type   Weight
	Table  *[16]byte // of a type with codes of 4 bits, otherwise nil
	Scales Int8Scales
}

// Bytes returns the bytes of a lane, of so many terms: whole blocks of the type, and of 32.
func (f *Int8Form) Bytes(depth int) int { return f.codes(depth) + f.Scales.Bytes(depth) }

// codes returns the bytes of the codes of a lane.
func (f *Int8Form) codes(depth int) int {
	if f.Table != nil {
		return depth / 2
	}
	return depth
}

// ScalesAt returns where the scales of a step begin, in bytes.
func (f *Int8Form) ScalesAt(depth, lanes int) int { return f.codes(depth) * lanes }

// codesOf returns the table of codes of 4 bits that stand for numbers.
func codesOf(number func(code int) int) *[16]byte {
	t := new([16]byte)
	for i := range t {
		t[i] = byte(number(i) + int8Offset)
	}
	return t
}

var int8Forms = func() (forms [weights]*Int8Form) {
	plain := codesOf(func(code int) int { return code })
	for _, f := range []Int8Form{
		{WeightInt8, nil, Int8Float},
		{WeightQ8_0, nil, Int8Half},
		{WeightQ4_0, codesOf(func(code int) int { return code - 8 }), Int8Half},
		{WeightQ4_1, plain, Int8HalfMin},
		{WeightQ5_0, nil, Int8Half},
		{WeightQ5_1, nil, Int8HalfMin},
		{WeightQ4_K, plain, Int8Groups32},
		{WeightQ5_K, nil, Int8Groups32},
		{WeightQ6_K, nil, Int8Groups16},
		{WeightIQ4_NL, codesOf(func(code int) int { return int(iq4nl[code]) }), Int8Half},
		{WeightMXFP4, codesOf(func(code int) int { return int(e2m1[code]) }), Int8Float},
	} {
		forms[f.Type] = &f
	}
	return forms
}()

// Int8 returns how weights of the type are packed for class Int8, or nil if they are not integers with scales for
// 16 values or more.
func (w Weight) Int8() *Int8Form { return int8Forms[w] }

// PackInt8 packs columns of depth terms, up to KC, of the type's whole blocks. Column l begins at value
// first + l*step, which begins a block; lanes without a column have scales of 0.
func (r *WeightRows) PackInt8(dst *byte, first, step, cols, lanes, depth int) {
	f := r.Type.Int8()
	to := int8Packing{WeightRows: r, form: f, dst: unsafe.Slice(dst, f.Bytes(depth)*lanes), lanes: lanes, depth: depth}
	to.scales = to.dst[f.ScalesAt(depth, lanes):]
	if cols < lanes {
		clear(to.scales)
		for i := range to.dst[:f.ScalesAt(depth, lanes)] {
			to.dst[i] = int8Offset
		}
	}
	for l := range cols {
		to.column(l, first+l*step)
	}
}

// An int8Packing is a step of a panel being packed.
type int8Packing struct {
	*WeightRows
	form         *Int8Form
	dst, scales  []byte
	lanes, depth int
}

// column packs a column.
func (p *int8Packing) column(lane, first int) {
	size := p.Type.Bytes()
	src := p.Data[first/p.Type.Values()*size:]
	switch p.Type {
	case WeightInt8:
		for b := range p.depth / Int8Block {
			p.signed(b, lane, src[b*Int8Block:])
			at := first + b*Int8Block
			row, col := at/p.Cols, at%p.Cols
			groups := (p.Cols-1)/p.GroupSize + 1
			p.float(b, lane, p.Scales[row*groups+col/p.GroupSize])
		}
		return
	case WeightQ4_K, WeightQ5_K, WeightQ6_K:
		p.super(lane, src)
		return
	}
	for b := range p.depth / Int8Block {
		block := src[b*size:][:size]
		switch p.Type {
		case WeightQ8_0:
			p.signed(b, lane, block[2:])
		case WeightQ5_0:
			p.fives(b, lane, block[6:], binary.LittleEndian.Uint32(block[2:]), (int8Offset-16)*bytes1)
		case WeightQ5_1:
			p.fives(b, lane, block[8:], binary.LittleEndian.Uint32(block[4:]), int8Offset*bytes1)
		default: // codes of 4 bits in the order of W
			for g := range 4 {
				p.putNibbles(b, g, lane, dword(block[size-16:], g))
			}
		}
		switch p.form.Scales {
		case Int8Half:
			p.half(b, lane, block)
		case Int8HalfMin:
			p.half(2*b, lane, block)
			p.half(2*b+1, lane, block[2:])
		case Int8Float:
			p.float(b, lane, halfE8M0(block[0]))
		}
	}
}

// bytes1 has a 1 in each byte.
const bytes1 = 0x01010101

// dword returns four bytes, the first one lowest.
func dword(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }

// put writes four codes of 8 bits.
func (p *int8Packing) put(block, group, lane int, codes uint32) {
	binary.LittleEndian.PutUint32(p.dst[((8*block+group)*p.lanes+lane)*4:], codes)
}

// putNibbles writes eight codes of 4 bits.
func (p *int8Packing) putNibbles(block, group, lane int, codes uint32) {
	binary.LittleEndian.PutUint32(p.dst[((4*block+group)*p.lanes+lane)*4:], codes)
}

// half writes a number of binary16 of array i of the scales.
func (p *int8Packing) half(i, lane int, b []byte) {
	binary.NativeEndian.PutUint16(p.scales[2*(i*p.lanes+lane):], binary.LittleEndian.Uint16(b))
}

// float writes a number of array i of the scales.
func (p *int8Packing) float(i, lane int, x float32) {
	*(*float32)(unsafe.Pointer(&p.scales[4*(i*p.lanes+lane)])) = x
}

// signed packs a block of int8.
func (p *int8Packing) signed(block, lane int, b []byte) {
	for g := range 8 {
		p.put(block, g, lane, dword(b, g)^int8Offset*bytes1)
	}
}

// fifths has, for four bits, 16 in the bytes of those that are set.
var fifths = func() (t [16]uint32) {
	for bits := range t {
		for i := range 4 {
			t[bits] |= uint32(bits>>i&1) << (8*i + 4)
		}
	}
	return t
}()

// fives packs a block of codes of 5 bits, to each of which something is added.
func (p *int8Packing) fives(block, lane int, b []byte, high, add uint32) {
	for g := range 4 {
		codes := dword(b, g)
		p.put(block, g, lane, codes&(15*bytes1)+fifths[high>>(4*g)&15]+add)
		p.put(block, 4+g, lane, codes>>4&(15*bytes1)+fifths[high>>(16+4*g)&15]+add)
	}
}

// super packs a block of 256 values.
func (p *int8Packing) super(lane int, b []byte) {
	switch p.Type {
	case WeightQ6_K:
		p.half(0, lane, b[208:])
		for i := range 16 {
			p.scales[(2+i)*p.lanes+lane] = b[192+i]
		}
		for block := range 8 {
			half, part := block/4, block%4
			low, high := b[64*half+part%2*32:], b[128+32*half:]
			for g := range 8 {
				codes := dword(low, g) >> (part / 2 * 4) & (15 * bytes1)
				codes |= dword(high, g) >> (2 * part) & (3 * bytes1) << 4
				p.put(block, g, lane, codes+(int8Offset-32)*bytes1)
			}
		}
		return
	}
	p.half(0, lane, b)
	p.half(1, lane, b[2:])
	for block := range 8 {
		s, t := scales6((*[12]byte)(b[4:]), block)
		p.scales[(4+2*block)*p.lanes+lane] = s
		p.scales[(5+2*block)*p.lanes+lane] = t
	}
	if p.Type == WeightQ4_K {
		for block := range 8 {
			codes, shift := b[16+block/2*32:], block%2*4
			for g := range 4 {
				low, high := dword(codes, g)>>shift&(15*bytes1), dword(codes, 4+g)>>shift&(15*bytes1)
				p.putNibbles(block, g, lane, low|high<<4)
			}
		}
		return
	}
	for block := range 8 {
		codes, shift := b[48+block/2*32:], block%2*4
		for g := range 8 {
			fifth := dword(b[16:], g) >> block & bytes1 << 4
			p.put(block, g, lane, dword(codes, g)>>shift&(15*bytes1)|fifth|int8Offset*bytes1)
		}
	}
}
