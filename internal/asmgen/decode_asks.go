package asmgen

import "github.com/qkv-go/qkv/kernel"

// A rowAsker asks for the rows that are wanted later, whose offsets lie Upcoming behind those of the keys: line by
// line, in the order of memory if the rows are. The CPU's own requests then go on from ours. It is for amd64, and
// keeps what it needs in words of local memory.
type rowAsker struct {
	*Func
	word  func(at int) string
	field string // the tensor that offsets are from
	step  int    // bytes from line to line
	near  bool   // into the first-level cache whatever Near says
}

// Words of a rowAsker.
const (
	askLine  = 8 * iota // what to ask for next, if there are lines left
	askLeft             // lines left of its row
	askRow              // Off of the row after it
	askEnd              // Off behind the last row
	askLines            // lines of a row
	askWords = 8 * iota
)

// inLocal returns the words from an offset of local memory on.
func inLocal(local Int, from int) func(at int) string {
	return func(at int) string { return mem(local, from+at) }
}

// open sets up for the rows of a call.
func (a *rowAsker) open(tmp Int) {
	a.Op(a.Mov, 0, a.word(askLeft))
	a.load("Keys", tmp)
	a.Op(a.Shl, 3, tmp)
	a.AddMem(a.Func, a.arg("Off"), tmp)
	a.Op(a.Add, 8*kernel.Upcoming, tmp)
	a.Op(a.Mov, tmp, a.word(askEnd))
	a.load("Off", tmp)
	a.Op(a.Add, 8*kernel.Upcoming, tmp)
	a.Op(a.Mov, tmp, a.word(askRow))
}

// setLines sets how many lines a row of an element type has, of so many dims each.
func (a *rowAsker) setLines(dims int, tmp Int) {
	a.load("Dim", tmp)
	a.Op(a.Add, dims-1, tmp)
	shift := 0
	for 1<<shift < dims {
		shift++
	}
	a.Op("SHRQ", shift, tmp)
	a.Op(a.Mov, tmp, a.word(askLines))
}

// begin loads what ask needs, and end keeps it.
func (a *rowAsker) begin(line, left Int) {
	a.Op(a.Mov, a.word(askLine), line)
	a.Op(a.Mov, a.word(askLeft), left)
}

func (a *rowAsker) end(line, left Int) {
	a.Op(a.Mov, line, a.word(askLine))
	a.Op(a.Mov, left, a.word(askLeft))
}

// ask asks for the next line. Behind the last row it goes on with what lies behind.
func (a *rowAsker) ask(line, left, tmp Int) {
	within := a.unique("Within")
	a.Op(a.Sub, 1, left)
	a.Op("JGE", within)
	a.Op(a.Mov, a.word(askLines), left)
	a.Op(a.Sub, 1, left)
	a.Op(a.Mov, a.word(askRow), tmp)
	a.Op("CMPQ", tmp, a.word(askEnd))
	a.Op("JGE", within)
	a.load(a.field, line)
	a.Op(a.Add, mem(tmp, 0), line)
	a.Op(a.Add, 8, a.word(askRow))
	a.Label(within)
	if a.near {
		a.PrefetchNear(a.Func, mem(line, 0))
	} else {
		far, asked := a.unique("Far"), a.unique("Asked")
		a.Op("CMPB", a.arg("Near"), 0)
		a.Op("JEQ", far)
		a.PrefetchNear(a.Func, mem(line, 0))
		a.Jump(asked)
		a.Label(far)
		a.Prefetch(a.Func, mem(line, 0))
		a.Label(asked)
	}
	a.Op(a.Add, a.step, line)
}
