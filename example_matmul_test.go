package qkv_test

import (
	"fmt"
	"runtime"

	"github.com/qkv-go/qkv"
)

// Two products of the same rows, with weights of different types and widths, in one call.
func ExampleEngine_MatMul_several() {
	e, err := qkv.New(qkv.Config{Workers: runtime.GOMAXPROCS(0)})
	if err != nil {
		panic(err)
	}
	x := qkv.RowMajor([]float32{1, 2, 3, 4}, 2, 2)
	wide := qkv.RowMajor([]float32{1, 0, 1, 0, 1, 1}, 2, 3)                           // [in, out]
	narrow := qkv.WeightMatrix(qkv.WeightBFloat16, []byte{0x80, 0x3f, 0, 0x40}, 1, 2) // [out, in]: 1 and 2
	a, b := make([]float32, 6), make([]float32, 2)
	err = e.MatMul(
		&qkv.Product{X: x, W: wide, Y: qkv.RowMajor(a, 2, 3)},
		&qkv.Product{X: x, W: narrow.T(), Bias: []float32{10}, Y: qkv.RowMajor(b, 2, 1)},
	)
	fmt.Println(a, b, err)
	// Output: [1 2 3 3 4 7] [15 21] <nil>
}

// The gated product of a multilayer perceptron, SwiGLU: one stored matrix has gate and up.
func ExampleProduct() {
	const hidden, ffn = 2, 2
	gateUp := qkv.RowMajor([]float32{
		1, 0, // gate [out, in]
		0, 1,
		2, 0, // up
		0, 10,
	}, 2*ffn, hidden)
	h := make([]float32, ffn)
	err := qkv.MatMul(&qkv.Product{
		X: qkv.RowMajor([]float32{1, -1}, 1, hidden),
		W: gateUp.Slice(0, ffn).T(), Activation: qkv.SiLU,
		Up: qkv.Linear{W: gateUp.Slice(ffn, 2*ffn).T()},
		Y:  qkv.RowMajor(h, 1, ffn),
	})
	fmt.Printf("%.4f %v\n", h, err)
	// Output: [1.4621 2.6894] <nil>
}
