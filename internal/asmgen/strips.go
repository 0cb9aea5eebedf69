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

	// wideAhead is stripAhead of strips of two vectors.
	wideAhead = 16 << 10

	// stripNear is how many bytes ahead of what it reads code for one row asks once more, into the first-level
	// cache: what is in the second one alone is waited for.
	stripNear = 1024

	// wideNear is how many bytes ahead code for few rows by strips of two vectors asks, if it asks into the first-level
	// cache alone, and nearRows the most rows that do, of types of 16 bits: of others one does.
	wideNear, nearRows = 4096, 2

	// stripCodes is how many values a row of codes has, and stripTurn how many rows of one value each a turn
	// of the loop takes.
	stripCodes, stripTurn = 8, 4

	// The local variables of strips, beside those of Dequantize.
	localDepth32 = localScales // values left
	localBias    = localBlock

	// The local vectors: what C is added to first, -0, which changes nothing, for the first part, then +0;
	// and of the vectors of parts d, -m and what is added.
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
	seq  Int   // what is asked for next, if requests are for the first-level cache alone

	parts          int   // at a time: the sum of a part is one chain, whose latency others hide
	first, vecs    int   // vectors of a strip that are made at a time
	acc            []Vec // of rows, and of each the vectors of parts
	values         []Vec // of the vectors of a part
	codes          []Vec
	scales, adds   []Vec  // of the vectors of parts, in registers or in memory
	inMemory       bool   // adds, or scales where there are none
	brains         string // index of BrainLoad, if there is one
	power, minus   string
	part, j        int // which of the parts, and of the vectors, is made next
	partBytes, vec int // of a strip, and lanes of it
	nibbler        nibbler
	ones           string       // all bits of an exponent, where codes are linear and made numbers in mantissas
	offset         float32      // of those codes
	made           func(at int) // takes the values of the vectors of a part, of a row of the turn

	// Where there is FMAElement, and where there is TopsToFloat, if there are registers.
	xs     []Vec             // four elements of each row of A and part
	bytes  []Vec             // integers of a turn, of each part
	index  [stripTurn]string // of Shuffle, for each row of the turn
	single bool              // a turn is of one row
}

// newStrips begins a function over strips.
func newStrips(f *Func) *strips {
	s := &strips{
		dequantizer: &dequantizer{Func: f, left: f.int("turns left, scratch"), count: f.int("values left of the part")},
	}
	s.stripsLocals()
	return s
}

// stripsLocals lays out local memory: the link register of an architecture that has one, integers and
// vectors, and what is aligned.
func (s *strips) stripsLocals() {
	s.locals = 16 + localVectors + (localD+3*maxStreams)*s.Bytes()
	s.locals = (s.locals + 15) &^ 15
}

// keep copies fields to local variables.
func (s *strips) keep(fields ...any) {
	for i := 0; i < len(fields); i += 2 {
		s.load(fields[i].(string), s.count)
		s.Op(s.Mov, s.count, s.LocalAt(fields[i+1].(int)))
	}
}

// stripVectors is the vectors of a strip of columns that fill lane groups.
func (arch *Arch) stripVectors() int {
	if arch.MaxVectors()%2 == 0 { // so that a lane group has whole strips
		return 2
	}
	return 1
}

// byType writes body for strips of one vector and of two, and of both for each type that is packed in strips.
func (s *strips) byType(body func()) {
	if n := s.stripVectors(); n > 1 {
		s.load("Vec", s.left)
		s.Branch(s.Func, s.left, "EQ", imm(n*s.Lanes), "wide")
	}
	for vecs := 1; vecs <= s.stripVectors(); vecs++ {
		s.vec, s.vecs, s.first = vecs*s.Lanes, vecs, 0
		prefix := ""
		if vecs > 1 {
			prefix = "wide"
			s.Label(prefix)
		}
		s.typesOf(prefix, body)
	}
}

