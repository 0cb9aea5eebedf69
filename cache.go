package qkv

import (
	"fmt"
	"math"
	"sync"

	"github.com/qkv-go/qkv/tile"
)

// CacheConfig says what a [Cache] keeps, and where. A cache of pages, as servers have it:
//
//	qkv.CacheConfig{Layers: layers, PageTokens: 16, Pages: 4096}
//
// and one with a slot for each of 8 sequences, which is a page as long as a sequence may be:
//
//	qkv.CacheConfig{Layers: layers, PageTokens: 32768, Pages: 8}
type CacheConfig struct {
	// Layers has an entry for each layer of the model that has keys and values of its own. A layer
	// that shares those of another has none: it attends the index of the other.
	Layers []CacheLayer

	// PageTokens is the number of tokens of a page, the same in all layers. Rings of layers with a
	// Window consist of whole pages, too: with pages of 32,768 tokens, a ring of 1,024 takes 32,768.
	PageTokens int

	// Pages is the number of pages of each layer that attends all keys. It is 0 if there is no such
	// layer.
	Pages int

	// Sequences is the number of sequences that each layer with a Window has pages for at one time.
	// It is 0 if there is no such layer. Pages that forks share count once.
	Sequences int

	// StepTokens is the most new tokens of a sequence in one [Step], for layers with a Window: their
	// rings have room for so many beside the window. 0 means 256. A longer prompt comes in several
	// steps.
	StepTokens int
}

// A CacheLayer says what a [Cache] keeps of a layer.
type CacheLayer struct {
	KVHeads int // heads of the keys and of the values
	DimQK   int // of a head of the keys
	DimV    int // of a head of the values

	// KeyType and ValueType are what keys and values are kept in.
	KeyType, ValueType ElemType

	// HadamardK and HadamardV have keys, and values, kept multiplied by a Hadamard matrix, see
	// [Engine.Hadamard], of the largest power of two that divides the dim: a large element is spread over
	// its row, and types of few bits lose less of such a row. A [Step] multiplies queries, and outputs, as well,
	// so that results are the same but for rounding.
	HadamardK, HadamardV bool

	// KeyMean [KVHeads*DimQK], if not nil, is subtracted from each key before it is kept (SageAttention; Zhang et
	// al., 2024): what all keys have in common takes no bits of a type then. It is, for example, the mean of the
	// keys of some text. The softmax does not see it, and a log-sum-exp is corrected. A call of such a
	// layer has no Softcap, no Sinks, no ScoreMod, and Scores of StageProbs alone. NewCache copies it.
	KeyMean []float32

	// Window, if not 0, is how many of the last keys a query attends, its own among them. Every query
	// attends the tokens before First as well (StreamingLLM; Xiao et al., 2023). Layers with the same
	// Window and First share a table.
	//
	// In such a layer, the pages of a sequence are a ring buffer of
	//
	//	First + Window - 1 + StepTokens
	//
	// tokens, rounded up to whole pages. A new token takes the place of the oldest one from First
	// on. For example, with a Window of 1,024, a First of 4, StepTokens of 256 and pages of 16, a
	// sequence has 81 pages at most, however long it grows.
	Window, First int

	// K and V, if given, are memory of the caller's for the layer, in any strides: [pages, kvHeads,
	// page tokens, dim] of the types above, with as many pages as [CacheConfig.LayerPages] says.
	// KScale and VScale [pages, kvHeads, page tokens, 1], float32, go with int8. The cache allocates
	// what is not given.
	K, V           View
	KScale, VScale View
}

// A Cache keeps the keys and values of all layers of a model for any number of sequences. They lie in
// pages of a fixed number of tokens, which sequences with a common beginning share (Kwon et al.,
// PagedAttention, 2023). A [Sequence] has one page table for all layers that attend all keys, and one
// for all that have the same window.
//
// Sequences are written and attended in a [Step]. Goroutines may use different sequences at the same
// time, whether these share pages or not: in a Step each, or to fork, truncate, free or save them.
type Cache struct {
	layers     []cacheLayer
	pageGroups []pageGroup
	pageTokens int
	given      []region // memory of the caller's, which nothing else is to write

	mu     sync.Mutex // of the pages of the page groups, of which sequences are in a Step, and of asking
	asking Step       // counts pages for Fits, StepPages and Room
}

// A cacheLayer is a layer of a Cache.
type cacheLayer struct {
	store
	pageGroup int // index into those of the cache
	cfg       CacheLayer
	pools     [2]tile.KV     // of the keys and the values
	turned    [2]tile.Turned // what these go through before
}

