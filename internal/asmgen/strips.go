package asmgen

import (
	"fmt"
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const multiplyStripsFormula = `
B[k] = values k of the lanes of the strips at Src
for parts of KC rows of B, the last of which may have fewer {
	for i := range Rows {
		acc = +0
		for k of the part {
			acc = fma(B[k], A[i*RowStride+k], acc)
		}
		C[i] = ((Add ? C[i] : +0) + (Bias != nil ? Bias : +0)) + acc
	}
	Add, Bias = true, nil
}
`

const dequantizeStripsFormula = `
for l := range Lanes, k := range Depth {
	Dst[k*Stride+l] = value k of lane l%Vec of the strip at Src + l/Vec*StripBytes
}
`

const (
	// stripAhead is how many bytes ahead of what it reads code that takes one part of a strip asks for more.
	stripAhead = 4096

	// stripNear is how many bytes ahead of what it reads code for one row asks once more, into the first-level
	// cache: what is in the second one alone is waited for.
	stripNear = 1024

	// stripCodes is how many values a row of codes has, and stripTurn how many rows of one value each a turn
	// of the loop takes.
	stripCodes, stripTurn = 8, 4

	// The local variables of strips, beside those of Dequantize.
	localDepth32 = localScales // values left
	localBias    = localBlock

	// The local vectors: what C is added to first, -0, which changes nothing, for the first part, then +0;
	// and d and -m of parts.
	localZero, localD = 0, 1
)

// strips is the body of MultiplyStrips and of DequantizeStrips: how the values of a strip are made is that of
// dequantizer, whose put takes them in order.
type strips struct {
	*dequantizer
	form kernel.StripForm
	w    kernel.Weight
	src  []Int // the first part, and the others where an address cannot have their distance
	a    []Int // rows of A, at the first part
	c    Int
	ints []Int // for src and a
	near int   // bytes ahead of what is read that are asked for once more, 0 if none are

	parts          int // at a time: the sum of a part is one chain, whose latency others hide
	acc            []Vec
	scales, adds   []Vec  // of parts
	brains         string // index of BrainLoad, if there is one
	power, minus   string
	part, at       int // which of the parts, and which of the turn's values, is made next
	partBytes, vec int
	numbers        func(q []Vec, half int, finish func())
}

// newStrips begins a function over strips.
func newStrips(f *Func) *strips {
	s := &strips{
		dequantizer: &dequantizer{Func: f, left: f.int("turns left, scratch"), count: f.int("values left of the part")},
		vec:         f.Lanes,
	}
	s.stripsLocals()
	return s
}

// stripsLocals lays out local memory: the link register of an architecture that has one, integers and
// vectors, and what is aligned.
func (s *strips) stripsLocals() {
	s.locals = 16 + localVectors + (localD+2*maxStreams)*s.Bytes()
	s.locals = (s.locals + 15) &^ 15
}

// keep copies fields to local variables.
func (s *strips) keep(fields ...any) {
	for i := 0; i < len(fields); i += 2 {
		s.load(fields[i].(string), s.count)
		s.Op(s.Mov, s.count, s.LocalAt(fields[i+1].(int)))
	}
}

// byType writes body for each type that is packed in strips, and those of the same code once.
func (s *strips) byType(body func()) {
	types := kernel.StripTypes()
	same := map[kernel.Weight]kernel.Weight{kernel.WeightQ5_0: kernel.WeightQ8_0}
	s.load("Type", s.left)
	for _, w := range types {
		label := w
		if other, ok := same[w]; ok {
			label = other
		}
		s.Branch(s.Func, s.left, "EQ", imm(int(w)), label.String())
	}
	s.Return(s.Func)
	for _, w := range types {
		if _, ok := same[w]; ok {
			continue
		}
		s.w, s.form, s.name = w, w.Strip(), w.String()
		s.partBytes = w.StripBytes(kernel.KC) * s.vec
		s.Label(s.name)
		body()
	}
}

// multiplyStrips writes MultiplyStrips.
func multiplyStrips(arch *Arch) *Func {
	f := newFunc(arch, "multiplyStrips", reflect.TypeFor[kernel.MultiplyStripsArgs](), multiplyStripsFormula)
	s := newStrips(f)
	s.c = f.int("C")
	s.ints = f.ints(kernel.MaxStripRows+1, "rows of A, parts of strips")
	s.put = s.multiplyAdd
	s.keep("Src", localSrc, "C", localDst, "Lanes", localLanes, "Bias", localBias)
	s.byType(func() {
		name := func(rows int) string { return fmt.Sprintf("%sRows%d", s.w, rows) }
		s.load("Rows", s.left)
		for rows := 1; rows < kernel.MaxStripRows; rows++ {
			s.Branch(s.Func, s.left, "EQ", imm(rows), name(rows))
		}
		for rows := kernel.MaxStripRows; rows > 0; rows-- {
			s.name = name(rows)
			s.Label(s.name)
			s.multiply(rows)
		}
	})
	return f
}

// mostParts returns how many parts so many rows of A go through at a time: as hide the latency of their
// sums, if there are registers for them.
func (s *strips) mostParts(rows int) int {
	n := 1
	switch {
	case rows == 1:
		n = 4
	case rows <= 4:
		n = 2
	}
	each, others := rows, 3 // of a part, and of all
	if s.form.SubBlock > 1 {
		each++
		if s.form.Min {
			each, others = each+1, others+1
		}
		if !s.form.Wide {
			others += 2
			if !s.MemoryOperands {
				others += 7
			}
		}
	}
	for n > 1 && n*each+others > len(s.Vectors) {
		n /= 2
	}
	return n
}

// multiply writes all for so many rows of A.
func (s *strips) multiply(rows int) {
	label := func(what string) string { return fmt.Sprintf("%s%sBy%d", s.name, what, s.parts) }
	s.a = s.ints[:rows]
	strip := s.name + "Strip"
	s.Label(strip)
	s.begin(rows)
	s.Op(s.Mov, s.LocalAt(localSrc), s.ints[rows])
	s.load("A", s.a[0])
	s.loadBytes("RowStride", s.left)
	for r := 1; r < rows; r++ {
		s.Op(s.Mov, s.a[r-1], s.a[r])
		s.Op(s.Add, s.left, s.a[r])
	}
	s.load("Depth", s.left)
	s.Op(s.Mov, s.left, s.LocalAt(localDepth32))
	for s.parts = s.mostParts(rows); s.parts > 0; s.parts /= 2 {
		if s.parts == 2 && s.mostParts(rows) > 2 && s.form.SubBlock == 1 {
			continue // of 16 bits one chain takes as many bytes as memory gives
		}
		s.registers(rows)
		s.src = s.ints[rows:][:s.parts]
		if s.MemoryOperands {
			s.src = s.src[:1]
		}
		s.ahead = stripAhead
		if s.parts > 1 {
			s.ahead = s.parts * s.partBytes
		}
		s.near = 0
		if codes := s.form.SubBlock > 1 && !s.form.Wide; rows == 1 && s.MemoryOperands && !(codes && 4*s.vec < cacheLine) {
			s.near = stripNear // where arithmetic does not bind
		}
		for p := 1; p < len(s.src); p++ {
			s.Op(s.Mov, s.src[p-1], s.src[p])
			s.Op(s.Add, s.partBytes, s.src[p])
		}
		next, done := label("Next"), label("Done")
		s.Label(next)
		s.Op(s.Mov, s.LocalAt(localDepth32), s.left)
		if s.parts > 1 {
			s.Branch(s.Func, s.left, "LT", imm(s.parts*kernel.KC), done)
			s.Op(s.Mov, kernel.KC, s.count)
		} else {
			s.Branch(s.Func, s.left, "LE", "$0", done)
			s.Op(s.Mov, s.left, s.count)
			s.Branch(s.Func, s.left, "LE", imm(kernel.KC), label("Part"))
			s.Op(s.Mov, kernel.KC, s.count)
			s.Label(label("Part"))
		}
		s.Op(s.Sub, s.parts*kernel.KC, s.left)
		s.Op(s.Mov, s.left, s.LocalAt(localDepth32))
		for _, v := range s.acc {
			s.Zero(s.Func, v)
		}
		s.values(label)
		s.addParts(rows)
		if s.parts > 1 {
			for _, p := range s.src {
				s.Op(s.Add, (s.parts-1)*s.partBytes, p)
			}
			for _, p := range s.a {
				s.Op(s.Add, 4*(s.parts-1)*kernel.KC, p)
			}
		}
		s.Jump(next)
		s.Label(done)
	}
	s.nextStrip(strip, "StripBytes", s.Bytes())
	s.Return(s.Func)
}

// nextStrip moves on to the next strip, and jumps to a label if there is one.
func (s *strips) nextStrip(label, bytes string, dst int) {
	s.load(bytes, s.count)
	s.move(localSrc, s.count)
	s.Op(s.Mov, dst, s.count)
	s.move(localDst, s.count)
	s.Op(s.Mov, s.LocalAt(localLanes), s.count)
	s.Op(s.Sub, s.vec, s.count)
	s.Op(s.Mov, s.count, s.LocalAt(localLanes))
	s.Branch(s.Func, s.count, "NE", "$0", label)
}

// registers shares out the vector registers for so many rows of A and the parts.
func (s *strips) registers(rows int) {
	m := s.vectors(fmt.Sprintf("%s, %d parts at a time:", s.name, s.parts))
	s.m = m
	s.acc = m.take(rows*s.parts, "sums")
	s.v, s.tmp = m.one("values"), m.one("scratch")
	s.scales, s.adds, s.quad, s.numbers, s.power, s.minus = nil, nil, nil, nil, "", ""
	if s.brains = ""; s.w == kernel.WeightBFloat16 && rows > 0 && s.BrainLoad != nil {
		s.brains = s.pattern("lanes of bfloat16", s.BrainIndex...)
	}
	if s.form.SubBlock == 1 {
		return
	}
	s.scales = m.take(s.parts, "scales")
	if s.form.Min {
		s.adds = m.take(s.parts, "what is added")
		s.spare = m.one("scratch")
	}
	power := 0
	if !s.form.Wide {
		s.quad, s.code = m.take(1, "codes"), m.one("some of them")
		s.numbers = s.nibbleCodes(s.w)
		switch {
		case s.Lookup != nil:
		case s.w == kernel.WeightQ4_0:
			power = -topBits - 4
		default:
			power = -topBits
		}
	}
	if power != 0 {
		s.power = s.dequantizer.power(power)
	}
	if s.form.Fine && s.form.Min {
		s.minus = s.pattern("-1", math.Float32bits(-1))
	}
}

// begin puts what the first part is added to into C.
func (s *strips) begin(rows int) {
	v, x, zero := s.Vectors[0], s.Vectors[1], s.Vectors[2]
	stride, add := s.ints[0], s.ints[1]
	s.Broadcast(s.Func, s.constant(float32(math.Copysign(0, -1))), zero)
	s.Op(s.Store, zero, s.LocalAt(localVectors+localZero*s.Bytes()))
	s.Zero(s.Func, zero)
	s.Zero(s.Func, v)
	s.Op(s.Mov, s.LocalAt(localBias), s.left)
	s.Branch(s.Func, s.left, "EQ", "$0", s.name+"Biased")
	s.Op(s.Load, mem(s.left, 0), v)
	s.Op(s.Add, s.Bytes(), s.left)
	s.Op(s.Mov, s.left, s.LocalAt(localBias))
	s.Label(s.name + "Biased")
	s.Op(s.Mov, s.LocalAt(localDst), s.c)
	s.loadBytes("Stride", stride)
	s.LoadByte(s.Func, s.arg("Add"), add)
	s.note("a.Add")
	s.Op(s.Mov, rows, s.count)
	s.Label(s.name + "Begin")
	s.Op(s.Copy, zero, x)
	s.Branch(s.Func, add, "EQ", "$0", s.name+"Added")
	s.Op(s.Load, mem(s.c, 0), x)
	s.Label(s.name + "Added")
	s.Op(s.AddV, v, x, x)
	s.Op(s.Store, x, mem(s.c, 0))
	s.Op(s.Add, stride, s.c)
	s.Countdown(s.count, s.name+"Begin")
}

// load16 loads numbers of 16 bits.
func (s *strips) load16(addr string) {
	if s.brains != "" {
		s.BrainLoad(s.Func, s.brains, addr, s.v)
	} else {
		s.LoadElem(s.Func, s.form.Elem, addr, s.v)
	}
}

// addParts adds the sums of parts to C, one after the other.
func (s *strips) addParts(rows int) {
	if s.brains != "" {
		for _, v := range s.acc {
			s.BrainOrder(s.Func, v)
		}
	}
	x, zero := s.v, s.tmp
	s.Op(s.Mov, s.LocalAt(localDst), s.c)
	s.loadBytes("Stride", s.left)
	s.Op(s.Load, s.LocalAt(localVectors+localZero*s.Bytes()), zero)
	for r := range rows {
		sum := s.acc[r*s.parts]
		s.Op(s.Load, mem(s.c, 0), x)
		s.Op(s.AddV, zero, x, x)
		s.Op(s.AddV, x, sum, sum)
		if s.parts == 1 {
			s.Op(s.Store, sum, mem(s.c, 0))
		}
		if r < rows-1 {
			s.Op(s.Add, s.left, s.c)
		}
	}
	s.Zero(s.Func, zero)
	s.Op(s.Store, zero, s.LocalAt(localVectors+localZero*s.Bytes()))
	if s.parts == 1 {
		return
	}
	if rows > 1 {
		s.Op(s.Mov, s.LocalAt(localDst), s.c)
	}
	for r := range rows {
		sum := s.acc[r*s.parts]
		for _, next := range s.acc[r*s.parts+1:][:s.parts-1] {
			s.Op(s.AddV, zero, sum, sum)
			s.Op(s.AddV, next, sum, sum)
		}
		s.Op(s.Store, sum, mem(s.c, 0))
		if r < rows-1 {
			s.Op(s.Add, s.left, s.c)
		}
	}
}

// multiplyAdd is put of MultiplyStrips.
func (s *strips) multiplyAdd(v Vec) {
	for r, a := range s.a {
		s.FMABroadcast(s.Func, mem(a, 4*(s.part*kernel.KC+s.at)), v, s.acc[r*s.parts+s.part], s.tmp)
	}
	s.at++
}

// values writes what makes count values of each part and moves on.
func (s *strips) values(label func(what string) string) {
	if s.form.SubBlock == 1 {
		s.elements16(label)
		return
	}
	if s.form.Fine {
		s.fineHead()
	}
	subBlock, turn := label("SubBlock"), label("Turn")
	s.Op(s.Add, 0, s.count) // between the label of a jump forward and the loop
	s.Loop(subBlock)
	s.subBlockHead()
	bytes, values := s.turn()
	s.Op(s.Mov, s.form.SubBlock/values, s.left)
	s.Loop(turn)
	s.askParts(bytes)
	if s.form.Wide {
		for i := range values {
			for s.part = range s.parts {
				s.at = i
				s.LoadElem(s.Func, kernel.Int8, s.strip(s.part, i*s.vec), s.v)
				s.finish()
				s.put(s.v)
			}
		}
	} else {
		for s.part = range s.parts {
			s.at = 0
			for row := 0; row < bytes; row += 4 * s.vec {
				s.Op(s.Load, s.strip(s.part, row), s.quad[0])
				for half := range 2 {
					s.numbers(s.quad, half, s.finish)
				}
			}
		}
	}
	s.turned(bytes, values)
	s.Op(s.Sub, 1, s.left)
	s.Branch(s.Func, s.left, "NE", "$0", turn)
	s.Op(s.Sub, s.form.SubBlock, s.count)
	s.Branch(s.Func, s.count, "GT", "$0", subBlock)
}

// turn returns how many bytes of a strip a turn of the loop takes, and how many values: for one row at least a
// line of the cache.
func (s *strips) turn() (bytes, values int) {
	bytes, values = stripTurn*s.vec, stripTurn
	if !s.form.Wide {
		bytes, values = 4*s.vec, stripCodes
	}
	if s.near > 0 && bytes < cacheLine {
		return cacheLine, values * cacheLine / bytes
	}
	return bytes, values
}

// turned moves on by bytes of strips and by values.
func (s *strips) turned(bytes, values int) {
	for _, p := range s.src {
		s.Op(s.Add, bytes, p)
	}
	for _, p := range s.a {
		s.Op(s.Add, 4*values, p)
	}
}

// askParts prefetches what comes next of so many bytes of each part, into the second-level cache: what is under
// way to the first one is less than memory has to be asked for at once.
func (s *strips) askParts(bytes int) {
	for p := range s.parts {
		for line := 0; line < bytes; line += cacheLine {
			s.Prefetch(s.Func, s.strip(p, s.ahead+line))
			if s.near > 0 {
				s.PrefetchNear(s.Func, s.strip(p, s.near+line))
			}
		}
	}
}

// strip returns the address of a byte of a part from where it is read on.
func (s *strips) strip(part, disp int) string {
	if len(s.src) == 1 {
		return mem(s.src[0], part*s.partBytes+disp)
	}
	return mem(s.src[part], disp)
}

// askHead prefetches what comes next of a head of so many bytes of each part, where the turns behind it do not
// come to all of its lines.
func (s *strips) askHead(bytes int) {
	if turn, _ := s.turn(); turn >= cacheLine {
		s.askParts(bytes)
	}
}

// finish scales what is made of a code or an integer.
func (s *strips) finish() {
	s.scale = s.scales[s.part]
	if s.w == kernel.WeightMXFP4 && s.Lookup == nil { // a scale may be too small to be made smaller
		s.Op(s.MulV, s.power, s.v, s.v)
	}
	if s.form.Min {
		s.add = s.adds[s.part]
		s.scaledAndAdded()
	} else {
		s.scaled()
	}
}

// smaller multiplies a scale by what codes are too large by.
func (s *strips) smaller(scale Vec) {
	if s.power != "" && s.w != kernel.WeightMXFP4 {
		s.Op(s.MulV, s.power, scale, scale)
	}
}

// localPart returns the address of d of a part, or of -m.
func (s *strips) localPart(p, which int) string {
	return s.LocalAt(localVectors + (localD+which*maxStreams+p)*s.Bytes())
}

// fineHead stores d and -m of a block of each part.
func (s *strips) fineHead() {
	s.askHead(s.form.Head() * s.vec)
	for p := range s.parts {
		s.LoadElem(s.Func, s.form.Elem, s.strip(p, 0), s.v)
		s.smaller(s.v)
		s.Op(s.Store, s.v, s.localPart(p, 0))
		if s.form.Min {
			s.LoadElem(s.Func, s.form.Elem, s.strip(p, 2*s.vec), s.v)
			s.Op(s.MulV, s.minus, s.v, s.v)
			s.Op(s.Store, s.v, s.localPart(p, 1))
		}
	}
	s.turned(s.form.Head()*s.vec, 0)
}

// subBlockHead loads the scales of a sub-block of each part, and what is added.
func (s *strips) subBlockHead() {
	bytes := s.form.Head()
	if s.form.Fine {
		bytes = s.form.SubBlockHead()
	}
	s.askHead(bytes * s.vec)
	for p := range s.parts {
		to := [][]Vec{s.scales, s.adds}
		for i, v := range to {
			switch {
			case len(v) == 0:
			case s.form.Fine:
				s.LoadElem(s.Func, kernel.Int8, s.strip(p, i*s.vec), v[p])
				s.Op(s.Load, s.localPart(p, i), s.tmp)
				s.Op(s.MulV, s.tmp, v[p], v[p])
			default:
				s.LoadElem(s.Func, s.form.Elem, s.strip(p, 2*i*s.vec), v[p])
				if i == 0 {
					s.smaller(v[p])
				}
			}
		}
	}
	for _, p := range s.src {
		s.Op(s.Add, bytes*s.vec, p)
	}
}

// elements16 is values of a type of 16 bits.
func (s *strips) elements16(label func(what string) string) {
	turn, tail, one, end := label("Turn"), label("Tail"), label("One"), label("End")
	body := func(n int) {
		for i := range n {
			for s.part = range s.parts {
				s.at = i
				s.load16(s.strip(s.part, 2*i*s.vec))
				s.put(s.v)
			}
		}
		s.turned(2*n*s.vec, n)
		s.Op(s.Sub, n, s.count)
	}
	if s.parts == 1 {
		s.Branch(s.Func, s.count, "LT", imm(stripTurn), tail)
	}
	s.Op(s.Add, 0, s.count) // between the label of a jump forward and the loop
	s.Loop(turn)
	s.askParts(2 * stripTurn * s.vec)
	body(stripTurn)
	s.Branch(s.Func, s.count, "GE", imm(stripTurn), turn)
	if s.parts > 1 {
		return
	}
	s.Label(tail)
	s.Branch(s.Func, s.count, "EQ", "$0", end)
	s.Label(one)
	body(1)
	s.Branch(s.Func, s.count, "NE", "$0", one)
	s.Label(end)
}

// dequantizeStrips writes DequantizeStrips.
func dequantizeStrips(arch *Arch) *Func {
	f := newFunc(arch, "dequantizeStrips", reflect.TypeFor[kernel.DequantizeStripsArgs](), dequantizeStripsFormula)
	s := newStrips(f)
	s.dst, s.dstStride = f.int("Dst"), f.int("bytes from row to row of Dst")
	s.src = f.ints(1, "strip")
	s.put = s.store
	s.keep("Src", localSrc, "Dst", localDst, "Lanes", localLanes)
	f.loadBytes("Stride", s.dstStride)
	s.byType(func() {
		s.parts, s.ahead = 1, s.partBytes
		s.registers(0)
		s.Label(s.name + "Strip")
		s.Op(s.Mov, s.LocalAt(localSrc), s.src[0])
		s.Op(s.Mov, s.LocalAt(localDst), s.dst)
		s.load("Depth", s.count)
		s.values(func(what string) string { return s.name + what })
		s.nextStrip(s.name+"Strip", "StripBytes", s.Bytes())
		s.Return(s.Func)
	})
	return f
}
