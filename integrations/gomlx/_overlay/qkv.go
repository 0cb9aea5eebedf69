package fusedops

import (
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/compute/internal/gobackend"
	"github.com/gomlx/compute/internal/gobackend/dot"
	"github.com/pkg/errors"
	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/integrations/gomlx"
)

func init() {
	gobackend.Capabilities.Operations[compute.OpTypeFusedScaledDotProductAttention] = true
	gobackend.RegisterFusedScaledDotProductAttention.Register(qkvAttention, gobackend.PriorityUser)
	gobackend.SetNodeExecutor(compute.OpTypeFusedScaledDotProductAttention, gobackend.PriorityUser, qkvExecAttention)
	for _, layout := range []dot.Layout{dot.LayoutNonTransposed, dot.LayoutTransposed} {
		dot.RegisterImplementation("qkv", layout, dtypes.Float32, dtypes.Float32, qkvMatMul, gobackend.PriorityUser, false)
	}
}

// qkvAttention makes the node of an attention. What qkv does not compute is not implemented, so that the caller makes
// it of other operations.
func qkvAttention(f *gobackend.Function, query, key, value compute.Value, layout compute.AttentionAxesLayout,
	options *compute.ScaledDotProductAttentionConfig) (compute.Value, []compute.Value, error) {
	inputs, err := f.VerifyAndCastValues("FusedScaledDotProductAttention", query, key, value)
	if err != nil {
		return nil, nil, err
	}
	switch t := inputs[0].Shape.DType; t {
	case dtypes.Float32, dtypes.Float16, dtypes.BFloat16:
	default:
		return nil, nil, errors.Wrapf(compute.ErrNotImplemented, "attention in %s", t)
	}
	if options != nil && options.Mask != nil {
		masks, err := f.VerifyAndCastValues("FusedScaledDotProductAttention", options.Mask)
		if err != nil {
			return nil, nil, err
		}
		if options.Bias != nil && masks[0].Shape.DType != dtypes.Bool {
			return nil, nil, errors.Wrap(compute.ErrNotImplemented, "attention with an additive mask and a bias")
		}
	}
	return FusedScaledDotProductAttention(f, query, key, value, layout, options)
}

func qkvExecAttention(backend *gobackend.Backend, node *gobackend.Node, inputs []*gobackend.Buffer, _ []bool) (*gobackend.Buffer, error) {
	data := node.Data.(*nodeScaledDotProductAttention)
	a := gomlx.Attention{
		TokensFirst: data.axesLayout == compute.AttentionAxesLayoutBSHD, Scale: float32(data.scale), Causal: data.causal,
	}
	more := inputs[3:]
	next := func() *gobackend.Buffer {
		b := more[0]
		more = more[1:]
		return b
	}
	if data.hasMask {
		if mask := next(); mask.RawShape.DType == dtypes.Bool {
			a.Keep = qkvTensor(mask)
		} else {
			a.Bias = qkvTensor(mask)
		}
	}
	if data.hasSeqLens {
		var ok [2]bool
		a.QueryLens, ok[0] = next().Flat.([]int32)
		a.KeyLens, ok[1] = next().Flat.([]int32)
		if !ok[0] || !ok[1] {
			return nil, errors.New("attention: lengths of sequences are not int32")
		}
	}
	if data.hasBias {
		a.Bias = qkvTensor(next())
	}
	out, err := backend.GetBuffer(inputs[0].RawShape.Clone())
	if err != nil {
		return nil, err
	}
	if err := a.Run(qkvTensor(out), qkvTensor(inputs[0]), qkvTensor(inputs[1]), qkvTensor(inputs[2])); err != nil {
		return nil, err
	}
	return out, nil
}

// qkvTensor returns a buffer with elements of qkv's types.
func qkvTensor(b *gobackend.Buffer) gomlx.Tensor {
	flat := b.Flat
	switch x := flat.(type) {
	case []float16.Float16:
		flat = unsafe.Slice((*qkv.Float16)(unsafe.SliceData(x)), len(x))
	case []bfloat16.BFloat16:
		flat = unsafe.Slice((*qkv.BFloat16)(unsafe.SliceData(x)), len(x))
	}
	return gomlx.Tensor{Flat: flat, Dims: b.RawShape.Dimensions}
}

var qkvMatMul dot.DotGeneralExecFn[float32, float32] = func(_ *gobackend.Backend, layout dot.Layout, lhs, rhs []float32, batch, m, n, k int, out []float32) {
	if err := gomlx.MatMul(out, lhs, rhs, batch, m, n, k, layout == dot.LayoutTransposed); err != nil {
		panic(err) // an implementation of products returns no errors
	}
}
