package asmgen

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// A keyPipeline is the body of DecodeScores for AVX-512. It takes 16 keys and 64 bytes of
// dims at a time, a square. While one square is multiplied, the next is loaded
// and transposed, in the same stretch of code: the shuffles have one port of the two that
// the multiply-adds share.
//
// The transposition is of elements as they are stored, so that it takes as many shuffles
// for 64 bytes of any type; they become float32 when they are multiplied.
type keyPipeline struct {
	*Func
	local      Int
	off, key   Int // of the next square: Off of its keys, and K at its dims
	n          Int // must be CX, for shifts
	tmp        Int
	next       Int // keys left from those of the next square on, not positive if there is none
	nextDims   Int // dims left from those of the next square on
	q, qStride Int // of the square
	dims       Int // left from those of the square on
	s          Int // of its keys
	keys       Int // left from them on

	asks   rowAsker
	kind   *squareKind
	rows   []Vec
	spare  Vec
	index  [2]Vec // of words
	acc    []Vec
	value  Vec
	factor [2]Vec
	labels int
}

// pipelineKeys is the number of keys of a square, and pipelineRows the rows of queries that
// are multiplied while the next square is transposed.
const (
	pipelineKeys = 16
	pipelineRows = 4
	squareBytes  = 64
)

// Mask registers of a keyPipeline: bytes of a row that are dims, and those of a second block.
const (
	maskRow    = "K1"
	maskSecond = "K2"
)

// A squareKind says how squares of an element type are laid out when they are transposed.
type squareKind struct {
	elem kernel.Elem
	dims int // of a square
	run  int // dims that lie 64 bytes apart
	runs []int
	pair bool // two dims share a word of 32 bits

	brain bool // numbers are those of class BFloat16
}

// squareKinds are those of each element type.
var squareKinds = [...]squareKind{
	{elem: kernel.Float32, dims: 16, run: 16, runs: []int{0}},
	{elem: kernel.Float16, dims: 32, run: 8, runs: []int{0, 32, 512, 544}},
	{elem: kernel.BFloat16, dims: 32, run: 32, runs: []int{0}, pair: true},
	{elem: kernel.Int8, dims: 64, run: 16, runs: []int{0, 16, 32, 48}},
	{elem: kernel.Q8_0, dims: 64, run: 16, runs: []int{0, 16, 32, 48}},
}

// brainKind is that of BFloat16 in class BFloat16.
var brainKind = squareKind{elem: kernel.BFloat16, dims: 32, run: 32, runs: []int{0}, pair: true, brain: true}

// brainRows reports whether DecodeScores and DecodeAccumulate take Brain.
func (arch *Arch) brainRows() bool { return arch.DecodePipeline }

// at returns where a dim is in the transposed square.
func (k *squareKind) at(dim int) int {
	if k.pair {
		return dim / 2 * 64
	}
	return k.runs[dim/k.run] + dim%k.run*64
}

func (k *squareKind) label(format string, args ...any) string {
	name := k.elem.String()
	if k.brain {
		name = "Brain"
	}
	return name + fmt.Sprintf(format, args...)
}

// Local memory in bytes: the square, the accumulators, scales of its keys, binary16 scales
// of the next square, Off and Scale of fewer keys than a square has, and words.
const (
	pipeAcc    = pipelineKeys * squareBytes
	pipeScale  = pipeAcc + kernel.MaxDecodeRows*squareBytes
	pipeHalves = pipeScale + 2*squareBytes
	pipeOff    = pipeHalves + squareBytes
	pipeScales = pipeOff + 8*(pipelineKeys+kernel.Upcoming)
	pipeWords  = pipeScales + 4*pipelineKeys
	pipeSize   = pipeWords + 128

	wordScale = pipeWords      // Scale of the square's keys
	wordRows  = pipeWords + 8  // rows left
	wordAcc   = pipeWords + 16 // their accumulators
	wordQ     = pipeWords + 24 // their Q
	saveQ     = pipeWords + 32
	saveS     = pipeWords + 40
	wordBegun = pipeWords + 48 // 0 before the first square is loaded
	saveKeys  = pipeWords + 56
	wordAsks  = pipeWords + 64 // of asks
)

