package kernel

import (
	"encoding/binary"
	"math"
)

// The types of ggml with one scale for 32 values. Of those with 4 or 5 bits a value, byte i holds the
// lower 4 bits of value i and, above them, those of value i+16. Bit i of a uint32 is the fifth of value i.
//
//	Q8_0  d, 32 int8              d*q
//	Q4_0  d, 16 bytes             d*(q-8)
//	Q4_1  d, m, 16 bytes          d*q + m
//	Q5_0  d, 4 bytes, 16 bytes    d*(q-16)
//	Q5_1  d, m, 4 bytes, 16 bytes d*q + m

func decodeQ8_0(y []float32, b []byte) {
	values, block := (*[32]float32)(y), (*[34]byte)(b)
	d := scale(block[:2])
	for i := range values {
		values[i] = float32(d * float32(int8(block[2+i])))
	}
}

func encodeQ8_0(b []byte, x []float32) {
	var block BlockQ8_0
	quantizeQ8_0(&block, &x[0], 1)
	binary.LittleEndian.PutUint16(b, block.Scale)
	for i, q := range block.Quants {
		b[2+i] = byte(q)
	}
}

func decodeQ4_0(y []float32, b []byte) {
	values, block := (*[32]float32)(y), (*[18]byte)(b)
	d := scale(block[:2])
	for i, q := range block[2:] {
		values[i] = float32(d * float32(int(q&15)-8))
		values[16+i] = float32(d * float32(int(q>>4)-8))
	}
}

func encodeQ4_0(b []byte, x []float32) {
	setScale(b, quantizeQ4_0((*[16]uint8)(b[2:]), (*[32]float32)(x)))
}

// quantizeQ4_0 makes codes of numbers and returns their scale. If that is NaN, they are 0.
func quantizeQ4_0(codes *[16]uint8, x *[32]float32) (d float32) {
	clear(codes[:])
	if d = extreme(x[:]) / -8; d != d {
		return d
	}
	inverse := reciprocal(d)
	for i := range codes {
		codes[i] = whole(float32(x[i]*inverse)+8.5, 15) | whole(float32(x[16+i]*inverse)+8.5, 15)<<4
	}
	return d
}

func decodeQ4_1(y []float32, b []byte) {
	values, block := (*[32]float32)(y), (*[20]byte)(b)
	d, m := scale(block[:2]), scale(block[2:4])
	for i, q := range block[4:] {
		values[i] = float32(d*float32(q&15)) + m
		values[16+i] = float32(d*float32(q>>4)) + m
	}
}

func encodeQ4_1(b []byte, x []float32) {
	least, d := quantizeQ4_1((*[16]uint8)(b[4:]), (*[32]float32)(x))
	if clear(b[2:4]); setScale(b, d) {
		setScale(b[2:], least)
	}
}

// quantizeQ4_1 makes codes of numbers and returns the least of these, and their scale. If that is NaN,
// they are 0.
func quantizeQ4_1(codes *[16]uint8, x *[32]float32) (least, d float32) {
	clear(codes[:])
	if least, d = spread(x[:], 15); d != d {
		return least, d
	}
	inverse := reciprocal(d)
	for i := range codes {
		codes[i] = whole(float32((x[i]-least)*inverse)+0.5, 15) | whole(float32((x[16+i]-least)*inverse)+0.5, 15)<<4
	}
	return least, d
}

func decodeQ5_0(y []float32, b []byte) {
	values, block := (*[32]float32)(y), (*[22]byte)(b)
	d, high := scale(block[:2]), binary.LittleEndian.Uint32(block[2:6])
	for i, q := range block[6:] {
		values[i] = float32(d * float32(int(q&15|fifth(high, i))-16))
		values[16+i] = float32(d * float32(int(q>>4|fifth(high, 16+i))-16))
	}
}

func encodeQ5_0(b []byte, x []float32) {
	d := extreme(x) / -16
	if clear(b[2:]); !setScale(b, d) {
		return
	}
	inverse := reciprocal(d)
	var codes [32]byte
	for i := range codes {
		codes[i] = whole(float32(x[i]*inverse)+16.5, 31)
	}
	put5(b[2:], &codes)
}

func decodeQ5_1(y []float32, b []byte) {
	values, block := (*[32]float32)(y), (*[24]byte)(b)
	d, m, high := scale(block[:2]), scale(block[2:4]), binary.LittleEndian.Uint32(block[4:8])
	for i, q := range block[8:] {
		values[i] = float32(d*float32(q&15|fifth(high, i))) + m
		values[16+i] = float32(d*float32(q>>4|fifth(high, 16+i))) + m
	}
}

func encodeQ5_1(b []byte, x []float32) {
	least, d := spread(x, 31)
	if clear(b[2:]); !setScale(b, d) {
		return
	}
	setScale(b[2:], least)
	inverse := reciprocal(d)
	var codes [32]byte
	for i := range codes {
		codes[i] = whole(float32((x[i]-least)*inverse)+0.5, 31)
	}
	put5(b[4:], &codes)
}

// fifth returns bit i of the fifth bits, in its place.
func fifth(high uint32, i int) byte { return byte(high>>i&1) << 4 }

// put5 writes codes of 5 bits: the fifth bits, and then the others.
func put5(b []byte, codes *[32]byte) {
	high := uint32(0)
	for i := range 16 {
		b[4+i] = codes[i]&15 | codes[16+i]<<4
		high |= uint32(codes[i]>>4)<<i | uint32(codes[16+i]>>4)<<(16+i)
	}
	binary.LittleEndian.PutUint32(b, high)
}

// extreme returns the first of the numbers with the largest magnitude, 0 of zeros, or NaN if one is
// not finite.
func extreme(x []float32) float32 {
	var most, magnitude float32
	for _, v := range x {
		if !isFinite(v) {
			return float32(math.NaN())
		}
		if a := float32(math.Abs(float64(v))); a > magnitude {
			most, magnitude = v, a
		}
	}
	return most
}

// spread returns the least number, the first of equal ones, and the step d that divides the range of all
// into so many parts: NaN if one is not finite, an infinity if the range is.
func spread(x []float32, parts float32) (least, d float32) {
	least, most := x[0], x[0]
	for _, v := range x {
		if !isFinite(v) {
			return v, float32(math.NaN())
		}
		if v < least {
			least = v
		}
		if v > most {
			most = v
		}
	}
	return least, (most - least) / parts
}

// reciprocal returns 1/d, or 0 where that is not finite.
func reciprocal(d float32) float32 {
	if d == 0 || !isFinite(1/d) {
		return 0
	}
	return 1 / d
}

// whole returns x, which is above -1, rounded towards zero to an integer of at most most; 0 for a NaN.
func whole(x float32, most int) byte {
	if x != x {
		return 0
	}
	return byte(min(int(x), most))
}
