package asmgen

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

const activateFormula = `
for r := range Rows, i := range Cols {
	Dst[r*DstStride+i] = Kind(Gate[r*GateStride+i]) * (Up != nil ? Up[r*UpStride+i] : 1)
}

SiLU(x):     m = max(x, min); x = min(m, max)
	m / (1 + exp(x, factor, rest))
GELUTanh(x): m = max(x, min); x = min(m, max); z = x*x; w = z - x*x, fused
	q = fma(cube, z, factor)
	r = fma(cube, z, factor-q) + cubeRest*z - cube*w, fused, + rest
	m / (1 + exp(x, q, r))
GELU(x):     a = min(|x|, max); z = a*a; w = z - a*a, fused
	v = num / den, polynomials in a; e = poly(f) - 1; s = a * t<<23, of exp(z - w, factor, rest)
	copysign(max(x, 0) - fma(v, e, v)*s, x), fused

exp(x, factor, rest): t = magic - x*factor; f = magic - t - x*factor - x*rest, fused
	poly(f) * (t<<23)
`

// An activator is the body of Activate: rows, and along each a loop over vectors. One vector goes at a
// time: CPUs reach the steps of the next ones while they wait for a division.
type activator struct {
	*Func
	gate, up, dst Int // the next numbers
	n, rows       Int // numbers left of the row, and rows left
	gateStep      Int // bytes from the last whole vector of a row to the next row
	upStep        Int
	dstStep       Int
	upVector      Int // bytes of a vector of Up: 0 where a vector of ones takes its place
	tmp           Int
}

// An activation is the body for one kind.
type activation struct {
	*activator
	name    string
	exp     exp // its constants
	one     string
	mask    Vec
	x       Vec        // numbers
	free    Vec        // after compute
	compute func() Vec // writes the activations of x, and returns where they are
}

// activate writes Activate. Where there is no Up, all is multiplied by 1.
func activate(arch *Arch) *Func {
	f := newFunc(arch, "activate", reflect.TypeFor[kernel.ActivateArgs](), activateFormula)
	a := &activator{
		Func: f, gate: f.int("Gate"), up: f.int("Up"), dst: f.int("Dst"), n: f.int("numbers left of the row"), rows: f.int("rows left"),
		gateStep: f.int("Gate, bytes from the last whole vector of a row to the next"), upStep: f.int("Up, the same"), dstStep: f.int("Dst, the same"),
		upVector: f.int("Up, bytes of a vector"), tmp: f.int("scratch"),
	}
	f.load("Gate", a.gate)
	f.load("Up", a.up)
	f.load("Dst", a.dst)
	f.load("Rows", a.rows)
	f.loadBytes("GateStride", a.gateStep)
	f.loadBytes("UpStride", a.upStep)
	f.loadBytes("DstStride", a.dstStep)
	f.load("Cols", a.tmp)
	f.Op(f.And, -f.Lanes, a.tmp)
	f.Op(f.Shl, 2, a.tmp)
	f.Op(f.Sub, a.tmp, a.gateStep)
	f.Op(f.Sub, a.tmp, a.upStep)
	f.Op(f.Sub, a.tmp, a.dstStep)
	f.Op(f.Mov, f.Bytes(), a.upVector)
	f.Branch(f, a.up, "NE", "$0", "gated")
	ones := slices.Repeat([]uint32{math.Float32bits(1)}, f.Lanes)
	f.Address(f, f.symbol(fmt.Sprint("ones", f.Lanes), ones...), a.up)
	f.Op(f.Mov, 0, a.upStep)
	f.Op(f.Mov, 0, a.upVector)
	f.Label("gated")
	f.load("Kind", a.n)
	f.Branch(f, a.n, "EQ", imm(int(kernel.GELU)), "gelu")
	f.Branch(f, a.n, "EQ", imm(int(kernel.GELUTanh)), "geluTanh")
	a.silu()
	f.Label("gelu")
	a.gelu()
	f.Label("geluTanh")
	a.geluTanh()
	return f
}

// begin begins a kind, and reserves the registers that are not its own.
func (a *activator) begin(name string) (*activation, *vecMap) {
	m := a.vectors(name + ":")
	k := &activation{activator: a, name: name, exp: exp{Func: a.Func}}
	if a.VectorMasks && a.TailMask != nil {
		k.mask = m.one("mask")
	}
	return k, m
}

