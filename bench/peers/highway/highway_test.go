package highway

import (
	"testing"

	"github.com/qkv-go/qkv/bench/peers/internal/systemtest"
)

func TestComputes(t *testing.T) {
	s, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	systemtest.Computes(t, s,
		"b=2,h=4,hkv=2,sq=37,skv=61,d=32",
		"h=2,sq=150,d=64",
		"h=2,sq=150,d=64,mask=causal",
		"h=4,hkv=1,sq=5,skv=131,d=128,mask=causal",
		"h=6,hkv=2,sq=1,skv=77,d=40",
		"h=4,hkv=2,sq=1,skv=77,d=64,mask=causal",
		"h=4,hkv=2,sq=33,skv=70,d=64,mask=causal,kv=float16",
		"h=4,hkv=2,sq=33,skv=70,d=64,kv=bfloat16",
		"h=4,hkv=2,sq=1,skv=300,d=128,kv=float16",
		"m=1,n=130,k=77",
		"m=67,n=130,k=96",
	)
}

func TestRefuses(t *testing.T) {
	s, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	systemtest.Refuses(t, s,
		"m=2,n=8,k=64,w=q8_0",
		"h=2,sq=1,skv=64,d=64,kv=q8_0",
		"h=2,sq=1,skv=64,d=64,kv=int8",
		"h=2,sq=1,skv=64,d=64,k=float16",
		"h=2,sq=16,d=32,dv=64",
		"h=2,sq=16,d=32,window=4:0",
		"h=2,sq=32,skv=16,d=32,mask=causal",
	)
}