// decodePipeline writes DecodeScores.
func decodePipeline(arch *Arch) *Func {
	f := newFunc(arch, "decodeScores", reflect.TypeFor[kernel.DecodeScoresArgs](), decodeScoresFormula)
	p := &keyPipeline{
		Func: f, off: f.int("Off, next square"), key: f.int("K, next square"), tmp: f.int("scratch"),
		n: f.int("scratch"), local: f.int("local memory"),
		next: f.int("keys left, next square"), nextDims: f.int("dims left, next square"),
		q: f.int("Q"), qStride: f.int("Q, bytes from dim to dim"), dims: f.int("dims left"),
		s: f.int("S"), keys: f.int("keys left"),
	}
	if p.n != "CX" {
		panic("asmgen: shifts need CX")
	}
	f.locals = pipeSize + cacheLine
	m := f.vectors("all:")
	p.acc = m.take(pipelineRows, "accumulators")
	p.value = m.one("dim of the square")
	p.factor = [2]Vec(m.take(2, "scales of the keys, or a mask of bfloat16"))
	p.rows = m.take(pipelineKeys, "next square")
	p.spare = m.one("scratch")
	p.index = [2]Vec(m.take(2, "halves of parts"))
	f.mask("K1 bytes of a row, K2 those of its second block")

	f.LocalBase(f, p.local)
	f.load("Keys", p.keys)
	f.Op(f.Mov, p.keys, p.next)
	f.load("Off", p.off)
	f.load("S", p.s)
	f.loadBytes("QStride", p.qStride)
	f.load("Scale", p.tmp)
	f.Op(f.Mov, p.tmp, mem(p.local, wordScale))
	f.Op(f.Mov, 0, mem(p.local, wordBegun))
	p.asks = rowAsker{Func: f, word: inLocal(p.local, wordAsks), field: "K"}
	p.asks.open(p.tmp)
	p.few()
	f.byElemAs(directElems(), "", p.n, func(e kernel.Elem) {
		if e == kernel.BFloat16 {
			f.LoadByte(f, f.arg("Brain"), p.n)
			f.Branch(f, p.n, "NE", "$0", "Brain")
		}
		p.kind = &squareKinds[e]
		p.emit()
	})
	f.Label("Brain")
	p.kind = &brainKind
	p.emit()
	return f
}

// few copies Off and Scale if there are fewer keys than a square has: the last one stands
// for those that are missing.
func (p *keyPipeline) few() {
	p.Branch(p.Func, p.keys, "GE", imm(pipelineKeys), "enough")
	last := func(label string) { // tmp = min(n, keys-1)
		p.Op(p.Mov, p.keys, p.tmp)
		p.Op(p.Sub, 1, p.tmp)
		p.Branch(p.Func, p.n, "GE", string(p.tmp), label)
		p.Op(p.Mov, p.n, p.tmp)
		p.Label(label)
	}
	p.Op(p.Mov, pipelineKeys-1, p.n)
	p.Loop("copy")
	last("copyLast")
	p.Op(p.Mov, fmt.Sprintf("(%s)(%s*8)", p.off, p.tmp), p.tmp)
	p.Op(p.Mov, p.tmp, fmt.Sprintf("%d(%s)(%s*8)", pipeOff, p.local, p.n))
	p.Op(p.Sub, 1, p.n)
	p.Branch(p.Func, p.n, "GE", "$0", "copy")
	p.Op(p.Mov, p.local, p.off)
	p.Op(p.Add, pipeOff, p.off)
	p.load("Elem", p.n)
	p.Branch(p.Func, p.n, "NE", imm(int(kernel.Int8)), "enough")
	p.Op(p.Mov, mem(p.local, wordScale), p.key)
	p.Op(p.Mov, pipelineKeys-1, p.n)
	p.Loop("copyScale")
	last("copyScaleLast")
	p.Op("MOVL", fmt.Sprintf("(%s)(%s*4)", p.key, p.tmp), p.tmp)
	p.Op("MOVL", p.tmp, fmt.Sprintf("%d(%s)(%s*4)", pipeScales, p.local, p.n))
	p.Op(p.Sub, 1, p.n)
	p.Branch(p.Func, p.n, "GE", "$0", "copyScale")
	p.Op(p.Mov, p.local, p.tmp)
	p.Op(p.Add, pipeScales, p.tmp)
	p.Op(p.Mov, p.tmp, mem(p.local, wordScale))
	p.Label("enough")
}

