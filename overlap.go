package qkv

import (
	"cmp"
	"slices"
	"unsafe"
)

// A region is the bytes of the elements of a strided tensor. Two are equal if they have the same
// elements in the same order, whatever slices and strides of single elements they are made of.
type region struct {
	extent
	size int // bytes of an element
	axes [4]regionAxis
}

// An extent is the bytes from the first to the last of a tensor.
type extent struct {
	base   unsafe.Pointer // of the first element, nil if there is none
	lo, hi int            // the first and the last byte, from base
}

// meets reports whether two extents have a byte in common.
func (e *extent) meets(o *extent) bool {
	if e.base == nil || o.base == nil {
		return false
	}
	distance := int(uintptr(o.base) - uintptr(e.base))
	return distance+o.lo <= e.hi && distance+o.hi >= e.lo
}

// extent returns that of a checked view. It costs a part of what region does.
func (v *View) extent() (e extent) {
	if e.base = v.first(); e.base == nil {
		return e
	}
	size, n := v.kind.size(), v.shape
	n[axisDim] /= v.kind.values()
	e.hi = size - 1
	for i, step := range v.stride {
		reach := (n[i] - 1) * step * size
		e.lo, e.hi = e.lo+min(0, reach), e.hi+max(0, reach)
	}
	return e
}

// floatsExtent returns that of a slice.
func floatsExtent(x []float32) (e extent) {
	if len(x) > 0 {
		e = extent{unsafe.Pointer(unsafe.SliceData(x)), 0, 4*len(x) - 1}
	}
	return e
}

// A regionAxis is so many steps of so many bytes, of either sign: 0 if there is none.
type regionAxis struct{ step, steps int }

// region returns the bytes of a checked view.
func (v *View) region() (r region) {
	if r.base = v.first(); r.base == nil {
		return r
	}
	r.size = v.kind.size()
	for i, n := range v.shape {
		if i == axisDim {
			n /= v.kind.values()
		}
		r.axes[i] = regionAxis{v.stride[i] * r.size, n - 1}
	}
	r.extend()
	return r
}

// extend sets the first and the last byte.
func (r *region) extend() {
	r.hi = r.size - 1
	for i := range r.axes {
		a := &r.axes[i]
		if a.steps == 0 {
			a.step = 0
		}
		r.lo, r.hi = r.lo+min(0, a.step*a.steps), r.hi+max(0, a.step*a.steps)
	}
}

// region returns the bytes of a checked matrix of float32, none of one that is not given.
func (m *Matrix) region() (r region) {
	if !m.given() || m.weights != nil {
		return r
	}
	return floatAxes(unsafe.Pointer(&m.data[m.offset]), regionAxis{4 * m.rowStride, m.rows - 1}, regionAxis{4 * m.colStride, m.cols - 1})
}

// floatAxes returns the bytes of float32 values along two axes.
func floatAxes(base unsafe.Pointer, rows, cols regionAxis) (r region) {
	r.base, r.size, r.hi = base, 4, 3
	for i, a := range [2]regionAxis{rows, cols} {
		if a.steps != 0 {
			reach := a.step * a.steps
			r.axes[i], r.lo, r.hi = a, r.lo+min(0, reach), r.hi+max(0, reach)
		}
	}
	return r
}

// floatsRegion returns the bytes of a slice.
func floatsRegion(x []float32) (r region) {
	if len(x) > 0 {
		r = region{extent: floatsExtent(x), size: 4, axes: [4]regionAxis{{4, len(x) - 1}}}
	}
	return r
}

// bytesRegion returns those of a slice of bytes.
func bytesRegion(x []byte) (r region) {
	if len(x) > 0 {
		r = region{extent: extent{base: unsafe.Pointer(unsafe.SliceData(x))}, size: len(x)}
		r.extend()
	}
	return r
}

// A sharing says what two regions have in common, as the end of a message about both.
type sharing string

const (
	apart   sharing = ""
	shared  sharing = "share elements"
	unclear sharing = "have strides too irregular to tell whether they share elements"
)

