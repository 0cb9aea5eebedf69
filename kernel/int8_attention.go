package kernel

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel/fp"
)

// Scores of class Int8 are products of the class of keys and queries. Keys of a type of integers are the rows X
// of MultiplyInt8, as ConvertInt8 makes them: an integer is the one that the type has, and D its scale. Queries
// are the panel, as PackInt8 makes it: 32 dims of a query are a block, as Quantize has it, and the last block of a
// head dim that is no multiple of 32 ends in zeros. So for the blocks of 32 dims, upwards,
//
//	acc = +0
//	acc = fma(float32(sum of key * query, integers), round(scale of the key's block * D of the query's), acc)
//	acc = fma(Min of the key's block, Sum of the query's, acc)
//
// the last one for a type that has a Min, and the score is 0 + acc.

// Integers reports whether values of the type are integers with scales, which class Int8 multiplies as they are.
func (e Elem) Integers() bool { return elemTypes[e].scale != NoScale }

// HasMin reports whether something is added to the integers of a block.
func (e Elem) HasMin() bool { return e == Q4_1 }

// Int8Blocks returns the blocks of class Int8 of so many dims.
func Int8Blocks(dim int) int { return (dim + Int8Block - 1) / Int8Block }

// Block sets dst to the integers of a block of Int8Block dims of the row at p, of dim values of a type of
// integers whose units are stride bytes apart, and returns their scale and what is added, 0 of a type without.
// scale is that of a row with a [RowScale]. Integers behind the row are 0.
func (e Elem) Block(dst *[Int8Block]int8, p unsafe.Pointer, block, dim, stride int, scale float32) (d, least float32) {
	if e == Int8 {
		for i := range dst {
			dst[i] = 0
			if at := block*Int8Block + i; at < dim {
				dst[i] = *(*int8)(unsafe.Add(p, at*stride))
			}
		}
		return scale, 0
	}
	p = unsafe.Add(p, block*stride)
	switch e {
	case Q8_0:
		b := (*BlockQ8_0)(p)
		*dst = b.Quants
		return fp.Float16ToFloat32(b.Scale), 0
	case Q4_0:
		b := (*BlockQ4_0)(p)
		nibbles(dst, &b.Quants, 8)
		return fp.Float16ToFloat32(b.Scale), 0
	case Q4_1:
		b := (*BlockQ4_1)(p)
		nibbles(dst, &b.Quants, 0)
		return fp.Float16ToFloat32(b.Scale), fp.Float16ToFloat32(b.Min)
	}
	panic("kernel: Block of a type without integers")
}

// nibbles sets dst to codes of 4 bits less a zero point.
func nibbles(dst *[Int8Block]int8, codes *[Int8Block / 2]uint8, zero int8) {
	for i, c := range codes {
		dst[i], dst[i+len(codes)] = int8(c&15)-zero, int8(c>>4)-zero
	}
}

// ConvertInt8Args are the operands of Set.ConvertInt8, which makes blocks of class Int8 of rows of keys, as
// MultiplyInt8 has X:
//
//	for r := range Rows {
//		for b := range Int8Blocks(Dim) {
//			integers, scale, min := Elem.Block(Src + Off[r], b, Dim, UnitStride, Scale[r])
//			block b of row r of Dst = {
//				the integers
//				D:     scale
//				Sum:   min
//				Whole: -128 times the sum of the integers
//				First, Second: 0
//			}
//		}
//	}
type ConvertInt8Args struct {
	Src        unsafe.Pointer
	Off        *[KeyBlock]int // bytes from Src to each row; may be negative
	Elem       Elem           // one of [Elem.Integers]
	UnitStride int            // bytes from one unit to the next, any sign, 0 included
	Scale      *float32       // [Rows], of Int8; otherwise not read
	Rows       int            // 1..KeyBlock
	Dim        int            // at least 1; of blocks, a multiple of BlockValues
	Halves     bool           // Set.Int8Halves
	Dst        *byte          // [Rows][Int8Blocks(Dim)] blocks, written
	RowBytes   int            // from one row of Dst to the next
}

// PackedBlocks is how many blocks of a value PackInt8 reads scales of.
const PackedBlocks = 4

// PackInt8Args are the operands of Set.PackInt8, which makes a panel of class Int8 of packed queries, as
// MultiplyInt8 has W, Scales and Mins, or of weights of a key block, whose dims are the keys. A block is 32 dims of a
// lane; those from Dim on are 0.
//
//	for b := range Int8Blocks(Dim) {
//		for l := range Lanes {
//			sum := float32(0)
//			for i := range 32 {
//				x[i] = Q[(b*32+i)*Stride + row of l]
//				if Factors == nil && V == nil {
//					continue
//				}
//				if signbit(x[i]) {
//					x[i] = 0
//					continue
//				}
//				at := b*32 + i, or (b*32+i)*FactorStride + factor of l if FactorStride != 0
//				if Mins != nil {
//					sum = fma(x[i], Mins[at], sum)
//				}
//				x[i] = x[i] * Factors[at]
//				// of V: by Min, if Elem has one, and Scale of block FactorOf[l] of the value at V + Off[b*32+i]
//			}
//			q := the block that Quantize makes of x
//			for i := range 32 {
//				Codes[(b*8+i/4)*Lanes*4+l*4+i%4] = q.integers[i], and 128 more unless Signed
//			}
//			Scales[b*Lanes+l] = q.D
//			if Sums != nil {
//				Sums[b*Lanes+l] = q.Sum, or sum if Mins != nil or V has minima
//			}
//		}
//	}
type PackInt8Args struct {
	Q       *float32 // [Dim][Stride], as Pack or Softmax left it
	Dim     int      // at least 1
	Lanes   int
	Stride  int
	Factors *float32 // [Dim], or [Dim][FactorStride] with one for each lane, or nil
	Mins    *float32 // as Factors, or nil; nil if Factors or Sums is

	// FactorStride is at least Lanes, or 0: all lanes of a dim have the same factor.
	FactorStride int

	// RowOf and FactorOf, if not nil, say which row of Q a lane has, and which of FactorStride factors, of any number
	// then. Otherwise both are that of the lane. They are for a set with SpreadsLanes, and for less than Set.Vec rows
	// and factors; that many values from the first of a dim on may be read, of Q, Factors and Mins.
	RowOf, FactorOf *int32 // [Lanes], 0..Set.Vec-1

	// V, if not nil, has the factors in blocks of values, a value of each dim. It is for a set with SpreadsBlocks, with RowOf, and in the place of
	// Factors and Mins. A value has at least PackedBlocks blocks, and FactorOf is one of these.
	V    unsafe.Pointer
	Off  *[2 * KeyBlock]int // bytes from V to each value; may be negative
	Elem Elem               // a type of blocks that is one of [Elem.Integers]

	Codes  *byte    // [Int8Blocks(Dim)*8][Lanes][4], written
	Scales *float32 // [Int8Blocks(Dim)][Lanes], written
	Sums   *float32 // [Int8Blocks(Dim)][Lanes], written, or nil
	Signed bool     // codes are the integers
}
