package qkv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"unsafe"
)

// A sequence in a file is a header, a record of each layer, the layers' keys and values, and a
// checksum. The header, in little-endian order but for the mark:
//
//	 0  8 bytes  "qkvseq" and two 0
//	 8  uint32   version
//	12  uint32   the mark, in the order of the machine
//	16  uint64   tokens
//	24  uint32   layers
//	28  uint32   CRC-32 (IEEE) of what is before, and of the records
//
// A record:
//
//	 0  uint32   KV heads
//	 4  uint32   dims of a key
//	 8  uint32   dims of a value
//	12  uint16   type of the keys
//	14  uint16   type of the values
//	16  uint64   window
//	24  uint64   First
//	32  uint64   the oldest token from First on that is there
//	40  uint32   1 if keys are multiplied by a Hadamard matrix, and 2 if values are
//	44  uint32   CRC-32 (IEEE) of the mean of the keys in float32, 0 without one
//
// Of a layer there are the keys [tokens][heads][dim] of the tokens that are there, in the order of the
// machine, the scales of int8 [tokens][heads], and the values likewise. The checksum is CRC-32C of all
// of it: with the polynomial of the header's it would not see a header that has a right one.
const (
	savedMagic   = "qkvseq\x00\x00"
	savedVersion = 2
	savedHeader  = 32
	savedRecord  = 48
	savedBuffer  = 64 << 10
)

// savedTable is that of the checksum of the whole.
var savedTable = crc32.MakeTable(crc32.Castagnoli)

// header returns the header and the records of a sequence of so many tokens. Tokens of a layer from
// its First to before oldest are not there.
func (c *Cache) header(tokens int, oldest func(layer int) int) []byte {
	h := make([]byte, savedHeader+savedRecord*len(c.layers))
	order := binary.LittleEndian
	copy(h, savedMagic)
	order.PutUint32(h[8:], savedVersion)
	binary.NativeEndian.PutUint32(h[12:], fileMark)
	order.PutUint64(h[16:], uint64(tokens))
	order.PutUint32(h[24:], uint32(len(c.layers)))
	for i := range c.layers {
		r, l := h[savedHeader+i*savedRecord:], &c.layers[i].cfg
		order.PutUint32(r[0:], uint32(l.KVHeads))
		order.PutUint32(r[4:], uint32(l.DimQK))
		order.PutUint32(r[8:], uint32(l.DimV))
		order.PutUint16(r[12:], uint16(l.KeyType))
		order.PutUint16(r[14:], uint16(l.ValueType))
		order.PutUint64(r[16:], uint64(l.Window))
		order.PutUint64(r[24:], uint64(l.First))
		order.PutUint64(r[32:], uint64(oldest(i)))
		order.PutUint32(r[40:], l.savedFlags())
		order.PutUint32(r[44:], l.savedMean())
	}
	order.PutUint32(h[28:], savedSum(h))
	return h
}

// savedFlags tells which of keys and values are multiplied by a Hadamard matrix.
func (l *CacheLayer) savedFlags() (flags uint32) {
	if l.HadamardK {
		flags |= 1
	}
	if l.HadamardV {
		flags |= 2
	}
	return flags
}

// savedMean returns the checksum of the mean of the keys.
func (l *CacheLayer) savedMean() (sum uint32) {
	var b [4]byte
	for _, x := range l.KeyMean {
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(x))
		sum = crc32.Update(sum, crc32.IEEETable, b[:])
	}
	return sum
}

// savedSum returns the checksum of a header and its records.
func savedSum(h []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(h[:28]), crc32.IEEETable, h[savedHeader:])
}

// oldest returns the oldest token from g.first on that the page group has of a sequence of so many; 0 if it has
// all.
func (g *pageGroup) oldest(tokens, lost, pageTokens int) int {
	if g.ring == 0 {
		return 0
	}
	oldest := max(lost, g.overwritten(tokens, pageTokens))
	if oldest <= g.first {
		return 0
	}
	return oldest
}

// WriteTo writes the sequence to w, with its keys and values of all layers. [Cache.ReadSequence] reads
// it into a cache with the same layers, whose pages may have another size. Of a layer with a Window
// the tokens are written that its ring has. What the tokens are, their ids, the cache does not know and
// the caller keeps. WriteTo returns how many bytes it wrote. The error is an
// [*ArgError], or that of w.
func (s *Sequence) WriteTo(w io.Writer) (int64, error) {
	if err := s.lock(false); err != nil {
		return 0, err
	}
	c := s.cache
	s.mark(false)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		s.use--
		c.mu.Unlock()
	}()
	oldest := func(layer int) int {
		pageGroup := c.layers[layer].pageGroup
		return c.pageGroups[pageGroup].oldest(s.len, s.tables[pageGroup].lost, c.pageTokens)
	}
	f := &savedFile{w: w, sum: crc32.New(savedTable), buf: make([]byte, savedBuffer)}
	f.move(c.header(s.len, oldest))
	for i := range c.layers {
		f.layer(s, i, oldest(i))
	}
	if f.err == nil {
		var sum [4]byte
		binary.LittleEndian.PutUint32(sum[:], f.sum.Sum32())
		f.move(sum[:])
	}
	return f.n, f.err
}

