package bench

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// attends says of one pair what [ParseShape] documents.
func attends(s Shape, lens []int, batch, query, key int) bool {
	queries, keys := s.SeqQ, s.SeqKV
	if lens != nil {
		queries, keys = lens[batch], lens[batch]
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
		"h=1,sq=20,skv=30,d=1,window=2:5",
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
		"b=3,h=1,sq=40,d=1,mask=causal,window=9:0,prefix=3,segments=2,blocks=5:0.5,keep=0.7,ragged=10",
	} {
		s := parse(t, text)
		p, lens := newPairs(s), s.lengths()
		var want int64
		for b := range s.Batch {
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
					if attends(s, lens, b, i, j) {
						keys = append(keys, j)
					}
				}
				if !slices.Equal(got, keys) {
					t.Fatalf("%s: query %d of sequence %d attends %v, want %v", text, i, b, got, keys)
				}
				want += int64(s.Heads * len(keys))
			}
		}
		if got := s.Pairs(); got != want {
			t.Errorf("%s: %d pairs, want %d", text, got, want)
		}
	}
}

func TestKeep(t *testing.T) {
	s := parse(t, "h=1,sq=500,d=1,keep=0.98")
	if share := float64(s.Pairs()) / (500 * 500); math.Abs(share-0.98) > 0.002 {
		t.Errorf("%g of the pairs are kept, want 0.98", share)
	}
	// No tile of 64 by 128 is full.
	for i := 0; i < 448; i += 64 {
		for j := 0; j < 384; j += 128 {
			n := 0
			for x := range 64 * 128 {
				if s.Mask.kept(i+x/128, j+x%128) {
					n++
				}
			}
			if share := float64(n) / (64 * 128); math.Abs(share-0.98) > 0.01 {
				t.Errorf("tile %d, %d keeps %g", i, j, share)
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
	lens := s.lengths()
	if len(lens) != 64 || slices.Max(lens) != 2048 || slices.Min(lens) < 16 || !slices.Equal(lens, s.lengths()) {
		t.Errorf("lengths %v", lens)
	}
	if sum := cumulate(lens)[64]; sum < 64*800 || sum > 64*1300 {
		t.Errorf("%d tokens of 64 sequences", sum)
	}
	if got := cumulate([]int{3, 0, 4}); !slices.Equal(got, []int{0, 3, 3, 7}) {
		t.Errorf("cumulate: %v", got)
	}
}
