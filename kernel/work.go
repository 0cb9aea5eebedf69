package kernel

// MaxWork bounds the work of a call of machine code, so that none outlasts about 100 µs
// on a slow core: a unit is some 0.75 ns there. It is the bound of what cannot be stopped.
const MaxWork = 1 << 17

const (
	// moved is the work of an element that is moved or converted.
	moved = 4

	// apart is how many elements one counts for that has a cache line of its own, at most.
	apart = 16

	// rowWork is the work of a row whose elements are few: it has lines of its own.
	rowWork = 128

	// stripVector is how many values of strips are decoded and multiplied at a time, at least.
	stripVector = 4

	// peakWork is the work of a round of Peak.
	peakWork = 8

	// rowTerms is how many weights of a row of class Int8 are a unit.
	rowTerms = 8

	// int8Rows is a multiple of the rows of all micro-tiles of class Int8.
	int8Rows = 24

	maxMoved  = MaxWork / moved    // elements of a call of Float16, and of those that move memory
	maxRounds = MaxWork / peakWork // rounds of a call of Peak
)

// far returns how many elements one counts for, of those that lie a stride apart.
func far(stride int) int64 { return int64(min(max(stride, -stride, 1), apart)) }

// Work returns the work of a call.
func (a *PackArgs) Work() int64 { return int64(a.Lanes) * int64(a.Dim) * moved * far(a.DimStride) }

// Work returns the work of a call. That of one key is not divided: a caller whose dims lie
// apart has to copy them where it would exceed [MaxWork].
func (a *ScoresArgs) Work() int64 { return int64(a.Keys) * int64(a.Dim) * far(a.DimStride) }

// Work returns the work of a call.
func (a *SoftcapArgs) Work() int64 { return int64(a.Keys) * int64(a.Lanes) * moved }

// Work returns the work of a call.
func (a *ALiBiArgs) Work() int64 { return int64(a.Keys) * int64(a.Lanes) * moved }

// Work returns the work of a call.
func (a *BiasArgs) Work() int64 { return int64(a.Keys) * int64(a.Lanes) * moved }

// Work returns the work of a call.
func (a *SoftmaxArgs) Work() int64 { return int64(a.Keys) * int64(a.Lanes) * moved }

// Work returns the work of a call.
func (a *AccumulateArgs) Work() int64 {
	return int64(a.Keys) * int64(a.Dim) * min(far(a.DimStride), far(a.KeyStride))
}

// Work returns the work of a call.
func (a *UnpackArgs) Work() int64 { return int64(a.Lanes) * int64(a.Dim) * moved * far(a.DimStride) }

// Work returns the work of a call.
func (a *MergeArgs) Work() int64 { return int64(a.Lanes) * int64(a.Dim) * moved }

// Work returns the work of a call.
func (a *ConvertArgs) Work() int64 {
	units := int64(a.Rows) * int64(a.Dim/a.Elem.UnitValues())
	if n := a.Elem.UnitValues(); n > 1 {
		return units * int64(n) * moved // a block has lines of its own
	}
	return units * moved * far(a.UnitStride/a.Elem.Unit())
}

// Work returns the work of a call. That of one row is not divided.
func (a *StoreArgs) Work() int64 { return int64(a.Rows) * int64(max(a.Dim*moved, rowWork)) }

// Work returns the work of a call. That of one key is not divided.
func (a *DecodeScoresArgs) Work() int64 { return int64(a.Keys) * int64(a.Dim) }

// Work returns the work of a call. That of one key is not divided.
func (a *DecodeScoresInt8Args) Work() int64 { return int64(a.Keys) * int64(a.Dim) }

// Work returns the work of a call.
func (a *DecodeAccumulateInt8Args) Work() int64 { return int64(a.Keys) * int64(a.Dim) }

// Work returns the work of a call.
func (a *DecodeAccumulateArgs) Work() int64 { return int64(a.Keys) * int64(a.Dim) }

// Work returns the work of a call.
func (a *MultiplyArgs) Work() int64 {
	return int64(a.Rows) * (int64(a.Depth)*far(a.ColStride) + rowWork)
}

