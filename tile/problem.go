// Package tile computes attention over a kernel.Set: it cuts the problem into
// query blocks and key blocks, decides which exist and which are masked,
// schedules them over workers, and keeps the workspaces. It allocates nothing in
// steady state and materialises no more than one key block of scores.
//
// Operands are trusted: package qkv has checked them.
package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// An Operand is a strided float32 tensor [batch, heads, seq, dim].
type Operand struct {
	Base   unsafe.Pointer // element (0, 0, 0, 0), nil if there is none
	Stride [4]int         // in elements, any sign, 0 included
}

// at returns the address of the first element of a sequence that begins at a token,
// nil if there is no element.
func (o *Operand) at(batch, head, token int) unsafe.Pointer {
	if o.Base == nil {
		return nil
	}
	return unsafe.Add(o.Base, 4*(batch*o.Stride[0]+head*o.Stride[1]+token*o.Stride[2]))
}

// A Problem is one call of attention. Heads is a multiple of KVHeads, and
// query head h reads KV head h / (Heads/KVHeads).
type Problem struct {
	Q, Out Operand
	K, V   KV
	LSE    unsafe.Pointer // contiguous [batch, heads, seq], or nil

	Batch, Heads, KVHeads int // Batch counts sequences
	SeqQ, SeqKV           int // the longest
	DimQK, DimV           int

	// TokensQ and TokensKV are the tokens of all sequences, padding included.
	TokensQ, TokensKV int
	// LensQ and LensKV [Batch], if not nil, are the lengths of the sequences.
	LensQ, LensKV []int
	// CuQ and CuKV [Batch+1], if not nil, are cumulative lengths: all sequences are
	// then one behind the other in batch 0 of Q and Out, and of K and V. CuKV needs CuQ.
	CuQ, CuKV []int
	// Tables [Batch], if not nil, has the pages of each sequence in K and V, of PageTokens
	// each. With Ring, keys from Mask.Prefix on go through the rest of the pages in turn,
	// again and again.
	Tables     [][]int32
	PageTokens int
	Ring       bool
	Lost       []int // [Batch], or nil: keys of a ring before it are lost, besides those that LensKV tells

	Precision   kernel.Precision // of scores and of weighted values
	Values      kernel.Precision // of class Int8, that of weighted values
	Scale       float32
	Softcap     float32   // 0 if there is none
	ALiBi       []float32 // [Heads], or nil
	Bias        Pairs     // float32 or float16
	BiasFloat16 bool
	Sinks       []float32 // [Heads], or nil
	Mask        Mask

	ScoreMod, ProbMod func(*ScoreBlock)
	Progress          func(done, of int) // called with the items that are done, or nil

	Record   Operand // [batch, heads, seqQ, seqKV] for scores, nil for none
	RecordAt Stage

	Done Done

	// Plan, if not nil, keeps the division for other Problems. Nobody changes lengths and tables
	// while Run runs then.
	Plan *Plan
}

// A Stage is one of the stages of the scores to record, as package qkv has them.
type Stage int

const (
	Scaled Stage = iota
	Capped
	Masked
	Probs
)

// headsPerKV is the number of query heads that share a KV head.
func (p *Problem) headsPerKV() int { return p.Heads / p.KVHeads }

// rows is the most query rows of a KV head, see queryRows: a block of rows is a block of positions.
func (p *Problem) rows() int { return p.headsPerKV() * p.SeqQ }

// A seq is one sequence of the batch.
type seq struct {
	index       int // among the sequences
	batch       int // of Q and Out
	batchKV     int // of K and V, without tables
	q0, k0      int // first token on the operands' seq axis
	table       []int32
	lenQ, lenKV int
	padQ        int   // queries from lenQ on that are padding
	offset      int64 // position of the first query among the keys
	left, right int64 // first and last key in the window of the first query
	prefix      int   // keys that every query attends
	first       int   // keys before it and not of the prefix are lost
}

// Lengths returns how many queries and keys the i-th sequence has, without padding.
func (p *Problem) Lengths(i int) (queries, keys int) {
	queries, keys = p.SeqQ, p.SeqKV
	if p.CuQ != nil {
		queries = p.CuQ[i+1] - p.CuQ[i]
	}
	if p.CuKV != nil {
		keys = p.CuKV[i+1] - p.CuKV[i]
	}
	if p.LensQ != nil {
		queries = p.LensQ[i]
	}
	if p.LensKV != nil {
		keys = p.LensKV[i]
	}
	return queries, keys
}

// seq returns the i-th sequence.
func (p *Problem) seq(i int) seq {
	s := seq{index: i, batch: i, batchKV: i}
	s.lenQ, s.lenKV = p.Lengths(i)
	if p.CuQ != nil {
		s.batch, s.q0 = 0, p.CuQ[i]
	}
	if p.CuKV != nil {
		s.batchKV, s.k0 = 0, p.CuKV[i]
	}
	if p.LensQ != nil {
		s.padQ = p.SeqQ - s.lenQ
	}
	m := &p.Mask
	switch {
	case m.BottomRight:
		s.offset = int64(s.lenKV) - int64(s.lenQ)
	case m.Offsets != nil:
		s.offset = int64(m.Offsets[i])
	default:
		s.offset = m.Offset
	}
	s.left, s.right = m.window(s.offset)
	s.prefix = m.Prefix
	if m.Prefixes != nil {
		s.prefix = m.Prefixes[i]
	}
	s.prefix = min(s.prefix, s.lenKV)
	if p.Tables != nil {
		s.table = p.Tables[i]
		if p.Ring {
			first := s.lenKV - (len(s.table)*p.PageTokens - m.Prefix)
			if p.Lost != nil {
				first = max(first, p.Lost[i])
			}
			if first > m.Prefix {
				s.first = first
			}
		}
	}
	return s
}

// alike reports whether all sequences have the same lengths and positions.
func (p *Problem) alike() bool {
	return p.CuQ == nil && p.LensQ == nil && p.LensKV == nil && p.Mask.Offsets == nil && p.Mask.Prefixes == nil
}

// roundUp returns the least multiple of m that is at least n.
func roundUp(n, m int) int { return (n + m - 1) / m * m }

func clamp(x, lo, hi int) int { return max(lo, min(x, hi)) }

func abs(x int) int { return max(x, -x) }
