package kernel

// The types of ggml with 256 values a block, whose scales d and m are binary16 and whose groups of 16
// or 32 values have integer scales of their own: s, and t for what is subtracted.
//
//	Q2_K  16 bytes s|t<<4, 64 bytes q, d, m             groups of 16  (d*s)*q - m*t
//	Q3_K  32 bytes third bits, 64 bytes q, 12 bytes s, d groups of 16  (d*(s-32))*(q-4)
//	Q4_K  d, m, 12 bytes s and t, 128 bytes q           groups of 32  (d*s)*q - m*t
//	Q5_K  d, m, 12 bytes s and t, 32 bytes fifth bits, 128 bytes q
//	                                                    groups of 32  (d*s)*q - m*t
//	Q6_K  128 bytes lower 4 bits, 64 bytes upper 2, 16 int8 s, d
//	                                                    groups of 16  (d*s)*(q-32)

func decodeQ2_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[84]byte)(b)
	d, m := scale(block[80:82]), scale(block[82:84])
	for group := range 16 {
		scales := block[group]
		ds, mt := float32(d*float32(scales&15)), float32(m*float32(scales>>4))
		codes := (*[16]byte)(block[16+group/8*32+group%2*16:])
		shift := group % 8 / 2 * 2
		to := (*[16]float32)(values[16*group:])
		for i, q := range codes {
			to[i] = float32(ds*float32(q>>shift&3)) - mt
		}
	}
}

func decodeQ3_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[110]byte)(b)
	d, packed := scale(block[108:110]), (*[12]byte)(block[96:])
	for group := range 16 {
		// The lower 4 bits of two scales share a byte, and the upper 2 of four.
		low := packed[group%8] >> (group / 8 * 4) & 15
		high := packed[8+group%4] >> (group / 4 * 2) & 3
		ds := float32(d * float32(int(low|high<<4)-32))
		third := (*[16]byte)(block[group%2*16:])
		codes := (*[16]byte)(block[32+group/8*32+group%2*16:])
		shift, bit := group%8/2*2, group/2
		to := (*[16]float32)(values[16*group:])
		for i, q := range codes {
			to[i] = float32(ds * float32(int(q>>shift&3|third[i]>>bit&1<<2)-4))
		}
	}
}

// scales6 returns scale s and t of a group of 8, of 6 bits each: the first four are in bytes of their
// own, whose upper bits are those of the others.
func scales6(b *[12]byte, group int) (s, t byte) {
	if group < 4 {
		return b[group] & 63, b[4+group] & 63
	}
	return b[4+group]&15 | b[group-4]>>6<<4, b[4+group]>>4 | b[group]>>6<<4
}

func decodeQ4_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[144]byte)(b)
	d, m, packed := scale(block[:2]), scale(block[2:4]), (*[12]byte)(block[4:])
	for group := range 8 {
		s, t := scales6(packed, group)
		ds, mt := float32(d*float32(s)), float32(m*float32(t))
		codes := (*[32]byte)(block[16+group/2*32:])
		shift := group % 2 * 4
		to := (*[32]float32)(values[32*group:])
		for i, q := range codes {
			to[i] = float32(ds*float32(q>>shift&15)) - mt
		}
	}
}

func decodeQ5_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[176]byte)(b)
	d, m, packed := scale(block[:2]), scale(block[2:4]), (*[12]byte)(block[4:])
	high := (*[32]byte)(block[16:])
	for group := range 8 {
		s, t := scales6(packed, group)
		ds, mt := float32(d*float32(s)), float32(m*float32(t))
		codes := (*[32]byte)(block[48+group/2*32:])
		shift := group % 2 * 4
		to := (*[32]float32)(values[32*group:])
		for i, q := range codes {
			to[i] = float32(ds*float32(q>>shift&15|high[i]>>group&1<<4)) - mt
		}
	}
}

func decodeQ6_K(y []float32, b []byte) {
	values, block := (*[256]float32)(y), (*[210]byte)(b)
	d := scale(block[208:210])
	for group := range 16 {
		ds := float32(d * float32(int8(block[192+group])))
		half, part := group/8, group%8/2 // 128 values, and 32 of them
		low := (*[16]byte)(block[64*half+part%2*32+group%2*16:])
		high := (*[16]byte)(block[128+32*half+group%2*16:])
		to := (*[16]float32)(values[16*group:])
		for i, q := range low {
			to[i] = float32(ds * float32(int(q>>(part/2*4)&15|high[i]>>(2*part)&3<<4)-32))
		}
	}
}
