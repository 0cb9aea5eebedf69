package qkv

// Lookup copies rows of a table to dst, such as those of an embedding for the tokens of a batch: row
// ids[i] to row i. The table may be of any type, see [WeightMatrix]; dst gets float32. The error is an
// [*ArgError]; nothing has been written then.
func Lookup(dst, table Matrix, ids []int32) error {
	if err := dst.check("dst"); err != nil {
		return err
	}
	if err := table.checkElements("table"); err != nil {
		return err
	}
	if dst.rows != len(ids) {
		return argError("dst", dst.rows, len(ids), "dst has %d rows, there are %d ids", dst.rows, len(ids))
	}
	if dst.cols != table.cols {
		return argError("dst", dst.cols, table.cols, "dst has %d columns, table has %d", dst.cols, table.cols)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= table.rows {
			return argError("ids", int(id), table.rows, "ids[%d] is %d, table has %d rows", i, id, table.rows)
		}
	}
	if err := dst.checkWritable("dst"); err != nil {
		return err
	}
	written := dst.region()
	if err := table.checkApart("dst", &written, "table"); err != nil {
		return err
	}
	for i, id := range ids {
		dst.copyRow(i, &table, int(id))
	}
	return nil
}

// copyRow copies a row of src, which has as many columns.
func (m *Matrix) copyRow(to int, src *Matrix, from int) {
	first := src.offset + from*src.rowStride
	if m.colStride == 1 && src.colStride == 1 {
		out := m.data[m.offset+to*m.rowStride:][:m.cols]
		if w := src.weights; w != nil {
			w.Values(out, first)
		} else {
			copy(out, src.data[first:])
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
