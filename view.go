package qkv

import (
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// Element is the constraint of the element types that a [View] may have.
type Element interface {
	float32 | Float16 | BFloat16 | int8 | BlockQ8_0 | Float8E4M3 | Float8E5M2 | BlockQ4_0 | BlockQ4_1 | bool
}

// An elemKind is the element type of a View: a [kernel.Elem], or kindBool.
type elemKind int

const (
	kindFloat32 = elemKind(kernel.Float32)
	kindFloat16 = elemKind(kernel.Float16)

	kindBool elemKind = -1
)

func (k elemKind) String() string {
	if k == kindBool {
		return "bool"
	}
	return k.elem().String()
}

// size returns the bytes of an element of the slice.
func (k elemKind) size() int {
	if k == kindBool {
		return 1
	}
	return k.elem().Unit()
}

// values returns the values of an element of the slice along head dim.
func (k elemKind) values() int {
	if k == kindBool {
		return 1
	}
	return k.elem().UnitValues()
}

// elem returns the type as kernels know it, other than for bool.
func (k elemKind) elem() kernel.Elem { return kernel.Elem(k) }

func kindOf[T Element]() elemKind {
	switch any(*new(T)).(type) {
	case Float16:
		return kindFloat16
	case BFloat16:
		return elemKind(kernel.BFloat16)
	case int8:
		return elemKind(kernel.Int8)
	case BlockQ8_0:
		return elemKind(kernel.Q8_0)
	case Float8E4M3:
		return elemKind(kernel.E4M3)
	case Float8E5M2:
		return elemKind(kernel.E5M2)
	case BlockQ4_0:
		return elemKind(kernel.Q4_0)
	case BlockQ4_1:
		return elemKind(kernel.Q4_1)
	case bool:
		return kindBool
	}
	return kindFloat32
}

// A View is a strided tensor over a slice that the caller owns: of shape [batch, heads,
// seq, dim], or [batch, heads, seqQ, seqKV] where there is an element for each pair of a
// query and a key. It copies nothing. Whether it stays inside its slice is checked
// where it is used. The zero View is no tensor.
type View struct {
	data   unsafe.Pointer
	len    int // elements of the slice
	offset int // element (0, 0, 0, 0)
	shape  [4]int
	stride [4]int // in elements
	kind   elemKind
}

// Axes of a View.
const (
	axisBatch = iota
	axisHeads
	axisSeq
	axisDim
)

// axisNames names the axes of operands, pairAxisNames those of a View of pairs.
var (
	axisNames     = [4]string{"batch", "heads", "sequence length", "head dim"}
	pairAxisNames = [4]string{"batch", "heads", "query length", "key length"}
)

// Strided returns a view of data whose element (b, h, s, d) is
//
//	data[offset + b*stride[0] + h*stride[1] + s*stride[2] + d*stride[3]]
//
// Shape and stride are in the order batch, heads, seq, dim, whatever the order in
// memory; strides are in elements. A stride may be 0 (the axis is broadcast) or
// negative. Of a view of blocks ([BlockQ8_0], [BlockQ4_0], [BlockQ4_1]), the shape has the head
// dim in values, a multiple of 32, and the strides are in blocks.
func Strided[T Element](data []T, offset int, shape, stride [4]int) View {
	return View{
		data:   unsafe.Pointer(unsafe.SliceData(data)),
		len:    len(data),
		offset: offset,
		shape:  shape,
		stride: stride,
		kind:   kindOf[T](),
	}
}

// BHSD returns a view of contiguous data laid out [batch, heads, seq, dim].
func BHSD[T Element](data []T, batch, heads, seq, dim int) View {
	return Strided(data, 0,
		[4]int{batch, heads, seq, dim},
		[4]int{mul(heads, seq, units[T](dim)), mul(seq, units[T](dim)), units[T](dim), 1})
}

// units returns the elements of a row of dim values.
func units[T Element](dim int) int {
	if n := kindOf[T]().values(); n > 1 {
		return (dim + n - 1) / n
	}
	return dim
}

// BSHD returns a view of contiguous data laid out [batch, seq, heads, dim], which is
// also [batch, seq, hidden] with hidden = heads*dim.
func BSHD[T Element](data []T, batch, seq, heads, dim int) View {
	return Strided(data, 0,
		[4]int{batch, heads, seq, dim},
		[4]int{mul(seq, heads, units[T](dim)), units[T](dim), mul(heads, units[T](dim)), 1})
}

// THD returns a view of contiguous data laid out [tokens, heads, dim]: the sequences of
// a ragged batch one behind the other, see [Call].CuLensQ.
func THD[T Element](data []T, tokens, heads, dim int) View {
	return BSHD(data, 1, tokens, heads, dim)
}

// Pairs returns a view of contiguous data laid out [batch, heads, seqQ, seqKV]. For a
// mask or a bias, batch, heads and each of the lengths may be 1 where all share it.
func Pairs[T Element](data []T, batch, heads, seqQ, seqKV int) View {
	return BHSD(data, batch, heads, seqQ, seqKV)
}

// PackedQKV returns views of the queries, keys and values of contiguous data laid
// out [batch, seq, heads+2*kvHeads, dim]: what one fused projection writes.
func PackedQKV[T Element](data []T, batch, seq, heads, kvHeads, dim int) (q, k, v View) {
	head := units[T](dim)
	row := mul(heads+2*kvHeads, head)
	stride := [4]int{mul(seq, row), head, row, 1}
	q = Strided(data, 0, [4]int{batch, heads, seq, dim}, stride)
	k = Strided(data, mul(heads, head), [4]int{batch, kvHeads, seq, dim}, stride)
	v = Strided(data, mul(heads+kvHeads, head), [4]int{batch, kvHeads, seq, dim}, stride)
	return q, k, v
}

// Shape returns the lengths of the axes batch, heads, seq and dim.
func (v View) Shape() [4]int { return v.shape }

// Strides returns the distances, in elements, between neighbours along each axis.
func (v View) Strides() [4]int { return v.stride }

// given reports whether there is a view at all.
func (v *View) given() bool { return v.data != nil || *v != View{} }

// empty reports whether the view has no element.
func (v *View) empty() bool {
	return v.shape[0] == 0 || v.shape[1] == 0 || v.shape[2] == 0 || v.shape[3] == 0
}

// first returns the address of element (0, 0, 0, 0), nil for an empty view.
func (v *View) first() unsafe.Pointer {
	if v.empty() {
		return nil
	}
	return unsafe.Add(v.data, v.kind.size()*v.offset)
}

// operand returns the float32 values of a view.
func (v *View) operand() tile.Operand { return tile.Operand{Base: v.first(), Stride: v.stride} }

// elements returns the slice of a view of that type.
func elements[T Element](v *View) []T { return unsafe.Slice((*T)(v.data), v.len) }

// floats returns the slice of a view of float32.
func (v *View) floats() []float32 { return elements[float32](v) }

// check reports a view that is not given, an axis of negative length, and an element outside the
// slice.
func (v *View) check(name string, axes *[4]string) error {
	if !v.given() {
		return argError(name, 0, 1, "%s is not given", name)
	}
	for axis, n := range v.shape {
		if n < 0 {
			return argError(name, n, 0, "%s has %s %d, at least 0 is needed", name, axes[axis], n)
		}
	}
	if v.empty() {
		return nil
	}
	if n, dim := v.kind.values(), v.shape[axisDim]; dim%n != 0 {
		return argError(name, dim, n, "%s has %s %d, not a multiple of the %d of a block", name, axes[axisDim], dim, n)
	}
	lo, hi := v.offset, v.offset
	if lo < 0 {
		return argError(name, lo, 0, "%s begins at element %d, at least 0 is needed", name, lo)
	}
	for axis, n := range v.shape {
		if axis == axisDim {
			n /= v.kind.values()
		}
		span := times(n-1, v.stride[axis])
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
				name, lo, axes[axis], n, v.stride[axis])
		}
	}
	if hi >= v.len {
		return argError(name, hi, v.len, "%s reaches element %d, its slice has %d", name, hi, v.len)
	}
	return nil
}

