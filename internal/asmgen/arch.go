package asmgen

import "github.com/qkv-go/qkv/kernel"

// An Arch is an instruction set. Operands stand in the order of Go's assembler:
// sources first, destination last.
type Arch struct {
	Name  string // suffix of the function names
	Needs kernel.Features
	// Base, if not nil, is an Arch whose functions the set has, but for those in Own.
	Base *Arch
	Own  []string

	Lanes int // float32 in a vector register
	// DecodeRows is the most rows of DecodeScores: each has an accumulator.
	DecodeRows int
	// DecodePipeline has DecodeScores load a square while it multiplies another, with
	// instructions of AVX-512.
	DecodePipeline bool
	// DecodeLocal has decoding keep accumulators in local memory, with instructions of AVX2.
	DecodeLocal bool
	// Narrow, if not nil, is an Arch with vectors of half as many lanes, whose functions serve for dims that are multiples of those.
	Narrow *Arch
	Rows   []int // height of the micro-tile with i+1 vectors a row; the largest set of lanes is len(Rows) vectors
	// Turn and TurnFar are those of kernel.Set, as measured.
	Turn, TurnFar int

	Vectors []Vec // every vector register
	Ints    []Int // every integer register; the first holds the arguments

	// Instr returns an instruction in the assembler's syntax where that is not just
	// its mnemonic and operands, as of one that the assembler lacks, and otherwise "".
	// It may be nil.
	Instr func(op string, operands []any) string

	// Integer mnemonics.
	Mov, Add, Sub, And, Shl, MulInt string
	// ClearInt clears the bits of a word of memory that are set in bits, which is lost.
	ClearInt func(f *Func, bits Int, addr string)
	// LoadByte loads a byte.
	LoadByte func(f *Func, addr string, dst Int)
	// SubLoad is dst -= memory, and AddMem is dst += memory.
	SubLoad, AddMem func(f *Func, addr string, dst Int)
	// LoadSigned loads 32 bits with their sign, LoadHalfInt 16 bits, and StoreHalfInt
	// stores 16, StoreWordInt 32.
	LoadSigned, LoadHalfInt    func(f *Func, addr string, dst Int)
	StoreHalfInt, StoreWordInt func(f *Func, src Int, addr string)
	// LocalBase loads the address of local memory, on a line of the cache if that is as
	// much larger.
	LocalBase func(f *Func, dst Int)
	// AddressAt returns the address of the byte disp after base + off, which may be lost.
	// AddressOf does not lose it.
	AddressAt, AddressOf func(f *Func, base, off Int, disp int) string
	// Prefetch brings the line at an address into the second-level cache, PrefetchNear
	// into the first.
	Prefetch, PrefetchNear func(f *Func, addr string)
	// Branch writes a comparison of x with y (a register or "$1") and a jump to
	// label where cond (EQ, NE, LT, LE, GT, GE) holds.
	Branch func(f *Func, x Int, cond, y, label string)
	// Count writes r--, and Again a jump to label unless that gave 0. Where
	// additions leave the flags alone, CountEarly has Count stand amid the loop over
	// the steps of a micro-tile, for an even mix of instructions.
	Count      func(f *Func, r Int)
	Again      func(f *Func, label string)
	CountEarly bool
	// Address loads the address of a symbol.
	Address func(f *Func, symbol string, dst Int)
	// Return ends the function.
	Return func(f *Func)

	// The rows of a micro-tile are reached from base pointers, RowsPerPtr from
	// each: row i of a pointer is at RowAddr(ptr, stride, i). The pointers move on
	// with every step, unless StepOffset is set: then a register holds the offset
	// of the step from them, and takes the place of stride.
	RowsPerPtr int
	StepOffset bool
	RowAddr    func(ptr, stride Int, i int) string
	// Unroll is the number of steps of a full micro-tile in an iteration of its loop. FewAccs is the
	// number of accumulators below which a micro-tile waits for its own multiply-adds: rather than a
	// full micro-tile and such a remainder, two of about the same height are taken. For 0, neither is
	// done.
	Unroll, FewAccs int
	// NextSteps is how many steps of a micro-tile of a matrix product a turn of its loop has that
	// asks for what is read next. 0 is for one that does not ask.
	NextSteps int
	// Indexed returns the address of element i of the float32 at ptr. i may be lost.
	Indexed func(f *Func, ptr, i Int) string

	// Vector mnemonics: memory to register and back, one element of memory to
	// where FMA and Mul take their x, register to register, and arithmetic (b, a,
	// dst: dst = a op b).
	Load, Store, Element, Copy string
	AddV, SubV, MulV, DivV     string
	OrV, XorV, ShlV            string
	// FMAV is acc += x*y of whole vectors, and FMSV is acc -= x*y.
	FMAV, FMSV string
	// Broadcast loads one element of memory into every lane.
	Broadcast func(f *Func, addr string, v Vec)
	// Constants are operands of arithmetic straight from memory.
	MemoryOperands bool
	// Zero clears v.
	Zero func(f *Func, v Vec)
	// FMA is acc += x*y, and Mul is acc = x*y, where x is as Element left it.
	FMA, Mul func(f *Func, x, y, acc Vec)
	// MulAdd is p*x + c, where c may be memory if MemoryOperands says so. It returns
	// the register of the result and the one that is free then, which are p and
	// spare, one way or the other. SpareForMulAdd asks for a spare one.
	SpareForMulAdd bool
	MulAdd         func(f *Func, c string, x, p, spare Vec) (result, free Vec)
	// Update is p*x + c, in p or in c, whichever it returns. The other is lost.
	Update func(f *Func, c, x, p Vec) Vec
	// PeakAccs is the number of accumulators of Peak, a divisor of peakFMAs: at least
	// units times latency.
	PeakAccs int

	// KeptStep writes a step of a micro-tile that leaves out the lanes where B has
	// its sign bit set, whatever A and B are there.
	KeptStep func(t *tile)
	// Local returns the address of byte off of local variable i of 8 bytes, from 1 on.
	Local func(f *Func, i Int, off int) string
	// KeptLanes writes to local variable i, for vector j of the row at b, what KeptStep
	// may use, all ones where no sign bit is set. v and tmp are free.
	KeptLanes func(f *Func, b Int, j int, i Int, v Vec, tmp Int)
	// KeptAll writes a jump to label where local variable i is all ones, and KeptNone one
	// where none of its lanes, in vecs vectors, is kept. KeptNone may be nil, or write none.
	KeptAll  func(f *Func, i Int, label string)
	KeptNone func(f *Func, i Int, vecs int, label string)
	// KeptWords is how many local variables a step has, 0 for one. There are half as many steps for two.
	KeptWords int

	// ClearBits clears the bits of v that are set in bits. CopySign gives v the sign bits
	// of memory; sign holds those bits, and tmp is free.
	ClearBits func(f *Func, bits, v Vec)
	CopySign  func(f *Func, addr string, sign, v, tmp Vec)

	// MaxOf is m = s > m ? s : m, and MinOf is m = s < m ? s : m. MaxOfKept does so in the lanes of vector j whose
	// bit is set in the mask word at ptr. s is lost, tmp is free.
	MaxOf, MinOf func(f *Func, s, m, tmp Vec)
	MaxOfKept    func(f *Func, ptr Int, j int, s, m, tmp Vec)
	// Normal notes the lanes of stream j where !(y < min); a vector register that is
	// a mask takes the place of y. MulNormal is then p = p * x in those lanes, and +0
	// in the others.
	Normal    func(f *Func, min string, y Vec, j int)
	MulNormal func(f *Func, x, y, p Vec, j int)
	// MaxUnsigned, if not empty, is the maximum of integers without a sign: of the bits of numbers, the most
	// negative one if some are negative. BelowAny then jumps to label unless every lane of v is min or more. v is
	// lost, tmp is free.
	MaxUnsigned string
	BelowAny    func(f *Func, min string, v []Vec, tmp Int, label string)
	// Streams is how many vectors of scores Softmax turns into weights at a time, where a row has fewer.
	Streams int
	// DropMasked is p = -0 in the lanes of vector j whose bit is clear in the mask
	// word at ptr. tmp is free.
	DropMasked func(f *Func, ptr Int, j int, negZero string, p, tmp Vec)
	// WhereZero is p = x in the lanes where sum is zero, of either sign. sum is kept, tmp
	// is free.
	WhereZero func(f *Func, zero, x string, sum, p, tmp Vec)
	// Moved sets the byte at addr to whether some lane of v is not one. v is lost.
	Moved func(f *Func, v []Vec, one string, tmp Int, addr string)

	// A mask of lanes is a vector register.
	VectorMasks bool
	// TailMask makes a mask of the first n lanes, n in 1..Lanes; where it needs a
	// register, mask is it, and tmp is free. LoadScaled is v = memory * scale in
	// those lanes, from a v of 0, and StoreMasked stores them, for n < Lanes; neither
	// touches other memory. They may go by n alone: then TailMask is nil.
	TailMask    func(f *Func, n, tmp Int, mask Vec)
	LoadScaled  func(f *Func, addr string, n Int, scale, mask, v Vec)
	StoreMasked func(f *Func, v Vec, n Int, mask Vec, addr string)
	// MulLoad is v = memory * x.
	MulLoad func(f *Func, addr string, x, v Vec)
	// Recip is v = v == 0 ? 0 : 1/v; tmp are free.
	Recip func(f *Func, one string, v Vec, tmp [2]Vec)
	// LanesEqual sets a bit of dst for each lane where v is x. tmp is free; it may be v.
	LanesEqual func(f *Func, x, v, tmp Vec, dst Int)
	// FMABroadcast is acc += y * an element of memory. tmp is free.
	FMABroadcast func(f *Func, addr string, y, acc, tmp Vec)
	// FMAElement, if not nil, is acc += y * element i of the four of x.
	FMAElement func(f *Func, x Vec, i int, y, acc Vec)
	// StorePart stores the first n elements of a part of 128 bits. tmp is free.
	StorePart func(f *Func, v Vec, part, n int, ptr Int, tmp Vec)
	// Interleave are the interleavings of elements and of pairs of them.
	Interleave [2]interleave
	// Transpose transposes the square of rows, and returns the registers that hold
	// it, in order. tmp is free.
	Transpose func(f *Func, rows []Vec, tmp Vec) []Vec

	// LoadElem loads a vector of elements as float32, of Int8 and Q8_0 without their
	// scale, and LoadOne one element, into the first lane. BroadcastHalf loads a binary16
	// number into every lane, with 6 bytes behind it. StoreElement stores the first lane.
	LoadElem      func(f *Func, e kernel.Elem, addr string, v Vec)
	LoadOne       func(f *Func, e kernel.Elem, addr string, tmp Int, v Vec)
	BroadcastHalf func(f *Func, addr string, v Vec)
	StoreElement  func(f *Func, v Vec, addr string)

	// BrainLoad, if not nil, loads a vector of bfloat16 numbers as float32 with one instruction of the ports of
	// arithmetic, in an order of lanes that BrainOrder puts right. index is BrainIndex.
	BrainLoad  func(f *Func, index, addr string, v Vec)
	BrainIndex []uint32
	BrainOrder func(f *Func, v Vec)

	// LoadBytes loads a byte into each lane, as an integer without a sign. LoadWords loads bytes with
	// their sign into halves of lanes, one after the other in the low half of v, and LoadWord one into
	// the first. Float8 makes float32 of these: numbers of E5M2, and of E4M3 by 2^-8 of what they are.
	LoadBytes func(f *Func, addr string, v Vec)
	LoadWords func(f *Func, addr string, v Vec)
	LoadWord  func(f *Func, addr string, tmp Int, v Vec)
	Float8    func(f *Func, e kernel.Elem, v Vec, q *quarter)

	// StoreUnits stores the lanes of v as elements: numbers of Float32 and Float16, and what
	// RoundBrain, RoundEven and RoundAway left of the others, whose integers saturate, and of E4M3 and
	// E5M2 bytes without a sign. v and tmp are lost. StoreUnit stores the first lane, and loses the low 128
	// bits of v unless its numbers are float32.
	StoreUnits func(f *Func, e kernel.Elem, v, tmp Vec, addr string)
	StoreUnit  func(f *Func, e kernel.Elem, v Vec, addr string)
	// StoreQuants, if not nil, is StoreUnits of BlockValues integers at once.
	StoreQuants func(f *Func, v []Vec, tmp Vec, addr string)
	// RoundBrain rounds numbers to bfloat16, in the low half of each lane. RoundEven makes the
	// nearest integers of them, ties to even, and RoundAway ties away from zero; half is the
	// greatest number below 0.5.
	RoundBrain func(f *Func, v, tmp Vec, b *brain)
	RoundEven  func(f *Func, v Vec)
	RoundAway  func(f *Func, v, half, sign, tmp Vec)
	// Truncate makes integers, rounded towards zero.
	Truncate func(f *Func, v Vec)
	// AndV and MaxBits are operations on bits, and on integers that are not negative. ReduceMax
	// leaves the largest lane of v in its first.
	AndV, MaxBits string
	ReduceMax     func(f *Func, v, tmp Vec)
	// ReduceEnds leaves the least lane of low in its first, and the largest of high in that one's: numbers,
	// of zeros either.
	ReduceEnds func(f *Func, low, high, tmp Vec)
	// First names the register as an operand where no more than its first lane counts.
	// FirstBits moves that to an integer register, and Spread to all lanes.
	First     func(v Vec) Vec
	FirstBits func(f *Func, v Vec, dst Int)
	BitsFirst func(f *Func, src Int, v Vec) // and back
	Spread    func(f *Func, v, dst Vec)

	// Swap is v with runs of h lanes swapped, two and two, for h below Lanes.
	Swap func(f *Func, h int, v, dst Vec)
	// SwapPairs is v with the neighbours of each pair swapped. LoadPairs loads half a
	// vector, each element into both lanes of a pair, and SpreadPairs does so with the low
	// half of v.
	SwapPairs   func(f *Func, v, dst Vec)
	LoadPairs   func(f *Func, addr string, v Vec)
	SpreadPairs func(f *Func, v Vec)

	// LocalAt returns the address of byte off of local memory, which begins where LocalBase says, but
	// on no line of the cache. It may be an operand of arithmetic if MemoryOperands says so.
	LocalAt func(off int) string
	// LoadConstant loads a symbol as large as a vector, or larger.
	LoadConstant func(f *Func, addr string, v Vec)
	// LoadPart loads a part of 128 bits, the first ones first: each clears those behind it, or leaves
	// them as they are.
	LoadPart func(f *Func, addr string, part int, v Vec)
	// Shuffle takes bytes within each part of 128 bits, as an index has them: from 128 on for 0.
	Shuffle func(f *Func, index string, v, dst Vec)
	// ShrV shifts to the right, with zeros. IntToFloat converts integers with a sign.
	ShrV       string
	IntToFloat func(f *Func, v, dst Vec)
	// TopsToFloat, if not nil, converts the upper bytes of dwords, with a sign, whose other bytes are 0.
	TopsToFloat func(f *Func, v Vec)
	// Halves converts the low halves of dwords, of binary16, to lo, and the high ones to hi, unless that
	// is none. index is HalvesIndex, if there is one. tmp is free; lo may be pairs if there is no hi.
	Halves      func(f *Func, index string, pairs, lo, hi, tmp Vec)
	HalvesIndex []uint32
	// Choose is v = x in the bits of a mask. others has the other bits.
	Choose func(f *Func, mask, others string, x, v Vec)
	// AddInts adds integers.
	AddInts string
	// TestBits is all ones in the bytes of v that have a bit of mask, and 0 in the others. It may be nil
	// where there is Lookup.
	TestBits func(f *Func, mask string, v Vec)
	// Lookup, if not nil, is the elements of a table of 16, by the low 4 bits of dwords.
	Lookup func(f *Func, table, index, dst Vec)

	// Dot4 adds products of integers to the 32-bit lanes of acc: of the four bytes of each lane of w, without
	// a sign, by those of x, with one. Without it, DotHalves is that of the two halves of 16 bits, with
	// signs. Of an Arch that has neither, both are nil. tmp is free.
	Dot4, DotHalves func(f *Func, w, x, acc, tmp Vec)
	// DotQuad, if not nil, takes the place of both: it adds products of the four bytes of each lane of w by four
	// of x, from byte 4*i on, all with signs, to a sum of SumVectors vectors, of two to either half of the lanes of
	// w, whose sum JoinSum leaves in the first. QuadOf readies those bytes of x, in x or in tmp, and returns which.
	DotQuad    func(f *Func, w, x Vec, i int, sum []Vec, tmp Vec)
	QuadOf     func(f *Func, x Vec, i int, tmp Vec) Vec
	SumVectors int
	JoinSum    func(f *Func, sum []Vec)
	// DotBytes adds products of bytes with signs to the lanes of sum, of no more than one each, in any order.
	DotBytes func(f *Func, x, y, sum, tmp Vec)
	// Tiles says that there are the instructions of AMX for products of integers.
	Tiles bool
	// OnlyNamed is that of the set.
	OnlyNamed bool

	// KeepAbove makes 0 of the bfloat16 numbers in the low half of each lane whose magnitude is not above
	// that of least, unless they are NaN. StorePairs stores such numbers, each two of them as a pair. They are
	// nil of an Arch that takes Pairs in Go. tmp is free, and v is lost by StorePairs.
	KeepAbove  func(f *Func, least string, v, tmp Vec)
	BrainFloat func(f *Func, v Vec, b *brain) // if not nil, both, and a shift to the upper halves
	StorePairs func(f *Func, v, tmp Vec, addr string)
	// DotPairs, if not nil, is acc += x*y of the upper halves of lanes, and then of the lower ones, which
	// are bfloat16 numbers, none of them subnormal.
	DotPairs func(f *Func, x, y, acc Vec)
	// KeptPairs has steps that leave out lanes leave out halves of lanes, where there is DotPairs.
	KeptPairs func(pairs *Arch)
	// PairRows, if not nil, rounds the numbers of x and y, and leaves in x a pair of each lane, that of x first: of
	// numbers or of weights. index is PairIndex, and least two leastBrain of weights, and twice as much of numbers.
	PairRows  func(f *Func, weights bool, index, least, x, y, tmp Vec)
	PairIndex []uint32

	// AddLoad is v += memory. Reduce adds the lanes of v and stores the sum.
	AddLoad func(f *Func, addr string, v Vec)
	Reduce  func(f *Func, v, tmp Vec, addr string)
}

// MaxVectors is the number of vectors in the largest lane group.
func (arch *Arch) MaxVectors() int { return len(arch.Rows) }

// Bytes is the size of a vector.
func (arch *Arch) Bytes() int { return 4 * arch.Lanes }
