package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// A fourScorer is the part of an int8Scorer for four rows, foursKeys keys at a time. A vector has 64 dims of a key, 16 in each part of 128
// bits, and no key is transposed: VSHUFPS brings four dims of two keys into a part, each twice, and a vector of integers of
// rows has the same four dims of two rows, twice. So a part of a sum has two keys by two rows, of the 16 dims of the part. Parts of a
// block are added, and come together as four keys by four rows.
type fourScorer struct {
	*int8Scorer
	ops              Int // operands of rows, in local memory, at the dims
	scale, s         Int
	nextOff, nextKey Int // Off and K of what comes behind the dims
	stride           Int

	v           []Vec
	upper       []Vec // codes of 4 bits
	blockScales []Vec // of two blocks of the keys each
	sums        []Vec // of pairs of keys, by pairs of rows
	x           []Vec // integers of rows
	quad        []Vec // four dims of two keys
	acc         []Vec // of four keys
	factor      []Vec // scales of four keys
	index       []Vec // places of scales
	scales      Vec
	flip        Vec
	order       Vec
}

const (
	// foursKeys is how many keys a fourScorer takes at a time.
	foursKeys = 8
	// foursDims is the dims of a vector of one key.
	foursDims = 64
	// foursSteps is how many times foursDims a fourScorer has room for.
	foursSteps = 4
)

// foursBytes is the bytes of the operands of rows for foursDims dims.
const foursBytes = 12 * 64

// fours reports whether there is a fourScorer.
func (g *int8Scorer) fours() bool { return g.pipelines() }

// foursElems are the element types of a fourScorer.
func foursElems() []kernel.Elem { return []kernel.Elem{kernel.Int8, kernel.Q8_0, kernel.Q4_0} }

func (g *int8Scorer) localFours() int {
	return (g.localKept() + 8 + cacheLine - 1) / cacheLine * cacheLine
}

// scoreFours writes what takes as many keys as a fourScorer can. It leaves the others, or all, to what follows.
func (g *int8Scorer) scoreFours() {
	s := &fourScorer{int8Scorer: g, ops: g.q, scale: g.p, s: g.third, nextOff: g.stride, nextKey: g.acc, stride: g.p}
	const rest = "notFours"
	g.load("Rows", g.tmp)
	g.Branch(g.Func, g.tmp, "NE", imm(int8ScoreRows), rest)
	g.Branch(g.Func, g.keys, "LT", imm(g.Lanes), rest) // open begins again with fewer keys
	g.load("Dim", g.dims)
	g.Branch(g.Func, g.dims, "GT", imm(foursSteps*foursDims), rest)
	elems := foursElems()
	g.load("Elem", g.tmp)
	for _, e := range elems {
		g.Branch(g.Func, g.tmp, "EQ", imm(int(e)), e.String()+"Fours")
	}
	g.Jump(rest)
	for _, e := range elems {
		g.elem = e
		g.Label(g.name("Fours"))
		g.Op("TESTQ", s.dimsOf()-1, g.dims)
		g.Op("JNE", rest)
		s.keys8()
		g.load("QBytes", g.stride)
		g.Branch(g.Func, g.keys, "GT", "$0", rest)
		g.Return(g.Func)
	}
	g.Label(rest)
}

// dimsOf returns the dims of a vector of one key: codes of 4 bits are two in a byte.
func (s *fourScorer) dimsOf() int {
	if s.fourBits() {
		return 2 * foursDims
	}
	return foursDims
}

// blocksOf returns the blocks of a vector of one key.
func (s *fourScorer) blocksOf() int { return s.dimsOf() / kernel.Int8Block }

func (s *fourScorer) step() int { return s.elem.RowBytes(s.dimsOf()) }

