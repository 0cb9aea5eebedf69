package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/memory"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A PackedMatrix is a copy of a matrix of weights in the order in which a kernel set reads them: panels of
// columns as wide as a micro-tile, row after row. It is the right operand of [Engine.MatMul], or the weights
// of a [Linear], on any Engine of a kernel set whose panels have as many lanes, in vectors of as many: avx512 and
// the sets derived from it, for example. It does not change.
//
// It is float32, or of the type of the weights: a [WeightMatrix] of whole blocks, transposed, keeps its type
// where there is a packed form of that. There is one of Float16, BFloat16, Q8_0, Q4_0, Q4_1, IQ4_NL, MXFP4,
// Q4_K, and of Q5_0, Q5_1, Q5_K and Q6_K, whose codes take a byte each. Results are the same to the bit. With
// a few rows of X a product reads that many bytes less, and with many it makes float32 of each block on the
// way, once for all of them.
//
// Columns of a matrix that makes heads, as that of queries does, are packed head by head: no panel
// has columns of two. A [Projection] needs them so. For example, a matrix of 4,096 columns is packed
// as 32 heads of 128 for a projection of 32 heads, and as one head of 4,096 for a product.
type PackedMatrix struct {
	set               *kernel.Set
	rows, cols, heads int
	precision         Precision
	int8              *kernel.Int8Form // of class Int8
	typ               kernel.Weight    // of class Float32
	mem               []float32        // the panels, of any type
}

// Rows returns the number of rows, the inner dimension of a product. Of nil it is 0.
func (p *PackedMatrix) Rows() int {
	if p == nil {
		return 0
	}
	return p.rows
}

// Cols returns the number of columns. Of nil it is 0.
func (p *PackedMatrix) Cols() int {
	if p == nil {
		return 0
	}
	return p.cols
}

// Heads returns the number of heads whose columns are packed each by itself, 1 of [Engine.Pack]. Of
// nil it is 0.
func (p *PackedMatrix) Heads() int {
	if p == nil {
		return 0
	}
	return p.heads
}

// Precision returns the numerical class of the products that it is packed for. Of nil it is PrecisionFloat32.
func (p *PackedMatrix) Precision() Precision {
	if p == nil {
		return PrecisionFloat32
	}
	return p.precision
}

// Type returns the type of the copy, which may be WeightFloat32 where that of the weights is another. It is
// WeightBFloat16 of a copy for class BFloat16, and WeightFloat32 of nil.
func (p *PackedMatrix) Type() WeightType {
	switch {
	case p == nil:
		return WeightFloat32
	case p.int8 != nil:
		return WeightType(p.int8.Type)
	case p.precision == PrecisionBFloat16:
		return WeightBFloat16
	}
	return WeightType(p.typ)
}

// Bytes returns the size of the copy: of float32 4 bytes for each of rows * cols, with the columns of a head
// rounded up to a multiple of the kernel set's vector, see [kernel.Set]. Of another type it is as many as
// blocks have, with a byte for each code of 5 and 6 bits, and of Q4_K 3% and of MXFP4 6% more, 18% in class Int8.
// Of class BFloat16 it is 2 bytes, with the rows rounded up to an even number. Of nil it is 0.
// [Engine.Pack] allocates up to 2 MiB more, so that the copy can begin on a page of that size.
func (p *PackedMatrix) Bytes() int {
	if p == nil {
		return 0
	}
	return 4 * len(p.mem)
}

// Pack packs w, [in, out], on all workers, into memory of Go's heap. On Linux it asks for pages of
// 2 MiB, which are read faster, unless /sys/kernel/mm/transparent_hugepage/enabled is never; a copy of
// less shares them with what lies beside it. Weights that are stored [out, in] are packed as w.T().
//
// The copy has the type of w where [PackedMatrix] has a form of it, and is float32 otherwise.
//
// Packing takes no memory beside w and the copy but some rows of a panel for each worker, whatever the
// type and the layout of w. So a model that is packed matrix by matrix, each given up once it is packed,
// never holds more than one matrix twice. The error is an [*ArgError], or a [*MemoryError] for more memory
// than there is.
func (e *Engine) Pack(w Matrix) (*PackedMatrix, error) { return e.PackHeads(w, 1) }

// PackHeads is Pack of weights whose columns make so many heads of equal width. It is an error if
// the columns are no multiple of heads. A [Product] takes weights of any number of heads, such as 1.
func (e *Engine) PackHeads(w Matrix, heads int) (*PackedMatrix, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	return e.pack("w", PrecisionFloat32, w, heads)
}

// PackFor is PackHeads of weights for products of a class. Those of class Int8 are integers as their type has
// them: weights of type int8, with groups of a multiple of 32 values or of whole rows, Q8_0, Q4_0, Q4_1, Q5_0,
// Q5_1, Q4_K, Q5_K, Q6_K, IQ4_NL or MXFP4, stored [out, in] and given as w.T(), with a multiple of 32 inputs.
// Others are an error: no weights are quantised. They take as many bytes as w, apart from values of 5 and 6 bits, which
// take 8, Q4_K, which takes 3% more, MXFP4, 18% more as its scales become float32, and int8, up to 13% more as each 32
// values have a scale. Those of class BFloat16 are of any type, and rounded.
//
// The error is that of [Engine.PackHeads], or an [*ArgError] for a class that there is not or that does not multiply w.
func (e *Engine) PackFor(p Precision, w Matrix, heads int) (*PackedMatrix, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	return e.pack("w", p, w, heads)
}

