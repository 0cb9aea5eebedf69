package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A Hadamard is rows [Batch, Heads, Seq, Dim] whose blocks are multiplied, where they are, by a Hadamard
// matrix and 1/sqrt(Block): see [kernel.HadamardArgs].
type Hadamard struct {
	X                      Operand // no two elements share memory
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
	a := &w.args
	a.Cols, a.Block, a.Scale = h.Dim, h.Block, float32(1/math.Sqrt(float64(h.Block)))
	for row < end {
		head, token := row/h.Seq, row%h.Seq
		x, step := (*float32)(h.X.at(head/h.Heads, head%h.Heads, token)), h.X.Stride[3]
		if step == 1 {
			a.X, a.XStride, a.Rows = x, h.X.Stride[2], min(end-row, h.Seq-token)
		} else {
			a.X, a.XStride, a.Rows = gather(&w.row, x, step, h.Dim), 0, 1
		}
		a.Y, a.YStride = a.X, a.XStride
		e.set.Hadamard(a)
		if step != 1 {
			scatter(x, step, unsafe.Slice(a.X, h.Dim))
		}
		row += a.Rows
	}
}