// emit writes all for an element type.
func (p *keyPipeline) emit() {
	k := p.kind
	p.constants()
	p.load("K", p.key)
	p.load("Dim", p.nextDims)

	p.asks.step, p.asks.near = p.squareSize(), p.byColumns()
	p.asks.setLines(k.dims, p.tmp)

	p.Label(k.label("Load"))
	asked := k.label("Asked")
	if p.byColumns() {
		p.unlessNear(k.label("AsksFar"))
	}
	p.openAsks()
	p.Op(p.Mov, pipelineKeys, p.n)
	p.Loop(k.label("Asks"))
	p.asks.ask(p.s, p.keys, p.tmp)
	p.Countdown(p.n, k.label("Asks"))
	p.closeAsks()
	if p.byColumns() {
		p.Jump(asked)
		p.Label(k.label("AsksFar"))
		for i := range pipelineKeys {
			p.askColumn(i)
		}
		p.Label(asked)
	}
	p.openSquare()
	p.write(p.capture(func() { p.transposition(true) }))
	p.storeSquare()
	p.advance("Load")
	p.Op("CMPQ", mem(p.local, wordBegun), 0)
	p.Op("JEQ", k.label("Begin"))
	p.Branch(p.Func, p.dims, "GT", "$0", k.label("Square"))
	p.Jump(k.label("Close"))
	p.Label(k.label("Begin"))
	p.Op(p.Mov, 1, mem(p.local, wordBegun))

	p.Label(k.label("Keys"))
	p.openKeys()
	p.Label(k.label("Square"))
	p.multiply()

	p.Label(k.label("Close"))
	p.closeKeys()
	p.Branch(p.Func, p.keys, "GT", "$0", k.label("Keys"))
	p.Return(p.Func)
}

// constants loads what the element type wants.
func (p *keyPipeline) constants() {
	switch p.kind.elem {
	case kernel.Float16:
		for i, parts := range [2][8]uint32{{0, 1, 8, 9, 2, 3, 10, 11}, {4, 5, 12, 13, 6, 7, 14, 15}} {
			var words []uint32
			for _, x := range parts {
				words = append(words, x, 0)
			}
			p.Op(p.Load, p.symbol(fmt.Sprint("keyParts", i), words...)+"(SB)", p.index[i])
		}
	case kernel.BFloat16:
		p.Op("VPTERNLOGD", 0xff, p.factor[0], p.factor[0], p.factor[0])
		p.Op(p.ShlV, 16, p.factor[0], p.factor[0])
	}
	if p.kind.brain {
		p.Broadcast(p.Func, p.constant(math.Float32frombits(leastBrain*2*0x10001)), p.index[0])
	}
}

// unique returns a label that is written once.
func (p *keyPipeline) unique(what string) string {
	p.labels++
	return p.kind.label("%s%d", what, p.labels)
}

