package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// A Layout says how qkv gets queries, keys, values and outputs: the order of their axes in
// memory, and what lies between their rows. The zero value is contiguous [batch, heads, seq, dim].
//
// Other systems get the layout that each likes best. What it takes to copy operands from one
// layout to another is not timed, for them or for qkv.
type Layout struct {
	Order Order

	// Pad is a number of elements behind each row that belong to nothing. A row is what lies
	// side by side of a token (of a dim in DimMajor).
	Pad int
}

// An Order is an order of axes in memory.
type Order int

const (
	HeadMajor  Order = iota // [batch, heads, seq, dim]
	TokenMajor              // [batch, seq, heads, dim], as most projections write it
	PackedQKV               // [batch, seq, heads + 2 KV heads, dim], as one projection writes all three
	DimMajor                // [batch, heads, dim, seq]
)

// orderNames are the orders as the text of a shape has them.
var orderNames = [...]string{HeadMajor: "bhsd", TokenMajor: "bshd", PackedQKV: "qkv", DimMajor: "bhds"}

// String writes the layout as the text of a shape has it: "bshd", or "bshd+16" for 16 elements
// behind each row; "" for the zero value.
func (l Layout) String() string {
	order := nameOf(orderNames[:], "Order", int(l.Order))
	switch {
	case l == Layout{}:
		return ""
	case l.Pad == 0:
		return order
	}
	return fmt.Sprintf("%s+%d", order, l.Pad)
}

func parseLayout(text string) (Layout, error) {
	name, pad, padded := strings.Cut(text, "+")
	order := slices.Index(orderNames[:], name)
	if order < 0 {
		return Layout{}, fmt.Errorf("%q is not %s", name, strings.Join(orderNames[:], ", "))
	}
	l := Layout{Order: Order(order)}
	if padded {
		n, err := strconv.Atoi(pad)
		if err != nil || n < 1 || n > maxPad {
			return Layout{}, fmt.Errorf("%q behind each row is not 1 to %d elements", pad, maxPad)
		}
		l.Pad = n
	}
	return l, nil
}

// maxPad bounds Layout.Pad.
const maxPad = 1 << 16

// check reports a shape that cannot be had in the layout.
func (l Layout) check(s Shape) error {
	if l.Order != PackedQKV {
		return nil
	}
	switch {
	case s.SeqQ != s.SeqKV || s.DimQK != s.DimV:
		return fmt.Errorf("layout=qkv needs skv=sq and dv=d")
	case s.KV != KV{}:
		return fmt.Errorf("layout=qkv needs float32 without pages or a cache")
	case s.Lengths.LeastKV != 0 || s.Lengths.Prefill != 0:
		return fmt.Errorf("layout=qkv needs as many queries as keys of each sequence")
	}
	return nil
}

// bytes returns the size of the copies that a shape needs for the layout, padding included.
func (l Layout) bytes(s Shape) int64 {
	if l == (Layout{}) {
		return 0
	}
	pages, page := 1, s.SeqKV
	if s.KV.Page != 0 {
		pages, page = s.pagesOf(s.SeqKV), s.KV.Page
	}
	q, k, v := s.DimQK+s.DimV, rowBytes(s.KV.K, s.DimQK), rowBytes(s.KV.V, s.DimV)
	if l.Order == DimMajor {
		return satAdd(
			satMul(4, s.Batch, s.Heads, q, s.SeqQ+l.Pad),
			satMul(k+v, s.Batch, s.KVHeads, pages, page+l.Pad))
	}
	return satAdd(
		satMul(4, s.Batch, s.Heads, s.SeqQ, q+2*l.Pad),
		satMul(k+v+2*l.Pad*max(s.KV.K.Unit(), s.KV.V.Unit()), s.Batch, s.KVHeads, pages, page))
}

// strides returns the strides of a tensor [batch, heads, seq, units] and the elements that it
// takes.
func (l Layout) strides(shape [4]int) (stride [4]int, n int) {
	batch, heads, seq, units := shape[0], shape[1], shape[2], shape[3]
	switch l.Order {
	case TokenMajor, PackedQKV:
		row := heads*units + l.Pad
		return [4]int{seq * row, units, row, 1}, batch * seq * row
	case DimMajor:
		row := seq + l.Pad
		return [4]int{heads * units * row, units * row, 1, row}, batch * heads * units * row
	}
	row := units + l.Pad
	return [4]int{heads * seq * row, seq * row, row, 1}, batch * heads * seq * row
}

// An arranged is the call of operands in the layout of their shape.
type arranged struct {
	call   *qkv.Call
	load   func() // copies the queries
	gather func() // copies the output back
}

