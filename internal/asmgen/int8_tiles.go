package asmgen

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// MultiplyInt8 with tiles. A tile product is rows of X by 16 lanes, of the terms that share a scale: a step, which is
// a block of 32 terms or a half of it. Its sums go through local memory to vectors. So that neither waits for the other,
// with the vector instructions of a step stand the store of the sums of the next one, the products of the one behind
// that, and the loads of the third.

// Heights of micro-tiles, and the least rows for which they are taken.
const (
	tileTall  = 12
	tileShort = 8
)

// Tiles: sums of up to two vectors of lanes and X of either height, and W.
const (
	tallSums  = 0
	tallX     = 2
	tileW     = 3
	shortSums = 5
	shortX    = 7
)

const (
	// tileVecs is the most vectors of a micro-tile.
	tileVecs = 2

	// tileNextLines is int8NextLines of a micro-tile of tiles, which are fewer.
	tileNextLines = 4

	tileRowBytes = 64 // of sums and of W
	tileSums     = tileVecs * tileTall * tileRowBytes
	tileCopied   = tileVecs * kernel.KC / 4 * tileRowBytes // of W
	tileRoom     = tileCopied + 2*tileSums
)

// Local variables.
const (
	tileX      = int8Locals + 8*iota // X of the micro-tile
	tileLanes                        // bytes of a row of lanes
	tileMemory                       // address of the copy of W, in front of sums
	tileOther                        // address of the sums of the other step
	tileBlocks                       // blocks of the micro-tile that are left
	tileLoads                        // the same of the micro-tile that is being loaded
	tileDepth                        // blocks
	tileXBytes                       // bytes of the blocks of a row
	tileCount                        // micro-tiles that are left
	tileAhead                        // the same of loads
	tileTalls                        // micro-tiles of either height
	tileShorts
	tileLocals
)

// A tilePart is the body of MultiplyInt8 with tiles, for steps of a kind and micro-tiles of a size.
type tilePart struct {
	*int8Tile
	sumTile, xTile int
	loadX, loadW   Int // addresses of what is loaded
	buf            Int // address of the sums of the step
	line           Int // tileRowBytes

	scaled []Vec // scales of the step, or minima of the block
}

// tiles writes what stands in front of the loops over rows by vectors: as many rows as fill tiles.
func (t *int8Tile) tiles() {
	t.load("Depth", t.free)
	t.Branch(t.Func, t.free, "GT", imm(kernel.KC), "tilesNone") // of more there is no room for a copy of W
	t.load("Rows", t.free)
	t.Branch(t.Func, t.free, "LT", imm(tileShort), "tilesNone")

	t.Comment("Micro-tiles of %d rows, and up to two of %d, which leave less than 4 rows.", tileTall, tileShort)
	count := t.mins
	t.Op(t.Mov, 0, count)
	t.Label("tilesCount")
	t.Branch(t.Func, t.free, "GE", imm(tileTall+tileShort), "tilesTall")
	t.Branch(t.Func, t.free, "LT", imm(tileTall), "tilesRest")
	t.Branch(t.Func, t.free, "GE", imm(2*tileShort), "tilesRest")
	t.Label("tilesTall")
	t.Op(t.Sub, tileTall, t.free)
	t.Op(t.Add, 1, count)
	t.Jump("tilesCount")
	t.Label("tilesRest")
	t.Op(t.Mov, count, t.LocalAt(tileTalls))
	t.Op(t.Mov, t.free, count)
	t.Op("SHRQ", 3, count)
	t.Op(t.Mov, count, t.LocalAt(tileShorts))
	t.Op(t.And, tileShort-1, t.free)
	t.Op(t.Mov, t.free, t.LocalAt(int8Rows))

	t.Op(t.Mov, t.ws, t.LocalAt(tileLanes))
	t.Op("LEAQ", fmt.Sprintf("%d(SP)", tileLocals+cacheLine-1), t.free)
	t.Op(t.And, -cacheLine, t.free)
	t.Op(t.Mov, t.free, t.LocalAt(tileMemory))
	t.load("Depth", t.free)
	t.Op("SHRQ", 5, t.free)
	t.Op(t.Mov, t.free, t.LocalAt(tileDepth))
	t.Op(t.MulInt, kernel.Int8BlockBytes(false), t.free)
	t.Op(t.Mov, t.free, t.LocalAt(tileXBytes))
	t.Op(t.Mov, 0, t.LocalAt(int8Vec))
	t.load("Groups", t.free)
	t.Branch(t.Func, t.free, "EQ", "$2", "tilesOfgroups")
	for _, kind := range []int8Kind{{name: "bytes", groups: 1}, {name: "groups", groups: 2}} {
		t.kind = kind
		t.tilesOf()
	}

	t.Label("tilesDone")
	t.Op("TILERELEASE")
	t.Op(t.Mov, t.LocalAt(tileX), t.x)
	t.Op(t.Mov, t.LocalAt(tileLanes), t.ws)
	t.Label("tilesNone")
}

