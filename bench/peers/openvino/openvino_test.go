package openvino

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
		"b=2,h=4,sq=37,skv=61,d=32", "h=4,sq=40,d=64,mask=causal", "b=2,h=4,hkv=2,sq=37,skv=61,d=64,mask=causal", "b=2,h=8,hkv=2,sq=1,skv=333,d=128",
		"h=4,hkv=2,sq=1,skv=77,d=64,kv=float16", "h=4,hkv=2,sq=33,d=64,mask=causal,kv=bfloat16",
		"b=2,h=4,hkv=2,sq=1,skv=333,d=64,kv=int8", "b=2,h=4,hkv=2,sq=1,skv=333,d=128,kv=q8_0", "h=4,hkv=2,sq=65,skv=333,d=128,mask=causal,kv=q8_0",
		"h=4,hkv=2,sq=65,d=128,mask=causal,kv=int8,class=int8", "h=4,hkv=2,sq=65,d=128,mask=causal,kv=q4_0",
		"b=2,h=4,hkv=2,sq=1,skv=333,d=128,kv=q4_0",
		"m=1,n=70,k=90", "m=33,n=40,k=50", "m=33,n=64,k=512,w=float16", "m=33,n=64,k=512,w=bfloat16",
		"m=1,n=64,k=512,w=q8_0", "m=33,n=64,k=512,w=q8_0", "m=1,n=64,k=512,w=q4_0", "m=33,n=64,k=512,w=q4_0")
	systemtest.Refuses(t, s, "h=2,sq=50,d=32,mask=causal,window=3:0", "h=2,sq=5,d=32,kv=q8_0", "h=2,sq=1,d=32,kv=q4_1", "h=2,sq=50,d=32,k=float16",
		"m=2,n=8,k=64,w=q4_1", "m=2,n=8,k=256,w=q4_k")
}
