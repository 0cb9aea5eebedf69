package qkv_test

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// strided is a strided [batch, heads, seq, dim] tensor.
type strided[T qkv.Element] struct {
	data   []T
	offset int
	shape  [4]int
	stride [4]int
}

// tensor is one over a slice with a canary everywhere else.
type tensor = strided[float32]

const canary = float32(-12345.5)

// newTensor returns a tensor in the named layout, its elements drawn by next and the
// rest of its slice filled with NaN (inputs) or the canary (outputs, next == nil).
func newTensor(layout string, batch, heads, seq, dim int, next func() float32) *tensor {
	x := &tensor{shape: [4]int{batch, heads, seq, dim}}
	n := batch * heads * seq * dim
	switch layout {
	case "bhsd":
		x.stride = [4]int{heads * seq * dim, seq * dim, dim, 1}
	case "bshd":
		x.stride = [4]int{seq * heads * dim, dim, heads * dim, 1}
	case "bhds": // transposed: non-unit inner stride
		x.stride = [4]int{heads * seq * dim, seq * dim, 1, seq}
	case "gaps": // every axis padded
		x.stride = [4]int{(heads*(seq*(dim*2+3)+5) + 7), seq*(dim*2+3) + 5, dim*2 + 3, 2}
		n = batch*x.stride[0] + 11
		x.offset = 3
	case "reversed": // every stride negative
		x.stride = [4]int{-heads * seq * dim, -seq * dim, -dim, -1}
		x.offset = max(0, n-1)
	case "broadcast": // heads and batch share one matrix
		x.stride = [4]int{0, 0, dim, 1}
		n = seq * dim
	default:
		panic(layout)
	}
	x.data = make([]float32, n)
	fill := canary
	if next != nil {
		fill = float32(math.NaN())
	}
	for i := range x.data {
		x.data[i] = fill
	}
	if next != nil {
		x.each(func(i int) { x.data[i] = next() })
	}
	return x
}

func (x *strided[T]) index(b, h, s, d int) int {
	return x.offset + b*x.stride[0] + h*x.stride[1] + s*x.stride[2] + d*x.stride[3]
}

func (x *strided[T]) at(b, h, s, d int) T { return x.data[x.index(b, h, s, d)] }

// each calls f with the index of every element, in the order of the axes.
func (x *strided[T]) each(f func(i int)) {
	for b := range x.shape[0] {
		for h := range x.shape[1] {
			for s := range x.shape[2] {
				row := x.index(b, h, s, 0)
				for d := range x.shape[3] {
					f(row + d*x.stride[3])
				}
			}
		}
	}
}

// values returns the elements in the order of the axes.
func (x *strided[T]) values() []T {
	v := make([]T, 0, x.shape[0]*x.shape[1]*x.shape[2]*x.shape[3])
	x.each(func(i int) { v = append(v, x.data[i]) })
	return v
}

func (x *strided[T]) view() qkv.View { return qkv.Strided(x.data, x.offset, x.shape, x.stride) }

// rows returns the view of n positions from the first.
func (x *strided[T]) rows(first, n int) qkv.View {
	shape := x.shape
	shape[2] = n
	return qkv.Strided(x.data, x.offset+first*x.stride[2], shape, x.stride)
}

// checkGaps reports canaries that were overwritten.
func checkGaps(t *testing.T, x *tensor) {
	t.Helper()
	own := make([]bool, len(x.data))
	x.each(func(i int) { own[i] = true })
	for i, v := range x.data {
		if !own[i] && v != canary {
			t.Fatalf("out: element %d of the slice, no element of the view, was overwritten with %v", i, v)
		}
	}
}

func normal(seed uint64) func() float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	return func() float32 { return float32(r.NormFloat64()) }
}

// problem is attention over tensors: a [qkv.Call] whose every part can be read back.
type problem struct {
	q, k, v, out *tensor
	lse          []float32
	scale        float32
	mask         qkv.Mask // less Blocks and Keep, which are those below

	lensQ, lensKV []int
	cuQ, cuKV     []int

	blocks   *blocks
	keep     *strided[bool]
	softcap  float32
	alibi    []float32
	bias     *tensor               // one of
	bias16   *strided[qkv.Float16] // these
	scoreMod *mod
	sinks    []float32
	probMod  *mod
	scores   *tensor
	scoresAt qkv.Stage

	precision      qkv.Precision
	valuePrecision qkv.Precision // in class Int8
	keys           qkv.ElemType  // type that keys are made
	values         qkv.ElemType  // type that values are made

	change func(*qkv.Call)       // if not nil, makes another call of the same result
	attend func(*qkv.Call) error // if not nil, computes the call

	known map[[3]int]row // if not nil, rows of the reference so far, of a problem that stays as it is
}

// blocks is a block mask and what it was made with.
type blocks struct {
	queryBlock, keyBlock int
	shape                [4]int // sequences, heads, rows, columns
	*qkv.BlockMask
}

// mod is a callback: what f makes of a score or a probability, for both a block and the
// reference. The pairs of a part of a problem are counted from base.
type mod struct {
	f     func(batch, head, query, key int, x float64) float64
	slope float64 // the steepest of f
	base  [3]int  // batch, head, query
}

func (m *mod) at(batch, head, query, key int, x float64) float64 {
	return m.f(m.base[0]+batch, m.base[1]+head, m.base[2]+query, key, x)
}

func (m *mod) callback() func(*qkv.ScoreBlock) {
	if m == nil {
		return nil
	}
	return func(t *qkv.ScoreBlock) {
		t.Each(func(head, query, key int, s float32) float32 {
			return float32(m.at(t.Batch, head, query, key, float64(s)))
		})
	}
}

