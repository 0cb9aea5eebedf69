package tile

import (
	"context"
	"runtime/pprof"
	"sync"
	"sync/atomic"

	"github.com/qkv-go/qkv/kernel"
)

// An Engine runs Problems on one kernel.Set. It may be used by several goroutines at
// once.
type Engine struct {
	set           *kernel.Set
	caches        Caches
	labels        bool
	tuning        Tuning
	workspaces    sync.Pool
	jobs          sync.Pool
	productSpaces sync.Pool
	products      sync.Pool
	searches      sync.Pool
	writes        rowWork[writing, writer]
	gates         rowWork[Gating, gateSpace]
	merges        rowWork[Merging, mergeSpace]
	rotations     rowWork[rotating, kernel.RotaryArgs]
	hadamards     rowWork[Hadamard, hadamarder]
	norms         rowWork[Norm, normalizer]
	means         rowWork[MeanScores, struct{}]
	loops         rowWork[Loop, struct{}]
	crew          crew
	paces         [maxPace - minPace]pace // of products
	pairsWay      atomic.Int32            // a pairsWay
}

// New returns an Engine. With labels, workers carry the pprof label "phase".
func New(set *kernel.Set, caches Caches, labels bool, tuning Tuning) *Engine {
	if caches.L1 <= 0 {
		caches.L1 = 32 << 10
	}
	if caches.L2 <= 0 {
		caches.L2 = 256 << 10
	}
	if caches.L3 <= 0 {
		caches.L3 = 8 * caches.L2
	}
	e := &Engine{set: set, caches: caches, labels: labels, tuning: tuning}
	e.workspaces.New = func() any { return new(workspace) }
	e.jobs.New = func() any {
		j := &job{engine: e}
		j.init(j.drain)
		return j
	}
	e.productSpaces.New = func() any { return new(productWorkspace) }
	e.products.New = func() any {
		j := &productJob{engine: e}
		j.init(j.drain)
		return j
	}
	e.searches.New = func() any { return new(kernel.AboveArgs) }
	e.writes.init(e, phaseStore, (*writing).write, (*writer).release)
	e.gates.init(e, phaseGate, (*Gating).multiply, (*gateSpace).release)
	e.merges.init(e, phaseMerge, (*Merging).merge, (*mergeSpace).release)
	e.rotations.init(e, phaseRotate, (*rotating).rotate, func(a *kernel.RotaryArgs) { *a = kernel.RotaryArgs{} })
	e.rotations.forget = (*rotating).forget
	e.hadamards.init(e, phaseRotate, (*Hadamard).transform, (*hadamarder).release)
	e.norms.init(e, phaseNorm, (*Norm).normalize, (*normalizer).release)
	e.means.init(e, phaseMerge, (*MeanScores).rows, nil)
	e.loops.init(e, phaseNone, (*Loop).chunk, nil)
	e.loops.calls = true
	return e
}

// Schedule says how Run will divide p.
func (e *Engine) Schedule(p *Problem, workers int) Schedule {
	s, _ := e.divide(p, workers, new(decoding))
	return s
}

// Run computes p with at most workers goroutines, the caller's among them, and reports whether
// all of it is done. If it is not, since p.Done was closed, each row of Out and LSE is either
// done or as it was.
func (e *Engine) Run(p *Problem, workers int) bool {
	j := e.jobs.Get().(*job)
	s, d := e.divide(p, workers, &j.own)
	if s.Items+s.Decode == 0 {
		e.jobs.Put(j)
		return true
	}
	j.begin(p, s, d)
	e.crew.run(&j.task, s.Workers, e.labels)
	f := j.failures.take()
	whole := j.finished.Load() == int64(s.Items+s.Decode)
	j.problem, j.decoding = Problem{}, nil
	e.jobs.Put(j)
	if f != nil {
		panic(f.value)
	}
	return whole
}

// A job is a Problem being computed.
type job struct {
	task
	engine     *Engine
	problem    Problem
	sched      Schedule
	headsPerKV int
	modifies   bool // something changes the scores
	decoding   *decoding
	own        decoding // if the problem has no plan
	parts      parts
	lengths    []int // those of the problem
	tables     [][]int32
	pages      []int32
	taken      atomic.Int64 // items, by workers
	shares     shares       // of them, if each worker has a run
	inRuns     bool         // chunks of keys that follow each other: a kernel asks for the first rows of the next one
	finished   atomic.Int64 // items
	failures   failures
}

