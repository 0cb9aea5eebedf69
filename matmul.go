package qkv

import (
	"context"
	"fmt"
	"sync"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A Product is the operands of a matrix product,
//
//	Y = X W + Bias
//	Y = act(X W + Bias)
//	Y = act(X W + Bias) * (X Up.W + Up.Bias)
//
// such as a linear layer of a network, one with an activation, or the gated one of a multilayer perceptron
// (SwiGLU and GeGLU; Shazeer, 2020), element by element. Each sum over the inner dimension goes in parts of
// [kernel.KC] terms, see docs/numerics.md, whatever the number of rows.
type Product struct {
	X Matrix // [m, k]

	// W [k, n] is read where it is. Weights that are stored [out, in] are its transpose, see
	// [Matrix.T]. Such weights of float32 are not copied, nor are contiguous rows of float32
	// [in, out] if X has few rows. Others are copied a small block at a time, and those of other
	// types made float32 so, see [WeightMatrix].
	W Matrix

	// Packed, in the place of W, is a copy that was packed before, see [Engine.Pack] and [Engine.PackFor]. It is
	// read faster.
	Packed *PackedMatrix

	// Precision is the numerical class: what X and the weights are rounded to before they are multiplied.
	// Products of one call have the same. Packed weights are of the class that they are packed for, see
	// [Engine.PackFor], which says what weights class Int8 can have.
	Precision Precision

	Bias []float32 // [n], or nil
	Y    Matrix    // [m, n], written; it shares no element with what is read

	// Accumulate adds to what Y holds: Y = (Y + Bias) + X W. There is no activation then.
	Accumulate bool

	// Activation, if not 0, is applied to each complete sum, on its way to Y: no sums of all rows are
	// in memory. It has the bits of the product alone and then the activation.
	Activation Activation

	// Up, if given, is the weights [k, n] and the bias of what multiplies the activated sums. There is an
	// Activation then. The weights may be of another type than W, and packed or not. The bits are those of
	// two products, an activation and a multiplication. One matrix that is stored [2*n, k] and has both
	// gate and up is cut into slices:
	//
	//	W: gateUp.Slice(0, n).T(), Up: qkv.Linear{W: gateUp.Slice(n, 2*n).T()}
	Up Linear
}

// MatMul computes a product, or several of the same X as one: the same elements of the same memory. The
// columns of all are divided among the workers together, and a work item reads its rows of X once for
// columns of several products. W may differ in type and width. For example, queries and keys:
//
//	err := e.MatMul(
//		&qkv.Product{X: x, W: wq, Y: q},
//		&qkv.Product{X: x, Packed: wk, Bias: bk, Y: k},
//	)
//
// Each has the bits of the product alone. No Y shares an element with what any of them reads, or with
// another Y. The error is an [*ArgError], which says which product it is about where there are several;
// nothing has been written then.
func (e *Engine) MatMul(products ...*Product) error {
	_, err := e.matMul(products, nil)
	return err
}

// MatMulContext is MatMul that ends early, within some milliseconds, when ctx is done. The error
// is then that of the context, wrapped, and its cause. Each Y is unspecified then, with Accumulate too. A
// context that is done before the call has nothing written.
func (e *Engine) MatMulContext(ctx context.Context, products ...*Product) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.matMul(products, done)
	return outcome(ctx, whole, err)
}

// multiplying keeps products as tile has them, and room for their parts.
var multiplying = sync.Pool{New: func() any { return new(tile.Product) }}

// releaseProduct drops the references to the caller's memory.
func releaseProduct(q *tile.Product) {
	clear(q.Parts)
	*q = tile.Product{Parts: q.Parts[:0]}
}

// matMul computes products until done is closed, and reports whether all of them are computed.
func (e *Engine) matMul(products []*Product, done tile.Done) (whole bool, err error) {
	if err := e.ready(); err != nil {
		return false, err
	}
	q := multiplying.Get().(*tile.Product)
	if err = e.translate(products, q); err == nil {
		q.Done = done
		whole = e.engine.Multiply(q, e.Workers())
	}
	releaseProduct(q)
	multiplying.Put(q)
	return whole, err
}

