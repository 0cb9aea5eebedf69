package asmgen

import "github.com/qkv-go/qkv/kernel"

var avx512vnni = func() *Arch {
	arch := derive(avx512, "AVX512VNNI", kernel.AVX512VNNI, int8Fields...)
	arch.Dot4 = func(f *Func, w, x, acc, _ Vec) { f.Op("VPDPBUSD", x, w, acc) }
	return &arch
}()
