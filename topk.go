package qkv

import "github.com/qkv-go/qkv/tile"

// A Ranked is an element of a list, such as the logit of a token:
//
//	type Ranked struct {
//		Value float32
//		Index int // the token
//	}
type Ranked = tile.Ranked

// ArgMax returns the index of the greatest element of x, the first of those that are equal: the next token
// of greedy decoding, by its logits [vocab]. A NaN is never it. Where all elements are NaN, or there are
// none, it is -1. x is read once, about as fast as memory has it. It panics on an Engine that New has not
// made.
func (e *Engine) ArgMax(x []float32) int {
	if e.ready() != nil {
		panic("qkv: " + noEngine)
	}
	return e.engine.ArgMax(x)
}

// TopK puts the len(top) greatest elements of x [vocab] into top, the greatest first, and of those that are
// equal the one with the lower index, and returns how many there are: len(top), or the elements that are
// not NaN, if they are fewer. A NaN is never among them. x is read once, as by ArgMax. An element that
// is greater than the least in top so far costs more, in proportion to the logarithm of len(top): few
// elements of a list in random order are, and all of an ascending one. It panics on an Engine that New has not made.
func (e *Engine) TopK(top []Ranked, x []float32) int {
	if e.ready() != nil {
		panic("qkv: " + noEngine)
	}
	return e.engine.TopK(top, x)
}
