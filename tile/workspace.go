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
	at         cursor
	mem        []float32
	laneGroups [maxLaneGroups]laneGroup
	off        [maxLaneGroups][kernel.MaxLanes]int

	stage     stage
	kv        keyBlock
	block     scoreBlock
	merger    merger
	prefiller prefiller
	int8      multiplier
	weigher   weigher
	decoder   decoder
	recorder  recorder
}

// cacheLine is the alignment of every buffer, in float32 values.
const cacheLine = 16

// reserve lays out the buffers for the lane groups of s.
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
	blocks := 0 // of class Int8, of a lane
	if p.integers() {
		blocks = max(panelFloats(p.DimQK), e.blockFloats(p.DimQK))
	}
	perLaneGroup := lanes*(p.DimQK+blocks+3) + (1+nodes)*lanes*(p.DimV+2) + cacheLine*(5+3*(1+nodes))
	laneGroups := max(s.LaneGroups, s.decodeLaneGroups)
	n := laneGroups*perLaneGroup + lanes*(kernel.KeyBlock+1) + 7*cacheLine
	if p.Bias.Given {
		n += lanes * kernel.KeyBlock
	}
	if p.integerValues() {
		n += weigherFloats(p, lanes)
	}
	copies := s.copies(p)
	if copies {
		n += e.keyCopySize(p) + e.valueCopySize(p) + set.Lanes*p.DimV + cacheLine
	}
	stages := e.stages(p)
	if stages {
		n += lanes*stageStride(p) + cacheLine
	}
	if s.Decode > 0 {
		n += s.decodeLaneGroups * (kernel.MaxDecodeRows*(2*p.DimV+kernel.KeyBlock+1) + 4*cacheLine)
		if !e.direct(p) {
			n += rowsAtOnce*(max(p.DimQK, p.DimV)+rowPad) + cacheLine
		}
		if p.integers() {
			n += kernel.MaxDecodeRows*queriesRow(p.DimQK) + cacheLine
		}
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
	w.block.s = take(kernel.KeyBlock * lanes)
	if p.Bias.Given {
		w.block.biases = take(kernel.KeyBlock * lanes)
	}
	w.block.softmaxArgs.Alpha = take(lanes)
	for i := range w.laneGroups[:laneGroups] {
		g := &w.laneGroups[i]
		g.q = take(lanes * p.DimQK)
		if blocks > 0 {
			g.blocks = take(lanes * blocks)
		}
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
	if p.integerValues() {
		w.weigher.reserve(p, lanes, take)
	}
	w.kv.k.kv, w.kv.v.kv = &p.K, &p.V
	w.kv.k.rounds, w.kv.v.rounds = p.rounds(), p.roundsValues()
	w.kv.k.brain, w.kv.v.brain = p.rounds() && e.brains(&p.K), p.roundsValues() && e.brainValues(p)
	w.kv.k.forgetOffsets()
	w.kv.v.forgetOffsets()
	w.kv.v.twin = &w.kv.k
	w.kv.fewer = 0
	if copies {
		w.kv.k.floats = take(e.keyCopySize(p))
		w.kv.v.floats = take(e.valueCopySize(p))
		w.kv.copier.floats = take(set.Lanes * p.DimV)
	}
	if stages {
		w.stage.reserve(take(lanes*stageStride(p)), stageStride(p))
	}
	if s.Decode > 0 {
		k, v := e.orders(p)
		w.kv.k.setOrder(k)
		w.kv.v.setOrder(v)
		w.kv.v.anyElem = set.AnyValues && e.wholeValues(p)
		for i := range s.decodeLaneGroups {
			b := &w.decoder.block[i]
			w.laneGroups[i].chunk = take(kernel.MaxDecodeRows * p.DimV)
			b.sums = take(kernel.MaxDecodeRows * p.DimV)
			b.scores, b.alpha = w.block.s, w.block.softmaxArgs.Alpha
			if i > 0 {
				b.scores, b.alpha = take(kernel.MaxDecodeRows*kernel.KeyBlock), take(kernel.MaxDecodeRows)
			}
		}
		if !e.direct(p) {
			w.decoder.rows = take(rowsAtOnce * (max(p.DimQK, p.DimV) + rowPad))
		}
		if p.integers() {
			w.int8.queries = take(kernel.MaxDecodeRows * queriesRow(p.DimQK))
		}
	}
}

// release drops the references to the caller's memory.
func (w *workspace) release() {
	w.at.release()
	w.stage.release()
	w.kv.release()
	w.block.biasArgs.Src = nil
	w.merger.tree = tree{}
	w.prefiller.release()
	w.int8.release()
	w.weigher.release()
	w.decoder.release()
	w.recorder.args.Dst = nil
}
