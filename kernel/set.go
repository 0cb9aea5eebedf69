// Package kernel is the contract between the tiled attention loop and the
// code that does its arithmetic.
//
// A [Set] has a function for each phase of attention over one lane group (a block of
// queries along the vector lanes) and one key block.
// Every Set computes the same bits: each function is specified as a sequence
// of IEEE 754 float32 operations per lane, in an order that depends on
// nothing but the operands. Vector width, rows of the micro-tile and the
// number of lanes are a Set's own choice and cannot change a result.
//
// The functions check nothing. A caller passes operands that satisfy the
// comments below; [Checked] wraps a Set with assertions for tests.
//
// Machine code cannot be stopped, and neither can a Go loop that calls nothing else: the
// wrappers that Go makes for it have no point of preemption. So a [Set]'s functions in
// machine code are called by its methods only. Each is such a point, and divides what
// takes longer than [MaxWork].
package kernel

// KeyBlock is the number of keys that share one update of the running maximum.
// Key blocks start at multiples of KeyBlock of the absolute key index. Both
// facts are part of the numerical contract, so this is one constant for every
// Set.
const KeyBlock = 128

// KeyChunk is the number of keys whose results are summed by themselves and then merged
// by their log-sum-exp, in a tree over all chunks, so that the chunks of a long sequence can be
// computed apart. Chunks start at multiples of KeyChunk of the absolute key index: like
// KeyBlock, of which it is a multiple, a part of the numerical contract.
const KeyChunk = 8 * KeyBlock

// MaxLanes is the most lanes a lane group may have: one bit of a mask word each.
const MaxLanes = 64

// A Set is one implementation of the attention kernels. [Set.With] makes one.
type Set struct {
	// Name identifies the set: "generic", "avx2", "avx512", ...
	Name string

	// Base is the name of the set that this one has all functions of, but for those of some numerical
	// classes; "" of a set whose functions are its own.
	Base string

	// Needs lists the CPU features that the functions use.
	Needs Features

	// OnlyNamed says that the set is taken only where it is named: whether it is the best of those that can
	// run is not known.
	OnlyNamed bool

	// Vec is the lane granularity: Lanes of every argument is a multiple of it.
	Vec int

	// Lanes is the largest lane group, a multiple of Vec and at most MaxLanes.
	Lanes int

	// Rows is the height of the micro-tile at full Lanes: keys in Scores, value
	// dims in Accumulate. It informs cost models and reports only.
	Rows int

	// DecodeRows is the most query rows of a KV head that DecodeScores and
	// DecodeAccumulate take, at most MaxDecodeRows.
	DecodeRows int

	// DecodeDims is what the dims of DecodeAccumulate are a multiple of, at most Vec.
	DecodeDims int

	// AnyValues says that DecodeAccumulate reads rows of every Elem, not only of those that are [Elem.Direct], where the dims
	// are a multiple of Vec.
	AnyValues bool
	// BrainRows says that DecodeScores and DecodeAccumulate take Brain, where the dims are a multiple of Vec.
	BrainRows bool
	// WholePanels says that one row by packed weights of class Int8 goes by MultiplyRowInt8. It is not for sets whose
	// MultiplyRowInt8 is Go code beside a MultiplyInt8 that is not.
	WholePanels bool

	// StripLanes is the lanes of a strip of weights whose columns are whole lane groups: Vec, or twice as many.
	StripLanes int

	// SpreadsLanes says that PackInt8 takes RowOf and FactorOf.
	SpreadsLanes bool

	// SpreadsBlocks says that PackInt8 takes V, too.
	SpreadsBlocks bool

	// Turn and TurnFar are the least query rows that share a copy for which it pays to transpose
	// a key block's values: where rows follow each other, and where they lie far apart. 0 is for
	// never. They inform cost models only.
	Turn, TurnFar int

	// FewRows is the most rows that MultiplyFew takes, at most MaxFewRows.
	FewRows int

	// Fuses says that DotWeights is machine code for types of which [Weight.Fused] says so.
	Fuses bool

	// Paired says that MultiplyPairs, ScoresPairs and AccumulatePairs are machine code with an instruction for pairs.
	// Without it, pairs are split for Multiply, and attention has numbers: both are faster than the Go code.
	Paired bool

	// PeakFLOPs is the floating-point operations of a round of Peak.
	PeakFLOPs int

	// Int8Halves says that integers of rows of X have 16 bits in class Int8, see [QuantizeArgs].
	Int8Halves bool

	// PeakInt8Ops is the multiplications and additions of integers of a round of PeakInt8.
	PeakInt8Ops int

	// PeakBFloat16FLOPs is the floating-point operations of a round of PeakBFloat16.
	PeakBFloat16FLOPs int

	funcs Funcs
}

// With returns a Set that is as s says and has these functions.
func (s Set) With(f Funcs) *Set {
	s.funcs = f
	if s.StripLanes == 0 {
		s.StripLanes = s.Vec
	}
	if s.DecodeDims == 0 {
		s.DecodeDims = s.Vec
	}
	return &s
}

