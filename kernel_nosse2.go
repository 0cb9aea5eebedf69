//go:build purego || !amd64

package qkv

import (
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// add is fp.Chains.Add.
func (chainCode) add(c *fp.Chains, x *float32, step int, y *terms, n int, xs, ys fp.Span, depth int) {
	c.Add(x, step, y, n, xs, ys, depth)
}

// span returns the span of rows of n numbers, step apart.
func (chainCode) span(p *float32, rowStep, rows, step, n int) fp.Span {
	return spanRows(p, rowStep, rows, step, n)
}

// decode is the DecodeScores of the generic set.
func (code chainCode) decode(a *kernel.DecodeScoresArgs) { code.decodeScores(a) }
