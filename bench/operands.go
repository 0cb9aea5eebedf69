package bench

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/qkv-go/qkv"
)

// Operands are the tensors of one attention, each contiguous [batch, heads, seq, dim].
type Operands struct {
	Shape   Shape
	Q, K, V []float32
	Out     []float32
	LSE     []float32 // [batch, heads, seqQ]
}

// NewOperands returns operands with standard normal queries, keys and values, the
// same for the same seed, and an output of NaN, so that what is never written shows.
func NewOperands(s Shape, seed uint64) *Operands {
	rowsQ, rowsKV := s.Batch*s.Heads*s.SeqQ, s.Batch*s.KVHeads*s.SeqKV
	o := &Operands{
		Shape: s,
		Q:     make([]float32, rowsQ*s.DimQK),
		K:     make([]float32, rowsKV*s.DimQK),
		V:     make([]float32, rowsKV*s.DimV),
		Out:   make([]float32, rowsQ*s.DimV),
		LSE:   make([]float32, rowsQ),
	}
	for i, x := range [][]float32{o.Q, o.K, o.V} {
		fillNormal(x, seed, uint64(i))
	}
	o.Spoil()
	return o
}

// Spoil overwrites the output with NaN.
func (o *Operands) Spoil() {
	nan := float32(math.NaN())
	for _, x := range [][]float32{o.Out, o.LSE} {
		for i := range x {
			x[i] = nan
		}
	}
}

// Call returns the attention of the operands at the default scale.
func (o *Operands) Call() *qkv.Call {
	s := o.Shape
	return &qkv.Call{
		Q:    qkv.BHSD(o.Q, s.Batch, s.Heads, s.SeqQ, s.DimQK),
		K:    qkv.BHSD(o.K, s.Batch, s.KVHeads, s.SeqKV, s.DimQK),
		V:    qkv.BHSD(o.V, s.Batch, s.KVHeads, s.SeqKV, s.DimV),
		Out:  qkv.BHSD(o.Out, s.Batch, s.Heads, s.SeqQ, s.DimV),
		LSE:  o.LSE,
		Mask: qkv.Mask{Causal: s.Mask.Causal, Align: s.Mask.Align, Offset: s.Mask.Offset},
	}
}

// fillNormal fills x in pieces that have a seed of their own, so that the values do
// not depend on who fills them.
func fillNormal(x []float32, seed, stream uint64) {
	const piece = 1 << 16
	pieces := (len(x) + piece - 1) / piece
	parallel(pieces, func(p int) {
		r := rand.New(rand.NewPCG(seed, stream<<40|uint64(p)))
		part := x[p*piece : min((p+1)*piece, len(x))]
		for i := range part {
			part[i] = float32(r.NormFloat64())
		}
	})
}

// parallel calls f with 0..n-1, on all processors.
func parallel(n int, f func(i int)) {
	var next atomic.Int64
	var done sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	done.Wait()
}
