package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// A Hadamard is rows [Batch, Heads, Seq, Dim] whose blocks are multiplied by a Hadamard matrix and
// 1/sqrt(Block): see [kernel.HadamardArgs].
type Hadamard struct {
	X, Y                   Operand // the same, or apart; no two elements of Y share memory
	Batch, Heads, Seq, Dim int     // at least 1
	Block                  int     // a power of two that divides Dim
}

// A hadamarder is what a worker has to transform rows with.
type hadamarder struct {
	args kernel.HadamardArgs
	row  []float32 // a copy of a row whose elements lie apart
}

// release drops the references to the caller's memory.
func (w *hadamarder) release() { w.args = kernel.HadamardArgs{} }

// Hadamard transforms with at most workers goroutines, the caller's among them.
func (e *Engine) Hadamard(h *Hadamard, workers int) {
	j := e.hadamards.job()
	j.operands = *h
	j.run(rowCut{h.Batch * h.Heads * h.Seq, h.Dim, rotateItem, rotateWorth}, workers, nil)
}

// transform transforms the rows [row, end), those of all heads counted.
func (h *Hadamard) transform(e *Engine, w *hadamarder, row, end int) {
	for row < end {
		head, token := row/h.Seq, row%h.Seq
		n := min(end-row, h.Seq-token)
		batch, head := head/h.Heads, head%h.Heads
		w.rows(e.set, &h.Y, &h.X, pagePlace{batch, head, token}, n, h.Dim, h.Block)
		row += n
	}
}

// rows transforms n rows of x, which may be y, from a place on.
func (w *hadamarder) rows(set *kernel.Set, y, x *Operand, at pagePlace, n, dim, block int) {
	a := &w.args
	a.Cols, a.Block, a.Scale = dim, block, float32(1/math.Sqrt(float64(block)))
	from, to := (*float32)(x.at(at.page, at.head, at.token)), (*float32)(y.at(at.page, at.head, at.token))
	if x.Stride[3] == 1 && y.Stride[3] == 1 {
		a.X, a.XStride, a.Y, a.YStride, a.Rows = from, x.Stride[2], to, y.Stride[2], n
		set.Hadamard(a)
		return
	}
	for i := range n {
		row := gather(&w.row, ptr.At(from, i*x.Stride[2]), x.Stride[3], dim)
		a.X, a.XStride, a.Y, a.YStride, a.Rows = row, 0, row, 0, 1
		set.Hadamard(a)
		scatter(ptr.At(to, i*y.Stride[2]), y.Stride[3], unsafe.Slice(row, dim))
	}
}

// A Turned says what rows go through before a pool stores them: the mean is subtracted, and then blocks are
// multiplied by a Hadamard matrix.
type Turned struct {
	Mean  []float32 // [heads][dim], or nil
	Block int       // of the matrix, which divides the dim; 0 for none
}

// turns reports whether rows are other numbers then.
func (t *Turned) turns() bool { return t.Mean != nil || t.Block > 0 }

// turn makes y, whose rows are contiguous, of n rows of x of each head, from a head of the pool on. y may be x.
func (w *hadamarder) turn(set *kernel.Set, t *Turned, y, x *Operand, first, heads, n, dim int) {
	for head := range heads {
		from := x
		if t.Mean != nil {
			mean := t.Mean[(first+head)*dim:][:dim]
			for i := range n {
				to, row := unsafe.Slice((*float32)(y.at(0, head, i)), dim), (*float32)(x.at(0, head, i))
				for d, m := range mean {
					to[d] = *ptr.At(row, d*x.Stride[3]) - m
				}
			}
			from = y
		}
		if t.Block > 0 {
			w.rows(set, y, from, pagePlace{0, head, 0}, n, dim, t.Block)
		}
	}
}
