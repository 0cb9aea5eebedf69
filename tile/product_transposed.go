package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// columnBlock is the most columns of Y that the transposed product works on together: a
// multiple of every set's Rows.
const columnBlock = 192

// transposedDepth bounds the depth of a product of which a block of rows is packed whole, a
// transposed one or PathDots: to 16 MiB in the widest lanes. A deeper one packs its weights instead.
const transposedDepth = 1 << 16

// transposes reports whether a part of p, whose weights are float32 in place, is computed transposed,
// Yᵀ = Wᵀ Xᵀ, with rows of X in lanes and weights broadcast from where they are. That needs no copy of
// weights whose columns are contiguous, and rows enough to fill a vector. The bits are the same.
func (e *Engine) transposes(p *Product, part *Part) bool {
	return part.W.Row == 1 && p.Rows >= e.set.Vec && p.Depth <= transposedDepth
}

// transposed computes the panels [lo, hi) of a part for a block of rows.
func (j *productJob) transposed(ws *productWorkspace, part *Part, l *layout, lo, hi, row, rows int) {
	set := j.engine.set
	for end := row + rows; row < end; row += set.Lanes {
		n := min(set.Lanes, end-row)
		lanes := (n + set.Vec - 1) / set.Vec * set.Vec
		if ws.packedRow != row { // for another part, or other heads
			j.packRows(ws, row, n, lanes)
		}
		for i := lo; i < hi; {
			first := part.panel(l, i)
			first.out = &ws.out
			cols := first.cols
			// Panels of one head are neighbours.
			for i++; i < hi && i%l.panels != 0; i++ {
				next := part.panel(l, i)
				if cols+next.cols > columnBlock {
					break
				}
				cols += next.cols
			}
			j.columns(ws, &first, cols, row, n, lanes)
		}
	}
}

// packRows transposes n rows of X into lanes.
func (j *productJob) packRows(ws *productWorkspace, row, n, lanes int) {
	j.engine.phase(phasePack)
	x := &j.product.X
	for i := range n {
		ws.off[i] = i * x.Row
	}
	depth := j.product.Depth
	ws.rows, ws.packedRow = ws.lanes.room(depth*lanes), row
	ws.packArgs = kernel.PackArgs{
		Src: (*float32)(x.at(row, 0)), Off: &ws.off, DimStride: x.Col, Rows: n, Dim: depth,
		Dst: ws.rows, Lanes: lanes, Stride: lanes, Scale: 1,
	}
	j.engine.set.Pack(&ws.packArgs)
}

// columns computes columns of Y, of one head, from the first of a panel on, for the rows
// that packRows has packed.
func (j *productJob) columns(ws *productWorkspace, at *panel, cols, row, n, lanes int) {
	j.engine.phase(j.product.phase())
	p, set := &j.product, j.engine.set
	results := ws.results.room(cols * lanes)
	y := at.out
	for i := range n {
		ws.off[i] = y.offset(row + i)
	}
	first := (*float32)(at.first())
	begun := j.begin(ws, at, results, first, cols, n, lanes)
	a := &ws.args
	a.RowStride, a.ColStride, a.Rows = at.W.Col, at.W.Row, cols
	a.Bias, a.C, a.Stride, a.Lanes = nil, results, lanes, lanes
	if begun { // a sum of -0 stays one: results have their bias
		a.Bias = &negativeZeros[0]
	}
	for k := 0; k < p.Depth && !p.Done.Over(); k += kernel.KC {
		a.A = (*float32)(at.W.at(k, at.col()))
		a.Depth = min(kernel.KC, p.Depth-k)
		a.B = ptr.At(ws.rows, k*lanes)
		a.Add = begun || k > 0
		set.Multiply(a)
		a.Bias = nil
	}
	ws.unpackArgs = kernel.UnpackArgs{
		O: results, Sum: &ones[0], Dst: first, Off: &ws.off, DimStride: y.Stride[3],
		Rows: n, Dim: cols, Lanes: lanes, Stride: lanes,
	}
	set.Unpack(&ws.unpackArgs)
}

// begin puts what the product is added to into results [cols][lanes], and reports whether
// there is any: sums of Y and the bias, where one that is missing is +0.
func (j *productJob) begin(ws *productWorkspace, at *panel, results, first *float32, cols, n, lanes int) bool {
	if at.Add {
		ws.packArgs = kernel.PackArgs{
			Src: first, Off: &ws.off, DimStride: at.out.Stride[3], Rows: n, Dim: cols,
			Dst: results, Lanes: lanes, Stride: lanes, Scale: 1,
		}
		j.engine.set.Pack(&ws.packArgs)
	} else if at.Bias == nil {
		return false
	}
	values := unsafe.Slice(results, cols*lanes)
	if !at.Add {
		clear(values)
	}
	var bias []float32
	if at.Bias != nil {
		bias = unsafe.Slice((*float32)(at.bias()), cols)
	}
	for c := range cols {
		x := float32(0)
		if bias != nil {
			x = bias[c]
		}
		for i := range values[c*lanes:][:lanes] {
			values[c*lanes+i] += x
		}
	}
	return true
}

// ones are the sums that Unpack divides by, negativeZeros a bias that changes nothing.
var ones, negativeZeros = lanesOf(1), lanesOf(float32(math.Copysign(0, -1)))

func lanesOf(v float32) (x [kernel.MaxLanes]float32) {
	for i := range x {
		x[i] = v
	}
	return x
}
