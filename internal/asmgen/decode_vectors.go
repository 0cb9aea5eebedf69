package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

// A vectorScorer is the body of DecodeScores on AVX2: 16 keys at a time, in two vectors
// of a key a lane, and a chunk of dims after the other. The chunk of a vector of keys is transposed
// into local memory in its stored type, squares of 8 keys by 8 dims at a time; what is
// multiplied is converted as it is read from there. Two vectors are as many accumulators of up to
// four rows as hide the latency of the multiply-adds.
type vectorScorer struct {
	*Func
	off      Int // of the first vector
	keys     Int // left
	key      Int // K, next dims
	q        Int // Q, dims of the chunk
	qStride  Int // bytes from dim to dim
	dims     Int // left
	local    Int
	t        Int // transposed
	n, tmp   Int
	row      Int // Q, next rows
	rowsLeft Int

	elem kernel.Elem
	asks rowAsker
}

const (
	vectorKeys = 8
	chunkDims  = kernel.BlockValues
	// chunkSlack is room before a transposed chunk for a square that begins before it.
	chunkSlack = vectorKeys * 4 * vectorKeys
	chunkBytes = chunkSlack + chunkDims*4*vectorKeys
)

// Local memory of a vectorScorer: the transposed chunks of both vectors of keys, scales of their keys,
// their accumulators, halves of the scales, Off and Scale of less than a vector, Scale and S of
// the keys that are next, and the words of asks.
func (g *vectorScorer) localT(vector int) int      { return vector*chunkBytes + chunkSlack }
func (g *vectorScorer) localFactor(vector int) int { return 2*chunkBytes + vector*g.Bytes() }
func (g *vectorScorer) localAcc(vector, row int) int {
	return 2*chunkBytes + 2*g.Bytes() + (vector*kernel.MaxDecodeRows+row)*g.Bytes()
}
func (g *vectorScorer) localHalves() int { return g.localAcc(2, 0) }
func (g *vectorScorer) localOff() int    { return g.localHalves() + g.Bytes() }
func (g *vectorScorer) localScales() int { return g.localOff() + 8*vectorKeys }
func (g *vectorScorer) localScale() int  { return g.localScales() + 4*vectorKeys }
func (g *vectorScorer) localS() int      { return g.localScale() + 8 }
func (g *vectorScorer) localAsks() int   { return g.localS() + 8 }

// decodeVectors writes DecodeScores.
func decodeVectors(arch *Arch) *Func {
	f := newFunc(arch, "decodeScores", reflect.TypeFor[kernel.DecodeScoresArgs](), decodeScoresFormula)
	g := &vectorScorer{
		Func: f, off: f.int("Off, next keys"), keys: f.int("keys left"), key: f.int("K, next dims"),
		q: f.int("Q, dims of the chunk"), qStride: f.int("Q, bytes from dim to dim"), dims: f.int("dims left"),
		local: f.int("local memory"), t: f.int("transposed"), n: f.int("steps left"), tmp: f.int("scratch"),
		row: f.int("Q, next rows"), rowsLeft: f.int("rows left"),
	}
	f.locals = g.localAsks() + askWords + cacheLine
	f.LocalBase(f, g.local)
	g.asks = rowAsker{Func: f, word: inLocal(g.local, g.localAsks()), field: "K"}
	g.asks.open(g.tmp)
	f.load("Off", g.off)
	f.keep("Scale", g.tmp, g.local, g.localScale())
	f.keep("S", g.tmp, g.local, g.localS())
	f.load("Keys", g.keys)
	f.loadBytes("QStride", g.qStride)

	f.Loop("keys")
	g.open()
	g.fewRows("chunk", "scored")
	f.Loop("chunk")
	f.byElemAs(directElems(), "", g.n, func(e kernel.Elem) {
		g.elem = e
		g.transpose()
		g.multiply()
		f.Jump("next")
	})
	f.Label("next")
	f.Op(f.Sub, chunkDims, g.dims)
	f.Branch(f, g.dims, "GT", "$0", "chunk")
	f.Label("scored")
	g.close()
	f.Return(f)
	return f
}

// unlessTwo jumps to label unless there are keys for two vectors.
func (g *vectorScorer) unlessTwo(label string) {
	g.Branch(g.Func, g.keys, "LT", imm(2*vectorKeys), label)
}

