package kernel

import "unsafe"

// MaxDecodeRows bounds Set.DecodeRows.
const MaxDecodeRows = 16

// Upcoming is how far behind the offset of a key that of the row lies that a kernel may ask the
// CPU to bring into a cache when it reads the key. No address there needs to be valid.
const Upcoming = KeyBlock

// DecodeScoresArgs are the operands of Set.DecodeScores, which computes what Scores
// does, to the bit, for few queries: it reads rows of memory, each element once.
//
//	for k := range Keys {
//		for r := range Rows {
//			acc := float32(0)
//			for d := range Dim {
//				key := Elem.Value(K + Off[k], d, Elem.Unit(), Scale[k]), and what [Brain] returns of that, if Brain
//				acc = fma(key, Q[d*QStride+r], acc)
//			}
//			S[k*Stride+r] = acc
//		}
//	}
type DecodeScoresArgs struct {
	K       unsafe.Pointer
	Off     *[2 * KeyBlock]int // bytes from K to each key; may be negative. See [Upcoming]
	Elem    Elem               // one that is [Elem.Direct]
	Scale   *float32           // [Keys], of Int8; otherwise not read
	Keys    int                // 1..KeyBlock
	Dim     int                // at least Set.Vec; of Q8_0, a multiple of BlockValues
	Q       *float32           // [Dim][QStride], as Pack left it
	QStride int                // at least Rows
	Rows    int                // 1..Set.DecodeRows
	S       *float32           // [Keys][Stride], of which Rows are written
	Stride  int                // at least Rows
	Near    bool               // rows asked for are wanted in the first-level cache, not in the second
	Brain   bool               // numbers are those of class BFloat16; only of Elem BFloat16, and of a set with BrainRows
}

// DecodeScoresInt8Args are the operands of Set.DecodeScoresInt8, which multiplies keys by few queries in class
// Int8: it reads rows of memory, each element once. A number of a key is its integer: of Q4_0 the code - 8, of
// Q4_1 the code. Dims behind the last are zeros in Q, and are not read of K.
//
//	for k := range Keys {
//		for r := range Rows {
//			acc := float32(0)
//			for each block of row r of Q {
//				sum := int32(0)
//				for each dim of the block {
//					sum += (number of key k) * (integer of the block)
//				}
//				scale := Scale[k], of Int8, or that of the key's block
//				acc = fma(float32(sum), round(scale * D), acc)
//				if Elem == Q4_1 {
//					acc = fma(Min of the key's block, Sum, acc)
//				}
//			}
//			S[k*Stride+r] = acc
//		}
//	}
//
// An integer sum is exact in any order.
type DecodeScoresInt8Args struct {
	K      unsafe.Pointer
	Off    *[2 * KeyBlock]int // bytes from K to each key; may be negative. See [Upcoming]
	Elem   Elem               // one of [Elem.Integers]
	Scale  *float32           // [Keys], of Int8; otherwise not read
	Keys   int                // 1..KeyBlock
	Dim    int                // at least 1; of blocks, a multiple of BlockValues
	Q      *byte              // [Rows] of blocks as Quantize makes them, of Dim dims and zeros up to a whole block
	QBytes int                // from one row of Q to the next
	Halves bool               // Set.Int8Halves
	Rows   int                // 1..Set.DecodeRows
	S      *float32           // [Keys][Stride], of which Rows are written
	Stride int                // at least Rows

	// ScaleAhead is the bytes from Scale to as many numbers that a kernel may ask for, too, of Int8. No address there
	// needs to be valid.
	ScaleAhead int

	Near bool // as in DecodeScoresArgs
}

