package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

// A quadTile is the body of MultiplyInt8 by DotQuad: 16 integers of a row of X are in a register, of which each four
// are multiplied by a row of W, whose codes become integers with a sign. There are registers for all sums.
type quadTile struct {
	*Func
	x, xs        Int   // next row of X, and the bytes to the one after it
	c, cs        Int   // next row of C, and the bytes to the one after it
	rowsLeft     Int   // of C
	lane         Int   // bytes of lanes before the micro-tile
	p            []Int // rows of X, at the block
	w, ws        Int   // W at the quad, and the bytes of a row of lanes
	scales, mins Int   // at the block
	k            Int   // terms left
	next, tmp    Int

	kind       int8Kind
	rows, vecs int
	acc        [][][]Vec // sums of integers: by row and vector
	sums       [][]Vec
	xv         []Vec   // of each row 16 integers, or what is behind them; of one row that of the other half, too
	wv         [][]Vec // vectors of W, or of scales, of as many quads as there are registers for
	quad, t    Vec
	sign       Vec // 128 in each byte
	mask, tab  Vec
	codes      Vec // of 8 bits
}

// quadHeights returns the micro-tiles of multiplyQuads, the highest first.
func (arch *Arch) quadHeights() []int8Height {
	if arch.SumVectors == 1 {
		return []int8Height{{8, []int{1}}, {4, []int{2, 1}}, {1, []int{3, 1}}}
	}
	return []int8Height{{2, []int{3, 1}}, {1, []int{3, 1}}}
}

// multiplyQuads writes MultiplyInt8.
func multiplyQuads(arch *Arch) *Func {
	f := newFunc(arch, "multiplyInt8", reflect.TypeFor[kernel.MultiplyInt8Args](), multiplyInt8Formula)
	heights := arch.quadHeights()
	t := &quadTile{
		Func: f, x: f.int("X, next micro-tile"), xs: f.int("X, bytes from row to row"),
		c: f.int("C, next micro-tile"), cs: f.int("C, bytes from row to row"), rowsLeft: f.int("rows left"),
		lane: f.int("bytes of lanes before the micro-tile"), p: f.ints(max(4, heights[0].rows), "rows of X, at the block"),
		w: f.int("W, at the quad"), ws: f.int("bytes of a row of lanes"),
		scales: f.int("Scales, at the block"), mins: f.int("Mins, at the block, or 0"), k: f.int("terms left"),
		next: f.int("what is read next"), tmp: f.int("scratch"),
	}
	f.load("X", t.x)
	f.load("RowBytes", t.xs)
	f.load("C", t.c)
	f.loadBytes("Stride", t.cs)
	f.load("Rows", t.rowsLeft)
	f.loadBytes("Lanes", t.ws)
	f.load("Table", t.tmp)
	f.Branch(f, t.tmp, "NE", "$0", "nibblesRows")
	f.load("Groups", t.tmp)
	f.Branch(f, t.tmp, "EQ", "$2", "groupsRows")
	for _, kind := range []int8Kind{{name: "bytes", groups: 1}, {name: "groups", groups: 2}, {name: "nibbles", groups: 1, nibbles: true}} {
		t.kind = kind
		t.all(heights)
	}
	return f
}

