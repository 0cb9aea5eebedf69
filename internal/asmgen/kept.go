package asmgen

import "github.com/qkv-go/qkv/kernel"

// findKept writes a loop over the steps with a mask, which notes in local variables what
// lanes each keeps: once, instead of in every micro-tile. It counts down as keptLoop does.
// The registers that micro-tiles set are free.
func (p *product) findKept(b string) {
	p.locals = 8 * kernel.KeyBlock
	v := p.Vectors[0]
	lanes, tmp := p.ptr[0], p.ptr[1]
	p.load("Keys", p.k)
	p.SubLoad(p.Func, p.arg("MaskFrom"), p.k)
	p.note("a.MaskFrom")
	p.Branch(p.Func, p.k, "EQ", "$0", "found")
	p.load("MaskFrom", p.b)
	p.Op(p.MulInt, p.stride, p.b)
	p.load(b, tmp)
	p.Op(p.Add, tmp, p.b)
	p.load("Lanes", lanes)
	p.Loop("find")
	p.Op(p.Mov, -1, tmp)
	for i := range max(1, p.KeptWords) {
		p.Op(p.Mov, tmp, p.Local(p.Func, p.k, i*p.locals/max(1, p.KeptWords)))
	}
	for j := range p.MaxVectors() {
		p.KeptLanes(p.Func, p.b, j, p.k, v, tmp)
		if j < p.MaxVectors()-1 {
			p.Branch(p.Func, lanes, "EQ", imm((j+1)*p.Arch.Lanes), "next")
		}
	}
	p.Label("next")
	p.Op(p.Add, p.stride, p.b)
	p.Countdown(p.k, "find")
	p.Label("found")
}

// keptLoop writes a loop over k of steps that leave out the lanes where B has its
// sign bit set, as findKept noted, and goes on at done. Most steps have none.
func (t *tile) keptLoop(done string) {
	kept, all, none := "kept"+t.name, "keptAll"+t.name, "keptNone"+t.name
	t.Loop(kept)
	t.KeptAll(t.Func, t.k, all)
	if t.KeptNone != nil {
		t.KeptNone(t.Func, t.k, t.vecs, none)
	}
	t.KeptStep(t)
	t.Label(none)
	t.nextB()
	t.nextA()
	t.Countdown(t.k, kept)
	t.Jump(done)
	t.Label(all)
	t.step(t.FMA, func() { t.Count(t.Func, t.k) })
	t.Again(t.Func, kept)
}

// vectorLogic is what keptByZero needs of an architecture: signs is all ones where v
// has its sign bit set, shift1 is v >> 1, and fma is acc += x*y of whole vectors.
type vectorLogic struct {
	signs, shift1 func(v, dst Vec)
	fma           func(x, y, acc Vec)
}

// keptByZero is a KeptStep for sets without mask registers. Where p has its sign bit
// set, 0 * -0 is added instead, which is -0 and changes nothing. A vector of B at a
// time, for want of registers.
func (t *tile) keptByZero(do vectorLogic) {
	p, dropped, x := t.bv[0], t.tmp[0], t.tmp[1]
	for j := range t.vecs {
		t.loadB(j, p)
		do.signs(p, dropped)
		do.shift1(dropped, x)
		t.ClearBits(t.Func, x, p)
		for r, acc := range t.acc {
			t.Broadcast(t.Func, t.elem(r), x)
			t.ClearBits(t.Func, dropped, x)
			do.fma(x, p, acc[j])
		}
	}
}