// stepTerms is the terms of a step.
func (t *int8Tile) stepTerms() int { return kernel.Int8Block / t.kind.groups }

// tilesOf writes the loop over lanes for a kind.
func (t *int8Tile) tilesOf() {
	c, x := tileShape{tileTall, tileRowBytes}, tileShape{tileTall, t.stepTerms()}
	w := tileShape{t.stepTerms() / 4, tileRowBytes}
	shapes := []tileShape{tallSums: c, c, x, w, w, c, c, x}
	for i := shortSums; i < len(shapes); i++ {
		shapes[i].rows = tileShort
	}
	name := t.kind.name
	vec := func(vecs int) string { return fmt.Sprintf("tiles%d%s", vecs, name) }
	t.Label("tilesOf" + name)
	t.Address(t.Func, t.symbol("tiles"+name, tileConfig(shapes)...), t.free)
	t.Op("LDTILECFG", t.free)
	next := "tilesNext" + name
	t.Label(next)
	t.Op(t.Mov, t.LocalAt(tileLanes), t.free)
	t.Op(t.Sub, t.LocalAt(int8Vec), t.free)
	t.Branch(t.Func, t.free, "EQ", "$0", "tilesDone")
	t.load("X", t.mins)
	t.Op(t.Mov, t.mins, t.LocalAt(tileX))
	t.load("C", t.mins)
	t.Op(t.Mov, t.mins, t.LocalAt(int8C))
	t.Branch(t.Func, t.free, "LT", imm(tileVecs*t.Bytes()), vec(1))
	for vecs := tileVecs; vecs > 0; vecs-- {
		t.Label(vec(vecs))
		t.vecs = vecs
		t.copyW()
		t.rowsByTiles(tileTall, tileTalls, tallSums, tallX)
		t.rowsByTiles(tileShort, tileShorts, shortSums, shortX)
		t.Op(t.Add, vecs*t.Bytes(), t.LocalAt(int8Vec))
		t.Jump(next)
	}
}

// copyW writes a loop that copies W of the vectors of lanes, a tile after the other, and makes codes integers with a
// sign: then sums of integers need no correction.
func (t *int8Tile) copyW() {
	m := t.vectors(fmt.Sprintf("tiles, copy of %d:", t.vecs))
	sign, v := m.one("sign bits"), m.take(t.vecs, "W")
	src, dst, left := t.w, t.scales, t.mins
	t.load("W", src)
	t.Op(t.Add, t.LocalAt(int8Vec), src)
	t.Op(t.Mov, t.LocalAt(tileMemory), dst)
	t.Op(t.Mov, t.LocalAt(tileLanes), t.free)
	t.load("Depth", left)
	t.Broadcast(t.Func, t.word(0x80808080), sign)
	loop := fmt.Sprintf("tilesCopy%d%s", t.vecs, t.kind.name)
	t.Loop(loop)
	rows := t.stepTerms() / 4
	for row := range rows {
		for j, w := range v {
			t.Op("VPXORD", mem(src, j*t.Bytes()), sign, w)
			t.Op(t.Store, w, mem(dst, (j*rows+row)*tileRowBytes))
		}
		t.Op(t.Add, t.free, src)
	}
	t.Op(t.Add, t.vecs*rows*tileRowBytes, dst)
	t.Op(t.Sub, t.stepTerms(), left)
	t.Branch(t.Func, left, "NE", "$0", loop)
}

// rowsByTiles writes the loop over micro-tiles of a height, whose number is a local variable.
func (t *int8Tile) rowsByTiles(height, count, sumTile, xTile int) {
	part := *t
	part.rows = height
	part.p = append(slices.Clone(t.p), t.w)
	p := &tilePart{int8Tile: &part, sumTile: sumTile, xTile: xTile, loadX: t.x, loadW: t.ws, buf: t.local, line: t.k}
	p.emit(count)
}

