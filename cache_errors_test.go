package qkv_test

import (
	"errors"
	"math"
	"testing"

	"github.com/qkv-go/qkv"
)

// checkArgError requires an ArgError of an argument with a text.
func checkArgError(t *testing.T, err error, arg, want string) {
	t.Helper()
	var e *qkv.ArgError
	if !errors.As(err, &e) || e.Arg != arg || err.Error() != want {
		t.Errorf("error %v, want %s of %s", err, want, arg)
	}
}

func TestCacheConfigErrors(t *testing.T) {
	floats, ints := make([]float32, 4096), make([]int8, 4096)
	for _, c := range []struct {
		arg, want string
		spoil     func(c *qkv.CacheConfig)
	}{
		{"sequences", "qkv: sequences is 0, at least 1 is needed", func(c *qkv.CacheConfig) { c.Sequences = 0 }},
		{"kvHeads", "qkv: kvHeads is -2, at least 1 is needed", func(c *qkv.CacheConfig) { c.KVHeads = -2 }},
		{"capacity", "qkv: capacity is 0, at least 1 is needed", func(c *qkv.CacheConfig) { c.Capacity = 0 }},
		{"capacity", "qkv: capacity is 1073741825, at most 1073741824 is supported", func(c *qkv.CacheConfig) { c.Capacity = 1<<30 + 1 }},
		{"dimQK", "qkv: dimQK is 16385, at most 16384 is supported", func(c *qkv.CacheConfig) { c.DimQK = 16385 }},
		{"dimV", "qkv: dimV is 0, at least 1 is needed", func(c *qkv.CacheConfig) { c.DimV = 0 }},
		{"dimV", "qkv: dimV is 33, not a multiple of the 32 of a block", func(c *qkv.CacheConfig) { c.DimV = 33 }},
		{"keyType", "qkv: keyType is 5, the last is 4", func(c *qkv.CacheConfig) { c.KeyType = 5 }},
		{"valueType", "qkv: valueType is -1, the last is 4", func(c *qkv.CacheConfig) { c.ValueType = -1 }},
		{"keep", "qkv: keep is -1, at least 0 is needed", func(c *qkv.CacheConfig) { c.Keep = -1 }},
		{"keep", "qkv: keep is 3, it needs ring", func(c *qkv.CacheConfig) { c.Keep = 3 }},
		{"keep", "qkv: keep is 8, a ring of capacity 8 keeps at most 7", func(c *qkv.CacheConfig) { c.Ring, c.Keep = true, 8 }},
		{"window", "qkv: window is -1, at least 0 is needed", func(c *qkv.CacheConfig) { c.Window = -1 }},
		{"window", "qkv: window is 4, it needs ring", func(c *qkv.CacheConfig) { c.Window = 4 }},
		{"window", "qkv: window is 7, capacity 8 less keep 2 is 6", func(c *qkv.CacheConfig) { c.Ring, c.Keep, c.Window = true, 2, 7 }},
		{"v", "qkv: v is not given, k is", func(c *qkv.CacheConfig) { c.K = qkv.BHSD(ints, 3, 2, 8, 32) }},
		{"kScale", "qkv: kScale is given, k is not", func(c *qkv.CacheConfig) { c.KScale = qkv.BHSD(floats, 3, 2, 8, 1) }},
	} {
		cfg := qkv.CacheConfig{Sequences: 3, KVHeads: 2, Capacity: 8, DimQK: 32, DimV: 64, KeyType: qkv.TypeInt8, ValueType: qkv.TypeQ8_0}
		newCache(t, cfg)
		c.spoil(&cfg)
		_, err := qkv.NewCache(cfg)
		checkArgError(t, err, c.arg, c.want)
	}
	_, err := qkv.NewCache(qkv.CacheConfig{Sequences: math.MaxInt32, KVHeads: math.MaxInt32, Capacity: 1 << 30, DimQK: 32, DimV: 32})
	var e *qkv.ArgError
	if !errors.As(err, &e) || e.Arg != "sequences" {
		t.Errorf("more than any memory: %v", err)
	}
}

