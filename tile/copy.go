package tile

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A form is how Scores and Accumulate get the rows of a key block.
type form int

const (
	inPlace   form = iota // where the caller has them, if they can be read there
	asRows                // a copy, [key][dim]
	asColumns             // a copy, transposed: [dim][key]
	asBlocks              // blocks of integers, of class Int8
)

const (
	// rowPad is what lies between the rows of a copy, in float32 values: rows of a power of two
	// of bytes share few sets of the first-level cache.
	rowPad = cacheLine

	// farKeys is the bytes from key to key from which on a copy of them pays: each has a page
	// of its own, or nearly. farValues is that of values, of which a micro-tile reads all rows
	// of the block and not a few.
	farKeys, farValues = 4096 - 64, 2048

	// apartDims is the least dims of far keys that are read where they are on CPUs for [Tuning.Apart]: with fewer a
	// micro-tile is too short for the latency of its first lines.
	apartDims = 128

	// crowded is the bytes that rows lie apart by a multiple of where they share few sets of the
	// first-level cache: a quarter of them, or fewer.
	crowded = 256

	// copyRows is the least query rows of an item for which a copy of far keys pays.
	copyRows = 96
)

// A copying is how items get their keys and values.
type copying struct {
	k, v       form
	kWhy, vWhy reason
	kPairs     bool // in pairs of dims, of class BFloat16
	vPairs     bool // values and weights in pairs of keys, of bfloat16
}

// A reason is the text of one, which may have a place for a number.
type reason struct {
	text string
	n    int
}

func (r reason) String() string {
	if strings.Contains(r.text, "%d") {
		return fmt.Sprintf(r.text, r.n)
	}
	return r.text
}

// KeysWhy says how items get keys, and why so.
func (s *Schedule) KeysWhy() string { return s.copying.kWhy.String() }

// ValuesWhy says how items get values, and why so.
func (s *Schedule) ValuesWhy() string { return s.copying.vWhy.String() }

// copying decides how items of so many query rows get keys and values: a copy is made once for
// all rows of the item, and is read by each of its lane groups. More rows never copy less.
func (e *Engine) copying(p *Problem, rows int) copying {
	c := copying{kPairs: e.pairsKeys(p), vPairs: e.pairsValues(p)}
	const fits = 3 // copies in the second-level cache
	set, k, v := e.set, &p.K, &p.V
	room := func(dim int) bool { return fits*4*copySize(dim) <= e.caches.L2 }

	c.kWhy = reason{text: "read where they are, a few rows at a time"}
	switch {
	case p.integers():
		c.k, c.kWhy = asBlocks, reason{text: "copied, as integers"}
	case c.kPairs:
		c.k, c.kWhy = asRows, reason{text: "copied, rounded to bfloat16, in pairs of dims"}
	case p.rounds():
		c.k, c.kWhy = asRows, reason{text: "copied, rounded to bfloat16"}
	case k.Elem != kernel.Float32:
		c.k, c.kWhy = asRows, reason{text: "copied, as float32"}
	case p.keysApart(set):
		c.k, c.kWhy = asRows, reason{text: "copied: their elements lie too far apart"}
	case !k.dense() && k.Stride[2] == 4 && p.Tables == nil && set.TurnFar > 0 && rows >= 2*set.TurnFar && room(p.DimQK):
		c.k, c.kWhy = asRows, reason{"copied and transposed: their elements lie %d bytes apart", k.Stride[3]}
	case k.dense() && k.step() >= farKeys && !(e.tuning.Apart && p.DimQK >= apartDims) && set.TurnFar > 0 && rows >= copyRows && room(p.DimQK):
		c.k, c.kWhy = asRows, reason{"copied: they lie %d bytes apart", k.Stride[2]}
	case p.Tables != nil && p.PageTokens < kernel.KeyBlock:
		c.kWhy = reason{text: "copied: a page holds less than a block"}
	}

	c.vWhy = reason{text: "read where they are"}
	step := v.step()
	if p.roundsValues() {
		c.v, c.vWhy, step = asRows, reason{text: "copied, rounded to bfloat16"}, 4*p.DimV
	} else if p.integerValues() {
		c.v, c.vWhy = asBlocks, reason{text: "copied and transposed, as integers"}
		return c
	} else if v.Elem != kernel.Float32 {
		c.v, c.vWhy, step = asRows, reason{text: "copied, as float32"}, 4*p.DimV
	} else if p.Tables != nil && p.PageTokens < kernel.KeyBlock {
		c.vWhy, step = reason{text: "copied: a page holds less than a block"}, 4*p.DimV
	}
	if !v.dense() || v.Stride[2] == 0 || !room(p.DimV) {
		return c
	}
	switch {
	case set.TurnFar > 0 && rows >= set.TurnFar && v.step() >= farValues:
		c.v, c.vWhy = asColumns, reason{"copied and transposed: they lie %d bytes apart", v.Stride[2]}
	case set.Turn > 0 && rows >= set.Turn && step%crowded == 0:
		c.v, c.vWhy = asColumns, reason{"copied and transposed, which pays from %d query rows of an item on", set.Turn}
	}
	return c
}

