package qkv

// int8PeakTerms are the products of a round of peakInt8Generic.
const int8PeakTerms = 32

func peakInt8Generic(n int) {
	var w [int8PeakTerms]uint8
	var x [int8PeakTerms]int8
	for i := range w {
		w[i], x[i] = uint8(i), int8(i)
	}
	sum := int32(0)
	for range n {
		for i, w := range &w {
			sum += int32(w) * int32(x[i])
		}
		x[0] ^= 1 // has the sum made anew
	}
	if sum == 1 {
		panic("qkv: a sum of squares is 1") // keeps the sums alive
	}
}