// open sets up for the next keys. Of the last ones there is one vector.
func (g *vectorScorer) open() {
	scale, s := g.row, g.rowsLeft
	o := keyOpener{
		Func: g.Func, off: g.off, scale: scale, s: s, keys: g.keys, local: g.local, t: g.t, n: g.n, tmp: g.tmp,
		localOff: g.localOff(), localScales: g.localScales(), moved: func() {
			g.Op(g.Mov, scale, mem(g.local, g.localScale()))
			g.Op(g.Mov, s, mem(g.local, g.localS()))
		},
	}
	g.Branch(g.Func, g.keys, "GE", imm(vectorKeys), "whole")
	g.Op(g.Mov, mem(g.local, g.localScale()), scale)
	g.Op(g.Mov, mem(g.local, g.localS()), s)
	o.open("whole")
	g.Label("whole")
	zero := g.Vectors[0]
	g.Zero(g.Func, zero)
	for vector := range 2 {
		for r := range g.DecodeRows {
			g.Op(g.Store, zero, mem(g.local, g.localAcc(vector, r)))
		}
	}
	g.load("K", g.key)
	g.load("Q", g.q)
	g.load("Dim", g.dims)
}

func (g *vectorScorer) name(format string, args ...any) string {
	return g.elem.String() + fmt.Sprintf(format, args...)
}

// transpose writes the next chunk of dims of both vectors of keys to local memory, and moves key on.
func (g *vectorScorer) transpose() {
	const square = vectorKeys
	begin := 0
	if g.elem == kernel.Q8_0 {
		begin = quants
	}
	for vector := range 2 {
		if vector == 1 {
			g.unlessTwo(g.name("Transposed"))
			g.Op(g.Add, 8*vectorKeys, g.off)
		}
		g.ask(vector)
		switch g.elem {
		case kernel.Q8_0:
			g.blockScales(vector)
		case kernel.Int8:
			g.Op(g.Mov, mem(g.local, g.localScale()), g.tmp)
			g.Op(g.Load, mem(g.tmp, vector*g.Bytes()), g.Vectors[0])
			g.Op(g.Store, g.Vectors[0], mem(g.local, g.localFactor(vector)))
		}
		if begin != 0 {
			g.Op(g.Add, begin, g.key)
		}
		// key moves on with the squares, and back.
		g.Op(g.Mov, g.key, g.row)
		g.Op(g.Mov, g.local, g.t)
		g.Op(g.Add, g.localT(vector), g.t)
		g.Op(g.Mov, chunkDims, g.n)
		g.Branch(g.Func, g.dims, "GE", imm(chunkDims), g.name("Square%d", vector))
		g.Op(g.Mov, g.dims, g.n)
		next, last := g.name("Square%d", vector), g.name("LastSquare%d", vector)
		g.Jump(next)
		g.Label(last) // the last square begins where it is whole
		g.Op(g.Mov, g.n, g.tmp)
		g.Op(g.Sub, square, g.tmp)
		g.times(width(g.elem), g.tmp)
		g.Op(g.Add, g.tmp, g.row)
		g.times(vectorKeys, g.tmp)
		g.Op(g.Add, g.tmp, g.t)
		g.Op(g.Mov, square, g.n)
		g.Label(next)
		g.Branch(g.Func, g.n, "LT", imm(square), last)
		g.square()
		g.Op(g.Add, square*width(g.elem), g.row)
		g.Op(g.Add, square*width(g.elem)*vectorKeys, g.t)
		g.Op(g.Sub, square, g.n)
		g.Branch(g.Func, g.n, "GT", "$0", next)
		if begin != 0 {
			g.Op(g.Sub, begin, g.key)
		}
		if vector == 1 {
			g.Op(g.Sub, 8*vectorKeys, g.off)
		}
	}
	g.Label(g.name("Transposed"))
	chunk := chunkDims * width(g.elem)
	if g.elem == kernel.Q8_0 {
		chunk = g.elem.Unit()
	}
	g.Op(g.Add, chunk, g.key)
}

// ask asks for as many lines of the rows that are wanted later as a vector of keys has at the dims of the chunk.
func (g *vectorScorer) ask(vector int) {
	line, left, count := g.row, g.t, g.n
	lines := max(1, chunkDims*width(g.elem)/cacheLine)
	g.asks.step = chunkDims / lines * width(g.elem)
	if g.elem == kernel.Q8_0 {
		g.asks.step = g.elem.Unit()
	}
	loop := g.name("Ask%d", vector)
	if vector == 0 {
		g.asks.setLines(chunkDims/lines, g.tmp)
	}
	g.asks.begin(line, left)
	g.Op(g.Mov, lines*vectorKeys, count)
	g.Loop(loop)
	g.asks.ask(line, left, g.tmp)
	g.Countdown(count, loop)
	g.asks.end(line, left)
}

// blockScales leaves the scales of the blocks of a vector of keys in local memory.
func (g *vectorScorer) blockScales(vector int) {
	for i := range vectorKeys {
		g.Op(g.Mov, mem(g.off, 8*i), g.tmp)
		g.LoadHalfInt(g.Func, g.AddressOf(g.Func, g.key, g.tmp, 0), g.tmp)
		g.StoreHalfInt(g.Func, g.tmp, mem(g.local, g.localHalves()+2*i))
	}
	g.LoadElem(g.Func, kernel.Float16, mem(g.local, g.localHalves()), g.Vectors[0])
	g.Op(g.Store, g.Vectors[0], mem(g.local, g.localFactor(vector)))
}

