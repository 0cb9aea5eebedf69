package kernel

import (
	"encoding/binary"
	"unsafe"
)

// PackWeightsArgs are the operands of Set.PackWeights, which packs rows of weights into lanes of a step of a panel of
// class Int8. With a row of lanes of codes for each four terms, or each eight where codes have 4 bits, and a row of
// lanes for each number and each integer that belongs to blocks:
//
//	for l := range Lanes {
//		for each block of 32 values of row l, by the number b {
//			if Type.Int8().Table == nil {
//				Codes[8*b+t/4][l][t%4] = 128 + integer of value t, for t < 32
//			} else {
//				Codes[4*b+t/4][l][t%4] = code of value t | code of value 16+t << 4, for t < 16
//			}
//		}
//		switch Type.Int8().Scales {
//		case Int8Half:     Numbers[b][l] = d of block b
//		case Int8HalfMin:  Numbers[2*b][l], Numbers[2*b+1][l] = d and m of block b
//		case Int8Float:    Numbers[b][l] = half of 2^(e-127) for the exponent e of block b; of WeightInt8 nothing
//		case Int8Groups32: Numbers[0][l], Numbers[1][l] = d and m; Integers[2*b][l], Integers[2*b+1][l] = the scale and
//		                   the minimum of block b, of 6 bits
//		case Int8Groups16: Numbers[0][l] = d; Integers[i][l] = scale i of the 16
//		}
//	}
//
// The memory as far behind Src as Ahead says is what will be read next: PackWeights may ask the CPU for it. Nothing is
// read there: no address needs to be valid.
type PackWeightsArgs struct {
	Type     Weight // one with Int8
	Src      *byte  // no alignment is required
	RowBytes int    // from one row of Src to the next, any sign, 0 included
	Depth    int    // a multiple of Int8Block up to KC, whole blocks
	Lanes    int    // rows of Src
	Stride   int    // lanes of the panel, at least Lanes
	Codes    *byte  // [][Stride][4], written
	Numbers  *byte  // [][Stride] of binary16, or float32 of Int8Float, written; of WeightInt8 any
	Integers *byte  // [][Stride], written; of other types than those of groups any
	Ahead    int    // bytes
}

// PackedAt points Codes, Numbers and Integers to a lane of a step.
func (a *PackWeightsArgs) PackedAt(step unsafe.Pointer, lane int) {
	f := a.Type.Int8()
	scales := unsafe.Add(step, f.ScalesAt(a.Depth, a.Stride))
	numbers, size := 0, 2
	switch f.Scales {
	case Int8Groups32:
		numbers = 2
	case Int8Groups16:
		numbers = 1
	case Int8Float:
		size = 4
	}
	a.Codes, a.Numbers, a.Integers = (*byte)(unsafe.Add(step, 4*lane)), (*byte)(unsafe.Add(scales, size*lane)), nil
	if numbers > 0 {
		a.Integers = (*byte)(unsafe.Add(scales, numbers*size*a.Stride+lane))
	}
}

// PackWeights is Set.PackWeights in Go. Lanes is any number.
func PackWeights(a *PackWeightsArgs) {
	to := int8Packing{PackWeightsArgs: a, form: a.Type.Int8()}
	bytes := a.Depth / a.Type.Values() * a.Type.Bytes()
	for l := range a.Lanes {
		to.column(l, unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(a.Src), l*a.RowBytes)), bytes))
	}
}

// Int8Scales writes the scales of a step of WeightInt8, float32 for each block and lane. Lane l begins at value
// first + l*step.
func (r *WeightRows) Int8Scales(dst *float32, first, step, cols, lanes, depth int) {
	scales := unsafe.Slice(dst, depth/Int8Block*lanes)
	groups := (r.Cols-1)/r.GroupSize + 1
	for l := range cols {
		row, col := (first+l*step)/r.Cols, (first+l*step)%r.Cols
		of := r.Scales[row*groups:][:groups]
		group, left := col/r.GroupSize, r.GroupSize-col%r.GroupSize
		for b := range depth / Int8Block {
			for left <= 0 {
				group, left = group+1, left+r.GroupSize
			}
			scales[b*lanes+l] = of[group]
			left -= Int8Block
		}
	}
}

// EmptyInt8 writes a step of lanes without weights: numbers of 0, with scales of 0.
func (f *Int8Form) EmptyInt8(dst *byte, depth, lanes int) {
	all := unsafe.Slice(dst, f.Bytes(depth)*lanes)
	codes := all[:f.ScalesAt(depth, lanes)]
	for i := range codes {
		codes[i] = int8Offset
	}
	clear(all[len(codes):])
}

// An int8Packing is a step of a panel being packed.
type int8Packing struct {
	*PackWeightsArgs
	form *Int8Form
}

