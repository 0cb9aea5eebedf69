package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

const (
	// line is the size of the cache lines that kernels ask for.
	line = 64

	// minEvery is the least steps of a micro-tile between two lines that are asked for: some 25
	// cycles, in which memory delivers hardly more. From wholeEvery on they are a multiple of it:
	// some kernels take so many at a time.
	minEvery, wholeEvery = 2, 4

	// latePart is the part of the calls of a block in which far keys and values are asked for, the
	// last fourth. They share few sets of the second-level cache, and push out of it what was not
	// used for longest: by then those are rows of the block before, earlier packed queries and
	// outputs.
	latePart = 4
)

// A prefetcher lists the memory that is used after the present key block, and
// deals it out over the calls of that block.
type prefetcher struct {
	list  [32]kernel.Ahead
	n     int
	lines int // left, in all of the list
	calls int // left in the block
	late  int // ranges at the beginning of the list, the last to be asked for, that wait
	last  int // until so many calls are left

	gapsK, gapsV [kernel.KeyBlock]int // between rows of the next block, where they do not follow each other
}

// plan lists what comes after a key block of an item: the next block, if there is one; before the
// last block the rows of the output; and after it what the next item begins with. What is listed
// last is asked for first, and biases and masks, of which there is most, are asked for last.
//
// kv has the rows of the block, and of the next where they do not follow each other.
func (f *prefetcher) plan(at *cursor, laneGroups []laneGroup, kv *keyBlock) {
	p := &at.problem
	f.n, f.lines, f.calls, f.late = 0, 0, 2*len(laneGroups), 0
	if p.integers() { // MultiplyInt8 asks for nothing
		f.calls -= len(laneGroups)
	}
	if p.integerValues() {
		f.calls -= len(laneGroups)
	}
	if f.calls == 0 {
		return
	}
	f.last = (f.calls + latePart - 1) / latePart
	far := p.K.step() >= farValues || p.V.step() >= farValues
	last := &laneGroups[len(laneGroups)-1]
	rows := laneGroups[0].queryRows // of all lane groups
	rows.rows = last.row + last.rows - rows.row
	left := at.end - at.ahead
	if left > 0 {
		if far {
			f.addLate(at, at.ahead, kv)
		}
		f.addPairs(at, &rows, at.ahead)
	}
	if left > 0 && left <= kernel.KeyBlock || left <= 0 && at.first {
		f.addRows(at, &p.Out, &rows, p.DimV)
	}
	if left > 0 {
		if !far {
			f.addKeys(at, at.ahead, kv)
		}
		return
	}
	// Most likely the item that this worker takes next.
	i := int(at.taken.Load())
	if i >= at.sched.Items {
		return
	}
	item := *at
	row, n := item.toItem(i)
	if n == 0 {
		return
	}
	rows.head, rows.row, rows.rows = item.head, row, n
	item.walk.open(p, &item.seq, row, row+n)
	begins := item.next()
	if begins {
		if far {
			f.addLate(&item, item.key0, nil)
		}
		f.addPairs(&item, &rows, item.key0)
	}
	f.addRows(&item, &p.Q, &rows, p.DimQK)
	if begins && !far {
		f.addKeys(&item, item.key0, nil)
	}
}

// addLate is addKeys at the beginning of the list, for far rows.
func (f *prefetcher) addLate(at *cursor, key0 int, kv *keyBlock) {
	f.addKeys(at, key0, kv)
	f.late = f.n
}

// addPairs lists what there is for the pairs of query rows with the key block at key0.
func (f *prefetcher) addPairs(at *cursor, rows *queryRows, key0 int) {
	p := &at.problem
	end := min(at.seq.lenKV, key0+kernel.KeyBlock)
	if p.Bias.Given {
		size := 4
		if p.BiasFloat16 {
			size = 2
		}
		f.addTensor(at, &p.Bias, size, rows, key0, end)
	}
	if p.Mask.Bool.Given {
		f.addTensor(at, &p.Mask.Bool, 1, rows, key0, end)
	}
}

// addKeys lists the key block at key0. Of keys in several pages those that follow each other are listed, or all, on a CPU for
// [Tuning.Apart], if the block comes after that of kv.
func (f *prefetcher) addKeys(at *cursor, key0 int, kv *keyBlock) {
	p := &at.problem
	end := min(at.seq.lenKV, key0+kernel.KeyBlock)
	batch, token, run := p.place(&at.seq, key0)
	n := min(end-key0, run)
	if n <= 0 {
		return
	}
	if n < end-key0 && kv != nil && at.engine.tuning.Apart && key0 == at.key0+kernel.KeyBlock {
		f.addPages(at, &kv.v, end-key0, p.DimV, &f.gapsV)
		f.addPages(at, &kv.k, end-key0, p.DimQK, &f.gapsK)
		return
	}
	f.addKV(&p.V, batch, at.head, token, n, p.DimV)
	f.addKV(&p.K, batch, at.head, token, n, p.DimQK)
}

