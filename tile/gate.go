package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A Gating multiplies the outputs of attention by the sigmoids of a gate:
//
//	e = Exp2(-|g| * (log2(e)/2)), t = 1 + e, s = 1/t if g >= 0, otherwise e/t
//	Gate = X * s
//
// Each operation is rounded to float32, as is log2(e)/2.
type Gating struct {
	X, Gate    Matrix // [Rows, Cols]; elements of a row of Gate lie side by side
	Rows, Cols int

	Done Done
}

const (
	// gateItem is about the elements of an item of a Gating, or a row, if it has more.
	gateItem = 1 << 13

	// gateWorth is the elements that pay for another goroutine.
	gateWorth = 1 << 14

	// gateBlock is the most elements whose exponentials are made in one call.
	gateBlock = 512
)

// A gateSpace is what a worker on a Gating needs.
type gateSpace struct {
	args            kernel.SoftmaxArgs
	powers          [gateBlock]float32
	max, sum, alpha [kernel.MaxLanes]float32
}

// release drops the references to the space itself.
func (ws *gateSpace) release() { ws.args = kernel.SoftmaxArgs{} }

// Gate multiplies with at most workers goroutines, the caller's among them, and reports whether all of
// it is done. If it is not, since g.Done was closed, Gate is anything.
func (e *Engine) Gate(g *Gating, workers int) bool {
	j := e.gates.job()
	j.operands = *g
	return j.run(rowCut{g.Rows, g.Cols, gateItem, gateWorth}, workers, g.Done)
}

// multiply multiplies the rows [from, to).
func (g *Gating) multiply(e *Engine, ws *gateSpace, from, to int) {
	for row := from; row < to; row++ {
		for col := 0; col < g.Cols; col += gateBlock {
			g.block(e.set, ws, row, col, min(gateBlock, g.Cols-col))
		}
	}
}

// block multiplies n elements of a row, from a column on.
func (g *Gating) block(set *kernel.Set, ws *gateSpace, row, col, n int) {
	gate := unsafe.Slice((*float32)(g.Gate.at(row, col)), n)
	ws.exponentials(set, gate)
	for i, x := range gate {
		power := ws.powers[i]
		t := 1 + power
		s := 1 / t
		if !(x >= 0) {
			s = power / t
		}
		gate[i] = *(*float32)(g.X.at(row, col+i)) * s
	}
}

// exponentials puts e^-|g| of each element of a gate into the powers. They are the weights of a softmax
// whose maximum is 0.
func (ws *gateSpace) exponentials(set *kernel.Set, gate []float32) {
	lanes := set.Vec
	keys := (len(gate) + lanes - 1) / lanes
	for i, g := range gate {
		ws.powers[i] = -math.Float32frombits(math.Float32bits(g)&^(1<<31)) * float32(math.Log2E/2)
	}
	clear(ws.powers[len(gate) : keys*lanes])
	clear(ws.max[:lanes])
	clear(ws.sum[:lanes])
	for k := 0; k < keys; k += kernel.KeyBlock {
		n := min(kernel.KeyBlock, keys-k)
		ws.args = kernel.SoftmaxArgs{
			S: &ws.powers[k*lanes], Keys: n, MaskFrom: n, Max: &ws.max[0], Sum: &ws.sum[0], Alpha: &ws.alpha[0],
			Lanes: lanes, Stride: lanes,
		}
		set.Softmax(&ws.args)
	}
}
