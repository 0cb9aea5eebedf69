package onnxruntime

import (
	"errors"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/systemtest"
)

func TestSystem(t *testing.T) {
	s, err := Open("../lib")
	if err != nil {
		t.Skip(err)
	}
	t.Log(s.Version())
	systemtest.Computes(t, s,
		"h=2,sq=5,d=32", "b=2,h=3,sq=130,skv=300,d=64", "h=4,hkv=2,sq=139,d=128,mask=causal", "h=4,sq=39,d=64,mask=causal",
		"b=2,h=8,hkv=2,sq=1,skv=333,d=64", "h=8,hkv=2,sq=1,skv=333,d=64,mask=causal", "b=2,h=4,hkv=2,sq=65,d=64,mask=causal,kv=float16",
		"h=4,hkv=2,sq=1,skv=1064,d=128,kv=float16",
		"b=2,h=4,hkv=2,sq=1,skv=333,d=64,kv=int8", "h=4,hkv=2,sq=130,d=128,mask=causal,kv=q8_0", "h=4,hkv=2,sq=1,skv=1064,d=128,kv=q4_0",
		"m=1,n=70,k=90", "m=33,n=40,k=50", "m=1,n=70,k=96,w=q4_0", "m=33,n=40,k=512,w=q4_0", "m=1,n=70,k=96,w=q8_0", "m=33,n=40,k=512,w=q8_0")
	systemtest.Refuses(t, s, "h=2,sq=5,d=32,kv=int8", "h=2,sq=50,d=32,mask=causal,window=3:0", "h=2,sq=50,d=32,kv=bfloat16",
		"m=2,n=8,k=64,w=q4_1", "m=2,n=8,k=64,w=float16", "m=2,n=8,k=256,w=q4_k")
}

// TestUnknown: a library without an operator, or with another form of it, is a failure and no work that is
// left out.
func TestUnknown(t *testing.T) {
	s, err := Open("../lib")
	if err != nil {
		t.Skip(err)
	}
	in := bench.Product{M: 2, N: 8, K: 64}.Inputs(1).(*bench.ProductInputs)
	var unsupported *bench.UnsupportedError
	for _, m := range []model{
		{domain: contrib, opset: contribOpset, op: "MatMulNoBits"},
		{domain: contrib, opset: contribOpset, op: "MatMulNBits", ints: map[string]int64{"K": 64, "N": 8, "bits": 4}},
	} {
		if _, err := s.(*System).product(in.Product, 1, in.X, in.Y, &m, m.op); err == nil || errors.As(err, &unsupported) || !strings.Contains(err.Error(), m.op) {
			t.Errorf("%s: error %v", m.op, err)
		}
	}
}
