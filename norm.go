package qkv

import (
	"context"
	"math"

	"github.com/qkv-go/qkv/tile"
)

// A Norm is the operands of [Engine.RMSNorm] and [Engine.LayerNorm]: rows, such as the tokens that a layer
// takes, each of which is normalised by itself.
type Norm struct {
	X Matrix // [rows, n]; written if Add is given

	// Add [rows, n], if given, is added to X first: X = X + Add is written, and then normalised. That is the
	// residual connection of a network: X is the residual stream, and Add the output of an attention layer
	// or a multilayer perceptron. X and Add share no element.
	Add Matrix

	// Weight [n] is what normalised elements are multiplied by; nil means 1. Models that multiply by
	// 1 + w (Gemma) add the 1 when they are loaded.
	Weight []float32

	Bias []float32 // [n], added after that; nil for none. It needs a Weight.

	// Eps is added to the mean square or variance. 0 means 1e-6, and 2^-125 is the least.
	Eps float32

	// Y [rows, n] is written. It may be X, or Add: the same elements in the same places. Otherwise it
	// shares no element with what is read.
	Y Matrix
}

// RMSNorm divides each row of X by its root mean square (Zhang and Sennrich, 2019),
//
//	Y = X / sqrt(mean(X²) + Eps) * Weight + Bias
//
// in the arithmetic of docs/numerics.md, which is that of the norms of heads of a [Projection]. A row has
// the same bits on every kernel set, and whatever the other rows and workers. The error is an [*ArgError];
// nothing has been written then.
func (e *Engine) RMSNorm(n *Norm) error {
	_, err := e.norm(n, false, nil)
	return err
}

// RMSNormContext is RMSNorm that ends early, within some milliseconds, when ctx is done. The error is then
// that of the context, wrapped, and its cause. Each row of X and Y is then done or as it was, without a sign
// of which. A context that is done before the call has nothing written.
func (e *Engine) RMSNormContext(ctx context.Context, n *Norm) error {
	return e.normContext(ctx, n, false)
}

// LayerNorm normalises each row of X by its mean and variance (Ba, Kiros and Hinton, 2016),
//
//	Y = (X - mean(X)) / sqrt(var(X) + Eps) * Weight + Bias
//
// in the arithmetic of docs/numerics.md. The variance is the mean of (X - mean(X))², in a pass of its
// own: a mean far from 0 costs it no digits. The rest is as in [Engine.RMSNorm].
func (e *Engine) LayerNorm(n *Norm) error {
	_, err := e.norm(n, true, nil)
	return err
}

// LayerNormContext is to LayerNorm what [Engine.RMSNormContext] is to RMSNorm.
func (e *Engine) LayerNormContext(ctx context.Context, n *Norm) error {
	return e.normContext(ctx, n, true)
}

func (e *Engine) normContext(ctx context.Context, n *Norm, centred bool) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := e.norm(n, centred, done)
	return outcome(ctx, whole, err)
}

// norm computes n until done is closed, and reports whether all of it is computed.
func (e *Engine) norm(n *Norm, centred bool, done tile.Done) (whole bool, err error) {
	if err := e.ready(); err != nil {
		return false, err
	}
	if n == nil {
		return false, argError("norm", 0, 1, "norm is nil")
	}
	eps, err := normEps("eps", n.Eps)
	if err != nil {
		return false, err
	}
	if err := n.check(); err != nil {
		return false, err
	}
	t := tile.Norm{
		X: n.X.tile(), Y: n.Y.tile(), Rows: n.X.rows, Cols: n.X.cols,
		NormWeights: tile.NormWeights{Weight: n.Weight, Bias: n.Bias, Eps: eps, Centred: centred},
		Done:        done,
	}
	if n.Add.given() {
		t.Add = n.Add.tile()
	}
	return e.engine.Norm(&t, e.Workers()), nil
}

// normEps returns what is added to a mean square: what a caller gives, or the default for 0.
func normEps(name string, given float32) (float32, error) {
	switch x := float64(given); {
	case given == 0:
		return 1e-6, nil
	case !(x > 0) || math.IsInf(x, 0):
		return 0, argError(name, 0, 0, "%s is %v, a positive finite number is needed, or 0", name, given)
	case x < minFactor: // squares that underflow would count beside it
		return 0, argError(name, 0, 0, "%s is %v, 0 or at least %v is needed", name, given, float32(minFactor))
	}
	return given, nil
}

// check reports operands that do not fit each other, or share elements.
func (n *Norm) check() error {
	if err := n.X.check("x"); err != nil {
		return err
	}
	if err := n.checkLikeX("y", &n.Y); err != nil {
		return err
	}
	if n.Add.given() {
		if err := n.checkLikeX("add", &n.Add); err != nil {
			return err
		}
	}
	if err := checkBias("weight", n.Weight, "x", n.X.cols); err != nil {
		return err
	}
	if err := checkBias("bias", n.Bias, "x", n.X.cols); err != nil {
		return err
	}
	if n.Bias != nil && n.Weight == nil {
		return argError("bias", len(n.Bias), 0, "bias has length %d, and there is no weight", len(n.Bias))
	}
	return n.checkWritten()
}

// checkLikeX reports a matrix of another shape than X.
func (n *Norm) checkLikeX(name string, m *Matrix) error {
	if err := m.check(name); err != nil {
		return err
	}
	if m.rows != n.X.rows {
		return argError(name, m.rows, n.X.rows, "%s has %d rows, x has %d", name, m.rows, n.X.rows)
	}
	if m.cols != n.X.cols {
		return argError(name, m.cols, n.X.cols, "%s has %d columns, x has %d", name, m.cols, n.X.cols)
	}
	return nil
}

// checkWritten reports an output that cannot be written, or shares elements with what is read. Y may be X
// or Add.
func (n *Norm) checkWritten() error {
	if err := n.Y.checkWritable("y"); err != nil {
		return err
	}
	x, y, add := n.X.region(), n.Y.region(), n.Add.region()
	if y != x {
		if err := checkApart("y", &y, "x", &x); err != nil {
			return err
		}
	}
	if y != add {
		if err := checkApart("y", &y, "add", &add); err != nil {
			return err
		}
	}
	if err := n.checkVectors("y", &y); err != nil || !n.Add.given() {
		return err
	}
	if err := n.X.checkWritable("x"); err != nil {
		return err
	}
	if err := checkApart("x", &x, "add", &add); err != nil {
		return err
	}
	return n.checkVectors("x", &x)
}

// checkVectors reports an output that shares elements with the weight or the bias.
func (n *Norm) checkVectors(name string, written *region) error {
	if err := checkFloatsApart(name, written, "weight", n.Weight); err != nil {
		return err
	}
	return checkFloatsApart(name, written, "bias", n.Bias)
}
