package blas

import (
	"testing"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/systemtest"
)

func TestSystems(t *testing.T) {
	for _, open := range []func(string) (bench.System, error){OpenBLAS, BLIS} {
		s, err := open("")
		if err != nil {
			t.Logf("left out: %v", err)
			continue
		}
		t.Run(s.Name(), func(t *testing.T) {
			if s.Version() == "" {
				t.Error("it has no version")
			}
			systemtest.Computes(t, s,
				"h=2,sq=5,d=32", "b=2,h=3,sq=130,skv=300,d=40,dv=24", "h=4,hkv=2,sq=70,skv=139,d=128,mask=causal",
				"h=2,sq=300,d=64,mask=causal", "b=2,h=8,hkv=2,sq=1,skv=333,d=64",
				"m=1,n=70,k=90", "m=33,n=40,k=50")
			systemtest.Refuses(t, s, "h=2,sq=5,d=32,kv=float16", "h=2,sq=50,d=32,mask=causal,window=3:0", "h=1,sq=9,d=8,mask=causal@-3", "m=2,n=8,k=64,w=bfloat16")
		})
	}
}
