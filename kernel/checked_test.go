package kernel

import (
	"math"
	"reflect"
	"testing"
	"unsafe"
)

// quiet describes a Set whose functions do nothing.
var quiet = Set{Name: "quiet", Vec: 8, Lanes: 16, Rows: 6, DecodeRows: 12, FewRows: 6, PeakFLOPs: 1, PeakInt8Ops: 1, PeakBFloat16FLOPs: 1}

func nothing() Funcs {
	return Funcs{
		Pack: func(*PackArgs) {}, Scores: func(*ScoresArgs) {},
		Softcap: func(*SoftcapArgs) {}, ALiBi: func(*ALiBiArgs) {}, Bias: func(*BiasArgs) {},
		Softmax: func(*SoftmaxArgs) {}, Accumulate: func(*AccumulateArgs) {}, Unpack: func(*UnpackArgs) {}, Multiply: func(*MultiplyArgs) {},
		MultiplyFew: func(*MultiplyArgs) {}, Combine: func(*CombineArgs) {}, Dots: func(*DotsArgs) {}, Dequantize: func(*DequantizeArgs) {},
		DotWeights: func(*DotWeightsArgs) {}, MultiplyStrips: func(*MultiplyStripsArgs) {}, DequantizeStrips: func(*DequantizeStripsArgs) {},
		Pairs: func(*PairsArgs) {}, MultiplyPairs: func(*MultiplyArgs) {}, MultiplyPairsFew: func(*MultiplyArgs) {}, ScoresPairs: func(*ScoresArgs) {}, PairWeights: func(*PairWeightsArgs) {}, AccumulatePairs: func(*AccumulateArgs) {},
		Quantize: func(*QuantizeArgs) {}, UnpackInt8: func(*UnpackInt8Args) {}, PackWeights: func(*PackWeightsArgs) {}, MultiplyInt8: func(*MultiplyInt8Args) {}, MultiplyRowInt8: func(*MultiplyRowInt8Args) {},
		ConvertInt8: func(*ConvertInt8Args) {}, PackInt8: func(*PackInt8Args) {}, TransposeInt8: func(*TransposeInt8Args) {},
		Merge: func(*MergeArgs) {}, Convert: func(*ConvertArgs) {}, Store: func(*StoreArgs) {},
		DecodeScores: func(*DecodeScoresArgs) {}, DecodeAccumulate: func(*DecodeAccumulateArgs) {}, DecodeScoresInt8: func(*DecodeScoresInt8Args) {}, DecodeAccumulateInt8: func(*DecodeAccumulateInt8Args) {},
		Float16: func(*float32, *uint16, int) {},
		Rotary:  func(*RotaryArgs) {}, Activate: func(*ActivateArgs) {},
		Sums: func(*SumsArgs) {}, Normalize: func(*NormalizeArgs) {}, Hadamard: func(*HadamardArgs) {}, Above: func(*AboveArgs) {},
		Peak: func(int) {}, PeakInt8: func(int) {}, PeakBFloat16: func(int) {}, Read: func(*float32, int) float32 { return 0 },
	}
}