// all writes the loop over the rows for a kind.
func (t *quadTile) all(heights []int8Height) {
	name := t.kind.name
	if t.kind.nibbles {
		heights = heights[len(heights)-1:]
	}
	height := func(h int8Height) string { return fmt.Sprintf("%s%d", name, h.rows) }
	t.Label(name + "Rows")
	for _, h := range heights {
		t.Branch(t.Func, t.rowsLeft, "GE", imm(h.rows), height(h))
	}
	t.Return(t.Func)
	for _, h := range heights {
		t.rows = h.rows
		t.Label(height(h))
		t.Op(t.Mov, 0, t.lane)
		next := height(h) + "Vec"
		t.Label(next)
		t.Op(t.Mov, t.ws, t.tmp)
		t.Op(t.Sub, t.lane, t.tmp)
		for _, vecs := range h.vecs {
			t.Branch(t.Func, t.tmp, "GE", imm(vecs*t.Bytes()), t.label("tile", vecs))
		}
		// All lanes are done.
		for range t.rows {
			t.Op(t.Add, t.xs, t.x)
			t.Op(t.Add, t.cs, t.c)
		}
		t.Op(t.Sub, t.rows, t.rowsLeft)
		t.Jump(name + "Rows")
		for _, vecs := range h.vecs {
			t.vecs = vecs
			t.tile()
			t.Jump(next)
		}
	}
}

func (t *quadTile) label(what string, vecs int) string {
	return fmt.Sprintf("%s%s%dx%d", what, t.kind.name, t.rows, vecs)
}

// registers shares out the vector registers.
func (t *quadTile) registers() {
	notes := t.notes
	m := t.vectors(fmt.Sprintf("%s %dx%d:", t.kind.name, t.rows, t.vecs))
	n := t.SumVectors
	acc, sums := m.take(t.rows*t.vecs*n, "sums of integers"), m.take(t.rows*t.vecs, "sums")
	t.acc, t.sums = make([][][]Vec, t.rows), make([][]Vec, t.rows)
	for r := range t.rows {
		t.sums[r] = sums[r*t.vecs:][:t.vecs]
		for j := range t.vecs {
			t.acc[r] = append(t.acc[r], acc[(r*t.vecs+j)*n:][:n])
		}
	}
	t.xv = m.take(max(2, t.rows), "X")
	t.t = m.one("scratch")
	if n > 1 {
		t.quad = m.one("four integers")
	}
	if t.kind.nibbles {
		t.mask, t.tab, t.codes = m.one("4 bits"), m.one("Table"), m.one("integers of codes")
	} else {
		t.sign = m.one("128")
	}
	quads := quadTerms / 4
	for quads*t.vecs > len(m.free) {
		quads /= 2
	}
	w := m.take(quads*t.vecs, "W, scales")
	t.wv = nil
	for q := range quads {
		t.wv = append(t.wv, w[q*t.vecs:][:t.vecs])
	}
	if t.kind.name != "bytes" {
		t.notes = notes
	}
}

// tile writes a micro-tile.
func (t *quadTile) tile() {
	t.registers()
	t.Label(t.label("tile", t.vecs))
	t.Op(t.Mov, t.x, t.p[0])
	for i := 1; i < t.rows; i++ {
		t.Op(t.Add, t.xs, t.p[i-1], t.p[i])
	}
	t.load("W", t.w)
	t.load("Scales", t.scales)
	t.Op(t.Add, t.lane, t.w)
	t.Op(t.Add, t.lane, t.scales)
	if t.kind.groups == 1 {
		none := t.label("minless", t.vecs)
		t.load("Mins", t.mins)
		t.Branch(t.Func, t.mins, "EQ", "$0", none)
		t.Op(t.Add, t.lane, t.mins)
		t.Label(none)
	}
	t.load("Depth", t.k)
	for _, sums := range t.sums {
		for _, v := range sums {
			t.Zero(t.Func, v)
		}
	}
	if t.kind.nibbles {
		t.Op("VMOVI.B16", 15, t.mask)
		t.load("Table", t.tmp)
		t.Op(t.Load, mem(t.tmp, 0), t.tab)
		t.Op("VMOVI.B16", 128, t.t)
		t.Op(t.XorV, t.t, t.tab, t.tab)
	} else {
		t.Op("VMOVI.B16", 128, t.sign)
	}
	loop := t.label("block", t.vecs)
	t.Loop(loop)
	t.block()
	for i := range t.rows {
		t.Op(t.Add, kernel.Int8BlockBytes(false), t.p[i])
	}
	t.Op(t.Sub, kernel.Int8Block, t.k)
	t.Branch(t.Func, t.k, "NE", "$0", loop)
	t.store()
	t.Op(t.Add, t.vecs*t.Bytes(), t.lane)
}

