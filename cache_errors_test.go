package qkv_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
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
	floats, ints, blocks := make([]float32, 4096), make([]int8, 4096), make([]qkv.BlockQ8_0, 128)
	for _, c := range []struct {
		arg, want string
		spoil     func(c *qkv.CacheConfig, l *qkv.CacheLayer)
	}{
		{"layers", "qkv: the cache has 0 layers, at least 1 is needed", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { c.Layers = nil }},
		{"pages", "qkv: pages is 0, 1 layers attend all keys", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { c.Pages = 0 }},
		{"pages", "qkv: pages is -1, 0 to 1073741824 is supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { c.Pages = -1 }},
		{"pages", "qkv: pages is 3, no layers attend all keys", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.Window, c.Sequences = 4, 1 }},
		{"sequences", "qkv: sequences is 0, 1 layers have a window", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.Window, c.Pages = 4, 0 }},
		{"sequences", "qkv: sequences is 2, no layers have a window", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { c.Sequences = 2 }},
		{"sequences", "qkv: sequences is 1073741824, at most 32537631 have room for 33 pages each", func(c *qkv.CacheConfig, l *qkv.CacheLayer) {
			l.Window, c.Pages, c.Sequences = 4, 0, 1<<30
		}},
		{"pageTokens", "qkv: pageTokens is 0, 1 to 1073741824 is supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { c.PageTokens = 0 }},
		{"pageTokens", "qkv: pageTokens is 1073741825, 1 to 1073741824 is supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { c.PageTokens = 1<<30 + 1 }},
		{"stepTokens", "qkv: stepTokens is -1, 0 to 1073741824 is supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { c.StepTokens = -1 }},
		{"window", "qkv: window of layer 0 is -1, 0 to 1073741824 is supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.Window = -1 }},
		{"first", "qkv: first of layer 0 is -2, 0 to 1073741824 is supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.First = -2 }},
		{"window", "qkv: first, window and stepTokens of layer 0 need 1073741825 tokens, at most 1073741824 are supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) {
			l.Window, l.First, c.Pages, c.Sequences, c.StepTokens = 1<<29, 1<<28, 0, 1, 1<<28+2
		}},
		{"first", "qkv: first of layer 0 is 3, it needs a window", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.First = 3 }},
		{"kvHeads", "qkv: layer 0: kvHeads is -2, at least 1 is needed", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.KVHeads = -2 }},
		{"dimQK", "qkv: layer 0: dimQK is 16385, at most 16384 is supported", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.DimQK = 16385 }},
		{"dimV", "qkv: layer 1: dimV is 0, at least 1 is needed", func(c *qkv.CacheConfig, l *qkv.CacheLayer) {
			c.Layers = append(c.Layers, *l)
			c.Layers[0].K, c.Layers[0].V, c.Layers[0].KScale = qkv.View{}, qkv.View{}, qkv.View{}
			c.Layers[1].DimV = 0
		}},
		{"dimV", "qkv: layer 0: dimV is 33, not a multiple of the 32 of a block", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.DimV = 33 }},
		{"keyType", "qkv: layer 0: keyType is 9, the last is 8", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.KeyType = 9 }},
		{"valueType", "qkv: layer 0: valueType is -1, the last is 8", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.ValueType = -1 }},
		{"v", "qkv: layer 0: v is not given, k is", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.V = qkv.View{} }},
		{"k", "qkv: layer 0: k is not given, v is", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.K = qkv.View{} }},
		{"kScale", "qkv: layer 0: kScale is given, k is not", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.K, l.V = qkv.View{}, qkv.View{} }},
		{"k", "qkv: layer 0: k has elements of type float32, int8 is needed", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.K = qkv.BHSD(floats, 3, 2, 8, 32) }},
		{"k", "qkv: layer 0: k has batch 2, the cache needs 3", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.K = qkv.BHSD(ints, 2, 2, 8, 32) }},
		{"v", "qkv: layer 0: v has head dim 32, the cache needs 64", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.V = qkv.BHSD(blocks, 3, 2, 8, 32) }},
		{"v", "qkv: layer 0: v reaches element 95, its slice has 90", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.V = qkv.BHSD(blocks[:90], 3, 2, 8, 64) }},
		{"v", "qkv: layer 0: v overlaps itself: its head dim stride is 1, at least 8 is needed", func(c *qkv.CacheConfig, l *qkv.CacheLayer) {
			l.V = qkv.Strided(blocks, 0, [4]int{3, 2, 8, 64}, [4]int{32, 16, 1, 1})
		}},
		{"kScale", "qkv: layer 0: kScale is not given", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.KScale = qkv.View{} }},
		{"vScale", "qkv: layer 0: vScale is given, v has elements of type BlockQ8_0", func(c *qkv.CacheConfig, l *qkv.CacheLayer) { l.VScale = l.KScale }},
		{"v of layer 0", "qkv: v of layer 0 and k of layer 0 share elements", func(c *qkv.CacheConfig, l *qkv.CacheLayer) {
			l.ValueType, l.DimV, l.V, l.VScale = qkv.TypeInt8, 32, l.K, qkv.BHSD(floats[100:], 3, 2, 8, 1)
		}},
	} {
		cfg := qkv.CacheConfig{Pages: 3, PageTokens: 8, Layers: []qkv.CacheLayer{{
			KVHeads: 2, DimQK: 32, DimV: 64, KeyType: qkv.TypeInt8, ValueType: qkv.TypeQ8_0,
			K: qkv.BHSD(ints, 3, 2, 8, 32), KScale: qkv.BHSD(floats, 3, 2, 8, 1), V: qkv.BHSD(blocks, 3, 2, 8, 64),
		}}}
		newCache(t, cfg)
		c.spoil(&cfg, &cfg.Layers[0])
		_, err := qkv.NewCache(cfg)
		checkArgError(t, err, c.arg, c.want)
		if c.arg == "pages" && cfg.LayerPages(0) != 0 {
			t.Errorf("%d pages of a configuration that is refused", cfg.LayerPages(0))
		}
	}
	_, err := qkv.NewCache(cacheShape{math.MaxInt32, 32, 32, qkv.TypeFloat32, qkv.TypeFloat32}.config(1<<30, 1<<30))
	var e *qkv.ArgError
	if !errors.As(err, &e) || e.Arg != "k" {
		t.Errorf("more than any memory: %v", err)
	}
}