// Operands of rows for dimsOf dims, each a vector: of each group of four of 16 dims and each pair of rows, integers; what sums of a pair
// of rows begin with; and of each block D.
func (s *fourScorer) ints(group, pair int) int { return (2*group + pair) * 64 }
func (s *fourScorer) whole(pair int) int       { return s.ints(s.dimsOf()/16, pair) }
func (s *fourScorer) d(block int) int          { return s.whole(2 + block) }
func (s *fourScorer) bytes() int               { return s.d(s.blocksOf()) }

// keys8 writes the loop over foursKeys keys of an element type.
func (s *fourScorer) keys8() {
	s.registers()
	s.rowsOperands()
	order := s.patternAt(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15)
	if !s.fourBits() {
		s.Op(s.Load, s.patternAt(0x80808080), s.flip)
		s.Op(s.Load, order, s.order)
		for i, v := range s.index {
			s.Op(s.Load, s.places(i), v)
		}
	}
	if s.elem != kernel.Int8 {
		s.Op(s.Mov, s.off, s.nextOff)
		s.load("K", s.nextKey)
		s.write(s.collectLines())
	}
	loop, inside, same := s.name("FoursKeys"), s.name("FoursDims"), s.name("FoursSame")
	s.Loop(loop)
	s.openAsks(foursKeys)
	s.Op(s.Mov, mem(s.local, s.localAsk()), s.rows)
	if s.elem == kernel.Int8 {
		s.askScales()
		s.Op(s.Mov, mem(s.local, s.localScale()), s.scale)
		for g, f := range s.factor {
			s.Op("VMOVUPS", mem(s.scale, 16*g), low(f, "X"))
			s.Op("VPERMPS", f, s.index[0], f)
		}
	}
	for _, v := range s.acc {
		s.Zero(s.Func, v)
	}
	s.load("K", s.key)
	s.load("Dim", s.dims)
	s.Op("LEAQ", mem(s.local, s.localFours()), s.ops)
	s.Loop(inside)
	s.Op(s.Sub, s.dimsOf(), s.dims)
	if s.elem != kernel.Int8 {
		s.Op(s.Mov, s.off, s.nextOff)
		s.Op("LEAQ", mem(s.key, s.step()), s.nextKey)
		s.Branch(s.Func, s.dims, "GT", "$0", same)
		s.load("K", s.nextKey)
		s.Branch(s.Func, s.keys, "LT", imm(2*foursKeys), same)
		s.Op(s.Add, 8*foursKeys, s.nextOff)
		s.Label(same)
	}
	if s.fourBits() {
		s.dims128()
	} else {
		s.dims64()
	}
	s.Op(s.Add, s.step(), s.key)
	s.Op(s.Add, s.bytes(), s.ops)
	s.Branch(s.Func, s.dims, "GT", "$0", inside)

	s.loadBytes("Stride", s.stride)
	s.Op(s.Mov, mem(s.local, s.localS()), s.s)
	if s.fourBits() {
		s.Op(s.Load, order, s.order)
	}
	for _, acc := range s.acc {
		s.Op("VPERMPS", acc, s.order, acc)
		for part := range 4 {
			s.StorePart(s.Func, acc, part, 4, s.s, "")
			s.Op(s.Add, s.stride, s.s)
		}
	}
	s.Op(s.Mov, s.s, mem(s.local, s.localS()))
	s.Op(s.Add, 4*foursKeys, mem(s.local, s.localScale()))
	s.Op(s.Add, 8*foursKeys, s.off)
	s.Op(s.Sub, foursKeys, s.keys)
	s.Branch(s.Func, s.keys, "GE", imm(foursKeys), loop)
}

// places returns where scales of the i-th four keys are for the lanes of sums.
func (s *fourScorer) places(i int) string {
	var at []uint32
	for lane := range uint32(16) {
		at = append(at, 4*uint32(i)+lane/8*2+lane/2%2)
	}
	return s.patternAt(at...)
}

