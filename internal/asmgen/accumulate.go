package asmgen

import (
	"math"
	"reflect"

	"github.com/qkv-go/qkv/kernel"
)

const accumulateFormula = `
for d := range Dim {
	acc = -0
	for k := range Keys {
		if k < MaskFrom || !signbit(P[k]) {
			acc = fma(V[k*KeyStride+d*DimStride], P[k], acc)
		}
	}
	O[d] = fma(Mode == First ? +0 : O[d], Mode == Rescale ? Alpha : 1, acc)
}
`

// accumulate writes Accumulate: A is V, a row of it a dim; B is P and C is O. The
// modes differ in the pointers of the epilogue only: where there is no O or Alpha
// to read, it reads constants.
func accumulate(arch *Arch) *Func {
	return accumulateAs("accumulate", arch, accumulateFormula, arch.Mul)
}

const accumulatePairsFormula = `
for d := range Dim {
	acc = -0
	for k := range Keys {
		v0, v1 = split(V[k*KeyStride+d*DimStride]); p0, p1 = split(P[k])
		acc = k < MaskFrom || !signbit(p0) ? fma(v0, p0, acc) : acc
		acc = k < MaskFrom || !signbit(p1) ? fma(v1, p1, acc) : acc
	}
	O[d] = fma(Mode == First ? +0 : O[d], Mode == Rescale ? Alpha : 1, acc)
}
`

// accumulatePairs writes AccumulatePairs: Accumulate with another instruction.
func accumulatePairs(arch *Arch) *Func {
	return accumulateAs("accumulatePairs", inPairs(arch), accumulatePairsFormula, nil)
}

// accumulateAs writes Accumulate, whose first step sets the accumulators by set, if that is not nil.
func accumulateAs(name string, arch *Arch, formula string, set func(f *Func, x, y, acc Vec)) *Func {
	f := newFunc(arch, name, reflect.TypeFor[kernel.AccumulateArgs](), formula)
	p := &product{Func: f, prefetches: true}
	p.reserve()
	p.stride = p.int("B and C, bytes from row to row")
	f.load("V", p.a)
	f.loadBytes("KeyStride", p.ca)
	f.loadBytes("DimStride", p.ra)
	f.loadBytes("Stride", p.stride)
	f.load("Dim", p.rows)
	f.load("O", p.c)

	p.findKept("P")

	// The first product is the sum of it and -0, so it sets the accumulators where an instruction does that,
	// unless its key may be left out.
	p.steps = func(t *tile) {
		first, masked, done := "first"+t.name, "masked"+t.name, "update"+t.name
		f.load("P", p.b)
		f.load("MaskFrom", p.k)
		if set != nil {
			f.Branch(f, p.k, "NE", "$0", first)
			t.begin(negZero)
			f.Jump(masked)
			f.Label(first)
			t.step(set, nil)
			f.Op(f.Sub, 1, p.k)
		} else {
			t.begin(negZero)
		}
		f.Branch(f, p.k, "EQ", "$0", masked)
		t.loop()
		f.Label(masked)
		f.load("Keys", p.k)
		f.SubLoad(f, f.arg("MaskFrom"), p.k)
		f.note("a.MaskFrom")
		f.Branch(f, p.k, "EQ", "$0", done)
		t.keptLoop(done)
		f.Label(done)
	}

	zeros := f.symbol("zeros", make([]uint32, kernel.MaxLanes)...)
	p.store = func(t *tile) {
		old, alpha, mode := p.ptr[0], p.b, p.k
		oldStride := p.ca
		ready := "ready" + t.name
		f.Op(f.Mov, p.c, old)
		f.Op(f.Mov, p.stride, oldStride)
		f.load("Alpha", alpha)
		f.load("Mode", mode)
		f.byMode(mode, alpha, old, oldStride, zeros, ready)
		for j, v := range t.bv {
			f.Op(f.Load, mem(alpha, j*f.Bytes()), v)
		}
		for r, acc := range t.acc {
			for j, v := range acc {
				x := t.tmp[(r*t.vecs+j)%len(t.tmp)]
				f.Op(f.Load, mem(old, j*f.Bytes()), x)
				f.Op(f.Store, f.Update(f, v, t.bv[j], x), mem(p.c, j*f.Bytes()))
			}
			f.Op(f.Add, oldStride, old)
			f.Op(f.Add, p.stride, p.c)
		}
		f.loadBytes("KeyStride", p.ca) // the register held oldStride
	}
	p.emit()
	return f
}

// byMode has an epilogue read constants where mode says that there is no O or Alpha to read:
// zeros in place of O at old, ones in place of the weights of it.
func (f *Func) byMode(mode, weight, old, oldStride Int, zeros, ready string) {
	ones := make([]uint32, kernel.MaxLanes)
	for i := range ones {
		ones[i] = math.Float32bits(1)
	}
	f.Branch(f, mode, "EQ", imm(int(kernel.Rescale)), ready)
	f.Address(f, f.symbol("ones", ones...), weight)
	f.Branch(f, mode, "EQ", imm(int(kernel.Add)), ready)
	f.Address(f, zeros, old)
	f.Op(f.Mov, 0, oldStride)
	f.Label(ready)
}

// zeroRow is the zeros of a row of dims that DecodeAccumulate takes at a time.
func (f *Func) zeroRow() string { return f.symbol("zeroRow", make([]uint32, blockDims)...) }