// TestCacheManyLayers: however many layers there are, what they take together is refused at once.
func TestCacheManyLayers(t *testing.T) {
	l := qkv.CacheLayer{KVHeads: 1 << 11, DimQK: 1 << 14, DimV: 1 << 14, KeyType: qkv.TypeFloat32, ValueType: qkv.TypeFloat32}
	cfg := qkv.CacheConfig{Layers: slices.Repeat([]qkv.CacheLayer{l}, 1<<17+2), Pages: 1<<18 - 1, PageTokens: 1}
	var e *qkv.MemoryError
	if _, err := qkv.NewCache(cfg); math.MaxInt == math.MaxInt32 {
		isArgError(t, "32 bits", err, "layer 0: 262143 pages take")
	} else if !errors.As(err, &e) || e.Bytes < 1<<60 {
		t.Error(err)
	}
}

func TestStepErrors(t *testing.T) {
	s := cacheShape{2, 32, 64, qkv.TypeInt8, qkv.TypeFloat16}
	cfg := s.config(3, 8)
	halves := make([]qkv.Float16, 3*2*8*64) // memory to see what is written
	cfg.Layers[0].K, cfg.Layers[0].KScale = newPool(qkv.TypeInt8, [4]int{3, 2, 8, 32}).views()
	cfg.Layers[0].V = qkv.BHSD(halves, 3, 2, 8, 64)
	ring := s.layer()
	ring.Window, ring.First = 4, 2
	cfg.Layers, cfg.Sequences, cfg.StepTokens = append(cfg.Layers, ring), 4, 11 // rings of 16 tokens
	c, e := newCache(t, cfg), newAttention(t, qkv.Config{})
	step, other := newStep(t, e, c), newCache(t, s.config(3, 8))
	live, freed := c.NewSequence(), c.NewSequence()
	must(freed.Free())
	begin := func(x ...qkv.StepSequence) error { return step.Begin(x) }
	one := qkv.StepSequence{Sequence: live, Tokens: 3}
	for _, x := range []struct {
		arg, want string
		err       error
	}{
		{"sequences", "qkv: sequences[0]: it is of another cache", begin(qkv.StepSequence{Sequence: other.NewSequence(), Tokens: 1})},
		{"sequences", "qkv: sequences[1]: it was freed", begin(one, qkv.StepSequence{Sequence: freed, Tokens: 1})},
		{"sequences", "qkv: sequences[0]: it is no sequence: NewSequence makes one", begin(qkv.StepSequence{Tokens: 1})},
		{"sequences", "qkv: sequences[0]: it is no sequence: NewSequence makes one", begin(qkv.StepSequence{Sequence: new(qkv.Sequence)})},
		{"sequences", "qkv: sequences[1] has -1 tokens, 0 to 1073741824 is supported", begin(one, qkv.StepSequence{Sequence: live, Tokens: -1})},
		{"sequences", "qkv: sequences[0] has 1073741825 queries, NoQueries or 0 to 1073741824 is supported", begin(qkv.StepSequence{Sequence: live, Queries: 1<<30 + 1})},
		{"sequences", "qkv: sequences[0] has 17 new tokens, layers with window 4 take at most 16 at once", begin(qkv.StepSequence{Sequence: live, Tokens: 17})},
		{"sequences", "qkv: the first 2 sequences have 1073741827 new tokens or queries, at most 1073741824 are supported", begin(one, qkv.StepSequence{Sequence: c.NewSequence(), Queries: 1 << 30})},
		{"accepted", "qkv: step has not begun: Begin does that", func() error {
			err := step.CommitFirst(nil)
			var a *qkv.ArgError
			if errors.As(err, &a) {
				a.Arg = "accepted"
			}
			return err
		}()},
		{"sequence", "qkv: sequence: it was freed", freed.Free()},
		{"sequence", "qkv: sequence: it was freed", second(freed.Fork())},
		{"n", "qkv: n is -1, at least 0 is needed", live.Truncate(-1)},
		{"n", "qkv: n is 1, the sequence has 0 tokens", live.Truncate(1)},
		{"layer", "qkv: layer is 2, the cache has 2", second(live.Table(2))},
	} {
		checkArgError(t, x.err, x.arg, x.want)
	}

	must(begin(one, qkv.StepSequence{Sequence: c.NewSequence(), Tokens: 1, Queries: 2}))
	data := draw(4096, normal(1))
	k, v := qkv.THD(data, 4, 2, 32), qkv.THD(data, 4, 2, 64)
	q, out := qkv.THD(data, 5, 4, 32), qkv.THD(make([]float32, 5*4*64), 5, 4, 64)
	attend := func(layer int, change func(c *qkv.Call)) error {
		call := qkv.Call{Q: q, Out: out, Mask: qkv.Mask{Causal: true}}
		change(&call)
		return step.Attend(layer, &call)
	}
	none := func(*qkv.Call) {}
	checkArgError(t, attend(0, none), "layer", "qkv: layer 0 has not been written in this step, which has 4 new tokens")
	must(step.Write(1, k, v))
	for _, x := range []struct {
		arg, want string
		err       error
	}{
		{"layer", "qkv: layer is 2, the cache has 2", step.Write(2, k, v)},
		{"layer", "qkv: layer is -1, the cache has 2", step.Write(-1, k, v)},
		{"k", "qkv: k has batch 2, the step needs 1", step.Write(0, qkv.BHSD(data, 2, 2, 2, 32), v)},
		{"k", "qkv: k has heads 1, the step needs 2", step.Write(0, qkv.THD(data, 4, 1, 32), v)},
		{"k", "qkv: k has head dim 64, the step needs 32", step.Write(0, v, v)},
		{"k", "qkv: k has sequence length 5, the step needs 4", step.Write(0, qkv.THD(data, 5, 2, 32), v)},
		{"v", "qkv: v has elements of type Float16, float32 is needed", step.Write(0, k, qkv.THD(halves, 4, 2, 64))},
		{"v", "qkv: v reaches element 511, its slice has 511", step.Write(0, k, qkv.THD(data[:511], 4, 2, 64))},
		{"k", "qkv: k is not given", step.Write(0, qkv.View{}, v)},
		{"layer", "qkv: layer 0 has not been written in this step, which has 4 new tokens", step.Commit()},
		{"accepted", "qkv: accepted has length 1, the step has 2 sequences", step.CommitFirst([]int{0})},
		{"accepted", "qkv: accepted[1] is 2, the sequence has 1 new tokens", step.CommitFirst([]int{3, 2})},
		{"call", "qkv: call is nil", step.Attend(1, nil)},
		{"layer", "qkv: layer is 7, the cache has 2", attend(7, none)},
		{"q", "qkv: q has batch 1 and 4 tokens, the step has 5 queries", attend(1, func(c *qkv.Call) { c.Q, c.Out = qkv.THD(data, 4, 4, 32), qkv.THD(data[2048:], 4, 4, 64) })},
		{"k", "qkv: k is given, a step has its own", attend(1, func(c *qkv.Call) { c.K = k })},
		{"lensKV", "qkv: lensKV is given, a step has its own", attend(1, func(c *qkv.Call) { c.LensKV = []int{1} })},
		{"mask", "qkv: an alignment of the mask is given, a step has its own", attend(1, func(c *qkv.Call) { c.Mask.Align = qkv.AlignOffset })},
		{"mask", "qkv: mask has a window with left bound 4, that of layer 1 is 3", attend(1, func(c *qkv.Call) { c.Mask.Window = qkv.Sliding(4, 0) })},
		{"mask", "qkv: mask has first 0, prefix 3 and 0 prefixes, layer 1 has a window and first 2 of its own", attend(1, func(c *qkv.Call) { c.Mask.Prefix = 3 })},
		{"lse", "qkv: lse has length 3, out has 20 rows", attend(1, func(c *qkv.Call) { c.LSE = make([]float32, 3) })},
	} {
		checkArgError(t, x.err, x.arg, x.want)
	}
	for i, h := range halves {
		if h != 0 {
			t.Fatalf("value %d was written", i)
		}
	}
	must(attend(1, none))
	plan, err := step.Explain(1, &qkv.Call{Q: q, Out: out, Mask: qkv.Mask{Causal: true}})
	if must(err); plan.Kernel == "" || plan.Pairs != 4*(1+2+3+0+1) {
		t.Errorf("%d pairs, %v", plan.Pairs, plan)
	}
	must(step.Rollback())

	var pages *qkv.PagesError
	err = begin(qkv.StepSequence{Sequence: live, Tokens: 16}, qkv.StepSequence{Sequence: c.NewSequence(), Tokens: 9})
	if !errors.As(err, &pages) || *pages != (qkv.PagesError{Needed: 4, Free: 3}) || err.Error() != "qkv: 4 pages are needed, 3 are free" {
		t.Errorf("25 tokens: %v", err)
	}
	batch := draw(5, func() qkv.StepSequence { return qkv.StepSequence{Sequence: c.NewSequence(), Tokens: 1} })
	err = step.Begin(batch[:3])
	must(errors.Join(err, step.Rollback()))
	rings := newStep(t, e, newCache(t, s.ring(2, 8, 4, 2, 3)))
	if err := rings.Begin(nil); err != nil {
		t.Error(err)
	}
	must(rings.Commit())
}

