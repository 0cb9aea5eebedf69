package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// attends says of one pair what [ParseShape] documents.
func attends(s Shape, lensQ, lensKV []int, batch, query, key int) bool {
	queries, keys := s.SeqQ, s.SeqKV
	if lensQ != nil {
		queries, keys = lensQ[batch], lensKV[batch]
	}
	if query >= queries || key >= keys {
		return false
	}
	m := s.Mask
	offset := 0.0 // has room for every offset
	switch m.Align {
	case qkv.BottomRight:
		offset = float64(keys - queries)
	case qkv.AlignOffset:
		offset = float64(m.Offset)
	}
	distance := float64(key) - (float64(query) + offset)
	band := !m.Causal || distance <= 0
	if w := m.Window; w.Given {
		band = band && -distance <= float64(w.Left) && distance <= float64(w.Right)
	}
	if !band && key >= m.Prefix {
		return false
	}
	if n := m.Segments; n > 0 && query*n/s.SeqQ != key*n/s.SeqKV {
		return false
	}
	if b := m.Blocks; b.Size > 0 && !slices.Contains(newPairs(s).columns[query/b.Size], key/b.Size) {
		return false
	}
	return m.kept(query, key)
}

func TestPairs(t *testing.T) {
	for _, text := range []string{
		"h=1,sq=7,skv=9,d=1",
		"b=2,h=3,sq=7,skv=9,d=1,mask=causal",
		"h=1,sq=9,skv=7,d=1,mask=causal-top-left",
		fmt.Sprintf("h=1,sq=9,skv=7,d=1,mask=causal@%d", math.MinInt),
		fmt.Sprintf("h=1,sq=9,skv=7,d=1,mask=causal@%d", math.MaxInt),
		"h=1,sq=20,skv=30,d=1,mask=none-top-left,window=2:5",
		"h=1,sq=20,skv=30,d=1,mask=none-bottom-right,window=all:5",
		"h=1,sq=20,skv=30,d=1,mask=none@-25,window=3:all",
		"h=1,sq=20,skv=30,d=1,mask=causal,window=3:3,prefix=5",
		fmt.Sprintf("h=1,sq=20,skv=30,d=1,mask=none@%d,window=3:3,prefix=5", math.MinInt),
		"h=1,sq=20,skv=30,d=1,segments=7",
		"h=1,sq=20,skv=30,d=1,mask=causal,segments=20",
		"h=1,sq=20,skv=30,d=1,blocks=4:0.25",
		"h=1,sq=20,skv=30,d=1,mask=causal,blocks=1:0.01",
		"h=1,sq=20,skv=30,d=1,blocks=7:1",
		"h=2,sq=20,skv=30,d=1,keep=0.3,mask=causal",
		"b=8,h=2,sq=20,d=1,padded=3,mask=causal",
		"b=8,h=2,sq=20,d=1,ragged=3,window=4:2",
		"b=8,h=2,sq=20,d=1,ragged=20",
		"h=8,hkv=2,sq=1,skv=30,d=1,mask=causal,window=9:0,prefix=3",
		"b=3,h=4,hkv=2,sq=3,skv=30,d=1,mask=causal,window=9:0,prefix=3",
		"b=8,h=4,hkv=2,sq=1,skv=30,d=1,kvlens=5",
		"b=8,h=4,hkv=2,sq=3,skv=30,d=1,mask=causal,kvlens=1,page=4,keep=0.5",
		"b=8,h=4,hkv=2,sq=9,skv=30,d=1,mask=causal,prefill=3",
		"b=8,h=4,hkv=2,sq=9,skv=30,d=1,mask=causal,prefill=3,kvlens=2,window=6:0,segments=2",
		"b=3,h=1,sq=40,d=1,mask=causal,window=9:0,prefix=3,segments=2,blocks=5:0.5,keep=0.7,ragged=10",
	} {
		s := parse(t, text)
		p := newPairs(s)
		lensQ, lensKV := s.lengths()
		var want, wantKeys int64
		for b := range s.Batch {
			attended := make(map[int]bool)
			for i := range s.SeqQ {
				var got, keys []int
				for _, x := range p.of(b, i) {
					for j := x.from; j < x.to; j++ {
						if s.Mask.kept(i, j) {
							got = append(got, j)
						}
					}
				}
				for j := range s.SeqKV {
					if attends(s, lensQ, lensKV, b, i, j) {
						keys = append(keys, j)
						attended[j] = true
					}
				}
				if !slices.Equal(got, keys) {
					t.Fatalf("%s: query %d of sequence %d attends %v, want %v", text, i, b, got, keys)
				}
				want += int64(s.Heads * len(keys))
			}
			wantKeys += int64(s.KVHeads * len(attended))
		}
		if got := s.Keys(); got != wantKeys {
			t.Errorf("%s: %d keys, want %d", text, got, wantKeys)
		}
		if got := s.Pairs(); got != want {
			t.Errorf("%s: %d pairs, want %d", text, got, want)
		}
	}
}