func TestCacheMemoryErrors(t *testing.T) {
	floats, ints, blocks := make([]float32, 4096), make([]int8, 4096), make([]qkv.BlockQ8_0, 128)
	for _, c := range []struct {
		arg, want string
		spoil     func(c *qkv.PagedConfig)
	}{
		{"pages", "qkv: pages is 0, at least 1 is needed", func(c *qkv.PagedConfig) { c.Pages = 0 }},
		{"pageTokens", "qkv: pageTokens is -8, at least 1 is needed", func(c *qkv.PagedConfig) { c.PageTokens = -8 }},
		{"k", "qkv: k is not given, v is", func(c *qkv.PagedConfig) { c.K = qkv.View{} }},
		{"k", "qkv: k has elements of type float32, int8 is needed", func(c *qkv.PagedConfig) { c.K = qkv.BHSD(floats, 3, 2, 8, 32) }},
		{"k", "qkv: k has batch 2, the cache needs 3", func(c *qkv.PagedConfig) { c.K = qkv.BHSD(ints, 2, 2, 8, 32) }},
		{"v", "qkv: v has head dim 32, the cache needs 64", func(c *qkv.PagedConfig) { c.V = qkv.BHSD(blocks, 3, 2, 8, 32) }},
		{"v", "qkv: v reaches element 95, its slice has 90", func(c *qkv.PagedConfig) { c.V = qkv.BHSD(blocks[:90], 3, 2, 8, 64) }},
		{"v", "qkv: v overlaps itself: its head dim stride is 1, at least 8 is needed", func(c *qkv.PagedConfig) {
			c.V = qkv.Strided(blocks, 0, [4]int{3, 2, 8, 64}, [4]int{32, 16, 1, 1})
		}},
		{"kScale", "qkv: kScale is not given", func(c *qkv.PagedConfig) { c.KScale = qkv.View{} }},
		{"kScale", "qkv: kScale has elements of type int8, float32 is needed", func(c *qkv.PagedConfig) { c.KScale = qkv.BHSD(ints, 3, 2, 8, 1) }},
		{"kScale", "qkv: kScale overlaps itself: its heads stride is 0, at least 1 is needed", func(c *qkv.PagedConfig) {
			c.KScale = qkv.Strided(floats, 0, [4]int{3, 2, 8, 1}, [4]int{8, 0, 1, 1})
		}},
		{"vScale", "qkv: vScale is given, v has elements of type BlockQ8_0", func(c *qkv.PagedConfig) { c.VScale = c.KScale }},
		{"v", "qkv: v and k share elements", func(c *qkv.PagedConfig) {
			c.ValueType, c.DimV, c.V, c.VScale = qkv.TypeInt8, 32, c.K, c.KScale
		}},
	} {
		cfg := qkv.PagedConfig{
			Pages: 3, PageTokens: 8, KVHeads: 2, DimQK: 32, DimV: 64, KeyType: qkv.TypeInt8, ValueType: qkv.TypeQ8_0,
			K: qkv.BHSD(ints, 3, 2, 8, 32), KScale: qkv.BHSD(floats, 3, 2, 8, 1), V: qkv.BHSD(blocks, 3, 2, 8, 64),
		}
		if _, err := qkv.NewPagedCache(cfg); err != nil {
			t.Fatal(err)
		}
		c.spoil(&cfg)
		_, err := qkv.NewPagedCache(cfg)
		checkArgError(t, err, c.arg, c.want)
	}
}