// DecodeAccumulateArgs are the operands of Set.DecodeAccumulate, which computes what
// Accumulate does, to the bit, for few queries, and keeps the output in rows.
//
//	for r := range Rows {
//		for d := range Dim {
//			acc := float32(-0.0)
//			if From != nil {
//				acc = From[r*OStride+d]
//			}
//			for k := range Keys {
//				p := P[k*Stride+r]
//				if k >= MaskFrom && signbit(p) {
//					continue
//				}
//				value := Elem.Value(V + Off[k], d, Elem.Unit(), Scale[k]), and what [Brain] returns of that, if Brain
//				acc = fma(value, p, acc)
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
//				O[r*OStride+d] = fma(O[r*OStride+d], Alpha[r], acc)
//			}
//		}
//	}
type DecodeAccumulateArgs struct {
	V        unsafe.Pointer
	Off      *[2 * KeyBlock]int // bytes from V to each value; may be negative. See [Upcoming]
	Elem     Elem               // one that is [Elem.Direct], or any if Set.AnyValues says so
	Scale    *float32           // [Keys], of Int8; otherwise not read
	Keys     int                // 1..KeyBlock
	MaskFrom int                // 0..Keys
	Dim      int                // dims of the call, a multiple of Set.DecodeDims, and of BlockValues for blocks
	P        *float32           // [Keys][Stride], as Softmax left it
	Stride   int                // at least Rows
	Rows     int                // 1..Set.DecodeRows

	// From, if not nil, has the sums of keys before these of the block, and To, if not nil, takes
	// those up to these, for the keys after them: then O is not touched. They may be the same.
	From, To *float32 // [Rows][OStride]

	O       *float32 // [Rows][OStride], updated
	OStride int      // at least Dim
	Alpha   *float32 // [Rows], as Softmax left it
	Mode    UpdateMode
	Near    bool // as in DecodeScoresArgs
	Brain   bool // as in DecodeScoresArgs
}

// ConvertArgs are the operands of Set.Convert, which makes float32 of rows.
//
//	for k := range Rows {
//		for d := range Dim {
//			value := Elem.Value(Src + Off[k], d, UnitStride, Scale[k])
//			Dst[k*Stride+d] = value, or what [Brain] returns of it, if Brain
//		}
//	}
type ConvertArgs struct {
	Src        unsafe.Pointer
	Off        *[KeyBlock]int // bytes from Src to each row; may be negative
	Elem       Elem
	UnitStride int      // bytes from one unit to the next, any sign, 0 included
	Scale      *float32 // [Rows], of Int8; otherwise not read
	Rows       int      // 1..KeyBlock
	Dim        int      // at least 1; of blocks, a multiple of BlockValues
	Dst        *float32 // [Rows][Stride]
	Stride     int      // at least Dim
	Brain      bool     // numbers are those of class BFloat16

	// Ahead, if not nil, has bytes from Src to a row that a kernel may ask the CPU to bring into a
	// cache with each. No address there needs to be valid.
	Ahead *[KeyBlock]int
}

// MergeArgs are the operands of Set.Merge, which adds the results of a chunk of keys, or of
// some, to those of chunks before. A lane without any weight changes nothing, to the bit.
//
//	for l := range Lanes {
//		m := Max[l]
//		if ChunkMax[l] > m {
//			m = ChunkMax[l]
//		}
//		a, b := fp.Exp2(Max[l]-m), fp.Exp2(ChunkMax[l]-m)
//		if ChunkSum[l] == 0 {
//			a, b = 1, -0.0
//		} else if Sum[l] == 0 {
//			a = -0.0
//		}
//		Max[l] = m
//		Sum[l] = fma(Sum[l], a, ChunkSum[l]*b)
//		for d := range Dim {
//			O[d*Stride+l] = fma(O[d*Stride+l], a, Chunk[d*Stride+l]*b)
//		}
//	}
type MergeArgs struct {
	O        *float32 // [Dim][Stride], updated
	Max, Sum *float32 // [Lanes], updated

	Chunk              *float32 // [Dim][Stride]
	ChunkMax, ChunkSum *float32 // [Lanes]

	Dim    int // at least 1
	Lanes  int
	Stride int
}
