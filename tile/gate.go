package tile

import (
	"math"
	"sync/atomic"
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

// A gateJob is a Gating being computed.
type gateJob struct {
	task
	engine *Engine
	Gating
	step, items    int
	next, finished atomic.Int64 // items
}

// A gateSpace is what a worker has of a gateJob.
type gateSpace struct {
	args            kernel.SoftmaxArgs
	powers          [gateBlock]float32
	max, sum, alpha [kernel.MaxLanes]float32
}

// Gate multiplies with at most workers goroutines, the caller's among them, and reports whether all of
// it is done. If it is not, since g.Done was closed, Gate is anything.
func (e *Engine) Gate(g *Gating, workers int) bool {
	j := e.gates.Get().(*gateJob)
	j.Gating = *g
	j.step = max(1, gateItem/g.Cols)
	j.items = (g.Rows + j.step - 1) / j.step
	j.next.Store(0)
	j.finished.Store(0)
	e.crew.run(&j.task, int(min(int64(workers), int64(j.items), 1+int64(g.Rows)*int64(g.Cols)/gateWorth)), e.labels)
	whole := j.finished.Load() == int64(j.items)
	j.Gating = Gating{}
	e.gates.Put(j)
	return whole
}

// drain multiplies items until none is left.
func (j *gateJob) drain() {
	e := j.engine
	e.phase(phaseGate)
	ws := e.gateSpaces.Get().(*gateSpace)
	for i := int(j.next.Add(1)) - 1; i < j.items && !j.Done.Over(); i = int(j.next.Add(1)) - 1 {
		for row := i * j.step; row < min((i+1)*j.step, j.Rows); row++ {
			for col := 0; col < j.Cols; col += gateBlock {
				n := min(gateBlock, j.Cols-col)
				gate := unsafe.Slice((*float32)(j.Gating.Gate.at(row, col)), n)
				ws.exponentials(e.set, gate)
				for i, g := range gate {
					power := ws.powers[i]
					s := 1 / (1 + power)
					if !(g >= 0) {
						s = power / (1 + power)
					}
					gate[i] = *(*float32)(j.X.at(row, col+i)) * s
				}
			}
		}
		j.finished.Add(1)
	}
	e.gateSpaces.Put(ws)
	e.phase(phaseNone)
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
	ws.args = kernel.SoftmaxArgs{}
}