func panicOf(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// violation changes arguments that conform into ones that violate a clause.
type violation[A any] struct {
	want   string
	change func(*A)
}

func testClauses[A any](t *testing.T, call func(*A), good A, bad []violation[A]) {
	t.Helper()
	a := good
	if v := panicOf(func() { call(&a) }); v != nil {
		t.Errorf("%+v: panic %v", good, v)
	}
	for _, b := range bad {
		a := good
		b.change(&a)
		if v := panicOf(func() { call(&a) }); v != b.want {
			t.Errorf("panic %v, want %v", v, b.want)
		}
	}
}

func TestChecked(t *testing.T) {
	s := Checked(quiet.With(nothing())).funcs
	var f float32
	var m uint64
	var off [MaxLanes]int

	testClauses(t, s.Pack, PackArgs{Src: &f, Off: &off, DimStride: 1, Rows: 3, Dim: 1, Dst: &f, Lanes: 8, Stride: 8}, []violation[PackArgs]{
		{"kernel: Pack: nil operand", func(a *PackArgs) { a.Src = nil }},
		{"kernel: Pack: nil operand", func(a *PackArgs) { a.Off = nil }},
		{"kernel: Pack: nil operand", func(a *PackArgs) { a.Dst = nil }},
		{"kernel: Rows outside 1..Lanes", func(a *PackArgs) { a.Rows = 0 }},
		{"kernel: Rows outside 1..Lanes", func(a *PackArgs) { a.Rows = 9 }},
		{"kernel: Dim < 1", func(a *PackArgs) { a.Dim = 0 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *PackArgs) { a.Lanes = 0 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *PackArgs) { a.Lanes = 7 }},
		{"kernel: Lanes > Set.Lanes", func(a *PackArgs) { a.Lanes, a.Stride = 24, 24 }},
		{"kernel: Stride < Lanes", func(a *PackArgs) { a.Stride = 7 }},
	})
	testClauses(t, s.Scores, ScoresArgs{K: &f, Keys: KeyBlock, Dim: 1, Q: &f, S: &f, Lanes: 16, Stride: 17}, []violation[ScoresArgs]{
		{"kernel: Scores: nil operand", func(a *ScoresArgs) { a.K = nil }},
		{"kernel: Scores: nil operand", func(a *ScoresArgs) { a.Q = nil }},
		{"kernel: Scores: nil operand", func(a *ScoresArgs) { a.S = nil }},
		{"kernel: Keys outside 1..KeyBlock", func(a *ScoresArgs) { a.Keys = 0 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *ScoresArgs) { a.Keys = KeyBlock + 1 }},
		{"kernel: Dim < 1", func(a *ScoresArgs) { a.Dim = 0 }},
		{"kernel: Stride < Lanes", func(a *ScoresArgs) { a.Stride = 15 }},
	})
	testClauses(t, s.ScoresPairs, ScoresArgs{K: &f, Keys: KeyBlock, Dim: 1, Q: &f, S: &f, Lanes: 16, Stride: 17}, []violation[ScoresArgs]{
		{"kernel: ScoresPairs: nil operand", func(a *ScoresArgs) { a.Q = nil }},
		{"kernel: Keys outside 1..KeyBlock", func(a *ScoresArgs) { a.Keys = KeyBlock + 1 }},
	})
	testClauses(t, s.PairWeights, PairWeightsArgs{P: &f, Keys: KeyBlock, Lanes: 16, Stride: 17}, []violation[PairWeightsArgs]{
		{"kernel: PairWeights: nil operand", func(a *PairWeightsArgs) { a.P = nil }},
		{"kernel: Keys outside 1..KeyBlock", func(a *PairWeightsArgs) { a.Keys = 0 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *PairWeightsArgs) { a.Keys = KeyBlock + 1 }},
		{"kernel: Stride < Lanes", func(a *PairWeightsArgs) { a.Stride = 15 }},
	})
	testClauses(t, s.AccumulatePairs, AccumulateArgs{V: &f, Keys: KeyBlock / 2, MaskFrom: 5, Dim: 3, P: &f, O: &f, Alpha: &f, Lanes: 8, Stride: 8, Mode: Rescale}, []violation[AccumulateArgs]{
		{"kernel: AccumulatePairs: nil operand", func(a *AccumulateArgs) { a.P = nil }},
		{"kernel: Keys outside 1..KeyBlock", func(a *AccumulateArgs) { a.Keys = KeyBlock/2 + 1 }},
		{"kernel: MaskFrom outside 0..Keys", func(a *AccumulateArgs) { a.MaskFrom = KeyBlock/2 + 1 }},
	})
	testClauses(t, s.Softcap, SoftcapArgs{S: &f, Keys: KeyBlock, Lanes: 8, Stride: 8}, []violation[SoftcapArgs]{
		{"kernel: Softcap: nil operand", func(a *SoftcapArgs) { a.S = nil }},
		{"kernel: Keys outside 1..KeyBlock", func(a *SoftcapArgs) { a.Keys = KeyBlock + 1 }},
		{"kernel: Stride < Lanes", func(a *SoftcapArgs) { a.Stride = 7 }},
	})
	testClauses(t, s.ALiBi, ALiBiArgs{S: &f, Keys: KeyBlock - 1, First: 1, Pos: &f, Slope: &f, Lanes: 16, Stride: 16}, []violation[ALiBiArgs]{
		{"kernel: ALiBi: nil operand", func(a *ALiBiArgs) { a.S = nil }},
		{"kernel: ALiBi: nil operand", func(a *ALiBiArgs) { a.Pos = nil }},
		{"kernel: ALiBi: nil operand", func(a *ALiBiArgs) { a.Slope = nil }},
		{"kernel: ALiBi: keys outside of their block", func(a *ALiBiArgs) { a.First = -1 }},
		{"kernel: ALiBi: keys outside of their block", func(a *ALiBiArgs) { a.First = 2 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *ALiBiArgs) { a.Keys = 0 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *ALiBiArgs) { a.Lanes = 12 }},
	})
	testClauses(t, s.Bias, BiasArgs{Src: &f, Off: &off, Rows: 16, Keys: 1, S: &f, Mask: &m, Lanes: 16, Stride: 16}, []violation[BiasArgs]{
		{"kernel: Bias: nil operand", func(a *BiasArgs) { a.Src = nil }},
		{"kernel: Bias: nil operand", func(a *BiasArgs) { a.Off = nil }},
		{"kernel: Bias: nil operand", func(a *BiasArgs) { a.S = nil }},
		{"kernel: Bias: nil operand", func(a *BiasArgs) { a.Mask = nil }},
		{"kernel: Rows outside 1..Lanes", func(a *BiasArgs) { a.Rows = 0 }},
		{"kernel: Rows outside 1..Lanes", func(a *BiasArgs) { a.Rows = 17 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *BiasArgs) { a.Keys = 0 }},
		{"kernel: Lanes > Set.Lanes", func(a *BiasArgs) { a.Lanes, a.Stride = 24, 24 }},
	})
	testClauses(t, s.Softmax, SoftmaxArgs{S: &f, Keys: 5, MaskFrom: 2, Mask: &m, Max: &f, Sum: &f, Alpha: &f, Lanes: 8, Stride: 8}, []violation[SoftmaxArgs]{
		{"kernel: Softmax: nil operand", func(a *SoftmaxArgs) { a.S = nil }},
		{"kernel: Softmax: nil operand", func(a *SoftmaxArgs) { a.Max = nil }},
		{"kernel: Softmax: nil operand", func(a *SoftmaxArgs) { a.Sum = nil }},
		{"kernel: Softmax: nil operand", func(a *SoftmaxArgs) { a.Alpha = nil }},
		{"kernel: Keys outside 1..KeyBlock", func(a *SoftmaxArgs) { a.Keys = 0 }},
		{"kernel: MaskFrom outside 0..Keys", func(a *SoftmaxArgs) { a.MaskFrom = -1 }},
		{"kernel: MaskFrom outside 0..Keys", func(a *SoftmaxArgs) { a.MaskFrom = 6 }},
		{"kernel: Softmax: MaskFrom < Keys without a Mask", func(a *SoftmaxArgs) { a.Mask = nil }},
		{"kernel: Softmax: MaskFrom == Keys with a Mask", func(a *SoftmaxArgs) { a.MaskFrom = 5 }},
		{"kernel: Stride < Lanes", func(a *SoftmaxArgs) { a.Stride = 0 }},
	})
	testClauses(t, s.Accumulate, AccumulateArgs{V: &f, Keys: 5, MaskFrom: 5, Dim: 3, P: &f, O: &f, Alpha: &f, Lanes: 8, Stride: 8, Mode: Rescale}, []violation[AccumulateArgs]{
		{"kernel: Accumulate: nil operand", func(a *AccumulateArgs) { a.V = nil }},
		{"kernel: Accumulate: nil operand", func(a *AccumulateArgs) { a.P = nil }},
		{"kernel: Accumulate: nil operand", func(a *AccumulateArgs) { a.O = nil }},
		{"kernel: Rescale without Alpha", func(a *AccumulateArgs) { a.Alpha = nil }},
		{"kernel: unknown Mode", func(a *AccumulateArgs) { a.Mode = 3 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *AccumulateArgs) { a.Keys = 0 }},
		{"kernel: MaskFrom outside 0..Keys", func(a *AccumulateArgs) { a.MaskFrom = 6 }},
		{"kernel: Dim < 1", func(a *AccumulateArgs) { a.Dim = 0 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *AccumulateArgs) { a.Lanes = 4 }},
	})
	testClauses(t, s.Unpack, UnpackArgs{O: &f, Sum: &f, Dst: &f, Off: &off, DimStride: 1, Rows: 8, Dim: 1, Lanes: 8, Stride: 8}, []violation[UnpackArgs]{
		{"kernel: Unpack: nil operand", func(a *UnpackArgs) { a.O = nil }},
		{"kernel: Unpack: nil operand", func(a *UnpackArgs) { a.Sum = nil }},
		{"kernel: Unpack: nil operand", func(a *UnpackArgs) { a.Dst = nil }},
		{"kernel: Unpack: nil operand", func(a *UnpackArgs) { a.Off = nil }},
		{"kernel: Rows outside 1..Lanes", func(a *UnpackArgs) { a.Rows = 9 }},
		{"kernel: Dim < 1", func(a *UnpackArgs) { a.Dim = 0 }},
		{"kernel: Lanes > Set.Lanes", func(a *UnpackArgs) { a.Lanes, a.Stride = 64, 64 }},
	})
	testClauses(t, s.Merge, MergeArgs{O: &f, Max: &f, Sum: &f, Chunk: &f, ChunkMax: &f, ChunkSum: &f, Dim: 1, Lanes: 8, Stride: 8}, []violation[MergeArgs]{
		{"kernel: Merge: nil operand", func(a *MergeArgs) { a.O = nil }},
		{"kernel: Merge: nil operand", func(a *MergeArgs) { a.Max = nil }},
		{"kernel: Merge: nil operand", func(a *MergeArgs) { a.Sum = nil }},
		{"kernel: Merge: nil operand", func(a *MergeArgs) { a.Chunk = nil }},
		{"kernel: Merge: nil operand", func(a *MergeArgs) { a.ChunkMax = nil }},
		{"kernel: Merge: nil operand", func(a *MergeArgs) { a.ChunkSum = nil }},
		{"kernel: Dim < 1", func(a *MergeArgs) { a.Dim = 0 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *MergeArgs) { a.Lanes = 4 }},
		{"kernel: Lanes > Set.Lanes", func(a *MergeArgs) { a.Lanes, a.Stride = 24, 24 }},
		{"kernel: Stride < Lanes", func(a *MergeArgs) { a.Stride = 7 }},
	})
	row := unsafe.Pointer(&f)
	var keyOff [2 * KeyBlock]int
	testClauses(t, s.Convert, ConvertArgs{Src: row, Off: (*[KeyBlock]int)(keyOff[:]), Elem: Int8, Scale: &f, Rows: KeyBlock, Dim: 1, Dst: &f, Stride: 1}, []violation[ConvertArgs]{
		{"kernel: Convert: nil operand", func(a *ConvertArgs) { a.Src = nil }},
		{"kernel: Convert: nil operand", func(a *ConvertArgs) { a.Off = nil }},
		{"kernel: Convert: nil operand", func(a *ConvertArgs) { a.Dst = nil }},
		{"kernel: Keys outside 1..KeyBlock", func(a *ConvertArgs) { a.Rows = 0 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *ConvertArgs) { a.Rows = KeyBlock + 1 }},
		{"kernel: unknown Elem", func(a *ConvertArgs) { a.Elem = -1 }},
		{"kernel: unknown Elem", func(a *ConvertArgs) { a.Elem = elems }},
		{"kernel: a type with scales of rows, without Scale", func(a *ConvertArgs) { a.Scale = nil }},
		{"kernel: Dim < 1", func(a *ConvertArgs) { a.Dim = 0 }},
		{"kernel: Dim is not a multiple of the Elem's block", func(a *ConvertArgs) { a.Elem, a.Dim, a.Stride = Q8_0, 33, 33 }},
		{"kernel: Convert: Stride < Dim", func(a *ConvertArgs) { a.Dim = 2 }},
	})
	testClauses(t, s.Store, StoreArgs{Src: &f, Dst: row, DstStride: -34, Elem: Q8_0, Scale: &f, ScaleStride: 1, Rows: 2, Dim: 32}, []violation[StoreArgs]{
		{"kernel: Store: nil operand", func(a *StoreArgs) { a.Src = nil }},
		{"kernel: Store: nil operand", func(a *StoreArgs) { a.Dst = nil }},
		{"kernel: Store: Rows < 1", func(a *StoreArgs) { a.Rows = 0 }},
		{"kernel: Store: rows of Dst overlap", func(a *StoreArgs) { a.DstStride = 33 }},
		{"kernel: Store: rows share a scale", func(a *StoreArgs) { a.Elem, a.ScaleStride = Int8, 0 }},
		{"kernel: unknown Elem", func(a *StoreArgs) { a.Elem = -1 }},
		{"kernel: unknown Elem", func(a *StoreArgs) { a.Elem = elems }},
		{"kernel: a type with scales of rows, without Scale", func(a *StoreArgs) { a.Elem, a.Scale = Int8, nil }},
		{"kernel: Dim < 1", func(a *StoreArgs) { a.Elem, a.Dim = Float32, 0 }},
		{"kernel: Dim is not a multiple of the Elem's block", func(a *StoreArgs) { a.Dim = 33 }},
	})
	decodeInt8 := DecodeScoresInt8Args{K: row, Off: &keyOff, Elem: Q4_0, Keys: 1, Dim: 64, Q: new(byte), QBytes: 104, Rows: 2, S: &f, Stride: 2}
	testClauses(t, s.DecodeScoresInt8, decodeInt8, []violation[DecodeScoresInt8Args]{
		{"kernel: DecodeScoresInt8: nil operand", func(a *DecodeScoresInt8Args) { a.K = nil }},
		{"kernel: DecodeScoresInt8: nil operand", func(a *DecodeScoresInt8Args) { a.Off = nil }},
		{"kernel: DecodeScoresInt8: nil operand", func(a *DecodeScoresInt8Args) { a.Q = nil }},
		{"kernel: DecodeScoresInt8: nil operand", func(a *DecodeScoresInt8Args) { a.S = nil }},
		{"kernel: DecodeScoresInt8: rows of Q overlap", func(a *DecodeScoresInt8Args) { a.QBytes = 103 }},
		{"kernel: DecodeScoresInt8: Stride < Rows", func(a *DecodeScoresInt8Args) { a.Stride = 1 }},
		{"kernel: DecodeScoresInt8: Halves is not that of the set", func(a *DecodeScoresInt8Args) { a.Halves = true }},
		{"kernel: DecodeScoresInt8: an Elem that has no integers", func(a *DecodeScoresInt8Args) { a.Elem = E5M2 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *DecodeScoresInt8Args) { a.Keys = 0 }},
		{"kernel: unknown Elem", func(a *DecodeScoresInt8Args) { a.Elem = elems }},
		{"kernel: a type with scales of rows, without Scale", func(a *DecodeScoresInt8Args) { a.Elem = Int8 }},
		{"kernel: Dim is not a multiple of the Elem's block", func(a *DecodeScoresInt8Args) { a.Dim = 16 }},
		{"kernel: Dim < 1", func(a *DecodeScoresInt8Args) { a.Dim = 0 }},
		{"kernel: Rows outside 1..DecodeRows", func(a *DecodeScoresInt8Args) { a.Rows = 0 }},
	})
	testClauses(t, s.DecodeScores, DecodeScoresArgs{K: row, Off: &keyOff, Elem: Q8_0, Keys: 1, Dim: BlockValues, Q: &f, QStride: 2, Rows: 2, S: &f, Stride: 2}, []violation[DecodeScoresArgs]{
		{"kernel: DecodeScores: nil operand", func(a *DecodeScoresArgs) { a.K = nil }},
		{"kernel: DecodeScores: nil operand", func(a *DecodeScoresArgs) { a.Off = nil }},
		{"kernel: DecodeScores: nil operand", func(a *DecodeScoresArgs) { a.Q = nil }},
		{"kernel: DecodeScores: nil operand", func(a *DecodeScoresArgs) { a.S = nil }},
		{"kernel: DecodeScores: a stride < Rows", func(a *DecodeScoresArgs) { a.QStride = 1 }},
		{"kernel: DecodeScores: a stride < Rows", func(a *DecodeScoresArgs) { a.Stride = 1 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *DecodeScoresArgs) { a.Keys = 0 }},
		{"kernel: unknown Elem", func(a *DecodeScoresArgs) { a.Elem = elems }},
		{"kernel: DecodeScores: an Elem that is not Direct", func(a *DecodeScoresArgs) { a.Elem = Q4_0 }},
		{"kernel: DecodeScores: Brain of another Elem, or of a set without BrainRows", func(a *DecodeScoresArgs) { a.Brain = true }},
		{"kernel: a type with scales of rows, without Scale", func(a *DecodeScoresArgs) { a.Elem = Int8 }},
		{"kernel: Dim is not a multiple of the Elem's block", func(a *DecodeScoresArgs) { a.Dim = 16 }},
		{"kernel: DecodeScores: Dim < Vec", func(a *DecodeScoresArgs) { a.Elem, a.Dim = Float32, 7 }},
		{"kernel: Rows outside 1..DecodeRows", func(a *DecodeScoresArgs) { a.Rows = 0 }},
		{"kernel: Rows outside 1..DecodeRows", func(a *DecodeScoresArgs) { a.Rows, a.QStride, a.Stride = 13, 13, 13 }},
	})
	testClauses(t, s.DecodeAccumulate, DecodeAccumulateArgs{V: row, Off: &keyOff, Elem: BFloat16, Keys: 5, MaskFrom: 5, Dim: 8, P: &f, Stride: 2, Rows: 2, O: &f, OStride: 8, Alpha: &f, Mode: Rescale}, []violation[DecodeAccumulateArgs]{
		{"kernel: DecodeAccumulate: nil operand", func(a *DecodeAccumulateArgs) { a.V = nil }},
		{"kernel: DecodeAccumulate: nil operand", func(a *DecodeAccumulateArgs) { a.Off = nil }},
		{"kernel: DecodeAccumulate: nil operand", func(a *DecodeAccumulateArgs) { a.P = nil }},
		{"kernel: DecodeAccumulate: nil operand", func(a *DecodeAccumulateArgs) { a.O = nil }},
		{"kernel: Rescale without Alpha", func(a *DecodeAccumulateArgs) { a.Alpha = nil }},
		{"kernel: unknown Mode", func(a *DecodeAccumulateArgs) { a.Mode = -1 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *DecodeAccumulateArgs) { a.Keys = KeyBlock + 1 }},
		{"kernel: MaskFrom outside 0..Keys", func(a *DecodeAccumulateArgs) { a.MaskFrom = 6 }},
		{"kernel: unknown Elem", func(a *DecodeAccumulateArgs) { a.Elem = -1 }},
		{"kernel: DecodeAccumulate: an Elem that is not Direct", func(a *DecodeAccumulateArgs) { a.Elem = E5M2 }},
		{"kernel: DecodeAccumulate: Brain of another Elem, or of a set without BrainRows", func(a *DecodeAccumulateArgs) { a.Brain = true }},
		{"kernel: a type with scales of rows, without Scale", func(a *DecodeAccumulateArgs) { a.Elem = Int8 }},
		{"kernel: Dim < 1", func(a *DecodeAccumulateArgs) { a.Dim = 0 }},
		{"kernel: Rows outside 1..DecodeRows", func(a *DecodeAccumulateArgs) { a.Rows, a.Stride = 13, 13 }},
		{"kernel: DecodeAccumulate: Dim is not a multiple of DecodeDims", func(a *DecodeAccumulateArgs) { a.Dim = 4 }},
		{"kernel: DecodeAccumulate: Stride < Rows", func(a *DecodeAccumulateArgs) { a.Stride = 1 }},
		{"kernel: DecodeAccumulate: OStride < Dim", func(a *DecodeAccumulateArgs) { a.OStride = 7 }},
	})
	halves := quiet
	halves.DecodeDims, halves.AnyValues, halves.BrainRows = 4, true, true
	testClauses(t, Checked(halves.With(nothing())).funcs.DecodeAccumulate, DecodeAccumulateArgs{V: row, Off: &keyOff, Elem: BFloat16, Keys: 5, MaskFrom: 5, Dim: 12, P: &f, Stride: 2, Rows: 2, O: &f, OStride: 12, Alpha: &f, Mode: Rescale}, []violation[DecodeAccumulateArgs]{
		{"kernel: DecodeAccumulate: Dim is not a multiple of DecodeDims", func(a *DecodeAccumulateArgs) { a.Dim = 6 }},
		{"kernel: DecodeAccumulate: Brain of a Dim that is not a multiple of Vec", func(a *DecodeAccumulateArgs) { a.Brain = true }},
		{"kernel: DecodeAccumulate: an Elem that is not Direct", func(a *DecodeAccumulateArgs) { a.Elem = E4M3 }},
	})
	for _, c := range []struct {
		name string
		call func(*MultiplyArgs)
		most int
	}{{"Multiply", s.Multiply, KC}, {"MultiplyPairs", s.MultiplyPairs, KC / 2}} {
		testClauses(t, c.call, MultiplyArgs{A: &f, Rows: 2, Depth: 3, B: &f, C: &f, Stride: -8, Lanes: 8}, []violation[MultiplyArgs]{
			{"kernel: " + c.name + ": nil operand", func(a *MultiplyArgs) { a.A = nil }},
			{"kernel: " + c.name + ": nil operand", func(a *MultiplyArgs) { a.B = nil }},
			{"kernel: " + c.name + ": nil operand", func(a *MultiplyArgs) { a.C = nil }},
			{"kernel: " + c.name + ": Rows < 1", func(a *MultiplyArgs) { a.Rows = 0 }},
			{"kernel: " + c.name + ": Depth outside 1..KC", func(a *MultiplyArgs) { a.Depth = 0 }},
			{"kernel: " + c.name + ": Depth outside 1..KC", func(a *MultiplyArgs) { a.Depth = c.most + 1 }},
			{"kernel: " + c.name + ": rows of C overlap", func(a *MultiplyArgs) { a.Stride = 7 }},
			{"kernel: " + c.name + ": NextRow or ThenRows < 0", func(a *MultiplyArgs) { a.NextRow = -1 }},
			{"kernel: " + c.name + ": NextRow or ThenRows < 0", func(a *MultiplyArgs) { a.ThenRows = -1 }},
			{"kernel: Lanes is not a positive multiple of Vec", func(a *MultiplyArgs) { a.Lanes = 4 }},
			{"kernel: Lanes > Set.Lanes", func(a *MultiplyArgs) { a.Lanes, a.Stride = 64, 64 }},
		})
	}
	for name, call := range map[string]func(*MultiplyArgs){"MultiplyFew": s.MultiplyFew, "MultiplyPairsFew": s.MultiplyPairsFew} {
		testClauses(t, call, MultiplyArgs{A: &f, Rows: 2, Depth: 3 * KC, B: &f, C: &f, Stride: 8, Lanes: 8}, []violation[MultiplyArgs]{
			{"kernel: " + name + ": Rows outside 1..FewRows", func(a *MultiplyArgs) { a.Rows = quiet.FewRows + 1 }},
			{"kernel: " + name + ": Depth < 1", func(a *MultiplyArgs) { a.Depth = 0 }},
		})
	}
	testClauses(t, s.Pairs, PairsArgs{Kind: PairAcross, Src: &f, RowStride: 5, ColStride: 1, Rows: 2, Cols: 5, Dst: new(float32), Stride: 3}, []violation[PairsArgs]{
		{"kernel: Pairs: unknown Kind", func(a *PairsArgs) { a.Kind = -1 }},
		{"kernel: Pairs: unknown Kind", func(a *PairsArgs) { a.Kind = SplitDown + 1 }},
		{"kernel: Pairs: Rows < 1", func(a *PairsArgs) { a.Rows = 0 }},
		{"kernel: Pairs: Cols < 1", func(a *PairsArgs) { a.Cols = 0 }},
		{"kernel: Pairs: pairs lie apart", func(a *PairsArgs) { a.Kind, a.ColStride = SplitDown, 2 }},
		{"kernel: Pairs: rows of Dst overlap", func(a *PairsArgs) { a.Stride = 2 }},
		{"kernel: Pairs: rows of Dst overlap", func(a *PairsArgs) { a.Kind = PairDown }},
		{"kernel: Pairs: nil operand", func(a *PairsArgs) { a.Src = nil }},
		{"kernel: Pairs: nil operand", func(a *PairsArgs) { a.Dst = nil }},
		{"kernel: Pairs: in place with two strides", func(a *PairsArgs) { a.Dst = a.Src }},
		{"kernel: Pairs: in place with two strides", func(a *PairsArgs) { a.Kind, a.Dst, a.Stride = SplitDown, a.Src, a.RowStride }},
	})
	var q byte
	testClauses(t, s.Dequantize, DequantizeArgs{Type: WeightQ4_0, Src: &q, RowBytes: 18, Depth: 32, Lanes: 8, Dst: &f, Stride: 8}, []violation[DequantizeArgs]{
		{"kernel: Dequantize: nil operand", func(a *DequantizeArgs) { a.Src = nil }},
		{"kernel: Dequantize: nil operand", func(a *DequantizeArgs) { a.Dst = nil }},
		{"kernel: Dequantize: unknown Type", func(a *DequantizeArgs) { a.Type = -1 }},
		{"kernel: Dequantize: unknown Type", func(a *DequantizeArgs) { a.Type = weights }},
		{"kernel: Dequantize: Depth outside 1..KC", func(a *DequantizeArgs) { a.Depth = 0 }},
		{"kernel: Dequantize: Depth outside 1..KC", func(a *DequantizeArgs) { a.Depth = KC + 32 }},
		{"kernel: Dequantize: Depth is not a multiple of the Type's block", func(a *DequantizeArgs) { a.Depth = 33 }},
		{"kernel: Dequantize: Scales of a Type that has none", func(a *DequantizeArgs) { a.Scales = &f }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *DequantizeArgs) { a.Lanes = 4 }},
		{"kernel: Lanes > Set.Lanes", func(a *DequantizeArgs) { a.Lanes, a.Stride = 24, 24 }},
		{"kernel: Stride < Lanes", func(a *DequantizeArgs) { a.Stride = 7 }},
	})
	testClauses(t, s.DotWeights, DotWeightsArgs{Type: WeightQ4_0, Src: &q, RowBytes: 18, Depth: 512, Lanes: 24, X: &f, C: &f, Stride: 24}, []violation[DotWeightsArgs]{
		{"kernel: DotWeights: nil operand", func(a *DotWeightsArgs) { a.Src = nil }},
		{"kernel: DotWeights: nil operand", func(a *DotWeightsArgs) { a.X = nil }},
		{"kernel: DotWeights: nil operand", func(a *DotWeightsArgs) { a.C = nil }},
		{"kernel: DotWeights: unknown Type", func(a *DotWeightsArgs) { a.Type = -1 }},
		{"kernel: DotWeights: unknown Type", func(a *DotWeightsArgs) { a.Type = weights }},
		{"kernel: DotWeights: Depth < 1", func(a *DotWeightsArgs) { a.Depth = 0 }},
		{"kernel: DotWeights: Depth is not a multiple of the Type's block", func(a *DotWeightsArgs) { a.Depth = 33 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *DotWeightsArgs) { a.Lanes = 4 }},
		{"kernel: Stride < Lanes", func(a *DotWeightsArgs) { a.Stride = 23 }},
	})
	testClauses(t, s.Quantize, QuantizeArgs{X: &f, Rows: 2, Depth: 64, Dst: &q, RowBytes: 2 * Int8BlockBytes(false)}, []violation[QuantizeArgs]{
		{"kernel: Quantize: nil operand", func(a *QuantizeArgs) { a.X = nil }},
		{"kernel: Quantize: nil operand", func(a *QuantizeArgs) { a.Dst = nil }},
		{"kernel: Quantize: Rows < 1", func(a *QuantizeArgs) { a.Rows = 0 }},
		{"kernel: Quantize: Depth is not a positive multiple of Int8Block", func(a *QuantizeArgs) { a.Depth = 0 }},
		{"kernel: Quantize: Depth is not a positive multiple of Int8Block", func(a *QuantizeArgs) { a.Depth = 48 }},
		{"kernel: Quantize: Halves is not that of the set", func(a *QuantizeArgs) { a.Halves = true }},
		{"kernel: Quantize: rows of Dst overlap", func(a *QuantizeArgs) { a.RowBytes-- }},
	})
	unpack := UnpackInt8Args{Kind: Int8Groups32, Src: &q, Depth: KC, Lanes: 16, Scales: &f, Mins: &f, Codes: &q, Table: new([16]byte), Dst: &q}
	testClauses(t, s.UnpackInt8, unpack, []violation[UnpackInt8Args]{
		{"kernel: UnpackInt8: nil operand", func(a *UnpackInt8Args) { a.Src = nil }},
		{"kernel: UnpackInt8: nil operand", func(a *UnpackInt8Args) { a.Scales = nil }},
		{"kernel: UnpackInt8: nil operand", func(a *UnpackInt8Args) { a.Mins = nil }},
		{"kernel: UnpackInt8: Codes without Table and Dst", func(a *UnpackInt8Args) { a.Table = nil }},
		{"kernel: UnpackInt8: Codes without Table and Dst", func(a *UnpackInt8Args) { a.Dst = nil }},
		{"kernel: UnpackInt8: unknown Kind", func(a *UnpackInt8Args) { a.Kind = -1 }},
		{"kernel: UnpackInt8: unknown Kind", func(a *UnpackInt8Args) { a.Kind = int8Scales }},
		{"kernel: UnpackInt8: Depth of groups is not KC", func(a *UnpackInt8Args) { a.Depth = 32 }},
		{"kernel: UnpackInt8: Depth of groups is not KC", func(a *UnpackInt8Args) { a.Kind, a.Depth = Int8Groups16, 32 }},
		{"kernel: Depth of class Int8 is not a multiple of Int8Block up to KC", func(a *UnpackInt8Args) { a.Depth = KC + Int8Block }},
		{"kernel: Lanes > Set.Lanes", func(a *UnpackInt8Args) { a.Lanes = 24 }},
	})
	convert := ConvertInt8Args{Src: unsafe.Pointer(&q), Off: new([KeyBlock]int), Elem: Q8_0, UnitStride: 34, Rows: 2, Dim: 64, Dst: &q, RowBytes: 2 * Int8BlockBytes(false)}
	testClauses(t, s.ConvertInt8, convert, []violation[ConvertInt8Args]{
		{"kernel: ConvertInt8: nil operand", func(a *ConvertInt8Args) { a.Src = nil }},
		{"kernel: ConvertInt8: nil operand", func(a *ConvertInt8Args) { a.Off = nil }},
		{"kernel: ConvertInt8: nil operand", func(a *ConvertInt8Args) { a.Dst = nil }},
		{"kernel: ConvertInt8: an Elem that has no integers", func(a *ConvertInt8Args) { a.Elem = E4M3 }},
		{"kernel: ConvertInt8: Halves is not that of the set", func(a *ConvertInt8Args) { a.Halves = true }},
		{"kernel: ConvertInt8: rows of Dst overlap", func(a *ConvertInt8Args) { a.RowBytes-- }},
		{"kernel: unknown Elem", func(a *ConvertInt8Args) { a.Elem = elems }},
		{"kernel: Dim is not a multiple of the Elem's block", func(a *ConvertInt8Args) { a.Dim = 33 }},
		{"kernel: Dim < 1", func(a *ConvertInt8Args) { a.Dim = 0 }},
		{"kernel: a type with scales of rows, without Scale", func(a *ConvertInt8Args) { a.Elem = Int8 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *ConvertInt8Args) { a.Rows = KeyBlock + 1 }},
	})
	testClauses(t, s.PackWeights, PackWeightsArgs{Type: WeightQ4_K, Src: &q, RowBytes: 144, Depth: 256, Lanes: 8, Stride: 8, Codes: &q, Numbers: &q, Integers: &q}, []violation[PackWeightsArgs]{
		{"kernel: PackWeights: nil operand", func(a *PackWeightsArgs) { a.Src = nil }},
		{"kernel: PackWeights: nil operand", func(a *PackWeightsArgs) { a.Codes = nil }},
		{"kernel: PackWeights: nil Numbers", func(a *PackWeightsArgs) { a.Numbers = nil }},
		{"kernel: PackWeights: nil Integers", func(a *PackWeightsArgs) { a.Integers = nil }},
		{"kernel: PackWeights: Type is not packed for class Int8", func(a *PackWeightsArgs) { a.Type = weights }},
		{"kernel: PackWeights: Type is not packed for class Int8", func(a *PackWeightsArgs) { a.Type = WeightQ2_K }},
		{"kernel: PackWeights: Depth is not a multiple of the Type's block", func(a *PackWeightsArgs) { a.Depth = 128 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *PackWeightsArgs) { a.Lanes = 4 }},
		{"kernel: Lanes > Set.Lanes", func(a *PackWeightsArgs) { a.Lanes, a.Stride = 24, 24 }},
		{"kernel: Stride < Lanes", func(a *PackWeightsArgs) { a.Stride = 7 }},
	})
	testClauses(t, s.PackInt8, PackInt8Args{Q: &f, Dim: 33, Lanes: 8, Stride: 8, Codes: &q, Scales: &f}, []violation[PackInt8Args]{
		{"kernel: PackInt8: nil operand", func(a *PackInt8Args) { a.Q = nil }},
		{"kernel: PackInt8: nil operand", func(a *PackInt8Args) { a.Codes = nil }},
		{"kernel: PackInt8: nil operand", func(a *PackInt8Args) { a.Scales = nil }},
		{"kernel: Dim < 1", func(a *PackInt8Args) { a.Dim = 0 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *PackInt8Args) { a.Lanes = 4 }},
		{"kernel: Stride < Lanes", func(a *PackInt8Args) { a.Stride = 7 }},
		{"kernel: PackInt8: Mins without Factors and Sums", func(a *PackInt8Args) { a.Mins, a.Factors = &f, &f }},
		{"kernel: PackInt8: Mins without Factors and Sums", func(a *PackInt8Args) { a.Mins, a.Sums = &f, &f }},
		{"kernel: PackInt8: FactorStride without Factors, or less than Lanes", func(a *PackInt8Args) { a.FactorStride = 8 }},
		{"kernel: PackInt8: FactorStride without Factors, or less than Lanes", func(a *PackInt8Args) { a.Factors, a.FactorStride = &f, 7 }},
		{"kernel: PackInt8: RowOf without FactorOf, or the reverse", func(a *PackInt8Args) { a.RowOf = new(int32) }},
		{"kernel: PackInt8: RowOf without FactorOf, or the reverse", func(a *PackInt8Args) { a.FactorOf = new(int32) }},
		{"kernel: PackInt8: RowOf without FactorStride, or of a set without SpreadsLanes", func(a *PackInt8Args) { a.RowOf, a.FactorOf = new(int32), new(int32) }},
		{"kernel: PackInt8: RowOf without FactorStride, or of a set without SpreadsLanes", func(a *PackInt8Args) {
			a.RowOf, a.FactorOf, a.Factors, a.FactorStride = new(int32), new(int32), &f, 1
		}},
	})
	set := quiet
	set.SpreadsLanes, set.SpreadsBlocks = true, true
	blocks := PackInt8Args{
		Q: &f, Dim: 33, Lanes: 8, Stride: 8, Codes: &q, Scales: &f, RowOf: new(int32), FactorOf: new(int32),
		V: unsafe.Pointer(&q), Off: new([2 * KeyBlock]int), Elem: Q8_0,
	}
	const without = "kernel: PackInt8: V without RowOf or Off, or of a set without SpreadsBlocks"
	testClauses(t, Checked(set.With(nothing())).funcs.PackInt8, blocks, []violation[PackInt8Args]{
		{without, func(a *PackInt8Args) { a.RowOf, a.FactorOf = nil, nil }},
		{without, func(a *PackInt8Args) { a.Off = nil }},
		{"kernel: PackInt8: V with Factors", func(a *PackInt8Args) { a.Factors = &f }},
		{"kernel: PackInt8: V of an Elem without blocks", func(a *PackInt8Args) { a.Elem = Int8 }},
		{"kernel: PackInt8: V of an Elem without blocks", func(a *PackInt8Args) { a.Elem = Float16 }},
		{"kernel: PackInt8: V of more than KeyBlock values", func(a *PackInt8Args) { a.Dim = KeyBlock + 1 }},
	})
	set.SpreadsBlocks = false
	if v := panicOf(func() { Checked(set.With(nothing())).funcs.PackInt8(&blocks) }); v != without {
		t.Errorf("panic %v, want %v", v, without)
	}
	turn := TransposeInt8Args{Src: unsafe.Pointer(&q), Off: new([KeyBlock]int), Elem: Q8_0, UnitStride: 34, Keys: 33, Dim: 64, Dst: &q, RowBytes: 2 * Int8BlockBytes(false)}
	testClauses(t, s.TransposeInt8, turn, []violation[TransposeInt8Args]{
		{"kernel: TransposeInt8: nil operand", func(a *TransposeInt8Args) { a.Src = nil }},
		{"kernel: TransposeInt8: nil operand", func(a *TransposeInt8Args) { a.Off = nil }},
		{"kernel: TransposeInt8: nil operand", func(a *TransposeInt8Args) { a.Dst = nil }},
		{"kernel: TransposeInt8: an Elem that has no integers", func(a *TransposeInt8Args) { a.Elem = E4M3 }},
		{"kernel: TransposeInt8: Halves is not that of the set", func(a *TransposeInt8Args) { a.Halves = true }},
		{"kernel: TransposeInt8: rows of Dst overlap", func(a *TransposeInt8Args) { a.RowBytes-- }},
		{"kernel: unknown Elem", func(a *TransposeInt8Args) { a.Elem = elems }},
		{"kernel: Dim is not a multiple of the Elem's block", func(a *TransposeInt8Args) { a.Dim = 33 }},
		{"kernel: Dim < 1", func(a *TransposeInt8Args) { a.Dim = 0 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *TransposeInt8Args) { a.Keys = KeyBlock + 1 }},
	})
	weigh := DecodeAccumulateInt8Args{
		V: unsafe.Pointer(&q), Off: new([2 * KeyBlock]int), Elem: Q4_1, Keys: 33, Dim: 64, Codes: new(int8), Scales: &f, Mins: &f, GroupCodes: 128, GroupScales: 4, Lanes: 2, Rows: 2,
		O: &f, OStride: 64,
	}
	testClauses(t, s.DecodeAccumulateInt8, weigh, []violation[DecodeAccumulateInt8Args]{
		{"kernel: DecodeAccumulateInt8: nil operand", func(a *DecodeAccumulateInt8Args) { a.V = nil }},
		{"kernel: DecodeAccumulateInt8: nil operand", func(a *DecodeAccumulateInt8Args) { a.Off = nil }},
		{"kernel: DecodeAccumulateInt8: nil operand", func(a *DecodeAccumulateInt8Args) { a.Codes = nil }},
		{"kernel: DecodeAccumulateInt8: nil operand", func(a *DecodeAccumulateInt8Args) { a.Scales = nil }},
		{"kernel: DecodeAccumulateInt8: nil operand", func(a *DecodeAccumulateInt8Args) { a.O = nil }},
		{"kernel: DecodeAccumulateInt8: no Mins", func(a *DecodeAccumulateInt8Args) { a.Mins = nil }},
		{"kernel: DecodeAccumulateInt8: an Elem that has no integers", func(a *DecodeAccumulateInt8Args) { a.Elem = E4M3 }},
		{"kernel: DecodeAccumulateInt8: Dim is not a multiple of Vec", func(a *DecodeAccumulateInt8Args) { a.Elem, a.Dim = Int8, 63 }},
		{"kernel: DecodeAccumulateInt8: groups in descending order", func(a *DecodeAccumulateInt8Args) { a.GroupCodes = -1 }},
		{"kernel: DecodeAccumulateInt8: groups in descending order", func(a *DecodeAccumulateInt8Args) { a.GroupScales = -1 }},
		{"kernel: DecodeAccumulateInt8: Lanes < Rows", func(a *DecodeAccumulateInt8Args) { a.Lanes = 1 }},
		{"kernel: DecodeAccumulateInt8: OStride < Dim", func(a *DecodeAccumulateInt8Args) { a.OStride = 63 }},
		{"kernel: Rescale without Alpha", func(a *DecodeAccumulateInt8Args) { a.Mode = Rescale }},
		{"kernel: unknown Mode", func(a *DecodeAccumulateInt8Args) { a.Mode = -1 }},
		{"kernel: unknown Elem", func(a *DecodeAccumulateInt8Args) { a.Elem = -1 }},
		{"kernel: Dim is not a multiple of the Elem's block", func(a *DecodeAccumulateInt8Args) { a.Dim = 40 }},
		{"kernel: Keys outside 1..KeyBlock", func(a *DecodeAccumulateInt8Args) { a.Keys = 0 }},
		{"kernel: Rows outside 1..DecodeRows", func(a *DecodeAccumulateInt8Args) { a.Rows = 0 }},
	})
	multiply := MultiplyInt8Args{X: &q, Rows: 1, Depth: 32, W: &q, Table: new([16]byte), Groups: 1, Scales: &f, Mins: &f, C: &f, Lanes: 16}
	testClauses(t, s.MultiplyInt8, multiply, []violation[MultiplyInt8Args]{
		{"kernel: MultiplyInt8: nil operand", func(a *MultiplyInt8Args) { a.X = nil }},
		{"kernel: MultiplyInt8: nil operand", func(a *MultiplyInt8Args) { a.W = nil }},
		{"kernel: MultiplyInt8: nil operand", func(a *MultiplyInt8Args) { a.Scales = nil }},
		{"kernel: MultiplyInt8: nil operand", func(a *MultiplyInt8Args) { a.C = nil }},
		{"kernel: MultiplyInt8: Alpha without Add, or with Bias, groups or Table", func(a *MultiplyInt8Args) { a.Alpha, a.Table = &f, nil }},
		{"kernel: MultiplyInt8: Alpha without Add, or with Bias, groups or Table", func(a *MultiplyInt8Args) { a.Alpha, a.Add = &f, true }},
		{"kernel: MultiplyInt8: Alpha without Add, or with Bias, groups or Table", func(a *MultiplyInt8Args) { a.Alpha, a.Add, a.Table, a.Bias = &f, true, nil, &f }},
		{"kernel: MultiplyInt8: Rows < 1", func(a *MultiplyInt8Args) { a.Rows = 0 }},
		{"kernel: MultiplyInt8: Halves is not that of the set", func(a *MultiplyInt8Args) { a.Halves = true }},
		{"kernel: MultiplyInt8: Groups outside 1..2", func(a *MultiplyInt8Args) { a.Groups = 3 }},
		{"kernel: MultiplyInt8: Groups outside 1..2", func(a *MultiplyInt8Args) { a.Groups = 0 }},
		{"kernel: MultiplyInt8: a Table of more than one row or group", func(a *MultiplyInt8Args) { a.Rows, a.Stride = 2, 16 }},
		{"kernel: MultiplyInt8: a Table of more than one row or group", func(a *MultiplyInt8Args) { a.Groups, a.Mins = 2, nil }},
		{"kernel: MultiplyInt8: Mins of two groups", func(a *MultiplyInt8Args) { a.Groups, a.Table = 2, nil }},
		{"kernel: MultiplyInt8: rows of C overlap", func(a *MultiplyInt8Args) { a.Rows, a.Stride, a.Table = 2, 15, nil }},
		{"kernel: MultiplyInt8: Depth is not a positive multiple of Int8Block", func(a *MultiplyInt8Args) { a.Depth = 31 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *MultiplyInt8Args) { a.Lanes = 4 }},
	})
	testClauses(t, s.MultiplyRowInt8, MultiplyRowInt8Args{
		X: &q, Depth: 2 * KC, Type: WeightQ4_K, W: &q, C: &f, Lanes: 16, Panels: 2,
	}, []violation[MultiplyRowInt8Args]{
		{"kernel: MultiplyRowInt8: nil operand", func(a *MultiplyRowInt8Args) { a.X = nil }},
		{"kernel: MultiplyRowInt8: nil operand", func(a *MultiplyRowInt8Args) { a.W = nil }},
		{"kernel: MultiplyRowInt8: nil operand", func(a *MultiplyRowInt8Args) { a.C = nil }},
		{"kernel: MultiplyRowInt8: Type is not packed for class Int8", func(a *MultiplyRowInt8Args) { a.Type = -1 }},
		{"kernel: MultiplyRowInt8: Type is not packed for class Int8", func(a *MultiplyRowInt8Args) { a.Type = WeightFloat16 }},
		{"kernel: MultiplyRowInt8: Depth is not a positive multiple of Int8Block and of the Type's block", func(a *MultiplyRowInt8Args) { a.Depth = 32 }},
		{"kernel: MultiplyRowInt8: Depth is not a positive multiple of Int8Block and of the Type's block", func(a *MultiplyRowInt8Args) { a.Type, a.Depth = WeightInt8, 33 }},
		{"kernel: MultiplyRowInt8: Depth is not a positive multiple of Int8Block and of the Type's block", func(a *MultiplyRowInt8Args) { a.Depth = 0 }},
		{"kernel: MultiplyRowInt8: Halves is not that of the set", func(a *MultiplyRowInt8Args) { a.Halves = true }},
		{"kernel: MultiplyRowInt8: Panels < 1", func(a *MultiplyRowInt8Args) { a.Panels = 0 }},
		{"kernel: Lanes > Set.Lanes", func(a *MultiplyRowInt8Args) { a.Lanes = 24 }},
	})
	testClauses(t, s.MultiplyStrips, MultiplyStripsArgs{
		Type: WeightQ4_0, Src: &q, Vec: 8, Depth: 512, Lanes: 24, A: &f, Rows: 2, C: &f, Stride: -24,
	}, []violation[MultiplyStripsArgs]{
		{"kernel: MultiplyStrips: nil operand", func(a *MultiplyStripsArgs) { a.Src = nil }},
		{"kernel: MultiplyStrips: nil operand", func(a *MultiplyStripsArgs) { a.A = nil }},
		{"kernel: MultiplyStrips: nil operand", func(a *MultiplyStripsArgs) { a.C = nil }},
		{"kernel: MultiplyStrips: the Type is not packed in strips", func(a *MultiplyStripsArgs) { a.Type = -1 }},
		{"kernel: MultiplyStrips: the Type is not packed in strips", func(a *MultiplyStripsArgs) { a.Type = weights }},
		{"kernel: MultiplyStrips: the Type is not packed in strips", func(a *MultiplyStripsArgs) { a.Type = WeightFloat32 }},
		{"kernel: MultiplyStrips: Vec is not that of the Set", func(a *MultiplyStripsArgs) { a.Vec = 4 }},
		{"kernel: MultiplyStrips: Depth is no positive multiple of the Type's block", func(a *MultiplyStripsArgs) { a.Depth = 0 }},
		{"kernel: MultiplyStrips: Depth is no positive multiple of the Type's block", func(a *MultiplyStripsArgs) { a.Depth = 33 }},
		{"kernel: MultiplyStrips: Rows outside 1..MaxStripRows", func(a *MultiplyStripsArgs) { a.Rows = 0 }},
		{"kernel: MultiplyStrips: Rows outside 1..MaxStripRows", func(a *MultiplyStripsArgs) { a.Rows = MaxStripRows + 1 }},
		{"kernel: MultiplyStrips: rows of C overlap", func(a *MultiplyStripsArgs) { a.Stride = 23 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *MultiplyStripsArgs) { a.Lanes = 4 }},
	})
	testClauses(t, s.DequantizeStrips, DequantizeStripsArgs{Type: WeightQ4_0, Src: &q, Vec: 8, Depth: 32, Lanes: 8, Dst: &f, Stride: 8}, []violation[DequantizeStripsArgs]{
		{"kernel: DequantizeStrips: nil operand", func(a *DequantizeStripsArgs) { a.Src = nil }},
		{"kernel: DequantizeStrips: nil operand", func(a *DequantizeStripsArgs) { a.Dst = nil }},
		{"kernel: DequantizeStrips: the Type is not packed in strips", func(a *DequantizeStripsArgs) { a.Type = WeightInt8 }},
		{"kernel: DequantizeStrips: Vec is not that of the Set", func(a *DequantizeStripsArgs) { a.Vec = 16 }},
		{"kernel: DequantizeStrips: Depth is no positive multiple of the Type's block", func(a *DequantizeStripsArgs) { a.Depth = 31 }},
		{"kernel: DequantizeStrips: Depth > KC", func(a *DequantizeStripsArgs) { a.Depth = KC + 32 }},
		{"kernel: Lanes is not a positive multiple of Vec", func(a *DequantizeStripsArgs) { a.Lanes = 0 }},
		{"kernel: Lanes > Set.Lanes", func(a *DequantizeStripsArgs) { a.Lanes, a.Stride = 24, 24 }},
		{"kernel: Stride < Lanes", func(a *DequantizeStripsArgs) { a.Stride = 7 }},
	})
	type conversion struct {
		dst *float32
		src *uint16
		n   int
	}
	var h uint16
	testClauses(t, func(c *conversion) { s.Float16(c.dst, c.src, c.n) }, conversion{&f, &h, 1}, []violation[conversion]{
		{"kernel: Float16: nil operand", func(c *conversion) { c.dst = nil }},
		{"kernel: Float16: nil operand", func(c *conversion) { c.src = nil }},
		{"kernel: Float16: n < 1", func(c *conversion) { c.n = 0 }},
	})
	var g float32
	var sums [NormSums]float32
	var other float32
	testClauses(t, s.Sums, SumsArgs{X: &f, Add: &other, N: 1, Sums: &sums}, []violation[SumsArgs]{
		{"kernel: Sums: N < 1", func(a *SumsArgs) { a.N = 0 }},
		{"kernel: Sums: nil operand", func(a *SumsArgs) { a.X = nil }},
		{"kernel: Sums: nil operand", func(a *SumsArgs) { a.Sums = nil }},
		{"kernel: Sums: X is Add", func(a *SumsArgs) { a.Add = a.X }},
	})
	testClauses(t, s.Hadamard, HadamardArgs{X: &f, XStride: 4, Y: &f, YStride: 4, Rows: 2, Cols: 4, Block: 2}, []violation[HadamardArgs]{
		{"kernel: Hadamard: nil operand", func(a *HadamardArgs) { a.X = nil }},
		{"kernel: Hadamard: nil operand", func(a *HadamardArgs) { a.Y = nil }},
		{"kernel: Hadamard: Rows < 1", func(a *HadamardArgs) { a.Rows = 0 }},
		{"kernel: Hadamard: Block is not a power of two", func(a *HadamardArgs) { a.Block, a.Cols = 3, 3 }},
		{"kernel: Hadamard: Block is not a power of two", func(a *HadamardArgs) { a.Block = 0 }},
		{"kernel: Hadamard: Cols is not a positive multiple of Block", func(a *HadamardArgs) { a.Cols = 3 }},
		{"kernel: Hadamard: Cols is not a positive multiple of Block", func(a *HadamardArgs) { a.Cols = 0 }},
		{"kernel: Hadamard: in place with two strides", func(a *HadamardArgs) { a.XStride = 5 }},
		{"kernel: Hadamard: rows of Y overlap", func(a *HadamardArgs) { a.XStride, a.YStride = 3, 3 }},
	})
	testClauses(t, s.Above, AboveArgs{X: &f, N: AboveBlock}, []violation[AboveArgs]{
		{"kernel: Above: nil operand", func(a *AboveArgs) { a.X = nil }},
		{"kernel: Above: N is not a positive multiple of AboveBlock", func(a *AboveArgs) { a.N = 0 }},
		{"kernel: Above: N is not a positive multiple of AboveBlock", func(a *AboveArgs) { a.N++ }},
		{"kernel: Above: Bound is NaN", func(a *AboveArgs) { a.Bound = float32(math.NaN()) }},
	})
	testClauses(t, s.Normalize, NormalizeArgs{X: &f, Y: &f, N: 1, Weight: &f, Bias: &f}, []violation[NormalizeArgs]{
		{"kernel: Normalize: N < 1", func(a *NormalizeArgs) { a.N = 0 }},
		{"kernel: Normalize: nil operand", func(a *NormalizeArgs) { a.X = nil }},
		{"kernel: Normalize: nil operand", func(a *NormalizeArgs) { a.Y = nil }},
		{"kernel: Normalize: Bias without Weight", func(a *NormalizeArgs) { a.Weight = nil }},
	})
	testClauses(t, s.Rotary, RotaryArgs{X: &f, XStride: 2, Y: &f, YStride: 2, Cos: &g, Sin: &g, Rows: 2, Pairs: 1, Pairing: Interleaved}, []violation[RotaryArgs]{
		{"kernel: Rotary: nil operand", func(a *RotaryArgs) { a.X = nil }},
		{"kernel: Rotary: nil operand", func(a *RotaryArgs) { a.Y = nil }},
		{"kernel: Rotary: nil operand", func(a *RotaryArgs) { a.Cos = nil }},
		{"kernel: Rotary: nil operand", func(a *RotaryArgs) { a.Sin = nil }},
		{"kernel: Rotary: Rows < 1", func(a *RotaryArgs) { a.Rows = 0 }},
		{"kernel: Rotary: Pairs < 1", func(a *RotaryArgs) { a.Pairs = 0 }},
		{"kernel: Rotary: unknown Pairing", func(a *RotaryArgs) { a.Pairing = 2 }},
		{"kernel: Rotary: in place with two strides", func(a *RotaryArgs) { a.YStride = 3 }},
	})
	testClauses(t, s.Activate, ActivateArgs{Gate: &f, GateStride: -3, Up: &f, UpStride: -3, Dst: &f, DstStride: -3, Rows: 2, Cols: 3}, []violation[ActivateArgs]{
		{"kernel: Activate: nil operand", func(a *ActivateArgs) { a.Gate = nil }},
		{"kernel: Activate: nil operand", func(a *ActivateArgs) { a.Dst = nil }},
		{"kernel: Activate: Rows < 1", func(a *ActivateArgs) { a.Rows = 0 }},
		{"kernel: Activate: Cols < 1", func(a *ActivateArgs) { a.Cols = 0 }},
		{"kernel: Activate: unknown Kind", func(a *ActivateArgs) { a.Kind = -1 }},
		{"kernel: Activate: unknown Kind", func(a *ActivateArgs) { a.Kind = activations }},
		{"kernel: Activate: rows of Dst overlap", func(a *ActivateArgs) { a.Cols = 4 }},
		{"kernel: Activate: in place with two strides", func(a *ActivateArgs) { a.GateStride = 0 }},
		{"kernel: Activate: in place with two strides", func(a *ActivateArgs) { a.UpStride = 4 }},
	})
	if v := panicOf(func() { s.Peak(-1) }); v != "kernel: Peak: n < 0" {
		t.Errorf("Peak(-1): panic %v", v)
	}
	if v := panicOf(func() { s.PeakInt8(-1) }); v != "kernel: PeakInt8: n < 0" {
		t.Errorf("PeakInt8(-1): panic %v", v)
	}
	if v := panicOf(func() { s.PeakBFloat16(-1) }); v != "kernel: PeakBFloat16: n < 0" {
		t.Errorf("PeakBFloat16(-1): panic %v", v)
	}
	for _, n := range []int{0, -256, 255} {
		if v := panicOf(func() { s.Read(&f, n) }); v != "kernel: Read: n is not a positive multiple of 256" {
			t.Errorf("Read(%d): panic %v", n, v)
		}
	}
	if v := panicOf(func() { s.Read(nil, 256) }); v != "kernel: Read: nil operand" {
		t.Errorf("Read(nil): panic %v", v)
	}
}

