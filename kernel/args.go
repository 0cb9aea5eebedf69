package kernel

import "math"

// PackArgs are the operands of Set.Pack.
//
//	for d := range Dim {
//		for l := range Rows {
//			Dst[d*Stride+l] = Src[Off[l]+d*DimStride] * Scale
//		}
//		for l := Rows; l < Lanes; l++ {
//			Dst[d*Stride+l] = 0
//		}
//	}
type PackArgs struct {
	Src       *float32       // element 0 of the queries
	Off       *[MaxLanes]int // element offset of each lane's row from Src; may be negative
	DimStride int            // elements from one dim to the next, any sign, 0 included
	Rows      int            // rows to pack, 1..Lanes
	Dim       int            // head dim of queries and keys, at least 1
	Dst       *float32       // [Dim][Stride]
	Lanes     int
	Stride    int
	Scale     float32
}

// Ahead is memory that will be used soon. A kernel may ask the CPU to bring it into
// the second-level cache, a line at a time with as many steps of a micro-tile between two lines as
// Every says: requests that come faster than memory answers hold up what the micro-tile
// itself reads. It moves Base, Left, Rows and Gaps on as it does. Nothing of it is read: no address in it
// needs to be valid.
type Ahead struct {
	Base  uintptr // address of the next line to ask for; it keeps nothing alive
	Rows  int     // rows left, the one that Base lies in among them, 0 for none
	Lines int     // lines of 64 bytes of a row, at least 1
	Left  int     // of them, lines left of the row that Base lies in, at least 1
	Gap   int     // bytes from the end of the last line of a row to the next row
	Gaps  uintptr // where Gap of each row left lies, an int, in the place of Gap; 0 for none. It keeps nothing alive
	Every int     // steps, at least 1

	Rest, Now int // the kernel's own, 0 before a call and after
}

// ScoresArgs are the operands of Set.Scores.
//
//	for k := range Keys {
//		for l := range Lanes {
//			acc := float32(0)
//			for d := range Dim {
//				acc = fma(K[k*KeyStride+d*DimStride], Q[d*Stride+l], acc)
//			}
//			S[k*Stride+l] = acc
//		}
//	}
//
// Set.ScoresPairs computes the same of pairs of numbers that [Brain] leaves: an element of K and Q is a [Pair] of
// dims, and Dim counts these. A step is
//
//	k0, k1 := Split(K[k*KeyStride+d*DimStride])
//	q0, q1 := Split(Q[d*Stride+l])
//	acc = fma(k1, q1, fma(k0, q0, acc))
type ScoresArgs struct {
	K         *float32 // first key of the call, dim 0
	KeyStride int      // elements from one key to the next, any sign, 0 included
	DimStride int      // elements from one dim to the next, any sign, 0 included
	Keys      int      // 1..KeyBlock
	Dim       int      // at least 1
	Q         *float32 // [Dim][Stride], as Pack left it
	S         *float32 // [Keys][Stride], written
	Lanes     int
	Stride    int
	Ahead     Ahead
}

// SoftcapArgs are the operands of Set.Softcap.
//
//	for k := range Keys {
//		for l := range Lanes {
//			S[k*Stride+l] = Softcap(S[k*Stride+l], In, Out)
//		}
//	}
type SoftcapArgs struct {
	S       *float32 // [Keys][Stride], updated
	Keys    int      // 1..KeyBlock
	Lanes   int
	Stride  int
	In, Out float32
}

// ALiBiArgs are the operands of Set.ALiBi.
//
//	for k := range Keys {
//		for l := range Lanes {
//			S[k*Stride+l] = fma(Slope[l], abs(Pos[l]-float32(First+k)), S[k*Stride+l])
//		}
//	}
type ALiBiArgs struct {
	S      *float32 // [Keys][Stride], updated
	Keys   int      // 1..KeyBlock
	First  int      // index of the first key in its block, 0..KeyBlock-Keys
	Pos    *float32 // [Lanes] position less that of the block's first key
	Slope  *float32 // [Lanes]
	Lanes  int
	Stride int
}

// BiasArgs are the operands of Set.Bias.
//
//	Cleared = false
//	for k := range Keys {
//		for l := range Lanes {
//			b := float32(0)
//			if l < Rows {
//				b = Src[Off[l]+k]
//			}
//			if b == -Inf {
//				Mask[k] &^= 1 << l
//				Cleared = true
//			}
//			S[k*Stride+l] = fma(b, Scale, S[k*Stride+l])
//		}
//	}
type BiasArgs struct {
	Src     *float32       // element of the first key
	Off     *[MaxLanes]int // element offset of each lane's row from Src; may be negative
	Rows    int            // rows to read, 1..Lanes
	Keys    int            // 1..KeyBlock
	S       *float32       // [Keys][Stride], updated
	Mask    *uint64        // [Keys], a bit a lane, updated
	Scale   float32
	Lanes   int
	Stride  int
	Cleared bool // written: whether some bias is -Inf
}

// InitMax is the running maximum before the first key. It is finite, so that no
// difference of maxima is NaN; every score that is not -Inf is at least this.
const InitMax = -math.MaxFloat32