// TestRingPagesError: pages that layers with a window lack are named by that.
func TestRingPagesError(t *testing.T) {
	c := newCache(t, cacheShapes[0].ring(2, 8, 4, 2, 11))
	step := newStep(t, newAttention(t, qkv.Config{}), c)
	var batch []qkv.StepSequence
	for range 3 {
		batch = append(batch, qkv.StepSequence{Sequence: c.NewSequence(), Tokens: 9})
	}
	var pages *qkv.PagesError
	err := step.Begin(batch)
	if !errors.As(err, &pages) || *pages != (qkv.PagesError{Layer: 0, Window: 4, Needed: 6, Free: 4}) || err.Error() != "qkv: 6 pages are needed of layers with window 4, 4 are free" {
		t.Error(err)
	}
}

// TestSavedErrors: a file that does not fit, is cut off, or has any bit changed, is an error that leaves
// all pages free.
func TestSavedErrors(t *testing.T) {
	s := cacheShapes[3]
	cfg := s.config(6, 4)
	ring := s.layer()
	ring.Window, ring.First = 5, 1
	cfg.Layers, cfg.Sequences, cfg.StepTokens = append(cfg.Layers, ring), 2, 4
	c, e := newCache(t, cfg), newAttention(t, qkv.Config{})
	step, x := newStep(t, e, c), c.NewSequence()
	r := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		must(step.Begin([]qkv.StepSequence{{Sequence: x, Tokens: 3}}))
		for layer := range cfg.Layers {
			k, v := s.tokens(r, 3)
			must(step.Write(layer, k.view(), v.view()))
		}
		must(step.Commit())
	}
	var file bytes.Buffer
	_, err := x.WriteTo(&file)
	must(err)
	must(x.Free())
	whole := file.Bytes()
	free := c.FreePages(0) + c.FreePages(1)
	refused := func(what string, c *qkv.Cache, data []byte) error {
		t.Helper()
		before := c.FreePages(0)
		s, err := c.ReadSequence(bytes.NewReader(data))
		if err == nil || s != nil {
			t.Errorf("%s: no error", what)
		}
		if c.FreePages(0) != before {
			t.Fatalf("%s: %d pages are free, want %d", what, c.FreePages(0), before)
		}
		return err
	}
	for i := range whole {
		if i > 200 && i%97 != 0 && i < len(whole)-8 {
			continue
		}
		data := bytes.Clone(whole)
		data[i] ^= 1 << (i % 8)
		refused("changed", c, data)
		if i < 32+2*40 && (i < 28 || i > 31) { // with the right checksum of the header
			binary.LittleEndian.PutUint32(data[28:], crc32.Update(crc32.ChecksumIEEE(data[:28]), crc32.IEEETable, data[32:32+2*40]))
			refused("changed header", c, data)
		}
		if err := refused("cut off", c, whole[:i]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
	isArgError(t, "layers", refused("one layer", newCache(t, s.config(6, 4)), whole), "data has 2 layers, the cache has 1")
	isArgError(t, "another kind", refused("GGUF", c, append([]byte("GGUF\x03\x00\x00\x00"), whole...)), `data is no sequence: it begins with "GGUF\x03`)
	other := cfg
	other.Layers = []qkv.CacheLayer{cfg.Layers[0], cfg.Layers[1]}
	other.Layers[1].Window = 6
	isArgError(t, "window", refused("window", newCache(t, other), whole), "data has window 5 in layer 1, the cache has 6")
	other.Layers[0].KeyType = qkv.TypeBFloat16
	isArgError(t, "type", refused("type", newCache(t, other), whole), "data has keyType int8 in layer 0, the cache has BFloat16")
	other = cfg
	other.Pages = 3
	if err := refused("pages", newCache(t, other), whole); !errors.As(err, new(*qkv.PagesError)) {
		t.Error(err)
	}
	if _, err := x.WriteTo(io.Discard); err == nil {
		t.Error("a freed sequence was written")
	}
	if n := c.FreePages(0) + c.FreePages(1); n != free {
		t.Errorf("%d pages are free, want %d", n, free)
	}

	// Other pages, and a ring of another size.
	other = cfg
	other.Pages, other.PageTokens, other.StepTokens = 2, 16, 1
	d := newCache(t, other)
	y, err := d.ReadSequence(bytes.NewReader(whole))
	must(err)
	var again bytes.Buffer
	_, err = y.WriteTo(&again)
	must(err)
	z, err := c.ReadSequence(&again)
	must(err)
	if y.Len() != 15 || z.Len() != 15 {
		t.Errorf("%d and %d tokens", y.Len(), z.Len())
	}
}

// FuzzReadSequence: no file makes a cache leave its memory, take more than its pages or keep them.
func FuzzReadSequence(f *testing.F) {
	s := cacheShapes[0]
	cfg := s.config(4, 4)
	ring := s.layer()
	ring.Window = 3
	cfg.Layers, cfg.Sequences, cfg.StepTokens = append(cfg.Layers, ring), 1, 2
	e, err := qkv.New(qkv.Config{})
	must(err)
	c, err := qkv.NewCache(cfg)
	must(err)
	x := c.NewSequence()
	var file bytes.Buffer
	_, err = x.WriteTo(&file)
	must(err)
	f.Add(file.Bytes())
	step, err := e.NewStep(c)
	must(errors.Join(err, step.Begin([]qkv.StepSequence{{Sequence: x, Tokens: 2}})))
	data := make([]float32, 2*2*64)
	for layer := range cfg.Layers {
		must(step.Write(layer, qkv.THD(data, 2, 2, 32), qkv.THD(data, 2, 2, 64)))
	}
	must(step.Commit())
	file.Reset()
	_, err = x.WriteTo(&file)
	must(errors.Join(err, x.Free()))
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		const header = 32 + 2*40
		if len(data) >= header {
			binary.LittleEndian.PutUint32(data[28:], crc32.Update(crc32.ChecksumIEEE(data[:28]), crc32.IEEETable, data[32:header]))
		}
		if len(data) > header+4 {
			binary.LittleEndian.PutUint32(data[len(data)-4:], crc32.Checksum(data[:len(data)-4], crc32.MakeTable(crc32.Castagnoli)))
		}
		x, err := c.ReadSequence(bytes.NewReader(data))
		if err == nil {
			must(x.Free())
		}
		if c.FreePages(0) != 4 || c.FreePages(1) != cfg.LayerPages(1) {
			t.Fatal("pages are lost")
		}
	})
}

