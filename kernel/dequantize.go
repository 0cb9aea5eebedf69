package kernel

// DequantizeArgs are the operands of Set.Dequantize, which makes float32 of rows of weights and transposes
// them into lanes.
//
//	for l := range Lanes {
//		for k := range Depth {
//			x := value k of the blocks of Type from Src[l*RowBytes] on // by Weight.Decode
//			if Scales != nil {
//				x *= Scales[l]
//			}
//			Dst[k*Stride+l] = x
//		}
//	}
//
// It asks for what comes next in each row, too, some of it beyond Src.
type DequantizeArgs struct {
	Type     Weight
	Src      *byte    // no alignment is required
	RowBytes int      // from one row of Src to the next, any sign, 0 included
	Depth    int      // 1..KC, whole blocks
	Lanes    int      // rows of Src
	Scales   *float32 // [Lanes], of WeightInt8 alone, or nil
	Dst      *float32 // [Depth][Stride], written
	Stride   int      // at least Lanes
}