// openSquare makes the masks of the next square, which may have fewer dims. n is then how
// far its second block lies behind the first, or 0 if there is none.
func (p *keyPipeline) openSquare() {
	k := p.kind
	whole := p.unique("Whole")
	p.Op(p.Mov, -1, p.tmp)
	if k.elem == kernel.Q8_0 {
		p.Op("SHRQ", 32, p.tmp)
		p.Op("KMOVQ", p.tmp, maskRow)
		p.Op("NOTQ", p.tmp)
		p.Op(p.Mov, k.elem.Unit(), p.n)
		p.Branch(p.Func, p.nextDims, "GE", imm(k.dims), whole)
		p.Op(p.Mov, 0, p.tmp)
		p.Op(p.Mov, 0, p.n)
		p.Label(whole)
		p.Op("KMOVQ", p.tmp, maskSecond)
		return
	}
	p.Op("KMOVQ", p.tmp, maskRow)
	p.Branch(p.Func, p.nextDims, "GE", imm(k.dims), whole)
	p.Op(p.Mov, p.nextDims, p.n)
	p.times(k.elem.Unit(), p.n)
	p.Op(p.Shl, p.n, p.tmp)
	p.Op("NOTQ", p.tmp)
	p.Op("KMOVQ", p.tmp, maskRow)
	p.Label(whole)
}

// transposition loads and transposes the next square, in registers. A masked load takes an
// instruction more, of the ports that are short.
func (p *keyPipeline) transposition(masked bool) {
	k := p.kind
	for i, v := range p.rows {
		p.together(func() { p.loadRow(i, v, masked) })
	}
	if k.elem == kernel.Q8_0 {
		for i := range p.rows {
			p.together(func() { p.collectScales(i) })
		}
	}
	p.transpose()
}

// loadRow loads a key of the next square.
func (p *keyPipeline) loadRow(i int, v Vec, masked bool) {
	k := p.kind
	p.Op(p.Mov, mem(p.off, 8*i), p.tmp)
	row := func(off int) string { return x86Address(p.Func, p.key, p.tmp, off) }
	switch second := quants + k.elem.Unit(); {
	case k.elem == kernel.Q8_0 && masked:
		p.Op("VMOVDQU8.Z", row(quants), maskRow, v)
		p.Op("VMOVDQU8", row(second-kernel.BlockValues), maskSecond, v)
	case k.elem == kernel.Q8_0:
		p.Op(p.Load, row(quants), low(v, "Y"))
		p.Op("VINSERTI64X4", 1, row(second), v, v)
	case masked:
		p.Op("VMOVDQU8.Z", row(0), maskRow, v)
	default:
		p.Op(p.Load, row(0), v)
	}
}

// collectScales copies the scales of the two blocks of a key of the next square.
func (p *keyPipeline) collectScales(i int) {
	for second := range 2 {
		p.Op(p.Mov, mem(p.off, 8*i), p.tmp)
		if second == 1 {
			p.Op(p.Add, p.n, p.tmp)
		}
		p.Op("MOVWLZX", x86Address(p.Func, p.key, p.tmp, 0), p.tmp)
		p.Op("MOVW", p.tmp, mem(p.local, pipeHalves+2*i+2*pipelineKeys*second))
	}
}

// byColumns reports whether keys are asked for at the dims of the next square unless Near says otherwise. Elsewhere rows are
// asked for line by line. On Zen 5 that makes all types faster. On an Emerald Rapids float32, whose rows have twice as many lines
// as those of 16 bits, is 1 to 4% slower by it.
func (p *keyPipeline) byColumns() bool { return p.kind.elem == kernel.Float32 }

// unlessNear writes a jump to label unless Near is set.
func (p *keyPipeline) unlessNear(label string) {
	p.Op("CMPB", p.arg("Near"), 0)
	p.Op("JEQ", label)
}

// ask asks for a line that is wanted later, the i-th with a square.
func (p *keyPipeline) ask(i int) {
	if !p.byColumns() {
		p.asks.ask(p.s, p.keys, p.tmp)
		return
	}
	far, asked := p.unique("Far"), p.unique("Asked")
	p.unlessNear(far)
	p.asks.ask(p.s, p.keys, p.tmp)
	p.Jump(asked)
	p.Label(far)
	p.askColumn(i)
	p.Label(asked)
}

// askColumn asks for the dims of the next square of the i-th key that is wanted later.
func (p *keyPipeline) askColumn(i int) {
	p.Op(p.Mov, mem(p.off, 8*(i+kernel.Upcoming)), p.tmp)
	p.Prefetch(p.Func, x86Address(p.Func, p.key, p.tmp, 0))
}

