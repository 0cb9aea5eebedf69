package ggml

import (
	"testing"

	"github.com/qkv-go/qkv/bench/peers/internal/systemtest"
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
		"h=4,hkv=2,sq=33,skv=65,d=64,mask=causal,kv=bfloat16", "h=4,hkv=2,sq=1,skv=64,d=64,kv=q8_0", "h=4,hkv=2,sq=1,skv=1064,d=128,kv=float16",
		"m=1,n=70,k=90", "m=33,n=40,k=50")
	systemtest.Refuses(t, s, "h=2,sq=5,d=32,kv=int8", "h=2,sq=50,d=32,mask=causal,window=3:0", "h=2,sq=50,d=32,k=float16")
}
