package qkv_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestNil: what is nil, or was not made by its constructor, is an error that says so, or a panic
// that does where there is no error to return. Nothing reads what is not there.
func TestNil(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	ctx := context.Background()
	x := make([]float32, 8)
	view, matrix := qkv.BHSD(x, 1, 1, 2, 4), qkv.RowMajor(x, 2, 4)
	for _, e := range []*qkv.Engine{nil, {}} {
		for i, err := range []error{
			e.Run(&qkv.Call{}), e.RunContext(ctx, &qkv.Call{}), second(e.Explain(&qkv.Call{})), second(e.ExplainContext(ctx, &qkv.Call{})),
			e.MatMul(&qkv.Product{}), e.MatMulContext(ctx, &qkv.Product{}), second(e.ExplainMatMul(&qkv.Product{})),
			e.Rotate(nil, view, nil), e.RotateContext(ctx, nil, view, nil), second(e.Pack(matrix)),
			e.Merge(view, nil, nil), e.MergeContext(ctx, view, nil, nil),
			e.RMSNorm(&qkv.Norm{}), e.RMSNormContext(ctx, &qkv.Norm{}), e.LayerNorm(nil), e.LayerNormContext(ctx, nil),
			e.Lookup(matrix, matrix, nil), e.LookupPacked(matrix, nil, nil),
			e.Parallel(1, 1, func(int, int) {}), e.ParallelContext(ctx, 1, 1, func(int, int) {}),
			second(e.NewProjection(qkv.ProjectionConfig{})), second(e.NewLayer(qkv.LayerConfig{})),
		} {
			isArgError(t, fmt.Sprintf("engine %v, call %d", e, i), err, "engine is nil or zero")
		}
		panics(t, "engine is nil or zero", func() { e.Workers() })
		panics(t, "engine is nil or zero", func() { e.Kernel() })
		panics(t, "engine is nil or zero", func() { e.ArgMax(x) })
		panics(t, "engine is nil or zero", func() { e.TopK(nil, x) })
	}
	var rotary *qkv.Rotary
	for i, err := range []error{
		e.Run(nil), e.RunContext(ctx, nil), second(e.Explain(nil)), qkv.Run(nil),
		e.MatMul(nil), e.MatMulContext(ctx, nil), second(e.ExplainMatMul(nil)), qkv.MatMul(nil),
		e.RMSNorm(nil), e.LayerNormContext(ctx, nil), e.LayerNorm(&qkv.Norm{}),
		e.Rotate(nil, view, nil), e.Rotate(&qkv.Rotary{}, view, nil),
		(*qkv.Layer)(nil).Run(nil), (*qkv.Layer)(nil).Forward(matrix, matrix), new(qkv.Layer).Run(&qkv.LayerCall{}), new(qkv.Layer).RunContext(ctx, nil),
		(*qkv.Projection)(nil).Run(nil), new(qkv.Projection).Run(&qkv.ProjectionCall{}),
		(*qkv.Projection)(nil).Step(nil, 0, view, matrix), new(qkv.Projection).StepContext(ctx, nil, 0, view, matrix),
		second(e.NewStep(nil)), second(e.NewStep(new(qkv.Cache))), second((*qkv.Cache)(nil).ReadSequence(nil)), second(new(qkv.Cache).ReadSequence(nil)),
		(*qkv.Step)(nil).Begin(nil), new(qkv.Step).Begin(nil), (*qkv.Step)(nil).Write(0, view, view), new(qkv.Step).Write(0, view, view),
		(*qkv.Step)(nil).Attend(0, nil), new(qkv.Step).Attend(0, &qkv.Call{}), new(qkv.Step).AttendContext(ctx, 0, nil), second(new(qkv.Step).Explain(0, nil)),
		(*qkv.Step)(nil).Commit(), new(qkv.Step).CommitFirst(nil), (*qkv.Step)(nil).Rollback(),
		(*qkv.Step)(nil).SetQueries(nil), new(qkv.Step).SetQueries(nil), new(qkv.Cache).Fits(nil), second(new(qkv.Cache).StepPages(0, nil)),
		second((*qkv.Sequence)(nil).WriteTo(nil)), second(new(qkv.Sequence).WriteTo(nil)), new(qkv.Sequence).Free(), new(qkv.Sequence).Truncate(0),
		second((*qkv.Sequence)(nil).Fork()), (*qkv.Sequence)(nil).Truncate(0), (*qkv.Sequence)(nil).Free(),
		e.Merge(view, nil, nil), e.MergeContext(ctx, view, nil, make([]qkv.Partial, 1)),
	} {
		isArgError(t, fmt.Sprintf("call %d", i), err, "")
	}
	layer, err := e.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{Q: qkv.Linear{W: matrix}, K: qkv.Linear{W: matrix}, V: qkv.Linear{W: matrix}, Heads: 1},
		Out:              qkv.Linear{W: qkv.RowMajor(x, 4, 2)},
	})
	must(err)
	isArgError(t, "layer", layer.Run(nil), "call is nil")
	isArgError(t, "layer", layer.Run(&qkv.LayerCall{}), "x is not given")
	if n := (*qkv.Cache)(nil).Layers() + (*qkv.Cache)(nil).PageTokens() + new(qkv.Cache).PageTokens() + (*qkv.Sequence)(nil).Len() + (*qkv.Cache)(nil).FreePages(0) + (*qkv.Step)(nil).Tokens() + new(qkv.Step).Tokens() +
		(*qkv.Step)(nil).Queries() + new(qkv.Step).Queries() + len((*qkv.Step)(nil).QueryPositions()) + new(qkv.Sequence).Room() + (*qkv.PackedMatrix)(nil).Bytes() +
		rotary.Dim() + rotary.Positions() + (*qkv.Layer)(nil).Workspace(3) +
		(*qkv.Cache)(nil).Bytes() + (&qkv.CacheConfig{}).LayerPages(0) + (*qkv.Projection)(nil).Bytes() + (*qkv.Layer)(nil).Bytes() +
		new(qkv.Cache).Bytes() + new(qkv.Sequence).Len() + new(qkv.Projection).Bytes() + new(qkv.Layer).Bytes() +
		new(qkv.Cache).Layers() + new(qkv.Cache).FreePages(0) + new(qkv.PackedMatrix).Bytes() + new(qkv.Rotary).Dim() + new(qkv.Layer).Workspace(3); n != 0 {
		t.Errorf("there are %d of nothing", n)
	}
	panics(t, "cache is nil or zero", func() { (*qkv.Cache)(nil).NewSequence() })
	panics(t, "cache is nil or zero", func() { new(qkv.Cache).NewSequence() })
	panics(t, "no such block", func() { (*qkv.BlockMask)(nil).Set(0, 0, 0, 0, true) })
	panics(t, "no such block", func() { new(qkv.BlockMask).Kept(0, 0, 0, 0) })
}