// openAsks has s and keys hold what ask by rows needs, and closeAsks ends that.
func (p *keyPipeline) openAsks() {
	p.Op(p.Mov, p.s, mem(p.local, saveS))
	p.Op(p.Mov, p.keys, mem(p.local, saveKeys))
	p.asks.begin(p.s, p.keys)
}

func (p *keyPipeline) closeAsks() {
	p.asks.end(p.s, p.keys)
	p.Op(p.Mov, mem(p.local, saveS), p.s)
	p.Op(p.Mov, mem(p.local, saveKeys), p.keys)
}

// transpose transposes the next square.
func (p *keyPipeline) transpose() {
	k := p.kind
	switch k.elem {
	case kernel.Float16:
		stages := []interleave{unpackWD, unpackDQ, unpackQDQ}
		first, second := p.rows[:8], p.rows[8:]
		unpackParts(p.Func, stages, first, &p.spare)
		unpackParts(p.Func, stages, second, &p.spare)
		for c := range first {
			// Even and odd parts: a dim of the first eight keys and of the others.
			p.Op(p.Copy, first[c], p.spare)
			p.Op("VPERMT2Q", second[c], p.index[0], p.spare)
			p.Op("VPERMT2Q", second[c], p.index[1], first[c])
			first[c], second[c], p.spare = p.spare, first[c], second[c]
		}
	case kernel.Int8, kernel.Q8_0:
		unpackParts(p.Func, []interleave{{"VPUNPCKLBW", "VPUNPCKHBW"}, unpackWD, unpackDQ, unpackQDQ}, p.rows, &p.spare)
	default:
		out := p.Transpose(p.Func, p.rows, p.spare)
		for _, v := range append(slices.Clone(p.rows), p.spare) {
			if !slices.Contains(out, v) {
				p.spare = v
			}
		}
		p.rows = out
	}
	if k.brain {
		for _, v := range p.rows {
			p.together(func() { keepLarge(p.Func, false, p.index[0], v, p.spare, v) })
		}
	}
}

// storeSquare stores the transposed square, and its scales.
func (p *keyPipeline) storeSquare() {
	for i, v := range p.rows {
		p.Op(p.Store, v, mem(p.local, i*squareBytes))
	}
	if p.kind.elem == kernel.Q8_0 {
		for i, v := range p.rows[:2] {
			p.Op("VCVTPH2PS", mem(p.local, pipeHalves+2*pipelineKeys*i), v)
			p.Op(p.Store, v, mem(p.local, pipeScale+i*squareBytes))
		}
	}
}

// squareSize returns the bytes of a row that a square has.
func (p *keyPipeline) squareSize() int {
	k := p.kind
	if k.elem == kernel.Q8_0 {
		return k.dims / kernel.BlockValues * k.elem.Unit()
	}
	return squareBytes
}

// advance goes on to the square after the next one.
func (p *keyPipeline) advance(what string) {
	k := p.kind
	done := k.label("Advanced%s", what)
	p.Op(p.Add, p.squareSize(), p.key)
	p.Op(p.Sub, k.dims, p.nextDims)
	p.Branch(p.Func, p.nextDims, "GT", "$0", done)
	p.load("Dim", p.nextDims)
	p.load("K", p.key)
	p.Op(p.Add, 8*pipelineKeys, p.off)
	p.Op(p.Sub, pipelineKeys, p.next)
	p.Branch(p.Func, p.next, "LE", "$0", done)
	p.Branch(p.Func, p.next, "GE", imm(pipelineKeys), done)
	// The last keys begin among those before, so that they are as many.
	p.Op(p.Sub, pipelineKeys, p.next)
	p.Op("LEAQ", fmt.Sprintf("(%s)(%s*8)", p.off, p.next), p.off)
	p.Op(p.Mov, pipelineKeys, p.next)
	p.Label(done)
}

