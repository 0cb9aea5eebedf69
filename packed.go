package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/memory"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A PackedMatrix is a copy of a matrix of weights in the order in which a kernel set
// reads them: panels of columns as wide as a micro-tile, row after row. It is the right
// operand of [Engine.MatMul] on any Engine of the same kernel set. It does not change.
type PackedMatrix struct {
	set        *kernel.Set
	rows, cols int
	mem        []float32
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

// Bytes returns the size of the copy, 4 bytes for each of rows * cols, with cols rounded up to a
// multiple of the kernel set's vector, see [kernel.Set]. Of nil it is 0. [Engine.Pack] allocates up
// to 2 MiB more, so that the copy can begin on a page of that size.
func (p *PackedMatrix) Bytes() int {
	if p == nil {
		return 0
	}
	return 4 * len(p.mem)
}

// Pack packs w, [in, out], on all workers, into memory of Go's heap. On Linux it asks for pages of
// 2 MiB, which are read faster. Weights that are stored [out, in] are packed as w.T(). The error is
// an [*ArgError], or a [*MemoryError] for more memory than there is.
func (e *Engine) Pack(w Matrix) (*PackedMatrix, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	if err := w.checkWeights("w"); err != nil {
		return nil, err
	}
	mem, err := e.pack(packedProduct(w.rows, w.cols, w.tile()))
	if err != nil {
		return nil, err
	}
	return &PackedMatrix{set: e.set, rows: w.rows, cols: w.cols, mem: mem}, nil
}

// packedProduct returns the product by a matrix of that size, as far as packing needs it.
func packedProduct(rows, cols int, w tile.Matrix) *tile.Product {
	return &tile.Product{Depth: rows, N: 1, Parts: [tile.MaxParts]tile.Part{{Heads: 1, Width: cols, W: w}}}
}

// pack returns the weights of a product, packed.
func (e *Engine) pack(p *tile.Product) ([]float32, error) {
	most := math.MaxInt / 8 / p.Depth
	all := e.engine.PackedLanes(p)
	if all > int64(most) {
		return nil, argError("w", int(min(all, math.MaxInt)), most, "w has %d rows of %d columns with padding, at most %d can be packed", p.Depth, all, most)
	}
	lanes := int(all)
	if err := checkMemory("w", int64(mul(4, lanes, p.Depth))+memory.HugePage); err != nil {
		return nil, err
	}
	mem := memory.Floats(lanes * p.Depth)
	e.engine.Pack(unsafe.Pointer(&mem[0]), p, e.Workers())
	return mem, nil
}