func TestKeep(t *testing.T) {
	s := parse(t, "h=1,sq=500,d=1,keep=0.98")
	if fraction := float64(s.Pairs()) / (500 * 500); math.Abs(fraction-0.98) > 0.002 {
		t.Errorf("%g of the pairs are kept, want 0.98", fraction)
	}
	// No block of 64 by 128 is full.
	for i := 0; i < 448; i += 64 {
		for j := 0; j < 384; j += 128 {
			n := 0
			for x := range 64 * 128 {
				if s.Mask.kept(i+x/128, j+x%128) {
					n++
				}
			}
			if fraction := float64(n) / (64 * 128); math.Abs(fraction-0.98) > 0.01 {
				t.Errorf("block %d, %d keeps %g", i, j, fraction)
			}
		}
	}
}

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		text       string
		rows, kept int
	}{
		{"h=1,sq=8192,d=1,blocks=128:0.25", 64, 16},
		{"h=1,sq=8192,d=1,blocks=128:0.001", 64, 1},
		{"h=1,sq=100,skv=1000,d=1,blocks=30:1", 4, 34},
	} {
		columns := newPairs(parse(t, c.text)).columns
		if len(columns) != c.rows {
			t.Errorf("%s: %d rows of blocks, want %d", c.text, len(columns), c.rows)
		}
		for i, list := range columns {
			if len(list) != c.kept || !slices.IsSorted(list) {
				t.Errorf("%s: row %d keeps %v, want %d", c.text, i, list, c.kept)
			}
		}
		if c.kept < 34 && slices.EqualFunc(columns[:1], columns[1:2], slices.Equal) {
			t.Errorf("%s: two rows are the same", c.text)
		}
	}
}

func TestLengths(t *testing.T) {
	s := parse(t, "b=64,h=1,sq=2048,d=1,ragged=16")
	lens, keys := s.lengths()
	again, _ := s.lengths()
	if len(lens) != 64 || slices.Max(lens) != 2048 || slices.Min(lens) < 16 || !slices.Equal(lens, again) || !slices.Equal(lens, keys) {
		t.Errorf("lengths %v, %v", lens, keys)
	}
	if sum := cumulate(lens)[64]; sum < 64*800 || sum > 64*1300 {
		t.Errorf("%d tokens of 64 sequences", sum)
	}
	if got := cumulate([]int{3, 0, 4}); !slices.Equal(got, []int{0, 3, 3, 7}) {
		t.Errorf("cumulate: %v", got)
	}
}

func TestLengthsOfCaches(t *testing.T) {
	s := parse(t, "b=64,h=1,sq=512,skv=2560,d=1,kvlens=100,prefill=4")
	queries, keys := s.lengths()
	prefilled := 0
	for i, n := range queries {
		least := 100
		if n == 512 {
			prefilled++
			least = 512
		} else if n != 1 {
			t.Errorf("sequence %d has %d queries", i, n)
		}
		if keys[i] < least || keys[i] > 2560 {
			t.Errorf("sequence %d of %d queries has %d keys", i, n, keys[i])
		}
	}
	if prefilled != 4 || keys[0] != 2560 || slices.Min(keys) > 500 {
		t.Errorf("%d sequences of 512 queries, keys %v", prefilled, keys)
	}
	if queries, keys := parse(t, "b=2,h=1,sq=1,skv=9,d=1").lengths(); queries != nil || keys != nil {
		t.Errorf("lengths %v, %v, want none", queries, keys)
	}
}

