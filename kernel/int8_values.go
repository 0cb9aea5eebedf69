package kernel

import "unsafe"

// Weighted values of class Int8, where a caller wants them as integers too, are products of the class of values
// and weights of a key block. A block is 32 keys: those of one begin at a multiple of 32 of the key block. The
// scales of values differ by key, so they are factors of the weights, before these are quantised. A panel is made of
// the weights for the values that share a scale by key: whole rows of Int8, or 32 dims of a type of blocks.
//
//	for each block of 32 keys {
//		x[k] = round(weight[k] * scale of value k), and 0 of a weight whose sign bit is set
//		integers, D = those that Quantize makes of x
//		Min = sum of weight[k] * minimum of value k, by fused multiply-adds upwards from +0, without weights
//			whose sign bit is set
//	}
//	acc = +0
//	for each block of 32 keys, upwards {
//		acc = fma(float32(sum of integers * those of the values), D, acc)
//		acc = acc + Min
//	}
//	O = First: 0 + acc; Add: O + acc; Rescale: round(O * Alpha) + acc
//
// The line with Min is that of a type that has one. Keys that are left out have integers of 0, so it doesn't matter
// where a call begins or ends among the keys of a block, and acc, which is never -0, stays what it is by a block of
// such keys.

// TransposeInt8Args are the operands of Set.TransposeInt8, which makes of rows of values what MultiplyInt8 has for
// X: a row for each dim, whose blocks are the integers of 32 values each.
//
//	for d := range Dim {
//		for b := range Int8Blocks(Keys) {
//			block b of row d of Dst = {
//				the integers of dim d of the values from b*32 on, 0 from value Keys on
//				D:     1
//				Sum:   1
//				Whole: -128 times the sum of the integers
//				First, Second: 0
//			}
//		}
//	}
type TransposeInt8Args struct {
	Src        unsafe.Pointer
	Off        *[KeyBlock]int // bytes from Src to each value; may be negative
	Elem       Elem           // one of [Elem.Integers]
	UnitStride int            // bytes from one unit to the next, any sign, 0 included
	Keys       int            // 1..KeyBlock
	Dim        int            // at least 1; of blocks, a multiple of BlockValues
	Halves     bool           // Set.Int8Halves
	Dst        *byte          // [Dim][Int8Blocks(Keys)] blocks, written
	RowBytes   int            // from one row of Dst to the next
}

// DecodeAccumulateInt8Args are the operands of Set.DecodeAccumulateInt8, which computes what MultiplyInt8 makes of
// values that TransposeInt8 made, to the bit, for few queries: it reads rows of memory, each element once, and keeps
// the output in rows. A group is the dims of a value that share a scale: all of them, of Int8, and otherwise
// BlockValues. Rows of Codes, Scales and Mins are beside each other, in Lanes; the first is row 0.
//
//	for r := range Rows {
//		for d := range Dim {
//			acc := float32(0)
//			if From != nil {
//				acc = From[r*OStride+d]
//			}
//			g := group of d
//			for b := range Int8Blocks(Keys) {
//				sum := int32(0)
//				for k := b*32; k < min(b*32+32, Keys); k++ {
//					sum += (integer d of value k) * Codes[g*GroupCodes+((b*8+k%32/4)*Lanes+r)*4+k%4]
//				}
//				acc = fma(float32(sum), Scales[g*GroupScales+b*Lanes+r], acc)
//				if Elem == Q4_1 {
//					acc = acc + Mins[g*GroupScales+b*Lanes+r]
//				}
//			}
//			if To != nil {
//				To[r*OStride+d] = acc
//				continue
//			}
//			switch Mode {
//			case First:
//				O[r*OStride+d] = 0 + acc
//			case Add:
//				O[r*OStride+d] = O[r*OStride+d] + acc
//			case Rescale:
//				O[r*OStride+d] = round(O[r*OStride+d]*Alpha[r]) + acc
//			}
//		}
//	}
//
// An integer sum is exact in any order. Codes of the last block behind Keys are 0.
type DecodeAccumulateInt8Args struct {
	V    unsafe.Pointer
	Off  *[2 * KeyBlock]int // bytes from V to each value; may be negative. See [Upcoming]
	Elem Elem               // one of [Elem.Integers]
	Keys int                // 1..KeyBlock
	Dim  int                // dims of the call, a multiple of Set.Vec, and of BlockValues for blocks

	Codes  *int8    // [Int8Blocks(Keys)*8][Lanes][4] of a group, -127..127, as PackInt8 makes them Signed
	Scales *float32 // [Int8Blocks(Keys)][Lanes] of a group
	Mins   *float32 // likewise, of Q4_1; otherwise not read
	Lanes  int      // at least Rows
	Rows   int      // 1..Set.DecodeRows

	// GroupCodes is the bytes from the codes of a group to those of the next, and GroupScales the values of Scales and
	// of Mins: groups lie behind each other, or in lanes beside each other.
	GroupCodes, GroupScales int

	// From, if not nil, has the sums of keys before these of the block, and To, if not nil, takes
	// those up to these, for the keys after them: then O is not touched. They may be the same.
	From, To *float32 // [Rows][OStride]

	O       *float32 // [Rows][OStride], updated
	OStride int      // at least Dim
	Alpha   *float32 // [Rows], as Softmax left it
	Mode    UpdateMode

	Near bool // as in DecodeScoresArgs
}

// Int8Groups returns how many groups so many dims have whose values share a scale by key.
func (e Elem) Int8Groups(dim int) int {
	if e == Int8 {
		return 1
	}
	return dim / e.UnitValues()
}
