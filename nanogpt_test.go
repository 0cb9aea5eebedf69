package qkv_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/internal/shareddata"
)

// The shape of the model's attention.
const (
	nanoBatch = 3
	nanoHeads = 3
	nanoSeq   = 11
	nanoDim   = 16
	nanoWidth = nanoHeads * nanoDim
)

// nanoGPT has every intermediate value of a trained GPT's forward pass in PyTorch, for three
// inputs, by name.
type nanoGPT map[string]json.RawMessage

func loadNanoGPT(t *testing.T) nanoGPT {
	t.Helper()
	b, err := os.ReadFile(shareddata.Path(t, "nano-gpt", "gpt-nano-sort-t0-partials.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m nanoGPT
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// values returns the elements of an intermediate value, which must have a shape.
func (m nanoGPT) values(t *testing.T, name string, shape ...int) []float32 {
	t.Helper()
	var x struct {
		Shape []int
		Dtype string
		Data  string
	}
	if err := json.Unmarshal(m[name], &x); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	raw, err := base64.StdEncoding.DecodeString(x.Data)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	if !slices.Equal(x.Shape, shape) || x.Dtype != "torch.float32" || len(raw) != 4*n {
		t.Fatalf("%s has shape %v of %s in %d bytes, want %v", name, x.Shape, x.Dtype, len(raw), shape)
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return v
}

// nanoTensor is contiguous values of the model in the layout [batch, heads, seq, dim].
func nanoTensor(data []float32) *tensor {
	return &tensor{
		data:   data,
		shape:  [4]int{nanoBatch, nanoHeads, nanoSeq, nanoDim},
		stride: [4]int{nanoHeads * nanoSeq * nanoDim, nanoSeq * nanoDim, nanoDim, 1},
	}
}

// TestNanoGPT computes the first layer's attention of a trained model, from the
// queries, keys and values of three inputs, and compares what PyTorch made of them.
//
// Nothing in the file is exact: y, attSm and att are float32 results of the same
// operands. [problem.row] bounds the error of any such result, ours or PyTorch's,
// against float64, so two of them differ by at most twice the bound.
//
// The weights attSm and the scores att are compared through what we return: attSm·V,
// in float64, is an output whose only errors are those of float32 weights, which the
// bound includes; and the log-sum-exp of att has the errors of float32 scores.
func TestNanoGPT(t *testing.T) {
	m := loadNanoGPT(t)
	q := m.values(t, "q", nanoBatch, nanoHeads, nanoSeq, nanoDim)
	k := m.values(t, "k", nanoBatch, nanoHeads, nanoSeq, nanoDim)
	v := m.values(t, "v", nanoBatch, nanoHeads, nanoSeq, nanoDim)
	att := m.values(t, "att", nanoBatch, nanoHeads, nanoSeq, nanoSeq)
	attSm := m.values(t, "attSm", nanoBatch, nanoHeads, nanoSeq, nanoSeq)
	y := m.values(t, "y", nanoBatch, nanoSeq, nanoWidth)

	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		p := &problem{
			q: nanoTensor(q), k: nanoTensor(k), v: nanoTensor(v),
			out:  nanoTensor(make([]float32, len(q))),
			lse:  make([]float32, nanoBatch*nanoHeads*nanoSeq),
			mask: qkv.Mask{Causal: true},
		}
		p.run(t, a)
		p.check(t, 0)
		var worst, worstLSE float64 // of the bounds
		for x := range p.lse {
			b, h, i := x/(nanoHeads*nanoSeq), x/nanoSeq%nanoHeads, x%nanoSeq
			row := p.row(b, h, i)
			tol, lseTol := row.outTol, row.lseTol
			weights := attSm[x*nanoSeq:][:nanoSeq]
			for d := range nanoDim {
				got := float64(p.out.at(b, h, i, d))
				theirs := float64(y[((b*nanoSeq+i)*nanoHeads+h)*nanoDim+d])
				if diff := math.Abs(got - theirs); !(diff <= 2*tol[d]) {
					t.Fatalf("out[%d,%d,%d,%d] = %g, y is %g ± %g", b, h, i, d, got, theirs, 2*tol[d])
				}
				sum := 0.0
				for j, w := range weights {
					sum += float64(w) * float64(p.v.at(b, h, j, d))
				}
				diff := math.Abs(got - sum)
				if !(diff <= 2*tol[d]) {
					t.Fatalf("out[%d,%d,%d,%d] = %g, attSm·v is %g ± %g", b, h, i, d, got, sum, 2*tol[d])
				}
				worst = max(worst, diff/(2*tol[d]))
			}
			want := logSumExp(att[x*nanoSeq:][:nanoSeq])
			diff := math.Abs(float64(p.lse[x]) - want)
			if !(diff <= 2*lseTol) {
				t.Fatalf("lse[%d,%d,%d] = %g, that of att is %g ± %g", b, h, i, p.lse[x], want, 2*lseTol)
			}
			worstLSE = max(worstLSE, diff/(2*lseTol))
		}
		t.Logf("largest differences: out %.2f, lse %.2f of the bound", worst, worstLSE)
	})
}

// TestNanoGPTLayouts reads the same operands where the model's projection leaves them:
// rows [q | k | v] of [batch, seq, 3*width], each part [heads, dim]. Neither layout nor
// batch may change a bit.
func TestNanoGPTLayouts(t *testing.T) {
	m := loadNanoGPT(t)
	q := m.values(t, "q", nanoBatch, nanoHeads, nanoSeq, nanoDim)
	k := m.values(t, "k", nanoBatch, nanoHeads, nanoSeq, nanoDim)
	v := m.values(t, "v", nanoBatch, nanoHeads, nanoSeq, nanoDim)
	packed := m.values(t, "qkv", nanoBatch, nanoSeq, 3*nanoWidth)

	bhsd := func(data []float32) qkv.View { return qkv.BHSD(data, nanoBatch, nanoHeads, nanoSeq, nanoDim) }
	const row = 3 * nanoWidth
	strided := func(part int) qkv.View {
		return qkv.Strided(packed, part*nanoWidth,
			[4]int{nanoBatch, nanoHeads, nanoSeq, nanoDim}, [4]int{nanoSeq * row, nanoDim, row, 1})
	}
	pq, pk, pv := qkv.PackedQKV(packed, nanoBatch, nanoSeq, nanoHeads, nanoHeads, nanoDim)

	const rows, n = nanoBatch * nanoHeads * nanoSeq, nanoBatch * nanoHeads * nanoSeq * nanoDim
	causal := qkv.Mask{Causal: true}
	var first []float32 // of the first kernel set: every other has its bits too
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		run := func(q, k, v, out qkv.View, lse []float32) {
			t.Helper()
			if err := a.Run(&qkv.Call{Q: q, K: k, V: v, Out: out, LSE: lse, Mask: causal}); err != nil {
				t.Fatal(err)
			}
		}
		want, wantLSE := make([]float32, n), make([]float32, rows)
		run(bhsd(q), bhsd(k), bhsd(v), qkv.BSHD(want, nanoBatch, nanoSeq, nanoHeads, nanoDim), wantLSE)
		if first == nil {
			first = want
		}
		sameBits(t, "another kernel set", want, first)

		got, lse := make([]float32, n), make([]float32, rows)
		run(pq, pk, pv, qkv.BSHD(got, nanoBatch, nanoSeq, nanoHeads, nanoDim), lse)
		sameBits(t, "packed: out", got, want)
		sameBits(t, "packed: lse", lse, wantLSE)

		clear(got)
		clear(lse)
		run(strided(0), strided(1), strided(2), qkv.BSHD(got, nanoBatch, nanoSeq, nanoHeads, nanoDim), lse)
		sameBits(t, "strided: out", got, want)
		sameBits(t, "strided: lse", lse, wantLSE)

		for b := range nanoBatch {
			const size = nanoSeq * nanoWidth
			out, lse := make([]float32, size), make([]float32, nanoHeads*nanoSeq)
			q, k, v := qkv.PackedQKV(packed[b*nanoSeq*row:][:nanoSeq*row], 1, nanoSeq, nanoHeads, nanoHeads, nanoDim)
			run(q, k, v, qkv.BSHD(out, 1, nanoSeq, nanoHeads, nanoDim), lse)
			sameBits(t, fmt.Sprintf("input %d alone: out", b), out, want[b*size:][:size])
			sameBits(t, fmt.Sprintf("input %d alone: lse", b), lse, wantLSE[b*len(lse):][:len(lse)])
		}
	})
}

func logSumExp(x []float32) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range x {
		top = max(top, float64(v))
	}
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}
