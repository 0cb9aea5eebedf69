package qkv

import (
	"math"
	"math/bits"
	"unsafe"
)

// Element is the constraint of the element types that a [View] may have.
type Element interface {
	float32
}

// A View is a strided tensor of shape [batch, heads, seq, dim] over a slice that the
// caller owns. It copies nothing. Whether it stays inside its slice is checked
// where it is used.
type View struct {
	data   unsafe.Pointer
	len    int // elements of the slice
	offset int // element (0, 0, 0, 0)
	shape  [4]int
	stride [4]int // in elements
}

// Axes of a View.
const (
	axisBatch = iota
	axisHeads
	axisSeq
	axisDim
)

var axisNames = [4]string{"batch", "heads", "sequence length", "head dim"}

// Strided returns a view of data whose element (b, h, s, d) is
//
//	data[offset + b*stride[0] + h*stride[1] + s*stride[2] + d*stride[3]]
//
// Shape and stride are in the order batch, heads, seq, dim, whatever the order in
// memory; strides are in elements. A stride may be 0 (the axis is broadcast) or
// negative.
func Strided[T Element](data []T, offset int, shape, stride [4]int) View {
	return View{
		data:   unsafe.Pointer(unsafe.SliceData(data)),
		len:    len(data),
		offset: offset,
		shape:  shape,
		stride: stride,
	}
}

// BHSD returns a view of contiguous data laid out [batch, heads, seq, dim].
func BHSD[T Element](data []T, batch, heads, seq, dim int) View {
	return Strided(data, 0,
		[4]int{batch, heads, seq, dim},
		[4]int{mul(heads, seq, dim), mul(seq, dim), dim, 1})
}

// BSHD returns a view of contiguous data laid out [batch, seq, heads, dim], which is
// also [batch, seq, hidden] with hidden = heads*dim.
func BSHD[T Element](data []T, batch, seq, heads, dim int) View {
	return Strided(data, 0,
		[4]int{batch, heads, seq, dim},
		[4]int{mul(seq, heads, dim), dim, mul(heads, dim), 1})
}

// PackedQKV returns views of the queries, keys and values of contiguous data laid
// out [batch, seq, heads+2*kvHeads, dim]: what one fused projection writes.
func PackedQKV[T Element](data []T, batch, seq, heads, kvHeads, dim int) (q, k, v View) {
	row := mul(heads+2*kvHeads, dim)
	stride := [4]int{mul(seq, row), dim, row, 1}
	q = Strided(data, 0, [4]int{batch, heads, seq, dim}, stride)
	k = Strided(data, mul(heads, dim), [4]int{batch, kvHeads, seq, dim}, stride)
	v = Strided(data, mul(heads+kvHeads, dim), [4]int{batch, kvHeads, seq, dim}, stride)
	return q, k, v
}

// Shape returns the lengths of the axes batch, heads, seq and dim.
func (v View) Shape() [4]int { return v.shape }

// Strides returns the distances, in elements, between neighbours along each axis.
func (v View) Strides() [4]int { return v.stride }

// empty reports whether the view has no element.
func (v *View) empty() bool {
	return v.shape[0] == 0 || v.shape[1] == 0 || v.shape[2] == 0 || v.shape[3] == 0
}

// first returns the address of element (0, 0, 0, 0), nil for an empty view.
func (v *View) first() unsafe.Pointer {
	if v.empty() {
		return nil
	}
	return unsafe.Add(v.data, 4*v.offset)
}

// check reports an axis of negative length, and an element outside the slice.
func (v *View) check(name string) error {
	for axis, n := range v.shape {
		if n < 0 {
			return argError(name, n, 0, "%s has negative %s %d", name, axisNames[axis], n)
		}
	}
	if v.empty() {
		return nil
	}
	lo, hi := v.offset, v.offset
	if lo < 0 {
		return argError(name, lo, 0, "%s begins at element %d", name, lo)
	}
	for axis, n := range v.shape {
		span := mul(n-1, v.stride[axis])
		switch {
		case span < 0:
			lo += span
		case span > math.MaxInt-hi:
			hi = math.MaxInt
		default:
			hi += span
		}
		if lo < 0 {
			return argError(name, lo, 0, "%s reaches element %d, before the first of its slice (%s %d, stride %d)",
				name, lo, axisNames[axis], n, v.stride[axis])
		}
	}
	if hi >= v.len {
		return argError(name, hi, v.len, "%s reaches element %d, its slice has %d", name, hi, v.len)
	}
	return nil
}

// checkWritable reports a view in which two indices may name one element. The test
// is the usual one: taken by ascending stride, each axis must step over all before it.
func (v *View) checkWritable(name string) error {
	if v.empty() {
		return nil
	}
	var done [4]bool
	span := 0
	for range v.shape {
		best := -1
		for axis := range v.shape {
			if !done[axis] && (best < 0 || abs(v.stride[axis]) < abs(v.stride[best])) {
				best = axis
			}
		}
		done[best] = true
		if v.shape[best] == 1 {
			continue
		}
		if step := abs(v.stride[best]); step <= span {
			return argError(name, step, span+1, "%s overlaps itself: its %s stride is %d, at least %d is needed",
				name, axisNames[best], v.stride[best], span+1)
		}
		span += (v.shape[best] - 1) * abs(v.stride[best])
	}
	return nil
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}

// mul multiplies, saturating at the ends of int.
func mul(x ...int) int {
	p := 1
	for _, f := range x {
		hi, lo := bits.Mul(uint(abs(p)), uint(abs(f)))
		neg := (p < 0) != (f < 0)
		switch {
		case hi == 0 && lo <= math.MaxInt:
			p = int(lo)
		default:
			p = math.MaxInt
		}
		if neg {
			p = -p
		}
	}
	return p
}
