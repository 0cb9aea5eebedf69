package qkv

import "github.com/qkv-go/qkv/tile"

// A BlockMask keeps whole blocks of (query, key) pairs, as block-sparse attention does
// (Child et al., 2019; BigBird, Zaheer et al., 2020). With n queries and m keys to a block, block (i, j) has the
// queries at positions i*n to before (i+1)*n and the keys from j*m to before (j+1)*m. It costs least where n and m
// are multiples of 128. It may be used by several calls at once while nobody changes it. The zero BlockMask is of no
// use.
type BlockMask struct {
	queryBlock, keyBlock        int
	batch, heads, rows, columns int
	bits                        []uint64
}

// maxBlocks bounds the blocks of a mask, a bit each.
const maxBlocks = 1 << 30

// NewBlockMask returns a mask that keeps nothing, of rows blocks of queryBlock queries by
// columns blocks of keyBlock keys, for each of batch sequences and heads; either may
// be 1, for all. A call needs as many rows and columns as cover its longest sequence. The
// error is an [*ArgError].
func NewBlockMask(queryBlock, keyBlock, batch, heads, rows, columns int) (*BlockMask, error) {
	for _, x := range [...]struct {
		name  string
		n     int
		least int
	}{
		{"query block", queryBlock, 1}, {"key block", keyBlock, 1},
		{"batch", batch, 0}, {"heads", heads, 0}, {"rows", rows, 0}, {"columns", columns, 0},
	} {
		if x.n < x.least {
			return nil, argError("mask", x.n, x.least, "block mask has %s %d, at least %d is needed", x.name, x.n, x.least)
		}
	}
	n := mul(batch, heads, rows, columns)
	if n > maxBlocks {
		return nil, argError("mask", n, maxBlocks, "block mask has %d blocks, at most %d are supported", n, maxBlocks)
	}
	return &BlockMask{
		queryBlock: queryBlock, keyBlock: keyBlock,
		batch: batch, heads: heads, rows: rows, columns: columns,
		bits: make([]uint64, (n+63)/64),
	}, nil
}

// A BlockPair is a block of pairs that a mask keeps: that of block Query of the queries and block Key of
// the keys, both counted from 0.
type BlockPair struct{ Query, Key int }

// BlockMaskOf returns a mask of rows by columns blocks that keeps the listed ones, the
// same for every sequence and head. The error is an [*ArgError].
func BlockMaskOf(queryBlock, keyBlock, rows, columns int, pairs []BlockPair) (*BlockMask, error) {
	b, err := NewBlockMask(queryBlock, keyBlock, 1, 1, rows, columns)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		if p.Query < 0 || p.Query >= rows {
			return nil, argError("mask", p.Query, rows, "block mask has no query block %d, it has %d", p.Query, rows)
		}
		if p.Key < 0 || p.Key >= columns {
			return nil, argError("mask", p.Key, columns, "block mask has no key block %d, it has %d", p.Key, columns)
		}
		b.Set(0, 0, p.Query, p.Key, true)
	}
	return b, nil
}

// Set says whether a block is kept. It panics if there is no such block.
func (b *BlockMask) Set(batch, head, row, column int, keep bool) {
	i := b.index(batch, head, row, column)
	if keep {
		b.bits[i/64] |= 1 << (i % 64)
	} else {
		b.bits[i/64] &^= 1 << (i % 64)
	}
}

// Kept reports whether a block is kept. It panics if there is no such block.
func (b *BlockMask) Kept(batch, head, row, column int) bool {
	i := b.index(batch, head, row, column)
	return b.bits[i/64]>>(i%64)&1 == 1
}

func (b *BlockMask) index(batch, head, row, column int) int {
	if b == nil || batch < 0 || batch >= b.batch || head < 0 || head >= b.heads ||
		row < 0 || row >= b.rows || column < 0 || column >= b.columns {
		panic("qkv: block mask: no such block")
	}
	return ((batch*b.heads+head)*b.rows+row)*b.columns + column
}

// resolve checks the mask against the lengths of p and puts it there.
func (b *BlockMask) resolve(p *tile.Problem) error {
	if b.queryBlock < 1 {
		return argError("mask", b.queryBlock, 1, "block mask has query block %d, at least 1 is needed: NewBlockMask makes one", b.queryBlock)
	}
	for _, x := range [...]struct {
		name      string
		got, want int
	}{{"sequences", b.batch, p.Batch}, {"heads", b.heads, p.Heads}} {
		if x.got != x.want && x.got != 1 {
			return argError("mask", x.got, x.want, "block mask has %d %s, the call has %d", x.got, x.name, x.want)
		}
	}
	for _, x := range [...]struct {
		name           string
		got, block, of int
	}{{"query", b.rows, b.queryBlock, p.SeqQ}, {"key", b.columns, b.keyBlock, p.SeqKV}} {
		want := 0
		if x.of > 0 {
			want = (x.of-1)/x.block + 1
		}
		if x.got < want || x.got > want && p.CuQ == nil {
			return argError("mask", x.got, want, "block mask has %d %s blocks of %d, a length of %d has %d", x.got, x.name, x.block, x.of, want)
		}
	}
	m := tile.Blocks{
		Bits: b.bits,
		// The longest block is as good as any longer one.
		QueryBlock: min(b.queryBlock, max(1, p.SeqQ)), KeyBlock: min(b.keyBlock, max(1, p.SeqKV)),
		Stride: [3]int{b.heads * b.rows * b.columns, b.rows * b.columns, b.columns},
	}
	if b.batch == 1 {
		m.Stride[0] = 0
	}
	if b.heads == 1 {
		m.Stride[1] = 0
	}
	p.Mask.Blocks = m
	return nil
}
