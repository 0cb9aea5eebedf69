package qkv_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// A place is where keys and values of a problem are put.
type place int

const (
	inTensor place = iota
	inPages
	inRing
	places = iota
)

func (at place) String() string { return [places]string{"tensor", "pages", "ring"}[at] }

// rowOf returns a row of a tensor.
func rowOf(x *tensor, b, h, s int) []float32 {
	r := make([]float32, x.shape[3])
	for d := range r {
		r[d] = x.at(b, h, s, d)
	}
	return r
}

// converted returns a contiguous tensor of what the rows of x are once they are of a type.
func converted(x *tensor, typ qkv.ElemType) *tensor {
	y := newTensor("bhsd", x.shape[0], x.shape[1], x.shape[2], x.shape[3], normal(0))
	for b := range x.shape[0] {
		for h := range x.shape[1] {
			for s := range x.shape[2] {
				copy(y.data[y.index(b, h, s, 0):], stored(typ, rowOf(x, b, h, s)))
			}
		}
	}
	return y
}

// put gives p the values that its keys and values have in some types, and returns what makes
// a call of keys and values of those types of p's own.
func (p *problem) put(r *rand.Rand, at place, keyType, valueType qkv.ElemType) (change func(*qkv.Call)) {
	wide := [2]*tensor{p.k, p.v}
	p.k, p.v = converted(p.k, keyType), converted(p.v, valueType)
	if p.precision == qkv.PrecisionInt8 && withIntegers(keyType) {
		p.k, p.keys = wide[0], keyType
	}
	if p.precision == qkv.PrecisionInt8 {
		p.valuePrecision = drawn(r, attentionClasses...)
	}
	if p.valuePrecision == qkv.PrecisionInt8 && withIntegers(valueType) {
		p.v, p.values = wide[1], valueType
	}
	types := [2]qkv.ElemType{keyType, valueType}
	var pools [2]*pool
	if at == inTensor {
		for i, x := range wide {
			pools[i] = poolOf(types[i], x)
		}
		return func(c *qkv.Call) {
			c.K, c.KScale = pools[0].views()
			c.V, c.VScale = pools[1].views()
		}
	}

	n := p.sequences()
	lens, longest := make([]int, n), 0
	for i := range lens {
		s := p.sequence(i)
		lens[i], longest = s.lenKV, max(longest, s.keys)
	}
	if p.lensKV != nil {
		// Without padding, so that tensors of pairs have the same lengths in both calls.
		i := r.IntN(n)
		lens[i], p.lensKV[i] = longest, longest
	}
	first := p.mask.Prefix + p.mask.First
	tokens := drawn(r, 1, 3, 16, 64, 100, 128, 200)
	sizes := draw(n, func() int { return 0 }) // pages of each sequence
	total := 0
	for i, n := range lens {
		sizes[i] = (n + tokens - 1) / tokens
		if at == inRing {
			sizes[i] = 1 + first/tokens + r.IntN(max(1, sizes[i]))
		}
		sizes[i] += r.IntN(2)
		total += sizes[i]
	}
	total += r.IntN(3)
	order := r.Perm(total)
	tables := make([][]int32, n)
	for i := range tables {
		for _, page := range order[:sizes[i]] {
			tables[i] = append(tables[i], int32(page))
		}
		order = order[sizes[i]:]
	}
	lost := make([]int, n) // the end of the keys of a ring that were overwritten
	for i, x := range wide {
		pools[i] = newPool(types[i], [4]int{total, x.shape[1], tokens, x.shape[3]})
		for b := range tables {
			s := p.sequence(b)
			for j := range lens[b] {
				key := j
				if size := len(tables[b])*tokens - first; at == inRing && j >= first {
					key = first + (j-first)%size
					lost[b] = lens[b] - size
				}
				for h := range x.shape[1] {
					pools[i].set(int(tables[b][key/tokens]), h, key%tokens, rowOf(x, s.batch, h, s.k0+j))
				}
			}
		}
	}
	if at == inRing {
		p.lose(lens, lost)
	}
	segments := p.padSegments()
	return func(c *qkv.Call) {
		c.K, c.KScale = pools[0].views()
		c.V, c.VScale = pools[1].views()
		c.Tables, c.LensKV, c.CuLensKV, c.Ring = tables, lens, nil, at == inRing
		c.Mask.SegmentsKV = segments
	}
}

// lose takes away the keys of each sequence from the prefix to before lost.
func (p *problem) lose(lens, lost []int) {
	n, lenQ, lenKV := len(lens), 0, 0
	for i := range n {
		s := p.sequence(i)
		lenQ, lenKV = max(lenQ, s.rows), max(lenKV, s.keys)
	}
	keep := &strided[bool]{shape: [4]int{n, 1, 1, lenKV}}
	if p.keep != nil {
		keep.shape = [4]int{n, p.q.shape[1], lenQ, lenKV}
	}
	size := 1
	for axis := 3; axis >= 0; axis-- {
		keep.stride[axis] = size
		size *= keep.shape[axis]
	}
	keep.data = make([]bool, size)
	for b := range keep.shape[0] {
		for h := range keep.shape[1] {
			for i := range keep.shape[2] {
				for j := range keep.shape[3] {
					kept := j < p.mask.Prefix+p.mask.First || j >= lost[b]
					keep.data[keep.index(b, h, i, j)] = kept && (p.keep == nil || shared(p.keep, b, h, i, j))
				}
			}
		}
	}
	p.keep = keep
}

