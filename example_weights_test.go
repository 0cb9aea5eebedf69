package qkv_test

import (
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// Weights as a model file has them, in ggml's Q8_0, with a row of blocks for each output. They are read
// where they are, or packed once, in the same type. Either gives the bits of their float32 values.
func ExampleWeightMatrix() {
	const in, out = 32, 16
	values := make([]float32, out*in)
	values[0*in+0] = 127
	values[1*in+1], values[1*in+31] = 127, 1
	file := make([]byte, out*in/32*34) // a mapped file, from where the tensor begins
	if err := qkv.Quantize(qkv.WeightQ8_0, file, values); err != nil {
		log.Fatal(err)
	}

	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	w := qkv.WeightMatrix(qkv.WeightQ8_0, file, out, in).T()
	x, y := make([]float32, in), make([]float32, out)
	x[0], x[1], x[31] = 1, 2, 3
	if err := e.MatMul(&qkv.Product{X: qkv.RowMajor(x, 1, in), W: w, Y: qkv.RowMajor(y, 1, out)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(y[:3], "in place:", len(file), "bytes")

	packed, err := e.Pack(w)
	if err != nil {
		log.Fatal(err)
	}
	if err := e.MatMul(&qkv.Product{X: qkv.RowMajor(x, 1, in), Packed: packed, Y: qkv.RowMajor(y, 1, out)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(y[:3], "packed:", packed.Bytes(), "bytes")
	// Output:
	// [127 257 0] in place: 544 bytes
	// [127 257 0] packed: 544 bytes
}

// The same in class Int8, which multiplies the integers of the blocks by those of the row, which is quantised: the
// largest of 32 values, 3, is 127 steps, and 1 is 42 of them.
func ExampleEngine_PackFor() {
	const in, out = 32, 16
	values := make([]float32, out*in)
	values[0*in+0] = 127
	values[1*in+1], values[1*in+31] = 127, 1
	file := make([]byte, out*in/32*34)
	if err := qkv.Quantize(qkv.WeightQ8_0, file, values); err != nil {
		log.Fatal(err)
	}
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	packed, err := e.PackFor(qkv.PrecisionInt8, qkv.WeightMatrix(qkv.WeightQ8_0, file, out, in).T(), 1)
	if err != nil {
		log.Fatal(err)
	}
	x, y := make([]float32, in), make([]float32, out)
	x[0], x[1], x[31] = 1, 2, 3
	err = e.MatMul(&qkv.Product{X: qkv.RowMajor(x, 1, in), Packed: packed, Y: qkv.RowMajor(y, 1, out), Precision: packed.Precision()})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.1f by %d bytes of class %v\n", y[:3], packed.Bytes(), packed.Precision())
	// Output:
	// [126.0 258.0 0.0] by 544 bytes of class Int8
}

// The embeddings of tokens, from a table in bfloat16. With tied weights the transpose of the table is the
// matrix that makes logits.
func ExampleEngine_Lookup() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const vocab, width = 3, 2
	file := make([]byte, vocab*width*2)
	if err := qkv.Quantize(qkv.WeightBFloat16, file, []float32{1, 10, 2, 20, 3, 30}); err != nil {
		log.Fatal(err)
	}
	table := qkv.WeightMatrix(qkv.WeightBFloat16, file, vocab, width)
	tokens := []int32{2, 0}
	x := make([]float32, len(tokens)*width)
	if err := e.Lookup(qkv.RowMajor(x, len(tokens), width), table, tokens); err != nil {
		log.Fatal(err)
	}
	logits := make([]float32, len(tokens)*vocab)
	err = e.MatMul(&qkv.Product{
		X: qkv.RowMajor(x, len(tokens), width),
		W: table.T(),
		Y: qkv.RowMajor(logits, len(tokens), vocab),
	})
	fmt.Println(x, logits, err)
	// Output: [3 30 1 10] [303 606 909 101 202 303] <nil>
}

// A packed copy of whole blocks keeps their type: it takes as much memory as they do.
func ExamplePackedMatrix_Type() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const out, in = 64, 256
	data := make([]byte, out*in/32*34) // where a mapped file has the tensor
	w := qkv.WeightMatrix(qkv.WeightQ8_0, data, out, in).T()
	packed, err := e.Pack(w)
	if err != nil {
		log.Fatal(err)
	}
	part, err := e.Pack(w.Slice(1, 17)) // of blocks
	fmt.Println(packed.Type(), packed.Bytes() == len(data), part.Type(), err)
	// Output: Q8_0 true float32 <nil>
}

// The same table packed, once for both uses.
func ExampleEngine_LookupPacked() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	const vocab, width = 3, 2
	table := qkv.RowMajor([]float32{1, 10, 2, 20, 3, 30}, vocab, width)
	packed, err := e.Pack(table.T())
	if err != nil {
		log.Fatal(err)
	}
	tokens := []int32{2, 0}
	x, logits := make([]float32, len(tokens)*width), make([]float32, len(tokens)*vocab)
	rows := qkv.RowMajor(x, len(tokens), width)
	if err := e.LookupPacked(rows, packed, tokens); err != nil {
		log.Fatal(err)
	}
	err = e.MatMul(&qkv.Product{X: rows, Packed: packed, Y: qkv.RowMajor(logits, len(tokens), vocab)})
	fmt.Println(x, logits, err)
	// Output: [3 30 1 10] [303 606 909 101 202 303] <nil>
}
