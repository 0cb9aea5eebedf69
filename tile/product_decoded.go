package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// fewDecoded is the most rows of X for which a step of a panel of weights that are dequantised has no
// more lanes than the first-level cache holds. More rows read it so often that wider micro-tiles, which
// read X less often, are as fast.
const fewDecoded = 32

// decodedLanes is the lanes of a panel whose steps go through the first-level cache: two thirds of it.
func (e *Engine) decodedLanes() int {
	vec := e.set.Vec
	return min(e.set.Lanes, max(1, e.caches.L1*2/3/(4*kernel.KC*vec))*vec)
}

// A dequantizer makes float32 of weights of other types, for a worker.
type dequantizer struct {
	args   kernel.DequantizeArgs
	scales [kernel.MaxLanes]float32 // of integers
	block  buffer                   // a block of each lane, of which a part is needed
	vector buffer                   // a vector of lanes, some of which are needed
}

// release drops the references to the caller's memory.
func (d *dequantizer) release() { d.args.Src, d.args.Dst = nil, nil }

// pack packs depth rows of the weights of a panel, from row k on, into dst [depth][lanes].
func (d *dequantizer) pack(set *kernel.Set, dst *float32, p *panel, k, depth int) {
	w, r := &p.W, p.W.Weights
	first := w.First + k*w.Row + p.col()*w.Col
	if w.Col == 1 { // rows of lanes already
		for i := range depth {
			to := unsafe.Slice(ptr.At(dst, i*p.lanes), p.lanes)
			r.Values(to[:p.cols], first+i*w.Row)
			clear(to[p.cols:])
		}
		return
	}
	b := storedBlock{WeightRows: r, row: first / r.Cols, step: 1, col: first % r.Cols, depth: depth}
	whole := p.cols / set.Vec * set.Vec
	if whole > 0 {
		d.dequantize(set, dst, p.lanes, whole, b)
	}
	if whole < p.cols {
		b.row += whole
		d.rest(set, ptr.At(dst, whole), p, p.cols-whole, b)
	}
}

// A storedBlock is a block of weights: rows, each of which is a column of a product, so many rows apart,
// and of each so many values from a column on.
type storedBlock struct {
	*kernel.WeightRows
	row, step  int
	col, depth int
}

// rest dequantises fewer rows than a vector has lanes. Together with those before or behind them they
// fill one.
func (d *dequantizer) rest(set *kernel.Set, dst *float32, p *panel, n int, b storedBlock) {
	vec := set.Vec
	all := len(b.Data) / b.rowBytes()
	vector := d.vector.room(b.depth * vec)
	lanes := func(from, n, to int) {
		for k := range b.depth {
			copy(unsafe.Slice(ptr.At(dst, k*p.lanes+to), n), unsafe.Slice(ptr.At(vector, k*vec+from), n))
		}
	}
	if row := b.row; all >= vec {
		b.row = min(row, all-vec)
		d.dequantize(set, vector, vec, vec, b)
		lanes(row-b.row, n, 0)
	} else { // each fills one
		b.step = 0
		for i := range n {
			b.row = row + i
			d.dequantize(set, vector, vec, vec, b)
			lanes(0, 1, i)
		}
	}
	for k := range b.depth {
		clear(unsafe.Slice(ptr.At(dst, k*p.lanes+n), vec-n))
	}
}

// rowBytes is the bytes of a row.
func (b *storedBlock) rowBytes() int { return b.Cols / b.Type.Values() * b.Type.Bytes() }

// dequantize makes float32 of a block: whole blocks of the type in place, and parts of one by way of all
// of it. dst is [depth][stride].
func (d *dequantizer) dequantize(set *kernel.Set, dst *float32, stride, lanes int, b storedBlock) {
	values, size := b.Type.Values(), b.rowBytes()
	a := &d.args
	a.Type, a.RowBytes, a.Lanes, a.Scales = b.Type, b.step*size, lanes, nil
	for b.depth > 0 {
		n := min(b.depth, kernel.KC)
		if b.Type == kernel.WeightInt8 {
			n = min(n, b.GroupSize-b.col%b.GroupSize)
			d.scale(lanes, &b)
		}
		a.Src = &b.Data[b.row*size+b.col/values*b.Type.Bytes()]
		if skip := b.col % values; skip > 0 || n < values {
			n = min(n, values-skip)
			block := d.block.room(values * lanes)
			a.Depth, a.Dst, a.Stride = values, block, lanes
			set.Dequantize(a)
			for i := range n {
				copy(unsafe.Slice(ptr.At(dst, i*stride), lanes), unsafe.Slice(ptr.At(block, (skip+i)*lanes), lanes))
			}
		} else {
			n -= n % values
			a.Depth, a.Dst, a.Stride = n, dst, stride
			set.Dequantize(a)
		}
		dst = ptr.At(dst, n*stride)
		b.col, b.depth = b.col+n, b.depth-n
	}
}

// scale has the integers of the group that a block begins in be multiplied by their scales.
func (d *dequantizer) scale(lanes int, b *storedBlock) {
	perRow := (b.Cols-1)/b.GroupSize + 1
	at := b.row*perRow + b.col/b.GroupSize
	for i := range lanes {
		d.scales[i] = b.Scales[at+i*b.step*perRow]
	}
	d.args.Scales = &d.scales[0]
}

// A storedStep is the memory of a step of weights that are dequantised: the first bytes of rows.
type storedStep struct {
	at            unsafe.Pointer
	rows          int // 0 of weights that are not read so
	stride, bytes int
}

// stored returns the first step of a panel.
func (p *panel) stored(depth int) storedStep {
	w, r := &p.W, p.W.Weights
	if r == nil || w.Col == 1 {
		return storedStep{}
	}
	values, size := r.Type.Values(), r.Type.Bytes()
	first := w.First + p.col()*w.Col
	row := r.Cols / values * size
	return storedStep{
		at: unsafe.Pointer(&r.Data[first/r.Cols*row+first%r.Cols/values*size]), rows: p.cols,
		stride: row, bytes: (min(depth, kernel.KC) + values - 1) / values * size,
	}
}

// ask has Multiply ask for the step while it multiplies so many rows by what its arguments say.
func (s *storedStep) ask(a *kernel.MultiplyArgs, rows int) {
	a.Next = uintptr(s.at)
	a.NextEnd = a.Next + uintptr(s.bytes)
	a.Then, a.ThenRows, a.ThenStride, a.ThenBytes = a.Next+uintptr(s.stride), s.rows-1, s.stride, s.bytes
	a.NextRow = (s.rows*s.bytes*kernel.KC + rows*a.Depth - 1) / (rows * a.Depth)
}