// TestTables: each page is of one sequence, and they are in no order.
func TestTables(t *testing.T) {
	s := parse(t, "b=5,h=1,sq=1,skv=1000,d=1,kvlens=100,page=16")
	_, keys := s.lengths()
	tables, pages := s.tables()
	var all []int32
	for i, table := range tables {
		if want := (keys[i] + 15) / 16; len(table) != want {
			t.Errorf("sequence %d of %d keys has %d pages, want %d", i, keys[i], len(table), want)
		}
		all = append(all, table...)
	}
	if slices.IsSorted(all) {
		t.Error("the pages are in order")
	}
	slices.Sort(all)
	for i, page := range all {
		if int(page) != i {
			t.Fatalf("page %d of all is %d", i, page)
		}
	}
	if len(tables) != 5 || len(all) != pages {
		t.Errorf("%d tables of %d pages, there are %d", len(tables), len(all), pages)
	}
}

// TestCausal: mask=causal is what a call with BottomRight, and a step, mean by a causal mask, and what a
// call means that says nothing of the alignment, where it may do that.
func TestCausal(t *testing.T) {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range [][2]int{{7, 7}, {1, 9}, {4, 9}, {9, 4}, {1, 1}} {
		queries, keys := n[0], n[1]
		p := newPairs(parse(t, fmt.Sprintf("h=1,sq=%d,skv=%d,d=1,mask=causal", queries, keys)))
		// All scores are 0, and value i is 1 in dim i: outputs are positive where a key is attended.
		k, v := make([]float32, keys), make([]float32, keys*keys)
		for i := range keys {
			v[i*keys+i] = 1
		}
		out := make([]float32, queries*keys)
		check := func(what string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			for i := range queries {
				got, want := out[i*keys:][:keys], make([]float32, keys)
				for _, x := range p.of(0, i) {
					for j := x.from; j < x.to; j++ {
						want[j] = 1
					}
				}
				for j := range keys {
					if (got[j] > 0) != (want[j] > 0) {
						t.Errorf("%s, %d queries, %d keys: query %d has %v, mask=causal has %v", what, queries, keys, i, got, want)
						break
					}
				}
			}
			clear(out)
		}
		call := func(mask qkv.Mask) *qkv.Call {
			return &qkv.Call{Q: qkv.THD(make([]float32, queries), queries, 1, 1), Out: qkv.THD(out, queries, 1, keys), Mask: mask}
		}
		whole := func(mask qkv.Mask) error {
			c := call(mask)
			c.K, c.V = qkv.THD(k, keys, 1, 1), qkv.THD(v, keys, 1, keys)
			return e.Run(c)
		}
		check("bottom-right", whole(qkv.Mask{Causal: true, Align: qkv.BottomRight}))
		if err := whole(qkv.Mask{Causal: true}); queries == keys {
			check("no alignment", err)
		} else if !errors.As(err, new(*qkv.ArgError)) {
			t.Errorf("%d queries and %d keys without an alignment: %v", queries, keys, err)
		}
		cache, err := qkv.NewCache(qkv.CacheConfig{Layers: []qkv.CacheLayer{{KVHeads: 1, DimQK: 1, DimV: keys}}, PageTokens: 2, Pages: 8})
		if err != nil {
			t.Fatal(err)
		}
		step, err := e.NewStep(cache)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(
			step.Begin([]qkv.StepSequence{{Sequence: cache.NewSequence(), Tokens: keys, Queries: queries}}),
			step.Write(0, qkv.THD(k, keys, 1, 1), qkv.THD(v, keys, 1, keys)),
			step.Attend(0, call(qkv.Mask{Causal: true})),
		)
		check("a step", err)
	}
}