func TestCheckedSet(t *testing.T) {
	testClauses(t, func(s *Set) { Checked(s) }, *quiet.With(nothing()), []violation[Set]{
		{"kernel: Set.Vec is not positive", func(s *Set) { s.Vec = 0 }},
		{"kernel: Set.Lanes is not a multiple of Set.Vec", func(s *Set) { s.Lanes = 12 }},
		{"kernel: Set.Lanes > MaxLanes", func(s *Set) { s.Lanes = 72 }},
		{"kernel: Set.Rows is not positive", func(s *Set) { s.Rows = 0 }},
		{"kernel: Set.DecodeRows outside 1..MaxDecodeRows", func(s *Set) { s.DecodeRows = 0 }},
		{"kernel: Set.DecodeRows outside 1..MaxDecodeRows", func(s *Set) { s.DecodeRows = MaxDecodeRows + 1 }},
		{"kernel: Set.PeakFLOPs is not positive", func(s *Set) { s.PeakFLOPs = 0 }},
		{"kernel: Set.PeakInt8Ops is not positive", func(s *Set) { s.PeakInt8Ops = 0 }},
		{"kernel: Set.PeakBFloat16FLOPs is not positive", func(s *Set) { s.PeakBFloat16FLOPs = 0 }},
	})
}

// TestCheckedFuncs: a set that lacks any function is refused, and every function has its clauses.
func TestCheckedFuncs(t *testing.T) {
	whole := reflect.ValueOf(Checked(quiet.With(nothing())).funcs)
	for i := range whole.NumField() {
		name := whole.Type().Field(i).Name
		if whole.Field(i).IsNil() {
			t.Errorf("Checked has nothing around %s", name)
		}
		lacking := nothing()
		reflect.ValueOf(&lacking).Elem().Field(i).SetZero()
		func() {
			defer func() {
				if r := recover(); r != "kernel: Set lacks a function" {
					t.Errorf("without %s: %v", name, r)
				}
			}()
			Checked(quiet.With(lacking))
		}()
	}
}