func TestCacheErrors(t *testing.T) {
	s := cacheShape{2, 32, 64, qkv.TypeInt8, qkv.TypeFloat16}
	cfg := s.config(3, 8)
	// Memory to see what is written.
	halves := make([]qkv.Float16, 3*2*8*64)
	cfg.K, cfg.KScale = newPool(qkv.TypeInt8, [4]int{3, 2, 8, 32}).views()
	cfg.V = qkv.BHSD(halves, 3, 2, 8, 64)
	c := newCache(t, cfg)
	data := draw(4096, normal(1))
	k, v := qkv.BHSD(data, 1, 2, 3, 32), qkv.BHSD(data, 1, 2, 3, 64)
	for _, e := range []struct {
		arg, want string
		err       error
	}{
		{"slot", "qkv: slot is 3, the cache has 3", c.Append(3, k, v)},
		{"slot", "qkv: slot is -1, the cache has 3", c.Append(-1, k, v)},
		{"slot", "qkv: slot is 3, the cache has 3", c.Truncate(3, 0)},
		{"slot", "qkv: slot is 3, the cache has 3", c.Reset(3)},
		{"n", "qkv: n is -1, at least 0 is needed", c.Truncate(0, -1)},
		{"n", "qkv: n is 1, slot 0 has 0 tokens", c.Truncate(0, 1)},
		{"k", "qkv: k has batch 2, the cache needs 1", c.Append(0, qkv.BHSD(data, 2, 2, 3, 32), v)},
		{"k", "qkv: k has heads 1, the cache needs 2", c.Append(0, qkv.BHSD(data, 1, 1, 3, 32), v)},
		{"k", "qkv: k has head dim 64, the cache needs 32", c.Append(0, v, v)},
		{"v", "qkv: v has head dim 32, the cache needs 64", c.Append(0, k, k)},
		{"v", "qkv: v has sequence length 2, k has 3", c.Append(0, k, qkv.BHSD(data, 1, 2, 2, 64))},
		{"v", "qkv: v has elements of type Float16, float32 is needed", c.Append(0, k, qkv.BHSD(halves, 1, 2, 3, 64))},
		{"v", "qkv: v reaches element 383, its slice has 383", c.Append(0, k, qkv.BHSD(data[:383], 1, 2, 3, 64))},
		{"k", "qkv: k has negative sequence length -1", c.Append(0, qkv.BHSD(data, 1, 2, -1, 32), qkv.BHSD(data, 1, 2, -1, 64))},
		{"k", "qkv: k is not given", c.Append(0, qkv.View{}, v)},
		{"slots", "qkv: slots[1] is 3, the cache has 3", c.Use(new(qkv.Call), new(qkv.Batch), []int{0, 3})},
		{"slots", "qkv: slots[0] is -1, the cache has 3", c.Use(new(qkv.Call), new(qkv.Batch), []int{-1})},
	} {
		checkArgError(t, e.err, e.arg, e.want)
	}
	if err := c.Append(0, qkv.BHSD(data, 1, 2, 9, 32), qkv.BHSD(data, 1, 2, 9, 64)); err == nil ||
		err.Error() != "qkv: slot 0 has 0 tokens and room for 8 more, not for 9" {
		t.Errorf("9 tokens: %v", err)
	}
	for i, h := range halves {
		if h != 0 {
			t.Fatalf("value %d was written", i)
		}
	}
	for slot := range 5 {
		if n := c.Len(slot - 1); n != 0 {
			t.Errorf("slot %d has %d tokens", slot-1, n)
		}
	}
	if err := c.Append(2, qkv.BHSD(data, 1, 2, 0, 32), qkv.BHSD(data, 1, 2, 0, 64)); err != nil || c.Len(2) != 0 {
		t.Errorf("no tokens: %v", err)
	}

	ring := s.config(1, 8)
	ring.Ring, ring.Window = true, 4
	call := &qkv.Call{Mask: qkv.Mask{Window: qkv.Sliding(4, 0)}}
	checkArgError(t, newCache(t, ring).Use(call, new(qkv.Batch), []int{0}), "mask", "qkv: mask has a window with left bound 4, that of the cache is 3")
	// Prefixes would stay where the ring goes round.
	call.Mask = qkv.Mask{Prefix: 2}
	checkArgError(t, newCache(t, ring).Use(call, new(qkv.Batch), []int{0}), "mask", "qkv: mask has prefix 2, a ring keeps its own first 0")
	call.Mask = qkv.Mask{Prefixes: []int{2}}
	checkArgError(t, newCache(t, ring).Use(call, new(qkv.Batch), []int{0}), "mask", "qkv: mask has 1 prefixes, a ring keeps its own first 0")
	if call.Tables != nil || call.K != (qkv.View{}) {
		t.Error("the call has changed")
	}
}

