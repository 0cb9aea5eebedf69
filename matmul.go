package qkv

import (
	"context"
	"unsafe"

	"github.com/qkv-go/qkv/tile"
)

// A Product is the operands of a matrix product,
//
//	Y = X W + Bias
//
// such as a linear layer of a network. Each sum over the inner dimension goes in parts of
// [kernel.KC] terms, see docs/numerics.md, whatever the number of rows.
type Product struct {
	X Matrix // [m, k]

	// W [k, n] is read where it is. Weights that are stored [out, in] are its transpose, see
	// [Matrix.T]: they are not copied, and neither are those with contiguous rows if X has few
	// rows. Other weights are copied a small block at a time, and those of other types than float32
	// decoded so, see [WeightMatrix]. Packed, in the place of W, is
	// faster with more than one row of X, and takes the memory of a copy.
	W      Matrix
	Packed *PackedMatrix

	Bias []float32 // [n], or nil
	Y    Matrix    // [m, n], written; it shares no element with what is read

	// Accumulate adds to what Y holds: Y = (Y + Bias) + X W.
	Accumulate bool
}

// MatMul computes p. The error is an [*ArgError]; nothing has been written then.
func (e *Engine) MatMul(p *Product) error {
	_, err := e.matMul(p, nil)
	return err
}

// MatMulContext is MatMul that ends early, within some milliseconds, when ctx is done. The error
// is then that of the context, wrapped, and its cause. Y is anything then, with Accumulate too. A
// context that is done before the call has nothing written.
func (e *Engine) MatMulContext(ctx context.Context, p *Product) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.matMul(p, done)
	return outcome(ctx, whole, err)
}

// matMul computes p until done is closed, and reports whether all of it is computed.
func (e *Engine) matMul(p *Product, done tile.Done) (whole bool, err error) {
	if err := e.ready(); err != nil {
		return false, err
	}
	var q tile.Product
	if err := p.problem(e, &q); err != nil {
		return false, err
	}
	q.Done = done
	return e.engine.Multiply(&q, e.Workers()), nil
}

// problem checks the product and translates it. It has one part.
func (p *Product) problem(e *Engine, q *tile.Product) error {
	if p == nil {
		return argError("product", 0, 1, "product is nil")
	}
	for _, x := range [...]struct {
		name string
		m    *Matrix
	}{{"x", &p.X}, {"y", &p.Y}} {
		if err := x.m.check(x.name); err != nil {
			return err
		}
	}
	part := &q.Parts[0]
	q.N = 1
	k, n := p.W.rows, p.W.cols
	switch w := p.Packed; {
	case w != nil && p.W.given():
		return argError("w", w.rows, p.W.rows, "w is given twice, packed with %d rows and not packed with %d", w.rows, p.W.rows)
	case w != nil:
		if err := w.checkSet(e, "w"); err != nil {
			return err
		}
		k, n, *part = w.rows, w.cols, w.part(tile.Matrix{})
	default:
		if err := p.W.checkElements("w"); err != nil {
			return err
		}
		part.Heads, part.Width, part.W = 1, n, p.W.tile()
	}
	for _, x := range [...]struct {
		name      string
		got, want int
		format    string
	}{
		{"w", k, p.X.cols, "w has %d rows, x has %d columns"},
		{"y", p.Y.rows, p.X.rows, "y has %d rows, x has %d"},
		{"y", p.Y.cols, n, "y has %d columns, w has %d"},
	} {
		if x.got != x.want {
			return argError(x.name, x.got, x.want, x.format, x.got, x.want)
		}
	}
	if err := checkBias("bias", p.Bias, "w", n); err != nil {
		return err
	}
	if err := p.Y.checkWritable("y"); err != nil {
		return err
	}
	written := p.Y.region()
	var packed region
	if p.Packed != nil { // maybe in memory of the caller
		packed = floatsRegion(p.Packed.mem)
	}
	read := [...]region{p.X.region(), packed, floatsRegion(p.Bias)}
	for i, name := range [...]string{"x", "w", "bias"} {
		if err := checkApart("y", &written, name, &read[i]); err != nil {
			return err
		}
	}
	if err := p.W.checkApart("y", &written, "w"); err != nil {
		return err
	}
	q.X, q.Rows, q.Depth, q.Seq = p.X.tile(), p.X.rows, p.X.cols, p.X.rows
	q.Add = p.Accumulate
	y := p.Y.tile()
	part.Bias = unsafe.Pointer(unsafe.SliceData(p.Bias))
	part.Y = tile.Operand{Base: y.Base, Stride: [4]int{0, part.Width * y.Col, y.Row, y.Col}}
	return nil
}

// checkBias reports a bias of another length than the columns of its weights.
func checkBias(name string, bias []float32, weights string, cols int) error {
	if bias != nil && len(bias) != cols {
		return argError(name, len(bias), cols, "%s has length %d, %s has %d columns", name, len(bias), weights, cols)
	}
	return nil
}

// MatMul computes p on the best kernel set (or the one that QKV_KERNEL names when it is
// first needed) with GOMAXPROCS workers. The error is that of [Engine.MatMul], or a [*KernelError].
func MatMul(p *Product) error {
	e, err := defaultEngine()
	if err != nil {
		return err
	}
	return e.MatMul(p)
}