// open has the job be one of p.
func (j *job) open(p *Problem) {
	j.problem, j.headsPerKV, j.modifies = *p, p.headsPerKV(), p.modifies()
}

// begin begins p, as it is divided.
func (j *job) begin(p *Problem, s Schedule, d *decoding) {
	j.open(p)
	j.sched, j.decoding = s, d
	if p.Plan == nil {
		j.copyLists()
	}
	j.parts.reserve(d, j.engine.set.Vec, p.DimV)
	j.taken.Store(0)
	if j.inRuns = s.Items == 0 && d.counters > 0 && s.Workers > 1; j.inRuns {
		j.shares.begin(s.Decode, s.Workers)
	}
	j.finished.Store(0)
}

// copyLists copies the lengths of the sequences, which were checked: a callback that changes
// them must not reach beyond the operands.
func (j *job) copyLists() {
	p := &j.problem
	if n := len(p.LensQ) + len(p.LensKV) + len(p.CuQ) + len(p.CuKV) + len(p.Lost); cap(j.lengths) < n {
		j.lengths = make([]int, 0, n)
	}
	j.lengths = j.lengths[:0]
	for _, list := range [...]*[]int{&p.LensQ, &p.LensKV, &p.CuQ, &p.CuKV, &p.Lost} {
		if *list != nil {
			first := len(j.lengths)
			j.lengths = kernel.Append(j.lengths, *list)
			*list = j.lengths[first:]
		}
	}
	if p.Tables == nil {
		return
	}
	j.tables, j.pages = j.tables[:0], j.pages[:0]
	n := 0
	for _, t := range p.Tables {
		n += len(t)
	}
	if cap(j.pages) < n {
		j.pages = make([]int32, 0, n)
	}
	for _, t := range p.Tables {
		first := len(j.pages)
		j.pages = kernel.Append(j.pages, t)
		j.tables = append(j.tables, j.pages[first:])
	}
	p.Tables = j.tables
}

// drain computes items until none is left. If a callback fails, none is left for anyone.
func (j *job) drain() {
	if j.problem.ScoreMod != nil || j.problem.ProbMod != nil || j.problem.Progress != nil {
		j.failures.guard(j.items, j.stop)
		return
	}
	j.items()
}

// stop leaves no item for anyone.
func (j *job) stop() {
	j.taken.Store(int64(j.sched.Items + j.sched.Decode))
	j.shares.stop()
}

// take takes the next item of a worker with a run of that number. It returns -1 if none is left.
func (j *job) take(run int) int {
	if j.inRuns {
		return j.shares.take(run)
	}
	if i := int(j.taken.Add(1)) - 1; i < j.sched.Items+j.sched.Decode {
		return i
	}
	return -1
}

func (j *job) items() {
	run := 0
	if j.inRuns {
		run = j.shares.join()
	}
	i, n := j.take(run), j.sched.Items+j.sched.Decode
	if i < 0 {
		return
	}
	w := j.engine.workspaces.Get().(*workspace)
	w.reserve(j.engine, &j.problem, &j.sched)
	w.at.open(j)
	done := int64(0)
	for ; i >= 0 && w.item(i); i = j.take(run) {
		if f := j.problem.Progress; f != nil {
			f(int(j.finished.Add(1)), n)
		} else {
			done++ // other workers read what lies beside j.finished all the time
		}
	}
	j.finished.Add(done)
	w.release()
	j.engine.workspaces.Put(w)
	j.engine.phase(phaseNone)
}

// A phase is a part of the work on an item, as profiles name it.
type phase int

const (
	phasePack phase = iota
	phaseMask
	phaseScores
	phaseModify
	phaseSoftmax
	phaseAccumulate
	phaseMerge
	phaseUnpack
	phaseMultiply
	phaseProject
	phaseRotate
	phaseGate
	phaseActivate
	phaseStore
	phaseNorm
	phaseNone
)

var phaseLabels = func() (labels []context.Context) {
	for _, name := range []string{"pack", "mask", "scores", "modify", "softmax", "accumulate", "merge", "unpack", "multiply", "project", "rotate", "gate", "activate", "store", "norm"} {
		labels = append(labels, pprof.WithLabels(context.Background(), pprof.Labels("phase", name)))
	}
	return append(labels, context.Background())
}()

// phase labels the goroutine for profiles.
func (e *Engine) phase(p phase) {
	if e.labels {
		pprof.SetGoroutineLabels(phaseLabels[p])
	}
}