// openKeys sets up for the keys of the square.
func (p *keyPipeline) openKeys() {
	whole := p.kind.label("WholeKeys")
	p.Branch(p.Func, p.keys, "GE", imm(pipelineKeys), whole)
	p.load("Keys", p.tmp)
	p.Branch(p.Func, p.tmp, "LT", imm(pipelineKeys), whole)
	p.Op(p.Sub, pipelineKeys, p.keys) // less than 0
	p.loadBytes("Stride", p.tmp)
	p.Op(p.MulInt, p.keys, p.tmp)
	p.Op(p.Add, p.tmp, p.s)
	p.Op(p.Shl, 2, p.keys)
	p.Op(p.Add, p.keys, mem(p.local, wordScale))
	p.Op(p.Mov, pipelineKeys, p.keys)
	p.Label(whole)
	p.Zero(p.Func, p.value)
	for r := range p.DecodeRows {
		p.Op(p.Store, p.value, mem(p.local, pipeAcc+r*squareBytes))
	}
	p.load("Q", p.q)
	p.load("Dim", p.dims)
}

// loadFactors loads the scales of the square's keys.
func (p *keyPipeline) loadFactors() {
	switch p.kind.elem {
	case kernel.Int8:
		p.Op(p.Mov, mem(p.local, wordScale), p.tmp)
		p.Op(p.Load, mem(p.tmp, 0), p.factor[0])
	case kernel.Q8_0:
		for i, v := range p.factor {
			p.Op(p.Load, mem(p.local, pipeScale+i*squareBytes), v)
		}
	}
}

// multiply adds the products of the square to the accumulators: for all rows if there is no
// next square or one of them is not whole, and otherwise for pipelineRows while the next one is
// transposed, and before that for the others.
func (p *keyPipeline) multiply() {
	k := p.kind
	alone, rows := k.label("Alone"), k.label("Alone1")
	p.load("Rows", p.tmp)
	p.Op(p.Mov, 0, p.n)
	p.unlessBoth(alone)
	for r := 1; r <= pipelineRows; r++ {
		p.Branch(p.Func, p.tmp, "EQ", imm(r), k.label("Both%d", r))
	}
	p.Op(p.Mov, pipelineRows, p.n)
	p.Op(p.Sub, pipelineRows, p.tmp)
	p.Label(alone)
	p.Op(p.Mov, p.tmp, mem(p.local, wordRows))
	p.Op(p.Mov, p.q, mem(p.local, saveQ))
	p.Op(p.Mov, p.s, mem(p.local, saveS))
	p.Op("LEAQ", fmt.Sprintf("(%s)(%s*4)", p.q, p.n), p.tmp)
	p.Op(p.Mov, p.tmp, mem(p.local, wordQ))
	p.times(squareBytes, p.n)
	p.Op("LEAQ", fmt.Sprintf("%d(%s)(%s*1)", pipeAcc, p.local, p.n), p.tmp)
	p.Op(p.Mov, p.tmp, mem(p.local, wordAcc))
	p.loadFactors()

	p.Loop(k.label("Rows"))
	p.Op(p.Mov, mem(p.local, wordRows), p.tmp)
	for r := 2; r < pipelineRows; r++ {
		p.Branch(p.Func, p.tmp, "EQ", imm(r), k.label("Alone%d", r))
	}
	p.Branch(p.Func, p.tmp, "EQ", "$1", rows)
	for r := pipelineRows; r > 0; r-- {
		p.Label(k.label("Alone%d", r))
		p.multiplyAlone(r)
		if r > 1 {
			p.Jump(k.label("RowsNext"))
		}
	}
	p.Label(k.label("RowsNext"))
	p.Op(p.Add, pipelineRows*squareBytes, mem(p.local, wordAcc))
	p.Op(p.Add, 4*pipelineRows, mem(p.local, wordQ))
	p.Op(p.Sub, pipelineRows, mem(p.local, wordRows))
	p.Op("JGT", k.label("Rows"))
	p.Op(p.Mov, mem(p.local, saveQ), p.q)
	p.Op(p.Mov, mem(p.local, saveS), p.s)
	p.unlessBoth(k.label("Done"))
	p.Jump(k.label("Both%d", pipelineRows))
	p.Label(k.label("Done"))
	p.Op(p.Mov, p.qStride, p.tmp)
	p.times(k.dims, p.tmp)
	p.Op(p.Add, p.tmp, p.q)
	p.Op(p.Sub, k.dims, p.dims)
	p.Branch(p.Func, p.next, "GT", "$0", k.label("Load"))
	p.Jump(k.label("Close"))

	for r := pipelineRows; r > 0; r-- {
		p.multiplyBoth(r)
	}
}

