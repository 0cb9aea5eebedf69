// Package kerneltest is the conformance suite of [kernel.Set].
//
// It runs each function beside a transcription of its contract on the same
// operands and compares all memory bit for bit. Operands lie flush against
// pages that fault, with NaN in what is not an operand.
package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// Test tests that set keeps the contract of package kernel. With -short it takes an eighth of the
// cases: an emulated CPU spends all of its time on the transcriptions, which are scalar.
func Test(t *testing.T, set *kernel.Set) { test(t, set, testing.Short()) }

// TestClasses tests what a set with a [kernel.Set.Base] has of its own, the operations of numerical classes; of
// pairs only if it has an instruction for them, with which it differs from its base.
func TestClasses(t *testing.T, set *kernel.Set) {
	own := slices.DeleteFunc(slices.Clone(classOperations), func(op operation) bool {
		return !set.Paired && strings.Contains(op.name, "Pair")
	})
	testOperations(t, set, testing.Short(), own)
}

func test(t *testing.T, set *kernel.Set, short bool) {
	testOperations(t, set, short, slices.Concat(operations, classOperations))
}

func testOperations(t *testing.T, set *kernel.Set, short bool, operations []operation) {
	t.Run("Shape", func(t *testing.T) { kernel.Checked(set) })
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			op.run(t, set, short)
		})
	}
	t.Run("Peak", func(t *testing.T) {
		for _, n := range []int{0, 1, 5} {
			set.Peak(n)
			set.PeakInt8(n)
			set.PeakBFloat16(n)
		}
	})
}

// An operation is a part of the suite, to be run for each number of lanes.
type operation struct {
	name string
	test func(s *suite, lanes int)
}

var operations = []operation{
	{"Pack", (*suite).pack},
	{"Scores", (*suite).scores},
	{"Softcap", (*suite).softcap},
	{"ALiBi", (*suite).alibi},
	{"Bias", (*suite).bias},
	{"Softmax", (*suite).softmax},
	{"Accumulate", (*suite).accumulate},
	{"Unpack", (*suite).unpack},
	{"Merge", (*suite).merge},
	{"Convert", (*suite).convert},
	{"Store", (*suite).store},
	{"DecodeScores", (*suite).decodeScores},
	{"DecodeAccumulate", (*suite).decodeAccumulate},
	{"Multiply", (*suite).multiply},
	{"MultiplyFew", (*suite).multiplyFew},
	{"Combine", (*suite).combine},
	{"Dots", (*suite).dots},
	{"Dequantize", (*suite).dequantize},
	{"DotWeights", (*suite).dotWeights},
	{"MultiplyStrips", (*suite).multiplyStrips},
	{"DequantizeStrips", (*suite).dequantizeStrips},
	{"Float16", (*suite).float16},
	{"Rotary", (*suite).rotary},
	{"Activate", (*suite).activate},
	{"Sums", (*suite).sums},
	{"Normalize", (*suite).normalize},
	{"Hadamard", (*suite).hadamard},
	{"Above", (*suite).above},
	{"Claims", (*suite).claims},
	{"Attention", (*suite).attention},
	{"Read", (*suite).read},
}

// classOperations are those of numerical classes.
var classOperations = []operation{
	{"DecodeScoresInt8", (*suite).decodeScoresInt8},
	{"Pairs", (*suite).pairs},
	{"MultiplyPairs", (*suite).multiplyPairs},
	{"MultiplyPairsFew", (*suite).multiplyPairsFew},
	{"ScoresPairs", (*suite).scoresPairs},
	{"PairWeights", (*suite).pairWeights},
	{"AccumulatePairs", (*suite).accumulatePairs},
	{"Quantize", (*suite).quantize},
	{"UnpackInt8", (*suite).unpackInt8},
	{"MultiplyInt8", (*suite).multiplyInt8},
	{"MultiplyRowInt8", (*suite).multiplyRowInt8},
	{"ConvertInt8", (*suite).convertInt8},
	{"PackWeights", (*suite).packWeights},
	{"PackInt8", (*suite).packInt8},
	{"TransposeInt8", (*suite).transposeInt8},
	{"DecodeAccumulateInt8", (*suite).decodeAccumulateInt8},
}

func (op operation) run(t testing.TB, set *kernel.Set, short bool) {
	s := &suite{TB: t, set: set, short: short, arena: &arena{}, Rand: rand.New(rand.NewPCG(1, 2))}
	for lanes := set.Vec; lanes <= set.Lanes; lanes += set.Vec {
		if short && lanes > set.Vec && lanes < set.Lanes {
			continue
		}
		for _, s.edge = range []edge{front, back} {
			op.test(s, lanes)
			s.turn++
		}
	}
}

// A suite is the state of one subtest.
type suite struct {
	testing.TB
	*rand.Rand
	set   *kernel.Set
	arena *arena
	edge  edge
	turn  int  // how often the operation has been tested before, at other lanes or edges
	short bool // take an eighth of the cases
}

// skip reports whether a case is to be left out.
func (s *suite) skip() bool { return s.short && s.IntN(8) != 0 }

// begin takes back the operands of the last case.
func (s *suite) begin() { s.arena.reset(s.edge) }