// workFew returns the work of a call of MultiplyFew, of which an element of B counts: it comes from
// memory.
func (a *MultiplyArgs) workFew() int64 {
	return int64(a.Depth) * (int64(a.Lanes) + int64(a.Rows)*far(a.ColStride))
}

// Work returns the work of a call, of which an element of B counts: it comes from memory.
func (a *CombineArgs) Work() int64 { return int64(a.Depth) * int64(a.Lanes) }

// Work returns the work of a call.
func (a *DotsArgs) Work() int64 { return int64(a.Depth) * int64(a.Lanes) * int64(a.Rows) }

// Work returns the work of a call.
func (a *DequantizeArgs) Work() int64 { return int64(a.Lanes) * int64(a.Depth*moved+rowWork) }

// Work returns the work of a call.
func (a *DotWeightsArgs) Work() int64 { return int64(a.Lanes) * (int64(a.Depth)*moved + rowWork) }

// Work returns the work of a call.
func (a *MultiplyStripsArgs) Work() int64 {
	return int64(a.Lanes) * int64(a.Depth) * int64(a.Rows+moved) / stripVector
}

// Work returns the work of a call.
func (a *DequantizeStripsArgs) Work() int64 { return int64(a.Lanes) * int64(a.Depth) }

// Work returns the work of a call.
func (a *PairsArgs) Work() int64 {
	return int64(a.Rows) * max(int64(a.Cols)*moved*far(a.ColStride), rowWork)
}

// Work returns the work of a call.
func (a *PairWeightsArgs) Work() int64 { return int64(a.Keys) * int64(a.Lanes) * moved }

// Work returns the work of a call.
func (a *QuantizeArgs) Work() int64 { return int64(a.Rows) * int64(a.Depth) * moved * far(a.ColStride) }

// Work returns the work of a call.
func (a *UnpackInt8Args) Work() int64 {
	work := a.Depth / Int8Block * a.Lanes * moved
	if a.Codes != nil {
		work += a.Depth * a.Lanes
	}
	return int64(work)
}

// Work returns the work of a call.
func (a *PackWeightsArgs) Work() int64 { return int64(a.Lanes) * int64(a.Depth*moved+rowWork) }

// Work returns the work of a call.
func (a *MultiplyInt8Args) Work() int64 { return int64(a.Rows) * int64(a.Depth+rowWork) }

// Work returns the work of a call, which reads weights from memory.
func (a *MultiplyRowInt8Args) Work() int64 {
	return int64(a.Panels) * (int64(a.Depth)*int64(a.Lanes)/rowTerms + rowWork)
}

// Work returns the work of a call: of an element besides what it is moved, its line. That of all rows of a block
// is not divided.
func (a *ConvertInt8Args) Work() int64 {
	line := int64(0)
	if a.Elem.UnitValues() == 1 { // a block has lines of its own
		line = far(a.UnitStride)
	}
	return int64(a.Rows) * int64(a.Dim) * (moved + line)
}

// Work returns the work of a call: of an element besides what it is moved, its line.
func (a *TransposeInt8Args) Work() int64 {
	line := int64(0)
	if a.Elem.UnitValues() == 1 { // a block has lines of its own
		line = far(a.UnitStride)
	}
	return int64(a.Keys) * int64(a.Dim) * (moved + line)
}

// Work returns the work of a call.
func (a *PackInt8Args) Work() int64 { return int64(a.Lanes) * int64(a.Dim) * moved }

// Work returns the work of a call. That of one row is not divided.
func (a *RotaryArgs) Work() int64 { return int64(a.Rows) * int64(max(2*a.Pairs*moved, rowWork)) }

// Work returns the work of a call.
func (a *ActivateArgs) Work() int64 { return int64(a.Rows) * int64(max(a.Cols*moved, rowWork)) }

// Work returns the work of a call.
func (a *SumsArgs) Work() int64 { return int64(a.N) * moved }

// Work returns the work of a call.
func (a *NormalizeArgs) Work() int64 { return int64(a.N) * moved }

// Work returns the work of a call. That of one row is not divided.
func (a *HadamardArgs) Work() int64 { return int64(a.Rows) * int64(max(a.Cols*moved, rowWork)) }

// Work returns the work of a call, of which an element counts: it may come from memory.
func (a *AboveArgs) Work() int64 { return int64(a.N) }