// ReadSequence reads a sequence that [Sequence.WriteTo] wrote. The layers of the cache must have the
// heads, dims, types, Window and First of those that it was written from. The number and the size of
// pages, and StepTokens, may differ. ReadSequence reads no further than the sequence.
//
// The error is one of these, and nothing has changed then:
//
//   - an [*ArgError] that wraps [ErrMismatch] for data of other layers, or [ErrDamaged];
//   - a [*PagesError] where there are not enough pages;
//   - that of r, wrapped, or [io.ErrUnexpectedEOF] for data that is cut off.
func (c *Cache) ReadSequence(r io.Reader) (*Sequence, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	f := &savedFile{r: r, sum: crc32.New(savedTable), buf: make([]byte, savedBuffer)}
	h := make([]byte, savedHeader+savedRecord*len(c.layers))
	f.move(h[:savedHeader])
	if f.err != nil {
		return nil, f.failed()
	}
	order := binary.LittleEndian
	if err := checkFileKind(h, savedMagic, "sequence", savedVersion); err != nil {
		return nil, err
	}
	if n := int64(order.Uint32(h[24:])); n != int64(len(c.layers)) {
		return nil, because(ErrMismatch, argError("data", int(n&math.MaxInt32), len(c.layers), "data has %d layers, the cache has %d", n, len(c.layers)))
	}
	f.move(h[savedHeader:])
	if f.err != nil {
		return nil, f.failed()
	}
	if err := checkFileHeader(h, order.Uint32(h[28:]), savedSum(h)); err != nil {
		return nil, err
	}
	if n := order.Uint64(h[16:]); n > MaxSeq {
		return nil, because(ErrDamaged, argError("data", int(n&math.MaxInt32), MaxSeq, "data has %d tokens, at most %d are supported", n, MaxSeq))
	}
	tokens := int(order.Uint64(h[16:]))
	oldest := make([]int, len(c.layers))
	for i := range c.layers {
		if err := c.checkRecord(h[savedHeader+i*savedRecord:], i, tokens, &oldest[i]); err != nil {
			return nil, err
		}
	}
	s := c.NewSequence()
	if err := s.takePages(tokens); err != nil {
		return nil, err
	}
	whole := false
	defer func() { // r may panic
		if !whole {
			s.Free()
		}
	}()
	for i := range c.layers {
		l := &c.layers[i]
		t := &s.tables[l.pageGroup]
		if n := c.pageGroups[l.pageGroup].oldest(tokens, oldest[i], c.pageTokens); n > t.lost {
			t.lost = n
		}
		f.layer(s, i, oldest[i])
	}
	if f.err == nil {
		want := f.sum.Sum32()
		var sum [4]byte
		f.move(sum[:])
		if got := order.Uint32(sum[:]); f.err == nil && got != want {
			f.err = because(ErrDamaged, argError("data", int(got&math.MaxInt32), int(want&math.MaxInt32), "data has checksum %08x, its bytes have %08x", got, want))
		}
	}
	if f.err != nil {
		return nil, f.failed()
	}
	whole = true
	return s, nil
}

// checkRecord checks the record of a layer, and returns which token from First on is the oldest there.
func (c *Cache) checkRecord(r []byte, layer, tokens int, oldest *int) error {
	order, l := binary.LittleEndian, &c.layers[layer].cfg
	for _, x := range [...]struct {
		name string
		got  uint64
		want int
	}{
		{"kvHeads", uint64(order.Uint32(r[0:])), l.KVHeads},
		{"dimQK", uint64(order.Uint32(r[4:])), l.DimQK},
		{"dimV", uint64(order.Uint32(r[8:])), l.DimV},
		{"keyType", uint64(order.Uint16(r[12:])), int(l.KeyType)},
		{"valueType", uint64(order.Uint16(r[14:])), int(l.ValueType)},
		{"window", order.Uint64(r[16:]), l.Window},
		{"first", order.Uint64(r[24:]), l.First},
		{"hadamardK and hadamardV of", uint64(order.Uint32(r[40:])), int(l.savedFlags())},
	} {
		if x.got != uint64(x.want) {
			got, want := fmt.Sprint(x.got), fmt.Sprint(x.want)
			if x.name == "keyType" || x.name == "valueType" {
				got, want = ElemType(x.got).String(), ElemType(x.want).String()
			}
			return because(ErrMismatch, argError("data", int(x.got&math.MaxInt32), x.want, "data has %s %s in layer %d, the cache has %s", x.name, got, layer, want))
		}
	}
	if got, want := order.Uint32(r[44:]), l.savedMean(); got != want {
		return because(ErrMismatch, argError("data", int(got&math.MaxInt32), int(want&math.MaxInt32), "data has another keyMean in layer %d than the cache", layer))
	}
	n := order.Uint64(r[32:])
	most := 0
	if l.Window > 0 {
		most = max(0, tokens-l.Window+1)
	}
	if n > uint64(most) {
		return because(ErrDamaged, argError("data", int(n&math.MaxInt32), most, "data has tokens from %d on in layer %d, at most %d is supported", n, layer, most))
	}
	*oldest = int(n)
	return nil
}

