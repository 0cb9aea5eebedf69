package asmgen

import "github.com/qkv-go/qkv/kernel"

const float16Formula = `
for i := range n {
	dst[i] = float32(src[i])
}
`

// float16 writes Float16. What is left after whole vectors is converted one by one.
func float16(arch *Arch) *Func {
	f := newProbe(arch, "float16", "(dst *float32, src *uint16, n int)", 24, float16Formula)
	dst, src := f.int("dst"), f.int("src")
	n := f.int("values left")
	tmp := f.int("scratch")
	v := f.vectors("all:").one("values")
	f.Op(f.Mov, "dst+0(FP)", dst)
	f.Op(f.Mov, "src+8(FP)", src)
	f.Op(f.Mov, "n+16(FP)", n)
	f.Op(f.Sub, f.Lanes, n)
	f.Branch(f, n, "LT", "$0", "tail")
	f.Loop("loop")
	f.LoadElem(f, kernel.Float16, mem(src, 0), v)
	f.Op(f.Store, v, mem(dst, 0))
	f.Op(f.Add, f.Bytes()/2, src)
	f.Op(f.Add, f.Bytes(), dst)
	f.Op(f.Sub, f.Lanes, n)
	f.Branch(f, n, "GE", "$0", "loop")
	f.Label("tail")
	f.Op(f.Add, f.Lanes, n)
	f.Branch(f, n, "EQ", "$0", "done")
	f.Loop("one")
	f.LoadOne(f, kernel.Float16, mem(src, 0), tmp, v)
	f.StoreElement(f, v, mem(dst, 0))
	f.Op(f.Add, 2, src)
	f.Op(f.Add, 4, dst)
	f.Countdown(n, "one")
	f.Label("done")
	f.Return(f)
	return f
}