// emit writes the loops of a kind.
func (k *activation) emit() {
	row, loop, tail, next := "row_"+k.name, "loop_"+k.name, "tail_"+k.name, "next_"+k.name
	k.Loop(row)
	k.load("Cols", k.n)
	k.Op(k.Sub, k.Lanes, k.n)
	k.Branch(k.Func, k.n, "LT", "$0", tail)
	k.Loop(loop)
	k.Op(k.Load, mem(k.gate, 0), k.x)
	y := k.compute()
	k.MulLoad(k.Func, mem(k.up, 0), y, k.free)
	k.Op(k.Store, k.free, mem(k.dst, 0))
	k.Op(k.Add, k.Bytes(), k.gate)
	k.Op(k.Add, k.upVector, k.up)
	k.Op(k.Add, k.Bytes(), k.dst)
	k.Op(k.Sub, k.Lanes, k.n)
	k.Branch(k.Func, k.n, "GE", "$0", loop)

	k.Label(tail)
	k.Op(k.Add, k.Lanes, k.n)
	k.Branch(k.Func, k.n, "EQ", "$0", next)
	if k.TailMask != nil {
		k.TailMask(k.Func, k.n, k.tmp, k.mask)
	}
	load := func(p Int, v Vec) {
		k.Zero(k.Func, v)
		k.LoadScaled(k.Func, mem(p, 0), k.n, Vec(k.one), k.mask, v)
	}
	load(k.gate, k.x)
	y = k.compute()
	load(k.up, k.free)
	k.Op(k.MulV, k.free, y, y)
	k.StoreMasked(k.Func, y, k.n, k.mask, mem(k.dst, 0))

	k.Label(next)
	k.Op(k.Add, k.gateStep, k.gate)
	k.Op(k.Add, k.upStep, k.up)
	k.Op(k.Add, k.dstStep, k.dst)
	k.Countdown(k.rows, row)
	k.Return(k.Func)
}

// set copies a constant.
func (f *Func) set(c string, v Vec) {
	if inMemory(c) {
		f.Broadcast(f, c, v)
	} else {
		f.Op(f.Copy, Vec(c), v)
	}
}

// in returns a register that has a constant: v, if it is in memory.
func (f *Func) in(c string, v Vec) Vec {
	if !inMemory(c) {
		return Vec(c)
	}
	f.Broadcast(f, c, v)
	return v
}

// bound is m = max(m, low), x = min(m, high). tmp is free.
func (k *activation) bound(low, high string, m, x, tmp Vec) {
	k.MaxOf(k.Func, k.in(low, tmp), m, tmp)
	k.Op(k.Copy, m, x)
	k.MinOf(k.Func, k.in(high, tmp), x, tmp)
}

// reduce is t = magic - x*factor, f = magic - t - x*factor - x*rest, where factor and rest are registers
// or constants.
func (k *activation) reduce(x, t, f Vec, factor, rest any) {
	k.set(k.exp.magic, t)
	k.Op(k.FMSV, factor, x, t)
	k.Op(k.SubV, t, k.in(k.exp.magic, f), f)
	k.Op(k.FMSV, factor, x, f)
	k.Op(k.FMSV, rest, x, f)
}

// power leaves 2^n, of which reduce made t, in t, and returns the polynomial of f from coefficient low
// on. p and spare are lost.
func (k *activation) power(low int, t, f, p, spare Vec) Vec {
	e := k.exp
	e.f, e.p, e.spare = []Vec{f}, []Vec{p}, spare
	e.horner(low)
	k.Op(k.ShlV, exponentBits, t, t)
	return e.p[0]
}

// quotient is m = m / (1 + p * 2^n). All other registers are lost.
func (k *activation) quotient(m, t, f, p Vec) Vec {
	p = k.power(0, t, f, p, k.exp.spare)
	k.set(k.one, f)
	k.Op(k.FMAV, t, p, f)
	k.Op(k.DivV, f, m, m)
	return m
}

// silu writes SiLU.
func (a *activator) silu() {
	k, m := a.begin("silu")
	k.x = m.one("m")
	x, t, f := m.one("x"), m.one("t"), m.one("f")
	k.free = t
	k.exp.spareFrom(m)
	k.exp.constants(m, 0)
	k.one = k.exp.poly[0]
	low, high := m.constant(fp.SiLUMin, "min"), m.constant(fp.SiLUMax, "max")
	factor, rest := m.constant(fp.LogisticFactor, "factor"), m.constant(fp.LogisticRest, "rest")
	k.compute = func() Vec {
		k.bound(low, high, k.x, x, t)
		k.reduce(x, t, f, factor, rest)
		return k.quotient(k.x, t, f, x)
	}
	k.emit()
}

