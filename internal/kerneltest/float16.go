package kerneltest

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
)

// halves returns n binary16 numbers, flush against the guard, that count from number
// on.
func (s *suite) halves(n, number int) *uint16 {
	words := s.arena.exactWords(s.TB, "src", (n+1)/2)
	p := (*uint16)(unsafe.Pointer(&words[0]))
	if s.edge == back {
		p = ptr.At(p, 2*len(words)-n)
	}
	for i := range n {
		*ptr.At(p, i) = uint16(number + i)
	}
	return p
}

// float16 tests every number, in whole vectors and in tails of every length.
func (s *suite) float16(int) {
	test := func(n, number int) {
		s.begin()
		src := s.halves(n, number)
		dst := s.matrix("dst", 1, n, n, unwritten)
		what := func() string { return fmt.Sprintf("Float16 n=%d from %#04x on", n, number) }
		s.check(what, func() { float16(dst, src, n) }, func() { s.set.Float16(dst, src, n) })
	}
	const all = 1 << 16
	for n := 1; n <= 100; n++ {
		for range 4 {
			test(n, s.IntN(all))
		}
	}
	for number := 0; number < all; number += all / 16 {
		test(all/16, number)
	}
	for number := 0; number < all; number += 7 * 3 {
		test(7, number)
	}
}
