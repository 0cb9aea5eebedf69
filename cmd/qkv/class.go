package main

import (
	"flag"
	"fmt"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/kernel"
)

// classFlags are the flags of qkv run and qkv view that say how numbers are rounded: in keys and values, and before
// they are multiplied.
type classFlags struct {
	class, values qkv.Precision // values is that of weighted values in class Int8
	kv            kernel.Elem
}

func (c *classFlags) register(f *flag.FlagSet) {
	integers := bench.ElemNames("and", kernel.Elem.Integers)
	f.Func("class", "compute in the numerical `CLASS` "+bench.ClassNames()+"; int8 multiplies keys as integers, which\nthose of -kv "+integers+" have", func(s string) (err error) {
		c.class, err = bench.ParseClass(s)
		return err
	})
	f.Func("kv", "round keys and values to the `TYPE` "+bench.ElemNames("or", nil), func(s string) (err error) {
		c.kv, err = bench.ParseElem(s)
		return err
	})
}

// registerValues is for what multiplies by values, too.
func (c *classFlags) registerValues(f *flag.FlagSet) {
	c.register(f)
	f.Func("values", "with -class int8, weight values in the numerical `CLASS` "+bench.ClassNames()+"; int8 multiplies those of -kv\n"+bench.ElemNames("and", kernel.Elem.Integers)+" as integers", func(s string) (err error) {
		c.values, err = bench.ParseClass(s)
		return err
	})
}

// check checks the flags beside each other.
func (c *classFlags) check() error {
	if c.values != qkv.PrecisionFloat32 && c.class != qkv.PrecisionInt8 {
		return badUsage("-values goes with -class int8")
	}
	return nil
}

// A part makes views of elements of some type.
type part struct {
	all qkv.View
	at  func(offset int, shape, stride [4]int) qkv.View
}

// head returns the view of one head, the zero View of no part.
func (p *part) head(batch, head int) qkv.View {
	if p.at == nil {
		return qkv.View{}
	}
	shape, stride := p.all.Shape(), p.all.Strides()
	return p.at(batch*stride[0]+head*stride[1], [4]int{1, 1, shape[2], shape[3]}, stride)
}

// partOf returns the part of contiguous elements.
func partOf[T qkv.Element](data []T, dims []int, layout string) part {
	return part{viewOf(data, dims, layout), func(offset int, shape, stride [4]int) qkv.View {
		return qkv.Strided(data, offset, shape, stride)
	}}
}

// rounded returns the part of the numbers of an array, each rounded.
func rounded[T qkv.Element](a array, layout string, to func(float32) T) part {
	data := make([]T, len(a.data))
	for i, x := range a.data {
		data[i] = to(x)
	}
	return partOf(data, a.dims, layout)
}

// blocks returns the part of blocks of the numbers of an array.
func blocks[T qkv.Element](a array, layout string, quantize func([]T, []float32) error) (part, error) {
	data := make([]T, len(a.data)/kernel.BlockValues)
	err := quantize(data, a.data)
	return partOf(data, a.dims, layout), err
}

// operand returns keys or values of the array of a file beside that of the queries, in the type, and the scales of
// their rows, which int8 alone has.
func (c *classFlags) operand(name, path string, a, q array, layout string) (rows, scales part, err error) {
	x, err := operand(name, path, a, q, layout)
	if err != nil {
		return rows, scales, err
	}
	dim := x.Shape()[3]
	if n := c.kv.UnitValues(); dim%n != 0 {
		return rows, scales, fmt.Errorf("%s has head dim %d, a multiple of %d is needed in type %s", name, dim, n, c.kv.Name())
	}
	switch c.kv {
	case kernel.Float16:
		rows = rounded(a, layout, qkv.ToFloat16)
	case kernel.BFloat16:
		rows = rounded(a, layout, qkv.ToBFloat16)
	case kernel.E4M3:
		rows = rounded(a, layout, qkv.ToFloat8E4M3)
	case kernel.E5M2:
		rows = rounded(a, layout, qkv.ToFloat8E5M2)
	case kernel.Q8_0:
		rows, err = blocks(a, layout, qkv.QuantizeQ8_0)
	case kernel.Q4_0:
		rows, err = blocks(a, layout, qkv.QuantizeQ4_0)
	case kernel.Q4_1:
		rows, err = blocks(a, layout, qkv.QuantizeQ4_1)
	case kernel.Int8:
		data, scale := make([]int8, len(a.data)), make([]float32, len(a.data)/dim)
		for i := range scale {
			if scale[i], err = qkv.QuantizeInt8(data[i*dim:][:dim], a.data[i*dim:][:dim]); err != nil {
				break
			}
		}
		dims := append(append([]int(nil), a.dims[:len(a.dims)-1]...), 1)
		rows, scales = partOf(data, a.dims, layout), partOf(scale, dims, layout)
	default:
		rows = partOf(a.data, a.dims, layout)
	}
	return rows, scales, err
}