// copies reports whether Scores and Accumulate may need copies of keys or values.
func (s *Schedule) copies(p *Problem) bool {
	return s.copying.k != inPlace || s.copying.v != inPlace || p.Tables != nil
}

// keyCopySize is copySize of keys, or of blocks of them.
func (e *Engine) keyCopySize(p *Problem) int {
	if p.integers() {
		return kernel.KeyBlock * e.blockFloats(p.DimQK)
	}
	return copySize(p.DimQK)
}

// valueCopySize is copySize of values, or of blocks of their dims.
func (e *Engine) valueCopySize(p *Problem) int {
	if p.integerValues() {
		return p.DimV * e.blockFloats(kernel.KeyBlock)
	}
	return copySize(p.DimV)
}

// copySize is the float32 values of a copy in either form.
func copySize(dim int) int {
	return max(kernel.KeyBlock*(dim+rowPad), dim*(kernel.KeyBlock+rowPad))
}

// A transposer transposes, by Pack: a product with 1 is exact.
type transposer struct {
	off  [kernel.MaxLanes]int // of the rows to transpose
	args kernel.PackArgs
}

// transpose transposes rows of n values, at the offsets off from src.
func (t *transposer) transpose(set *kernel.Set, src *float32, rows, n int, dst *float32, stride int) {
	a := &t.args
	a.Src, a.Off, a.DimStride, a.Scale = src, &t.off, 1, 1
	a.Rows, a.Lanes, a.Dim = rows, (rows+set.Vec-1)/set.Vec*set.Vec, n
	a.Dst, a.Stride = dst, stride
	set.Pack(a)
}

// keyBlock is the keys and values of a key block, of a KV head, and copies of them.
type keyBlock struct {
	k, v keyRows
	copier
	fewer   int     // query rows of items with fewer of them than most, the last of those
	copying copying // of those
}

// A copier makes copies.
type copier struct {
	transposer
	rounder
	floats      *float32 // [lanes][dim], of values to be transposed
	convertArgs kernel.ConvertArgs
	blockArgs   kernel.ConvertInt8Args
	turnArgs    kernel.TransposeInt8Args
}

// release drops the references to the caller's memory.
func (b *keyBlock) release() {
	b.k.forget()
	b.v.forget()
	b.transposer.args.Src = nil
	b.rounder.release()
	b.convertArgs.Src, b.convertArgs.Scale = nil, nil
	b.blockArgs.Src, b.blockArgs.Scale = nil, nil
	b.turnArgs.Src = nil
}

// find looks up the rows of a key block of a KV head.
func (b *keyBlock) find(at *cursor, head int) {
	b.k.find(at, head)
	b.v.find(at, head)
}

// openCopies notes how lane groups of a KV head get keys and values.
func (b *keyBlock) openCopies(at *cursor, laneGroups []laneGroup) {
	c, last := &at.sched.copying, &laneGroups[len(laneGroups)-1]
	if rows := last.row + last.rows - laneGroups[0].row; rows < at.sched.Rows() {
		if rows != b.fewer {
			b.fewer, b.copying = rows, at.engine.copying(&at.problem, rows)
		}
		c = &b.copying
	}
	b.k.form, b.v.form = c.k, c.v
	b.k.pairs, b.v.pairs = unpaired, unpaired
	if at.sched.copying.kPairs {
		b.k.pairs = dimPairs
	}
	if at.sched.copying.vPairs {
		b.v.pairs = keyPairs
	}
}

// keys and values return the rows as Scores and Accumulate want them: the first element, and the
// elements from row to row and from dim to dim.
func (b *keyBlock) keys(at *cursor) (first unsafe.Pointer, rowStride, dimStride int) {
	return b.k.operand(&b.copier, at.engine.set, at.n, at.problem.DimQK)
}

func (b *keyBlock) values(at *cursor) (first unsafe.Pointer, rowStride, dimStride int) {
	return b.v.operand(&b.copier, at.engine.set, at.n, at.problem.DimV)
}

