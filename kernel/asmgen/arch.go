package asmgen

import "github.com/qkv-go/qkv/kernel"

// An Arch is an instruction set. Operands stand in the order of Go's assembler:
// sources first, destination last.
type Arch struct {
	Name  string // suffix of the function names
	Needs kernel.Features

	Lanes int   // float32 in a vector register
	Rows  []int // height of the micro-tile with i+1 vectors a row; the largest set of lanes is len(Rows) vectors

	Vectors []Vec // every vector register
	Ints    []Int // every integer register; the first holds the arguments

	// Integer mnemonics.
	Mov, Add, Sub, Shl string
	// Prefetch brings the line at an address into the second-level cache.
	Prefetch string
	// Branch writes a comparison of x with y (a register or "$1") and a jump to
	// label where cond (EQ, NE, LT, LE, GT, GE) holds.
	Branch func(f *Func, x Int, cond, y, label string)
	// Countdown writes r--, and a jump to label unless that gave 0.
	Countdown func(f *Func, r Int, label string)
	// Address loads the address of a symbol.
	Address func(f *Func, symbol string, dst Int)
	// Return ends the function.
	Return func(f *Func)

	// The rows of a micro-tile are reached from base pointers, RowsPerPtr from
	// each: row i of a pointer is at RowAddr(ptr, stride, i).
	RowsPerPtr int
	RowAddr    func(ptr, stride Int, i int) string
	// Indexed is the address of element i of the float32 at ptr.
	Indexed func(ptr, i Int) string

	// Vector mnemonics: memory to register and back, one element of memory to
	// every lane, register to register, and arithmetic (b, a, dst: dst = a op b).
	Load, Store, Broadcast, Copy string
	AddV, SubV                   string
	// Constants are operands of arithmetic straight from memory.
	MemoryOperands bool
	// Zero clears v.
	Zero func(f *Func, v Vec)
	// FMA is acc += x*y, and Mul is acc = x*y.
	FMA, Mul func(f *Func, x, y, acc Vec)
	// MulAdd is p = p*x + c; c may be memory where MemoryOperands says so.
	MulAdd func(f *Func, c string, x, p Vec)

	// KeptStep writes a step of a micro-tile that leaves out the lanes where B has
	// its sign bit set, whatever A and B are there. ZeroForKeep asks for a vector
	// register that holds 0.
	ZeroForKeep bool
	KeptStep    func(t *tile)

	// MaxOf is m = s > m ? s : m. MaxOfKept does so in the lanes of vector j whose
	// bit is set in the mask word at ptr. s is lost, tmp is free.
	MaxOf     func(f *Func, s, m Vec)
	MaxOfKept func(f *Func, ptr Int, j int, s, m, tmp Vec)
	// Normal notes the lanes of stream j where !(y < min); a vector register that is
	// a mask takes the place of y. ShiftScale is then p = p * (t<<23) in those lanes,
	// and +0 in the others. t is lost.
	Normal     func(f *Func, min string, y Vec, j int)
	ShiftScale func(f *Func, t, y, p Vec, j int)
	// DropMasked is p = -0 in the lanes of vector j whose bit is clear in the mask
	// word at ptr. tmp is free.
	DropMasked func(f *Func, ptr Int, j int, negZero string, p, tmp Vec)
	// Moved sets the byte at addr to whether some lane of v is not one. v is lost.
	Moved func(f *Func, v []Vec, one string, tmp Int, addr string)

	// A mask of lanes is a vector register.
	VectorMasks bool
	// TailMask makes a mask of the first n lanes, n in 1..Lanes; where it needs a
	// register, mask is it, and tmp is free. LoadScaled is v = memory * scale in
	// those lanes and StoreMasked stores them; neither touches other memory.
	TailMask    func(f *Func, n, tmp Int, mask Vec)
	LoadScaled  func(f *Func, addr string, scale, mask, v Vec)
	StoreMasked func(f *Func, v, mask Vec, addr string)
	// MulLoad is v = memory * x.
	MulLoad func(f *Func, addr string, x, v Vec)
	// Recip is v = v == 0 ? 0 : 1/v; tmp are free.
	Recip func(f *Func, one string, v Vec, tmp [2]Vec)
	// Transpose transposes the square of rows, and returns the registers that hold
	// it, in order. tmp is free.
	Transpose func(f *Func, rows []Vec, tmp Vec) []Vec

	// AddLoad is v += memory. Reduce adds the lanes of v and stores the sum.
	AddLoad func(f *Func, addr string, v Vec)
	Reduce  func(f *Func, v, tmp Vec, addr string)
}

// MaxVectors is the number of vectors in the largest lane group.
func (arch *Arch) MaxVectors() int { return len(arch.Rows) }

// Bytes is the size of a vector.
func (arch *Arch) Bytes() int { return 4 * arch.Lanes }