func TestSequenceErrors(t *testing.T) {
	s := cacheShape{1, 4, 4, qkv.TypeFloat32, qkv.TypeFloat32}
	c, err := qkv.NewPagedCache(s.paged(4, 2))
	other, err2 := qkv.NewPagedCache(s.paged(4, 2))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	data := make([]float32, 64)
	tokens := func(n int) qkv.View { return qkv.BHSD(data, 1, 1, n, 4) }
	live, freed := c.NewSequence(), c.NewSequence()
	if err := errors.Join(live.Append(tokens(3), tokens(3)), freed.Append(tokens(1), tokens(1)), freed.Free()); err != nil {
		t.Fatal(err)
	}
	use := func(c *qkv.PagedCache, sequences ...*qkv.Sequence) error {
		return c.Use(new(qkv.Call), new(qkv.Batch), sequences)
	}
	fork := func(s *qkv.Sequence) error {
		_, err := s.Fork()
		return err
	}
	none, empty := new(qkv.PagedCache).NewSequence(), qkv.BHSD[float32](nil, 1, 0, 3, 0)
	for _, e := range []struct {
		arg, want string
		err       error
	}{
		{"n", "qkv: n is -1, at least 0 is needed", live.Truncate(-1)},
		{"n", "qkv: n is 4, the sequence has 3 tokens", live.Truncate(4)},
		{"k", "qkv: k has head dim 5, the cache needs 4", live.Append(qkv.BHSD(data, 1, 1, 3, 5), tokens(3))},
		{"sequences", "qkv: sequences[0]: it is of another cache", use(other, live)},
		{"sequences", "qkv: sequences[1]: it was freed", use(c, live, freed)},
		{"sequences", "qkv: sequences[0]: it is no sequence: NewSequence makes one", use(c, nil)},
		{"sequences", "qkv: sequences[0]: it is no sequence: NewSequence makes one", use(c, new(qkv.Sequence))},
		{"sequence", "qkv: sequence: it was freed", freed.Free()},
		{"sequence", "qkv: sequence: it was freed", freed.Truncate(0)},
		{"sequence", "qkv: sequence: it was freed", freed.Append(tokens(1), tokens(1))},
		{"sequence", "qkv: sequence: it was freed", fork(freed)},
		{"sequence", "qkv: sequence: it is no sequence: NewSequence makes one", new(qkv.Sequence).Append(tokens(1), tokens(1))},
		{"sequence", "qkv: sequence: it is no sequence: NewSequence makes one", (*qkv.Sequence)(nil).Free()},
		{"sequence", "qkv: sequence: it is no sequence: NewSequence makes one", fork(nil)},
		{"sequence", "qkv: sequence: its cache has no pages: NewPagedCache makes one", none.Append(empty, empty)},
		{"sequence", "qkv: sequence: its cache has no pages: NewPagedCache makes one", none.Truncate(0)},
	} {
		checkArgError(t, e.err, e.arg, e.want)
	}
	if n := (*qkv.Sequence)(nil).Len() + freed.Len(); n != 0 {
		t.Errorf("%d tokens of no sequence", n)
	}
	var pages *qkv.PagesError
	if err := live.Append(tokens(6), tokens(6)); !errors.As(err, &pages) || *pages != (qkv.PagesError{Needed: 3, Free: 2}) ||
		err.Error() != "qkv: 3 pages are needed, 2 are free" {
		t.Errorf("6 tokens: %v", err)
	}
	if live.Len() != 3 || c.FreePages() != 2 {
		t.Errorf("%d tokens, %d pages free after an error", live.Len(), c.FreePages())
	}
}
