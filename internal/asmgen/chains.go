package asmgen

import (
	"fmt"

	"github.com/qkv-go/qkv/kernel/fp"
)

// chainEmitters are the functions of an instruction set that has vectors of float64 and no
// fused multiply-add. A product of float32 is exact in float64. Its sum with another float32
// is rounded to float64, and then to float32 by adding half a last place to its bits and
// dropping those below, as fp.Chains does in Go. Where nothing is left to drop the sum was
// a tie, or looks like one: such terms are added again with what the first rounding lost.
var chainEmitters = []struct {
	emit func(*Arch) *Func
	doc  string // what the function does
}{
	{chains, "is fp.Chains.Add where no sum leaves the normal range, for n at least 1"},
	{keyChains, "is addKeys, for n at least 1"},
	{valueChains, "is addValues, for n at least 1"},
	{span, "returns the bounds of rows of n numbers that fp.Span.AndBits takes, for n at least 1"},
	{within, "returns the bits that all of rows of n numbers have when bias is added to theirs, for n at least 4"},
	{columnMax, "raises four maxima to scores of a column, for keys at least 1"},
	{columnExp, "makes weights of the scores of a column, for keys at least 1"},
	{columnSum, "adds the weights of a column to four sums, for keys at least 1"},
}

// chainPairs is the number of vectors of sums: two lanes each.
const chainPairs = fp.ChainLanes / 2

// chainTerms is the number of terms between two tests for ties. A turn of the loop has two
// such steps, from sums in one half of the registers to sums in the other and back, so that
// those before a tie are still there.
const chainTerms = 2

// wideFMA has the registers for multiply-adds of pairs of float32 in float64.
type wideFMA struct {
	*Func
	t, tie    Vec
	half, cut Vec // half a last place of float32, and the bits of those above
	u         [2]Vec
}

func newWideFMA(f *Func, m *vecMap) wideFMA {
	return wideFMA{f, m.one("sum"), m.one("ties"), m.one("half a last place"), m.one("bits kept"), [2]Vec(m.take(2, "operands"))}
}

// constants loads the registers that stay as they are.
func (w *wideFMA) constants() {
	w.Op("MOVUPS", w.lanes64("halfPlace", lastPlace/2), w.half)
	w.Op("MOVUPS", w.lanes64("placesKept", ^uint64(lastPlace-1)), w.cut)
}

// chainSums are the registers of a function that adds terms to fp.Chains.
type chainSums struct {
	wideFMA
	sums    [2][chainPairs]Vec
	x       [chainTerms]Vec // the factor of a term, in both lanes
	n, bits Int

	// factors loads x of the terms of a step, or of one.
	factors func(step, terms int)
	// fast calls add with the operands of pair j for each term of a step. The register
	// that it has them in is one of u, or first for the first term.
	fast func(step, j int, first Vec, add func(term int, v Vec))
	// load loads the operands of pair j of a term, and alone those of a term whose
	// neighbour may not be there.
	load, alone func(step, term, j int, dst, tmp Vec)
	// ready sets u, which fast leaves as they are, again after they were lost; result loads and
	// saves what is in them around that. test looks at the operands of a term alone. They may be nil.
	ready, save, restore, test, result func()
	// skip moves the operands on by so many terms, which may be less than 0.
	skip func(terms int)
}

func newChainSums(f *Func) *chainSums {
	s := &chainSums{}
	m := f.vectors("all:")
	s.sums[0] = [chainPairs]Vec(m.take(chainPairs, "sums"))
	s.sums[1] = [chainPairs]Vec(m.take(chainPairs, "sums of the next step"))
	s.x = [chainTerms]Vec(m.take(chainTerms, "x"))
	s.wideFMA = newWideFMA(f, m)
	return s
}

// lanes64 returns the address of a pair of 64-bit words.
func (f *Func) lanes64(name string, word uint64) string {
	low, high := uint32(word), uint32(word>>32)
	return f.symbol(name, low, high, low, high) + "(SB)"
}

const (
	lastPlace = 1 << 29 // of a float32 among the bits of a float64
	sign64    = 1 << 63
)

