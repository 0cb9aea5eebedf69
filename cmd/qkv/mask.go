package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/cmd/qkv/npy"
)

// maskFlags are the flags of qkv run and qkv view that say which keys a query attends.
type maskFlags struct {
	mask          qkv.Mask
	keep          string           // file
	kept          pairsArray[bool] // what it holds, once read
	causal, align bool             // given
}

func (m *maskFlags) register(f *flag.FlagSet) {
	f.Func("causal", "mask later keys; `MASK` is top-left (query i attends keys up to i), bottom-right (the last\nquery attends all keys) or an offset (query i attends keys up to i+offset)", func(s string) error {
		m.causal, m.mask.Causal = true, true
		return m.parseAlign(s)
	})
	f.Func("window", "mask keys farther than `LEFT:RIGHT` from the query's own, each a length or all", m.parseWindow)
	f.Func("align", "where the queries stand among the keys for -window and -alibi without -causal, needed if\nthere are more of the one than of the other: as MASK of -causal, `ALIGN` is top-left,\nbottom-right or an offset", func(s string) error {
		m.align = true
		return m.parseAlign(s)
	})
	f.Func("prefix", "keep the first `N` keys for every query, whatever -causal and -window say", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return errors.New("want a whole number of at least 0")
		}
		m.mask.Prefix = n
		return nil
	})
	f.StringVar(&m.keep, "mask", "", "keep what is true in `FILE`: bool or uint8, [seqQ, seqKV], [heads, seqQ, seqKV] or\n[batch, heads, seqQ, seqKV], each axis the call's or 1")
}

// check checks the flags beside each other, alibi being whether there are slopes.
func (m *maskFlags) check(alibi bool) error {
	_, _, window := m.mask.Window.Bounds()
	switch {
	case m.causal && m.align:
		return badUsage("-causal and -align exclude each other: -causal says where the queries stand")
	case m.align && !window && !alibi:
		return badUsage("-align says where queries stand for -window and -alibi, and neither is given")
	}
	return nil
}

func (m *maskFlags) parseAlign(s string) error {
	m.mask.Offset = 0
	switch s {
	case "top-left":
		m.mask.Align = qkv.TopLeft
	case "bottom-right":
		m.mask.Align = qkv.BottomRight
	default:
		offset, err := strconv.Atoi(s)
		if err != nil {
			return errors.New("want top-left, bottom-right or a whole number")
		}
		m.mask.Align, m.mask.Offset = qkv.AlignOffset, offset
	}
	return nil
}

func (m *maskFlags) parseWindow(s string) error {
	sides := strings.Split(s, ":")
	var bounds [2]int
	for i, side := range sides {
		n, err := strconv.Atoi(side)
		if side == "all" {
			n, err = qkv.Unbounded, nil
		}
		if len(sides) != 2 || err != nil || n < 0 {
			return errors.New("want LEFT:RIGHT, each a whole number of at least 0 or all")
		}
		bounds[i] = n
	}
	m.mask.Window = qkv.Sliding(bounds[0], bounds[1])
	return nil
}

// read returns the mask, with what its file holds.
func (m *maskFlags) read() (qkv.Mask, error) {
	if m.keep == "" {
		return m.mask, nil
	}
	dims, bools, err := readBools(m.keep)
	if err != nil {
		return qkv.Mask{}, err
	}
	if m.kept, err = pairs(m.keep, dims, bools); err != nil {
		return qkv.Mask{}, err
	}
	mask := m.mask
	mask.Keep = m.kept.view()
	return mask, nil
}

// A pairsArray is what a file has for pairs of a query and a key: [batch, heads, seqQ,
// seqKV], each the call's or 1.
type pairsArray[T qkv.Element] struct {
	dims [4]int
	data []T
}

// pairs returns the array of a file whose axes are the last of batch, heads, seqQ and
// seqKV.
func pairs[T qkv.Element](path string, dims []int, data []T) (pairsArray[T], error) {
	if n := len(dims); n < 2 || n > 4 {
		return pairsArray[T]{}, fmt.Errorf("%s: its shape %s has %d axes, 2 to 4 are needed", path, npy.Tuple(dims), n)
	}
	p := pairsArray[T]{[4]int{1, 1, 1, 1}, data}
	copy(p.dims[4-len(dims):], dims)
	return p, nil
}

func (p pairsArray[T]) view() qkv.View {
	return qkv.Pairs(p.data, p.dims[0], p.dims[1], p.dims[2], p.dims[3])
}

// of returns the view of the pairs of one head, which the view has or broadcasts to.
func (p pairsArray[T]) of(batch, head int) qkv.View {
	if p.dims[0] == 1 {
		batch = 0
	}
	if p.dims[1] == 1 {
		head = 0
	}
	n := p.dims[2] * p.dims[3]
	return qkv.Pairs(p.data[(batch*p.dims[1]+head)*n:][:n], 1, 1, p.dims[2], p.dims[3])
}