// unlessBoth writes a jump to label unless there is a next square and it and this one are
// whole.
func (p *keyPipeline) unlessBoth(label string) {
	p.Branch(p.Func, p.next, "LE", "$0", label)
	p.Branch(p.Func, p.dims, "LT", imm(p.kind.dims), label)
	p.Branch(p.Func, p.nextDims, "LT", imm(p.kind.dims), label)
}

// multiplyAlone multiplies the square for a number of rows. s and q are lost.
func (p *keyPipeline) multiplyAlone(rows int) {
	k := p.kind
	acc := p.acc[:rows]
	left, count, t := p.n, p.s, p.tmp
	p.Op(p.Mov, mem(p.local, wordAcc), p.tmp)
	for r, v := range acc {
		p.Op(p.Load, mem(p.tmp, r*squareBytes), v)
	}
	p.Op(p.Mov, mem(p.local, wordQ), p.q)
	p.Op(p.Mov, p.dims, left)
	done := k.label("Alone%dDone", rows)
	for i, base := range k.runs {
		loop, whole := k.label("Alone%dRun%d", rows, i), k.label("Alone%dWhole%d", rows, i)
		p.Op(p.Mov, k.run, count)
		p.Branch(p.Func, left, "GE", imm(k.run), whole)
		p.Op(p.Mov, left, count)
		p.Label(whole)
		p.Op(p.Sub, count, left)
		p.Op("LEAQ", mem(p.local, base), t)
		p.Loop(loop)
		p.step(t, 0, i*k.run, acc)
		if k.pair {
			p.Op(p.Sub, 1, count)
			p.Branch(p.Func, count, "EQ", "$0", done)
			p.step(t, 0, i*k.run+1, acc)
		}
		p.Op(p.Add, squareBytes, t)
		p.Countdown(count, loop)
		if i < len(k.runs)-1 {
			p.Branch(p.Func, left, "EQ", "$0", done)
		}
	}
	p.Label(done)
	p.Op(p.Mov, mem(p.local, wordAcc), p.tmp)
	for r, v := range acc {
		p.Op(p.Store, v, mem(p.tmp, r*squareBytes))
	}
}

// step multiplies a dim of the square, at off from base, and goes on with Q.
func (p *keyPipeline) step(base Int, off, dim int, acc []Vec) {
	addr := mem(base, off)
	switch p.kind.elem {
	case kernel.Float32:
		p.Op(p.Load, addr, p.value)
	case kernel.Float16:
		p.Op("VCVTPH2PS", addr, p.value)
	case kernel.BFloat16:
		if dim%2 == 0 {
			p.Op(p.ShlV, 16, addr, p.value)
		} else {
			p.Op("VPANDD", addr, p.factor[0], p.value)
		}
	default:
		p.Op("VPMOVSXBD", addr, p.value)
		p.Op("VCVTDQ2PS", p.value, p.value)
		factor := p.factor[0]
		if p.kind.elem == kernel.Q8_0 {
			factor = p.factor[dim/kernel.BlockValues]
		}
		p.Op(p.MulV, factor, p.value, p.value)
	}
	for r, v := range acc {
		p.FMABroadcast(p.Func, mem(p.q, 4*r), p.value, v, "")
	}
	p.Op(p.Add, p.qStride, p.q)
}

