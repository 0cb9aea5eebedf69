package qkv

import (
	"fmt"

	"github.com/qkv-go/qkv/tile"
)

// Causal says how a causal mask is aligned. With an offset c, the query at position i
// attends the keys at positions j <= i+c.
type Causal int

const (
	// NotCausal masks nothing.
	NotCausal Causal = iota
	// CausalTopLeft has offset 0: the first query attends the first key.
	CausalTopLeft
	// CausalBottomRight has offset seqKV-seqQ: the last query attends the last key.
	// It is what a decoder with cached keys means.
	CausalBottomRight
	// CausalAt has the offset Mask.Offset: the position of the first query among the
	// keys. It may be negative.
	CausalAt
)

// A Mask says which keys a query attends. The zero value is every key. Blocks of
// keys that no query of a block attends are not computed.
type Mask struct {
	Causal Causal
	Offset int // with CausalAt only
}

func (m Mask) String() string {
	switch m.Causal {
	case NotCausal:
		return "none"
	case CausalTopLeft:
		return "causal top-left"
	case CausalBottomRight:
		return "causal bottom-right"
	case CausalAt:
		return fmt.Sprintf("causal at %d", m.Offset)
	}
	return fmt.Sprintf("Causal(%d)", int(m.Causal))
}

// resolve turns the mask into the tile's, for given lengths.
func (m Mask) resolve(seqQ, seqKV int) (tile.Mask, error) {
	offset := 0
	switch m.Causal {
	case NotCausal, CausalTopLeft:
	case CausalBottomRight:
		offset = seqKV - seqQ
	case CausalAt:
		offset = m.Offset
	default:
		return tile.Mask{}, argError("mask", int(m.Causal), int(CausalAt), "mask has Causal %d, the last is %d", m.Causal, CausalAt)
	}
	if m.Causal != CausalAt && m.Offset != 0 {
		return tile.Mask{}, argError("mask", m.Offset, 0, "mask has offset %d, which needs CausalAt", m.Offset)
	}
	// Beyond these every query attends all keys or none.
	return tile.Mask{Causal: m.Causal != NotCausal, Offset: max(-seqQ, min(offset, seqKV))}, nil
}
