package qkv

import (
	"sync"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// Lookup copies rows of a table to dst, such as those of an embedding for the tokens of a batch: row
// ids[i] to row i, on all workers. The table may be of any type, see [WeightMatrix]; dst gets float32. The
// error is an [*ArgError]; nothing has been written then.
func (e *Engine) Lookup(dst, table Matrix, ids []int32) error {
	if err := e.ready(); err != nil {
		return err
	}
	if err := table.checkElements("table"); err != nil {
		return err
	}
	written, err := dst.checkLookup(table.rows, table.cols, "rows", ids)
	if err != nil {
		return err
	}
	if err := table.checkApart("dst", &written, "table"); err != nil {
		return err
	}
	e.lookup(lookup{dst: dst, table: table, ids: ids}, lookupItem)
	return nil
}

// LookupPacked is Lookup in a table [rows, cols] that is packed as its transpose, [cols, rows]: row ids[i] is
// a column of what is packed. So an embedding whose transpose makes the logits (tied weights) is in
// memory once. A row has the bits of the weights as float32, rounded if they are packed for class BFloat16. The
// table may be packed for another kernel set. The elements of a row lie apart, each in a cache line of its own, as do
// the codes of other types. The error is that of
// [Engine.Lookup].
func (e *Engine) LookupPacked(dst Matrix, table *PackedMatrix, ids []int32) error {
	if err := e.ready(); err != nil {
		return err
	}
	if table == nil || table.set == nil {
		return argError("table", 0, 1, "table is nil or zero: Engine.Pack makes one")
	}
	if table.precision == PrecisionInt8 {
		return argError("table", int(table.precision), int(PrecisionFloat32), "table is packed for class %v, of which it has no numbers of float32: class %v has", table.precision, PrecisionFloat32)
	}
	written, err := dst.checkLookup(table.cols, table.rows, "packed columns", ids)
	if err != nil {
		return err
	}
	packed := floatsRegion(table.mem)
	if err := checkApart("dst", &written, "table", &packed); err != nil {
		return err
	}
	e.lookup(lookup{dst: dst, packed: table, ids: ids}, lookupItem/lookupApart)
	return nil
}

// checkLookup reports a matrix that cannot hold the rows with these ids of a table [rows, cols], and returns
// its bytes. Errors call the table's rows what.
func (m *Matrix) checkLookup(rows, cols int, what string, ids []int32) (region, error) {
	if err := m.check("dst"); err != nil {
		return region{}, err
	}
	if m.rows != len(ids) {
		return region{}, argError("dst", m.rows, len(ids), "dst has %d rows, there are %d ids", m.rows, len(ids))
	}
	if m.cols != cols {
		return region{}, argError("dst", m.cols, cols, "dst has %d columns, rows of table have %d elements", m.cols, cols)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= rows {
			return region{}, argError("ids", int(id), rows, "ids[%d] is %d, table has %d %s", i, id, rows, what)
		}
	}
	if err := m.checkWritable("dst"); err != nil {
		return region{}, err
	}
	return m.region(), nil
}

const (
	// lookupItem is about the elements that a worker copies at a time.
	lookupItem = 1 << 15

	// lookupApart is how many elements one counts for that has a cache line of its own.
	lookupApart = 16
)

// A lookup is the operands of a Lookup.
type lookup struct {
	dst, table Matrix
	packed     *PackedMatrix // or the table
	ids        []int32
}

// A lookupLoop is a lookup being done. do is rows, made once: a method value is allocated each time.
type lookupLoop struct {
	lookup
	do func(lo, hi int)
}

var lookups = sync.Pool{New: func() any {
	l := new(lookupLoop)
	l.do = l.rows
	return l
}}

// lookup copies the rows. A worker takes about so many elements at a time.
func (e *Engine) lookup(what lookup, elements int) {
	l := lookups.Get().(*lookupLoop)
	l.lookup = what
	e.engine.Parallel(&tile.Loop{N: len(l.ids), Chunk: max(1, elements/l.dst.cols), Do: l.do}, e.Workers())
	l.lookup = lookup{}
	lookups.Put(l)
}

// rows copies the rows [lo, hi) of dst.
func (l *lookupLoop) rows(lo, hi int) {
	for i := lo; i < hi; i++ {
		if l.packed != nil {
			l.dst.copyPacked(i, l.packed, int(l.ids[i]))
		} else {
			l.dst.copyRow(i, &l.table, int(l.ids[i]))
		}
	}
}

// copyRow copies a row of src, which has as many columns.
func (m *Matrix) copyRow(to int, src *Matrix, from int) {
	first := src.offset + from*src.rowStride
	if m.colStride == 1 && src.colStride == 1 {
		out := m.data[m.offset+to*m.rowStride:][:m.cols]
		if w := src.weights; w != nil {
			w.Values(out, first)
		} else {
			kernel.Copy(out, src.data[first:][:m.cols])
		}
		return
	}
	for i := range m.cols {
		x := m.data[m.offset+to*m.rowStride+i*m.colStride:][:1]
		if w := src.weights; w != nil {
			w.Values(x, first+i*src.colStride)
		} else {
			x[0] = src.data[first+i*src.colStride]
		}
	}
}

// copyPacked copies a column of src, which has as many rows as m has columns.
func (m *Matrix) copyPacked(to int, src *PackedMatrix, col int) {
	part := src.part(tile.Matrix{})
	tile.PackedValues(&m.data[m.offset+to*m.rowStride], m.colStride, src.set, &part, src.rows, col)
}