// quadTerms is the integers of a row of X that a register holds.
const quadTerms = kernel.Int8Block / 2

// block writes a block of terms.
func (t *quadTile) block() {
	if t.rows > 1 {
		t.askNext(0, int8NextLines)
	}
	for group := range t.kind.groups {
		for _, acc := range t.acc {
			for _, sum := range acc {
				for _, v := range sum {
					t.Zero(t.Func, v)
				}
			}
		}
		if t.kind.nibbles {
			t.nibbles()
		} else {
			for h := range 2 / t.kind.groups {
				t.bytes(group + h)
			}
		}
		t.scale()
		t.Op(t.Add, t.ws, t.scales)
	}
	if t.kind.groups == 2 {
		return
	}
	none := t.label("noMins", t.vecs)
	t.Branch(t.Func, t.mins, "EQ", "$0", none)
	for j, w := range t.wv[0] {
		t.Op(t.Load, mem(t.mins, j*t.Bytes()), w)
		for r := range t.rows {
			t.Op("FMLA.S[1]", t.xv[r], w, t.sums[r][j])
		}
	}
	t.Op(t.Add, t.ws, t.mins)
	t.Label(none)
}

// askNext asks for lines of what is read next.
func (t *quadTile) askNext(part, lines int) {
	done := fmt.Sprintf("%s_%d", t.label("asked", t.vecs), part)
	t.load("Next", t.tmp)
	t.load("NextEnd", t.next)
	t.Branch(t.Func, t.tmp, "GE", string(t.next), done)
	for i := range lines {
		t.Prefetch(t.Func, mem(t.tmp, i*cacheLine))
	}
	t.Op(t.Add, lines*cacheLine, t.tmp)
	t.save(t.tmp, "Next")
	t.Label(done)
}

// codesOf returns the registers of a row of codes of the lanes, of quad q of a half of a block. The first of them loads
// what all hold.
func (t *quadTile) codesOf(q int) []Vec {
	i := q % len(t.wv)
	if i != 0 {
		return t.wv[i]
	}
	for _, row := range t.wv {
		for j, w := range row {
			t.Op(t.Load, mem(t.w, j*t.Bytes()), w)
		}
		t.Op(t.Add, t.ws, t.w)
	}
	if !t.kind.nibbles {
		for _, row := range t.wv {
			for _, w := range row {
				t.Op(t.XorV, t.sign, w, w)
			}
		}
	}
	return t.wv[0]
}

// bytes adds the products of a half of a block.
func (t *quadTile) bytes(h int) {
	if t.rows == 1 {
		t.askNext(h, t.vecs)
	}
	for r := range t.rows {
		t.Op(t.Load, mem(t.p[r], h*quadTerms), t.xv[r])
	}
	for q := range quadTerms / 4 {
		codes := t.codesOf(q)
		for r, acc := range t.acc {
			x := t.QuadOf(t.Func, t.xv[r], q, t.quad)
			for j, w := range codes {
				t.DotQuad(t.Func, w, x, q, acc[j], t.t)
			}
		}
	}
}

// nibbles adds the products of a block of codes of 4 bits, of one row.
func (t *quadTile) nibbles() {
	t.askNext(0, t.vecs)
	lower, upper := t.xv[0], t.xv[1]
	t.Op(t.Load, mem(t.p[0], 0), lower)
	t.Op(t.Load, mem(t.p[0], quadTerms), upper)
	for q := range quadTerms / 4 {
		codes := t.codesOf(q)
		for i, x := range []Vec{lower, upper} {
			x = t.QuadOf(t.Func, x, q, t.quad)
			for j, w := range codes {
				if i == 0 {
					t.Op(t.AndV, t.mask, w, t.codes)
				} else {
					t.Op("VUSHR.B16", 4, w, t.codes)
				}
				t.Shuffle(t.Func, string(t.codes), t.tab, t.codes)
				t.DotQuad(t.Func, t.codes, x, q, t.acc[0][j], t.t)
			}
		}
	}
}