func second[T any](_ T, err error) error { return err }

// isArgError reports another error than an ArgError of that text.
func isArgError(t *testing.T, what string, err error, text string) {
	t.Helper()
	if !errors.As(err, new(*qkv.ArgError)) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: error %v, want an ArgError with %q", what, err, text)
	}
}

// panics reports a function that does not panic with that text.
func panics(t *testing.T, text string, f func()) {
	t.Helper()
	defer func() {
		r := recover()
		if _, crash := r.(runtime.Error); crash || !strings.Contains(fmt.Sprint(r), text) {
			t.Errorf("panics with %v, want %q", r, text)
		}
	}()
	f()
}

// TestNotGiven: what is missing is said to be missing.
func TestNotGiven(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	x := make([]float32, 64)
	f, i8 := qkv.BHSD(x, 1, 2, 2, 4), qkv.BHSD(make([]int8, 16), 1, 2, 2, 4)
	m := qkv.RowMajor(x, 4, 4)
	out := qkv.BHSD(make([]float32, 16), 1, 2, 2, 4)
	floats := cacheShape{2, 4, 4, qkv.TypeFloat32, qkv.TypeFloat32}
	cache := newCache(t, floats.config(1, 4))
	step := newStep(t, e, cache)
	must(step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: 1}}))
	projection, err := e.NewProjection(qkv.ProjectionConfig{Q: qkv.Linear{W: m}, K: qkv.Linear{W: m}, Heads: 1})
	must(err)
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 4, MaxPositions: 4})
	must(err)
	store := floats.config(1, 2)
	store.Layers[0].KeyType, store.Layers[0].K, store.Layers[0].V = qkv.TypeInt8, i8, f
	for want, err := range map[string]error{
		"q is not given":        e.Run(&qkv.Call{}),
		"k is not given":        e.Run(&qkv.Call{Q: f}),
		"v is not given":        e.Run(&qkv.Call{Q: f, K: f}),
		"out is not given":      e.Run(&qkv.Call{Q: f, K: f, V: f}),
		"kScale is not given":   e.Run(&qkv.Call{Q: f, K: i8, V: f, Out: out}),
		"vScale is not given":   e.Run(&qkv.Call{Q: f, K: f, V: i8, Out: out}),
		"x is not given":        e.MatMul(&qkv.Product{}),
		"y is not given":        e.MatMul(&qkv.Product{X: m}),
		"w is not given":        e.MatMul(&qkv.Product{X: m, Y: m}),
		"qkv: x is not given":   e.Rotate(rotary, qkv.View{}, nil),
		"qkv: w is not given":   second(e.Pack(qkv.Matrix{})),
		"qkv: k is not given":   step.Write(0, qkv.View{}, f),
		"qkv: v is not given":   step.Write(0, qkv.BHSD(x, 1, 2, 1, 4), qkv.View{}),
		"qkv: q is not given":   projection.Run(&qkv.ProjectionCall{X: m}),
		" x is not given":       projection.Run(&qkv.ProjectionCall{}),
		" out is not given":     e.Merge(qkv.View{}, nil, make([]qkv.Partial, 1)),
		" kScale is not given":  second(qkv.NewCache(store)),
		"out weights is not gi": second(e.NewLayer(qkv.LayerConfig{ProjectionConfig: qkv.ProjectionConfig{Q: qkv.Linear{W: m}, K: qkv.Linear{W: m}, V: qkv.Linear{W: m}, Heads: 1}})),
	} {
		isArgError(t, want, err, want)
	}
}
