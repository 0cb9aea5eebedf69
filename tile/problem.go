// Package tile computes attention over a kernel.Set: it cuts the problem into
// query blocks and key blocks, decides which exist and which are masked,
// schedules them over workers, and keeps the workspaces. It allocates nothing in
// steady state and materialises no more than one key block of scores.
//
// Operands are trusted: package qkv has checked them.
package tile

import (
	"math"
	"unsafe"
)

// An Operand is a strided float32 tensor [batch, heads, seq, dim].
type Operand struct {
	Base   unsafe.Pointer // element (0, 0, 0, 0), nil if there is none
	Stride [4]int         // in elements, any sign, 0 included
}

// at returns the address of the first element of a sequence, nil if there is no element.
func (o *Operand) at(batch, head int) unsafe.Pointer {
	if o.Base == nil {
		return nil
	}
	return unsafe.Add(o.Base, 4*(batch*o.Stride[0]+head*o.Stride[1]))
}

// row returns the address of the first element of a position.
func (o *Operand) row(batch, head, pos int) *float32 {
	return (*float32)(unsafe.Add(o.at(batch, head), 4*pos*o.Stride[2]))
}

// A Problem is one call of attention. Heads is a multiple of KVHeads, and
// query head h reads KV head h / (Heads/KVHeads).
type Problem struct {
	Q, K, V, Out Operand
	LSE          unsafe.Pointer // contiguous [batch, heads, seq], or nil

	Batch, Heads, KVHeads int
	SeqQ, SeqKV           int
	DimQK, DimV           int

	Scale float32
	Mask  Mask
}

// group is the number of query heads that share a KV head.
func (p *Problem) group() int { return p.Heads / p.KVHeads }

// rows is the number of query rows that share a KV head: row r is position
// r / group of head r % group, so that a block of rows is a block of positions.
func (p *Problem) rows() int { return p.group() * p.SeqQ }

// Pairs returns the (query, key) pairs that the mask keeps, or the largest int64.
func (p *Problem) Pairs() int64 {
	if float64(p.Batch)*float64(p.Heads)*float64(p.SeqQ)*float64(p.SeqKV) > 1<<61 {
		return math.MaxInt64
	}
	var n int64
	if p.Mask.Causal {
		// Positions below lo attend no key, positions from hi on attend all.
		lo := clamp(-p.Mask.Offset, 0, p.SeqQ)
		hi := clamp(p.SeqKV-p.Mask.Offset-1, lo, p.SeqQ)
		first, last := int64(lo+p.Mask.Offset+1), int64(hi+p.Mask.Offset)
		n = (first+last)*int64(hi-lo)/2 + int64(p.SeqQ-hi)*int64(p.SeqKV)
	} else {
		n = int64(p.SeqQ) * int64(p.SeqKV)
	}
	return n * int64(p.Batch) * int64(p.Heads)
}

func clamp(x, lo, hi int) int { return max(lo, min(x, hi)) }
