package asmgen

import "github.com/qkv-go/qkv/kernel/fp"

// peakFMAs is the number of fused multiply-adds of vectors in a round of Peak.
const peakFMAs = 24

// readFloats is the number of float32 in a round of Read.
const readFloats = 256

// peak writes Peak: independent fused multiply-adds, and nothing else.
func peak(arch *Arch) *Func { return peakAs("peak", arch, "fma(x, y, acc[i])") }

// peakBFloat16 writes PeakBFloat16: Peak with the instruction for pairs, where there is one.
func peakBFloat16(arch *Arch) *Func {
	step := "fma(x, y, acc[i])"
	if hasDotPairs(arch) {
		arch, step = inPairs(arch), "fma(x1, y1, fma(x0, y0, acc[i]))"
	}
	return peakAs("peakBFloat16", arch, step)
}

// peakBFloat16FLOPs is the operations of a round of PeakBFloat16.
func (arch *Arch) peakBFloat16FLOPs() int {
	flops := 2 * arch.Lanes * peakFMAs
	if hasDotPairs(arch) {
		flops *= 2
	}
	return flops
}

func peakAs(name string, arch *Arch, step string) *Func {
	f := newProbe(arch, name, "(n int)", 8, `
for range n {
	acc[i] = `+step+`, for each i, again and again
}
`)
	n := f.int("rounds left")
	m := f.vectors("all:")
	acc := m.take(f.PeakAccs, "acc")
	x, y := m.one("x"), m.one("y")
	f.Op(f.Mov, "n+0(FP)", n)
	poly := fp.ExpPoly()
	f.Broadcast(f, f.constant(poly[5]), x)
	f.Broadcast(f, f.constant(poly[1]), y)
	for _, v := range acc {
		f.Op(f.Copy, y, v)
	}
	f.Branch(f, n, "LE", "$0", "done")
	f.Loop("loop")
	for i := range peakFMAs {
		f.FMA(f, x, y, acc[i%f.PeakAccs])
	}
	f.Countdown(n, "loop")
	f.Label("done")
	f.Return(f)
	return f
}

// read writes Read.
func read(arch *Arch) *Func {
	f := newProbe(arch, "read", "(p *float32, n int) float32", 20, `
for i := range n {
	acc[i%len(acc)] += p[i]
}
return the sum of acc
`)
	p := f.int("p")
	n := f.int("values left")
	m := f.vectors("all:")
	acc := m.take(8, "acc")
	f.Op(f.Mov, "p+0(FP)", p)
	f.Op(f.Mov, "n+8(FP)", n)
	for _, v := range acc {
		f.Zero(f, v)
	}
	f.Branch(f, n, "LE", "$0", "done")
	f.Loop("loop")
	for i := range readFloats / f.Lanes {
		f.AddLoad(f, mem(p, i*f.Bytes()), acc[i%len(acc)])
	}
	f.Op(f.Add, 4*readFloats, p)
	f.Op(f.Sub, readFloats, n)
	f.Branch(f, n, "GT", "$0", "loop")
	f.Label("done")
	for width := len(acc) / 2; width > 0; width /= 2 {
		for i := range width {
			f.Op(f.AddV, acc[i+width], acc[i], acc[i])
		}
	}
	f.Reduce(f, acc[0], acc[1], "ret+16(FP)")
	f.Return(f)
	return f
}