// SoftmaxArgs are the operands of Set.Softmax. The scores are in units of
// log2(e)/2, that is, the weight of a score s under a maximum m is 4^(s-m), see
// Exp2 of package fp. Lane l may attend key k where kept(k, l):
//
//	kept := k < MaskFrom || Mask[k-MaskFrom]>>l&1 == 1
//
//	Moved = false
//	for l := range Lanes {
//		m := Max[l]
//		for k := range Keys {
//			if kept(k, l) && S[k*Stride+l] > m { // false for a NaN
//				m = S[k*Stride+l]
//			}
//		}
//		alpha := fp.Exp2(Max[l] - m)
//		sum := float32(0)
//		for k := range Keys {
//			p := fp.Exp2(S[k*Stride+l] - m)
//			if !kept(k, l) {
//				p = -0.0
//			}
//			S[k*Stride+l] = p
//			sum += p
//		}
//		Max[l] = m
//		Alpha[l] = alpha
//		Sum[l] = fma(Sum[l], alpha, sum)
//		if alpha != 1 { // true for a NaN
//			Moved = true
//		}
//	}
//
// A weight whose sign bit is set is one that the mask took away; a weight that
// merely underflowed is +0. Adding -0 changes no value, not even a zero's sign,
// so a lane's result does not depend on masked keys that it shares a block with.
// (A NaN weight may have either sign. It makes Sum a NaN, and so the whole output,
// whatever Accumulate does with it. Mask bits from Lanes on mean nothing.)
type SoftmaxArgs struct {
	S        *float32 // [Keys][Stride], scores in, weights out
	Keys     int      // 1..KeyBlock
	MaskFrom int      // 0..Keys: keys before it are kept by every lane
	Mask     *uint64  // [Keys-MaskFrom], a bit a lane; nil if MaskFrom == Keys
	Max      *float32 // [Lanes] running maximum, [InitMax] before the first block
	Sum      *float32 // [Lanes] running sum of weights, 0 before the first block
	Alpha    *float32 // [Lanes], written: factor by which older results shrink
	Lanes    int
	Stride   int
	Moved    bool // written: whether some Alpha is not 1
}

// UpdateMode says what Accumulate does with the output of earlier key blocks.
type UpdateMode int

const (
	// First: there is none. O is not read.
	First UpdateMode = iota
	// Add: every Alpha is 1 and is not read.
	Add
	// Rescale: multiply by Alpha.
	Rescale
)

// AccumulateArgs are the operands of Set.Accumulate. A key from MaskFrom on takes no
// part in a lane whose weight has the sign bit set, whatever its value is. Such a weight is
// -0, or a NaN: none is less than 0, see [SoftmaxArgs].
//
//	for d := range Dim {
//		for l := range Lanes {
//			acc := float32(-0.0)
//			for k := range Keys {
//				p := P[k*Stride+l]
//				if k >= MaskFrom && signbit(p) {
//					continue
//				}
//				acc = fma(V[k*KeyStride+d*DimStride], p, acc)
//			}
//			switch Mode {
//			case First:
//				O[d*Stride+l] = 0 + acc
//			case Add:
//				O[d*Stride+l] = O[d*Stride+l] + acc
//			case Rescale:
//				O[d*Stride+l] = fma(O[d*Stride+l], Alpha[l], acc)
//			}
//		}
//	}
//
// Rescale with an Alpha of 1 gives the bits of Add, and First those of either on
// an output of +0, so Mode is an economy and no part of the result.
//
// Set.AccumulatePairs computes the same of pairs of numbers that [Brain] leaves, but for weights of -0: an element of V
// and P is a [Pair] of keys, and Keys, at most KeyBlock/2, and MaskFrom count these. A step is
//
//	v0, v1 := Split(V[k*KeyStride+d*DimStride])
//	p0, p1 := Split(P[k*Stride+l])
//	if k < MaskFrom || !signbit(p0) {
//		acc = fma(v0, p0, acc)
//	}
//	if k < MaskFrom || !signbit(p1) {
//		acc = fma(v1, p1, acc)
//	}
type AccumulateArgs struct {
	V         *float32 // first key of the block, first dim of the call
	KeyStride int      // elements from one key to the next, any sign, 0 included
	DimStride int      // elements from one dim to the next, any sign, 0 included
	Keys      int      // 1..KeyBlock
	MaskFrom  int      // 0..Keys
	Dim       int      // dims of the call, at least 1
	P         *float32 // [Keys][Stride], as Softmax left it
	O         *float32 // [Dim][Stride], updated
	Alpha     *float32 // [Lanes], as Softmax left it
	Lanes     int
	Stride    int
	Mode      UpdateMode
	Ahead     Ahead
}

// UnpackArgs are the operands of Set.Unpack.
//
//	for l := range Rows {
//		r := float32(0)
//		if Sum[l] != 0 { // true for a NaN
//			r = 1 / Sum[l]
//		}
//		for d := range Dim {
//			Dst[Off[l]+d*DimStride] = O[d*Stride+l] * r
//		}
//	}
type UnpackArgs struct {
	O         *float32 // [Dim][Stride]
	Sum       *float32 // [Lanes]
	Dst       *float32 // element 0 of the output; no two elements share memory
	Off       *[MaxLanes]int
	DimStride int // elements from one dim to the next, any sign
	Rows      int // rows to write, 1..Lanes
	Dim       int // at least 1
	Lanes     int
	Stride    int
}
