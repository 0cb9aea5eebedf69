package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/qkv-go/qkv"
)

// rotaryOperator is RotaryEmbedding of the ONNX standard, opset 23. That it takes DOUBLE
// goes beyond the standard.
var rotaryOperator = operator{
	attributes: []parameter{{name: "interleaved"}, {name: "num_heads"}, {name: "rotary_embedding_dim"}},
	inputs: []parameter{
		{name: "X", required: true},
		{name: "cos_cache", required: true},
		{name: "sin_cache", required: true},
		{name: "position_ids"},
	},
	outputs: []parameter{{name: "Y", required: true}},
	compute: computeRotary,
}

// A rotary is a RotaryEmbedding node whose attributes and inputs are checked.
type rotary struct {
	x         operand
	cos, sin  *Tensor
	rows      []int // of the caches for each token of the batch, nil if they are in order
	dim       int   // of a head, how many elements are rotated
	cacheDim  int
	neighbour int // how far apart the two elements of a pair are
	step      int // from one pair to the next
}

func computeRotary(p *application) error {
	var n rotary
	if err := n.read(p); err != nil {
		return err
	}
	y, err := p.give(0, n.x.Type, append([]int(nil), n.x.Dims...)...)
	if err != nil {
		return err
	}
	if y.Type == Double {
		n.rotateDouble(y)
		return nil
	}
	return n.run(p.attention, y)
}

func (n *rotary) read(p *application) error {
	interleaved, err := p.int("interleaved", 0, 0, 1)
	if err != nil {
		return err
	}
	heads, err := p.int("num_heads", 0, 1, math.MaxInt64)
	if err != nil {
		return err
	}
	if n.x, err = newOperand("x", p.in[0], "num_heads", heads); err != nil {
		return err
	}
	size := n.x.shape[3]
	dim, err := p.int("rotary_embedding_dim", 0, 1, int64(size))
	if err != nil {
		return err
	}
	if n.dim = int(dim); dim == 0 {
		n.dim = size
	}
	if n.dim%2 != 0 {
		name := "rotary_embedding_dim"
		if dim == 0 {
			name = "the head size of x"
		}
		return fmt.Errorf("%s is %d, an even number is needed", name, n.dim)
	}
	n.neighbour, n.step = n.dim/2, 1
	if interleaved == 1 {
		n.neighbour, n.step = 1, 2
	}
	return n.readCaches(p)
}

// readCaches checks the caches. They may have more columns than are used, as in the
// algorithm of the standard.
func (n *rotary) readCaches(p *application) error {
	n.cos, n.sin = p.in[1], p.in[2]
	batch, seq := n.x.shape[0], n.x.shape[2]
	ids := p.in[3]
	for _, c := range []struct {
		name string
		*Tensor
	}{{"cos_cache", n.cos}, {"sin_cache", n.sin}} {
		if c.Type != n.x.Type {
			return fmt.Errorf("%s has elements of type %v, x has %v", c.name, c.Type, n.x.Type)
		}
		d := c.Dims
		switch {
		case ids != nil && len(d) != 2:
			return fmt.Errorf("%s has %d dims, 2 are needed with position_ids", c.name, len(d))
		case ids == nil && (len(d) != 3 || d[0] != batch || d[1] != seq):
			return fmt.Errorf("%s has shape %v, want [%d %d %d] without position_ids", c.name, d, batch, seq, n.dim/2)
		case d[len(d)-1] < n.dim/2:
			return fmt.Errorf("%s has %d columns, at least %d are needed", c.name, d[len(d)-1], n.dim/2)
		}
	}
	d := n.cos.Dims
	for axis, got := range n.sin.Dims {
		if got != d[axis] {
			return fmt.Errorf("sin_cache has shape %v, cos_cache has %v", n.sin.Dims, d)
		}
	}
	n.cacheDim = d[len(d)-1]
	if ids == nil {
		return nil
	}
	if ids.Type != Int64 || len(ids.Dims) != 2 || ids.Dims[0] != batch || ids.Dims[1] != seq {
		return fmt.Errorf("position_ids has shape %v of %v, want [%d %d] of INT64", ids.Dims, ids.Type, batch, seq)
	}
	n.rows = make([]int, ids.Len())
	for i, at := range int64s(ids) {
		if at < 0 || at >= int64(d[0]) {
			return fmt.Errorf("position_ids has %d, the caches have %d positions", at, d[0])
		}
		n.rows[i] = int(at)
	}
	return nil
}

// run computes Y by package qkv.
func (n *rotary) run(a *qkv.Engine, y *Tensor) error {
	out := slices.Clone(floats[float32](n.x.Tensor))
	if len(out) > 0 {
		r, err := qkv.NewRotary(qkv.RotaryConfig{
			Dim: n.dim, Interleaved: n.neighbour == 1, Cos: n.table(n.cos), Sin: n.table(n.sin),
		})
		if err != nil {
			return err
		}
		rows := n.rows
		if rows == nil { // the caches have a row for each token
			rows = make([]int, n.x.shape[0]*n.x.shape[2])
			for i := range rows {
				rows[i] = i
			}
		}
		if err := a.Rotate(r, n.x.view(out), rows); err != nil {
			return err
		}
	}
	y.Data = encode(y.Type, out)
	return nil
}

// table returns a cache without the columns that are not used.
func (n *rotary) table(cache *Tensor) []float32 {
	values := floats[float32](cache)
	used := n.dim / 2
	if n.cacheDim == used {
		return values
	}
	table := make([]float32, 0, len(values)/n.cacheDim*used)
	for ; len(values) > 0; values = values[n.cacheDim:] {
		table = append(table, values[:used]...)
	}
	return table
}

// rotateDouble computes Y in float64. The products are rounded before they are added, so
// that no architecture fuses them and the results are the same on all.
func (n *rotary) rotateDouble(y *Tensor) {
	x, cos, sin := floats[float64](n.x.Tensor), floats[float64](n.cos), floats[float64](n.sin)
	out := slices.Clone(x)
	if len(x) > 0 {
		d := n.x.shape
		for b := range d[0] {
			for s := range d[2] {
				row := b*d[2] + s
				if n.rows != nil {
					row = n.rows[row]
				}
				c, sn := cos[row*n.cacheDim:][:n.dim/2], sin[row*n.cacheDim:][:n.dim/2]
				for h := range d[1] {
					from := n.x.row(b, h, s)
					for i := range c {
						at := from + i*n.step
						re, im := x[at], x[at+n.neighbour]
						out[at] = float64(c[i]*re) - float64(sn[i]*im)
						out[at+n.neighbour] = float64(sn[i]*re) + float64(c[i]*im)
					}
				}
			}
		}
	}
	y.Data = encode(y.Type, out)
}