// defaultStepTokens is what StepTokens is if it is 0.
const defaultStepTokens = 256

// ringPages returns the most pages that a sequence has of a layer, 0 if there is no bound.
func (cfg *CacheConfig) ringPages(l *CacheLayer) int {
	if l.Window == 0 {
		return 0
	}
	return (l.First + l.Window - 1 + cfg.stepTokens() + cfg.PageTokens - 1) / cfg.PageTokens
}

// stepTokens returns the most tokens of a step that rings have room for beside the window.
func (cfg *CacheConfig) stepTokens() int {
	if cfg.StepTokens == 0 {
		return defaultStepTokens
	}
	return cfg.StepTokens
}

// LayerPages returns how many pages a layer has: Pages, or with a Window
//
//	Sequences * ceil((First + Window - 1 + StepTokens) / PageTokens)
//
// It is 0 for a configuration that [NewCache] refuses, and for an index that Layers does not have.
func (cfg *CacheConfig) LayerPages(layer int) int {
	if cfg.check() != nil || layer < 0 || layer >= len(cfg.Layers) {
		return 0
	}
	return cfg.layerPages(layer)
}

// layerPages is LayerPages of a configuration that is checked.
func (cfg *CacheConfig) layerPages(layer int) int {
	if n := cfg.ringPages(&cfg.Layers[layer]); n > 0 {
		return n * cfg.Sequences
	}
	return cfg.Pages
}

// check reports numbers that no cache has. Those of a layer besides Window and First are left to
// its store.
func (cfg *CacheConfig) check() error {
	if len(cfg.Layers) == 0 {
		return argError("layers", 0, 1, "the cache has %d layers, at least 1 is needed", 0)
	}
	if n := cfg.PageTokens; n < 1 || n > MaxSeq {
		return argError("pageTokens", n, MaxSeq, "pageTokens is %d, 1 to %d is supported", n, MaxSeq)
	}
	if n := cfg.StepTokens; n < 0 || n > MaxSeq {
		return argError("stepTokens", n, MaxSeq, "stepTokens is %d, 0 to %d is supported", n, MaxSeq)
	}
	all, windows := 0, 0
	for i := range cfg.Layers {
		l := &cfg.Layers[i]
		for _, x := range [...]struct {
			name string
			n    int
		}{{"window", l.Window}, {"first", l.First}} {
			if x.n < 0 || x.n > MaxSeq {
				return argError(x.name, x.n, MaxSeq, "%s of layer %d is %d, 0 to %d is supported", x.name, i, x.n, MaxSeq)
			}
		}
		if l.Window == 0 {
			if all++; l.First != 0 {
				return argError("first", l.First, 0, "first of layer %d is %d, it needs a window", i, l.First)
			}
			continue
		}
		if n := int64(l.First) + int64(l.Window) - 1 + int64(cfg.stepTokens()); n > MaxSeq {
			return argError("window", int(min(n, math.MaxInt32)), MaxSeq, "first, window and stepTokens of layer %d need %d tokens, at most %d are supported", i, n, MaxSeq)
		}
		windows++
		if n := mul(cfg.ringPages(l), cfg.Sequences); n > MaxSeq {
			return argError("sequences", cfg.Sequences, MaxSeq/cfg.ringPages(l), "sequences is %d, at most %d have room for %d pages each", cfg.Sequences, MaxSeq/cfg.ringPages(l), cfg.ringPages(l))
		}
	}
	for _, x := range [...]struct {
		name, what string
		n, layers  int
	}{{"pages", "attend all keys", cfg.Pages, all}, {"sequences", "have a window", cfg.Sequences, windows}} {
		switch {
		case x.n < 0 || x.n > MaxSeq:
			return argError(x.name, x.n, MaxSeq, "%s is %d, 0 to %d is supported", x.name, x.n, MaxSeq)
		case x.layers > 0 && x.n == 0:
			return argError(x.name, 0, 1, "%s is %d, %d layers %s", x.name, 0, x.layers, x.what)
		case x.layers == 0 && x.n > 0:
			return argError(x.name, x.n, 0, "%s is %d, no layers %s", x.name, x.n, x.what)
		}
	}
	return nil
}

