package kernel

// Checked returns a Set that asserts the contract of every call before it makes
// it, for tests. What a pointer leads to cannot be checked.
func Checked(s *Set) *Set {
	assert(s.Vec > 0, "kernel: Set.Vec is not positive")
	assert(s.Lanes > 0 && s.Lanes%s.Vec == 0, "kernel: Set.Lanes is not a multiple of Set.Vec")
	assert(s.Lanes <= MaxLanes, "kernel: Set.Lanes > MaxLanes")
	assert(s.Rows > 0, "kernel: Set.Rows is not positive")
	f := &s.funcs
	assert(f.Pack != nil && f.Scores != nil && f.Softcap != nil && f.ALiBi != nil && f.Bias != nil &&
		f.Softmax != nil && f.Accumulate != nil && f.Unpack != nil && f.Multiply != nil && f.Float16 != nil &&
		f.MultiplyFew != nil && f.Combine != nil && f.Dots != nil && f.Dequantize != nil && f.DotWeights != nil && f.MultiplyStrips != nil && f.DequantizeStrips != nil &&
		f.Pairs != nil && f.MultiplyPairs != nil && f.MultiplyPairsFew != nil && f.ScoresPairs != nil && f.PairWeights != nil && f.AccumulatePairs != nil &&
		f.Quantize != nil && f.UnpackInt8 != nil && f.PackWeights != nil && f.MultiplyInt8 != nil && f.MultiplyRowInt8 != nil && f.ConvertInt8 != nil && f.PackInt8 != nil && f.TransposeInt8 != nil &&
		f.Rotary != nil && f.Activate != nil && f.Sums != nil && f.Normalize != nil && f.Hadamard != nil && f.Above != nil && f.Merge != nil && f.Convert != nil && f.Store != nil && f.DecodeScores != nil && f.DecodeAccumulate != nil &&
		f.DecodeScoresInt8 != nil && f.DecodeAccumulateInt8 != nil && f.Peak != nil && f.PeakInt8 != nil && f.PeakBFloat16 != nil && f.Read != nil, "kernel: Set lacks a function")
	assert(1 <= s.DecodeRows && s.DecodeRows <= MaxDecodeRows, "kernel: Set.DecodeRows outside 1..MaxDecodeRows")
	assert(1 <= s.FewRows && s.FewRows <= MaxFewRows, "kernel: Set.FewRows outside 1..MaxFewRows")
	assert(s.StripLanes == s.Vec || s.StripLanes == 2*s.Vec && s.Lanes%s.StripLanes == 0, "kernel: Set.StripLanes is neither Vec nor twice that")
	assert(s.PeakFLOPs > 0, "kernel: Set.PeakFLOPs is not positive")
	assert(s.PeakInt8Ops > 0, "kernel: Set.PeakInt8Ops is not positive")
	assert(s.PeakBFloat16FLOPs > 0, "kernel: Set.PeakBFloat16FLOPs is not positive")

	var c Funcs
	c.Pack = func(a *PackArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkRows(a.Rows, a.Lanes)
		checkDim(a.Dim)
		assert(a.Src != nil && a.Off != nil && a.Dst != nil, "kernel: Pack: nil operand")
		checkWork(a.Work())
		f.Pack(a)
	}
	scores := func(name string, f func(*ScoresArgs)) func(*ScoresArgs) {
		return func(a *ScoresArgs) {
			s.checkLanes(a.Lanes, a.Stride)
			checkKeys(a.Keys)
			checkDim(a.Dim)
			assert(a.K != nil && a.Q != nil && a.S != nil, "kernel: "+name+": nil operand")
			checkWork(a.Work())
			f(a)
		}
	}
	c.Scores, c.ScoresPairs = scores("Scores", f.Scores), scores("ScoresPairs", f.ScoresPairs)
	c.Softcap = func(a *SoftcapArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkKeys(a.Keys)
		assert(a.S != nil, "kernel: Softcap: nil operand")
		checkWork(a.Work())
		f.Softcap(a)
	}
	c.ALiBi = func(a *ALiBiArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkKeys(a.Keys)
		assert(0 <= a.First && a.First <= KeyBlock-a.Keys, "kernel: ALiBi: keys outside of their block")
		assert(a.S != nil && a.Pos != nil && a.Slope != nil, "kernel: ALiBi: nil operand")
		checkWork(a.Work())
		f.ALiBi(a)
	}
	c.Bias = func(a *BiasArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkKeys(a.Keys)
		checkRows(a.Rows, a.Lanes)
		assert(a.Src != nil && a.Off != nil && a.S != nil && a.Mask != nil, "kernel: Bias: nil operand")
		checkWork(a.Work())
		f.Bias(a)
	}
	c.Softmax = func(a *SoftmaxArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkKeys(a.Keys)
		checkMaskFrom(a.MaskFrom, a.Keys)
		assert(a.MaskFrom == a.Keys || a.Mask != nil, "kernel: Softmax: MaskFrom < Keys without a Mask")
		assert(a.MaskFrom < a.Keys || a.Mask == nil, "kernel: Softmax: MaskFrom == Keys with a Mask")
		assert(a.S != nil && a.Max != nil && a.Sum != nil && a.Alpha != nil, "kernel: Softmax: nil operand")
		checkWork(a.Work())
		f.Softmax(a)
	}
	accumulate := func(name string, f func(*AccumulateArgs), each int) func(*AccumulateArgs) {
		return func(a *AccumulateArgs) {
			s.checkLanes(a.Lanes, a.Stride)
			checkKeys(each * a.Keys)
			checkMaskFrom(a.MaskFrom, a.Keys)
			checkDim(a.Dim)
			assert(a.V != nil && a.P != nil && a.O != nil, "kernel: "+name+": nil operand")
			checkMode(a.Mode, a.Alpha)
			checkWork(a.Work())
			f(a)
		}
	}
	c.Accumulate, c.AccumulatePairs = accumulate("Accumulate", f.Accumulate, 1), accumulate("AccumulatePairs", f.AccumulatePairs, 2)
	c.Unpack = func(a *UnpackArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkRows(a.Rows, a.Lanes)
		checkDim(a.Dim)
		assert(a.O != nil && a.Sum != nil && a.Dst != nil && a.Off != nil, "kernel: Unpack: nil operand")
		checkWork(a.Work())
		f.Unpack(a)
	}
	c.Merge = func(a *MergeArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkDim(a.Dim)
		assert(a.O != nil && a.Max != nil && a.Sum != nil && a.Chunk != nil && a.ChunkMax != nil && a.ChunkSum != nil,
			"kernel: Merge: nil operand")
		checkWork(a.Work())
		f.Merge(a)
	}
	c.Convert = func(a *ConvertArgs) {
		checkKeys(a.Rows)
		checkElem(a.Elem, a.Dim, a.Scale)
		assert(a.Stride >= a.Dim, "kernel: Convert: Stride < Dim")
		assert(a.Src != nil && a.Off != nil && a.Dst != nil, "kernel: Convert: nil operand")
		checkWork(a.Work())
		f.Convert(a)
	}
	c.Store = func(a *StoreArgs) {
		assert(a.Rows >= 1, "kernel: Store: Rows < 1")
		checkElem(a.Elem, a.Dim, a.Scale)
		row := a.Elem.RowBytes(a.Dim)
		assert(a.Rows == 1 || a.DstStride >= row || -a.DstStride >= row, "kernel: Store: rows of Dst overlap")
		assert(a.Rows == 1 || a.Elem != Int8 || a.ScaleStride != 0, "kernel: Store: rows share a scale")
		assert(a.Src != nil && a.Dst != nil, "kernel: Store: nil operand")
		checkWork(a.Work())
		f.Store(a)
	}
	c.DecodeScores = func(a *DecodeScoresArgs) {
		checkKeys(a.Keys)
		checkElem(a.Elem, a.Dim, a.Scale)
		assert(a.Elem.Direct(), "kernel: DecodeScores: an Elem that is not Direct")
		s.checkBrain("DecodeScores", a.Brain, a.Elem)
		s.checkDecodeRows(a.Rows)
		assert(a.Dim >= s.Vec, "kernel: DecodeScores: Dim < Vec")
		assert(a.QStride >= a.Rows && a.Stride >= a.Rows, "kernel: DecodeScores: a stride < Rows")
		assert(a.K != nil && a.Off != nil && a.Q != nil && a.S != nil, "kernel: DecodeScores: nil operand")
		checkWork(a.Work())
		f.DecodeScores(a)
	}
	c.DecodeScoresInt8 = func(a *DecodeScoresInt8Args) {
		checkKeys(a.Keys)
		checkElem(a.Elem, a.Dim, a.Scale)
		assert(a.Elem.Integers(), "kernel: DecodeScoresInt8: an Elem that has no integers")
		s.checkDecodeRows(a.Rows)
		assert(a.Halves == s.Int8Halves, "kernel: DecodeScoresInt8: Halves is not that of the set")
		row := Int8Blocks(a.Dim) * Int8BlockBytes(a.Halves)
		assert(a.Rows == 1 || a.QBytes >= row, "kernel: DecodeScoresInt8: rows of Q overlap")
		assert(a.Stride >= a.Rows, "kernel: DecodeScoresInt8: Stride < Rows")
		assert(a.K != nil && a.Off != nil && a.Q != nil && a.S != nil, "kernel: DecodeScoresInt8: nil operand")
		checkWork(a.Work())
		f.DecodeScoresInt8(a)
	}
	c.DecodeAccumulateInt8 = func(a *DecodeAccumulateInt8Args) {
		checkKeys(a.Keys)
		checkUnits(a.Elem, a.Dim)
		assert(a.Elem.Integers(), "kernel: DecodeAccumulateInt8: an Elem that has no integers")
		s.checkDecodeRows(a.Rows)
		assert(a.Dim%s.Vec == 0, "kernel: DecodeAccumulateInt8: Dim is not a multiple of Vec")
		checkMode(a.Mode, a.Alpha)
		assert(a.GroupCodes >= 0 && a.GroupScales >= 0, "kernel: DecodeAccumulateInt8: groups in descending order")
		assert(a.Lanes >= a.Rows, "kernel: DecodeAccumulateInt8: Lanes < Rows")
		assert(a.OStride >= a.Dim, "kernel: DecodeAccumulateInt8: OStride < Dim")
		assert(a.V != nil && a.Off != nil && a.Codes != nil && a.Scales != nil && a.O != nil, "kernel: DecodeAccumulateInt8: nil operand")
		assert(a.Mins != nil || !a.Elem.HasMin(), "kernel: DecodeAccumulateInt8: no Mins")
		checkWork(a.Work())
		f.DecodeAccumulateInt8(a)
	}
	c.DecodeAccumulate = func(a *DecodeAccumulateArgs) {
		checkKeys(a.Keys)
		checkMaskFrom(a.MaskFrom, a.Keys)
		checkElem(a.Elem, a.Dim, a.Scale)
		assert(a.Elem.Direct() || s.AnyValues && a.Dim%s.Vec == 0, "kernel: DecodeAccumulate: an Elem that is not Direct")
		s.checkBrain("DecodeAccumulate", a.Brain, a.Elem)
		s.checkDecodeRows(a.Rows)
		assert(a.Dim%s.DecodeDims == 0, "kernel: DecodeAccumulate: Dim is not a multiple of DecodeDims")
		assert(!a.Brain || a.Dim%s.Vec == 0, "kernel: DecodeAccumulate: Brain of a Dim that is not a multiple of Vec")
		checkMode(a.Mode, a.Alpha)
		assert(a.Stride >= a.Rows, "kernel: DecodeAccumulate: Stride < Rows")
		assert(a.OStride >= a.Dim, "kernel: DecodeAccumulate: OStride < Dim")
		assert(a.V != nil && a.Off != nil && a.P != nil && a.O != nil, "kernel: DecodeAccumulate: nil operand")
		checkWork(a.Work())
		f.DecodeAccumulate(a)
	}
	multiply := func(name string, f func(*MultiplyArgs), most int) func(*MultiplyArgs) {
		return func(a *MultiplyArgs) {
			s.checkProduct(name, a)
			assert(1 <= a.Depth && a.Depth <= most, "kernel: "+name+": Depth outside 1..KC")
			assert(a.NextRow >= 0 && a.ThenRows >= 0, "kernel: "+name+": NextRow or ThenRows < 0")
			checkWork(a.Work())
			f(a)
		}
	}
	few := func(name string, f func(*MultiplyArgs)) func(*MultiplyArgs) {
		return func(a *MultiplyArgs) {
			s.checkProduct(name, a)
			assert(a.Rows <= s.FewRows, "kernel: "+name+": Rows outside 1..FewRows")
			assert(a.Depth >= 1, "kernel: "+name+": Depth < 1")
			checkWork(a.workFew())
			f(a)
		}
	}
	c.Multiply, c.MultiplyFew = multiply("Multiply", f.Multiply, KC), few("MultiplyFew", f.MultiplyFew)
	c.MultiplyPairs, c.MultiplyPairsFew = multiply("MultiplyPairs", f.MultiplyPairs, KC/2), few("MultiplyPairsFew", f.MultiplyPairsFew)
	c.Pairs = func(a *PairsArgs) {
		assert(RoundEach <= a.Kind && a.Kind <= SplitDown, "kernel: Pairs: unknown Kind")
		assert(a.Rows >= 1, "kernel: Pairs: Rows < 1")
		assert(a.Cols >= 1, "kernel: Pairs: Cols < 1")
		assert(a.Kind != SplitDown || a.ColStride == 1, "kernel: Pairs: pairs lie apart")
		assert(a.Stride >= a.columns(), "kernel: Pairs: rows of Dst overlap")
		assert(a.Src != nil && a.Dst != nil, "kernel: Pairs: nil operand")
		assert(a.Src != a.Dst || a.Kind != SplitDown && a.RowStride == a.Stride && a.ColStride == 1, "kernel: Pairs: in place with two strides")
		checkWork(a.Work())
		f.Pairs(a)
	}
	c.PairWeights = func(a *PairWeightsArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		checkKeys(a.Keys)
		assert(a.P != nil, "kernel: PairWeights: nil operand")
		checkWork(a.Work())
		f.PairWeights(a)
	}
	c.Combine = func(a *CombineArgs) {
		assert(a.Lanes > 0 && a.Lanes%s.Vec == 0, "kernel: Lanes is not a positive multiple of Vec")
		assert(1 <= a.Depth && a.Depth <= KC, "kernel: Combine: Depth outside 1..KC")
		assert(a.A != nil && a.B != nil && a.C != nil, "kernel: Combine: nil operand")
		checkWork(a.Work())
		f.Combine(a)
	}
	c.Dots = func(a *DotsArgs) {
		assert(a.Lanes > 0 && a.Lanes%s.Vec == 0, "kernel: Lanes is not a positive multiple of Vec")
		assert(a.Stride >= a.Lanes, "kernel: Stride < Lanes")
		assert(1 <= a.Rows && a.Rows <= DotsRows, "kernel: Dots: Rows outside 1..DotsRows")
		assert(s.Vec <= a.Depth && a.Depth <= KC, "kernel: Dots: Depth outside Vec..KC")
		assert(a.QStride >= a.Rows, "kernel: Dots: QStride < Rows")
		assert(a.Q != nil && a.B != nil && a.C != nil, "kernel: Dots: nil operand")
		checkWork(a.Work())
		f.Dots(a)
	}
	c.Dequantize = func(a *DequantizeArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		assert(a.Type.Known(), "kernel: Dequantize: unknown Type")
		assert(1 <= a.Depth && a.Depth <= KC, "kernel: Dequantize: Depth outside 1..KC")
		assert(a.Depth%a.Type.Values() == 0, "kernel: Dequantize: Depth is not a multiple of the Type's block")
		assert(a.Scales == nil || a.Type == WeightInt8, "kernel: Dequantize: Scales of a Type that has none")
		assert(a.Src != nil && a.Dst != nil, "kernel: Dequantize: nil operand")
		checkWork(a.Work())
		f.Dequantize(a)
	}
	c.DotWeights = func(a *DotWeightsArgs) {
		assert(a.Lanes > 0 && a.Lanes%s.Vec == 0, "kernel: Lanes is not a positive multiple of Vec")
		assert(a.Stride >= a.Lanes, "kernel: Stride < Lanes")
		assert(a.Type.Known(), "kernel: DotWeights: unknown Type")
		assert(a.Depth >= 1, "kernel: DotWeights: Depth < 1")
		assert(a.Depth%a.Type.Values() == 0, "kernel: DotWeights: Depth is not a multiple of the Type's block")
		assert(a.Src != nil && a.X != nil && a.C != nil, "kernel: DotWeights: nil operand")
		checkWork(a.Work())
		f.DotWeights(a)
	}
	c.Quantize = func(a *QuantizeArgs) {
		assert(a.Rows >= 1, "kernel: Quantize: Rows < 1")
		assert(a.Depth > 0 && a.Depth%Int8Block == 0, "kernel: Quantize: Depth is not a positive multiple of Int8Block")
		assert(a.Halves == s.Int8Halves, "kernel: Quantize: Halves is not that of the set")
		assert(a.Rows == 1 || a.RowBytes >= a.Depth/Int8Block*Int8BlockBytes(a.Halves), "kernel: Quantize: rows of Dst overlap")
		assert(a.X != nil && a.Dst != nil, "kernel: Quantize: nil operand")
		checkWork(a.Work())
		f.Quantize(a)
	}
	c.UnpackInt8 = func(a *UnpackInt8Args) {
		s.checkLanes(a.Lanes, a.Lanes)
		assert(0 <= a.Kind && a.Kind < int8Scales, "kernel: UnpackInt8: unknown Kind")
		checkInt8Depth(a.Depth)
		assert(a.Depth == KC || a.Kind != Int8Groups32 && a.Kind != Int8Groups16, "kernel: UnpackInt8: Depth of groups is not KC")
		assert(a.Src != nil && a.Scales != nil && (a.Mins != nil || !a.Kind.HasMins()), "kernel: UnpackInt8: nil operand")
		assert(a.Codes == nil || a.Table != nil && a.Dst != nil, "kernel: UnpackInt8: Codes without Table and Dst")
		checkWork(a.Work())
		f.UnpackInt8(a)
	}
	c.MultiplyInt8 = func(a *MultiplyInt8Args) {
		s.checkLanes(a.Lanes, a.Lanes)
		assert(a.Rows >= 1, "kernel: MultiplyInt8: Rows < 1")
		assert(a.Depth > 0 && a.Depth%Int8Block == 0, "kernel: MultiplyInt8: Depth is not a positive multiple of Int8Block")
		assert(a.Halves == s.Int8Halves, "kernel: MultiplyInt8: Halves is not that of the set")
		assert(a.Groups == 1 || a.Groups == 2, "kernel: MultiplyInt8: Groups outside 1..2")
		assert(a.Table == nil || a.Rows == 1 && a.Groups == 1, "kernel: MultiplyInt8: a Table of more than one row or group")
		assert(a.Mins == nil || a.Groups == 1, "kernel: MultiplyInt8: Mins of two groups")
		assert(a.Alpha == nil || a.Add && a.Bias == nil && a.Groups == 1 && a.Table == nil, "kernel: MultiplyInt8: Alpha without Add, or with Bias, groups or Table")
		assert(a.Rows == 1 || a.Stride >= a.Lanes || -a.Stride >= a.Lanes, "kernel: MultiplyInt8: rows of C overlap")
		assert(a.X != nil && a.W != nil && a.Scales != nil && a.C != nil, "kernel: MultiplyInt8: nil operand")
		checkWork(a.Work())
		f.MultiplyInt8(a)
	}
	c.MultiplyRowInt8 = func(a *MultiplyRowInt8Args) {
		s.checkLanes(a.Lanes, a.Lanes)
		assert(a.Type.Known() && a.Type.Int8() != nil, "kernel: MultiplyRowInt8: Type is not packed for class Int8")
		assert(a.Depth > 0 && a.Depth%Int8Block == 0 && a.Depth%a.Type.Values() == 0, "kernel: MultiplyRowInt8: Depth is not a positive multiple of Int8Block and of the Type's block")
		assert(a.Halves == s.Int8Halves, "kernel: MultiplyRowInt8: Halves is not that of the set")
		assert(a.Panels >= 1, "kernel: MultiplyRowInt8: Panels < 1")
		assert(a.X != nil && a.W != nil && a.C != nil, "kernel: MultiplyRowInt8: nil operand")
		checkWork(a.Work())
		f.MultiplyRowInt8(a)
	}
	c.ConvertInt8 = func(a *ConvertInt8Args) {
		checkKeys(a.Rows)
		checkElem(a.Elem, a.Dim, a.Scale)
		assert(a.Elem.Integers(), "kernel: ConvertInt8: an Elem that has no integers")
		assert(a.Halves == s.Int8Halves, "kernel: ConvertInt8: Halves is not that of the set")
		assert(a.Rows == 1 || a.RowBytes >= Int8Blocks(a.Dim)*Int8BlockBytes(a.Halves), "kernel: ConvertInt8: rows of Dst overlap")
		assert(a.Src != nil && a.Off != nil && a.Dst != nil, "kernel: ConvertInt8: nil operand")
		checkWork(a.Work())
		f.ConvertInt8(a)
	}
	c.PackWeights = func(a *PackWeightsArgs) {
		s.checkLanes(a.Lanes, a.Stride)
		assert(a.Type.Known() && a.Type.Int8() != nil, "kernel: PackWeights: Type is not packed for class Int8")
		checkInt8Depth(a.Depth)
		assert(a.Depth%a.Type.Values() == 0, "kernel: PackWeights: Depth is not a multiple of the Type's block")
		assert(a.Src != nil && a.Codes != nil, "kernel: PackWeights: nil operand")
		assert(a.Numbers != nil || a.Type == WeightInt8, "kernel: PackWeights: nil Numbers")
		assert(a.Integers != nil || a.Type.Int8().Scales < Int8Groups32 || a.Type.Int8().Scales > Int8Groups16, "kernel: PackWeights: nil Integers")
		checkWork(a.Work())
		f.PackWeights(a)
	}
	c.PackInt8 = func(a *PackInt8Args) {
		if a.RowOf == nil {
			s.checkLanes(a.Lanes, a.Stride)
		}
		assert(a.Lanes > 0 && a.Lanes%s.Vec == 0, "kernel: Lanes is not a positive multiple of Vec")
		checkDim(a.Dim)
		assert(a.Q != nil && a.Codes != nil && a.Scales != nil, "kernel: PackInt8: nil operand")
		assert(a.Mins == nil || a.Factors != nil && a.Sums != nil, "kernel: PackInt8: Mins without Factors and Sums")
		assert(a.FactorStride == 0 || a.Factors != nil && (a.FactorStride >= a.Lanes || a.FactorOf != nil), "kernel: PackInt8: FactorStride without Factors, or less than Lanes")
		assert((a.RowOf != nil) == (a.FactorOf != nil), "kernel: PackInt8: RowOf without FactorOf, or the reverse")
		assert(a.RowOf == nil || (a.FactorStride > 0 || a.V != nil) && s.SpreadsLanes, "kernel: PackInt8: RowOf without FactorStride, or of a set without SpreadsLanes")
		if a.V != nil {
			assert(a.RowOf != nil && a.Off != nil && s.SpreadsBlocks, "kernel: PackInt8: V without RowOf or Off, or of a set without SpreadsBlocks")
			assert(a.Factors == nil && a.Mins == nil && a.FactorStride == 0, "kernel: PackInt8: V with Factors")
			assert(a.Elem.Integers() && a.Elem.UnitValues() > 1, "kernel: PackInt8: V of an Elem without blocks")
			assert(a.Dim <= KeyBlock, "kernel: PackInt8: V of more than KeyBlock values")
		}
		checkWork(a.Work())
		f.PackInt8(a)
	}
	c.TransposeInt8 = func(a *TransposeInt8Args) {
		checkKeys(a.Keys)
		checkUnits(a.Elem, a.Dim)
		assert(a.Elem.Integers(), "kernel: TransposeInt8: an Elem that has no integers")
		assert(a.Halves == s.Int8Halves, "kernel: TransposeInt8: Halves is not that of the set")
		assert(a.Dim == 1 || a.RowBytes >= Int8Blocks(a.Keys)*Int8BlockBytes(a.Halves), "kernel: TransposeInt8: rows of Dst overlap")
		assert(a.Src != nil && a.Off != nil && a.Dst != nil, "kernel: TransposeInt8: nil operand")
		checkWork(a.Work())
		f.TransposeInt8(a)
	}
	strips := func(name string, w Weight, vec, lanes, depth int) {
		assert(vec == s.Vec || vec == s.StripLanes, "kernel: "+name+": Vec is not that of the Set")
		assert(lanes > 0 && lanes%vec == 0, "kernel: Lanes is not a positive multiple of Vec")
		assert(w.Known() && w.Strip().SubBlock > 0, "kernel: "+name+": the Type is not packed in strips")
		assert(depth >= 1 && depth%w.Values() == 0, "kernel: "+name+": Depth is no positive multiple of the Type's block")
	}
	c.MultiplyStrips = func(a *MultiplyStripsArgs) {
		strips("MultiplyStrips", a.Type, a.Vec, a.Lanes, a.Depth)
		assert(1 <= a.Rows && a.Rows <= MaxStripRows, "kernel: MultiplyStrips: Rows outside 1..MaxStripRows")
		assert(a.Src != nil && a.A != nil && a.C != nil, "kernel: MultiplyStrips: nil operand")
		assert(a.Rows <= 1 || max(a.Stride, -a.Stride) >= a.Lanes, "kernel: MultiplyStrips: rows of C overlap")
		checkWork(a.Work())
		f.MultiplyStrips(a)
	}
	c.DequantizeStrips = func(a *DequantizeStripsArgs) {
		strips("DequantizeStrips", a.Type, a.Vec, a.Lanes, a.Depth)
		assert(a.Lanes <= s.Lanes, "kernel: Lanes > Set.Lanes")
		assert(a.Depth <= KC, "kernel: DequantizeStrips: Depth > KC")
		assert(a.Stride >= a.Lanes, "kernel: Stride < Lanes")
		assert(a.Src != nil && a.Dst != nil, "kernel: DequantizeStrips: nil operand")
		checkWork(a.Work())
		f.DequantizeStrips(a)
	}
	c.Float16 = func(dst *float32, src *uint16, n int) {
		assert(n >= 1, "kernel: Float16: n < 1")
		assert(dst != nil && src != nil, "kernel: Float16: nil operand")
		checkWork(int64(n) * moved)
		f.Float16(dst, src, n)
	}
	c.Rotary = func(a *RotaryArgs) {
		assert(a.Rows >= 1, "kernel: Rotary: Rows < 1")
		assert(a.Pairs >= 1, "kernel: Rotary: Pairs < 1")
		assert(a.Pairing == HalfSplit || a.Pairing == Interleaved, "kernel: Rotary: unknown Pairing")
		assert(a.X != nil && a.Y != nil && a.Cos != nil && a.Sin != nil, "kernel: Rotary: nil operand")
		assert(a.X != a.Y || a.XStride == a.YStride, "kernel: Rotary: in place with two strides")
		checkWork(a.Work())
		f.Rotary(a)
	}
	c.Activate = func(a *ActivateArgs) {
		assert(a.Rows >= 1, "kernel: Activate: Rows < 1")
		assert(a.Cols >= 1, "kernel: Activate: Cols < 1")
		assert(a.Kind.Known(), "kernel: Activate: unknown Kind")
		assert(a.Gate != nil && a.Dst != nil, "kernel: Activate: nil operand")
		assert(a.Rows == 1 || a.DstStride >= a.Cols || -a.DstStride >= a.Cols, "kernel: Activate: rows of Dst overlap")
		assert(a.Rows == 1 || (a.Gate != a.Dst || a.GateStride == a.DstStride) && (a.Up != a.Dst || a.UpStride == a.DstStride),
			"kernel: Activate: in place with two strides")
		checkWork(a.Work())
		f.Activate(a)
	}
	c.Sums = func(a *SumsArgs) {
		assert(a.N >= 1, "kernel: Sums: N < 1")
		assert(a.X != nil && a.Sums != nil, "kernel: Sums: nil operand")
		assert(a.X != a.Add, "kernel: Sums: X is Add")
		checkWork(a.Work())
		f.Sums(a)
	}
	c.Normalize = func(a *NormalizeArgs) {
		assert(a.N >= 1, "kernel: Normalize: N < 1")
		assert(a.X != nil && a.Y != nil, "kernel: Normalize: nil operand")
		assert(a.Bias == nil || a.Weight != nil, "kernel: Normalize: Bias without Weight")
		checkWork(a.Work())
		f.Normalize(a)
	}
	c.Hadamard = func(a *HadamardArgs) {
		assert(a.Rows >= 1, "kernel: Hadamard: Rows < 1")
		assert(a.Block >= 1 && a.Block&(a.Block-1) == 0, "kernel: Hadamard: Block is not a power of two")
		assert(a.Cols >= 1 && a.Cols%a.Block == 0, "kernel: Hadamard: Cols is not a positive multiple of Block")
		assert(a.X != nil && a.Y != nil, "kernel: Hadamard: nil operand")
		assert(a.X != a.Y || a.XStride == a.YStride, "kernel: Hadamard: in place with two strides")
		assert(a.Rows == 1 || a.YStride >= a.Cols || -a.YStride >= a.Cols, "kernel: Hadamard: rows of Y overlap")
		checkWork(a.Work())
		f.Hadamard(a)
	}
	c.Above = func(a *AboveArgs) {
		assert(a.N > 0 && a.N%AboveBlock == 0, "kernel: Above: N is not a positive multiple of AboveBlock")
		assert(a.X != nil, "kernel: Above: nil operand")
		assert(a.Bound == a.Bound, "kernel: Above: Bound is NaN")
		checkWork(a.Work())
		f.Above(a)
	}
	c.Peak = func(n int) {
		assert(n >= 0, "kernel: Peak: n < 0")
		checkWork(int64(n) * peakWork)
		f.Peak(n)
	}
	c.PeakInt8 = func(n int) {
		assert(n >= 0, "kernel: PeakInt8: n < 0")
		checkWork(int64(n) * peakWork)
		f.PeakInt8(n)
	}
	c.PeakBFloat16 = func(n int) {
		assert(n >= 0, "kernel: PeakBFloat16: n < 0")
		checkWork(int64(n) * peakWork)
		f.PeakBFloat16(n)
	}
	c.Read = func(p *float32, n int) float32 {
		assert(p != nil, "kernel: Read: nil operand")
		assert(n > 0 && n%256 == 0, "kernel: Read: n is not a positive multiple of 256")
		checkWork(int64(n))
		return f.Read(p, n)
	}
	return s.With(c)
}