// emit writes the function, from operands and n that are loaded on.
func (s *chainSums) emit() {
	c := s.bits
	s.Op(s.Mov, "c+0(FP)", c)
	for j, v := range s.sums[0] {
		s.Op("MOVUPS", mem(c, 16*j), v)
	}
	s.constants()

	s.Op("TESTQ", 1, s.n)
	s.Op("JEQ", "pairs")
	s.factors(0, 1)
	for j, v := range s.sums[0] {
		s.exact(v, s.x[0], func(dst, tmp Vec) { s.alone(0, 0, j, dst, tmp) })
	}
	if s.result != nil {
		s.ready()
		s.test()
	}
	s.skip(1)
	if s.result != nil {
		s.Jump("even")
	}
	s.Label("pairs")
	if s.result != nil {
		s.ready()
		s.Label("even")
	}
	s.Op("SHRQ", 1, s.n)
	s.Op("JEQ", "done")
	s.Op("TESTQ", 1, s.n)
	s.Op("JEQ", "loop")
	for j, v := range s.sums[0] {
		s.Op("MOVAPS", v, s.sums[1][j])
	}
	s.skip(-chainTerms)
	s.Op("INCQ", s.n)
	s.Jump("second")

	s.Loop("loop")
	s.step(0, "first")
	s.Label("second")
	s.step(1, "last")
	s.skip(2 * chainTerms)
	s.Op("SUBQ", 2, s.n)
	s.Op("JNE", "loop")
	s.Label("done")
	s.Op(s.Mov, "c+0(FP)", c)
	for j, v := range s.sums[0] {
		s.Op("MOVUPS", v, mem(c, 16*j))
	}
	if s.result != nil {
		s.result()
	}
	s.Return(s.Func)

	s.again(0, "first")
	s.again(1, "last")
}

// step writes the terms of a step.
func (s *chainSums) step(step int, name string) {
	from, to := s.sums[step], s.sums[1-step]
	s.factors(step, chainTerms)
	for j := range chainPairs {
		first := s.t
		if j == 0 {
			first = s.tie
		}
		s.fast(step, j, first, func(term int, v Vec) {
			old := from[j]
			if term > 0 {
				old = to[j]
			}
			s.plain(s.x[term], v, old, to[j], v == s.tie)
		})
	}
	s.branch(s.bits, name+"Again")
	s.Label(name + "Added")
}

// again writes the terms of a step with a sum that may be a tie, and jumps back.
func (s *chainSums) again(step int, name string) {
	from, to := s.sums[step], s.sums[1-step]
	s.Label(name + "Again")
	if s.result != nil {
		s.save()
	}
	for j := range chainPairs {
		s.Op("MOVAPS", from[j], to[j])
		for term, x := range s.x {
			s.exact(to[j], x, func(dst, tmp Vec) { s.load(step, term, j, dst, tmp) })
		}
	}
	if s.result != nil {
		s.restore()
	}
	s.Jump(name + "Added")
}

// plain is to = x*v + from. v is lost: it becomes the ties, or is added to them. It may be the
// register of ties, if these are the first.
func (w *wideFMA) plain(x, v, from, to Vec, first bool) {
	w.Op("MULPD", x, v)
	w.Op("ADDPD", from, v)
	w.Op("PADDQ", w.half, v)
	w.Op("MOVAPS", v, to)
	w.Op("PAND", w.cut, to)
	w.Op("PCMPEQL", to, v) // in the upper words always
	if !first {
		w.Op("POR", v, w.tie)
	}
}

// branch writes a jump to label if there is a tie. bits is free.
func (w *wideFMA) branch(bits Int, label string) {
	w.Op("MOVMSKPS", w.tie, bits)
	w.Op("TESTL", 0b0101, bits)
	w.Op("JNE", label)
}