// takePages takes the pages of so many tokens for an empty sequence.
func (s *Sequence) takePages(tokens int) error {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.pageGroups {
		g := &c.pageGroups[i]
		if n := g.pagesOf(tokens, c.pageTokens); n > len(g.free) {
			return &PagesError{Layer: g.layer, Window: g.window, Needed: n, Free: len(g.free)}
		}
	}
	for i := range c.pageGroups {
		g := &c.pageGroups[i]
		for range g.pagesOf(tokens, c.pageTokens) {
			s.tables[i].pages = append(s.tables[i].pages, g.take())
		}
	}
	s.len = tokens
	return nil
}

// A savedFile is a sequence being written, to w, or read, from r.
type savedFile struct {
	w   io.Writer
	r   io.Reader
	n   int64
	err error // the first
	sum hash.Hash32
	buf []byte
}

// failed returns the error of a file that was read.
func (f *savedFile) failed() error {
	if errors.As(f.err, new(*ArgError)) {
		return f.err
	}
	return fmt.Errorf("qkv: reading a sequence: %w", f.err)
}

// move writes p, or reads all of it.
func (f *savedFile) move(p []byte) {
	if f.err != nil {
		return
	}
	var n int
	if f.w != nil {
		n, f.err = writeAll(f.w, p)
	} else if n, f.err = io.ReadFull(f.r, p); f.err == io.EOF {
		f.err = io.ErrUnexpectedEOF
	}
	f.n += int64(n)
	f.sum.Write(p[:n])
}

// writeAll writes p to w. A writer that takes less without an error breaks its contract, and leaves
// no file that could be read.
func writeAll(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	if n = max(0, min(n, len(p))); n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

// layer writes or reads the keys and values of a layer, of tokens before First and from oldest on.
func (f *savedFile) layer(s *Sequence, layer, oldest int) {
	l := &s.cache.layers[layer]
	for _, v := range [...]*View{&l.k, &l.kScale, &l.v, &l.vScale} {
		if v.given() {
			f.rows(s, l, v, oldest)
		}
	}
}

// rows writes or reads the rows of all heads of a view. What a ring that is shorter has no room for
// is read over.
func (f *savedFile) rows(s *Sequence, l *cacheLayer, v *View, oldest int) {
	c := s.cache
	g, t := &c.pageGroups[l.pageGroup], &s.tables[l.pageGroup]
	have := g.oldest(s.len, t.lost, c.pageTokens)
	row := v.shape[axisDim] / v.kind.values() * v.kind.size()
	heads := v.shape[axisHeads]
	each := max(1, len(f.buf)/(row*heads)) // tokens at once
	if n := each * row * heads; n > len(f.buf) {
		f.buf = make([]byte, n)
	}
	for token := 0; token < s.len && f.err == nil; {
		if token >= g.first && token < oldest {
			token = oldest
		}
		n := min(each, s.len-token)
		if token < g.first && oldest > g.first {
			n = min(n, g.first-token)
		}
		p := f.buf[:n*row*heads]
		if f.w == nil {
			f.move(p)
		}
		for i := 0; i < n && f.err == nil; i++ {
			if token+i >= g.first && token+i < have {
				continue
			}
			page, at, _ := g.place(token+i, c.pageTokens)
			for h := range heads {
				v.moveRow(int(t.pages[page]), h, at, p[(i*heads+h)*row:][:row], f.w == nil)
			}
		}
		if f.w != nil {
			f.move(p)
		}
		token += n
	}
}

// moveRow copies a row of v to p, or from it.
func (v *View) moveRow(page, head, token int, p []byte, load bool) {
	size, at := v.kind.size(), v.row(page, head, token)
	n, step := size, v.stride[axisDim]
	if step == 1 {
		n = len(p)
	}
	for ; len(p) > 0; p = p[n:] {
		units := unsafe.Slice((*byte)(unsafe.Add(v.data, size*at)), n)
		if load {
			copy(units, p)
		} else {
			copy(p, units)
		}
		at += step
	}
}
