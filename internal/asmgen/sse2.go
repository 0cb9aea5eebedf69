package asmgen

// sse2 is what every amd64 has. It has no fused multiply-add: see [chainEmitters].
var sse2 = func() *Arch {
	arch := x86(4, "X", 16, "X")
	arch.Name = "SSE2"
	arch.Return = func(f *Func) { f.Op("RET") }
	return &arch
}()
