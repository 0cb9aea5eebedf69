package kernel

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel/fp"
)

// A strip is weights that are packed in their type: those of as many columns of a product as a vector has
// lanes, or twice as many, over the whole depth. A row of it has a number of each lane, side by side. Blocks follow
// each other, each of these rows:
//
//	Float16, BFloat16     for each value a row of 16 bits
//	Q8_0, Q5_0            d, 32 rows of integers
//	Q5_1                  d, m, 32 rows of integers
//	Q4_0, IQ4_NL, MXFP4   d, 4 rows of codes
//	Q4_1                  d, m, 4 rows of codes
//	Q4_K                  d, m, and for each sub-block of 32 values s, t and 4 rows of codes
//	Q5_K                  d, m, and for each sub-block of 32 values s, t and 32 rows of integers
//	Q6_K                  d, and for each sub-block of 16 values s and 16 rows of integers
//
// d and m are binary16, as blocks have them, but for d of MXFP4, which is bfloat16 and half the scale. s, t
// and integers are int8: what the scale is multiplied by, so that codes of 5 and 6 bits take a byte. A row of
// codes has 32 bits for each lane: byte b has the code of value b of 8 in the lower half, and of value b+4 in
// the upper half. The values are those of [Weight.Decode].

// A StripForm is how a type is packed in strips.
type StripForm struct {
	Elem     Elem // of a type of 16 bits; of others that of d and m
	SubBlock int  // values with a scale, 1 of a type of 16 bits, 0 of a type that is not packed in strips
	Wide     bool // integers in the place of codes
	Min      bool // there is m, which is added, or a multiple of it subtracted
	Fine     bool // each sub-block has s, and t if there is m
}

var stripForms = [weights]StripForm{
	WeightFloat16:  {Elem: Float16, SubBlock: 1},
	WeightBFloat16: {Elem: BFloat16, SubBlock: 1},
	WeightQ8_0:     {Elem: Float16, SubBlock: 32, Wide: true},
	WeightQ5_0:     {Elem: Float16, SubBlock: 32, Wide: true},
	WeightQ5_1:     {Elem: Float16, SubBlock: 32, Wide: true, Min: true},
	WeightQ4_0:     {Elem: Float16, SubBlock: 32},
	WeightIQ4_NL:   {Elem: Float16, SubBlock: 32},
	WeightMXFP4:    {Elem: BFloat16, SubBlock: 32},
	WeightQ4_1:     {Elem: Float16, SubBlock: 32, Min: true},
	WeightQ4_K:     {Elem: Float16, SubBlock: 32, Min: true, Fine: true},
	WeightQ5_K:     {Elem: Float16, SubBlock: 32, Wide: true, Min: true, Fine: true},
	WeightQ6_K:     {Elem: Float16, SubBlock: 16, Wide: true, Fine: true},
}

// Strip returns how the type is packed in strips. SubBlock is 0 if it is not.
func (w Weight) Strip() StripForm { return stripForms[w] }

// StripTypes returns the types that are packed in strips.
func StripTypes() []Weight {
	var all []Weight
	for _, w := range Weights() {
		if w.Strip().SubBlock > 0 {
			all = append(all, w)
		}
	}
	return all
}

// Head returns the bytes of a block of a lane that come before its sub-blocks.
func (f StripForm) Head() int {
	switch {
	case f.SubBlock == 1:
		return 0
	case f.Min:
		return 4
	}
	return 2
}

// SubBlockHead returns the bytes of a sub-block of a lane that come before its values.
func (f StripForm) SubBlockHead() int {
	switch {
	case !f.Fine:
		return 0
	case f.Min:
		return 2
	}
	return 1
}

// codes returns the bytes of the values of a sub-block of a lane.
func (f StripForm) codes() int {
	switch {
	case f.SubBlock == 1:
		return 2
	case f.Wide:
		return f.SubBlock
	}
	return f.SubBlock / 2
}

// StripBytes returns the bytes of so many values of a lane, whole blocks.
func (w Weight) StripBytes(n int) int { return n >> stripBlocks[w].shift * stripBlocks[w].bytes }

// stripBlocks has the bytes of a block of a lane, of 1<<shift values, by type: products ask for them at each panel.
var stripBlocks = func() (blocks [weights]struct {
	shift uint8
	bytes int
}) {
	for _, w := range StripTypes() {
		f, n := w.Strip(), w.Values()
		blocks[w].shift = uint8(bits.TrailingZeros(uint(n)))
		blocks[w].bytes = f.Head() + n/f.SubBlock*(f.SubBlockHead()+f.codes())
	}
	return blocks
}()

