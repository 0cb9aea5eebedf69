package asmgen

import (
	"fmt"
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const transposeInt8Formula = `
for d := range Dim, blocks b of 32 values {
	block b of row d of Dst = {
		integers d of the values at Src + Off[k], 0 behind Keys
		D, Sum, Whole, First, Second = 1, 1, -128 * the sum of the integers, 0, 0
	}
}
`

// A valueTransposer is the body of TransposeInt8, with instructions of AVX2. Of 32 values by 32 dims it interleaves the
// bytes of four values each, in local memory, and transposes eight by eight of the dwords.
type valueTransposer struct {
	*Func
	src, dst   Int // at the dims
	stride     Int // of Dst, from dim to dim
	dims       Int // left
	off        Int // offsets of four values, in local memory
	n          Int // left
	local, tmp Int
	k          [4]Int // offsets

	elem             kernel.Elem
	v                []Vec // of values, or rows of dwords
	spare            Vec
	sums             []Vec // of integers of dims
	ones, words, low Vec
}

// Local memory of a valueTransposer: variables; offsets of 32 values; dims that are less than a block, of each; dwords
// of four values of 32 dims each; what is Whole, of 32 dims.
const (
	transposeKeys = 8 * iota // left
	transposeOff             // Off, at the block
	transposeDst             // Dst, at the block
	transposeEnd
)

func (t *valueTransposer) localOff() int    { return cacheLine }
func (t *valueTransposer) localTail() int   { return t.localOff() + 8*kernel.Int8Block }
func (t *valueTransposer) localDwords() int { return t.localTail() + kernel.Int8Block*kernel.Int8Block }
func (t *valueTransposer) localWhole() int {
	return t.localDwords() + kernel.Int8Block*kernel.Int8Block
}

// transposeInt8 writes TransposeInt8 where UnitStride is that of units without gaps.
func transposeInt8(arch *Arch) *Func {
	if arch.DotBytes != nil {
		return transposeBytes(arch)
	}
	f := newFunc(arch, "transposeInt8", reflect.TypeFor[kernel.TransposeInt8Args](), transposeInt8Formula)
	t := &valueTransposer{
		Func: f, src: f.int("Src, at the dims"), dst: f.int("Dst, at the dims"), stride: f.int("Dst, bytes from dim to dim"),
		dims: f.int("dims left"), off: f.int("offsets of values"), n: f.int("four values each, or dims, left"),
		local: f.int("local memory"), tmp: f.int("scratch"),
	}
	for i := range t.k {
		t.k[i] = f.int("a value")
	}
	f.locals = t.localWhole() + 4*kernel.Int8Block + cacheLine
	m := f.vectors("all:")
	half := func(n int, use string) []Vec {
		v := m.take(n, use)
		for i := range v {
			v[i] = low(v[i], "Y")
		}
		return v
	}
	t.v, t.spare, t.sums = half(8, "values, dwords of a dim"), half(1, "scratch")[0], half(4, "sums of integers")
	t.ones, t.words, t.low = half(1, "ones of 8 bits, order of integers of 16")[0], half(1, "ones of 16 bits")[0], half(1, "4 bits")[0]
	f.LocalBase(f, t.local)
	f.load("RowBytes", t.stride)
	f.keep("Keys", t.tmp, t.local, transposeKeys)
	f.keep("Off", t.tmp, t.local, transposeOff)
	f.keep("Dst", t.tmp, t.local, transposeDst)
	f.Op("VMOVUPS", f.patternAt(0x00010001), t.words)
	f.Op("VMOVUPS", f.patternAt(0x0f0f0f0f), t.low)
	f.Loop("block")
	t.offsets()
	f.load("Src", t.src)
	f.Op(f.Mov, mem(t.local, transposeDst), t.dst)
	f.byElemAs(integerElems(), "", t.n, func(e kernel.Elem) {
		t.elem = e
		f.load("Dim", t.dims)
		loop, whole := e.String()+"Dims", e.String()+"Whole"
		f.Loop(loop)
		if e == kernel.Int8 {
			f.Branch(f, t.dims, "GE", imm(kernel.Int8Block), whole)
			t.copyTail()
			f.Label(whole)
		}
		t.interleave()
		t.rows()
		f.Op(f.Add, e.RowBytes(kernel.Int8Block), t.src)
		f.Op(f.Mov, t.stride, t.tmp)
		f.times(kernel.Int8Block, t.tmp)
		f.Op(f.Add, t.tmp, t.dst)
		f.Op(f.Sub, kernel.Int8Block, t.dims)
		f.Branch(f, t.dims, "GT", "$0", loop)
		if e != kernel.Q4_1 {
			f.Jump("nextBlock")
		}
	})
	f.Label("nextBlock")
	f.Op(f.Add, 8*kernel.Int8Block, mem(t.local, transposeOff))
	f.Op(f.Add, kernel.Int8BlockBytes(t.halves()), mem(t.local, transposeDst))
	f.Op(f.Sub, kernel.Int8Block, mem(t.local, transposeKeys))
	f.Op("JGT", "block")
	f.Return(f)
	return f
}

func (t *valueTransposer) halves() bool { return t.Dot4 == nil }

// offsets copies the offsets of the block to local memory. The last value stands for missing ones.
func (t *valueTransposer) offsets() {
	from, to, left := t.off, t.dst, t.k[0]
	t.Op(t.Mov, mem(t.local, transposeOff), from)
	t.Op(t.Mov, mem(t.local, transposeKeys), left)
	t.Op("LEAQ", mem(t.local, t.localOff()), to)
	t.Op(t.Mov, kernel.Int8Block, t.n)
	t.Loop("copy")
	t.Op(t.Mov, mem(from, 0), t.tmp)
	t.Op(t.Mov, t.tmp, mem(to, 0))
	t.Op(t.Add, 8, to)
	t.Branch(t.Func, left, "EQ", "$1", "last")
	t.Op(t.Add, 8, from)
	t.Op(t.Sub, 1, left)
	t.Label("last")
	t.Countdown(t.n, "copy")
}

// copyTail copies the last dims of each value to local memory, where src and the offsets then point.
func (t *valueTransposer) copyTail() {
	from, to, next := t.k[0], t.k[1], t.k[2]
	t.Op("LEAQ", mem(t.local, t.localOff()), t.off)
	t.Op("LEAQ", mem(t.local, t.localTail()), next)
	t.Op(t.Mov, kernel.Int8Block, t.n)
	t.Loop("tail")
	t.Op(t.Mov, mem(t.off, 0), from)
	t.Op(t.Add, t.src, from)
	t.Op(t.Mov, next, to)
	t.copyBits(t.dims, from, to, t.tmp, low(t.spare, "X"), "tail")
	t.Op(t.Mov, next, t.tmp)
	t.Op(t.Sub, t.local, t.tmp)
	t.Op(t.Mov, t.tmp, mem(t.off, 0))
	t.Op(t.Add, kernel.Int8Block, next)
	t.Op(t.Add, 8, t.off)
	t.Countdown(t.n, "tail")
	t.Op(t.Mov, t.local, t.src)
}

// interleave writes dwords of four values of 32 dims to local memory, and sums of dims.
func (t *valueTransposer) interleave() {
	name := func(label string) string { return t.elem.String() + label }
	left, to, addr := t.k[3], t.n, t.tmp
	for _, s := range t.sums {
		t.Op("VPXOR", s, s, s)
	}
	t.Op("VMOVUPS", t.patternAt(0x01010101), t.ones)
	t.Op("LEAQ", mem(t.local, t.localOff()), t.off)
	t.Op("LEAQ", mem(t.local, t.localDwords()), to)
	t.Op(t.Mov, mem(t.local, transposeKeys), left)
	loop, whole, some := name("Four"), name("FourWhole"), name("FourSome")
	t.Loop(loop)
	v, spare := append([]Vec(nil), t.v[:4]...), t.spare
	for i, v := range v {
		t.Op(t.Mov, mem(t.off, 8*i), addr)
		at := t.AddressOf(t.Func, t.src, addr, quantsOf(t.elem))
		if t.elem != kernel.Q4_0 && t.elem != kernel.Q4_1 {
			t.Op("VMOVUPS", at, v)
			continue
		}
		t.Op("VMOVUPS", at, low(v, "X"))
		t.Op("VPSRLW", 4, low(v, "X"), low(spare, "X"))
		t.Op("VINSERTI128", 1, low(spare, "X"), v, v)
		t.Op("VPAND", t.low, v, v)
		if t.elem == kernel.Q4_0 {
			t.Op("VPSUBB", t.patternAt(0x08080808), v, v)
		}
	}
	butterfly(t.Func, []any{unpackBW.lo}, []any{unpackBW.hi}, &v[0], &v[1], &spare)
	butterfly(t.Func, []any{unpackBW.lo}, []any{unpackBW.hi}, &v[2], &v[3], &spare)
	butterfly(t.Func, []any{unpackWD.lo}, []any{unpackWD.hi}, &v[0], &v[2], &spare)
	butterfly(t.Func, []any{unpackWD.lo}, []any{unpackWD.hi}, &v[1], &v[3], &spare)
	v[1], v[2] = v[2], v[1]
	t.Branch(t.Func, left, "GE", "$4", whole)
	t.Branch(t.Func, left, "GE", "$0", some)
	t.Op(t.Mov, 0, left)
	t.Label(some)
	t.Address(t.Func, t.symbol("fewBytes", 0, 0xff, 0xffff, 0xffffff), addr)
	t.Op("VPBROADCASTD", fmt.Sprintf("(%s)(%s*4)", addr, left), spare)
	for _, v := range v {
		t.Op("VPAND", spare, v, v)
	}
	t.Label(whole)
	for j, v := range v {
		t.Op("VMOVUPS", v, mem(to, 32*j))
		t.Op("VPMADDUBSW", v, t.ones, v)
		t.Op("VPMADDWD", t.words, v, v)
		t.Op("VPADDD", v, t.sums[j], t.sums[j])
	}
	t.Op(t.Add, 32, t.off)
	t.Op(t.Add, 128, to)
	t.Op(t.Sub, 4, left)
	end := t.k[0]
	t.Op("LEAQ", mem(t.local, t.localDwords()+8*128), end)
	t.Branch(t.Func, to, "LT", string(end), loop)
	t.Op("VPXOR", spare, spare, spare)
	for j, s := range t.sums {
		t.Op("VPSLLD", 7, s, s)
		t.Op("VPSUBD", s, spare, s)
		t.Op("VMOVUPS", s, mem(t.local, t.localWhole()+32*j))
	}
}

// rows writes the blocks of 32 dims: those of 4*j to 4*j+3 and of 16 more, of the dwords j of four values.
func (t *valueTransposer) rows() {
	name := func(format string, args ...any) string { return t.elem.String() + fmt.Sprintf(format, args...) }
	row, upper, from, left, one := t.k[0], t.k[1], t.k[2], t.k[3], t.off
	whole := t.n
	if t.halves() {
		t.Op("VMOVUPS", t.int8Order(), t.ones)
	}
	t.Op(t.Mov, t.dst, row)
	t.Op("LEAQ", mem(t.local, t.localDwords()), from)
	t.Op("LEAQ", mem(t.local, t.localWhole()), whole)
	t.Op(t.Mov, t.dims, left)
	bits := uint64(math.Float32bits(1))
	t.Op(t.Mov, fmt.Sprintf("$%#x", bits|bits<<32), one)
	loop, next := name("Eight"), name("EightNext")
	t.Loop(loop)
	v, spare := append([]Vec(nil), t.v...), t.spare
	for q, v := range v {
		t.Op("VMOVUPS", mem(from, 128*q), v)
	}
	transpose4x4(t.Func, unpackPS, unpackPD, v, &spare)
	for c := range 4 {
		butterfly(t.Func, []any{"VPERM2F128", 0x20}, []any{"VPERM2F128", 0x31}, &v[c], &v[4+c], &spare)
	}
	// Vector i has dim i%4 of the four, and of those 16 further on.
	for i, v := range v {
		dim := i/4*16 + i%4
		t.Branch(t.Func, left, "LE", imm(dim), next)
		if i == 4 {
			t.Op(t.Mov, t.stride, row)
			t.Op(t.Shl, 4, row)
			t.Op(t.Add, t.dst, row)
		}
		t.block(v, spare, row, whole, 4*i, one)
		if i%4 < 3 {
			t.Op(t.Add, t.stride, row)
		}
	}
	t.Label(next)
	t.Op(t.Add, 32, from)
	t.Op(t.Add, 32, whole)
	t.Op(t.Sub, 4, left)
	t.Op(t.Mov, t.stride, upper)
	t.Op(t.Shl, 2, upper)
	t.Op(t.Add, upper, t.dst)
	t.Op(t.Mov, t.dst, row)
	t.Op("LEAQ", mem(t.local, t.localDwords()+128), upper)
	t.Branch(t.Func, from, "LT", string(upper), loop)
	t.Op(t.Mov, t.stride, upper)
	t.Op(t.Shl, 4, upper)
	t.Op(t.Sub, upper, t.dst)
}

// block writes the block of a dim.
func (t *valueTransposer) block(v, spare Vec, to, whole Int, at int, one Int) {
	behind := kernel.Int8Integers(t.halves())
	if t.halves() {
		t.Op("VPSHUFB", t.ones, v, v)
		t.Op("VPMOVSXBW", low(v, "X"), spare)
		t.Op("VMOVUPS", spare, mem(to, 0))
		t.Op("VEXTRACTI128", 1, v, low(v, "X"))
		t.Op("VPMOVSXBW", low(v, "X"), spare)
		t.Op("VMOVUPS", spare, mem(to, 32))
	} else {
		t.Op("VMOVUPS", v, mem(to, 0))
	}
	t.Op("MOVL", mem(whole, at), t.tmp)
	t.Op(t.Mov, one, mem(to, behind+kernel.Int8D)) // and Sum
	t.Op("MOVL", t.tmp, mem(to, behind+kernel.Int8Whole))
	t.Op(t.Mov, 0, mem(to, behind+kernel.Int8First)) // and Second
}
