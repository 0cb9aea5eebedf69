package onednn

import (
	"errors"
	"testing"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/systemtest"
)

func open(t *testing.T) bench.System {
	s, err := Open("")
	if err != nil {
		t.Skip(err)
	}
	return s
}

func TestComputes(t *testing.T) {
	systemtest.Computes(t, open(t),
		"b=2,h=4,hkv=2,sq=37,skv=61,d=32,dv=40",
		"h=2,sq=150,d=64,mask=causal",
		"h=4,hkv=1,sq=5,skv=131,d=128,mask=causal",
		"h=6,hkv=2,sq=1,skv=77,d=40",
		"h=4,hkv=2,sq=1,skv=77,d=64,mask=causal",
		"m=1,n=130,k=77",
		"m=67,n=190,k=96",
	)
}

// Products of bfloat16 need a processor that has them.
func TestComputesBFloat16(t *testing.T) {
	s := open(t)
	const text = "h=4,hkv=2,sq=33,skv=70,d=64,mask=causal,kv=bfloat16"
	w, err := bench.ParseWork(text)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := s.Paths(w.Inputs(1), 1)
	var unsupported *bench.UnsupportedError
	if errors.As(err, &unsupported) {
		t.Skip(err)
	}
	for _, p := range paths {
		p.Close()
	}
	systemtest.Computes(t, s, text, "h=4,hkv=2,sq=1,skv=300,d=128,kv=bfloat16", "h=2,sq=150,d=64,kv=bfloat16",
		"m=1,n=130,k=77,w=bfloat16", "m=67,n=190,k=512,w=bfloat16")
}

func TestRefuses(t *testing.T) {
	systemtest.Refuses(t, open(t),
		"m=2,n=8,k=64,w=float16",
		"m=2,n=8,k=64,w=q4_0",
		"h=2,sq=1,skv=64,d=64,kv=float16",
		"h=2,sq=1,skv=64,d=64,v=bfloat16",
		"h=2,sq=16,d=32,window=4:0",
		"h=2,sq=32,skv=16,d=32,mask=causal",
	)
}
