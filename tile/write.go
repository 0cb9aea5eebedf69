package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

const (
	// writeItem is the bytes of numbers that an item of a write reads: the lines of its rows, and
	// the pages that they are in, are few enough for the first-level caches where heads or tokens
	// lie far apart.
	writeItem = 64 << 10

	// writeWorth is the bytes of numbers that pay for another goroutine.
	writeWorth = 256 << 10
)

// Pages is where tokens go in a pool, turned, and converted to its type.
type Pages struct {
	Pool KV // no two elements of the runs share memory
	Runs []WriteRun
	Turned
}

// A KVWrite is keys, or values, that go into a pool of pages.
type KVWrite struct {
	Src        Operand // [1, Heads, tokens, Dim]
	Heads, Dim int     // Dim is a multiple of the values of a unit of the pool
	Pages
}

// A WriteRun is tokens that follow each other, where they come from and in a page. Those of a product
// have each of its rows once, in order, and none of them is empty.
type WriteRun struct {
	From  int   // first token, or row of a product
	Page  int32 // of the pool
	Token int   // of the page, that From goes to
	N     int   // tokens, at least 0
}

// tokens is the tokens of all runs.
func (w *KVWrite) tokens() int {
	n := 0
	for i := range w.Runs {
		n += w.Runs[i].N
	}
	return n
}

// tokenBytes is the bytes of the numbers of a token.
func (w *KVWrite) tokenBytes() int { return max(1, 4*w.Heads*w.Dim) }

// A writing is the keys and the values that one call writes.
type writing struct {
	parts [2]writePart
}

// A writePart is the keys or the values of a writing.
type writePart struct {
	KVWrite
	total int // tokens
	step  int // tokens of an item
	items int
}

// A writer is what a worker on a writing needs.
type writer struct {
	part *writePart
	run  int // that the last item ended in
	at   int // tokens of the runs before it
	args kernel.StoreArgs

	hadamard hadamarder
	turned   buffer // rows on their way
}

// Write writes keys and values into pools, converted to the types of these, with at most workers
// goroutines, the caller's among them. Either may be nil.
func (e *Engine) Write(k, v *KVWrite, workers int) {
	j := e.writes.job()
	bytes, items := int64(0), 0
	for i, w := range [...]*KVWrite{k, v} {
		if w == nil {
			continue
		}
		p := &j.operands.parts[i]
		p.KVWrite, p.total = *w, w.tokens()
		p.step = max(1, writeItem/w.tokenBytes())
		p.items = (p.total + p.step - 1) / p.step
		items += p.items
		bytes += int64(p.total) * int64(w.tokenBytes())
	}
	j.run(rowCut{items, int(bytes / int64(max(1, items))), 1, writeWorth}, workers, nil)
}

// write writes the items [from, to), those of the keys and then those of the values.
func (all *writing) write(e *Engine, w *writer, from, to int) {
	for i := from; i < to; i++ {
		if keys := &all.parts[0]; i < keys.items {
			w.item(e.set, keys, i)
		} else {
			w.item(e.set, &all.parts[1], i-keys.items)
		}
	}
}

// release drops the references to the caller's memory.
func (w *writer) release() {
	w.hadamard.release()
	*w = writer{hadamard: w.hadamard, turned: w.turned}
}

// item writes an item of a part. Those of a worker come in order.
func (w *writer) item(set *kernel.Set, p *writePart, i int) {
	if w.part != p {
		w.part, w.run, w.at = p, 0, 0
	}
	for t, end := i*p.step, min((i+1)*p.step, p.total); t < end; {
		run := p.Runs[w.run]
		if t >= w.at+run.N {
			w.at += run.N
			w.run++
			continue
		}
		skip := t - w.at
		n := min(run.N-skip, end-t)
		src := p.Src
		src.Base = p.Src.at(0, 0, run.From+skip)
		if p.turns() {
			turned := Operand{Base: unsafe.Pointer(w.turned.room(n * p.Heads * p.Dim)), Stride: [4]int{0, n * p.Dim, p.Dim, 1}}
			w.hadamard.turn(set, &p.Turned, &turned, &src, 0, p.Heads, n, p.Dim)
			src = turned
		}
		p.Pool.store(set, &w.args, &src, pagePlace{page: int(run.Page), token: run.Token + skip}, p.Heads, n, p.Dim)
		t += n
	}
}

// A pagePlace is a head and a token of a page.
type pagePlace struct{ page, head, token int }

// store writes heads of n tokens that src begins with from a place on: rows of the tokens of each head
// or, of few tokens, of the heads of each.
func (t *KV) store(set *kernel.Set, a *kernel.StoreArgs, src *Operand, to pagePlace, heads, n, dim int) {
	const head, seq = 1, 2 // axes
	if n >= heads {
		for h := range heads {
			at := to
			at.head += h
			t.storeRows(set, a, src, (*float32)(src.at(0, h, 0)), at, seq, n, dim)
		}
		return
	}
	for i := range n {
		at := to
		at.token += i
		t.storeRows(set, a, src, (*float32)(src.at(0, 0, i)), at, head, heads, dim)
	}
}

// storeRows writes n rows of src along an axis.
func (t *KV) storeRows(set *kernel.Set, a *kernel.StoreArgs, src *Operand, first *float32, to pagePlace, axis, n, dim int) {
	a.Src, a.SrcStride = first, src.Stride[axis]
	a.Dst, a.DstStride = t.at(to.page, to.head, to.token), t.Stride[axis]
	a.Scale = nil
	if t.Elem.Scale() == kernel.RowScale {
		a.Scale, a.ScaleStride = (*float32)(t.Scale.at(to.page, to.head, to.token)), t.Scale.Stride[axis]
	}
	a.Elem, a.Rows, a.Dim = t.Elem, n, dim
	if src.Stride[3] == 1 && t.dense() {
		set.Store(a)
		return
	}
	for r := range n {
		src, step, scale := floatsFrom(a.Src, r*a.SrcStride), src.Stride[3], floatsFrom(a.Scale, r*a.ScaleStride)
		a.Elem.SetRow(unsafe.Add(a.Dst, r*a.DstStride), t.Stride[3], scale, src, step, a.Dim)
	}
}