// square writes a square of 8 keys by 8 dims at row to t, a dim of all keys after the other.
func (g *vectorScorer) square() {
	m := g.vectors(g.elem.String() + " square:")
	key := func(i, at int) string { // loads tmp
		g.Op(g.Mov, mem(g.off, 8*i), g.tmp)
		return g.AddressOf(g.Func, g.row, g.tmp, at)
	}
	// Keys 0 to 3 are in the low halves of four registers, 4 to 7 in the high ones; the next 16
	// bytes of each in four more.
	halves := func(v []Vec) {
		for i := range vectorKeys {
			g.Op(g.Mov, mem(g.off, 8*i), g.tmp)
			for at := 0; at < len(v)/4; at++ {
				x, addr := v[4*at+i%4], g.AddressOf(g.Func, g.row, g.tmp, 16*at)
				if i < 4 {
					g.Op("VMOVUPS", addr, low(x, "X"))
				} else {
					g.Op("VINSERTF128", 1, addr, x, x)
				}
			}
		}
	}
	switch width(g.elem) {
	case 4:
		v, tmp := m.take(8, "rows"), m.one("scratch")
		halves(v)
		transpose4x4(g.Func, unpackPS, unpackPD, v, &tmp)
		for d, v := range v {
			g.Op("VMOVUPS", v, mem(g.t, 32*d))
		}
	case 2:
		v, tmp := m.take(4, "rows"), m.one("scratch")
		halves(v)
		transpose4x4(g.Func, unpackWD, unpackDQ, v, &tmp)
		for d, v := range v { // two dims of keys 0 to 3, and of 4 to 7
			g.Op("VPERMQ", 0b11_01_10_00, v, v)
			g.Op("VMOVDQU", v, mem(g.t, 32*d))
		}
	case 1:
		v, tmp := m.take(4, "rows"), m.one("scratch")
		for i := range 4 {
			g.Op("VMOVQ", key(i, 0), low(v[i], "X"))
		}
		for i := range 4 {
			g.Op("VMOVHPS", key(4+i, 0), low(v[i], "X"), low(v[i], "X"))
		}
		for i := range v {
			v[i] = low(v[i], "X")
		}
		tmp = low(tmp, "X")
		// Of rows 0 and 1, 4 and 5, 2 and 3, 6 and 7.
		butterfly(g.Func, []any{"VPUNPCKLBW"}, []any{"VPUNPCKHBW"}, &v[0], &v[1], &tmp)
		butterfly(g.Func, []any{"VPUNPCKLBW"}, []any{"VPUNPCKHBW"}, &v[2], &v[3], &tmp)
		// Of keys 0 to 3, and of 4 to 7: dims 0 to 3, and 4 to 7.
		butterfly(g.Func, []any{"VPUNPCKLWD"}, []any{"VPUNPCKHWD"}, &v[0], &v[2], &tmp)
		butterfly(g.Func, []any{"VPUNPCKLWD"}, []any{"VPUNPCKHWD"}, &v[1], &v[3], &tmp)
		butterfly(g.Func, []any{"VPUNPCKLDQ"}, []any{"VPUNPCKHDQ"}, &v[0], &v[1], &tmp)
		butterfly(g.Func, []any{"VPUNPCKLDQ"}, []any{"VPUNPCKHDQ"}, &v[2], &v[3], &tmp)
		for d, v := range v {
			g.Op("VMOVDQU", v, mem(g.t, 16*d))
		}
	}
}

// Interleavings of 16 bits and of pairs of them.
var (
	unpackWD = interleave{"VPUNPCKLWD", "VPUNPCKHWD"}
	unpackDQ = interleave{"VPUNPCKLDQ", "VPUNPCKHDQ"}
	// Of pairs of these.
	unpackQDQ = interleave{"VPUNPCKLQDQ", "VPUNPCKHQDQ"}
)

