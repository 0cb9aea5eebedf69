package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel"
)

// An integerAsker asks for rows that are wanted later, a few with each part of the work, and of each row one line behind the
// other. Zen 5 reads a stream of lines in the order of memory while it computes. One line of each row and then the next
// line of each, or many lines at a time, it reads as if nothing were computed meanwhile.
type integerAsker struct {
	*Func
	off   Int    // Off of the next row to ask for, moved on
	end   string // where it ends: that of a multiple of askedRows rows from the first
	lines string // where the lines of a row are, at least 1
	base  string // where what Off counts from is
	most  int    // lines of a row that are asked for without a loop, at least 2
	tmp   Int    // scratch

	// Of rows of more lines: where a register is kept that counts them. "" if there are none.
	kept    string
	counter Int
}

// askedRows is how many rows are asked for at a time if they have less than the most lines, and otherwise it is half as many.
const askedRows = 4

// askedLines returns the lines of a row of 128 dims.
func askedLines(e kernel.Elem) int { return (e.RowBytes(128) + cacheLine - 1) / cacheLine }

// some asks for the next rows, if there are some. name makes labels of their own.
func (r *integerAsker) some(name func(label string) string) {
	far, done := name("AskFar"), name("Asked")
	r.Op("CMPQ", r.off, r.end)
	r.Op("JGE", done)
	r.Op("CMPB", r.arg("Near"), 0)
	r.Op("JEQ", far)
	r.rows(r.PrefetchNear, done, name)
	r.Label(far)
	r.rows(r.Prefetch, done, func(label string) string { return name("Far" + label) })
	r.Label(done)
}

// rows asks for the next rows by ask, and jumps to done.
func (r *integerAsker) rows(ask func(f *Func, addr string), done string, name func(label string) string) {
	fewer := name("AskFewer")
	r.Op("CMPQ", r.lines, r.most)
	r.Op("JNE", fewer)
	row := func(i int) {
		r.Op(r.Mov, mem(r.off, 8*i), r.tmp)
		r.AddMem(r.Func, r.base, r.tmp)
	}
	rows := func(n, lines int) {
		for i := range n {
			row(i)
			for line := range lines {
				ask(r.Func, mem(r.tmp, line*cacheLine))
			}
		}
		r.Op(r.Add, 8*n, r.off)
		r.Jump(done)
	}
	rows(askedRows/2, r.most)
	r.Label(fewer)
	if r.kept == "" {
		rows(askedRows, r.most-1)
		return
	}
	more := name("AskMore")
	r.Op("JGT", more)
	rows(askedRows, r.most-1)
	r.Label(more)
	r.Op(r.Mov, r.counter, r.kept)
	for i := range askedRows / 2 {
		row(i)
		r.Op(r.Mov, r.lines, r.counter)
		line := name(fmt.Sprint("AskLine", i))
		r.Loop(line)
		ask(r.Func, mem(r.tmp, 0))
		r.Op(r.Add, cacheLine, r.tmp)
		r.Countdown(r.counter, line)
	}
	r.Op(r.Mov, r.kept, r.counter)
	r.Op(r.Add, 8*askedRows/2, r.off)
	r.Jump(done)
}

// rowLines makes of a number of dims the lines of a row of a type that begins with one, or of its last one.
func (f *Func) rowLines(e kernel.Elem, dims Int) {
	if e != kernel.Int8 {
		f.Op("SHRQ", 5, dims)
		f.Op("IMULQ", e.RowBytes(kernel.Int8Block), dims)
	}
	f.Op(f.Add, cacheLine-1, dims)
	f.Op("SHRQ", 6, dims)
}
