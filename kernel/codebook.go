package kernel

import "math"

// Types whose 4-bit codes stand for numbers of a table. Byte i of the codes holds that of value i and,
// above it, that of value i+16.
//
//	IQ4_NL  d, 16 bytes   d*table[q], d binary16
//	MXFP4   e, 16 bytes   2^(e-127)*E2M1(q), e an E8M0 number, of which 255 is NaN

// iq4nl is the table of IQ4_NL: kvalues_iq4nl of ggml.
var iq4nl = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// iq4nlZero is the code of the least magnitude.
const iq4nlZero = 8

// e2m1 is twice the numbers of E2M1, as integers. ggml's second zero has no sign, and so has this one.
var e2m1 = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

const nanE8M0 = 255

// halfE8M0 returns 2^(e-128), half the value of an E8M0 number.
func halfE8M0(e byte) float32 {
	switch {
	case e == nanE8M0:
		return float32(math.NaN())
	case e < 2: // subnormal
		return math.Float32frombits(1 << 21 << e)
	}
	return math.Float32frombits(uint32(e-1) << 23)
}

func decodeIQ4_NL(y []float32, b []byte) {
	values, block := (*[32]float32)(y), (*[18]byte)(b)
	d := scale(block[:2])
	for i, q := range block[2:] {
		values[i] = float32(d * iq4nl[q&15])
		values[16+i] = float32(d * iq4nl[q>>4])
	}
}

// encodeIQ4_NL chooses codes by the scale that makes the largest magnitude -127, and then the scale
// with the least sum of squared errors, each weighted by the square of its number. If no magnitude
// reaches 1e-15, the scale is 0.
func encodeIQ4_NL(b []byte, x []float32) {
	most := extreme(x)
	var codes [32]byte
	d := most // NaN
	switch {
	case float32(math.Abs(float64(most))) < 1e-15:
		d = 0
		for i := range codes {
			codes[i] = iq4nlZero
		}
	case most == most:
		inverse := 1 / (most / iq4nl[0])
		var products, squares float32
		for i, v := range x {
			q := nearestIQ4_NL(float32(inverse * v))
			codes[i] = q
			w := float32(float32(v*v) * iq4nl[q])
			products += float32(w * v)
			squares += float32(w * iq4nl[q])
		}
		d = products / squares
	}
	if clear(b[2:]); !setScale(b, d) {
		return
	}
	for i := range 16 {
		b[2+i] = codes[i] | codes[16+i]<<4
	}
}

// nearestIQ4_NL returns the code of what is nearest to x, the larger of two.
func nearestIQ4_NL(x float32) byte {
	q := byte(0)
	for x+x >= iq4nl[q]+iq4nl[q+1] {
		if q++; q == 15 {
			break
		}
	}
	return q
}

func decodeMXFP4(y []float32, b []byte) {
	values, block := (*[32]float32)(y), (*[17]byte)(b)
	d := halfE8M0(block[0])
	for i, q := range block[1:] {
		values[i] = float32(d * e2m1[q&15])
		values[16+i] = float32(d * e2m1[q>>4])
	}
}

// encodeMXFP4 takes the scale that makes the largest magnitude one from 4 to 8, of which the numbers
// go to 6, and the codes of what is nearest, the first of two. The logarithm is rounded to float32, as
// ggml has it: some magnitudes just below a power of two count as that. The least scale is 2^-127.
func encodeMXFP4(b []byte, x []float32) {
	clear(b[1:])
	most := math.Abs(float64(extreme(x)))
	if most != most {
		b[0] = nanE8M0
		return
	}
	b[0] = 0
	if most > 0 {
		log := math.Floor(float64(float32(math.Log2(most))))
		b[0] = byte(max(0, log-2+127))
	}
	d := halfE8M0(b[0])
	for i := range 16 {
		b[1+i] = nearestE2M1(x[i], d) | nearestE2M1(x[16+i], d)<<4
	}
}

// nearestE2M1 returns the code of what is nearest to x in units of d.
func nearestE2M1(x, d float32) byte {
	best, least := 0, float32(math.Inf(1))
	for q, v := range e2m1 {
		off := float32(math.Abs(float64(float32(d*v) - x)))
		if off < least {
			best, least = q, off
		}
	}
	return byte(best)
}