// multiply adds the products of the chunk, and moves q on.
func (g *vectorScorer) multiply() {
	g.Op(g.Mov, g.q, g.row)
	g.load("Rows", g.rowsLeft)
	g.Op(g.Mov, g.local, g.tmp) // at the accumulators of the rows
	quad := g.name("Rows")
	name := func(rows, vectors int) string { return g.name("%dRows%d", rows, vectors) }
	g.Label(quad)
	g.Op(g.Mov, g.local, g.t)
	g.Op(g.Add, g.localT(0), g.t)
	g.Op(g.Mov, chunkDims, g.n)
	g.Branch(g.Func, g.dims, "GE", imm(chunkDims), g.name("Dims"))
	g.Op(g.Mov, g.dims, g.n)
	g.Label(g.name("Dims"))
	g.unlessTwo(g.name("One"))
	for vectors := 2; vectors > 0; vectors-- {
		if vectors == 1 {
			g.Label(g.name("One"))
		}
		for rows := 1; rows < 4; rows++ {
			g.Branch(g.Func, g.rowsLeft, "EQ", imm(rows), name(rows, vectors))
		}
		for rows := 4; rows > 0; rows-- {
			g.Label(name(rows, vectors))
			g.products(rows, vectors, name(rows, vectors)+"Dim")
			if rows == 4 {
				g.Op(g.Sub, 4, g.rowsLeft)
				g.Branch(g.Func, g.rowsLeft, "EQ", "$0", g.name("Multiplied"))
				g.Op(g.Add, 4*g.Bytes(), g.tmp)
				// Back to the first dim, at the next rows.
				g.Op(g.Mov, g.q, g.row)
				g.load("Rows", g.n)
				g.Op(g.Sub, g.rowsLeft, g.n)
				g.Op(g.Shl, 2, g.n)
				g.Op(g.Add, g.n, g.row)
				g.Jump(quad)
			} else if rows > 1 || vectors > 1 {
				g.Jump(g.name("Multiplied"))
			}
		}
	}
	g.Label(g.name("Multiplied"))
	g.Op(g.Mov, g.qStride, g.tmp)
	g.times(chunkDims, g.tmp)
	g.Op(g.Add, g.tmp, g.q)
}

// products adds the products of up to four rows and one or two vectors of keys.
func (g *vectorScorer) products(rows, vectors int, loop string) {
	notes := g.notes
	m := g.vectors("products:")
	acc := make([][]Vec, vectors)
	for i := range acc {
		acc[i] = m.take(rows, "accumulators")
	}
	v, x := m.take(vectors, "keys"), m.take(2, "queries")
	factor := m.take(vectors, "scales")
	if rows < 4 || vectors < 2 || g.elem != kernel.Float32 {
		g.notes = notes
	}
	scaled := g.elem == kernel.Int8 || g.elem == kernel.Q8_0
	for i, list := range acc {
		for r, a := range list {
			g.Op(g.Load, mem(g.tmp, g.localAcc(i, r)), a)
		}
		if scaled {
			g.Op(g.Load, mem(g.local, g.localFactor(i)), factor[i])
		}
	}
	g.Loop(loop)
	for i, v := range v {
		g.LoadElem(g.Func, g.elem, mem(g.t, i*chunkBytes), v)
		if scaled {
			g.Op(g.MulV, factor[i], v, v)
		}
	}
	for r := range rows {
		x := x[r%2]
		g.Broadcast(g.Func, mem(g.row, 4*r), x)
		for i, v := range v {
			g.FMA(g.Func, x, v, acc[i][r])
		}
	}
	g.Op(g.Add, width(g.elem)*vectorKeys, g.t)
	g.Op(g.Add, g.qStride, g.row)
	g.Countdown(g.n, loop)
	for i, list := range acc {
		for r, a := range list {
			g.Op(g.Store, a, mem(g.tmp, g.localAcc(i, r)))
		}
	}
}

// close writes the scores of the vectors of keys.
func (g *vectorScorer) close() {
	w := scoreWriter{Func: g.Func, acc: g.t, rows: g.n, key: g.key, s: g.q, stride: g.tmp, keys: g.keys}
	stride := w.stride
	g.loadBytes("Stride", stride)
	for vector := range 2 {
		if vector == 1 {
			g.unlessTwo("closed")
		}
		g.Op(g.Mov, mem(g.local, g.localS()), w.s)
		for range vector * vectorKeys {
			g.Op(g.Add, stride, w.s)
		}
		g.Op(g.Mov, g.local, w.acc)
		g.load("Rows", w.rows)
		name := func(label string) string { return fmt.Sprintf("%sOf%d", label, vector) }
		w.write(func(row int) int { return g.localAcc(vector, row) }, name("vector"), name)
	}
	g.Label("closed")
	vectors := g.rowsLeft
	g.Op(g.Mov, vectorKeys, vectors)
	g.unlessTwo("vectors")
	g.Op(g.Mov, 2*vectorKeys, vectors)
	g.Label("vectors")
	g.Op(g.Sub, vectors, g.keys)
	g.Op(g.MulInt, vectors, stride)
	g.Op(g.Add, stride, mem(g.local, g.localS()))
	g.Op(g.Shl, 2, vectors)
	g.Op(g.Add, vectors, mem(g.local, g.localScale()))
	g.Op(g.Shl, 1, vectors)
	g.Op(g.Add, vectors, g.off)
	g.Branch(g.Func, g.keys, "GT", "$0", "keys")
}
