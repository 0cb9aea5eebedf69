// Package heatmap draws attention probabilities as heat maps, one for each head: queries
// down, keys across, the first query at the top. It writes PNG, SVG and text.
package heatmap

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
)

// Masked, in place of a probability, is a pair that the query does not attend. It is drawn
// unlike a probability of 0.
const Masked = -1

const (
	maxCells = 1024    // along a side of a map
	maxMaps  = 1024    // of an Attention
	maxTotal = 1 << 28 // cells of all maps: a GiB of them
)

// An Attention is the maps of some heads over the same queries and keys.
type Attention struct {
	// QueryLabels [queries] and KeyLabels [keys], if not nil, name them along the axes,
	// which otherwise number them from 0.
	QueryLabels, KeyLabels []string

	// Columns, if not 0, is how many maps stand in a row of a sheet, such as the heads of a
	// layer.
	Columns int

	queries, keys int
	block         block // of a cell
	maps          []headMap
	top           float32 // the largest probability that was added
	masked, nan   bool    // a cell is
}

// A block is pairs of so many queries and keys, of which a cell shows the maximum.
type block struct{ queries, keys int }

// A headMap is the cells of a head, [queries/block.queries, keys/block.keys] rounded up.
type headMap struct {
	name  string
	cells []float32
}

// New returns an Attention without maps. It is an error if there is no query, no key, or
// more than int32 holds.
func New(queries, keys int) (*Attention, error) {
	for _, x := range []struct {
		name string
		n    int
	}{{"queries", queries}, {"keys", keys}} {
		if x.n < 1 || x.n > math.MaxInt32-maxCells {
			return nil, fmt.Errorf("%d %s cannot be drawn, 1 to %d can", x.n, x.name, math.MaxInt32-maxCells)
		}
	}
	return &Attention{queries: queries, keys: keys, block: block{over(queries, maxCells), over(keys, maxCells)}}, nil
}

// size returns how many cells a map has.
func (a *Attention) size() (rows, columns int) {
	return over(a.queries, a.block.queries), over(a.keys, a.block.keys)
}

// over returns n/by, rounded up.
func over(n, by int) int { return (n + by - 1) / by }

// Add adds the map of a head. Probs is [queries, keys], each a probability, [Masked] or NaN;
// of long sequences what is kept is the maximum of each block of pairs. It is an error if
// the length differs, a value is none of these, or there are too many maps.
func (a *Attention) Add(name string, probs []float32) error {
	if len(probs)/a.keys != a.queries || len(probs)%a.keys != 0 {
		return fmt.Errorf("%s has %d probabilities, %d queries of %d keys have %d",
			name, len(probs), a.queries, a.keys, uint64(a.queries)*uint64(a.keys))
	}
	if len(a.maps) == maxMaps {
		return fmt.Errorf("%s is one too many to draw: at most %d are", name, maxMaps)
	}
	rows, columns := a.size()
	if n := int64(len(a.maps)+1) * int64(rows*columns); n > maxTotal {
		return fmt.Errorf("%s makes it %d cells of %d bytes in memory, at most %d are drawn", name, n, 4, maxTotal)
	}
	// A sum of rounded probabilities may be slightly more than 1, and so may they.
	const most = 1 + 1e-3
	for i, p := range probs {
		if p != Masked && (p < 0 || p > most) {
			return fmt.Errorf("%s has %v for query %d and key %d, 0 to 1 is a probability", name, p, i/a.keys, i%a.keys)
		}
	}
	m := headMap{name, reduce(probs, a.queries, a.keys, a.block)}
	for _, p := range m.cells {
		a.top = max(a.top, finite(p))
		a.masked = a.masked || p == Masked
		a.nan = a.nan || p != p
	}
	a.maps = append(a.maps, m)
	return nil
}

// finite returns 0 for a NaN.
func finite(p float32) float32 {
	if p != p {
		return 0
	}
	return p
}

// reduce returns the maximum of each block of cells. That of a NaN is NaN.
func reduce(cells []float32, rows, columns int, by block) []float32 {
	if by == (block{1, 1}) {
		return slices.Clone(cells)
	}
	width := over(columns, by.keys)
	to := make([]float32, over(rows, by.queries)*width)
	for i := range to {
		to[i] = Masked
	}
	for r := range rows {
		line := to[r/by.queries*width:][:width]
		for c, p := range cells[r*columns:][:columns] {
			line[c/by.keys] = max(line[c/by.keys], p)
		}
	}
	return to
}

// Keys returns the number of keys.
func (a *Attention) Keys() int { return a.keys }

// Maps returns the number of maps.
func (a *Attention) Maps() int { return len(a.maps) }

// Name returns the name of map i, as it was added.
func (a *Attention) Name(i int) string { return a.maps[i].name }

// Only returns an Attention of map i alone, in the colours that it has among the others.
// It panics if there is none.
func (a *Attention) Only(i int) *Attention {
	one := *a
	one.Columns = 0
	one.maps = a.maps[i : i+1 : i+1]
	return &one
}

// check reports what cannot be drawn.
func (a *Attention) check() error {
	if len(a.maps) == 0 {
		return fmt.Errorf("there are %d heads to draw, at least 1 is needed", 0)
	}
	if n := len(a.QueryLabels); a.QueryLabels != nil && n != a.queries {
		return fmt.Errorf("there are %d query labels, %d queries", n, a.queries)
	}
	if n := len(a.KeyLabels); a.KeyLabels != nil && n != a.keys {
		return fmt.Errorf("there are %d key labels, %d keys", n, a.keys)
	}
	if a.Columns < 0 {
		return fmt.Errorf("a sheet of %d columns cannot be drawn, 0 chooses", a.Columns)
	}
	return nil
}

// grid is the cells of maps at one resolution.
type grid struct {
	block         block // of a cell
	rows, columns int
}

// fit returns the finest grid with at most that many rows and columns. Along each axis a cell
// covers no more than that axis needs.
func (a *Attention) fit(rows, columns int) grid {
	r, c := a.size()
	down, across := over(r, rows), over(c, columns)
	return grid{block{a.block.queries * down, a.block.keys * across}, over(r, down), over(c, across)}
}

// cells returns those of map i on the grid.
func (a *Attention) cells(i int, g grid) []float32 {
	rows, columns := a.size()
	return reduce(a.maps[i].cells, rows, columns, block{g.block.queries / a.block.queries, g.block.keys / a.block.keys})
}

// note says what a cell is, where it is not a pair.
func (g grid) note() string {
	if g.block == (block{1, 1}) {
		return ""
	}
	return fmt.Sprintf("each cell is the maximum of %d×%d pairs", g.block.queries, g.block.keys)
}

// Escaped returns how many labels have characters that the font of PNG lacks, which are
// written there as \u4e2d and the like. SVG leaves them to the fonts of its reader.
func (a *Attention) Escaped() int {
	n := 0
	count := func(labels []string) {
		for _, s := range labels {
			if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsPrint(r) && !hasGlyph(r) }) {
				n++
			}
		}
	}
	count(a.KeyLabels)
	if len(a.KeyLabels) == 0 {
		count(a.QueryLabels)
	}
	return n
}