// column packs a column.
func (p *int8Packing) column(lane int, src []byte) {
	size := p.Type.Bytes()
	switch p.Type {
	case WeightInt8:
		for b := range p.Depth / Int8Block {
			p.signed(b, lane, src[b*Int8Block:])
		}
		return
	case WeightQ4_K, WeightQ5_K, WeightQ6_K:
		p.super(lane, src)
		return
	}
	for b := range p.Depth / Int8Block {
		block := src[b*size:][:size]
		switch p.Type {
		case WeightQ8_0:
			p.signed(b, lane, block[2:])
		case WeightQ5_0:
			p.fives(b, lane, block[6:], binary.LittleEndian.Uint32(block[2:]), (int8Offset-16)*bytes1)
		case WeightQ5_1:
			p.fives(b, lane, block[8:], binary.LittleEndian.Uint32(block[4:]), int8Offset*bytes1)
		default: // codes of 4 bits in the order of W
			for g := range 4 {
				p.putNibbles(b, g, lane, dword(block[size-16:], g))
			}
		}
		switch p.form.Scales {
		case Int8Half:
			p.half(b, lane, block)
		case Int8HalfMin:
			p.half(2*b, lane, block)
			p.half(2*b+1, lane, block[2:])
		case Int8Float:
			*(*float32)(p.at(p.Numbers, b, lane, 4)) = halfE8M0(block[0])
		}
	}
}

// bytes1 has a 1 in each byte.
const bytes1 = 0x01010101

// dword returns four bytes, the first one lowest.
func dword(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }

// at returns the address of a lane of a row of lanes, of so many bytes each.
func (p *int8Packing) at(base *byte, row, lane, size int) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(base), (row*p.Stride+lane)*size)
}

// putDword writes the codes of a lane in a row of Codes.
func (p *int8Packing) putDword(row, lane int, codes uint32) {
	binary.LittleEndian.PutUint32((*[4]byte)(p.at(p.Codes, row, lane, 4))[:], codes)
}

// put writes four codes of 8 bits.
func (p *int8Packing) put(block, group, lane int, codes uint32) {
	p.putDword(8*block+group, lane, codes)
}

// putNibbles writes eight codes of 4 bits.
func (p *int8Packing) putNibbles(block, group, lane int, codes uint32) {
	p.putDword(4*block+group, lane, codes)
}

// half writes a number of binary16.
func (p *int8Packing) half(row, lane int, b []byte) {
	binary.NativeEndian.PutUint16((*[2]byte)(p.at(p.Numbers, row, lane, 2))[:], binary.LittleEndian.Uint16(b))
}

// integer writes an integer of a group.
func (p *int8Packing) integer(row, lane int, x byte) { *(*byte)(p.at(p.Integers, row, lane, 1)) = x }

// signed packs a block of int8.
func (p *int8Packing) signed(block, lane int, b []byte) {
	for g := range 8 {
		p.put(block, g, lane, dword(b, g)^int8Offset*bytes1)
	}
}

// fifths has, for four bits, 16 in the bytes of those that are set.
var fifths = func() (t [16]uint32) {
	for bits := range t {
		for i := range 4 {
			t[bits] |= uint32(bits>>i&1) << (8*i + 4)
		}
	}
	return t
}()

// fives packs a block of codes of 5 bits, to each of which something is added.
func (p *int8Packing) fives(block, lane int, b []byte, high, add uint32) {
	for g := range 4 {
		codes := dword(b, g)
		p.put(block, g, lane, codes&(15*bytes1)+fifths[high>>(4*g)&15]+add)
		p.put(block, 4+g, lane, codes>>4&(15*bytes1)+fifths[high>>(16+4*g)&15]+add)
	}
}

// super packs a block of 256 values.
func (p *int8Packing) super(lane int, b []byte) {
	switch p.Type {
	case WeightQ6_K:
		p.half(0, lane, b[208:])
		for i := range 16 {
			p.integer(i, lane, b[192+i])
		}
		for block := range 8 {
			half, part := block/4, block%4
			low, high := b[64*half+part%2*32:], b[128+32*half:]
			for g := range 8 {
				codes := dword(low, g) >> (part / 2 * 4) & (15 * bytes1)
				codes |= dword(high, g) >> (2 * part) & (3 * bytes1) << 4
				p.put(block, g, lane, codes+(int8Offset-32)*bytes1)
			}
		}
		return
	}
	p.half(0, lane, b)
	p.half(1, lane, b[2:])
	for block := range 8 {
		s, t := scales6((*[12]byte)(b[4:]), block)
		p.integer(2*block, lane, s)
		p.integer(2*block+1, lane, t)
	}
	if p.Type == WeightQ4_K {
		for block := range 8 {
			codes, shift := b[16+block/2*32:], block%2*4
			for g := range 4 {
				low, high := dword(codes, g)>>shift&(15*bytes1), dword(codes, 4+g)>>shift&(15*bytes1)
				p.putNibbles(block, g, lane, low|high<<4)
			}
		}
		return
	}
	for block := range 8 {
		codes, shift := b[48+block/2*32:], block%2*4
		for g := range 8 {
			fifth := dword(b[16:], g) >> block & bytes1 << 4
			p.put(block, g, lane, dword(codes, g)>>shift&(15*bytes1)|fifth|int8Offset*bytes1)
		}
	}
}