// registers shares out the vector registers.
func (s *fourScorer) registers() {
	notes := s.notes
	m := s.vectors("four rows:")
	if s.fourBits() {
		s.v, s.upper = m.take(foursKeys, "lower codes of the keys"), m.take(foursKeys, "upper codes")
		s.sums = m.take(foursKeys, "sums of integers")
		s.x, s.quad = m.take(2, "integers of rows"), m.take(2, "four dims of two keys")
		s.acc = m.take(foursKeys/4, "sums")
		s.blockScales = m.take(2, "scales of two blocks")
		s.order = s.quad[0]
		s.notes = notes
		return
	}
	s.v = m.take(foursKeys, "dims of the keys")
	s.sums = m.take(foursKeys, "sums of integers")
	s.x, s.quad = m.take(2, "integers of rows"), m.take(2, "four dims of two keys")
	s.acc = m.take(foursKeys/4, "sums")
	s.flip, s.order = m.one("sign bits"), m.one("places of scores")
	if s.elem == kernel.Int8 {
		s.factor, s.index = m.take(foursKeys/4, "scales of the keys"), m.take(1, "places of scales")
	} else {
		s.scales, s.index = m.one("scales of the keys"), m.take(4, "places of scales")
		s.notes = notes
	}
}

// rowsOperands makes the operands of rows.
func (s *fourScorer) rowsOperands() {
	const behind = kernel.Int8Block
	block := kernel.Int8BlockBytes(false)
	row, tmp := s.v[:4], s.v[4:]
	q, third, loop := s.key, s.rows, s.name("FoursRows")
	stride := s.int8Scorer.stride
	at := func(row, disp int) string {
		switch row {
		case 0:
			return mem(q, disp)
		case 3:
			return mem(third, disp)
		}
		return fmt.Sprintf("%d(%s)(%s*%d)", disp, q, stride, row)
	}
	// pair loads a number of two rows, twice.
	pair := func(first, disp int, v Vec) {
		x := low(v, "X")
		s.Op("VMOVD", at(first, disp), x)
		s.Op("VPINSRD", 1, at(first+1, disp), x, x)
		s.Op("VPUNPCKLQDQ", x, x, x)
	}
	s.load("Q", q)
	s.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", q, stride), third)
	s.Op(s.Add, stride, third)
	s.Op("LEAQ", mem(s.local, s.localFours()), s.ops)
	s.Loop(loop)
	for half := range s.dimsOf() / foursDims {
		for r, v := range row {
			if s.fourBits() {
				s.Op("VMOVDQU", at(r, 16*half), low(v, "X"))
				for b := 1; b < 4; b++ {
					s.Op("VINSERTI32X4", b, at(r, b*block+16*half), v, v)
				}
				continue
			}
			s.Op("VMOVDQU", at(r, 0), low(v, "Y"))
			s.Op("VINSERTI64X4", 1, at(r, block), v, v)
		}
		for p := range 2 {
			a, b := row[2*p], row[2*p+1]
			for i, unpack := range []string{"VPUNPCKLDQ", "VPUNPCKHDQ"} {
				s.Op(unpack, b, a, tmp[0])
				s.Op("VPSHUFD", 0x44, tmp[0], tmp[1])
				s.Op("VPSHUFD", 0xee, tmp[0], tmp[0])
				s.Op(s.Store, tmp[1], mem(s.ops, s.ints(4*half+2*i, p)))
				s.Op(s.Store, tmp[0], mem(s.ops, s.ints(4*half+2*i+1, p)))
			}
		}
	}
	for p := range 2 {
		for b := range s.blocksOf() {
			v := tmp[min(b, 1)]
			pair(2*p, b*block+behind+kernel.Int8Whole, v)
			if b > 0 {
				s.Op("VINSERTI32X4", b*4/s.blocksOf(), low(v, "X"), tmp[0], tmp[0])
			}
		}
		if s.elem == kernel.Q4_0 { // -8 times the sum of the integers
			s.Op("VPSRAD", 4, tmp[0], tmp[0])
		}
		s.Op(s.Store, tmp[0], mem(s.ops, s.whole(p)))
	}
	for b := range s.blocksOf() {
		for p, v := range tmp[:2] {
			pair(2*p, b*block+behind+kernel.Int8D, v)
		}
		s.Op("VINSERTI32X4", 1, low(tmp[1], "X"), tmp[0], tmp[0])
		s.Op("VINSERTI64X4", 1, low(tmp[0], "Y"), tmp[0], tmp[0])
		s.Op(s.Store, tmp[0], mem(s.ops, s.d(b)))
	}
	s.Op(s.Add, s.blocksOf()*block, q)
	s.Op(s.Add, s.blocksOf()*block, third)
	s.Op(s.Add, s.bytes(), s.ops)
	s.Op(s.Sub, s.dimsOf(), s.dims)
	s.Branch(s.Func, s.dims, "GT", "$0", loop)
}

