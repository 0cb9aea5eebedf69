package asmgen

import (
	"fmt"
	"reflect"
)

// An elementwise is the body of a function that updates scores one by one, a row of
// lanes at a time.
type elementwise struct {
	*Func
	vecs            int // in a row of lanes
	s, stride, keys Int
}

// newElementwise begins a function that takes a pointer to args.
func newElementwise(arch *Arch, name string, args reflect.Type, formula string) *elementwise {
	f := newFunc(arch, name, args, formula)
	return &elementwise{
		Func:   f,
		s:      f.int("S"),
		stride: f.int("S, bytes from row to row"),
		keys:   f.int("keys left"),
	}
}

// emit writes the choice by lanes. begin is what comes before the loop over keys, and
// row is one key of it.
func (e *elementwise) emit(begin func(m *vecMap), row func()) {
	e.load("S", e.s)
	e.loadBytes("Stride", e.stride)
	e.byLanes(e.keys, func(vecs int) {
		e.vecs = vecs
		lanes := vecs * e.Lanes
		begin(e.vectors(fmt.Sprintf("%d lanes:", lanes)))
		e.load("Keys", e.keys)
		loop := fmt.Sprintf("keys%d", lanes)
		e.Loop(loop)
		row()
		e.Op(e.Add, e.stride, e.s)
		e.Countdown(e.keys, loop)
		e.Return(e.Func)
	})
}

// at returns the address of vector j of the row.
func (e *elementwise) at(j int) string { return mem(e.s, j*e.Bytes()) }