// addPages lists the n rows of the block after that of r, in several pages.
func (f *prefetcher) addPages(at *cursor, r *keyRows, n, dim int, gaps *[kernel.KeyBlock]int) {
	rows := r.following(at)
	if rows == nil || !r.kv.dense() || f.n == len(f.list) {
		return
	}
	f.note(unsafe.Add(r.kv.at(0, at.head, 0), rows[0]), n, 0, r.kv.rowBytes(dim))
	a := &f.list[f.n-1]
	a.Gaps = uintptr(unsafe.Pointer(gaps))
	for i := range n - 1 {
		gaps[i] = rows[i+1] - rows[i] - a.Lines*line
	}
	gaps[n-1] = 0
}

// addRows lists query rows, each in its head. Far rows are not worth it, unless the CPU is one for [Tuning.Apart]: a
// micro-tile that asks for a line of another page waits for its translation.
func (f *prefetcher) addRows(at *cursor, o *Operand, rows *queryRows, dim int) {
	if 4*abs(o.Stride[2]) >= farValues && !at.engine.tuning.Apart {
		return
	}
	first, last := rows.positions(0, rows.rows)
	for h := range rows.headsPerKV {
		f.add(o, at.seq.batch, rows.firstHead()+h, at.seq.q0+first, at.seq.q0+last+1, dim)
	}
}

// addTensor lists the elements of size bytes of query rows and the keys [key0, end).
func (f *prefetcher) addTensor(at *cursor, t *Pairs, size int, rows *queryRows, key0, end int) {
	if t.Stride[3] != 1 || t.Stride[2] == 0 {
		return
	}
	first, last := rows.positions(0, rows.rows)
	for h := range rows.headsPerKV {
		off := at.seq.index*t.Stride[0] + (rows.firstHead()+h)*t.Stride[1] + first*t.Stride[2] + key0
		f.note(unsafe.Add(t.Base, size*off), last+1-first, size*t.Stride[2], size*(end-key0))
		if t.Stride[1] == 0 {
			return
		}
	}
}

// add lists the tokens [lo, hi) of a head. Rows with gaps are not worth it.
func (f *prefetcher) add(o *Operand, batch, head, lo, hi, dim int) {
	if lo < hi && o.Stride[3] == 1 {
		f.note(o.at(batch, head, lo), hi-lo, 4*o.Stride[2], 4*dim)
	}
}

// addKV lists n rows of keys or values.
func (f *prefetcher) addKV(kv *KV, batch, head, token, n, dim int) {
	if kv.dense() {
		f.note(kv.at(batch, head, token), n, kv.Stride[2], kv.rowBytes(dim))
	}
}

// note lists rows of so many bytes. What the list has no place for is left to the
// hardware.
func (f *prefetcher) note(first unsafe.Pointer, rows, stride, bytes int) {
	if f.n == len(f.list) {
		return
	}
	base := uintptr(first)
	lines := (int(base%line) + bytes + line - 1) / line
	f.list[f.n] = kernel.Ahead{Base: base, Rows: rows, Lines: lines, Left: lines, Gap: stride - lines*line}
	f.n++
	f.lines += rows * lines
}

// linesOf returns the lines that a asks for.
func linesOf(a *kernel.Ahead) int {
	if a.Rows == 0 {
		return 0
	}
	return (a.Rows-1)*a.Lines + a.Left
}

// waits reports whether the next call asks for nothing.
func (f *prefetcher) waits() bool { return f.n <= f.late && (f.n == 0 || f.calls > f.last) }

// deal hands the last range of the list to a call of so many micro-tiles and steps of each.
func (f *prefetcher) deal(a *kernel.Ahead, tiles, steps int) {
	if f.waits() {
		a.Rows = 0
		return
	}
	*a = f.list[f.n-1]
	lines := (f.lines + f.calls - 1) / f.calls
	if f.n >= f.calls {
		lines = max(lines, linesOf(a)) // one range a call
	}
	if a.Every = max(minEvery, tiles*steps/lines); a.Every > wholeEvery {
		a.Every -= a.Every % wholeEvery
	}
}

// back takes back what the call left.
func (f *prefetcher) back(a *kernel.Ahead) {
	waited := f.waits()
	f.calls = max(1, f.calls-1)
	if waited {
		return
	}
	last := &f.list[f.n-1]
	f.lines -= linesOf(last) - linesOf(a)
	*last = *a
	if a.Rows == 0 {
		f.n--
	}
}