// A partWriter takes only so many bytes of what it is given, and says nothing of that.
type partWriter int

func (w *partWriter) Write(p []byte) (int, error) {
	n := min(int(*w), len(p))
	*w -= partWriter(n)
	return n, nil
}

// TestShortWrites: a file that is cut off by its writer is an error.
func TestShortWrites(t *testing.T) {
	s := cacheShapes[0]
	e, c := newAttention(t, qkv.Config{}), newCache(t, s.config(2, 4))
	x := c.NewSequence()
	k, v := s.tokens(rand.New(rand.NewPCG(1, 1)), 5)
	must(appendTokens(newStep(t, e, c), x, k.view(), v.view()))
	packed, err := e.Pack(qkv.RowMajor(make([]float32, 3*5), 3, 5))
	must(err)
	for _, file := range []io.WriterTo{x, packed} {
		var whole bytes.Buffer
		all, err := file.WriteTo(&whole)
		must(err)
		for _, n := range []int{0, 1, 31, 33, 64, 65, whole.Len() - 1} {
			w := partWriter(n)
			if got, err := file.WriteTo(&w); !errors.Is(err, io.ErrShortWrite) || got != int64(n) {
				t.Errorf("%T: %d of %d bytes: %d, %v", file, n, all, got, err)
			}
		}
	}
	must(x.Free())
}