// NewCache returns a cache of free pages. The error is an [*ArgError], or a [*MemoryError] for more
// memory than there is. Memory of the caller's does not count.
func NewCache(cfg CacheConfig) (*Cache, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Cache{pageTokens: cfg.PageTokens, layers: make([]cacheLayer, len(cfg.Layers))}
	total := int64(0)
	for i := range cfg.Layers {
		l := &c.layers[i]
		l.cfg = cfg.Layers[i]
		l.store = store{l.cfg.K, l.cfg.V, l.cfg.KScale, l.cfg.VScale}
		l.pageGroup = c.pageGroupOf(&cfg, i)
		n, err := l.check(cfg.layerPages(i), cfg.PageTokens, &l.cfg)
		if err != nil {
			return nil, inLayer(err, i)
		}
		total = min(total+n, math.MaxInt64>>1) // layers may be many, n is less
		if err := l.turn(); err != nil {
			return nil, inLayer(err, i)
		}
	}
	if err := c.apart(); err != nil {
		return nil, err
	}
	for i := range c.pageGroups {
		total = min(total+8*int64(c.pageGroups[i].pages), math.MaxInt64>>1) // of refs and free
	}
	if err := checkMemory("cache", total); err != nil {
		return nil, err
	}
	for i := range c.pageGroups {
		g := &c.pageGroups[i]
		g.refs, g.free = make([]int32, g.pages), make([]int32, g.pages)
		for j := range g.free {
			g.free[j] = int32(g.pages - 1 - j) // the first are taken first
		}
	}
	for i := range c.layers {
		l := &c.layers[i]
		l.allocate(c.pageGroups[l.pageGroup].pages, cfg.PageTokens, &l.cfg)
		l.cfg.K, l.cfg.V, l.cfg.KScale, l.cfg.VScale = View{}, View{}, View{}, View{}
		l.pools = [2]tile.KV{l.k.pool(&l.kScale), l.v.pool(&l.vScale)}
	}
	c.asking = Step{cache: c, pageGroups: make([]stepPageGroup, len(c.pageGroups))}
	return c, nil
}

// pageGroupOf returns the page group of a layer, which it makes for the first one.
func (c *Cache) pageGroupOf(cfg *CacheConfig, layer int) int {
	l := &cfg.Layers[layer]
	for i := range c.pageGroups {
		if g := &c.pageGroups[i]; g.window == l.Window && g.first == l.First {
			return i
		}
	}
	c.pageGroups = append(c.pageGroups, pageGroup{layer: layer, window: l.Window, first: l.First, ring: cfg.ringPages(l), pages: cfg.layerPages(layer)})
	return len(c.pageGroups) - 1
}

// apart notes the memory that is given, and reports what is given twice.
func (c *Cache) apart() error {
	type memory struct {
		name string
		region
	}
	var given []memory
	for i := range c.layers {
		l := &c.layers[i]
		for j, v := range [...]*View{&l.k, &l.v, &l.kScale, &l.vScale} {
			if !v.given() {
				continue
			}
			m := memory{fmt.Sprintf("%s of layer %d", [...]string{"k", "v", "kScale", "vScale"}[j], i), v.region()}
			for k := range given {
				if err := checkApart(m.name, &m.region, given[k].name, &given[k].region); err != nil {
					return err
				}
			}
			given, c.given = append(given, m), append(c.given, m.region)
		}
	}
	return nil
}

// ready reports a Cache that NewCache has not made.
func (c *Cache) ready() error {
	if c == nil || c.layers == nil {
		return argError("cache", 0, 1, "cache is nil or zero: NewCache makes one")
	}
	return nil
}

// layer returns a layer.
func (c *Cache) layer(i int) (*cacheLayer, error) {
	if i < 0 || i >= len(c.layers) {
		return nil, argError("layer", i, len(c.layers), "layer is %d, the cache has %d", i, len(c.layers))
	}
	return &c.layers[i], nil
}

// Layers returns how many layers the cache has, 0 of nil.
func (c *Cache) Layers() int {
	if c == nil {
		return 0
	}
	return len(c.layers)
}

// PageTokens returns the tokens of a page, 0 of nil.
func (c *Cache) PageTokens() int {
	if c == nil {
		return 0
	}
	return c.pageTokens
}

// Bytes returns the size of the keys and values that the cache has room for, with the scales of
// int8, over all layers:
//
//	pages * kvHeads * page tokens * (row of dimQK + row of dimV)
//
// A row of n dims takes 4n bytes in float32, 2n in Float16 and BFloat16, n + 4 in int8, 34n/32 in Q8_0,
// n in Float8E4M3 and Float8E5M2, 18n/32 in Q4_0 and 20n/32 in Q4_1. Gaps in memory of the
// caller's do not count, and neither do tables, of 4 bytes a page. It is 0 of nil.
func (c *Cache) Bytes() int {
	if c == nil {
		return 0
	}
	n := 0
	for i := range c.layers {
		n += c.layers[i].bytes()
	}
	return n
}