// multiplyBoth multiplies the square for a number of rows and loads the next one, again and
// again while there are dims and no other rows.
func (p *keyPipeline) multiplyBoth(rows int) {
	k := p.kind
	acc := p.acc[:rows]
	p.Label(k.label("Both%d", rows))
	for r, v := range acc {
		p.Op(p.Load, mem(p.local, pipeAcc+r*squareBytes), v)
	}
	loop, save := k.label("Both%dLoop", rows), k.label("Both%dSave", rows)
	p.openAsks()
	p.Loop(loop)
	p.loadFactors()
	if k.elem == kernel.Q8_0 {
		p.Op(p.Mov, k.elem.Unit(), p.n)
	}
	before := slices.Clone(p.rows)
	spare := p.spare
	lines := p.capture(func() { p.transposition(false) })
	written := 0
	for d := range k.dims {
		// One by one: the CPU can have few requests under way.
		if every := k.dims / pipelineKeys; d%every == 0 {
			p.ask(d / every)
		}
		p.step(p.local, k.at(d), d, acc)
		upTo := len(lines) * (d + 1) / k.dims
		p.write(lines[written:upTo])
		written = upTo
	}
	p.storeSquare()
	p.rows, p.spare = before, spare
	p.advance(fmt.Sprint("Both", rows))
	p.Op(p.Sub, k.dims, p.dims)
	p.unlessBoth(save)
	if rows == pipelineRows {
		p.load("Rows", p.tmp)
		p.Branch(p.Func, p.tmp, "LE", imm(pipelineRows), loop)
	} else {
		p.Jump(loop)
	}
	p.Label(save)
	p.closeAsks()
	for r, v := range acc {
		p.Op(p.Store, v, mem(p.local, pipeAcc+r*squareBytes))
	}
	p.Branch(p.Func, p.dims, "GT", "$0", k.label("Square"))
	p.Jump(k.label("Close"))
}

// closeKeys writes the scores of the square's keys, four rows at a time.
func (p *keyPipeline) closeKeys() {
	k := p.kind
	acc, rows, key, stride := p.n, p.dims, p.q, p.tmp
	quad := [4]Vec(p.acc)
	spare := p.spare
	p.Op(p.Mov, p.s, mem(p.local, saveS))
	p.Op("LEAQ", mem(p.local, pipeAcc), acc)
	p.load("Rows", rows)
	p.loadBytes("Stride", stride)
	p.Loop(k.label("Quad"))
	for i, v := range quad {
		p.Op(p.Load, mem(acc, i*squareBytes), v)
	}
	transpose4x4(p.Func, p.Interleave[0], p.Interleave[1], quad[:], &spare)
	p.Op(p.Mov, p.s, key)
	for n := 1; n < 4; n++ {
		p.Branch(p.Func, rows, "EQ", imm(n), k.label("Store%d", n))
	}
	for n := 4; n > 0; n-- {
		p.Label(k.label("Store%d", n))
		for i := range pipelineKeys {
			p.StorePart(p.Func, quad[i%4], i/4, n, key, spare)
			if i < pipelineKeys-1 {
				p.Branch(p.Func, p.keys, "EQ", imm(i+1), k.label("Stored%d", n))
				p.Op(p.Add, stride, key)
			}
		}
		p.Label(k.label("Stored%d", n))
		if n == 4 {
			p.Op(p.Add, 4*squareBytes, acc)
			p.Op(p.Add, 16, p.s)
			p.Op(p.Sub, 4, rows)
			p.Branch(p.Func, rows, "GT", "$0", k.label("Quad"))
		}
		if n > 1 {
			p.Jump(k.label("Closed"))
		}
	}
	p.Label(k.label("Closed"))
	p.Op(p.Mov, mem(p.local, saveS), p.s)
	p.times(pipelineKeys, stride)
	p.Op(p.Add, stride, p.s)
	p.Op(p.Add, 4*pipelineKeys, mem(p.local, wordScale))
	p.Op(p.Sub, pipelineKeys, p.keys)
}
