package qkv

import "github.com/qkv-go/qkv/tile"

// Hadamard multiplies rows of x, in place, by an orthogonal Hadamard matrix: queries, keys, values or
// outputs [batch, heads, seq, dim] in float32, with any strides. block is a power of two that divides the
// head dim, whose blocks are each multiplied by the matrix of that size; 0 stands for the largest such
// power of two. The matrix is its own inverse: a second call takes the rows back, but for rounding.
//
// Products of queries with keys do not change if both are multiplied, and an output is multiplied as the
// values are. But a large element of a row is spread over its block, and so keys and values lose less when
// they are stored in a type with a scale for many (QuaRot; Ashkboos et al., 2024): call Hadamard for
// queries and keys behind the rotary embedding, and for values and then for outputs.
//
// An element is multiplied by 1/sqrt(block), rounded to float32; sums and differences of neighbours follow,
// then of those 2, 4, 8 elements apart and so on, each rounded, on every kernel set (the fast
// Walsh-Hadamard transform; Fino and Algazi, 1976). A row has the same bits whatever the others and the
// workers. The error is an [*ArgError]; nothing has been written then.
func (e *Engine) Hadamard(x View, block int) error {
	if err := e.ready(); err != nil {
		return err
	}
	if err := x.checkKind("x", kindFloat32); err != nil {
		return err
	}
	if err := x.check("x", &axisNames); err != nil {
		return err
	}
	dim := x.shape[axisDim]
	if block < 0 || block&(block-1) != 0 {
		return argError("block", block, 0, "block is %d, a power of two is needed, or 0", block)
	}
	if block > 0 && dim%block != 0 {
		return argError("block", block, dim, "block is %d, which does not divide the head dim %d of x", block, dim)
	}
	if err := x.checkWritable("x", &axisNames); err != nil {
		return err
	}
	if x.empty() {
		return nil
	}
	if block == 0 {
		block = dim & -dim
	}
	e.engine.Hadamard(&tile.Hadamard{
		X: x.operand(), Y: x.operand(), Batch: x.shape[axisBatch], Heads: x.shape[axisHeads], Seq: x.shape[axisSeq], Dim: dim, Block: block,
	}, e.Workers())
	return nil
}
