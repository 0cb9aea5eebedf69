package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/memory"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A PackedMatrix is a float32 copy of a matrix of weights in the order in which a kernel set
// reads them: panels of columns as wide as a micro-tile, row after row. It is the right
// operand of [Engine.MatMul], or the weights of a [Linear], on any Engine of a kernel set whose
// panels have as many lanes, in vectors of as many: avx512 and the sets derived from it, for example. It
// does not change.
//
// Columns of a matrix that makes heads, as that of queries does, are packed head by head: no panel
// has columns of two. A [Projection] needs them so. For example, a matrix of 4,096 columns is packed
// as 32 heads of 128 for a projection of 32 heads, and as one head of 4,096 for a product.
type PackedMatrix struct {
	set               *kernel.Set
	rows, cols, heads int
	mem               []float32
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

// Bytes returns the size of the copy, 4 bytes for each of rows * cols, with the columns of a head
// rounded up to a multiple of the kernel set's vector, see [kernel.Set]. Of nil it is 0.
// [Engine.Pack] allocates up to 2 MiB more, so that the copy can begin on a page of that size.
func (p *PackedMatrix) Bytes() int {
	if p == nil {
		return 0
	}
	return 4 * len(p.mem)
}

// Pack packs w, [in, out], on all workers, into memory of Go's heap. On Linux it asks for pages of
// 2 MiB, which are read faster. Weights that are stored [out, in] are packed as w.T().
//
// Packing takes no memory beside w and the copy but some rows of a panel for each worker, whatever the
// type and the layout of w. So a model that is packed matrix by matrix, each given up once it is packed,
// never holds more than one matrix twice. The error is an [*ArgError], or a [*MemoryError] for more memory
// than there is.
func (e *Engine) Pack(w Matrix) (*PackedMatrix, error) { return e.PackHeads(w, 1) }

// PackHeads is Pack of weights whose columns make so many heads of equal width. It is an error if
// the columns are no multiple of heads.
func (e *Engine) PackHeads(w Matrix, heads int) (*PackedMatrix, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	return e.pack("w", w, heads)
}

// pack is PackHeads on an Engine that is ready, of weights that errors call name.
func (e *Engine) pack(name string, w Matrix, heads int) (*PackedMatrix, error) {
	if err := w.checkHeads(name, heads); err != nil {
		return nil, err
	}
	p := &PackedMatrix{set: e.set, rows: w.rows, cols: w.cols, heads: heads}
	part := p.part(w.tile())
	all, most := e.engine.PackedLanes(&part), math.MaxInt/8/w.rows
	if all > int64(most) {
		return nil, argError(name, int(min(all, math.MaxInt)), most, "%s has %d rows of %d columns with padding, at most %d can be packed", name, w.rows, all, most)
	}
	lanes := int(all)
	if err := checkMemory(name, int64(mul(4, lanes, w.rows))+memory.HugePage); err != nil {
		return nil, err
	}
	p.mem = memory.Floats(lanes * w.rows)
	e.engine.Pack(unsafe.Pointer(&p.mem[0]), &part, w.rows, e.Workers())
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
	return tile.Part{Heads: p.heads, Width: p.cols / p.heads, W: w, Panels: unsafe.Pointer(unsafe.SliceData(p.mem))}
}

// checkSet reports weights that are packed for a kernel set with other panels than that of e.
func (p *PackedMatrix) checkSet(e *Engine, name string) error {
	switch s := p.set; {
	case s == nil:
		return argError(name, 0, 1, "%s is the zero PackedMatrix: Engine.Pack makes one", name)
	case s.Vec == e.set.Vec && s.Lanes == e.set.Lanes:
		return nil
	}
	return argError(name, p.set.Lanes, e.set.Lanes, "%s is packed for kernel set %s, in panels of %d lanes of vectors of %d, this engine runs %s with %d and %d",
		name, p.set.Name, p.set.Lanes, p.set.Vec, e.set.Name, e.set.Lanes, e.set.Vec)
}