// A panicReader panics when it has been read.
type panicReader struct{ io.Reader }

func (r panicReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		panic("no more")
	}
	return n, err
}

// TestReadSequencePanics: a reader that panics leaves all pages free.
func TestReadSequencePanics(t *testing.T) {
	s := cacheShapes[0]
	e, c := newAttention(t, qkv.Config{}), newCache(t, s.config(4, 4))
	x := c.NewSequence()
	k, v := s.tokens(rand.New(rand.NewPCG(1, 1)), 5)
	must(appendTokens(newStep(t, e, c), x, k.view(), v.view()))
	var file bytes.Buffer
	must(second(x.WriteTo(&file)))
	must(x.Free())
	for n := range file.Len() {
		panics(t, "no more", func() { c.ReadSequence(panicReader{bytes.NewReader(file.Bytes()[:n])}) })
	}
	if n := c.FreePages(0); n != 4 {
		t.Errorf("%d pages are free, want 4", n)
	}
}

// TestStepClaims: numbers of sequences that are too many together are refused before a list of the
// tokens is made, and sums of queries do not overflow.
func TestStepClaims(t *testing.T) {
	s := cacheShape{1, 1, 1, qkv.TypeFloat32, qkv.TypeFloat32}
	const tokens = 1 << 12
	e := newAttention(t, qkv.Config{})
	for _, cfg := range []qkv.CacheConfig{s.config(1, tokens), s.ring(1, tokens, 1, 0, tokens)} {
		c := newCache(t, cfg)
		step := newStep(t, e, c)
		batch := draw(1<<10, func() qkv.StepSequence { return qkv.StepSequence{Sequence: c.NewSequence(), Tokens: tokens} })
		var pages *qkv.PagesError
		var err error
		bytes := allocated(func() { err = step.Begin(batch) })
		if !errors.As(err, &pages) || pages.Needed != 1<<10 || pages.Free != 1 {
			t.Errorf("%v, want 1024 pages needed", err)
		}
		if bytes > 1<<20 {
			t.Errorf("%d bytes allocated for a step that is refused", bytes)
		}
		x := c.NewSequence()
		batch = draw(5, func() qkv.StepSequence { return qkv.StepSequence{Sequence: x, Queries: 1 << 30} })
		isArgError(t, "queries", step.Begin(batch), "the first 2 sequences have 2147483648 new tokens or queries, at most 1073741824 are supported")
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestStepApart: no layer writes over the keys and values of another, where the caller gives them.
func TestStepApart(t *testing.T) {
	s := cacheShape{1, 4, 4, qkv.TypeFloat32, qkv.TypeFloat32}
	cfg := s.config(2, 4)
	mem := make([]float32, 2*2*4*4)
	cfg.Layers = append(cfg.Layers, cfg.Layers[0])
	cfg.Layers[1].K, cfg.Layers[1].V = qkv.BHSD(mem, 2, 1, 4, 4), qkv.BHSD(mem[32:], 2, 1, 4, 4)
	e, c := newAttention(t, qkv.Config{}), newCache(t, cfg)
	step := newStep(t, e, c)
	must(step.Begin([]qkv.StepSequence{{Sequence: c.NewSequence(), Tokens: 4}}))
	data := draw(16, normal(1))
	must(step.Write(0, qkv.THD(data, 4, 1, 4), qkv.THD(data, 4, 1, 4)))
	q, out := qkv.THD(data, 4, 1, 4), qkv.THD(make([]float32, 16), 4, 1, 4)
	isArgError(t, "out", step.Attend(0, &qkv.Call{Q: q, Out: qkv.THD(mem[8:], 4, 1, 4)}), "out and the cache share elements")
	isArgError(t, "lse", step.Attend(0, &qkv.Call{Q: q, Out: out, LSE: mem[60:]}), "lse and the cache share elements")
	isArgError(t, "scores", step.Attend(0, &qkv.Call{Q: q, Out: out, Scores: qkv.Pairs(mem[16:], 1, 1, 4, 4)}), "scores and the cache share elements")
	isArgError(t, "out of the layer", step.Attend(1, &qkv.Call{Q: q, Out: qkv.THD(mem, 4, 1, 4)}), "layer 1 has not been written")
	must(step.Write(1, qkv.THD(data, 4, 1, 4), qkv.THD(data, 4, 1, 4)))
	isArgError(t, "out of the layer", step.Attend(1, &qkv.Call{Q: q, Out: qkv.THD(mem, 4, 1, 4)}), "out and k share elements")
	must(step.Rollback())
}
