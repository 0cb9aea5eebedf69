package ggml

import (
	"errors"
	"strings"
	"testing"

	"github.com/klauspost/cpuid/v2"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/systemtest"
	"github.com/qkv-go/qkv/kernel"
)

func TestSystem(t *testing.T) {
	s, err := Open("../lib")
	if err != nil {
		t.Skip(err)
	}
	t.Log(s.Version())
	systemtest.Computes(t, s,
		"h=2,sq=5,d=32", "b=2,h=3,sq=130,skv=300,d=64", "h=4,hkv=2,sq=70,skv=139,d=128,mask=causal",
		"h=2,sq=300,d=64,mask=causal", "b=2,h=8,hkv=2,sq=1,skv=333,d=64", "b=2,h=4,hkv=2,sq=33,skv=65,d=64,mask=causal,kv=float16",
		"h=4,hkv=2,sq=33,skv=65,d=64,mask=causal,kv=bfloat16", "h=4,hkv=2,sq=1,skv=64,d=64,kv=q8_0",
		"h=4,hkv=2,sq=1,skv=164,d=64,kv=q4_0", "h=4,hkv=2,sq=70,skv=139,d=128,mask=causal,kv=q4_0", "h=4,hkv=2,sq=1,skv=164,d=64,kv=q4_1",
		"h=4,hkv=2,sq=1,skv=1064,d=128,kv=float16",
		"m=1,n=70,k=90", "m=33,n=40,k=50")
	for w := range weightTypes {
		for _, p := range []bench.Product{{M: 1, N: 64, K: 512}, {M: 9, N: 64, K: 512}, {M: 5, N: 30, K: 256}} { // 8 rows at a time, and not
			p.Weights, p.InPlace = w, true
			systemtest.Computes(t, s, p.String())
		}
	}
	systemtest.Refuses(t, s, "h=2,sq=5,d=32,kv=int8", "h=2,sq=50,d=32,mask=causal,window=3:0", "h=2,sq=50,d=32,k=float16")
}

// TestTypes: each type of weights but that of integers with scales apart is one of ggml's, and a library
// that has another type by its number is an error that says so, and no work that is left out.
func TestTypes(t *testing.T) {
	opened, err := Open("../lib")
	if err != nil {
		t.Skip(err)
	}
	s := opened.(*System)
	for _, w := range kernel.Weights() {
		w := qkv.WeightType(w)
		number, ok := weightTypes[w]
		if ok == (w == qkv.WeightInt8) {
			t.Errorf("%v: a number is known: %v", w, ok)
		}
		if !ok {
			continue
		}
		if err := s.checkType(number, w); err != nil {
			t.Error(err)
		}
		for _, c := range []struct {
			number int
			want   string
		}{{4, `has the type "DEPRECATED" by the number 4`}, {16, `has the type "iq2_xxs" by the number 16`}} {
			if err := s.checkType(c.number, w); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v by the number %d: error %v, want %q", w, c.number, err, c.want)
			}
		}
	}
	other := *s
	other.typeSize = func(int32) uintptr { return 19 }
	in := bench.Product{M: 1, N: 8, K: 64, Weights: qkv.WeightQ4_0, InPlace: true}.Inputs(1)
	var unsupported *bench.UnsupportedError
	if _, err := other.Paths(in, 1); err == nil || errors.As(err, &unsupported) || !strings.Contains(err.Error(), "32 values in 19 bytes for Q4_0, not of 32 in 18") {
		t.Errorf("with blocks of another size: error %v", err)
	}
}

// TestLayouts: ggml lays weights of Q4_0 and Q4_K out anew on processors with AVX2.
func TestLayouts(t *testing.T) {
	s, err := Open("../lib")
	if err != nil {
		t.Skip(err)
	}
	if !cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3) {
		t.Skip("this processor lacks AVX2")
	}
	for _, w := range []qkv.WeightType{qkv.WeightQ4_0, qkv.WeightQ4_K} {
		in := bench.Product{M: 2, N: 64, K: 512, Weights: w, InPlace: true}.Inputs(1)
		paths, err := s.Paths(in, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(paths) < 2 {
			t.Errorf("%v: %d paths, want one with weights as they are and one with them laid out anew", w, len(paths))
		}
		for _, p := range paths {
			t.Log(p.Name)
			p.Close()
		}
	}
}