// checkKind reports elements of another type than those wanted.
func (v *View) checkKind(name string, want ...elemKind) error {
	if slices.Contains(want, v.kind) {
		return nil
	}
	names := want[0].String()
	for _, k := range want[1:] {
		names += " or " + k.String()
	}
	return argError(name, int(v.kind), int(want[0]), "%s has elements of type %v, %s is needed", name, v.kind, names)
}

// checkWritable reports a view in which two indices may name one element. The test
// is the usual one: taken by ascending stride, each axis must step over all before it.
func (v *View) checkWritable(name string, axes *[4]string) error {
	if v.empty() {
		return nil
	}
	var done [4]bool
	span := 0
	shape := v.shape
	shape[axisDim] /= v.kind.values()
	for range shape {
		best := -1
		for axis := range shape {
			if !done[axis] && (best < 0 || abs(v.stride[axis]) < abs(v.stride[best])) {
				best = axis
			}
		}
		done[best] = true
		if shape[best] == 1 {
			continue
		}
		if step := abs(v.stride[best]); step <= span {
			return argError(name, step, span+1, "%s overlaps itself: its %s stride is %d, at least %d is needed",
				name, axes[best], v.stride[best], span+1)
		}
		span += (shape[best] - 1) * abs(v.stride[best])
	}
	return nil
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}

// times is mul of two numbers, quick where both are small, as those of most views are.
func times(a, b int) int {
	const half = 1 << (bits.UintSize/2 - 1)
	if -half <= a && a < half && -half <= b && b < half {
		return a * b
	}
	return mul(a, b)
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