// PackStrip packs a strip of vec lanes, of depth values each, whole blocks: those of lane l from value
// first + l*r.Cols of r on, which begins a block. Lanes from cols on are zeros.
func (r *WeightRows) PackStrip(dst []byte, vec, first, cols, depth int) {
	if cols < vec {
		clear(dst)
	}
	w := r.Type
	size := r.Cols / w.Values() * w.Bytes()
	from := first/r.Cols*size + first%r.Cols/w.Values()*w.Bytes()
	block := w.StripBytes(w.Values()) * vec
	for k := 0; k < depth; k += w.Values() {
		to := dst[k/w.Values()*block:][:block]
		at := from + k/w.Values()*w.Bytes()
		for l := range cols {
			w.packStripBlock(to, vec, l, r.Data[at+l*size:][:w.Bytes()])
		}
	}
}

// A stripBlock is a block of a lane, as rows of a strip have it.
type stripBlock struct {
	d, m   uint16
	s, t   [16]byte
	values [maxBlock]byte // codes or integers
}

// packStripBlock writes block b of lane l.
func (w Weight) packStripBlock(dst []byte, vec, l int, b []byte) {
	f := w.Strip()
	if f.SubBlock == 1 {
		dst[2*l], dst[2*l+1] = b[0], b[1]
		return
	}
	var x stripBlock
	w.unpack(&x, b)
	binary.LittleEndian.PutUint16(dst[2*l:], x.d)
	if dst = dst[2*vec:]; f.Min {
		binary.LittleEndian.PutUint16(dst[2*l:], x.m)
		dst = dst[2*vec:]
	}
	for g := range w.Values() / f.SubBlock {
		if f.Fine {
			dst[l] = x.s[g]
			if dst = dst[vec:]; f.Min {
				dst[l] = x.t[g]
				dst = dst[vec:]
			}
		}
		values := x.values[g*f.SubBlock:][:f.SubBlock]
		if f.Wide {
			for i, q := range values {
				dst[i*vec+l] = q
			}
		} else {
			for i := 0; i < len(values); i += 8 {
				for b := range 4 {
					dst[i/2*vec+4*l+b] = values[i+b] | values[i+4+b]<<4
				}
			}
		}
		dst = dst[f.codes()*vec:]
	}
}

// unpack takes a block of a file apart.
func (w Weight) unpack(x *stripBlock, b []byte) {
	half := func(i int) uint16 { return binary.LittleEndian.Uint16(b[i:]) }
	// nibbles has the lower halves of n bytes before the upper ones.
	nibbles := func(to []byte, codes []byte) {
		for i, q := range codes {
			to[i], to[len(codes)+i] = q&15, q>>4
		}
	}
	switch x.d = half(0); w {
	case WeightQ8_0:
		copy(x.values[:], b[2:])
	case WeightQ4_0, WeightIQ4_NL:
		nibbles(x.values[:], b[2:18])
	case WeightMXFP4:
		x.d = fp.Float32ToBFloat16(halfE8M0(b[0]))
		nibbles(x.values[:], b[1:17])
	case WeightQ4_1:
		x.m = half(2)
		nibbles(x.values[:], b[4:20])
	case WeightQ5_0:
		nibbles(x.values[:], b[6:22])
		for i, high := 0, binary.LittleEndian.Uint32(b[2:]); i < 32; i++ {
			x.values[i] = (x.values[i] | fifth(high, i)) - 16
		}
	case WeightQ5_1:
		x.m = half(2)
		nibbles(x.values[:], b[8:24])
		for i, high := 0, binary.LittleEndian.Uint32(b[4:]); i < 32; i++ {
			x.values[i] |= fifth(high, i)
		}
	case WeightQ4_K, WeightQ5_K:
		x.m = half(2)
		for g := range 8 {
			x.s[g], x.t[g] = scales6((*[12]byte)(b[4:]), g)
		}
		codes := b[16:]
		if w == WeightQ5_K {
			codes = b[48:]
		}
		for i := 0; i < 128; i += 32 {
			nibbles(x.values[2*i:], codes[i:][:32])
		}
		if w == WeightQ5_K {
			for i := range x.values {
				x.values[i] |= b[16+i%32] >> (i / 32) & 1 << 4
			}
		}
	case WeightQ6_K:
		x.d = half(208)
		copy(x.s[:], b[192:208])
		for half := range 2 {
			for i := 0; i < 64; i += 32 {
				low := b[64*half+i:][:32]
				for j, q := range low {
					x.values[128*half+i+j], x.values[128*half+64+i+j] = q&15, q>>4
				}
			}
			for i := range 128 {
				q := &x.values[128*half+i]
				*q = (*q | b[128+32*half+i%32]>>(i/32*2)&3<<4) - 32
			}
		}
	}
}

