package bench

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/qkv-go/qkv"
)

// Operands are the tensors of one attention. Q and Out are contiguous [batch, heads, seq,
// dim], or [tokens, heads, dim] where they are packed; K and V likewise, or pools of pages
// [pages, heads, page, dim]. Those that the shape has no use for are nil.
type Operands struct {
	Shape  Shape
	Q, Out []float32
	K, V   Tensor
	LSE    []float32 // [batch, heads, seqQ], or [heads, tokens]

	Keep   []bool        // [seqQ, seqKV]
	Bias   []float32     // [heads, seqQ, seqKV] or [seqQ, seqKV]
	Bias16 []qkv.Float16 // in its place
	ALiBi  []float32     // [heads]
	Sinks  []float32     // [heads]

	queries, keys []int     // of each sequence, nil if all are as long as the shape
	tokens        []int     // where the sequences of packed queries begin, otherwise nil
	tables        [][]int32 // pages of each sequence, nil without
	q, kv         layout

	known map[int]*knownRow // by the element of LSE, see references
}

// NewOperands returns operands with standard normal queries, keys, values, biases and
// sinks, the same for the same seed, and an output of NaN, so that what is never written
// shows.
func NewOperands(s Shape, seed uint64) *Operands {
	o := &Operands{
		Shape: s,
		q:     layout{batch: s.Batch, heads: s.Heads, seq: s.SeqQ},
		kv:    layout{batch: s.Batch, heads: s.KVHeads, seq: s.SeqKV},
	}
	o.queries, o.keys = s.lengths()
	if s.packed() {
		o.tokens = cumulate(o.queries)
		o.q = layout{packed: true, heads: s.Heads, seq: o.tokens[s.Batch]}
	}
	if s.Lengths.Ragged {
		o.kv = layout{packed: true, heads: s.KVHeads, seq: o.tokens[s.Batch]}
	}
	var used func(int) bool // a row of keys or values
	if pages := 0; s.KV.Page != 0 {
		o.tables, pages = s.tables()
		o.kv = layout{batch: pages, heads: s.KVHeads, seq: s.KV.Page}
	} else if s.Lengths.LeastKV != 0 {
		used = func(row int) bool { return row%s.SeqKV < o.keys[row/s.SeqKV/s.KVHeads] }
	}
	rowsQ, rowsKV := o.q.rows(), o.kv.rows()
	o.Q = make([]float32, rowsQ*s.DimQK)
	o.K = newTensor(s.KV.K, rowsKV, s.DimQK)
	o.V = newTensor(s.KV.V, rowsKV, s.DimV)
	o.Out = make([]float32, rowsQ*s.DimV)
	o.LSE = make([]float32, rowsQ)
	if s.Values.Bias.Given {
		o.Bias = make([]float32, s.biasHeads()*s.SeqQ*s.SeqKV)
	}
	if s.Values.Sinks {
		o.Sinks = make([]float32, s.Heads)
	}
	fillNormal(o.Q, seed, 0)
	o.K.fill(rowsKV, seed, 1, used)
	o.V.fill(rowsKV, seed, 2, used)
	fillNormal(o.Bias, seed, 3)
	fillNormal(o.Sinks, seed, 4)
	if s.Values.Bias.Half {
		o.Bias16 = make([]qkv.Float16, len(o.Bias))
		for i, x := range o.Bias {
			o.Bias16[i] = toFloat16(x)
		}
		o.Bias = nil
	}
	if s.Values.ALiBi {
		for h := range s.Heads {
			o.ALiBi = append(o.ALiBi, float32(math.Exp2(-8*float64(h+1)/float64(s.Heads))))
		}
	}
	if s.Mask.Keep != 0 {
		o.Keep = make([]bool, s.SeqQ*s.SeqKV)
		parallel(s.SeqQ, func(i int) {
			for j := range s.SeqKV {
				o.Keep[i*s.SeqKV+j] = s.Mask.kept(i, j)
			}
		})
	}
	o.Spoil()
	return o
}

func (o *Operands) again() Inputs {
	other := *o
	other.K, other.V = o.K.clone(), o.V.clone()
	return &other
}

