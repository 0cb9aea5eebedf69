package model

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
)

// Load reads the weights in a file, see [Read].
func Load(path string) (*Weights, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	w, err := Read(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}

// OpenLlama2C returns the weights in a file, see [Read], as those of other files.
func OpenLlama2C(path string) (*Tensors, error) {
	w, err := Load(path)
	if err != nil {
		return nil, err
	}
	return tensorsOf(w), nil
}

// Read reads weights in the first format of https://github.com/karpathy/llama2.c (export.py
// --version 0), which is size bytes: 7 int32, then float32, in little-endian order,
//
//	width, ffn, layers, heads, kvHeads, vocab (negative: not tied), context
//	embedding, then of all layers: attnNorm, q, k, v, o, ffnNorm, gate, down, up; norm
//	two tables of the rotary embedding [context, dim/2], which are not used
//	out, unless it is tied
//
// What the header says has to be size bytes: nothing is allocated otherwise.
func Read(r io.Reader, size int64) (*Weights, error) {
	var h [7]int32
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return nil, fmt.Errorf("model: reading the header: %w", err)
	}
	if h[0] == 0x616b3432 { // "ak42"
		return nil, fmt.Errorf("model: the file is of version %d, version 0 is supported", h[1])
	}
	vocab := int64(h[5])
	tied := vocab > 0
	c := Config{
		Width: int(h[0]), FFN: int(h[1]), Layers: int(h[2]), Heads: int(h[3]), KVHeads: int(h[4]),
		Vocab: int(min(max(vocab, -vocab), math.MaxInt32)), Context: int(h[6]), Tied: tied,
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if want := c.fileSize(); want != size || size > math.MaxInt {
		return nil, fmt.Errorf("model: the file has %d bytes, its header says %d", size, want)
	}
	w := newWeights(c)
	f := floatReader{r: r, buf: make([]byte, 64<<10)}
	each := func(part func(*Block) []float32) {
		for i := range w.Blocks {
			f.read(part(&w.Blocks[i]))
		}
	}
	f.read(w.Embedding)
	each(func(b *Block) []float32 { return b.AttnNorm })
	each(func(b *Block) []float32 { return b.Q })
	each(func(b *Block) []float32 { return b.K })
	each(func(b *Block) []float32 { return b.V })
	each(func(b *Block) []float32 { return b.O })
	each(func(b *Block) []float32 { return b.FFNNorm })
	each(func(b *Block) []float32 { return b.Gate })
	each(func(b *Block) []float32 { return b.Down })
	each(func(b *Block) []float32 { return b.Up })
	f.read(w.Norm)
	if !tied {
		f.skip(4 * int64(c.Context) * int64(c.Dim()))
		f.read(w.Out)
	}
	if f.err != nil {
		return nil, fmt.Errorf("model: reading the weights: %w", f.err)
	}
	return w, nil
}

// fileSize returns how many bytes a file of the model has, or more than any file has.
func (c *Config) fileSize() int64 {
	const unreal = 1 << 36 // weights of a part; times one more number it does not overflow
	var total int64
	add := func(dims ...int) {
		n := int64(1)
		for _, d := range dims {
			n = min(n*int64(d), unreal)
		}
		total += n
	}
	kv := c.KVHeads * c.Dim()
	add(c.Vocab, c.Width)
	add(c.Layers, c.Width, 2)
	add(c.Layers, c.Width, c.Width, 2)
	add(c.Layers, c.Width, kv, 2)
	add(c.Layers, c.Width, c.FFN, 3)
	add(c.Width)
	add(c.Context, c.Dim())
	if !c.Tied {
		add(c.Vocab, c.Width)
	}
	return 7*4 + 4*total
}

// A floatReader reads float32 in little-endian order. It keeps the first error.
type floatReader struct {
	r   io.Reader
	buf []byte
	err error
}

func (f *floatReader) read(x []float32) {
	for len(x) > 0 && f.err == nil {
		n := min(len(x), len(f.buf)/4)
		if _, f.err = io.ReadFull(f.r, f.buf[:4*n]); f.err == io.EOF {
			f.err = io.ErrUnexpectedEOF
		}
		for i := range x[:n] {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(f.buf[4*i:]))
		}
		x = x[n:]
	}
}

func (f *floatReader) skip(n int64) {
	if f.err == nil {
		_, f.err = io.CopyN(io.Discard, f.r, n)
	}
}