// collectLines returns lines that copy the scales of what comes next to local memory.
func (s *fourScorer) collectLines() []string {
	return s.capture(func() {
		for i := range foursKeys {
			s.together(func() {
				s.Op(s.Mov, mem(s.nextOff, 8*i), s.tmp)
				s.Op(s.Add, s.nextKey, s.tmp)
				for b := range s.blocksOf() {
					to := mem(s.local, s.localScaleBits()+2*(b*foursKeys+i))
					x := s.scratchInt()
					s.LoadHalfInt(s.Func, mem(s.tmp, b*s.elem.RowBytes(kernel.Int8Block)), x)
					s.StoreHalfInt(s.Func, x, to)
				}
			})
		}
	})
}

func (s *fourScorer) scratchInt() Int { return s.third }

// dims64 adds the products of foursDims dims of foursKeys keys.
func (s *fourScorer) dims64() {
	if s.elem != kernel.Int8 {
		s.Op("VCVTPH2PS", mem(s.local, s.localScaleBits()), s.scales)
	}
	for i, v := range s.v {
		s.Op(s.Mov, mem(s.off, 8*i), s.tmp)
		if s.elem == kernel.Int8 {
			s.Op("VPXORD", s.AddressOf(s.Func, s.key, s.tmp, 0), s.flip, v)
			continue
		}
		at, block := quantsOf(s.elem), s.elem.RowBytes(kernel.Int8Block)
		s.Op("VMOVDQU", s.AddressOf(s.Func, s.key, s.tmp, at), low(v, "Y"))
		s.Op("VINSERTI64X4", 1, s.AddressOf(s.Func, s.key, s.tmp, block+at), v, v)
		s.Op("VPXORD", s.flip, v, v)
	}
	var lines []string
	if s.elem != kernel.Int8 {
		lines = s.collectLines()
	}
	s.products(lines, s.v)
	for g, acc := range s.acc {
		v, sums := s.v[4*g:][:4], s.sums[4*g:][:4]
		for pair := range 2 {
			a, b := sums[2*pair], sums[2*pair+1]
			s.Op("VSHUFF32X4", 0x88, b, a, v[2*pair])
			s.Op("VSHUFF32X4", 0xdd, b, a, v[2*pair+1])
			s.Op(s.AddInts, v[2*pair], v[2*pair+1], sums[pair])
		}
		for b, imm := range []int{0x88, 0xdd} {
			s.Op("VSHUFF32X4", imm, sums[1], sums[0], v[b])
			s.IntToFloat(s.Func, v[b], v[b])
		}
		for b := range 2 {
			factor := v[2+b]
			if s.elem == kernel.Int8 {
				s.Op(s.MulV, mem(s.ops, s.d(b)), s.factor[g], factor)
			} else {
				s.Op("VPERMPS", s.scales, s.index[2*b+g], factor)
				s.Op(s.MulV, mem(s.ops, s.d(b)), factor, factor)
			}
			s.Op(s.FMAV, v[b], factor, acc)
		}
	}
}