func (p *tilePart) emit(count int) {
	notes := p.notes
	m := p.vectors(fmt.Sprintf("tiles %dx%d:", p.rows, p.vecs))
	sums := m.take(p.rows*p.vecs, "sums")
	p.sums = nil
	for r := range p.rows {
		p.sums = append(p.sums, sums[r*p.vecs:][:p.vecs])
	}
	p.scaled = m.take(p.vecs, "scales")
	p.xv, p.tmp = m.one("D"), m.one("scratch")
	p.wv = m.take(1, "integers")
	if p.kind.groups > 1 {
		p.notes = notes
	}
	none := p.label("tilesNone", p.vecs)
	p.Op(p.Mov, p.LocalAt(count), p.free)
	p.Branch(p.Func, p.free, "EQ", "$0", none)

	p.Op(p.Mov, p.free, p.LocalAt(tileCount))
	p.Op(p.Mov, p.free, p.LocalAt(tileAhead))
	p.Op(p.Mov, p.LocalAt(tileDepth), p.free)
	p.Op(p.Mov, p.free, p.LocalAt(tileLoads))
	p.Op(p.Mov, p.LocalAt(tileX), p.loadX)
	p.Op(p.Mov, p.LocalAt(tileMemory), p.loadW)
	p.Op("LEAQ", mem(p.loadW, tileCopied), p.buf)
	p.Op("LEAQ", mem(p.buf, tileSums), p.free)
	p.Op(p.Mov, p.free, p.LocalAt(tileOther))
	p.Op(p.Mov, tileRowBytes, p.line)
	p.loads(0)
	p.dots()
	p.loads(1)
	p.storeTiles(p.buf)
	p.dots()
	p.loads(2)

	loop := p.label("tilesRows", p.vecs)
	p.Label(loop)
	p.begin()
	blocks := p.label("tilesBlock", p.vecs)
	p.Loop(blocks)
	p.askNext(tileNextLines)
	for group := range p.kind.groups {
		p.Op(p.Mov, p.LocalAt(tileOther), p.free)
		p.storeTiles(p.free)
		p.dots()
		p.loads(group + 3)
		p.add()
		p.Op(p.Mov, p.LocalAt(tileOther), p.free)
		p.Op(p.Mov, p.buf, p.LocalAt(tileOther))
		p.Op(p.Mov, p.free, p.buf)
	}
	p.addMins()
	for _, row := range p.p[:(p.rows+p.RowsPerPtr-1)/p.RowsPerPtr] {
		p.Op(p.Add, kernel.Int8BlockBytes(false), row)
	}
	p.Op("DECQ", p.LocalAt(tileBlocks))
	p.Op("JNE", blocks)
	p.end()
	p.Op("DECQ", p.LocalAt(tileCount))
	p.Op("JNE", loop)
	p.Label(none)
}

// loads writes the loads of a step, and goes on to the next one, which is the last one again behind the last one.
func (p *tilePart) loads(step int) {
	group := step % p.kind.groups
	rows := p.stepTerms() / 4
	p.Op("TILELOADD", p.loadX, p.xs, group*p.stepTerms(), tileName(p.xTile))
	for j := range p.vecs {
		p.Op("TILELOADD", p.loadW, p.line, j*rows*tileRowBytes, tileName(tileW+j))
	}
	p.Op(p.Add, p.vecs*rows*tileRowBytes, p.loadW)
	if group < p.kind.groups-1 {
		return
	}
	p.Op(p.Add, kernel.Int8BlockBytes(false), p.loadX)
	same := p.unique(p.label("tilesLoaded", p.vecs))
	p.Op("DECQ", p.LocalAt(tileLoads))
	p.Op("JNE", same)
	p.Op(p.Mov, p.LocalAt(tileDepth), p.free)
	p.Op(p.Mov, p.free, p.LocalAt(tileLoads))
	p.Op(p.Mov, p.LocalAt(tileMemory), p.loadW)
	p.Op(p.Sub, p.LocalAt(tileXBytes), p.loadX)
	p.Op("DECQ", p.LocalAt(tileAhead))
	p.Op("JLE", same)
	p.rowBytes()
	p.Op(p.Add, p.free, p.loadX)
	p.Label(same)
}

// rowBytes writes free = the bytes of X from a micro-tile to the next.
func (p *tilePart) rowBytes() { p.Op("IMUL3Q", p.rows, p.xs, p.free) }

// dots writes the products of a step.
func (p *tilePart) dots() {
	for j := range p.vecs {
		p.Op("TILEZERO", tileName(p.sumTile+j))
	}
	for j := range p.vecs {
		p.Op("TDPBSSD", tileName(tileW+j), tileName(p.xTile), tileName(p.sumTile+j))
	}
}

// storeTiles writes the store of the sums of integers of a step.
func (p *tilePart) storeTiles(to Int) {
	for j := range p.vecs {
		p.Op("TILESTORED", tileName(p.sumTile+j), to, p.line, j*p.rows*tileRowBytes)
	}
}