// arrange copies the operands into the layout of the shape, and into its cache. The error is that of
// [qkv.NewCache].
func (o *Operands) arrange() (arranged, error) {
	l, c := o.Shape.Layout, o.Call()
	cached := o.Shape.KV.Cache != NoCache
	if cached {
		o.cached(c)
	}
	if l == (Layout{}) {
		return arranged{call: c}, nil
	}
	q, out := c.Q, c.Out
	var loadQ *copies
	if l.Order == PackedQKV {
		shape, kv := q.Shape(), c.K.Shape()
		batch, seq, dim := shape[0], shape[2], shape[3]
		all := shape[1] + 2*kv[1]
		stride, n := l.strides([4]int{batch, all, seq, dim})
		data := make([]float32, n)
		part := func(x []float32, v qkv.View, head int) (*copies, qkv.View) {
			to := &copies{shape: v.Shape(), from: v.Strides(), to: stride, at: head * dim}
			copyElements(data, x, to)
			return to, qkv.Strided(data, to.at, v.Shape(), stride)
		}
		_, c.V = part(o.V.Float32, c.V, shape[1]+kv[1])
		_, c.K = part(o.K.Float32, c.K, shape[1])
		loadQ, c.Q = part(o.Q, q, 0)
		dataOut, copyOut := newArranged(o.Out, out, Layout{Order: TokenMajor, Pad: l.Pad}, &c.Out)
		return arranged{c, func() { copyElements(data, o.Q, loadQ) }, func() { copyElements(o.Out, dataOut, copyOut.back()) }}, nil
	}
	dataQ, loadQ := newArranged(o.Q, q, l, &c.Q)
	dataOut, copyOut := newArranged(o.Out, out, l, &c.Out)
	if !cached {
		o.K.arrange(l, &c.K, &c.KScale)
		o.V.arrange(l, &c.V, &c.VScale)
	}
	return arranged{c, func() { copyElements(dataQ, o.Q, loadQ) }, func() { copyElements(o.Out, dataOut, copyOut.back()) }}, nil
}

// arrange makes the views of a tensor those of a copy in the layout.
func (t *Tensor) arrange(l Layout, elements, scales *qkv.View) {
	switch t.elem {
	case kernel.Float16:
		newArranged(t.Float16, *elements, l, elements)
	case kernel.BFloat16:
		newArranged(t.BFloat16, *elements, l, elements)
	case kernel.Int8:
		newArranged(t.Int8, *elements, l, elements)
		newArranged(t.Scale, *scales, Layout{Order: l.Order}, scales)
	case kernel.Q8_0:
		newArranged(t.Q8_0, *elements, l, elements)
	case kernel.E4M3:
		newArranged(t.E4M3, *elements, l, elements)
	case kernel.E5M2:
		newArranged(t.E5M2, *elements, l, elements)
	case kernel.Q4_0:
		newArranged(t.Q4_0, *elements, l, elements)
	case kernel.Q4_1:
		newArranged(t.Q4_1, *elements, l, elements)
	default:
		newArranged(t.Float32, *elements, l, elements)
	}
}

// newArranged returns a copy in the layout of the elements that v is a view of, and how they
// were copied, and sets to to a view of the copy.
func newArranged[T qkv.Element](x []T, v qkv.View, l Layout, to *qkv.View) ([]T, *copies) {
	units := v.Shape()
	switch any(x).(type) {
	case []qkv.BlockQ8_0, []qkv.BlockQ4_0, []qkv.BlockQ4_1:
		units[3] /= kernel.BlockValues
	}
	stride, n := l.strides(units)
	c := &copies{shape: units, from: v.Strides(), to: stride}
	data := make([]T, n)
	copyElements(data, x, c)
	*to = qkv.Strided(data, 0, v.Shape(), stride)
	return data, c
}

// copies says how elements are copied from one layout to another.
type copies struct {
	shape, from, to [4]int
	at              int // the first element of the destination
	atFrom          int // and of the source
}

// back returns the copying in the other direction.
func (c *copies) back() *copies {
	return &copies{shape: c.shape, from: c.to, to: c.from, at: c.atFrom, atFrom: c.at}
}

func copyElements[T any](to, from []T, c *copies) {
	parallel(c.shape[0]*c.shape[1], func(i int) {
		b, h := i/c.shape[1], i%c.shape[1]
		for s := range c.shape[2] {
			src := c.atFrom + b*c.from[0] + h*c.from[1] + s*c.from[2]
			dst := c.at + b*c.to[0] + h*c.to[1] + s*c.to[2]
			for d := range c.shape[3] {
				to[dst+d*c.to[3]] = from[src+d*c.from[3]]
			}
		}
	})
}