// exact adds a term to a pair of sums. The error of a sum rounded to float64 (TwoSum; Knuth)
// tells on which side of a tie the exact one is; a true tie goes to the even neighbour.
func (w *wideFMA) exact(sum, x Vec, load func(dst, tmp Vec)) {
	p, b, t, u := w.t, w.tie, w.u[0], w.u[1]
	load(p, b)
	w.Op("MULPD", x, p)
	w.Op("MOVAPS", p, b)
	w.Op("ADDPD", sum, b) // p + sum
	w.Op("MOVAPS", b, t)
	w.Op("SUBPD", p, t)
	w.Op("MOVAPS", b, u)
	w.Op("SUBPD", t, u)
	w.Op("SUBPD", u, p)
	w.Op("SUBPD", t, sum)
	w.Op("ADDPD", sum, p)
	w.note("the error")
	w.Op("MOVUPS", w.lanes64("sign64", sign64), t)
	w.Op("PAND", b, t)
	w.Op("PXOR", t, p)
	w.note("less than 0 where the exact sum is nearer to 0")
	w.Op("PADDQ", w.half, b)
	w.Op("MOVAPS", b, sum)
	w.Op("PAND", w.cut, sum)
	w.Op("PCMPEQL", sum, b)
	w.Op("MOVUPS", w.lanes64("lastPlace", lastPlace), t)
	w.Op("PAND", t, b)
	w.note("a last place where there is a tie")
	w.Op("XORPS", t, t)
	w.Op("MOVAPS", p, u)
	w.Op("CMPPD", t, u, 1) // less
	w.Op("PAND", b, u)
	w.Op("PSUBQ", u, sum)
	w.Op("CMPPD", t, p, 0) // equal
	w.Op("PAND", b, p)
	w.Op("PANDN", sum, p)
	w.Op("MOVAPS", p, sum)
}

// chains writes fp.Chains.Add where no sum leaves the normal range.
func chains(arch *Arch) *Func {
	f := newProbe(arch, "chains", "(c *fp.Chains, x *float32, step int, y *terms, n int)", 40, `
for i := range n {
	for l := range c {
		c[l] = fma(x[i*step], y[i][l], c[l])
	}
}
`)
	s := newChainSums(f)
	s.bits = f.int("c, ties")
	x, y := f.int("x"), f.int("y")
	step, step3 := f.int("bytes from x to x"), f.int("three times that")
	s.n = f.int("terms left, then pairs")
	f.Op(f.Mov, "x+8(FP)", x)
	f.Op(f.Mov, "step+16(FP)", step)
	f.Op(f.Mov, "y+24(FP)", y)
	f.Op(f.Mov, "n+32(FP)", s.n)
	f.Op(f.Shl, 2, step)
	f.Op("LEAQ", fmt.Sprintf("(%s)(%s*2)", step, step), step3)
	at := []string{mem(x, 0), fmt.Sprintf("(%s)(%s*1)", x, step), fmt.Sprintf("(%s)(%s*2)", x, step), fmt.Sprintf("(%s)(%s*1)", x, step3)}
	s.factors = func(step, terms int) {
		for i := range terms {
			f.Op("MOVSS", at[chainTerms*step+i], s.x[i])
			f.Op("CVTSS2SD", s.x[i], s.x[i])
			f.Op("UNPCKLPD", s.x[i], s.x[i])
		}
	}
	s.load = func(step, term, j int, dst, _ Vec) {
		f.Op("MOVUPS", mem(y, 64*(chainTerms*step+term)+16*j), dst)
	}
	s.alone = s.load
	s.fast = func(step, j int, first Vec, add func(term int, v Vec)) {
		for i, v := range []Vec{first, s.u[0]} {
			s.load(step, i, j, v, "")
			add(i, v)
		}
	}
	s.skip = func(terms int) {
		switch terms {
		case -2:
			f.Op("SUBQ", step, x)
			f.Op("SUBQ", step, x)
		default:
			f.Op("LEAQ", fmt.Sprintf("(%s)(%s*%d)", x, step, terms), x)
		}
		f.Op("ADDQ", 64*terms, y)
	}
	s.emit()
	return f
}

