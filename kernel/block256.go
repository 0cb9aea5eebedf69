package kernel

// The types of ggml with 256 values a block, whose scales d and m are binary16 and whose sub-blocks of 16
// or 32 values have integer scales of their own: s, and t for what is subtracted.
//
//	Q2_K  16 bytes s|t<<4, 64 bytes q, d, m             sub-blocks of 16  (d*s)*q - m*t
//	Q3_K  32 bytes third bits, 64 bytes q, 12 bytes s, d sub-blocks of 16  (d*(s-32))*(q-4)
//	Q4_K  d, m, 12 bytes s and t, 128 bytes q           sub-blocks of 32  (d*s)*q - m*t
//	Q5_K  d, m, 12 bytes s and t, 32 bytes fifth bits, 128 bytes q
//	                                                    sub-blocks of 32  (d*s)*q - m*t
//	Q6_K  128 bytes lower 4 bits, 64 bytes upper 2, 16 int8 s, d
//	                                                    sub-blocks of 16  (d*s)*(q-32)

func decodeQ2_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[84]byte)(b)
	d, m := scale(block[80:82]), scale(block[82:84])
	for subBlock := range 16 {
		scales := block[subBlock]
		ds, mt := float32(d*float32(scales&15)), float32(m*float32(scales>>4))
		codes := (*[16]byte)(block[16+subBlock/8*32+subBlock%2*16:])
		shift := subBlock % 8 / 2 * 2
		to := (*[16]float32)(values[16*subBlock:])
		for i, q := range codes {
			to[i] = float32(ds*float32(q>>shift&3)) - mt
		}
	}
}

func decodeQ3_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[110]byte)(b)
	d, packed := scale(block[108:110]), (*[12]byte)(block[96:])
	for subBlock := range 16 {
		// The lower 4 bits of two scales share a byte, and the upper 2 of four.
		low := packed[subBlock%8] >> (subBlock / 8 * 4) & 15
		high := packed[8+subBlock%4] >> (subBlock / 4 * 2) & 3
		ds := float32(d * float32(int(low|high<<4)-32))
		third := (*[16]byte)(block[subBlock%2*16:])
		codes := (*[16]byte)(block[32+subBlock/8*32+subBlock%2*16:])
		shift, bit := subBlock%8/2*2, subBlock/2
		to := (*[16]float32)(values[16*subBlock:])
		for i, q := range codes {
			to[i] = float32(ds * float32(int(q>>shift&3|third[i]>>bit&1<<2)-4))
		}
	}
}

// scales6 returns scale s and t of a sub-block of 8, of 6 bits each: the first four are in bytes of their
// own, whose upper bits are those of the others.
func scales6(b *[12]byte, subBlock int) (s, t byte) {
	if subBlock < 4 {
		return b[subBlock] & 63, b[4+subBlock] & 63
	}
	return b[4+subBlock]&15 | b[subBlock-4]>>6<<4, b[4+subBlock]>>4 | b[subBlock]>>6<<4
}

func decodeQ4_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[144]byte)(b)
	d, m, packed := scale(block[:2]), scale(block[2:4]), (*[12]byte)(block[4:])
	for subBlock := range 8 {
		s, t := scales6(packed, subBlock)
		ds, mt := float32(d*float32(s)), float32(m*float32(t))
		codes := (*[32]byte)(block[16+subBlock/2*32:])
		shift := subBlock % 2 * 4
		to := (*[32]float32)(values[32*subBlock:])
		for i, q := range codes {
			to[i] = float32(ds*float32(q>>shift&15)) - mt
		}
	}
}

func decodeQ5_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[176]byte)(b)
	d, m, packed := scale(block[:2]), scale(block[2:4]), (*[12]byte)(block[4:])
	high := (*[32]byte)(block[16:])
	for subBlock := range 8 {
		s, t := scales6(packed, subBlock)
		ds, mt := float32(d*float32(s)), float32(m*float32(t))
		codes := (*[32]byte)(block[48+subBlock/2*32:])
		shift := subBlock % 2 * 4
		to := (*[32]float32)(values[32*subBlock:])
		for i, q := range codes {
			to[i] = float32(ds*float32(q>>shift&15|high[i]>>subBlock&1<<4)) - mt
		}
	}
}

func decodeQ6_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[210]byte)(b)
	d := scale(block[208:210])
	for subBlock := range 16 {
		ds := float32(d * float32(int8(block[192+subBlock])))
		half, part := subBlock/8, subBlock%8/2 // 128 values, and 32 of them
		low := (*[16]byte)(block[64*half+part%2*32+subBlock%2*16:])
		high := (*[16]byte)(block[128+32*half+subBlock%2*16:])
		to := (*[16]float32)(values[16*subBlock:])
		for i, q := range low {
			to[i] = float32(ds * float32(int(q>>(part/2*4)&15|high[i]>>(2*part)&3<<4)-32))
		}
	}
}