// geluTanh writes GELUTanh.
func (a *activator) geluTanh() {
	k, m := a.begin("geluTanh")
	k.x = m.one("m")
	x, q, z, w, r := m.one("x"), m.one("q"), m.one("z, f"), m.one("w, t"), m.one("r")
	t, f := w, z
	k.free = t
	k.exp.spareFrom(m)
	k.exp.constants(m, 0)
	k.one = k.exp.poly[0]
	low, high := m.constant(fp.GELUTanhMin, "min"), m.constant(fp.GELUTanhMax, "max")
	factor, rest := m.constant(fp.GELUTanhFactor, "factor"), m.constant(fp.GELUTanhRest, "rest")
	cube, cubeRest := m.constant(fp.GELUTanhCube, "cube"), m.constant(fp.GELUTanhCubeRest, "cubeRest")
	k.compute = func() Vec {
		k.bound(low, high, k.x, x, t)
		k.Op(k.MulV, x, x, z)
		k.set(factor, q)
		k.Op(k.FMAV, cube, z, q)
		k.Op(k.Copy, z, w)
		k.Op(k.FMSV, x, x, w)
		k.Op(k.SubV, q, k.in(factor, r), r)
		k.Op(k.FMAV, cube, z, r)
		k.Op(k.FMAV, cubeRest, z, r)
		k.Op(k.FMSV, cube, w, r)
		k.Op(k.AddV, rest, r, r)
		k.reduce(x, t, f, q, r)
		return k.quotient(k.x, t, f, x)
	}
	k.emit()
}

// gelu writes GELU.
func (a *activator) gelu() {
	k, m := a.begin("gelu")
	k.x = m.one("x, sign")
	abs, z, t, f, positive := m.one("a"), m.one("z"), m.one("t"), m.one("f"), m.one("max(x, 0)")
	num, den, w := m.one("num"), m.one("num, den"), m.one("w, den, e")
	k.free = t
	sign := m.one("sign")
	a.Broadcast(a.Func, a.constant(negZero), sign)
	k.one = m.constant(1, "1")
	k.exp.constants(m, 1)
	numerator, denominator := fp.GELURatio()
	var c [fp.GELUTerms]string
	d := [fp.GELUTerms + 1]string{k.one} // the first coefficient
	for i, x := range denominator[1:] {
		d[1+i] = m.constant(x, fmt.Sprintf("den[%d]", 1+i))
	}
	for i, x := range numerator {
		c[i] = m.constant(x, fmt.Sprintf("num[%d]", i))
	}
	high := m.constant(fp.GELUMax, "max")
	factor, rest := m.constant(fp.GELUFactor, "factor"), m.constant(fp.GELURest, "rest")
	// sum is dst = c + x*y.
	sum := func(c string, x any, y, dst Vec) {
		k.set(c, dst)
		k.Op(k.FMAV, x, y, dst)
	}
	k.compute = func() Vec {
		k.Zero(k.Func, positive)
		k.MaxOf(k.Func, k.x, positive, t)
		k.Op(k.Copy, k.x, abs)
		k.ClearBits(k.Func, sign, abs)
		k.Op(k.AndV, sign, k.x, k.x)
		k.MinOf(k.Func, k.in(high, t), abs, t)
		k.Op(k.MulV, abs, abs, z)
		k.Op(k.Copy, z, w)
		k.Op(k.FMSV, abs, abs, w)
		k.reduce(z, t, f, factor, rest)
		k.Op(k.FMAV, factor, w, f)

		sum(c[3], c[4], abs, num)
		sum(c[1], c[2], abs, den)
		k.Op(k.FMAV, num, z, den)
		sum(c[0], den, abs, num)

		sum(d[3], d[4], abs, den)
		k.Op(k.FMAV, d[5], z, den)
		sum(d[1], d[2], abs, w)
		k.Op(k.FMAV, den, z, w)
		sum(d[0], w, abs, den)

		k.Op(k.DivV, den, num, num)
		e := k.power(1, t, f, w, z)
		k.Op(k.MulV, f, e, e)
		tail := k.Update(k.Func, num, num, e)
		k.Op(k.MulV, abs, t, t)
		k.Op(k.FMSV, t, tail, positive)
		k.Op(k.OrV, k.x, positive, positive)
		return positive
	}
	k.emit()
}
