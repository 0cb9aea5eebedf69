package tile

import (
	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// A Rotary is the tables of a rotary position embedding.
type Rotary struct {
	Cos, Sin []float32 // [positions][Pairs]
	Pairs    int       // of a head, its first elements
	Pairing  kernel.Pairing
}

// positionRun returns the position of token s, and how many tokens from it on, below end, have
// positions that go up by 1. Positions of nil are those of the tokens.
func positionRun(positions []int, s, end int) (first, n int) {
	if positions == nil {
		return s, end - s
	}
	for n = 1; s+n < end && positions[s+n] == positions[s]+n; n++ {
	}
	return positions[s], n
}

// A Rotation is queries or keys that are rotated where they are.
type Rotation struct {
	X                 Operand // no two elements share memory
	Batch, Heads, Seq int     // at least 1
	Rotary            *Rotary

	Done Done
}

const (
	// rotateItem is about the elements that an item of a Rotation rotates, or a token, if it has more.
	rotateItem = 1 << 14

	// rotateWorth is the elements that pay for another goroutine.
	rotateWorth = 1 << 16
)

// A rotating is a Rotation, and the positions of its tokens.
type rotating struct {
	Rotation
	positions []int // nil for none
	kept      []int // memory for a copy of them: what is kept of an argument would escape
}

// forget drops the references to the caller's memory.
func (r *rotating) forget() { *r = rotating{kept: r.kept} }

// Rotate rotates with at most workers goroutines, the caller's among them, and reports whether all of
// it is done. If it is not, since r.Done was closed, each token is either rotated or as it was. Positions
// are those of the tokens: [Seq], the same in each sequence, or [Batch*Seq]; nil means 0 to Seq-1.
func (e *Engine) Rotate(r *Rotation, positions []int, workers int) bool {
	j := e.rotations.job()
	o := &j.operands
	o.Rotation, o.kept = *r, kernel.Append(o.kept[:0], positions)
	if positions != nil {
		o.positions = o.kept
	}
	cut := rowCut{r.Batch * r.Seq, r.Heads * 2 * r.Rotary.Pairs, rotateItem, rotateWorth}
	return j.run(cut, workers, r.Done)
}

// rotate rotates the tokens [row, end), those of all sequences counted.
func (r *rotating) rotate(e *Engine, a *kernel.RotaryArgs, row, end int) {
	for row < end {
		s := row % r.Seq
		n := min(end-row, r.Seq-s)
		x := r.X
		x.Base = r.X.at(row/r.Seq, 0, s)
		if len(r.positions) > r.Seq { // of each sequence
			s = row
		}
		r.Rotary.sequence(e.set, a, &x, r.Heads, r.positions, s, n)
		row += n
	}
}

// sequence rotates all heads of n tokens of a sequence in place, of which x begins with the first. Its
// position is that at the index s, which is the position itself if there are no others.
func (r *Rotary) sequence(set *kernel.Set, a *kernel.RotaryArgs, x *Operand, heads int, positions []int, s, n int) {
	o := *x
	for i := 0; i < n; {
		first, run := positionRun(positions, s+i, s+n)
		o.Base = x.at(0, 0, i)
		r.tokens(set, a, &o, heads, run, first)
		i += run
	}
}

// tokens rotates all heads of n tokens in place, at the positions from one on. x begins with the
// first of them. The rows of a call into the kernel set are what lies closer together, tokens or heads.
func (r *Rotary) tokens(set *kernel.Set, a *kernel.RotaryArgs, x *Operand, heads, n, position int) {
	const head, seq, dim = 1, 2, 3 // axes
	row := func(h, s int) *float32 { return (*float32)(x.at(0, h, s)) }
	if x.Stride[dim] != 1 {
		for h := range heads {
			for i := range n {
				r.strided(row(h, i), x.Stride[dim], position+i)
			}
		}
		return
	}
	if n == 1 || heads > 1 && abs(x.Stride[head]) < abs(x.Stride[seq]) {
		for i := range n {
			r.rows(set, a, row(0, i), heads, x.Stride[head], position+i, 0)
		}
		return
	}
	for h := range heads {
		r.rows(set, a, row(h, 0), n, x.Stride[seq], position, r.Pairs)
	}
}

// rows rotates rows in place. The first is at a position; the tables of each next row are tableStride
// elements on.
func (r *Rotary) rows(set *kernel.Set, a *kernel.RotaryArgs, p *float32, rows, stride, position, tableStride int) {
	table := position * r.Pairs
	*a = kernel.RotaryArgs{
		X: p, XStride: stride, Y: p, YStride: stride,
		Cos: &r.Cos[table], Sin: &r.Sin[table], TableStride: tableStride,
		Rows: rows, Pairs: r.Pairs, Pairing: r.Pairing,
	}
	set.Rotary(a)
}

// strided rotates a row in place whose elements are stride apart.
func (r *Rotary) strided(p *float32, stride, position int) {
	second, step := r.Pairs, 1 // from the first element of a pair, and to the next pair
	if r.Pairing == kernel.Interleaved {
		second, step = 1, 2
	}
	cos, sin := r.Cos[position*r.Pairs:][:r.Pairs], r.Sin[position*r.Pairs:][:r.Pairs]
	for i := range cos {
		x0, x1 := ptr.At(p, i*step*stride), ptr.At(p, (i*step+second)*stride)
		*x0, *x1 = fp.Rotate(*x0, *x1, cos[i], sin[i])
	}
}