func (s *Set) checkLanes(lanes, stride int) {
	assert(lanes > 0 && lanes%s.Vec == 0, "kernel: Lanes is not a positive multiple of Vec")
	assert(lanes <= s.Lanes, "kernel: Lanes > Set.Lanes")
	assert(stride >= lanes, "kernel: Stride < Lanes")
}

func (s *Set) checkProduct(name string, a *MultiplyArgs) {
	s.checkLanes(a.Lanes, a.Lanes)
	assert(a.Rows >= 1, "kernel: "+name+": Rows < 1")
	assert(a.Rows == 1 || a.Stride >= a.Lanes || -a.Stride >= a.Lanes, "kernel: "+name+": rows of C overlap")
	assert(a.A != nil && a.B != nil && a.C != nil, "kernel: "+name+": nil operand")
}

func checkInt8Depth(depth int) {
	assert(0 < depth && depth <= KC && depth%Int8Block == 0, "kernel: Depth of class Int8 is not a multiple of Int8Block up to KC")
}

func checkWork(work int64) {
	assert(work <= MaxWork, "kernel: Work of a call > MaxWork")
}

func checkRows(rows, lanes int) {
	assert(1 <= rows && rows <= lanes, "kernel: Rows outside 1..Lanes")
}

func checkDim(dim int) {
	assert(dim >= 1, "kernel: Dim < 1")
}