// TestCheckedWork: of every function whose work has no other bound, a call that has too much
// is found.
func TestCheckedWork(t *testing.T) {
	s := Checked(quiet.With(nothing())).funcs
	const n = MaxWork + 256
	var f, g float32
	var sums [NormSums]float32
	var h uint16
	var off [MaxLanes]int
	var keyOff [2 * KeyBlock]int
	var rowOff [KeyBlock]int
	row := unsafe.Pointer(&f)
	for name, call := range map[string]func(){
		"Pack": func() {
			s.Pack(&PackArgs{Src: &f, Off: &off, DimStride: 1, Rows: 3, Dim: n, Dst: &f, Lanes: 8, Stride: 8})
		},
		"Scores": func() { s.Scores(&ScoresArgs{K: &f, Keys: 1, Dim: n, Q: &f, S: &f, Lanes: 16, Stride: 16}) },
		"ScoresPairs": func() {
			s.ScoresPairs(&ScoresArgs{K: &f, Keys: 1, Dim: n, Q: &f, S: &f, Lanes: 16, Stride: 16})
		},
		"AccumulatePairs": func() {
			s.AccumulatePairs(&AccumulateArgs{V: &f, Keys: 1, MaskFrom: 1, Dim: n, P: &f, O: &f, Lanes: 8, Stride: 8})
		},
		"Accumulate": func() {
			s.Accumulate(&AccumulateArgs{V: &f, Keys: 1, MaskFrom: 1, Dim: n, P: &f, O: &f, Lanes: 8, Stride: 8})
		},
		"Unpack": func() {
			s.Unpack(&UnpackArgs{O: &f, Sum: &f, Dst: &f, Off: &off, DimStride: 1, Rows: 1, Dim: n, Lanes: 8, Stride: 8})
		},
		"Merge": func() {
			s.Merge(&MergeArgs{O: &f, Max: &f, Sum: &f, Chunk: &f, ChunkMax: &f, ChunkSum: &f, Dim: n, Lanes: 8, Stride: 8})
		},
		"Convert": func() {
			s.Convert(&ConvertArgs{Src: row, Off: &rowOff, Elem: Float16, UnitStride: 2, Rows: 1, Dim: n, Dst: &f, Stride: n})
		},
		"Store": func() { s.Store(&StoreArgs{Src: &f, Dst: row, DstStride: 1, Elem: BFloat16, Rows: 1, Dim: n}) },
		"DecodeScoresInt8": func() {
			s.DecodeScoresInt8(&DecodeScoresInt8Args{K: row, Off: &keyOff, Elem: Int8, Scale: &f, Keys: 1, Dim: n, Q: new(byte), Rows: 1, S: &f, Stride: 1})
		},
		"DecodeScores": func() {
			s.DecodeScores(&DecodeScoresArgs{K: row, Off: &keyOff, Elem: Float16, Keys: 1, Dim: n, Q: &f, QStride: 1, Rows: 1, S: &f, Stride: 1})
		},
		"DecodeAccumulate": func() {
			s.DecodeAccumulate(&DecodeAccumulateArgs{V: row, Off: &keyOff, Elem: Float16, Keys: 1, MaskFrom: 1, Dim: n, P: &f, Stride: 1, Rows: 1, O: &f, OStride: n})
		},
		"Multiply":    func() { s.Multiply(&MultiplyArgs{A: &f, Rows: n, Depth: 1, B: &f, C: &f, Stride: 8, Lanes: 8}) },
		"MultiplyFew": func() { s.MultiplyFew(&MultiplyArgs{A: &f, Rows: 1, Depth: n, B: &f, C: &f, Stride: 8, Lanes: 8}) },
		"Combine":     func() { s.Combine(&CombineArgs{A: &f, Depth: 8, B: &f, C: &f, Lanes: n / 8 * 8}) },
		"Dots": func() {
			s.Dots(&DotsArgs{Q: &f, QStride: 1, Rows: 1, Depth: 8, B: &f, C: &f, Stride: n, Lanes: n / 8 * 8})
		},
		"DotWeights": func() {
			s.DotWeights(&DotWeightsArgs{Src: new(byte), Depth: n, Lanes: 8, X: &f, C: &f, Stride: 8})
		},
		"Pairs": func() { s.Pairs(&PairsArgs{Src: &f, ColStride: 1, Rows: 1, Cols: n, Dst: &g, Stride: n}) },
		"MultiplyPairs": func() {
			s.MultiplyPairs(&MultiplyArgs{A: &f, Rows: n, Depth: 1, B: &f, C: &f, Stride: 8, Lanes: 8})
		},
		"MultiplyPairsFew": func() {
			s.MultiplyPairsFew(&MultiplyArgs{A: &f, Rows: 1, Depth: n, B: &f, C: &f, Stride: 8, Lanes: 8})
		},
		"Quantize": func() {
			s.Quantize(&QuantizeArgs{X: &f, Rows: 1, Depth: n / Int8Block * Int8Block, Dst: new(byte), RowBytes: 1})
		},
		"ConvertInt8": func() {
			s.ConvertInt8(&ConvertInt8Args{Src: row, Off: &rowOff, Elem: Int8, UnitStride: 1, Scale: &f, Rows: 1, Dim: n, Dst: new(byte)})
		},
		"PackInt8": func() {
			s.PackInt8(&PackInt8Args{Q: &f, Dim: n, Lanes: 8, Stride: 8, Codes: new(byte), Scales: &g})
		},
		"TransposeInt8": func() {
			s.TransposeInt8(&TransposeInt8Args{Src: row, Off: &rowOff, Elem: Int8, UnitStride: 1, Keys: 1, Dim: n, Dst: new(byte), RowBytes: n})
		},
		"DecodeAccumulateInt8": func() {
			s.DecodeAccumulateInt8(&DecodeAccumulateInt8Args{
				V: row, Off: &keyOff, Elem: Int8, Keys: 1, Dim: n, Codes: new(int8), Scales: &f, Lanes: 1, Rows: 1, O: &f, OStride: n,
			})
		},
		"MultiplyInt8": func() {
			s.MultiplyInt8(&MultiplyInt8Args{X: new(byte), Rows: n, Depth: 32, W: new(byte), Groups: 1, Scales: &f, C: &f, Stride: 8, Lanes: 8})
		},
		"MultiplyRowInt8": func() {
			s.MultiplyRowInt8(&MultiplyRowInt8Args{X: new(byte), Depth: 32, Type: WeightQ8_0, W: new(byte), C: &f, Lanes: 8, Panels: n})
		},
		"MultiplyStrips": func() {
			s.MultiplyStrips(&MultiplyStripsArgs{Type: WeightFloat16, Src: new(byte), Vec: 8, Depth: n, Lanes: 8, A: &f, Rows: 1, C: &f, Stride: 8})
		},
		"Float16": func() { s.Float16(&f, &h, maxMoved+1) },
		"Rotary": func() {
			s.Rotary(&RotaryArgs{X: &f, XStride: 2, Y: &f, YStride: 2, Cos: &g, Sin: &g, Rows: n, Pairs: 1})
		},
		"Hadamard":     func() { s.Hadamard(&HadamardArgs{X: &f, XStride: 1, Y: &f, YStride: 1, Rows: n, Cols: 1, Block: 1}) },
		"Activate":     func() { s.Activate(&ActivateArgs{Gate: &f, Dst: &g, Rows: 1, Cols: n}) },
		"Sums":         func() { s.Sums(&SumsArgs{X: &f, N: n, Sums: &sums}) },
		"Above":        func() { s.Above(&AboveArgs{X: &f, N: n / AboveBlock * AboveBlock}) },
		"Normalize":    func() { s.Normalize(&NormalizeArgs{X: &f, Y: &f, N: n}) },
		"Peak":         func() { s.Peak(maxRounds + 1) },
		"PeakInt8":     func() { s.PeakInt8(maxRounds + 1) },
		"PeakBFloat16": func() { s.PeakBFloat16(maxRounds + 1) },
		"Read":         func() { s.Read(&f, n) },
	} {
		if v := panicOf(call); v != "kernel: Work of a call > MaxWork" {
			t.Errorf("%s: panic %v", name, v)
		}
	}
}