type dims struct {
	batch, heads, kvHeads, seqQ, seqKV, dimQK, dimV int
}

func newProblem(d dims, layout string, mask qkv.Mask, next func() float32) *problem {
	outLayout := layout
	if layout == "broadcast" {
		outLayout = "bhsd"
	}
	return &problem{
		q:    newTensor(layout, d.batch, d.heads, d.seqQ, d.dimQK, next),
		k:    newTensor(layout, d.batch, d.kvHeads, d.seqKV, d.dimQK, next),
		v:    newTensor(layout, d.batch, d.kvHeads, d.seqKV, d.dimV, next),
		out:  newTensor(outLayout, d.batch, d.heads, d.seqQ, d.dimV, nil),
		lse:  make([]float32, d.batch*d.heads*d.seqQ),
		mask: mask,
	}
}

func (p *problem) call() *qkv.Call {
	c := &qkv.Call{
		Precision: p.precision, ValuePrecision: p.valuePrecision,
		Q: p.q.view(), K: p.k.view(), V: p.v.view(), Out: p.out.view(), LSE: p.lse,
		LensQ: p.lensQ, LensKV: p.lensKV, CuLensQ: p.cuQ, CuLensKV: p.cuKV,
		Scale: p.scale, Softcap: p.softcap, ALiBi: p.alibi,
		ScoreMod: p.scoreMod.callback(), Mask: p.mask, Sinks: p.sinks, ProbMod: p.probMod.callback(),
	}
	if p.blocks != nil {
		c.Mask.Blocks = p.blocks.BlockMask
	}
	if p.keep != nil {
		c.Mask.Keep = p.keep.view()
	}
	if p.bias != nil {
		c.Bias = p.bias.view()
	} else if p.bias16 != nil {
		c.Bias = p.bias16.view()
	}
	if p.scores != nil {
		c.Scores, c.ScoresAt = p.scores.view(), p.scoresAt
	}
	if p.keys != qkv.TypeFloat32 {
		c.K, c.KScale = poolOf(p.keys, p.k).views()
	}
	if p.values != qkv.TypeFloat32 {
		c.V, c.VScale = poolOf(p.values, p.v).views()
	}
	if p.change != nil {
		p.change(c)
	}
	return c
}

// sets returns the names of the kernel sets to test p with.
func (p *problem) sets() []string {
	if p.precision != qkv.PrecisionFloat32 {
		return classSets()
	}
	return sets()
}

// brief reports whether samples are to be small.
func brief() bool { return testing.Short() || raceEnabled }

// allocsPerCall returns how many allocations a call makes in steady state: the least of some tries, since a
// collection beside the calls of a try empties the pools.
func allocsPerCall(calls int, f func()) float64 {
	if brief() {
		calls = min(calls, 5)
	}
	least := testing.AllocsPerRun(calls, f)
	for try := 0; try < 4 && least > 0; try++ {
		least = min(least, testing.AllocsPerRun(calls, f))
	}
	return least
}

// sets returns the names of the kernel sets to test: those that this machine can run, or the one
// that QKV_KERNEL forces. That all of them give the same bits takes a run in which none is forced. Under the race
// detector it is the best and the generic one: the detector doesn't see what machine code reads and writes.
func sets() []string {
	if forced != "" {
		return []string{forced}
	}
	var names []string
	for _, k := range qkv.Kernels() {
		switch {
		case k.Missing != 0:
		case k.Set.Base != "": // the functions of a base are its own
		case raceEnabled && len(names) > 0 && k.Set.Name != "generic":
		default:
			names = append(names, k.Set.Name)
		}
	}
	return names
}

// kernelSets returns the kernel sets of which sets has the names.
func kernelSets() (list []*kernel.Set) {
	names := sets()
	for _, k := range qkv.Kernels() {
		if slices.Contains(names, k.Set.Name) {
			list = append(list, k.Set)
		}
	}
	return list
}

// classSets returns what sets returns, and those that differ in the functions of some numerical classes: under the
// race detector the best of these and the generic one.
func classSets() []string {
	if forced != "" {
		return []string{forced}
	}
	names := runnable()
	if raceEnabled {
		names = slices.Compact([]string{names[0], "generic"})
	}
	return names
}

// forced is what QKV_KERNEL is before a test changes it.
var forced = os.Getenv("QKV_KERNEL")

// runnable returns the names of the kernel sets that this machine can run.
func runnable() []string {
	var names []string
	for _, k := range qkv.Kernels() {
		if k.Missing == 0 {
			names = append(names, k.Set.Name)
		}
	}
	return names
}

func newAttention(t testing.TB, cfg qkv.Config) *qkv.Engine {
	t.Helper()
	a, err := qkv.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run computes p and returns the elements of the output and the log-sum-exp.
func (p *problem) run(t *testing.T, a *qkv.Engine) (out, lse []float32) {
	t.Helper()
	p.out.each(func(i int) { p.out.data[i] = canary })
	for i := range p.lse {
		p.lse[i] = canary
	}
	if p.scores != nil {
		p.scores.each(func(i int) { p.scores.data[i] = canary })
	}
	run := a.Run
	if p.attend != nil {
		run = p.attend
	}
	if err := run(p.call()); err != nil {
		t.Fatal(err)
	}
	return p.out.values(), append([]float32(nil), p.lse...)
}

// sameBits reports the first difference of two results. A NaN equals any NaN.
func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
			t.Fatalf("%s: value %d is %g (%#x), want %g (%#x)", what, i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}