// keyChains writes the sums of DecodeScores: the lanes are keys.
// It asks for as many keys, at the offsets that follow, a line with each step.
func keyChains(arch *Arch) *Func {
	f := newProbe(arch, "keyChains", "(c *fp.Chains, k unsafe.Pointer, off *int, q *[2]float64, n int)", 40, `
for i := range n {
	for l := range c {
		key := (*float32)(k + off[l])
		c[l] = fma(key[i], q[i], c[l]), q[i] being there twice
	}
}
`)
	s := newChainSums(f)
	s.bits = f.int("c, k, ties, a key to ask for")
	q, off, asked := f.int("q"), f.int("off"), f.int("bytes of a key asked for")
	s.n = f.int("terms left, then pairs")
	keys := f.ints(fp.ChainLanes, "keys")
	f.Op(f.Mov, "k+8(FP)", s.bits)
	f.Op(f.Mov, "off+16(FP)", off)
	f.Op("XORL", asked, asked)
	for l, key := range keys {
		f.Op(f.Mov, mem(off, 8*l), key)
		f.Op("ADDQ", s.bits, key)
	}
	f.Op(f.Mov, "q+24(FP)", q)
	f.Op(f.Mov, "n+32(FP)", s.n)
	// An index in the address would make two instructions of a conversion.
	elem := func(key Int, step int) string { return mem(key, 4*chainTerms*step) }
	s.factors = func(step, terms int) {
		for t := range terms {
			f.Op("MOVUPS", mem(q, 16*(chainTerms*step+t)), s.x[t])
		}
		// A line is the dims of eight steps: one for each key.
		f.Op(f.Mov, asked, s.bits)
		f.Op("ANDQ", cacheLine-8, s.bits)
		f.Op(f.Mov, fmt.Sprintf("%d(%s)(%s*1)", 8*fp.ChainLanes, off, s.bits), s.bits)
		f.Op("ADDQ", "k+8(FP)", s.bits)
		f.PrefetchNear(f, x86Address(f, s.bits, asked, 0))
		f.Op("ADDQ", 8, asked)
	}
	s.fast = func(step, j int, first Vec, add func(term int, v Vec)) {
		a, b := s.u[0], s.u[1]
		f.Op("CVTPS2PD", elem(keys[2*j], step), a)
		f.Op("CVTPS2PD", elem(keys[2*j+1], step), b)
		f.Op("MOVAPS", a, first)
		f.Op("UNPCKLPD", b, first)
		f.Op("UNPCKHPD", b, a)
		add(0, first)
		add(1, a)
	}
	s.load = func(step, term, j int, dst, tmp Vec) {
		f.Op("CVTPS2PD", elem(keys[2*j], step), dst)
		f.Op("CVTPS2PD", elem(keys[2*j+1], step), tmp)
		f.Op([]string{"UNPCKLPD", "UNPCKHPD"}[term], tmp, dst)
	}
	s.alone = func(step, _, j int, dst, tmp Vec) {
		f.Op("MOVSS", elem(keys[2*j], step), dst)
		f.Op("MOVSS", elem(keys[2*j+1], step), tmp)
		f.Op("UNPCKLPS", tmp, dst)
		f.Op("CVTPS2PD", dst, dst)
	}
	s.skip = func(terms int) {
		for _, key := range keys {
			f.Op("ADDQ", 4*terms, key)
		}
		f.Op("ADDQ", 16*terms, q)
	}
	s.emit()
	return f
}

