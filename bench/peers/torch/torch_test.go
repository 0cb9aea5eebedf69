package torch

import (
	"sync"
	"testing"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/python"
	"github.com/qkv-go/qkv/bench/peers/internal/systemtest"
)

var opened = sync.OnceValues(func() (bench.System, error) { return Open("../lib") })

func open(t *testing.T) bench.System {
	s, err := opened()
	if err != nil {
		t.Skip(err)
	}
	return s
}

func TestComputes(t *testing.T) {
	systemtest.Computes(t, open(t),
		"b=2,h=4,hkv=2,sq=37,skv=61,d=32,dv=40,mask=causal",
		"h=2,sq=1,skv=77,d=64,kv=float16",
		"h=2,sq=33,d=64,mask=causal,kv=bfloat16",
		"m=67,n=190,k=96",
		"m=1,n=190,k=512,w=bfloat16",
		"m=67,n=190,k=512,w=bfloat16",
	)
}

func TestRefuses(t *testing.T) {
	systemtest.Refuses(t, open(t),
		"m=2,n=8,k=64,w=q8_0",
		"h=2,sq=1,skv=64,d=64,kv=int8",
		"h=2,sq=1,skv=64,d=64,v=bfloat16",
		"h=2,sq=16,d=32,window=4:0",
		"h=2,sq=32,skv=16,d=32,mask=causal",
	)
}

// A way that is not there and a process that has ended are errors, not hangs.
func TestDriverErrors(t *testing.T) {
	s := open(t)
	x := make([]float32, 4)
	p := s.(*System).python
	d, err := python.Start(p, script, work{Kind: "product", Threads: 1, Type: "float32", M: 2, N: 2, K: 2}, environment(1), []any{x, x}, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(99); err == nil {
		t.Error("way 99 runs")
	}
	if err := d.Run(0); err != nil {
		t.Errorf("after an error: %v", err)
	}
	d.Close()
	if err := d.Run(0); err == nil {
		t.Error("a process that has ended runs")
	}
	if _, err := python.Start(p, script, work{Kind: "attention", Threads: 1, Type: "text"}, environment(1), []any{x, x, x}, x); err == nil {
		t.Error("keys of a type that is none start")
	}
}