// Work returns the shape.
func (o *Operands) Work() Work { return o.Shape }

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
	c := &qkv.Call{
		Precision: s.Precision, ValuePrecision: s.ValuePrecision,
		Q:       viewOf(o.Q, o.q, s.DimQK),
		Out:     viewOf(o.Out, o.q, s.DimV),
		LSE:     o.LSE,
		Mask:    o.mask(),
		Softcap: float32(s.Values.Softcap),
		ALiBi:   o.ALiBi,
		Sinks:   o.Sinks,
		CuLensQ: o.tokens,
		Tables:  o.tables,
	}
	c.K, c.KScale = o.K.views(o.kv)
	c.V, c.VScale = o.V.views(o.kv)
	if o.tokens == nil && s.Lengths.Least != 0 {
		c.LensQ = o.queries
	}
	switch {
	case s.Lengths.Ragged:
		c.CuLensKV = o.tokens
	case o.tables != nil:
		c.LensKV = s.keys()
	default:
		c.LensKV = o.keys
	}
	switch {
	case o.Bias != nil:
		c.Bias = qkv.Pairs(o.Bias, 1, s.biasHeads(), s.SeqQ, s.SeqKV)
	case o.Bias16 != nil:
		c.Bias = qkv.Pairs(o.Bias16, 1, s.biasHeads(), s.SeqQ, s.SeqKV)
	}
	return c
}

// mask returns the mask of the shape.
func (o *Operands) mask() qkv.Mask {
	s, m := o.Shape, o.Shape.Mask
	mask := qkv.Mask{Causal: m.Causal, Align: m.Align, Offset: m.Offset, Prefix: m.Prefix}
	if w := m.Window; w.Given {
		mask.Window = qkv.Sliding(w.Left, w.Right)
	}
	p := newPairs(s)
	if m.Segments != 0 {
		mask.SegmentsQ, mask.SegmentsKV = p.segments(s.SeqQ, p.queries, s.packed()), p.segments(s.SeqKV, p.keys, s.Lengths.Ragged)
	}
	if size := m.Blocks.Size; size != 0 {
		var kept []qkv.BlockPair
		for row, columns := range p.columns {
			for _, column := range columns {
				kept = append(kept, qkv.BlockPair{Query: row, Key: column})
			}
		}
		blocks, err := qkv.BlockMaskOf(size, size, blocksOf(s.SeqQ, size), blocksOf(s.SeqKV, size), kept)
		if err != nil {
			panic("bench: " + err.Error())
		}
		mask.Blocks = blocks
	}
	if o.Keep != nil {
		mask.Keep = qkv.Pairs(o.Keep, 1, 1, s.SeqQ, s.SeqKV)
	}
	return mask
}

// segments returns the segment of every token on an axis of that length, or of those that
// lens counts if they are packed.
func (p *pairs) segments(length int, lens []int, packed bool) []int32 {
	var list []int32
	for b := range p.shape.Batch {
		n := length
		if packed {
			n = lens[b]
		}
		for i := range n {
			list = append(list, int32(segmentOf(i, p.shape.Mask.Segments, length)))
		}
	}
	return list
}

// queryRow returns the index of a query's row of Q and Out.
func (o *Operands) queryRow(batch, head, query int) int {
	if o.tokens != nil {
		query += o.tokens[batch]
	}
	return o.q.row(batch, head, query)
}

// keyRow returns the index of a key's row of K and V.
func (o *Operands) keyRow(batch, head, key int) int {
	switch {
	case o.tables != nil:
		return o.kv.row(int(o.tables[batch][key/o.kv.seq]), head, key%o.kv.seq)
	case o.kv.packed:
		key += o.tokens[batch]
	}
	return o.kv.row(batch, head, key)
}

// bias returns the bias of a pair.
func (o *Operands) bias(head, query, key int) float64 {
	s := &o.Shape
	at := query*s.SeqKV + key
	if s.Values.Bias.PerHead {
		at += head * s.SeqQ * s.SeqKV
	}
	switch {
	case o.Bias != nil:
		return float64(o.Bias[at])
	case o.Bias16 != nil:
		return fromFloat16(o.Bias16[at])
	}
	return 0
}

// toFloat16 cuts x to a normal number of float16, or to 0.
func toFloat16(x float32) qkv.Float16 {
	const least, most = 0x1p-14, 65504
	size := math.Abs(float64(x))
	if size < least {
		return 0
	}
	frac, exp := math.Frexp(min(size, most)) // frac in [1/2, 1)
	h := qkv.Float16((exp+14)<<10) | qkv.Float16(frac*2048)&0x3ff
	if x < 0 {
		h |= 1 << 15
	}
	return h
}

// fromFloat16 returns the value of a normal number or 0.
func fromFloat16(h qkv.Float16) float64 {
	if h&0x7fff == 0 {
		return 0
	}
	x := math.Ldexp(float64(h&0x3ff|0x400), int(h>>10&0x1f)-25)
	if h>>15 == 1 {
		x = -x
	}
	return x
}

// pieceLen is about how many values are filled from one seed.
const pieceLen = 1 << 16

// fillNormal fills x in pieces that have a seed of their own, so that the values do
// not depend on who fills them.
func fillNormal(x []float32, seed, stream uint64) {
	const piece = pieceLen
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
