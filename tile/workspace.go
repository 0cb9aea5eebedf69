package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// A workspace holds what one worker needs: the packed queries and outputs of a query
// block, the weights of one key block, and the argument structs (which would
// escape to the heap at each call through a function value). Its size depends on the
// head dims, and on the longest sequence by its logarithm.
type workspace struct {
	mem    []float32
	at     cursor
	groups [maxGroups]laneGroup
	off    [maxGroups][kernel.MaxLanes]int
	mask   [kernel.KeyBlock]uint64 // words of a key block
	p      *float32                // [KeyBlock][lanes]
	biases *float32                // [lanes][KeyBlock], if there is a bias

	segments runSpan // of a key block
	tile     Tile

	pairOff   [kernel.MaxLanes]int // see pairOffsets
	recordOff [kernel.MaxLanes]int
	pos       [kernel.MaxLanes]float32 // positions from a key block's first key
	recip     [kernel.MaxLanes]float32
	spare     [kernel.MaxLanes]float32 // sums that nobody wants

	k, v    keyRows // of the key block
	copying copying // of an item with fewer rows than most
	turnOff [kernel.MaxLanes]int
	rows    *float32 // [lanes][dim], float32 of values to be transposed
	stage   stage
	decoder decoder

	packArgs       kernel.PackArgs
	turnArgs       kernel.PackArgs
	scoresArgs     kernel.ScoresArgs
	softcapArgs    kernel.SoftcapArgs
	alibiArgs      kernel.ALiBiArgs
	biasArgs       kernel.BiasArgs
	softmaxArgs    kernel.SoftmaxArgs
	accumulateArgs kernel.AccumulateArgs
	finishArgs     kernel.FinishArgs
	mergeArgs      kernel.MergeArgs
	convertArgs    kernel.ConvertArgs
	decodeScores   kernel.DecodeScoresArgs
	decodeAccum    kernel.DecodeAccumulateArgs
	ahead          prefetcher
}

// cacheLine is the alignment of every buffer, in float32 values.
const cacheLine = 16

// reserve lays out the buffers for the groups of s.
func (w *workspace) reserve(e *Engine, p *Problem, s *Schedule) {
	set := e.set
	lanes := s.Lanes
	if s.Decode > 0 {
		lanes = max(lanes, kernel.MaxDecodeRows) // whatever lanes fit the first-level cache or the mask
	}
	nodes := nodesOf(p.SeqKV)
	if p.Sinks != nil {
		nodes = max(nodes, 1)
	}
	perGroup := lanes*(p.DimQK+3) + (1+nodes)*lanes*(p.DimV+2) + cacheLine*(4+3*(1+nodes))
	groups := max(s.Groups, s.decodeGroups)
	n := groups*perGroup + lanes*(kernel.KeyBlock+1) + 7*cacheLine
	if p.Bias.Given {
		n += lanes * kernel.KeyBlock
	}
	copies := s.copies(p)
	if copies {
		n += copySize(p.DimQK) + copySize(p.DimV) + set.Lanes*p.DimV + cacheLine
	}
	stages := e.stages(p)
	if stages {
		n += lanes*stageStride(p) + cacheLine
	}
	if s.Decode > 0 {
		n += (groups + 1) * kernel.MaxDecodeRows * p.DimV
	}
	if len(w.mem) < n {
		w.mem = make([]float32, n)
	}
	free := w.mem
	take := func(n int) *float32 {
		skip := -int(uintptr(unsafe.Pointer(&free[0]))/4) & (cacheLine - 1)
		b := &free[skip]
		free = free[skip+n:]
		return b
	}
	w.p = take(kernel.KeyBlock * lanes)
	if p.Bias.Given {
		w.biases = take(kernel.KeyBlock * lanes)
	}
	w.softmaxArgs.Alpha = take(lanes)
	for i := range w.groups[:groups] {
		g := &w.groups[i]
		g.q = take(lanes * p.DimQK)
		g.o = take(lanes * p.DimV)
		g.max = take(lanes)
		g.sum = take(lanes)
		g.slope = take(lanes)
		g.values.max, g.values.sum = take(lanes), take(lanes)
		g.off = &w.off[i]
		for k := range nodes {
			g.tree.nodes[k].partial = partial{take(lanes * p.DimV), take(lanes), take(lanes)}
		}
	}
	w.k.kv, w.v.kv = &p.K, &p.V
	w.k.offAt, w.v.offAt = offsetsOf{}, offsetsOf{}
	if copies {
		w.k.floats = take(copySize(p.DimQK))
		w.v.floats = take(copySize(p.DimV))
		w.rows = take(set.Lanes * p.DimV)
	}
	if stages {
		w.stage.reserve(take(lanes*stageStride(p)), stageStride(p))
	}
	if s.Decode > 0 {
		w.k.order, w.v.order = p.orders()
		rows := take(groups * kernel.MaxDecodeRows * p.DimV)
		for i := range w.groups[:groups] {
			w.groups[i].chunk = lane(rows, i*kernel.MaxDecodeRows, p.DimV, 0)
		}
		w.decoder.sums = take(kernel.MaxDecodeRows * p.DimV)
	}
}

// release drops the references to the caller's memory.
func (w *workspace) release() {
	w.packArgs.Src, w.turnArgs.Src = nil, nil
	w.scoresArgs.K = nil
	w.at.release()
	w.k.forget()
	w.v.forget()
	w.convertArgs.Src, w.convertArgs.Scale = nil, nil
	w.decodeScores.K, w.decodeScores.Scale = nil, nil
	w.decodeAccum.V, w.decodeAccum.Scale = nil, nil
	w.decoder.tree = tree{}
	w.biasArgs.Src = nil
	w.accumulateArgs.V = nil
	w.finishArgs.Dst = nil
	w.ahead.n = 0
}
