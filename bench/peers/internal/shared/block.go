package shared

import (
	"math"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

// Extra returns what a shape asks for beside attention that is full, or causal with the last
// query at the last key: "" if nothing. The types of keys and values do not count, nor does the class: others have
// their own ways of rounding, which the names of their paths and the errors tell.
func Extra(s bench.Shape) string {
	m := s.Mask
	switch {
	case m.Causal && s.SeqQ > s.SeqKV:
		return "queries that attend no key"
	case m.Causal && m.Align != qkv.BottomRight && (m.Align == qkv.AlignOffset || s.SeqQ != s.SeqKV):
		return "the mask " + bench.MaskName(m)
	case s.KV.Page != 0:
		return "pages"
	}
	s.KV, s.Precision, s.ValuePrecision = bench.KV{}, qkv.PrecisionFloat32, qkv.PrecisionFloat32
	return s.Options()
}

// Scale returns what scores are multiplied by, 1/√d.
func Scale(s bench.Shape) float32 { return float32(1 / math.Sqrt(float64(s.DimQK))) }

// A Block is successive queries of one sequence that read the same keys: a part of an attention
// that a product of matrices, a softmax and another product compute. The matrices are
// contiguous, row by row.
type Block struct {
	Q    []float32 // [Rows, DimQK]
	Out  []float32 // [Rows, DimV]
	KV   int       // which of the batch x KV heads
	Rows int
	Keys int // that the last row attends

	step int // keys that a row attends more than the one before
}

// Attends returns how many keys a row attends, from the first on.
func (b *Block) Attends(row int) int { return b.Keys - b.step*(b.Rows-1-row) }

// Blocks returns blocks of at most so many rows that make up an attention without [Extra]. Of
// single queries, those of the heads that share a KV head make a block.
func Blocks(in *bench.Operands, rows int) []Block {
	s := in.Shape
	heads, queries, causal := s.Heads, s.SeqQ, s.Mask.Causal
	if queries == 1 {
		heads, queries, causal = s.KVHeads, s.Heads/s.KVHeads, false
	}
	var list []Block
	for head := range s.Batch * heads {
		for first := 0; first < queries; first += rows {
			n := min(rows, queries-first)
			at := head*queries + first
			b := Block{
				Q:    in.Q[at*s.DimQK:][:n*s.DimQK],
				Out:  in.Out[at*s.DimV:][:n*s.DimV],
				KV:   head / (heads / s.KVHeads),
				Rows: n,
				Keys: s.SeqKV,
			}
			if causal {
				b.Keys, b.step = s.SeqKV-queries+first+n, 1
			}
			list = append(list, b)
		}
	}
	return list
}