// fuzzPut makes a problem of a fuzzer's numbers, whose keys and values lie in a place in
// some types.
func fuzzPut(which feature, shape, seed uint64) (p *problem, at place, name string) {
	r := rand.New(rand.NewPCG(seed, shape))
	at = place(r.IntN(places))
	keyType, valueType := drawn(r, elemTypes...), drawn(r, elemTypes...)
	// Long keys have few queries, so that no input takes a fuzzer's patience: see FuzzTypesAndTables.
	most := drawn(r, sizes{seqQ: 60, seqKV: 300}, sizes{seqQ: 20, seqKV: 300}, sizes{seqQ: 8, seqKV: 1300}, sizes{seqQ: 3, seqKV: 2700})
	most.dims, most.dimStep = 24, 1
	if inBlocks(keyType) || inBlocks(valueType) {
		most.dims, most.dimStep = 3, 32
	}
	if which&withScores != 0 {
		most.seqKV = 300
	}
	if at == inRing || at == inPages && which&withLens != 0 {
		which &^= withScores // there are no keys where those of padding or overwritten ones were
	}
	p = fuzzFeaturesOf(which, shape, seed, most)
	if m := &p.mask; at == inRing && m.Prefixes != nil {
		m.Prefix, m.Prefixes = m.Prefixes[0], nil
	}
	p.precision = drawn(r, attentionClasses...)
	p.change = p.put(r, at, keyType, valueType)
	return p, at, fmt.Sprintf("class=%v,values=%v,k=%v,v=%v,in=%v", p.precision, p.valuePrecision, keyType, valueType, at)
}

// checkPut compares p on every kernel set and some numbers of workers with p on tensors of
// float32, to the bit, and with float64.
func (p *problem) checkPut(t *testing.T, workers ...int) (worst float64) {
	t.Helper()
	change := p.change
	p.change = nil
	check := p.reference(t)
	worst = p.check(t, 8)
	p.change = change
	for _, set := range p.sets() {
		for _, n := range workers {
			check(set, n)
			p.checkUnwritten(t)
		}
	}
	p.checkPlan(t, newAttention(t, qkv.Config{}))
	return worst
}

// TestTypesAndTables: keys and values of any types in tensors, pages and rings have the
// results of tensors of float32, with any features.
func TestTypesAndTables(t *testing.T) {
	t.Parallel()
	n := 160
	if brief() {
		n = 40
	}
	worst := 0.0
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 21))
		which := feature(1) << seed
		if seed >= features {
			which = feature(r.Uint32()) & (1<<features - 1)
			which &= feature(r.Uint32()) // a quarter of them
		}
		p, _, name := fuzzPut(which, r.Uint64(), seed)
		t.Run(fmt.Sprintf("seed=%d,%s,with=%v", seed, name, which), func(t *testing.T) {
			worst = max(worst, p.checkPut(t, workerCounts(1, 2, 7)...))
		})
	}
	t.Logf("largest error: %.3g of its bound", worst)
}

// TestRingEarlyQueries: queries that stand before all keys of a ring but its first attend
// those up to their own position, not all.
func TestRingEarlyQueries(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		for i, seqQ := range []int{1, 5, 70} {
			for j, mask := range []qkv.Mask{
				{Causal: true, First: 40, Align: qkv.TopLeft}, {Window: qkv.Sliding(2, 3), First: 200, Align: qkv.TopLeft},
				{Causal: true, First: 70, Align: qkv.AlignOffset, Offset: -3}, {Causal: true, Prefix: 40, Align: qkv.TopLeft},
			} {
				if brief() && (int(seed)+i+j)%4 > 0 {
					continue
				}
				p := newProblem(dims{2, 4, 2, seqQ, 1500, 16, 16}, "bhsd", mask, normal(seed))
				p.change = p.put(rand.New(rand.NewPCG(seed, 22)), inRing, qkv.TypeFloat32, qkv.TypeFloat16)
				t.Run(fmt.Sprintf("seed=%d,q=%d,mask=%v", seed, seqQ, mask), func(t *testing.T) { p.checkPut(t, workerCounts(1, 2, 7)...) })
			}
		}
	}
}

// FuzzTypesAndTables is TestTypesAndTables of a fuzzer's numbers. Go's fuzzer takes an input that takes 10 s by the
// clock for one that fails, so that inputs are to end within a second on a machine with nothing else to do.
func FuzzTypesAndTables(f *testing.F) {
	for i := range features {
		f.Add(uint32(1)<<i, uint64(0x123456789abcdef)<<i, uint64(i))
	}
	f.Fuzz(func(t *testing.T, which uint32, shape, seed uint64) {
		p, _, _ := fuzzPut(feature(which), shape, seed)
		p.checkPut(t, 1+int(seed%3))
	})
}