// StripValues writes values of lane l of a strip of vec lanes to dst, from the block at src on: whole blocks.
func (w Weight) StripValues(dst []float32, src *byte, vec, l int) {
	f := w.Strip()
	at := func(row int) *byte { return ptr.At(src, row*vec) }
	number := func(row int) float32 {
		h := binary.LittleEndian.Uint16(unsafe.Slice(ptr.At(at(row), 2*l), 2))
		if f.Elem == BFloat16 {
			return fp.BFloat16ToFloat32(h)
		}
		return fp.Float16ToFloat32(h)
	}
	row := 0 // bytes of a lane
	for len(dst) > 0 {
		if f.SubBlock == 1 {
			dst[0] = number(row)
			dst, row = dst[1:], row+2
			continue
		}
		d, m := number(row), float32(0)
		if f.Min {
			m = number(row + 2)
		}
		row += f.Head()
		for range w.Values() / f.SubBlock {
			scale, add := d, m
			if f.Fine {
				scale = float32(d * float32(int8(*ptr.At(at(row), l))))
				if f.Min {
					add = -float32(m * float32(*ptr.At(at(row+1), l)))
				}
				row += f.SubBlockHead()
			}
			for i := range dst[:f.SubBlock] {
				x := float32(scale * w.stripNumber(at(row), vec, l, i))
				if f.Min {
					x += add
				}
				dst[i] = x
			}
			dst, row = dst[f.SubBlock:], row+f.codes()
		}
	}
}

// stripNumber returns what value i of a sub-block stands for before it is scaled. codes are its rows.
func (w Weight) stripNumber(codes *byte, vec, l, i int) float32 {
	if w.Strip().Wide {
		return float32(int8(*ptr.At(codes, i*vec+l)))
	}
	q := *ptr.At(codes, i/8*4*vec+4*l+i%4) >> (i % 8 / 4 * 4) & 15
	switch w {
	case WeightQ4_0:
		return float32(int(q) - 8)
	case WeightIQ4_NL:
		return iq4nl[q]
	case WeightMXFP4:
		return e2m1[q]
	}
	return float32(q)
}

// MultiplyStripsArgs are the operands of Set.MultiplyStrips, few rows of A by strips. With B, [Depth][Lanes],
// the values of the strips, it is what Set.MultiplyFew does with a ColStride of 1.
//
// It asks for what comes next in Src, some of it beyond.
type MultiplyStripsArgs struct {
	Type       Weight // one that is packed in strips
	Src        *byte  // of Lanes/Vec strips, at the same depth of each; no alignment is required
	StripBytes int    // from one strip to the next
	Vec        int    // lanes of a strip: Set.Vec or Set.StripLanes
	Depth      int    // at least 1, whole blocks
	Lanes      int    // a multiple of Vec
	A          *float32
	RowStride  int      // elements from one row of A to the next, any sign, 0 included
	Rows       int      // 1..MaxStripRows
	Bias       *float32 // [Lanes], or nil
	C          *float32 // [Rows][Stride], of either sign, written or updated; no two elements share memory
	Stride     int      // elements from one row of C to the next, any sign
	Add        bool

	// Near says that one row by strips of two vectors asks for them into the first-level cache alone, in the order of
	// memory, and two rows if these are of a type of 16 bits.
	Near bool
}

// MaxStripRows is the most rows of Set.MultiplyStrips.
const MaxStripRows = 8

// DequantizeStripsArgs are the operands of Set.DequantizeStrips, which makes float32 of strips.
//
//	for l := range Lanes {
//		for k := range Depth {
//			Dst[k*Stride+l] = value k of lane l%Vec of the strip at Src[l/Vec*StripBytes] // by Weight.StripValues
//		}
//	}
//
// It asks for what comes next in each strip, too, some of it beyond.
type DequantizeStripsArgs struct {
	Type       Weight   // one that is packed in strips
	Src        *byte    // no alignment is required
	StripBytes int      // from one strip to the next
	Vec        int      // lanes of a strip: Set.Vec or Set.StripLanes
	Depth      int      // 1..KC, whole blocks
	Lanes      int      // a multiple of Vec
	Dst        *float32 // [Depth][Stride], written
	Stride     int      // at least Lanes
}
