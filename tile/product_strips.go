package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// inStrips reports whether the weights of the part are packed in their type.
func (p *Part) inStrips() bool { return p.Panels != nil && p.Strips != kernel.WeightFloat32 }

// stripLanes returns the lanes of strips of heads of so many columns. Wider ones are for heads whose layouts all have
// whole lane groups, or whole strips of them.
func stripLanes(set *kernel.Set, width int) int {
	if width%set.Lanes == 0 {
		return set.StripLanes
	}
	return set.Vec
}

// strips returns the first step of a panel in strips.
func (p *panel) strips(set *kernel.Set, depth int) storedStep {
	vec := stripLanes(set, p.Width)
	return storedStep{
		at: p.panelAt(p, depth), rows: p.lanes / vec, stride: p.packedBytes(depth) * vec,
		bytes: p.packedBytes(min(depth, kernel.KC)) * vec,
	}
}

// A stripper is the arguments of calls over strips, of a worker.
type stripper struct {
	few    kernel.MultiplyStripsArgs
	values kernel.DequantizeStripsArgs
}

// release drops the references to the caller's memory.
func (s *stripper) release() {
	s.few.Src, s.few.A, s.few.C, s.few.Bias = nil, nil, nil, nil
	s.values.Src, s.values.Dst = nil, nil
}

// step has few rows be multiplied by depth rows of a panel, from row k on, of weights of so many rows.
func (s *stripper) step(set *kernel.Set, p *panel, weights unsafe.Pointer, k, depth, rows int) {
	a, vec := &s.few, stripLanes(set, p.Width)
	a.Type, a.Vec, a.StripBytes = p.Strips, vec, p.packedBytes(rows)*vec
	a.Src = (*byte)(unsafe.Add(weights, p.packedBytes(k)*vec))
	a.Depth, a.Lanes = depth, p.lanes
}

// multiply multiplies few rows by what step has set.
func (s *stripper) multiply(set *kernel.Set, m *kernel.MultiplyArgs, near bool) {
	a := &s.few
	a.Near = near
	a.RowStride, a.Stride, a.Bias, a.Add = m.RowStride, m.Stride, m.Bias, m.Add
	for row := 0; row < m.Rows; row += kernel.MaxStripRows {
		a.Rows = min(kernel.MaxStripRows, m.Rows-row)
		a.A, a.C = ptr.At(m.A, row*m.RowStride), ptr.At(m.C, row*m.Stride)
		set.MultiplyStrips(a)
	}
}

// stripPanels computes panels of Y where they are, for few rows by strips: from panel i up to panel end, of which no more than
// a few. It returns the one behind the last. What comes next is asked for on the way, as strips follow each other in memory,
// and one call goes through them without a pause in which nothing is.
func (j *productJob) stripPanels(ws *productWorkspace, l *layout, at *panel, weights unsafe.Pointer, row, rows, i, end int) int {
	most := 8 // panels of a call, after which a product may end
	if rows > kernel.MaxStripRows {
		most = 1 // the second turn of rows finds the panel in the second-level cache
	}
	set, a, depth := j.engine.set, &ws.args, j.product.Depth
	ws.strips.step(set, at, weights, 0, depth, depth)
	lanes := &ws.strips.few.Lanes
	for n := 1; ; n++ {
		if i++; i == end || n == most || at.cols < at.lanes {
			break
		}
		next := at.Part.panel(l, i)
		if next.out = at.out; next.cols < next.lanes || uintptr(next.first()) != uintptr(at.first())+uintptr(4**lanes) {
			break
		}
		*lanes += next.lanes
	}
	j.engine.phase(j.product.phase())
	a.RowStride, a.ColStride, a.Add, a.Bias = j.product.X.Row, 1, at.Add, ws.laneBias(at)
	for r := 0; r < rows; {
		n, stride := at.out.run(row+r, rows-r)
		a.A, a.Rows = (*float32)(j.product.X.at(row+r, 0)), n
		a.C, a.Stride = (*float32)(at.at(row+r)), stride
		ws.strips.multiply(set, a, j.engine.tuning.Near)
		r += n
	}
	return i
}

// dequantize makes float32 of depth rows of a panel, from row k on, of weights of so many rows, in dst
// [depth][lanes].
func (s *stripper) dequantize(set *kernel.Set, dst *float32, p *panel, weights unsafe.Pointer, k, depth, rows int) {
	a, vec := &s.values, stripLanes(set, p.Width)
	a.Type, a.Vec, a.StripBytes = p.Strips, vec, p.packedBytes(rows)*vec
	a.Src = (*byte)(unsafe.Add(weights, p.packedBytes(k)*vec))
	a.Depth, a.Lanes, a.Dst, a.Stride = depth, p.lanes, dst, p.lanes
	set.DequantizeStrips(a)
}

// packStrips packs the strips of a panel.
func (p *panel) packStrips(dst unsafe.Pointer, set *kernel.Set, depth int) {
	vec := stripLanes(set, p.Width)
	size := p.packedBytes(depth) * vec
	strips := unsafe.Slice((*byte)(unsafe.Add(dst, p.packedBytes(depth)*p.before)), size*p.lanes/vec)
	for l := 0; l < p.lanes; l += vec {
		first := p.W.First + (p.col()+l)*p.W.Col
		p.W.Weights.PackStrip(strips[l/vec*size:][:size], vec, first, min(vec, p.cols-l), depth)
	}
}

// KeepsType reports whether weights of depth rows can be packed in strips of their type: those that are stored
// [out, in] in a type that there are strips of, whole blocks of each row.
func (m *Matrix) KeepsType(depth int) bool {
	w := m.Weights
	return w != nil && w.Type.Strip().SubBlock > 0 && m.Row == 1 && m.Col == w.Cols &&
		m.First%w.Type.Values() == 0 && depth%w.Type.Values() == 0
}

// PackedValues writes a column of packed weights to dst, whose elements are stride apart: of those of the part,
// of depth rows.
func PackedValues(dst *float32, stride int, set *kernel.Set, p *Part, depth, col int) {
	l := newLayout(set.Vec, set.Lanes, p.Width)
	head, dim := col/p.Width, col%p.Width
	i := l.panelOf(dim)
	before, lanes := l.panel(i)
	if p.Pairs {
		first := ptr.At((*float32)(p.Panels), (depth+1)/2*(head*l.lanes()+before)+dim-before)
		for k := range depth {
			var pair [2]float32
			pair[0], pair[1] = kernel.Split(math.Float32bits(*ptr.At(first, k/2*lanes)))
			*ptr.At(dst, k*stride) = pair[k%2]
		}
		return
	}
	if !p.inStrips() {
		first := ptr.At((*float32)(p.Panels), depth*(head*l.lanes()+before)+dim-before)
		for k := range depth {
			*ptr.At(dst, k*stride) = *ptr.At(first, k*lanes)
		}
		return
	}
	at := head*l.lanes() + dim // the lane
	vec := stripLanes(set, p.Width)
	strip := (*byte)(unsafe.Add(p.Panels, p.packedBytes(depth)*(at/vec*vec)))
	var values [kernel.KC]float32
	for k := 0; k < depth; k += kernel.KC {
		part := values[:min(kernel.KC, depth-k)]
		p.Strips.StripValues(part, ptr.At(strip, p.packedBytes(k)*vec), vec, at%vec)
		for i, x := range part {
			*ptr.At(dst, (k+i)*stride) = x
		}
	}
}