// translate checks products of the same X and makes one of them, with a part for each.
func (e *Engine) translate(products []*Product, q *tile.Product) error {
	if len(products) == 0 {
		return argError("product", 0, 1, "there are 0 products, at least 1 is needed")
	}
	for i, p := range products {
		err := p.problem(e, q)
		if err == nil && i > 0 {
			err = p.checkBeside(products[:i])
		}
		if err != nil && len(products) > 1 {
			return reworded(err, "product %[2]d: %[1]s", i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reworded puts the message of an *ArgError and the number of a product into another, in that order.
func reworded(err error, format string, product int) error {
	a := err.(*ArgError)
	a.msg = fmt.Sprintf(format, a.msg, product)
	return a
}

// checkBeside reports a checked product that cannot be computed with others, checked before.
func (p *Product) checkBeside(others []*Product) error {
	if p.Precision != others[0].Precision {
		return argError("precision", int(p.Precision), int(others[0].Precision), "precision is %v, that of product 0 is %v", p.Precision, others[0].Precision)
	}
	x, first := p.X.region(), others[0].X.region()
	if x != first || p.X.rows != others[0].X.rows || p.X.cols != others[0].X.cols {
		if p.X.rows == others[0].X.rows && p.X.cols == others[0].X.cols {
			return argError("x", len(others), 0, "x is not that of product 0, though both are [%d, %d]: products of one call have the same x in memory", p.X.rows, p.X.cols)
		}
		return argError("x", p.X.rows, others[0].X.rows, "x [%d, %d] is not that of product 0 [%d, %d]", p.X.rows, p.X.cols, others[0].X.rows, others[0].X.cols)
	}
	y := p.Y.region()
	for i, o := range others {
		other := o.Y.region()
		if how := y.shares(&other); how != apart {
			return argError("y", len(others), i, "y and y of product %d %s", i, how)
		}
		if err := o.checkRead(&y); err != nil {
			return reworded(err, "%s, which product %d reads", i)
		}
		if err := p.checkRead(&other); err != nil {
			return reworded(err, "%s, which product %d writes", i)
		}
	}
	return nil
}

// problem checks the product, and adds it to q as a part.
func (p *Product) problem(e *Engine, q *tile.Product) error {
	if p == nil {
		return argError("product", 0, 1, "product is nil")
	}
	if err := p.Precision.check("precision"); err != nil {
		return err
	}
	for _, x := range [...]struct {
		name string
		m    *Matrix
	}{{"x", &p.X}, {"y", &p.Y}} {
		if err := x.m.check(x.name); err != nil {
			return err
		}
	}
	part, err := p.part(e, "w", "bias", &Linear{p.W, p.Packed, p.Bias})
	if err != nil {
		return err
	}
	n := part.Heads * part.Width
	for _, x := range [...]struct {
		got, want int
		format    string
	}{
		{p.Y.rows, p.X.rows, "y has %d rows, x has %d"},
		{p.Y.cols, n, "y has %d columns, w has %d"},
	} {
		if x.got != x.want {
			return argError("y", x.got, x.want, x.format, x.got, x.want)
		}
	}
	up, err := p.up(e, &part)
	if err != nil {
		return err
	}
	if err := p.Y.checkWritable("y"); err != nil {
		return err
	}
	written, x := p.Y.region(), p.X.region()
	if err := checkApart("y", &written, "x", &x); err != nil {
		return err
	}
	if err := p.checkRead(&written); err != nil {
		return err
	}
	q.X, q.Rows, q.Depth, q.Seq = p.X.tile(), p.X.rows, p.X.cols, p.X.rows
	q.Precision = kernel.Precision(p.Precision)
	y := p.Y.tile()
	part.Add = p.Accumulate
	part.Y = tile.Operand{Base: y.Base, Stride: [4]int{0, part.Width * y.Col, y.Row, y.Col}}
	q.Parts = append(q.Parts, part)
	if up.Up {
		q.Parts = append(q.Parts, up)
	}
	return nil
}

// part checks weights of the product, and returns the part of a tile.Product that they make.
func (p *Product) part(e *Engine, name, bias string, w *Linear) (part tile.Part, err error) {
	k, n := w.W.rows, w.W.cols
	switch {
	case w.Packed != nil && w.W.given():
		return part, argError(name, w.Packed.rows, k, "%s is given twice, packed with %d rows and not packed with %d", name, w.Packed.rows, k)
	case w.Packed != nil:
		if err := w.Packed.checkFor(e, name, p.Precision); err != nil {
			return part, err
		}
		k, n, part = w.Packed.rows, w.Packed.cols, w.Packed.part(tile.Matrix{})
	default:
		if err := w.W.checkElements(name); err != nil {
			return part, err
		}
		if part.Int8, err = w.W.int8Form(name, p.Precision); err != nil {
			return part, err
		}
		part.Heads, part.Width, part.W = 1, n, w.W.tile()
	}
	if k != p.X.cols {
		if n == p.X.cols && w.Packed == nil {
			return part, argError(name, k, p.X.cols, "%s has %d rows and %d columns, x has %[3]d columns: weights stored [out, in] are given as %[1]s.T()", name, k, n)
		}
		return part, argError(name, k, p.X.cols, "%s has %d rows, x has %d columns", name, k, p.X.cols)
	}
	part.Bias = unsafe.Pointer(unsafe.SliceData(w.Bias))
	return part, checkBias(bias, w.Bias, name, n)
}

// up checks the activation and what it multiplies, and returns that as a part behind the one of W. It is
// no Up if there is none.
func (p *Product) up(e *Engine, part *tile.Part) (up tile.Part, err error) {
	gated := p.Up.given() || p.Up.Bias != nil
	switch err := p.Activation.check("activation"); {
	case err != nil:
		return up, err
	case p.Activation == NoActivation && gated:
		return up, argError("up", int(NoActivation), int(SiLU), "up is given, with %d columns, and no activation for it to multiply", p.Up.columns())
	case p.Activation == NoActivation:
		return up, nil
	case p.Accumulate:
		return up, argError("accumulate", int(p.Activation), int(NoActivation), "accumulate is set, and activation is %s: there can be one of them", p.Activation.String())
	}
	part.Activate, part.Activation = true, p.Activation.kernel()
	if !gated {
		return up, nil
	}
	if up, err = p.part(e, "up", "up bias", &p.Up); err != nil {
		return up, err
	}
	if got, want := up.Heads*up.Width, part.Heads*part.Width; got != want {
		return up, argError("up", got, want, "up has %d columns, w has %d", got, want)
	}
	switch { // units are those of both
	case up.Heads == part.Heads:
	case up.Panels == nil:
		up.Heads, up.Width = part.Heads, part.Width
	case part.Panels == nil:
		part.Heads, part.Width = up.Heads, up.Width
	default:
		return up, argError("up", up.Heads, part.Heads, "up is packed as %d heads, w as %d", up.Heads, part.Heads)
	}
	up.Up = true
	return up, nil
}

// checkRead reports a Y that shares elements with weights or a bias.
func (p *Product) checkRead(y *region) error {
	if err := (&Linear{p.W, p.Packed, p.Bias}).checkApart("y", y, "w", "bias"); err != nil {
		return err
	}
	return p.Up.checkApart("y", y, "up", "up bias")
}

// checkApart reports an output that shares elements with the weights or the bias.
func (l *Linear) checkApart(output string, written *region, name, bias string) error {
	if l.Packed != nil { // maybe in memory of the caller
		if err := checkFloatsApart(output, written, name, l.Packed.mem); err != nil {
			return err
		}
	}
	if err := checkFloatsApart(output, written, bias, l.Bias); err != nil || !l.W.given() {
		return err
	}
	return l.W.checkApart(output, written, name)
}

// checkBias reports a bias of another length than the columns of its weights.
func checkBias(name string, bias []float32, weights string, cols int) error {
	if bias != nil && len(bias) != cols {
		return argError(name, len(bias), cols, "%s has length %d, %s has %d columns", name, len(bias), weights, cols)
	}
	return nil
}

// MatMul computes products of the same X on the best kernel set (or the one that QKV_KERNEL names when
// it is first needed) with GOMAXPROCS workers. The error is that of [Engine.MatMul], or a [*KernelError].
func MatMul(products ...*Product) error {
	e, err := defaultEngine()
	if err != nil {
		return err
	}
	return e.MatMul(products...)
}