// pack is PackFor on an Engine that is ready, of weights that errors call name.
func (e *Engine) pack(name string, precision Precision, w Matrix, heads int) (*PackedMatrix, error) {
	if err := w.checkHeads(name, heads); err != nil {
		return nil, err
	}
	p, err := e.packing(name, precision, w, heads)
	if err != nil {
		return nil, err
	}
	part := p.part(w.tile())
	all, most := e.engine.PackedLanes(&part), math.MaxInt/8/w.rows
	if all > int64(most) {
		return nil, argError(name, int(min(all, math.MaxInt)), most, "%s has %d rows of %d columns with padding, at most %d can be packed", name, w.rows, all, most)
	}
	n := part.PackedFloats(int(all), w.rows)
	if err := checkMemory(name, int64(mul(4, n))+memory.HugePage); err != nil {
		return nil, err
	}
	p.mem = memory.Floats(n)
	e.engine.Pack(unsafe.Pointer(&p.mem[0]), &part, w.rows, e.Workers())
	memory.GatherHuge(p.mem)
	return p, nil
}

// packing returns the packed matrix that weights make for a class, without its memory. It reports an unknown
// class, and weights that the class does not multiply, whose values need not be there.
func (e *Engine) packing(name string, precision Precision, w Matrix, heads int) (*PackedMatrix, error) {
	if err := precision.check("precision"); err != nil {
		return nil, err
	}
	form, err := w.int8Form(name, precision)
	if err != nil {
		return nil, err
	}
	p := &PackedMatrix{set: e.set, rows: w.rows, cols: w.cols, heads: heads, precision: precision, int8: form}
	if precision == PrecisionFloat32 {
		p.typ = w.packedType()
	}
	return p, nil
}

// checkHeads reports weights that cannot be packed as so many heads.
func (m *Matrix) checkHeads(name string, heads int) error {
	if err := m.checkWeights(name); err != nil {
		return err
	}
	if heads < 1 {
		return argError(name, heads, 1, "%s has %d columns for %d heads, at least 1 is needed", name, m.cols, heads)
	}
	if m.cols%heads != 0 {
		return argError(name, m.cols, heads, "%s has %d columns, not a multiple of %d heads", name, m.cols, heads)
	}
	return nil
}

// part returns p as a part of a product, with the weights w as long as they are not packed.
func (p *PackedMatrix) part(w tile.Matrix) tile.Part {
	return tile.Part{
		Heads: p.heads, Width: p.cols / p.heads, W: w, Int8: p.int8, Strips: p.typ, Pairs: p.precision == PrecisionBFloat16,
		Panels: unsafe.Pointer(unsafe.SliceData(p.mem)),
	}
}

// packedType returns the type that a packed copy of weights has.
func (m *Matrix) packedType() kernel.Weight {
	if m.weights == nil || !WeightType(m.weights.Type).known() {
		return kernel.WeightFloat32
	}
	w := tile.Matrix{Row: m.rowStride, Col: m.colStride, Weights: &m.weights.WeightRows, First: m.offset}
	if !w.KeepsType(m.rows) {
		return kernel.WeightFloat32
	}
	return m.weights.Type
}

// checkFor reports weights that are packed for a kernel set with other panels than that of e, or for another
// class.
func (p *PackedMatrix) checkFor(e *Engine, name string, precision Precision) error {
	switch s := p.set; {
	case s == nil:
		return argError(name, 0, 1, "%s is the zero PackedMatrix: Engine.Pack makes one", name)
	case s.Vec != e.set.Vec || s.Lanes != e.set.Lanes:
		return argError(name, p.set.Lanes, e.set.Lanes, "%s is packed for kernel set %s, in panels of %d lanes of vectors of %d, this engine runs %s with %d and %d",
			name, p.set.Name, p.set.Lanes, p.set.Vec, e.set.Name, e.set.Lanes, e.set.Vec)
	case p.precision != precision:
		return argError(name, int(p.precision), int(precision), "%s is packed for class %v, the product is of class %v", name, p.precision, precision)
	}
	return nil
}

// int8Form returns how weights are packed for class Int8, and nil for another class. It reports those that the
// class cannot have.
func (m *Matrix) int8Form(name string, precision Precision) (*kernel.Int8Form, error) {
	if precision != PrecisionInt8 {
		return nil, nil
	}
	t := WeightFloat32
	if m.weights != nil {
		t = WeightType(m.weights.Type)
	}
	form := kernel.Weight(t).Int8()
	values, _ := t.Block()
	switch {
	case form == nil:
		return nil, argError(name, int(t), int(WeightQ8_0), "%s is of type %v, which class %v does not multiply: it takes integers with scales, such as %v", name, t, precision, WeightQ8_0)
	case m.rowStride != 1:
		return nil, argError(name, m.rowStride, 1, "%s has its blocks along the columns: class %v takes weights stored [out, in], given as %[1]s.T()", name, precision)
	}
	block := max(values, kernel.Int8Block)
	if m.rows%block != 0 {
		return nil, argError(name, m.rows, block, "%s has %d rows, not a multiple of the %d of a block of %v in class %v", name, m.rows, block, t, precision)
	}
	if first := m.offset % m.weights.Cols; first%block != 0 {
		return nil, argError(name, first, block, "%s begins %d values after the first of its row, not a multiple of the %d of a block of %v in class %v", name, first, block, t, precision)
	}
	if g := m.weights.GroupSize; t == WeightInt8 && g < m.weights.Cols && g%kernel.Int8Block != 0 {
		return nil, argError(name, g, kernel.Int8Block, "%s has groups of %d values, not a multiple of %d, as class %v needs them", name, g, kernel.Int8Block, precision)
	}
	return form, nil
}