// shares finds out whether two regions have a byte in common. The tensors of a fused projection
// interleave and do not. It is unclear for strides alone that lay out no tensor: those of long
// axes that are neither multiples of each other nor larger than what lies within one step.
func (r *region) shares(o *region) sharing {
	if !r.meets(&o.extent) {
		return apart
	}
	// A byte of both is at r.base + Σ x[i]*step[i] + b = o.base + Σ y[i]*step[i] + c. With steps
	// made positive, and y turned round, the sum of all terms is to be target.
	var s search
	target := int(uintptr(o.base) - uintptr(r.base))
	for _, a := range r.axes {
		if a.step < 0 {
			target -= a.step * a.steps
		}
		s.add(abs(a.step), a.steps)
	}
	for _, a := range o.axes {
		if a.step > 0 {
			target += a.step * a.steps
		}
		s.add(abs(a.step), a.steps)
	}
	target += o.size - 1
	s.add(1, r.size-1+o.size-1)
	s.prepare()
	switch found := s.reach(0, target); {
	case s.left < 0:
		return unclear
	case found:
		return shared
	}
	return apart
}

// A search is that for a sum of terms, each of up to so many steps.
type search struct {
	terms [9]regionAxis // the largest step first
	n     int
	rest  [9]int // the most of the terms behind
	slack int    // the most of the last one, if its step is a byte
	unit  [9]int // a multiple of it, and up to slack, is the sum of this term and those behind
	left  int    // tries: half a millisecond
}

// prepare sets the terms in order, and what bounds the tries.
func (s *search) prepare() {
	terms := s.terms[:s.n]
	slices.SortFunc(terms, func(a, b regionAxis) int { return cmp.Compare(b.step, a.step) })
	s.left = 1 << 16
	rest, unit := 0, 0
	for i := len(terms) - 1; i >= 0; i-- {
		t := &terms[i]
		s.rest[i] = rest
		rest += t.step * t.steps
		if t.step == 1 {
			s.slack, s.unit[i] = t.steps, 1
			continue
		}
		unit = gcd(unit, t.step)
		s.unit[i] = unit
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// add adds a term, or steps to one of the same size.
func (s *search) add(step, steps int) {
	if step == 0 || steps == 0 {
		return
	}
	for i := range s.terms[:s.n] {
		if s.terms[i].step == step {
			s.terms[i].steps += steps
			return
		}
	}
	s.terms[s.n] = regionAxis{step, steps}
	s.n++
}

// reach reports whether the terms from one on can make a sum. Where each step is larger than all
// that is behind it, as in tensors, there are a few tries at each.
func (s *search) reach(term, sum int) bool {
	if term == s.n {
		return sum == 0
	}
	if sum%s.unit[term] > s.slack {
		return false
	}
	t := &s.terms[term]
	for x := min(t.steps, sum/t.step); x >= 0 && sum-x*t.step <= s.rest[term]; x-- {
		if s.left--; s.left < 0 {
			return false
		}
		if s.reach(term+1, sum-x*t.step) {
			return true
		}
	}
	return false
}

// checkApart reports an output and another operand that share memory, or may.
func checkApart(name string, out *region, other string, r *region) error {
	if how := out.shares(r); how != apart {
		return argError(name, 0, 0, "%s and %s %s", name, other, how)
	}
	return nil
}

// checkFloatsApart reports an output that shares memory with a slice. Most do not, which their extents say.
func checkFloatsApart(name string, out *region, other string, x []float32) error {
	if e := floatsExtent(x); !out.meets(&e) {
		return nil
	}
	r := floatsRegion(x)
	return checkApart(name, out, other, &r)
}

// checkViewApart reports an output that shares memory with a checked view, or may. Most do not, which their extents say.
func checkViewApart(name string, out *region, other string, v *View) error {
	if e := v.extent(); !out.meets(&e) {
		return nil
	}
	r := v.region()
	return checkApart(name, out, other, &r)
}

// checkApart reports an output that shares memory with a matrix of any type, or may.
func (m *Matrix) checkApart(name string, out *region, other string) error {
	if m.weights != nil {
		return checkWeightsApart(name, out, other, &m.weights.WeightRows)
	}
	r := m.region()
	return checkApart(name, out, other, &r)
}