// Funcs are the functions of a [Set], whose methods call them with work of at most
// [MaxWork].
//
// Throughout, a matrix "[n][Stride]" is row-major with Stride float32 values
// from one row to the next, of which the first Lanes are operands; the kernel
// neither reads nor writes the rest. No function reads or writes
// anything that is not an operand, and an operand that is written overlaps no
// other. In the formulas, -0.0 is the negative zero.
type Funcs struct {
	// Pack scales a block of query rows and transposes it into lanes.
	Pack func(*PackArgs)

	// Scores multiplies keys by packed queries.
	Scores func(*ScoresArgs)

	// Softcap bounds the scores of a key block.
	Softcap func(*SoftcapArgs)

	// ALiBi adds biases that grow with distance to the scores of a key block.
	ALiBi func(*ALiBiArgs)

	// Bias adds biases to the scores of a key block.
	Bias func(*BiasArgs)

	// Softmax turns the scores of a key block into weights, online.
	Softmax func(*SoftmaxArgs)

	// Accumulate adds the weighted values of a key block to the output.
	Accumulate func(*AccumulateArgs)

	// Unpack divides by the row sums and transposes the output back into rows.
	Unpack func(*UnpackArgs)

	// Merge adds the results of a chunk of keys, or of some, to those of chunks before.
	Merge func(*MergeArgs)

	// Convert makes float32 of rows of keys or values of any type.
	Convert func(*ConvertArgs)

	// Store makes rows of keys or values of any type of float32.
	Store func(*StoreArgs)

	// DecodeScores and DecodeAccumulate take the place of Scores and Accumulate where a
	// KV head has few queries.
	DecodeScores     func(*DecodeScoresArgs)
	DecodeAccumulate func(*DecodeAccumulateArgs)

	// DecodeScoresInt8 and DecodeAccumulateInt8 are those of class Int8.
	DecodeScoresInt8     func(*DecodeScoresInt8Args)
	DecodeAccumulateInt8 func(*DecodeAccumulateInt8Args)

	// Multiply multiplies rows of a matrix by a packed panel.
	Multiply func(*MultiplyArgs)

	// MultiplyFew multiplies few rows by a packed panel of any depth, as fast as memory
	// reads it: it takes several parts of KC rows at a time.
	MultiplyFew func(*MultiplyArgs)

	// Combine and Dots multiply a few rows by a matrix that is not packed, with contiguous
	// rows and with contiguous columns.
	Combine func(*CombineArgs)
	Dots    func(*DotsArgs)

	// Dequantize makes float32 of rows of weights of any type, in lanes.
	Dequantize func(*DequantizeArgs)

	// DotWeights multiplies a vector by rows of weights of any type, in lanes.
	DotWeights func(*DotWeightsArgs)

	// Pairs rounds to bfloat16, and makes pairs of terms, or numbers of pairs.
	Pairs func(*PairsArgs)

	// MultiplyPairs is Multiply of class BFloat16: A and B have pairs of terms, each of which counts as one
	// of Depth, strides and KC/2. MultiplyPairsFew is MultiplyFew of such a B by float32.
	MultiplyPairs    func(*MultiplyArgs)
	MultiplyPairsFew func(*MultiplyArgs)

	// ScoresPairs and AccumulatePairs are Scores and Accumulate of class BFloat16. K and Q have pairs of dims, V and P
	// pairs of keys. Each pair counts as one of Dim, Keys, MaskFrom and strides. PairWeights makes those of P.
	ScoresPairs     func(*ScoresArgs)
	PairWeights     func(*PairWeightsArgs)
	AccumulatePairs func(*AccumulateArgs)

	// Quantize, UnpackInt8, MultiplyInt8 and MultiplyRowInt8 are the products of class Int8: blocks of integers of rows
	// of X, scales of packed weights, rows by a step of a panel, and one row by whole panels.
	Quantize        func(*QuantizeArgs)
	UnpackInt8      func(*UnpackInt8Args)
	MultiplyInt8    func(*MultiplyInt8Args)
	MultiplyRowInt8 func(*MultiplyRowInt8Args)

	// PackWeights packs rows of weights for MultiplyInt8, where they are not packed.
	PackWeights func(*PackWeightsArgs)
	// ConvertInt8 and PackInt8 make of keys and of packed queries what MultiplyInt8 multiplies, and
	// TransposeInt8 and PackInt8 of values and of weights.
	ConvertInt8   func(*ConvertInt8Args)
	PackInt8      func(*PackInt8Args)
	TransposeInt8 func(*TransposeInt8Args)

	// MultiplyStrips multiplies few rows by weights that are packed in their type, and DequantizeStrips makes
	// float32 of them.
	MultiplyStrips   func(*MultiplyStripsArgs)
	DequantizeStrips func(*DequantizeStripsArgs)

	// Float16 converts n values, n at least 1, from IEEE 754 binary16. A NaN stays one.
	Float16 func(dst *float32, src *uint16, n int)

	// Rotary rotates pairs of elements of rows (RoFormer; Su et al., 2021).
	Rotary func(*RotaryArgs)

	// Activate applies an activation to the numbers of rows, and multiplies by others.
	Activate func(*ActivateArgs)

	// Sums adds the elements of a row, or squares of their distances from a mean, to partial sums.
	// Normalize scales such distances, and weights them.
	Sums      func(*SumsArgs)
	Normalize func(*NormalizeArgs)

	// Hadamard multiplies blocks of rows by a Hadamard matrix.
	Hadamard func(*HadamardArgs)

	// Above finds the first block of numbers with one above a bound.
	Above func(*AboveArgs)

	// Peak runs n rounds of independent fused multiply-adds at the widest
	// vectors the Set uses, Set.PeakFLOPs floating-point operations each round. It
	// measures the ceiling.
	Peak func(n int)

	// PeakInt8 runs n rounds of independent sums of products of integers as class Int8 has them, with
	// the instructions that the Set has for it: Set.PeakInt8Ops operations each round.
	PeakInt8 func(n int)

	// PeakBFloat16 is Peak with the instruction for pairs of class BFloat16, where the Set has one:
	// Set.PeakBFloat16FLOPs operations each round.
	PeakBFloat16 func(n int)

	// Read loads n float32 values (n a multiple of 256) and returns something
	// that depends on all of them. It measures read bandwidth.
	Read func(p *float32, n int) float32
}