// valueChains writes the sums of DecodeAccumulate: the lanes are dims.
// It asks for one value with each step, at the offsets at ahead, every second one, and tests
// the exponents of values on the way.
func valueChains(arch *Arch) *Func {
	f := newProbe(arch, "valueChains", "(c *fp.Chains, v unsafe.Pointer, off, ahead *int, p *[2]float64, n int, bias uint32) (all uint32)", 60, `
all = 1<<32 - 1
for i := range n {
	for l := range c {
		c[l] = fma((*float32)(v + off[i])[l], p[i], c[l]), p[i] being there twice
		all &= bits of (*float32)(v + off[i])[l], plus bias
	}
}
`)
	s := newChainSums(f)
	s.bits = f.int("c, ties")
	v, off, ahead, p := f.int("v"), f.int("off"), f.int("ahead"), f.int("p")
	s.n = f.int("terms left, then pairs")
	rows := f.ints(chainTerms, "values")
	f.Op(f.Mov, "v+8(FP)", v)
	f.Op(f.Mov, "off+16(FP)", off)
	f.Op(f.Mov, "ahead+24(FP)", ahead)
	f.Op(f.Mov, "p+32(FP)", p)
	f.Op(f.Mov, "n+40(FP)", s.n)
	s.factors = func(step, terms int) {
		f.Op(f.Mov, mem(ahead, 0), s.bits)
		f.Prefetch(f, x86Address(f, v, s.bits, 0))
		f.Op("ADDQ", 8*terms, ahead)
		for t := range terms {
			f.Op(f.Mov, mem(off, 8*(chainTerms*step+t)), rows[t])
			f.Op("ADDQ", v, rows[t])
			f.Op("MOVUPS", mem(p, 16*(chainTerms*step+t)), s.x[t])
		}
	}
	s.load = func(_, term, j int, dst, _ Vec) {
		f.Op("CVTPS2PD", mem(rows[term], 8*j), dst)
	}
	s.alone = s.load
	bias, all := s.u[0], s.u[1]
	s.ready = func() {
		f.Op("MOVSS", "bias+48(FP)", bias)
		f.Op("PSHUFL", 0, bias, bias)
		f.Op("PCMPEQL", all, all)
	}
	half := func(term, j int) {
		f.Op("MOVUPS", mem(rows[term], 8*j), s.t)
		f.Op("PADDL", bias, s.t)
		f.Op("PAND", s.t, all)
	}
	s.test = func() {
		half(0, 0)
		half(0, chainPairs/2)
	}
	// c has room until the end.
	s.save = func() {
		f.Op(f.Mov, "c+0(FP)", s.bits)
		f.Op("MOVUPS", all, mem(s.bits, 0))
	}
	s.restore = func() {
		s.ready()
		f.Op("MOVUPS", mem(s.bits, 0), all)
	}
	s.result = func() {
		f.fold("PAND", all, s.t)
		f.Op("MOVSS", all, "all+56(FP)")
	}
	s.fast = func(step, j int, first Vec, add func(term int, v Vec)) {
		if j%(chainPairs/2) == 0 {
			half(0, j)
			half(1, j)
		}
		for i, v := range []Vec{first, s.t} {
			s.load(step, i, j, v, "")
			add(i, v)
		}
	}
	s.skip = func(terms int) {
		f.Op("ADDQ", 8*terms, off)
		f.Op("ADDQ", 16*terms, p)
	}
	s.emit()
	return f
}

// fold leaves in each lane of v what op makes of all four.
func (f *Func) fold(op string, v, tmp Vec) {
	for _, swap := range []int{0b01_00_11_10, 0b10_11_00_01} {
		f.Op("PSHUFL", imm(swap), v, tmp)
		f.Op(op, tmp, v)
	}
}

