package asmgen

import (
	"fmt"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const pairsFormula = `
each:   Dst[i][j] = brain(Src[i][j])
across: Dst[i][j] = brain(Src[i][2*j]) | brain(Src[i][2*j+1])>>16
down:   Dst[i][j] = brain(Src[2*i][j]) | brain(Src[2*i+1][j])>>16
split:  Dst[2*i][j], Dst[2*i+1][j] = Src[i][j] &^ 0xffff, Src[i][j]<<16
brain(x) is x rounded to bfloat16, and 0 where that is below LeastBrain
`

// leastBrain is the bits of kernel.LeastBrain as a bfloat16 number, and belowBrain those of the number below.
const (
	leastBrain = (127 - 56) << 7
	belowBrain = leastBrain - 1
)

// leastRounded is the bits of the least number that rounds to kernel.LeastBrain: the tie below it goes to even.
const leastRounded = leastBrain<<16 - 1<<15

// brain reserves registers for brainFloat, and loads the bits.
func (m *vecMap) brain() brain {
	b := brain{scratch: m.one("scratch"), one: m.bits(1, "1"), half: m.bits(0x7fff, "rounding"), all: m.bits(0xffff0000, "bits of the upper half")}
	if m.f.BrainFloat != nil {
		b.up, b.last = m.bits(0x8000, "rounding of odd ones"), m.bits(0x10000, "last place")
		b.special, b.tops = m.bits(0x22, "NaNs made quiet"), m.bits(2*leastRounded, "least magnitude, twice")
		return b
	}
	b.quiet, b.tmp = m.bits(0x400000, "quiet bit"), m.one("scratch")
	b.below = string(m.bits(belowBrain, "greatest bfloat16 that counts as 0"))
	return b
}

// brainFloat makes numbers of class BFloat16 of v, as float32.
func (f *Func) brainFloat(v Vec, b *brain) {
	if f.BrainFloat != nil {
		f.BrainFloat(f, v, b)
		return
	}
	f.RoundBrain(f, v, b.scratch, b)
	f.KeepAbove(f, b.below, v, b.scratch)
	f.Op(f.ShlV, 16, v, v)
}

// brainSure is brainFloat of numbers that are neither NaN nor infinite, nor nearer to zero than kernel.LeastBrain unless they are +0.
func (f *Func) brainSure(v Vec, b *brain) {
	f.Op(f.ShrV, 16, v, b.scratch)
	f.Op(f.AndV, b.one, b.scratch, b.scratch)
	f.Op(f.AddInts, b.half, v, v)
	f.Op(f.AddInts, b.scratch, v, v)
	f.Op(f.AndV, b.all, v, v)
}

// hasPairs reports whether the Arch has what Pairs takes.
func hasPairs(arch *Arch) bool { return arch.KeepAbove != nil }

// hasDotPairs reports whether the Arch has an instruction for pairs.
func hasDotPairs(arch *Arch) bool { return arch.DotPairs != nil }

// A pairer is the body of Pairs.
type pairer struct {
	*Func
	rows           Int // left
	srcRow, dstRow Int
	src, dst       Int // where the row goes on
	next           Int // where the next row goes on, of Src or of Dst
	n              Int // columns left
	stride         Int // bytes from row to row, of Src or of Dst

	x, y, tmp Vec
	b         brain
	below     string // bits of the greatest bfloat16 that counts as 0, in the low half of each lane
	upper     Vec    // bits of the upper half

	index, least Vec // of PairRows
}

// pairs writes Pairs for a ColStride of 1 and whole vectors of columns.
func pairs(arch *Arch) *Func {
	f := newFunc(arch, "pairs", reflect.TypeFor[kernel.PairsArgs](), pairsFormula)
	p := &pairer{
		Func: f, rows: f.int("rows left"), srcRow: f.int("row of Src"), dstRow: f.int("row of Dst"),
		src: f.int("Src"), dst: f.int("Dst"), next: f.int("Src or Dst, next row"), n: f.int("columns left"), stride: f.int("bytes from row to row"),
	}
	m := f.vectors("all:")
	p.x, p.y, p.tmp = m.one("numbers"), m.one("numbers of the next row"), m.one("scratch")
	p.b = brain{one: m.bits(1, "1"), half: m.bits(0x7fff, "rounding"), quiet: m.bits(0x400000, "quiet bit"), tmp: m.one("scratch")}
	p.below = string(m.bits(belowBrain, "greatest bfloat16 that counts as 0"))
	p.upper = m.bits(0xffff0000, "bits of the upper half")
	if f.PairRows != nil {
		p.index, p.least = f.placesOfPairs(m), m.bits(leastBrain*2*0x10001, "least magnitudes, twice")
	}

	f.load("Rows", p.rows)
	f.load("Src", p.srcRow)
	f.load("Dst", p.dstRow)
	f.load("Kind", p.n)
	kinds := []kernel.PairsKind{kernel.RoundEach, kernel.PairAcross, kernel.PairDown, kernel.SplitDown}
	names := []string{"each", "across", "down", "split"}
	for i := 1; i < len(kinds); i++ {
		f.Branch(f, p.n, "EQ", imm(int(kinds[i])), names[i])
	}
	for i, write := range []func(name string){p.each, p.across, p.down, p.split} {
		if i > 0 {
			f.Label(names[i])
		}
		write(names[i])
	}
	return f
}

// round rounds the numbers of v, and leaves them in the low half of each lane.
func (p *pairer) round(v Vec) {
	p.RoundBrain(p.Func, v, p.tmp, &p.b)
	p.KeepAbove(p.Func, p.below, v, p.tmp)
}

// up moves the numbers of v to the upper half of each lane.
func (p *pairer) up(v Vec) { p.Op(p.ShlV, 16, v, v) }

// begin goes to the beginning of a row.
func (p *pairer) begin() {
	p.Op(p.Mov, p.srcRow, p.src)
	p.Op(p.Mov, p.dstRow, p.dst)
	p.load("Cols", p.n)
}

// columns writes a loop over the vectors of a row, as many at a time as a panel has and then one by one.
// body is that of the vector j after the pointers, which each go on by so many bytes a vector.
func (p *pairer) columns(name string, ptrs map[Int]int, body func(j int)) {
	turn := func(name string, vecs int) {
		p.Loop(name)
		for j := range vecs {
			body(j)
		}
		for _, ptr := range []Int{p.src, p.dst, p.next} {
			if n := ptrs[ptr]; n > 0 {
				p.Op(p.Add, n*vecs, ptr)
			}
		}
		p.Op(p.Sub, p.Lanes*vecs, p.n)
		p.Branch(p.Func, p.n, "GE", imm(p.Lanes*vecs), name)
	}
	vecs := p.MaxVectors()
	p.Branch(p.Func, p.n, "LT", imm(p.Lanes*vecs), name+"Few")
	turn(name+"Panel", vecs)
	p.Label(name + "Few")
	p.Branch(p.Func, p.n, "LE", "$0", name+"Done")
	turn(name, 1)
	p.Label(name + "Done")
}

// nextRow moves a row of Src or Dst on by a number of strides.
func (p *pairer) nextRow(field string, times int, row Int) {
	p.loadBytes(field, p.stride)
	for range times {
		p.Op(p.Add, p.stride, row)
	}
}

// singly writes what makes a row of each, from a vector of numbers.
func (p *pairer) singly(name string, bytes int, store func(j int)) {
	p.Op(p.Mov, p.srcRow, p.src) // an instruction between the label and the loop
	p.Loop(name + "Row")
	p.begin()
	p.columns(name+"Columns", map[Int]int{p.src: p.Bytes(), p.dst: bytes}, func(j int) {
		p.Op(p.Load, mem(p.src, j*p.Bytes()), p.x)
		store(j)
	})
	p.nextRow("RowStride", 1, p.srcRow)
	p.nextRow("Stride", 1, p.dstRow)
	p.Countdown(p.rows, name+"Row")
	p.Return(p.Func)
}

func (p *pairer) each(name string) {
	p.singly(name, p.Bytes(), func(j int) {
		p.round(p.x)
		p.up(p.x)
		p.Op(p.Store, p.x, mem(p.dst, j*p.Bytes()))
	})
}

func (p *pairer) across(name string) {
	p.singly(name, p.Bytes()/2, func(j int) {
		p.round(p.x)
		p.StorePairs(p.Func, p.x, p.tmp, mem(p.dst, j*p.Bytes()/2))
	})
}

// doubly writes what takes two rows of numbers at a time, and one that is left over. The next row
// is one of the field's matrix.
func (p *pairer) doubly(name, field string, row Int, two, one func(j int)) {
	last := name + "Last"
	p.Op(p.Sub, 1, p.rows)
	p.Branch(p.Func, p.rows, "LE", "$0", last)
	p.Loop(name + "Rows")
	p.begin()
	p.Op(p.Mov, row, p.next)
	p.nextRow(field, 1, p.next)
	p.columns(name+"Columns", map[Int]int{p.src: p.Bytes(), p.dst: p.Bytes(), p.next: p.Bytes()}, two)
	for _, side := range []struct {
		field string
		row   Int
	}{{"RowStride", p.srcRow}, {"Stride", p.dstRow}} {
		times := 1
		if side.row == row {
			times = 2
		}
		p.nextRow(side.field, times, side.row)
	}
	p.Op(p.Sub, 2, p.rows)
	p.Branch(p.Func, p.rows, "GT", "$0", name+"Rows")
	p.Label(last)
	done := name + "End"
	p.Branch(p.Func, p.rows, "LT", "$0", done)
	p.begin()
	p.columns(name+"LastColumns", map[Int]int{p.src: p.Bytes(), p.dst: p.Bytes()}, one)
	p.Label(done)
	p.Return(p.Func)
}

func (p *pairer) down(name string) {
	store := func(j int) {
		if p.PairRows != nil {
			p.PairRows(p.Func, false, p.index, p.least, p.x, p.y, p.tmp)
		} else {
			p.round(p.x)
			p.round(p.y)
			p.up(p.x)
			p.Op(p.OrV, p.y, p.x, p.x)
		}
		p.Op(p.Store, p.x, mem(p.dst, j*p.Bytes()))
	}
	p.doubly(name, "RowStride", p.srcRow, func(j int) {
		p.Op(p.Load, mem(p.src, j*p.Bytes()), p.x)
		p.Op(p.Load, mem(p.next, j*p.Bytes()), p.y)
		store(j)
	}, func(j int) {
		p.Op(p.Load, mem(p.src, j*p.Bytes()), p.x)
		if p.PairRows != nil {
			p.Zero(p.Func, p.y)
			store(j)
			return
		}
		p.round(p.x)
		p.up(p.x)
		p.Op(p.Store, p.x, mem(p.dst, j*p.Bytes()))
	})
}

func (p *pairer) split(name string) {
	first := func(j int) {
		p.Op(p.Load, mem(p.src, j*p.Bytes()), p.x)
		p.Op(p.AndV, p.upper, p.x, p.y)
		p.Op(p.Store, p.y, mem(p.dst, j*p.Bytes()))
	}
	p.doubly(name, "Stride", p.dstRow, func(j int) {
		first(j)
		p.up(p.x)
		p.Op(p.Store, p.x, mem(p.next, j*p.Bytes()))
	}, first)
}

// placesOfPairs loads the index of PairRows.
func (f *Func) placesOfPairs(m *vecMap) Vec {
	v := m.one("places of pairs")
	f.LoadConstant(f, f.symbol("pairIndex", f.PairIndex...)+"(SB)", v)
	return v
}

const pairWeightsFormula = `
for k := range (Keys+1)/2 {
	P[k] = brain(P[2*k]) | brain(P[2*k+1])>>16, with -0 for P[Keys]
}
brain(x) is x rounded to bfloat16, and 0 where that is below LeastBrain, but for -0
`

// pairWeights writes PairWeights.
func pairWeights(arch *Arch) *Func {
	f := newFunc(arch, "pairWeights", reflect.TypeFor[kernel.PairWeightsArgs](), pairWeightsFormula)
	src, next, dst := f.int("P[2*k]"), f.int("P[2*k+1]"), f.int("P[k]")
	stride, keys := f.int("bytes from row to row"), f.int("keys left, less 1")
	m := f.vectors("all:")
	x, y, tmp := m.one("weights"), m.one("weights of the next key"), m.one("scratch")
	index, least, alone := f.placesOfPairs(m), m.bits(leastBrain*0x10001, "least weights"), m.bits(1<<31, "-0")
	f.loadBytes("Stride", stride)
	f.byLanes(keys, func(vecs int) {
		label := func(what string) string { return fmt.Sprint(what, vecs*f.Lanes) }
		row := func(both bool) {
			for j := range vecs {
				f.Op(f.Load, mem(src, j*f.Bytes()), x)
				if both {
					f.Op(f.Load, mem(next, j*f.Bytes()), y)
				} else {
					f.Op(f.Copy, alone, y)
				}
				f.PairRows(f, true, index, least, x, y, tmp)
				f.Op(f.Store, x, mem(dst, j*f.Bytes()))
			}
		}
		f.load("P", src)
		f.Op(f.Mov, src, dst)
		f.load("Keys", keys)
		f.Op(f.Sub, 1, keys)
		f.Branch(f, keys, "EQ", "$0", label("last"))
		f.Loop(label("rows"))
		f.Op(f.Mov, src, next)
		f.Op(f.Add, stride, next)
		row(true)
		f.Op(f.Mov, next, src)
		f.Op(f.Add, stride, src)
		f.Op(f.Add, stride, dst)
		f.Op(f.Sub, 2, keys)
		f.Branch(f, keys, "GT", "$0", label("rows"))
		f.Branch(f, keys, "LT", "$0", label("done"))
		f.Label(label("last"))
		row(false)
		f.Label(label("done"))
		f.Return(f)
	})
	return f
}