// products begins the sums anew, and adds the products of codes to them, each of which has four dims in each part, four times. It asks for
// rows ahead, and writes other lines between.
func (s *fourScorer) products(lines []string, codes ...[]Vec) {
	for i, v := range s.sums {
		s.Op(s.Load, mem(s.ops, s.whole(i%2)), v)
	}
	const pairs = foursKeys / 2
	turns := 4 * len(codes)
	for j := range turns {
		for p, x := range s.x {
			s.Op(s.Load, mem(s.ops, s.ints(j, p)), x)
		}
		v := codes[j/4]
		for pair := range pairs {
			quad := s.quad[pair%2]
			s.Op("VSHUFPS", 0x55*(j%4), v[2*pair+1], v[2*pair], quad)
			for p, x := range s.x {
				s.Op("VPDPBUSD", x, quad, s.sums[2*pair+p])
			}
			n, i := pairs*turns, j*pairs+pair
			s.write(lines[len(lines)*i/n : len(lines)*(i+1)/n])
		}
		if j%2 == 0 {
			s.some(s.rows, askedLines(s.elem), func(label string) string { return s.name("Fours%d%s", j, label) })
		}
	}
}

// dims128 adds the products of 128 dims of foursKeys keys of codes of 4 bits. A part of a vector has a block, of which lower codes are dims
// 0 to 15 and upper ones the others.
func (s *fourScorer) dims128() {
	for i, v := range s.blockScales {
		s.Op("VCVTPH2PS", mem(s.local, s.localScaleBits()+i*s.Bytes()/2), v)
	}
	places, mask := s.quad[0], s.quad[1]
	s.Op(s.Load, s.codesAt(), places)
	s.Op(s.Load, s.patternAt(0x0f0f0f0f), mask)
	for i, v := range s.v {
		s.Op(s.Mov, mem(s.off, 8*i), s.tmp)
		s.Op("VMOVDQU64", s.AddressOf(s.Func, s.key, s.tmp, 0), v)
		s.Op("VPERMT2W", s.AddressOf(s.Func, s.key, s.tmp, s.step()-s.Bytes()), places, v)
		s.Op("VPSRLW", 4, v, s.upper[i])
		s.Op("VPANDD", mask, v, v)
		s.Op("VPANDD", mask, s.upper[i], s.upper[i])
	}
	s.products(s.collectLines(), s.v, s.upper)
	for g, acc := range s.acc {
		v, factor, sums := s.v[4*g:][:4], s.upper[4*g:][:4], s.sums[4*g:][:4]
		parts := func(imm int, a, b, to Vec) { s.Op("VSHUFF32X4", imm, b, a, to) }
		for i := range 2 {
			parts(0x88, sums[2*i], sums[2*i+1], v[2*i]) // blocks 0 and 2
			parts(0xdd, sums[2*i], sums[2*i+1], v[2*i+1])
		}
		for i := range 2 {
			parts(0x88, v[i], v[2+i], sums[i])
			parts(0xdd, v[i], v[2+i], sums[2+i])
		}
		for b, sum := range sums {
			s.IntToFloat(s.Func, sum, sum)
			s.Op(s.Load, s.places(2*(b%2)+g), factor[b])
			s.Op("VPERMPS", s.blockScales[b/2], factor[b], factor[b])
			s.Op(s.MulV, mem(s.ops, s.d(b)), factor[b], factor[b])
			s.Op(s.FMAV, sum, factor[b], acc)
		}
	}
}

// codesAt returns where the codes of four blocks are in the first vector of a row and the last one, in words.
func (s *fourScorer) codesAt() string {
	block, all, vector := s.elem.RowBytes(kernel.Int8Block)/2, s.step()/2, s.Bytes()/2
	words := make([]uint32, vector/2)
	for i := range vector {
		at := i/8*block + quantsOf(s.elem)/2 + i%8
		if at >= vector {
			at += 2*vector - all
		}
		words[i/2] |= uint32(at) << (i % 2 * 16)
	}
	return s.patternAt(words...)
}