// span writes the bounds of the exponents of rows.
func span(arch *Arch) *Func {
	f := newProbe(arch, "span", "(p unsafe.Pointer, off *int, rows, n int) (low, high uint32)", 40, `
low, high = 255<<24, 0
for r := range rows {
	for i := range n {
		b := bits of (*float32)(p + off[r])[i], doubled
		low, high = min(low, (b-1)>>24<<24), max(high, b>>24<<24)
	}
}
`)
	p, off, rows, n := f.int("p"), f.int("off"), f.int("rows left"), f.int("n")
	row, left := f.int("row"), f.int("elements left")
	m := f.vectors("all:")
	low, high := m.take(2, "low"), m.take(2, "high")
	x, ones := m.take(2, "elements"), m.one("-1")
	f.Op(f.Mov, "p+0(FP)", p)
	f.Op(f.Mov, "off+8(FP)", off)
	f.Op(f.Mov, "rows+16(FP)", rows)
	f.Op(f.Mov, "n+24(FP)", n)
	for i := range low {
		f.Op("PCMPEQL", low[i], low[i])
		f.Op("XORPS", high[i], high[i])
	}
	f.Op("PCMPEQL", ones, ones)
	// The upper byte of a doubled element is its exponent.
	widen := func(i int) {
		f.Op("PADDL", x[i], x[i])
		f.Op("PMAXUB", x[i], high[i])
		f.Op("PADDL", ones, x[i])
		f.Op("PMINUB", x[i], low[i])
	}
	f.Label("rows")
	f.Op(f.Mov, mem(off, 0), row)
	f.Op("ADDQ", p, row)
	f.Op("ADDQ", 8, off)
	f.Op(f.Mov, n, left)
	f.Op("SUBQ", 8, left)
	f.Op("JLT", "few")
	f.Loop("loop")
	for i := range x {
		f.Op("MOVUPS", mem(row, 16*i), x[i])
		widen(i)
	}
	f.Op("ADDQ", 32, row)
	f.Op("SUBQ", 8, left)
	f.Op("JGE", "loop")
	f.Label("few")
	f.Op("ADDQ", 8, left)
	f.Op("JEQ", "next")
	f.Label("one")
	f.Op("MOVSS", mem(row, 0), x[0]) // the rest are zeros, which have no exponent
	widen(0)
	f.Op("ADDQ", 4, row)
	f.Op("DECQ", left)
	f.Op("JNE", "one")
	f.Label("next")
	f.Op("DECQ", rows)
	f.Op("JNE", "rows")

	f.Op("PMINUB", low[1], low[0])
	f.Op("PMAXUB", high[1], high[0])
	for _, v := range []struct {
		op, ret string
		acc     [2]Vec
	}{{"PMINSW", "low+32(FP)", [2]Vec(low)}, {"PMAXSW", "high+36(FP)", [2]Vec(high)}} {
		f.Op("PSRLL", 24, v.acc[0])
		f.fold(v.op, v.acc[0], v.acc[1])
		f.Op("PSLLL", 24, v.acc[0])
		f.Op("MOVSS", v.acc[0], v.ret)
	}
	f.Return(f)
	return f
}

// within writes a test of exponents that is cheaper than their span.
func within(arch *Arch) *Func {
	f := newProbe(arch, "within", "(p unsafe.Pointer, off *int, rows, n int, bias uint32) (all uint32)", 44, `
all = 1<<32 - 1
for r := range rows {
	for i := range n {
		all &= bits of (*float32)(p + off[r])[i], plus bias
	}
}
`)
	p, off, rows, n := f.int("p"), f.int("off"), f.int("rows left"), f.int("n")
	row, left := f.int("row"), f.int("elements left")
	m := f.vectors("all:")
	all, x, bias := m.take(2, "all"), m.take(2, "elements"), m.one("bias")
	f.Op(f.Mov, "p+0(FP)", p)
	f.Op(f.Mov, "off+8(FP)", off)
	f.Op(f.Mov, "rows+16(FP)", rows)
	f.Op(f.Mov, "n+24(FP)", n)
	f.Op("MOVSS", "bias+32(FP)", bias)
	f.Op("PSHUFL", 0, bias, bias)
	for _, v := range all {
		f.Op("PCMPEQL", v, v)
	}
	test := func(i, disp int) {
		f.Op("MOVUPS", mem(row, disp), x[i])
		f.Op("PADDL", bias, x[i])
		f.Op("PAND", x[i], all[i])
	}
	f.Label("rows")
	f.Op(f.Mov, mem(off, 0), row)
	f.Op("ADDQ", p, row)
	f.Op("ADDQ", 8, off)
	f.Op(f.Mov, n, left)
	f.Op("SUBQ", 8, left)
	f.Op("JLT", "few")
	f.Loop("loop")
	test(0, 0)
	test(1, 16)
	f.Op("ADDQ", 32, row)
	f.Op("SUBQ", 8, left)
	f.Op("JGE", "loop")
	f.Label("few")
	f.Op("ADDQ", 8, left)
	f.Op("JEQ", "next")
	f.Op("CMPQ", left, 4)
	f.Op("JLT", "last")
	test(0, 0)
	f.Label("last")
	f.Op("LEAQ", fmt.Sprintf("-16(%s)(%s*4)", row, left), row)
	test(1, 0)
	f.Label("next")
	f.Op("DECQ", rows)
	f.Op("JNE", "rows")
	f.Op("PAND", all[1], all[0])
	f.fold("PAND", all[0], all[1])
	f.Op("MOVSS", all[0], "all+40(FP)")
	f.Return(f)
	return f
}
