package tile

import "github.com/qkv-go/qkv/kernel"

// A laneGroup is a block of query rows along the vector lanes, with the state of
// its online softmax.
type laneGroup struct {
	row, rows int // first row and number of rows
	lanes     int // rows rounded up to the Set's granularity; also the row stride of q and o
	full, end int // keys that every row attends; keys that some row attends

	q, o     *float32 // [DimQK][lanes], [DimV][lanes]
	max, sum *float32 // [lanes]
	off      *[kernel.MaxLanes]int
	started  bool // o holds the result of some key block
}

// block returns how many keys of the block at key0 some row attends, and how many
// of those, from the first on, every row attends.
func (g *laneGroup) block(key0 int) (keys, maskFrom int) {
	keys = clamp(g.end-key0, 0, kernel.KeyBlock)
	return keys, clamp(g.full-key0, 0, keys)
}