// scale adds the sums of integers to those of the micro-tile, and leaves what is behind the integers of rows in xv.
func (t *quadTile) scale() {
	for r := range t.rows {
		t.Op(t.Load, mem(t.p[r], kernel.Int8Integers(false)+kernel.Int8D), t.xv[r])
	}
	for j, w := range t.wv[0] {
		t.Op(t.Load, mem(t.scales, j*t.Bytes()), w)
		for r := range t.rows {
			acc := t.acc[r][j]
			t.JoinSum(t.Func, acc)
			t.IntToFloat(t.Func, acc[0], acc[0])
			t.Mul(t.Func, t.xv[r], w, t.t)
			t.Op(t.FMAV, t.t, acc[0], t.sums[r][j])
		}
	}
}

// store adds the sums of the micro-tile to C.
func (t *quadTile) store() {
	bias, old, oldStride, c := t.scales, t.mins, t.k, t.p[0]
	zeros := t.symbol("zeros", make([]uint32, kernel.MaxLanes)...)
	biased, added, done := t.label("biased", t.vecs), t.label("added", t.vecs), t.label("stored", t.vecs)
	scaled := t.kind.name == "bytes"
	if scaled {
		t.storeScaled(done)
	}
	t.load("Bias", bias)
	t.Branch(t.Func, bias, "NE", "$0", biased)
	t.Address(t.Func, zeros, bias)
	t.Op(t.Sub, t.lane, bias)
	t.Label(biased)
	t.Op(t.Add, t.lane, bias)
	t.Op(t.Add, t.lane, t.c, c)
	t.Op(t.Mov, c, old)
	t.Op(t.Mov, t.cs, oldStride)
	t.LoadByte(t.Func, t.arg("Add"), t.tmp)
	t.note("a.Add")
	t.Branch(t.Func, t.tmp, "NE", "$0", added)
	t.Address(t.Func, zeros, old)
	t.Op(t.Mov, 0, oldStride)
	t.Label(added)
	for r := range t.rows {
		for j := range t.vecs {
			t.Op(t.Load, mem(old, j*t.Bytes()), t.t)
			t.AddLoad(t.Func, mem(bias, j*t.Bytes()), t.t)
			t.Op(t.AddV, t.sums[r][j], t.t, t.t)
			t.Op(t.Store, t.t, mem(c, j*t.Bytes()))
		}
		if r < t.rows-1 {
			t.Op(t.Add, oldStride, old)
			t.Op(t.Add, t.cs, c)
		}
	}
	if scaled {
		t.Label(done)
	}
}

// storeScaled adds the sums of the micro-tile to C times Alpha, and goes on at done, if there is an Alpha.
func (t *quadTile) storeScaled(done string) {
	alpha, c, none := t.scales, t.p[0], t.label("unscaled", t.vecs)
	t.load("Alpha", alpha)
	t.Branch(t.Func, alpha, "EQ", "$0", none)
	t.Op(t.Add, t.lane, alpha)
	t.Op(t.Add, t.lane, t.c, c)
	for r := range t.rows {
		for j := range t.vecs {
			t.Op(t.Load, mem(c, j*t.Bytes()), t.t)
			t.MulLoad(t.Func, mem(alpha, j*t.Bytes()), t.t, t.xv[0])
			t.Op(t.AddV, t.sums[r][j], t.xv[0], t.t)
			t.Op(t.Store, t.t, mem(c, j*t.Bytes()))
		}
		if r < t.rows-1 {
			t.Op(t.Add, t.cs, c)
		}
	}
	t.Jump(done)
	t.Label(none)
}
