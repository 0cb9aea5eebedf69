package kernel

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

	// AheadBytes bytes that lie Ahead bytes behind Src, and what lies as far behind Codes, may be asked for. Nothing is read: no address
	// there needs to be valid.
	Ahead, AheadBytes int
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
// the second-level cache and move Next on by that. What lies Ahead bytes behind W may be asked for, too, as W
// is read for the first time, unless Ahead is 0. Nothing is read: no address there needs to be valid.
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
	Ahead         int     // bytes, at least 0
}

// MultiplyRowInt8Args are the operands of Set.MultiplyRowInt8, a product of class Int8 of one row of X, quantised, by
// packed weights: the panels of so many lanes that follow each other, over the whole depth. A panel is steps of up to
// KC terms, as Type.Int8 says. In each lane:
//
//	c := (Add ? C : 0) + (Bias != nil ? Bias : 0)
//	for each step of the panel {
//		if it is not the first {
//			c = c + 0
//		}
//		c = c + acc, of the step, as UnpackInt8 and MultiplyInt8 have it
//	}
//	C = c
//
// The memory Ahead bytes behind what is read is what will be read later: MultiplyRowInt8 may ask the CPU for it. Nothing
// is read there: no address needs to be valid. With Near it may do so for the first-level cache, otherwise for the
// second-level one.
type MultiplyRowInt8Args struct {
	X      *byte // [Depth/Int8Block] blocks, as Quantize makes them
	Depth  int   // a multiple of Int8Block, and of the block of the type
	Halves bool  // Set.Int8Halves

	Type   Weight   // one with Int8
	W      *byte    // [Panels] of Type.Int8().Bytes(Depth)*Lanes bytes, a step of which has Type.Int8().Bytes(KC)*Lanes
	Bias   *float32 // [Panels][Lanes], or nil
	C      *float32 // [Panels][Lanes], written or updated
	Lanes  int
	Panels int // at least 1
	Add    bool
	Ahead  int // bytes
	Near   bool
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
