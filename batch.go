package qkv

// A Batch is memory for the lengths and page tables of the sequences of a call, which refers
// to it from [Cache.Use] or [PagedCache.Use] on: one Batch is for one call at a time. It is
// reused without allocation. The zero Batch is ready.
type Batch struct {
	tables [][]int32
	slots  []int32 // the pages of sequences that have one each
	lens   []int
	lost   []int // tokens before it were overwritten, in rings
}

// checkUse reports a call or a Batch of nil.
func checkUse(call *Call, b *Batch) error {
	if call == nil {
		return argError("call", 0, 1, "call is nil")
	}
	if b == nil {
		return argError("batch", 0, 1, "batch is nil")
	}
	return nil
}

// grow makes room for n sequences. Tables of none are not nil, which would be no tables.
func (b *Batch) grow(n int) {
	if b.tables == nil || cap(b.lens) < n {
		b.tables, b.slots, b.lens, b.lost = make([][]int32, n), make([]int32, n), make([]int, n), make([]int, n)
	}
	b.tables, b.slots, b.lens, b.lost = b.tables[:n], b.slots[:n], b.lens[:n], b.lost[:n]
}

// fill has a call attend what the tables say, as a decoder does unless the call says where its
// queries stand, and takes back what a ring had set in it, with whatever Batch.
func (b *Batch) fill(c *Call, s *store) {
	c.K, c.V, c.KScale, c.VScale = s.k, s.v, s.kScale, s.vScale
	c.Tables, c.LensKV, c.CuLensKV = b.tables, b.lens, nil
	if c.Ring {
		c.Ring, c.Lost, c.Mask.First = false, nil, 0
	}
	if c.Mask.Window.cache {
		c.Mask.Window = Window{}
	}
	if c.Mask.Align == alignUnsaid {
		c.Mask.Align = BottomRight
	}
}
