// Package ptr has the steps through memory that operands of kernels point to.
package ptr

import "unsafe"

// At returns the address of element i after p, which may be before it.
func At[T any](p *T, i int) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(p), i*int(unsafe.Sizeof(*p))))
}
