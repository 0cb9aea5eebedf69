package qkv_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// tensor is a strided [batch, heads, seq, dim] tensor over a slice with a canary
// everywhere else.
type tensor struct {
	data   []float32
	offset int
	shape  [4]int
	stride [4]int
}

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

func (x *tensor) index(b, h, s, d int) int {
	return x.offset + b*x.stride[0] + h*x.stride[1] + s*x.stride[2] + d*x.stride[3]
}

func (x *tensor) at(b, h, s, d int) float32 { return x.data[x.index(b, h, s, d)] }

// each calls f with the index of every element, in the order of the axes.
func (x *tensor) each(f func(i int)) {
	for b := range x.shape[0] {
		for h := range x.shape[1] {
			for s := range x.shape[2] {
				for d := range x.shape[3] {
					f(x.index(b, h, s, d))
				}
			}
		}
	}
}

// values returns the elements in the order of the axes.
func (x *tensor) values() []float32 {
	var v []float32
	x.each(func(i int) { v = append(v, x.data[i]) })
	return v
}

func (x *tensor) view() qkv.View { return qkv.Strided(x.data, x.offset, x.shape, x.stride) }

// rows returns the view of n positions from the first.
func (x *tensor) rows(first, n int) qkv.View {
	shape := x.shape
	shape[2] = n
	return qkv.Strided(x.data, x.offset+first*x.stride[2], shape, x.stride)
}

// checkGaps reports canaries that were overwritten.
func (x *tensor) checkGaps(t *testing.T) {
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

// problem is attention over tensors.
type problem struct {
	q, k, v, out *tensor
	lse          []float32
	scale        float32
	mask         qkv.Mask
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
	return &qkv.Call{Q: p.q.view(), K: p.k.view(), V: p.v.view(), Out: p.out.view(), LSE: p.lse, Scale: p.scale, Mask: p.mask}
}

// keys returns how many keys the query at position i attends.
func (p *problem) keys(i int) int {
	seqQ, seqKV := p.q.shape[2], p.k.shape[2]
	if !p.mask.Causal {
		return seqKV
	}
	switch p.mask.Align {
	case qkv.BottomRight:
		return max(0, min(i+seqKV-seqQ+1, seqKV))
	case qkv.AlignOffset:
		return max(0, min(i+max(-1<<20, min(p.mask.Offset, 1<<20))+1, seqKV))
	}
	return min(i+1, seqKV)
}

// u is the unit roundoff of float32.
const u = 0x1p-24

// row computes one row in float64: output, log-sum-exp, and bounds of the error that
// a float32 computation may make in them.
//
// A score is a sum of dim products, whose rounding errors are at most
// u * |q|·|k| each in the worst order; they nearly cancel, and twice the sum of
// magnitudes once is a bound that random data stay well under. A weight has that
// error times its exponent's slope, 1, plus the rounding of the score, of the
// maximum and of exp2; the sums over n keys, in blocks, add at most sqrt(n) more.
func (p *problem) row(b, h, i int) (out []float64, lse float64, outTol []float64, lseTol float64) {
	n := p.keys(i)
	kh := h / (p.q.shape[1] / max(1, p.k.shape[1]))
	dim, dimV := p.q.shape[3], p.v.shape[3]
	scale := float64(p.scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(dim))
	}
	out, outTol = make([]float64, dimV), make([]float64, dimV)
	if n == 0 {
		return out, math.Inf(-1), outTol, 0
	}
	s := make([]float64, n)
	top, mag := math.Inf(-1), 0.0
	for j := range s {
		m := 0.0
		for d := range dim {
			x := float64(p.q.at(b, h, i, d)) * float64(p.k.at(b, kh, j, d)) * scale
			s[j] += x
			m += math.Abs(x)
		}
		mag = max(mag, m)
		top = max(top, s[j])
	}
	sum := 0.0
	for j := range s {
		s[j] = math.Exp(s[j] - top)
		sum += s[j]
	}
	rel := u * (4*mag + 2*math.Sqrt(float64(n)) + 16)
	for d := range out {
		abs := 0.0
		for j := range s {
			x := s[j] / sum * float64(p.v.at(b, kh, j, d))
			out[d] += x
			abs += math.Abs(x)
		}
		outTol[d] = math.Expm1(rel)*abs + 0x1p-126
	}
	lse = top + math.Log(sum)
	return out, lse, outTol, rel + 2*u*math.Abs(lse)
}

// check compares every row, or a sample of them, with float64.
func (p *problem) check(t *testing.T, sample int) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	batch, heads, seq := p.q.shape[0], p.q.shape[1], p.q.shape[2]
	total := batch * heads * seq
	for x := range total {
		if sample > 0 && total > sample && x != 0 && x != total-1 && r.IntN(total) >= sample {
			continue
		}
		b, h, i := x/(heads*seq), x/seq%heads, x%seq
		want, wantLSE, tol, lseTol := p.row(b, h, i)
		for d := range want {
			got := float64(p.out.at(b, h, i, d))
			if !(math.Abs(got-want[d]) <= tol[d]) {
				t.Fatalf("out[%d,%d,%d,%d] = %g, want %g ± %g", b, h, i, d, got, want[d], tol[d])
			}
		}
		if got := float64(p.lse[x]); got != wantLSE && !(math.Abs(got-wantLSE) <= lseTol) {
			t.Fatalf("lse[%d,%d,%d] = %g, want %g ± %g", b, h, i, got, wantLSE, lseTol)
		}
	}
}

// sets returns the names of the kernel sets that this machine can run.
func sets() []string {
	var names []string
	for _, k := range qkv.Kernels() {
		if k.Missing == 0 {
			names = append(names, k.Set.Name)
		}
	}
	return names
}

func newAttention(t testing.TB, cfg qkv.Config) *qkv.Attention {
	t.Helper()
	a, err := qkv.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run computes p and returns the elements of the output and the log-sum-exp.
func (p *problem) run(t *testing.T, a *qkv.Attention) (out, lse []float32) {
	t.Helper()
	p.out.each(func(i int) { p.out.data[i] = canary })
	clear(p.lse)
	if err := a.Run(p.call()); err != nil {
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