// blocks returns the keys as MultiplyInt8 wants them.
func (b *keyBlock) blocks(at *cursor) unsafe.Pointer {
	k, a := &b.k, &b.blockArgs
	if !k.copied {
		a.Src, a.Off, a.Elem, a.UnitStride = k.base, (*[kernel.KeyBlock]int)(k.offsets(0)[:]), k.kv.Elem, k.kv.Stride[3]
		a.Scale, a.Rows, a.Dim, a.Halves = k.scale, at.n, at.problem.DimQK, at.engine.set.Int8Halves
		a.Dst, a.RowBytes = (*byte)(unsafe.Pointer(k.floats)), at.engine.blockRow(a.Dim)
		at.engine.set.ConvertInt8(a)
		k.copied = true
	}
	return unsafe.Pointer(k.floats)
}

// valueBlocks returns the values as MultiplyInt8 wants them.
func (b *keyBlock) valueBlocks(at *cursor, m *weigher) unsafe.Pointer {
	v, a := &b.v, &b.turnArgs
	if !v.copied {
		a.Src, a.Off, a.Elem, a.UnitStride = v.base, (*[kernel.KeyBlock]int)(v.offsets(0)[:]), v.kv.Elem, v.kv.Stride[3]
		a.Keys, a.Dim, a.Halves = at.n, at.problem.DimV, at.engine.set.Int8Halves
		a.Dst, a.RowBytes = (*byte)(unsafe.Pointer(v.floats)), at.engine.blockRow(kernel.KeyBlock)
		at.engine.set.TransposeInt8(a)
		m.find(at, v, 0, 0, at.n)
		v.copied = true
	}
	return unsafe.Pointer(v.floats)
}

// operand returns n rows as a kernel wants them, where they are or in a copy. Of pairs of keys, a row is that of two.
func (r *keyRows) operand(c *copier, set *kernel.Set, n, dim int) (first unsafe.Pointer, rowStride, dimStride int) {
	if r.form == inPlace && r.whole {
		return r.first(), r.stride / 4, r.kv.Stride[3] / 4
	}
	if !r.copied {
		if rounded := r.copy(c, set, n, dim); r.rounds && !rounded {
			c.rounder.rows(set, r, n, dim)
		}
		r.copied = true
	}
	if r.form == asColumns {
		return unsafe.Pointer(r.floats), 1, kernel.KeyBlock + rowPad
	}
	return unsafe.Pointer(r.floats), dim + rowPad, 1
}

// first returns the address of the first row.
func (r *keyRows) first() unsafe.Pointer {
	if r.even {
		return r.base
	}
	return unsafe.Add(r.base, r.off[0])
}

// copy makes the copy of the n rows that their form says, float32 of any type. It reports whether they are rounded, too.
func (r *keyRows) copy(c *copier, set *kernel.Set, n, dim int) (rounded bool) {
	off := r.offsets(0)
	float32s := r.kv.Elem == kernel.Float32
	switch {
	case r.form != asColumns && float32s && r.whole && r.kv.Stride[2] == 4 && !r.kv.dense():
		// Keys lie side by side: a row of a dim is what is transposed.
		for d := 0; d < dim; d += set.Lanes {
			m := min(set.Lanes, dim-d)
			for l := range m {
				c.off[l] = (d + l) * (r.kv.Stride[3] / 4)
			}
			c.transpose(set, (*float32)(r.first()), m, n, ptr.At(r.floats, d), dim+rowPad)
		}
	case r.form != asColumns:
		r.convert(c, set, off, 0, n, dim, r.floats, dim+rowPad)
		rounded = c.convertArgs.Brain
	case float32s:
		for k := 0; k < n; k += set.Lanes {
			m := min(set.Lanes, n-k)
			for l := range m {
				c.off[l] = off[k+l] / 4
			}
			c.transpose(set, (*float32)(r.base), m, dim, ptr.At(r.floats, k), kernel.KeyBlock+rowPad)
		}
	default:
		for k := 0; k < n; k += set.Lanes {
			m := min(set.Lanes, n-k)
			r.convert(c, set, off, k, m, dim, c.floats, dim)
			for l := range m {
				c.off[l] = l * dim
			}
			c.transpose(set, c.floats, m, dim, ptr.At(r.floats, k), kernel.KeyBlock+rowPad)
		}
		rounded = c.convertArgs.Brain
	}
	return rounded
}

// convert makes float32 of m rows from row k on, rounded if they are to be and not in pairs.
func (r *keyRows) convert(c *copier, set *kernel.Set, off *[2 * kernel.KeyBlock]int, k, m, dim int, dst *float32, stride int) {
	a := &c.convertArgs
	a.Src, a.Off, a.Elem, a.UnitStride = r.base, (*[kernel.KeyBlock]int)(off[k:]), r.kv.Elem, r.kv.Stride[3]
	a.Scale, a.Rows, a.Dim = floatsFrom(r.scale, k), m, dim
	a.Dst, a.Stride, a.Brain = dst, stride, r.rounds && r.pairs == unpaired
	set.Convert(a)
}