func checkKeys(keys int) {
	assert(1 <= keys && keys <= KeyBlock, "kernel: Keys outside 1..KeyBlock")
}

func (s *Set) checkDecodeRows(rows int) {
	assert(1 <= rows && rows <= s.DecodeRows, "kernel: Rows outside 1..DecodeRows")
}

func (s *Set) checkBrain(name string, brain bool, e Elem) {
	assert(!brain || s.BrainRows && e == BFloat16, "kernel: "+name+": Brain of another Elem, or of a set without BrainRows")
}

func checkElem(e Elem, dim int, scale *float32) {
	checkUnits(e, dim)
	assert(e.Scale() != RowScale || scale != nil, "kernel: a type with scales of rows, without Scale")
}

func checkUnits(e Elem, dim int) {
	assert(0 <= e && e < elems, "kernel: unknown Elem")
	checkDim(dim)
	assert(dim%e.UnitValues() == 0, "kernel: Dim is not a multiple of the Elem's block")
}

func checkMode(mode UpdateMode, alpha *float32) {
	assert(mode == First || mode == Add || mode == Rescale, "kernel: unknown Mode")
	assert(mode != Rescale || alpha != nil, "kernel: Rescale without Alpha")
}

func checkMaskFrom(from, keys int) {
	assert(0 <= from && from <= keys, "kernel: MaskFrom outside 0..Keys")
}

func assert(ok bool, clause string) {
	if !ok {
		panic(clause)
	}
}