// typesOf writes body for each type, and those of the same code once.
func (s *strips) typesOf(prefix string, body func()) {
	types := kernel.StripTypes()
	same := map[kernel.Weight]kernel.Weight{kernel.WeightQ5_0: kernel.WeightQ8_0}
	s.load("Type", s.left)
	for _, w := range types {
		label := w
		if other, ok := same[w]; ok {
			label = other
		}
		s.Branch(s.Func, s.left, "EQ", imm(int(w)), prefix+label.String())
	}
	s.Return(s.Func)
	for _, w := range types {
		if _, ok := same[w]; ok {
			continue
		}
		s.w, s.form, s.name = w, w.Strip(), prefix+w.String()
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
	s.made = s.multiplyAdd
	s.keep("Src", localSrc, "C", localDst, "Lanes", localLanes, "Bias", localBias)
	s.byType(func() {
		typ := s.name
		name := func(rows int) string { return fmt.Sprintf("%sRows%d", typ, rows) }
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

// vectorsOf returns how many vector registers so many rows of A need with so many parts and vectors at a time.
func (s *strips) vectorsOf(rows, parts, vecs int) int {
	units := parts * vecs
	n := rows*units + vecs + 1 // sums, values, scratch
	if s.brainOrder(rows) {
		n++
	}
	if s.form.SubBlock == 1 {
		return n
	}
	if !s.inMemory || s.form.Min {
		n += units // scales
	}
	if s.form.Min {
		n++
		if !s.inMemory {
			n += units
		}
	}
	if s.form.Wide {
		return n
	}
	n += vecs // codes
	if s.Lookup == nil {
		n += vecs
	}
	if !s.MemoryOperands { // constants
		n += 8
	} else if s.w == kernel.WeightIQ4_NL || s.w == kernel.WeightMXFP4 {
		n++
	}
	return n
}

// brainOrder reports whether sums of so many rows of A have their lanes in the order of BrainLoad.
func (s *strips) brainOrder(rows int) bool {
	return s.w == kernel.WeightBFloat16 && rows > 0 && s.BrainLoad != nil
}

// share chooses how many parts and vectors so many rows of A go through at a time: as hide the latency of their sums, if there
// are registers for them.
func (s *strips) share(rows int) (most int) {
	total := s.vec / s.Lanes
	fits := func(parts, vecs int) bool {
		s.inMemory = false
		if s.vectorsOf(rows, parts, vecs) <= len(s.Vectors) {
			return true
		}
		s.inMemory = s.MemoryOperands && s.form.SubBlock > 1
		return s.inMemory && s.vectorsOf(rows, parts, vecs) <= len(s.Vectors)
	}
	for s.vecs = total; s.vecs > 1 && !fits(1, s.vecs); {
		s.vecs--
	}
	most = 1
	switch {
	case rows == 1 && total == 1:
		most = 4
	case rows == 1, rows <= 4 && total == 1:
		most = 2
	}
	for most > 1 && !fits(most, s.vecs) {
		most /= 2
	}
	fits(most, s.vecs)
	return most
}

// multiply writes all for so many rows of A.
func (s *strips) multiply(rows int) {
	name, total := s.name, s.vec/s.Lanes
	if total == 1 || rows > nearRows || rows > 1 && s.form.SubBlock > 1 {
		s.multiplyAsking(rows, false)
		return
	}
	near := name + "Near"
	s.LoadByte(s.Func, s.arg("Near"), s.left)
	s.note("a.Near")
	s.Branch(s.Func, s.left, "NE", "$0", near)
	s.multiplyAsking(rows, false)
	s.Label(near)
	s.name = near
	s.multiplyAsking(rows, true)
}

// multiplyAsking is multiply that asks for strips into the first-level cache alone, or not.
func (s *strips) multiplyAsking(rows int, near bool) {
	name, strip := s.name, s.name+"Strip"
	s.a = s.ints[:rows]
	s.Label(strip)
	most, total := s.share(rows), s.vec/s.Lanes
	if near && s.form.SubBlock == 1 && s.Lanes*s.vecs*2 >= cacheLine {
		most = 1 // two chains take as many bytes as memory gives, from one stream
	}
	for s.first = 0; s.first < total; s.first += s.vecs {
		if s.name = name; s.first > 0 {
			s.name = fmt.Sprintf("%sVector%d", name, s.first)
		}
		s.strip(rows, most, near)
		if s.first+s.vecs < total {
			s.Op(s.Mov, s.vecs*s.Bytes(), s.count)
			s.move(localDst, s.count)
		}
	}
	s.nextStrip(strip, s.vecs*s.Bytes())
	s.Return(s.Func)
}

// strip writes the products by vectors of a strip, with up to most parts at a time.
func (s *strips) strip(rows, most int, near bool) {
	label := func(what string) string { return fmt.Sprintf("%s%sBy%d", s.name, what, s.parts) }
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
	for s.parts = most; s.parts > 0; s.parts /= 2 {
		if s.parts == 2 && most > 2 && s.form.SubBlock == 1 {
			continue // of 16 bits one chain takes as many bytes as memory gives
		}
		s.registers(rows)
		s.src = s.ints[rows:][:s.parts]
		if s.MemoryOperands {
			s.src = s.src[:1]
		}
		s.asking(rows, near)
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
		if s.seq != "" {
			s.Op(s.Mov, s.src[0], s.seq)
			s.Op(s.Add, s.ahead, s.seq)
		}
		for _, v := range s.acc {
			s.Zero(s.Func, v)
		}
		s.turns(label)
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
}

// asking chooses how what comes next is asked for.
func (s *strips) asking(rows int, near bool) {
	codes, wide := s.form.SubBlock > 1 && !s.form.Wide, s.vec > s.Lanes
	s.near, s.seq = 0, ""
	s.ahead = stripAhead
	if wide {
		s.ahead = wideAhead
	}
	if s.parts > 1 {
		s.ahead = s.parts * s.partBytes
	}
	if near {
		s.seq = s.ints[len(s.ints)-1]
		if s.parts == 1 {
			s.ahead = wideNear
		}
		return
	}
	if rows == 1 && s.MemoryOperands && !(codes && (wide || 4*s.vec < cacheLine)) {
		s.near = stripNear // where arithmetic does not bind
	}
}

// nextStrip moves on to the next strip, and jumps to a label if there is one.
func (s *strips) nextStrip(label string, dst int) {
	s.load("StripBytes", s.count)
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
	units := s.parts * s.vecs
	s.xs, s.bytes, s.index = nil, nil, [stripTurn]string{}
	defer s.moreRegisters(rows)
	s.acc = m.take(rows*units, "sums")
	s.values, s.tmp = m.take(s.vecs, "values"), m.one("scratch")
	s.scales, s.adds, s.quad, s.codes, s.nibbler, s.power, s.minus = nil, nil, nil, nil, nibbler{}, "", ""
	if s.brains = ""; s.brainOrder(rows) {
		s.brains = s.pattern("lanes of bfloat16", s.BrainIndex...)
	}
	if s.form.SubBlock == 1 {
		return
	}
	inMemory := func() (all []Vec) {
		for u := range units {
			all = append(all, Vec(s.localUnit(u, 2)))
		}
		return all
	}
	if s.inMemory && !s.form.Min {
		s.scales = inMemory()
	} else {
		s.scales = m.take(units, "scales")
	}
	if s.form.Min {
		if s.inMemory {
			s.adds = inMemory()
		} else {
			s.adds = m.take(units, "what is added")
		}
		s.spare = m.one("scratch")
	}
	power := 0
	if !s.form.Wide {
		if s.quad = m.take(s.vecs, "codes"); s.Lookup == nil {
			s.codes = m.take(s.vecs, "some of them")
		}
		s.offset, s.ones = s.linear()
		if s.ones == "" {
			s.nibbler = s.nibbleCodes(s.w)
		}
		switch {
		case s.Lookup != nil, s.ones != "":
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

// moreRegisters shares out what is left of the vector registers, of vectors of four lanes.
func (s *strips) moreRegisters(rows int) {
	if s.form.Wide && s.TopsToFloat != nil && len(s.m.free) >= s.parts+stripTurn {
		s.bytes = s.m.take(s.parts, "integers")
		for i := range s.index {
			w := uint32(4*i)<<24 | 0x808080 // beyond the vector: 0
			s.index[i] = s.pattern(fmt.Sprintf("row %d", i), w, w+1<<24, w+2<<24, w+3<<24)
		}
	}
	if n := rows * s.parts; s.FMAElement != nil && n > 0 && len(s.m.free) >= n {
		s.xs = s.m.take(n, "elements of A")
	}
}

// begin puts what the first part is added to into C.
func (s *strips) begin(rows int) {
	x, zero, bias := s.Vectors[0], s.Vectors[1], s.Vectors[2:][:s.vecs]
	stride, add := s.ints[0], s.ints[1]
	s.Broadcast(s.Func, s.constant(float32(math.Copysign(0, -1))), zero)
	s.Op(s.Store, zero, s.LocalAt(localVectors+localZero*s.Bytes()))
	s.Zero(s.Func, zero)
	for _, v := range bias {
		s.Zero(s.Func, v)
	}
	s.Op(s.Mov, s.LocalAt(localBias), s.left)
	s.Branch(s.Func, s.left, "EQ", "$0", s.name+"Biased")
	for j, v := range bias {
		s.Op(s.Load, mem(s.left, j*s.Bytes()), v)
	}
	s.Op(s.Add, s.vecs*s.Bytes(), s.left)
	s.Op(s.Mov, s.left, s.LocalAt(localBias))
	s.Label(s.name + "Biased")
	s.Op(s.Mov, s.LocalAt(localDst), s.c)
	s.loadBytes("Stride", stride)
	s.LoadByte(s.Func, s.arg("Add"), add)
	s.note("a.Add")
	s.Op(s.Mov, rows, s.count)
	s.Label(s.name + "Begin")
	for j, v := range bias {
		added := fmt.Sprintf("%sAdded%d", s.name, j)
		s.Op(s.Copy, zero, x)
		s.Branch(s.Func, add, "EQ", "$0", added)
		s.Op(s.Load, mem(s.c, j*s.Bytes()), x)
		s.Label(added)
		s.Op(s.AddV, v, x, x)
		s.Op(s.Store, x, mem(s.c, j*s.Bytes()))
	}
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
	x, zero, units := s.values[0], s.tmp, s.parts*s.vecs
	s.Op(s.Mov, s.LocalAt(localDst), s.c)
	s.loadBytes("Stride", s.left)
	s.Op(s.Load, s.LocalAt(localVectors+localZero*s.Bytes()), zero)
	for r := range rows {
		for j := range s.vecs {
			sum := s.acc[r*units+j]
			s.Op(s.Load, mem(s.c, j*s.Bytes()), x)
			s.Op(s.AddV, zero, x, x)
			s.Op(s.AddV, x, sum, sum)
			if s.parts == 1 {
				s.Op(s.Store, sum, mem(s.c, j*s.Bytes()))
			}
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
		for j := range s.vecs {
			sum := s.acc[r*units+j]
			for p := 1; p < s.parts; p++ {
				s.Op(s.AddV, zero, sum, sum)
				s.Op(s.AddV, s.acc[r*units+p*s.vecs+j], sum, sum)
			}
			s.Op(s.Store, sum, mem(s.c, j*s.Bytes()))
		}
		if r < rows-1 {
			s.Op(s.Add, s.left, s.c)
		}
	}
}

// multiplyAdd is made of MultiplyStrips.
func (s *strips) multiplyAdd(at int) {
	units := s.parts * s.vecs
	for r, a := range s.a {
		x, acc := mem(a, 4*(s.part*kernel.KC+at)), s.acc[r*units+s.part*s.vecs:][:s.vecs]
		if len(s.xs) > 0 && !s.single {
			four := s.xs[r*s.parts+s.part]
			if at%4 == 0 {
				s.Op(s.Load, x, four)
			}
			s.FMAElement(s.Func, four, at%4, s.values[0], acc[0])
			continue
		}
		if s.vecs == 1 {
			s.FMABroadcast(s.Func, x, s.values[0], acc[0], s.tmp)
			continue
		}
		s.Op(s.Element, x, s.tmp)
		for j, v := range s.values {
			s.FMA(s.Func, s.tmp, v, acc[j])
		}
	}
}

// turns writes what makes count values of each part and moves on.
func (s *strips) turns(label func(what string) string) {
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
				s.each(func(v Vec) {
					s.wideRow(i, v)
					s.finish()
				})
				s.made(i)
			}
		}
	} else {
		for s.part = range s.parts {
			for row := 0; row < bytes; row += 4 * s.vec {
				s.codesOf(row)
			}
		}
	}
	s.turned(bytes, values)
	s.Op(s.Sub, 1, s.left)
	s.Branch(s.Func, s.left, "NE", "$0", turn)
	s.Op(s.Sub, s.form.SubBlock, s.count)
	s.Branch(s.Func, s.count, "GT", "$0", subBlock)
}

// wideRow loads a row of integers of the turn.
func (s *strips) wideRow(i int, v Vec) {
	if s.bytes == nil {
		s.LoadElem(s.Func, kernel.Int8, s.row(i*s.vec, 1), v)
		return
	}
	all := s.bytes[s.part]
	if i == 0 {
		s.Op(s.Load, s.row(0, 1), all)
	}
	s.Shuffle(s.Func, s.index[i], all, v)
	s.TopsToFloat(s.Func, v)
}

// codesOf makes the values of a row of codes, so many bytes ahead in the part.
func (s *strips) codesOf(row int) {
	if s.ones != "" {
		s.linearOf(row)
		return
	}
	codes := make([]Vec, s.vecs)
	s.each(func(Vec) { s.Op(s.Load, s.row(row, 4), s.quad[s.j]) })
	for half := range 2 {
		s.each(func(Vec) {
			to := Vec("")
			if s.codes != nil {
				to = s.codes[s.j]
			}
			codes[s.j] = s.nibbler.codes(s.quad[s.j], half, to)
		})
		for b := range 4 {
			s.each(func(v Vec) {
				s.nibbler.number(codes[s.j], half, b, v)
				s.finish()
			})
			s.made(row/(4*s.vec)*stripCodes + 4*half + b)
		}
	}
}

// linear returns what codes of a type have added to the number that they stand for, and all bits of an exponent, if they are to be
// made numbers in mantissas: with a table in a register they are looked up.
func (s *strips) linear() (offset float32, ones string) {
	switch {
	case s.Lookup != nil || !s.MemoryOperands:
	case s.w == kernel.WeightQ4_0:
		return 8, s.pattern("exponents", 0x7f800000)
	case s.w == kernel.WeightQ4_1, s.w == kernel.WeightQ4_K:
		return 0, s.pattern("exponents", 0x7f800000)
	}
	return 0, ""
}

// linearOf is codesOf where codes are made numbers in mantissas. Beside all ones in the place of the exponent, one mask leaves
// code q at bit n and the exponent of 2^(23-n), which is 2^(23-n) + q. That and the offset of codes are subtracted, which is exact, so 0 is +0.
func (s *strips) linearOf(row int) {
	const upper = 16 // codes from here on are shifted, as the exponent begins at bit 23
	s.each(func(Vec) {
		s.Op(s.Load, s.row(row, 4), s.quad[s.j])
		s.Op(s.ShrV, upper, s.quad[s.j], s.codes[s.j])
		s.Op(s.OrV, s.ones, s.codes[s.j], s.codes[s.j])
		s.Op(s.OrV, s.ones, s.quad[s.j], s.quad[s.j])
	})
	for i := range stripCodes {
		at, from := 8*(i%4)+4*(i/4), s.quad
		if at > upper {
			at, from = at-upper, s.codes
		}
		one := float32(uint32(1) << (23 - at))
		s.Op(s.Load, s.patternAt(math.Float32bits(one)|15<<at), s.tmp)
		s.each(func(v Vec) { s.Op(s.AndV, s.tmp, from[s.j], v) })
		s.Op(s.Load, s.patternAt(math.Float32bits(one+s.offset)), s.tmp)
		s.each(func(v Vec) {
			s.Op(s.SubV, s.tmp, v, v)
			s.finish()
		})
		s.made(row/(4*s.vec)*stripCodes + i)
	}
}

// each writes make for each vector, whose values it leaves in v.
func (s *strips) each(make func(v Vec)) {
	for s.j = range s.vecs {
		s.v = s.values[s.j]
		make(s.v)
		s.values[s.j] = s.v
	}
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

// askParts prefetches what comes next of so many bytes of each part, into the second-level cache where more can be under way than
// to the first one: or else in the order of memory.
func (s *strips) askParts(bytes int) {
	if s.first > 0 {
		return // the vectors before have asked for it
	}
	if s.seq != "" {
		for line := 0; line < s.parts*bytes; line += cacheLine {
			s.PrefetchNear(s.Func, mem(s.seq, line))
		}
		s.Op(s.Add, s.parts*bytes, s.seq)
		return
	}
	for p := range s.parts {
		for line := 0; line < bytes; line += cacheLine {
			s.Prefetch(s.Func, s.stripAt(p, s.ahead+line))
			if s.near > 0 {
				s.PrefetchNear(s.Func, s.stripAt(p, s.near+line))
			}
		}
	}
}

// stripAt returns the address of a byte of a part from where it is read on.
func (s *strips) stripAt(part, disp int) string {
	if len(s.src) == 1 {
		return mem(s.src[0], part*s.partBytes+disp)
	}
	return mem(s.src[part], disp)
}

// row returns the address of the vector that is made next, of the row so many bytes ahead in the part, whose lanes take so many.
func (s *strips) row(disp, bytes int) string {
	return s.stripAt(s.part, disp+bytes*s.Lanes*(s.first+s.j))
}

// unit is the number of the vector that is made next among those of all parts.
func (s *strips) unit() int { return s.part*s.vecs + s.j }

// askHead prefetches what comes next of a head of so many bytes of each part, where the turns behind it do not
// come to all of its lines.
func (s *strips) askHead(bytes int) {
	if turn, _ := s.turn(); turn >= cacheLine {
		s.askParts(bytes)
	}
}

// finish scales what is made of a code or an integer.
func (s *strips) finish() {
	s.scale = s.scales[s.unit()]
	if s.w == kernel.WeightMXFP4 && s.Lookup == nil { // a scale may be too small to be made smaller
		s.Op(s.MulV, s.power, s.v, s.v)
	}
	if s.form.Min {
		s.add = s.adds[s.unit()]
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

// localUnit returns the address of a vector of a vector of a part: of d, of -m, or of what is added.
func (s *strips) localUnit(unit, which int) string {
	return s.LocalAt(localVectors + (localD+which*maxStreams+unit)*s.Bytes())
}

// fineHead stores d and -m of a block of each part.
func (s *strips) fineHead() {
	s.askHead(s.form.Head() * s.vec)
	for s.part = range s.parts {
		s.each(func(v Vec) {
			s.LoadElem(s.Func, s.form.Elem, s.row(0, 2), v)
			s.smaller(v)
			s.Op(s.Store, v, s.localUnit(s.unit(), 0))
			if s.form.Min {
				s.LoadElem(s.Func, s.form.Elem, s.row(2*s.vec, 2), v)
				s.Op(s.MulV, s.minus, v, v)
				s.Op(s.Store, v, s.localUnit(s.unit(), 1))
			}
		})
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
	for s.part = range s.parts {
		s.each(func(v Vec) {
			for i, to := range [][]Vec{s.scales, s.adds} {
				if len(to) == 0 {
					continue
				}
				x := to[s.unit()]
				if kept := s.inMemory && (i == 1 || !s.form.Min); kept {
					x = v
				}
				if s.form.Fine {
					s.LoadElem(s.Func, kernel.Int8, s.row(i*s.vec, 1), x)
					s.Op(s.Load, s.localUnit(s.unit(), i), s.tmp)
					s.Op(s.MulV, s.tmp, x, x)
				} else {
					s.LoadElem(s.Func, s.form.Elem, s.row(2*i*s.vec, 2), x)
					if i == 0 {
						s.smaller(x)
					}
				}
				if x == v {
					s.Op(s.Store, x, string(to[s.unit()]))
				}
			}
		})
	}
	for _, p := range s.src {
		s.Op(s.Add, bytes*s.vec, p)
	}
}

// elements16 is values of a type of 16 bits.
func (s *strips) elements16(label func(what string) string) {
	turn, tail, one, end := label("Turn"), label("Tail"), label("One"), label("End")
	body := func(n int) {
		s.single = n == 1
		for i := range n {
			for s.part = range s.parts {
				s.each(func(Vec) { s.load16(s.row(2*i*s.vec, 2)) })
				s.made(i)
			}
		}
		s.single = false
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
	s.made = func(int) {
		for j, v := range s.values {
			s.Op(s.Store, v, mem(s.dst, j*s.Bytes()))
		}
		s.Op(s.Add, s.dstStride, s.dst)
	}
	s.keep("Src", localSrc, "Dst", localDst, "Lanes", localLanes)
	f.loadBytes("Stride", s.dstStride)
	s.byType(func() {
		s.parts, s.ahead, s.inMemory = 1, s.partBytes, false
		s.registers(0)
		s.Label(s.name + "Strip")
		s.Op(s.Mov, s.LocalAt(localSrc), s.src[0])
		s.Op(s.Mov, s.LocalAt(localDst), s.dst)
		s.load("Depth", s.count)
		s.turns(func(what string) string { return s.name + what })
		s.nextStrip(s.name+"Strip", s.vecs*s.Bytes())
		s.Return(s.Func)
	})
	return f
}