// begin begins a micro-tile.
func (p *tilePart) begin() {
	p.Op(p.Mov, p.LocalAt(tileX), p.p[0])
	for i := 1; i*p.RowsPerPtr < p.rows; i++ {
		p.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", p.p[i-1], p.xs), p.p[i])
		p.Op(p.Add, p.xs, p.p[i])
	}
	p.load("Scales", p.scales)
	p.Op(p.Add, p.LocalAt(int8Vec), p.scales)
	if p.kind.groups == 1 {
		none := p.label("tilesMinless", p.vecs)
		p.load("Mins", p.mins)
		p.Branch(p.Func, p.mins, "EQ", "$0", none)
		p.Op(p.Add, p.LocalAt(int8Vec), p.mins)
		p.Label(none)
	}
	p.Op(p.Mov, p.LocalAt(tileDepth), p.free)
	p.Op(p.Mov, p.free, p.LocalAt(tileBlocks))
	for _, sums := range p.sums {
		for _, v := range sums {
			p.Zero(p.Func, v)
		}
	}
}

// add adds the sums of integers of a step to those of the micro-tile.
func (p *tilePart) add() {
	for j, v := range p.scaled {
		p.Op(p.Load, mem(p.scales, j*p.Bytes()), v)
	}
	p.Op(p.Add, p.LocalAt(tileLanes), p.scales)
	for r, sums := range p.sums {
		p.Broadcast(p.Func, p.at(r, kernel.Int8Integers(false)+kernel.Int8D), p.xv)
		for j, sum := range sums {
			p.Op("VCVTDQ2PS", mem(p.buf, (j*p.rows+r)*tileRowBytes), p.wv[0])
			p.Op(p.MulV, p.scaled[j], p.xv, p.tmp)
			p.Op("VFMADD231PS", p.tmp, p.wv[0], sum)
		}
	}
}

// addMins adds the minima of a block, if there are some.
func (p *tilePart) addMins() {
	if p.kind.groups > 1 {
		return
	}
	none := p.label("tilesNoMins", p.vecs)
	p.Branch(p.Func, p.mins, "EQ", "$0", none)
	for j, v := range p.scaled {
		p.Op(p.Load, mem(p.mins, j*p.Bytes()), v)
	}
	p.Op(p.Add, p.LocalAt(tileLanes), p.mins)
	for r, sums := range p.sums {
		p.Broadcast(p.Func, p.at(r, kernel.Int8Integers(false)+kernel.Int8Sum), p.xv)
		for j, sum := range sums {
			p.Op("VFMADD231PS", p.scaled[j], p.xv, sum)
		}
	}
	p.Label(none)
}

// end adds the sums of a micro-tile to C, and goes on to the next one.
func (p *tilePart) end() {
	c := *p.int8Tile
	c.k, c.w = p.p[1], p.p[2]
	c.store()
	p.loadBytes("Stride", p.free)
	p.Op(p.MulInt, p.rows, p.free)
	p.Op(p.Add, p.free, p.LocalAt(int8C))
	p.rowBytes()
	p.Op(p.Add, p.free, p.LocalAt(tileX))
}

func tileName(i int) Vec { return Vec(fmt.Sprintf("T%d", i)) }

// peakTileOps is the operations of a round of PeakInt8 with tiles: of 16 rows of 64 bytes each.
const peakTileOps = 2 * 16 * 16 * 64

// peakTiles writes PeakInt8 with tiles: a round is a product of tiles.
func peakTiles(arch *Arch) *Func {
	f := newProbe(arch, "peakInt8", "(n int)", 8, `
for range n {
	acc[i] += x * w, of integers, for the next i
}
`)
	const accs = 6
	var shapes []tileShape
	for range accs + 2 {
		shapes = append(shapes, tileShape{16, tileRowBytes})
	}
	n, config := f.int("rounds left"), f.int("configuration")
	f.mask(fmt.Sprintf("tiles 0 to %d acc; %d x; %d w", accs-1, accs, accs+1))
	f.Op(f.Mov, "n+0(FP)", n)
	f.Address(f, f.symbol("tilesPeak", tileConfig(shapes)...), config)
	f.Op("LDTILECFG", config)
	for i := range accs + 2 {
		f.Op("TILEZERO", tileName(i))
	}
	f.Branch(f, n, "LE", "$0", "done")
	f.Loop("loop")
	for i := range accs {
		f.Op("TDPBSSD", tileName(accs+1), tileName(accs), tileName(i))
		f.Count(f, n)
		if i < accs-1 {
			f.Op("JEQ", "done")
		}
	}
	f.Again(f, "loop")
	f.Label("done")
	f.Op("TILERELEASE")
	f.Return(f)
	return f
}
