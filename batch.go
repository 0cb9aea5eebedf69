package qkv

// A Batch is memory for the lengths and page tables of the sequences of a call, which refers
// to it from [Cache.Use] or [PagedCache.Use] on: one Batch is for one call at a time. It is
// reused without allocation. The zero Batch is ready.
type Batch struct {
	tables [][]int32
	slots  []int32 // the pages of sequences that have one each
	lens   []int
	window Window
}

// grow makes room for n sequences.
func (b *Batch) grow(n int) {
	if cap(b.lens) < n {
		b.tables, b.slots, b.lens = make([][]int32, n), make([]int32, n), make([]int, n)
	}
	b.tables, b.slots, b.lens = b.tables[:n], b.slots[:n], b.lens[:n]
}

// fill has a call attend what the tables say, and takes back what a ring had set in it.
func (b *Batch) fill(c *Call, s *store) {
	c.K, c.V, c.KScale, c.VScale = s.k, s.v, s.kScale, s.vScale
	c.Tables, c.LensKV, c.CuLensKV = b.tables, b.lens, nil
	if c.Ring {
		c.Ring, c.Mask.First = false, 0
		if c.Mask.Window == &b.window {
			c.Mask.Window = nil
		}
	}
}
