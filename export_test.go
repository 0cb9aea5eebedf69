package qkv

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// TakePairs is that of package tile.
func (e *Engine) TakePairs(pairs bool) { e.engine.TakePairs(pairs) }

// TakesApart reports whether this CPU is one for [tile.Tuning.Apart].
func TakesApart() bool { return takesApart(&cpuid.CPU) }

// Copies returns how many values of queries s has room for that it multiplies in copies.
func (s *Step) Copies() int { return cap(s.turning.copies) }

// At returns an element of a View of float32.
func (v View) At(b, h, s, d int) float32 {
	at := b*v.stride[0] + h*v.stride[1] + s*v.stride[2] + d*v.stride[3]
	return *(*float32)(unsafe.Add(v.first(), 4*at))
}

// Elem returns the type of a View.
func (v View) Elem() ElemType { return ElemType(v.kind.elem()) }