// floats returns n elements that are no operands yet.
func (s *suite) floats(name string, n int) []float32 {
	w := s.arena.words(s.TB, name, n)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(w))), n)
}

// matrix returns a matrix [rows][stride] with lanes operands in each row.
func (s *suite) matrix(name string, rows, lanes, stride int, g gen) *float32 {
	m := s.floats(name, (rows-1)*stride+lanes)
	for i := range rows {
		for l := range lanes {
			m[i*stride+l] = g.draw(s.Rand)
		}
	}
	return &m[0]
}

// strided returns element (0, 0) of an n0 by n1 matrix with any strides.
func (s *suite) strided(name string, n0, stride0, n1, stride1 int, g gen) *float32 {
	first := min(0, (n0-1)*stride0) + min(0, (n1-1)*stride1)
	last := max(0, (n0-1)*stride0) + max(0, (n1-1)*stride1)
	m := s.floats(name, last-first+1)
	for i := range n0 {
		for j := range n1 {
			m[i*stride0+j*stride1-first] = g.draw(s.Rand)
		}
	}
	return &m[-first]
}

// rows returns element 0 of scattered rows of dim elements, and their offsets.
func (s *suite) rows(name string, rows, dim int, l layout, g gen) (*float32, *[kernel.MaxLanes]int) {
	off := (*[kernel.MaxLanes]int)(unsafe.Pointer(unsafe.SliceData(
		s.arena.words(s.TB, name+" offsets", kernel.MaxLanes*int(unsafe.Sizeof(int(0)))/4))))
	for i := range off {
		off[i] = 1 << 28 // not an operand; an address that faults
	}
	first, last := 0, 0
	for i, p := range s.Perm(rows) {
		// Offsets from the element in the middle have either sign.
		off[i] = (p - rows/2) * l.outer
		first = min(first, off[i], off[i]+(dim-1)*l.inner)
		last = max(last, off[i], off[i]+(dim-1)*l.inner)
	}
	m := s.floats(name, last-first+1)
	for i := range rows {
		for d := range dim {
			m[off[i]+d*l.inner-first] = g.draw(s.Rand)
		}
	}
	return &m[-first], off
}

// check compares want with got and stops at the first difference.
func (s *suite) check(what func() string, want, got func()) {
	s.Helper()
	if !s.arena.compare(s.TB, func() string { return s.edge.String() + " " + what() }, want, got) {
		s.FailNow()
	}
}

// unchanged stops if a function changed its arguments.
func unchanged[T comparable](s *suite, what func() string, got, want T) {
	s.Helper()
	if got != want {
		s.Fatalf("%s: arguments are %+v after the call, want %+v", what(), got, want)
	}
}

// A layout is a pair of strides: from one row or key to the next, and from one
// dim to the next.
type layout struct {
	name         string
	outer, inner int
}

func (l layout) String() string { return fmt.Sprintf("%s(%d,%d)", l.name, l.outer, l.inner) }

// disjointLayouts are layouts of n rows of dim elements in which no two elements
// share memory.
func disjointLayouts(n, dim int) []layout {
	return []layout{
		{"contiguous", dim, 1},
		{"padded", dim + 3, 1},
		{"backward", -dim, 1},
		{"transposed", 1, n},
		{"transposed and padded", 1, n + 5},
		{"transposed backward", -1, -n},
		{"every other", 2*dim + 1, 2},
		{"inner backward", dim, -1},
		{"both backward", -3 * dim, -3},
	}
}

// layouts are layouts of n rows of dim elements.
func layouts(n, dim int) []layout {
	return append(disjointLayouts(n, dim), []layout{
		{"one row", 0, 1},
		{"one dim", 1, 0},
		{"one dim backward", -3, 0},
		{"one element", 0, 0},
		{"overlapping", 1, 1},
		{"overlapping backward", -1, 2},
	}...)
}

// A shape is the two extents of a call other than its lanes: the one that the
// micro-tile blocks, and the other.
type shape struct{ tile, loop int }

// shapes returns every remainder of tile with some of loop and the other way
// around.
func (s *suite) shapes(maxTile, maxLoop int) []shape {
	brackets := func(n, most int, more ...int) []int {
		var all []int
		for i := 1; i <= max(n, 33); i++ {
			all = append(all, i)
		}
		all = append(all, more...)
		return slices.DeleteFunc(all, func(i int) bool { return i > most })
	}
	rows := s.set.Rows
	var list []shape
	for _, n := range brackets(2*rows+1, maxTile, 63, 64, 65, 100, 127, 128) {
		for _, m := range []int{1, 2, 3, 4, 5, 8, 9, 17} {
			list = append(list, shape{n, m})
		}
	}
	for _, m := range brackets(1, maxLoop, 64, 100, 127, 128) {
		for _, n := range []int{1, rows, rows + 1, 64, maxTile} {
			list = append(list, shape{n, m})
		}
	}
	return slices.DeleteFunc(list, func(shape) bool { return s.skip() })
}

// stride returns a row length for lanes operands, equal to lanes every other time.
func (s *suite) stride(lanes int) int {
	return lanes + []int{0, 1, 0, 3, 0, 16}[s.IntN(6)]
}
