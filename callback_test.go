package qkv_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestCallbackPanics: what a callback panics with reaches the caller, on whichever
// goroutine it ran, and nothing hangs or is spoiled for later calls, with keys that are
// divided over goroutines or not.
func TestCallbackPanics(t *testing.T) {
	for _, workers := range []int{1, 2, 5} {
		a := newAttention(t, qkv.Config{Workers: workers})
		for _, d := range []dims{{2, 4, 2, 300, 300, 16, 16}, {2, 4, 2, 2, 5000, 32, 32}} {
			testCallbackPanics(t, a, d)
		}
	}
}

func testCallbackPanics(t *testing.T, a *qkv.Engine, d dims) {
	p := newProblem(d, "bhsd", qkv.Mask{}, normal(1))
	want, _ := p.run(t, a)
	for _, c := range []struct {
		name  string
		panic any
		do    func()
	}{
		{"panic", "a value", func() { panic("a value") }},
		{"Goexit", "qkv: a callback ended its goroutine", func() { runtime.Goexit() }},
	} {
		for _, every := range []bool{true, false} {
			var once sync.Once
			f := func(*qkv.ScoreBlock) {
				if every {
					c.do()
				}
				once.Do(c.do)
			}
			for _, set := range []func(*qkv.Call){
				func(call *qkv.Call) { call.ScoreMod = f },
				func(call *qkv.Call) { call.ProbMod = f },
			} {
				once = sync.Once{}
				call := p.call()
				set(call)
				// On a goroutine of its own: a callback may end that of the caller.
				ended := make(chan any)
				go func() {
					got := any("the goroutine has ended")
					defer func() {
						if r := recover(); r != nil {
							got = r
						}
						ended <- got
					}()
					err := a.Run(call)
					got = err
				}()
				if got := <-ended; got != c.panic && !(c.name == "Goexit" && got == "the goroutine has ended") {
					t.Errorf("%+v, workers=%d: %s in a callback: %v", d, a.Workers(), c.name, got)
				}
			}
		}
	}
	got, _ := p.run(t, a)
	sameBits(t, "after panics", got, want)
}
