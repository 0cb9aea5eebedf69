package tile

import (
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// TestDecodeAsks: what decoding reads it has asked for, whatever the order of rows in memory: nearly
// all of it, once, not long before and not in the call that reads it. Heads whose rows lie among each
// other are read in turn.
func TestDecodeAsks(t *testing.T) {
	const heads, kvHeads, keys, dim, row = 32, 8, 1000, 64, 4 * 64
	for _, l := range []struct {
		name       string
		page       int
		tokenMajor bool
		heads      int // whose blocks are read together
		inTurn     bool
		oneStream  bool
		vec        int
	}{
		{"bhsd", 0, false, 4, false, false, 8}, {"bshd", 0, true, kvHeads, true, false, 8}, {"pages of 1", 1, false, kvHeads, true, false, 8},
		{"pages of 4", 4, false, kvHeads, true, false, 8}, {"pages of 16", 16, false, 4, false, false, 8},
		{"token-major pages of 16", 16, true, kvHeads, true, false, 8},
		{"bshd in one stream", 0, true, kvHeads, true, true, 8}, {"token-major pages of 16 in one stream", 16, true, kvHeads, true, true, 8},
		{"token-major pages of 64 in one stream", 64, true, kvHeads, true, true, 8}, {"token-major pages of 4 in one stream", 4, true, kvHeads, true, true, 8},
		{"pages of 1 in one stream", 1, false, kvHeads, true, true, 8},
		{"bhsd in one stream", 0, false, 4, false, true, 8}, {"pages of 16 in one stream", 16, false, 4, false, true, 8},
		{"bhsd in pieces", 0, false, 4, false, true, 16}, {"pages of 16 on AVX-512", 16, false, 4, false, true, 16},
	} {
		late := 2 * l.heads * kernel.KeyBlock // rows of a block of K and one of V
		if l.vec == 16 && l.page == 0 {
			late = streamBytes / row // each row is asked for when so many others are still to be read, whatever heads they are of
		}
		ago := 2 * keysInTurn * kvHeads // rows of a turn
		most := ago                     // rows between keys of a token
		if l.oneStream && l.inTurn {
			most *= 2 // turns are twice as long
			ago *= 4  // and the first rows of one may be asked for when the one before begins
		}
		page, pages := l.page, 1
		var tables [][]int32
		if page == 0 {
			page = keys
		} else {
			pages = (keys + page - 1) / page
			tables = [][]int32{make([]int32, pages)}
			for i := range tables[0] {
				tables[0][i] = int32(pages - 1 - i)
			}
		}
		operand := func() KV {
			mem := make([]float32, pages*kvHeads*page*dim)
			kv := KV{Base: unsafe.Pointer(&mem[0]), Stride: [4]int{kvHeads * page * row, page * row, row, 4}}
			if l.tokenMajor {
				kv.Stride[1], kv.Stride[2] = row, kvHeads*row
			}
			return kv
		}
		p := Problem{
			Batch: 1, Heads: heads, KVHeads: kvHeads, SeqQ: 1, SeqKV: keys, TokensQ: 1, TokensKV: keys,
			DimQK: dim, DimV: dim, Scale: 1, Mask: Mask{Left: Unbounded, Right: Unbounded},
			K: operand(), V: operand(), Tables: tables, PageTokens: page, LensKV: []int{keys},
		}
		q, out := make([]float32, heads*dim), make([]float32, heads*dim)
		p.Q = Operand{unsafe.Pointer(&q[0]), [4]int{0, dim, dim, 1}}
		p.Out = Operand{unsafe.Pointer(&out[0]), [4]int{0, dim, dim, 1}}

		asked := map[uintptr]int{} // when
		begun := make([]int, keys) // when a token's first key is read
		read, early, turn, again, apart := 0, 0, 0, 0, 0
		note := func(base unsafe.Pointer, off *[2 * kernel.KeyBlock]int, n int) {
			for k := range n {
				at := uintptr(base) + uintptr(off[k])
				if when, ok := asked[at]; ok && read-when <= late && read-when > keysInTurn {
					early++
					if read-when <= ago {
						turn++
					}
				}
				read++
				if token := int(at-uintptr(p.K.Base)) / p.K.Stride[2]; l.inTurn && page == keys && token >= 0 && token < keys {
					if begun[token] == 0 {
						begun[token] = read
					}
					apart = max(apart, read-begun[token])
				}
				ask := uintptr(base) + uintptr(off[kernel.Upcoming+k])
				if _, ok := asked[ask]; ok {
					again++
				}
				asked[ask] = read
			}
		}
		set := kernel.Set{Name: "test", Vec: l.vec, Lanes: 16, Rows: 6, DecodeRows: 16}.With(kernel.Funcs{
			Pack:             func(*kernel.PackArgs) {},
			Softmax:          func(*kernel.SoftmaxArgs) {},
			Unpack:           func(*kernel.UnpackArgs) {},
			Merge:            func(*kernel.MergeArgs) {},
			DecodeScores:     func(a *kernel.DecodeScoresArgs) { note(a.K, a.Off, a.Keys) },
			DecodeAccumulate: func(a *kernel.DecodeAccumulateArgs) { note(a.V, a.Off, a.Keys) },
		})
		New(set, Caches{48 << 10, 256 << 10, 64 << 10}, false, Tuning{Near: l.oneStream}).Run(&p, 1)
		if read != 2*keys*kvHeads {
			t.Errorf("%s: %d rows were read, want %d", l.name, read, 2*keys*kvHeads)
		}
		if early < read*85/100 || again > read/10 {
			t.Errorf("%s: of %d rows %d were asked for in time, and %d again", l.name, read, early, again)
		}
		// The last turn of a block asks for what comes behind the values of the block.
		want := 70
		if l.oneStream && l.page > 0 && l.page < turnPage {
			want = 45 // a block has two turns
		}
		if l.inTurn && turn < read*want/100 {
			t.Errorf("%s: of %d rows %d were asked for a turn before", l.name, read, turn)
		}
		if apart >= most {
			t.Errorf("%s: the keys of a token are read with %d rows between them", l.name, apart)
		}
	}
}

// TestOffsetsAreKept: rows as far apart as those of the call before, read in the same order, have no
// offsets computed anew. In another order or at another distance, and of a sequence's pages, they have.
func TestOffsetsAreKept(t *testing.T) {
	r := keyRows{stride: 256, even: true}
	r.setOrder(order{step: kernel.KeyBlock, ahead: 64, windows: true})
	kept := func() bool {
		r.forgetOffsets()
		r.off[1] = -1
		r.offsets(0)
		return r.off[1] == -1
	}
	if r.offsets(0); !kept() {
		t.Error("the offsets of the same rows are computed anew")
	}
	if r.stride = 512; kept() || r.off[1] != 512 {
		t.Errorf("row 1 is at %d, want 512", r.off[1])
	}
	if r.setOrder(order{step: kernel.KeyBlock, ahead: 32, windows: true}); kept() || r.off[kernel.Upcoming] != 32*512 {
		t.Errorf("with row 0, %d is asked for, want %d", r.off[kernel.Upcoming], 32*512)
	}
	r.offAt = offsetsOf{seq: 1, key0: 64}
	r.rowsAt = r.offAt
	if r.forgetOffsets(); r.offAt != (offsetsOf{}) || r.rowsAt != (offsetsOf{}) {
		t.Errorf("offsets of pages are kept: %+v, rows %+v", r.offAt, r.rowsAt)
	}
}

// TestTableOffsets: the rows of each block of a sequence's pages, and those to ask for with them, whether the block
// before was looked up last or not, and whether they are copied from keys that lie likewise.
func TestTableOffsets(t *testing.T) {
	const n = 5*kernel.KeyBlock + 9
	for _, tokens := range []int{1, 3, 16, 100, 256} {
		for _, o := range []order{{step: 32, ahead: 32}, {step: kernel.KeyBlock, ahead: 64, windows: true}, {step: 16, ahead: kernel.KeyBlock}} {
			for _, alike := range []bool{true, false} {
				table := make([]int32, (n+tokens-1)/tokens)
				for i := range table {
					table[i] = int32((7*i + 3) % len(table))
				}
				p := Problem{PageTokens: tokens, Tables: [][]int32{table}}
				p.K.Stride = [4]int{4096, 0, 16, 4}
				if p.V.Stride = p.K.Stride; !alike {
					p.V.Stride[2] = -32
				}
				at := &cursor{job: &job{problem: p}, seq: seq{lenKV: n, table: table}}
				var k, v keyRows
				k.kv, v.kv, v.twin = &p.K, &p.V, &k
				k.setOrder(o)
				v.setOrder(o)
				for _, block := range []int{0, 1, 2, 4, 5, 3} {
					at.key0 = block * kernel.KeyBlock
					at.n = min(kernel.KeyBlock, n-at.key0)
					for _, r := range []*keyRows{&k, &v} {
						r.find(at, 0)
						place := func(row int) int {
							key := min(at.key0+row, n-1)
							return int(table[key/tokens])*r.kv.Stride[0] + key%tokens*r.kv.Stride[2]
						}
						off := r.offsets(0)
						if r.even {
							continue
						}
						for i := range kernel.KeyBlock {
							if got, ask := off[i], off[kernel.Upcoming+i]; got != place(i) || ask != place(o.upcoming(i)) {
								t.Fatalf("pages of %d, order %+v, alike %v, block %d, row %d: %d, asks for %d, want %d and %d",
									tokens, o, alike, block, i, got, ask, place(i), place(o.upcoming(i)))
							}
						}
						if r == &v && alike != (r.rowsAt == offsetsOf{}) {
							t.Fatalf("alike %v: rows of %+v were looked up for values", alike, r.rowsAt)
						}
					}
				}
			}
		}
	}
}

// TestPieces: keys and values of 16 bits on AVX-512 are asked for 12 KiB ahead, of what is read next, unless they lie in short pages.
func TestPieces(t *testing.T) {
	e := New(&kernel.Set{Name: "test", Vec: 16, Lanes: 16, Rows: 6, DecodeRows: 16}, Caches{}, false, Tuning{Near: true})
	for _, c := range []struct{ dim, page, rows, most int }{
		{128, 0, 48, 48}, {64, 0, 96, 96}, {32, 0, 128, 192}, {256, 0, 24, 24}, {512, 0, 20, 16}, {128, 2048, 48, 48}, {128, 256, 0, 0},
	} {
		kv := KV{Elem: kernel.Float16, Stride: [4]int{1 << 24, 1 << 21, 2 * c.dim, 2}}
		p := Problem{Heads: 32, KVHeads: 8, SeqKV: 4096, DimQK: c.dim, DimV: c.dim, K: kv, V: kv}
		if c.page > 0 {
			p.Tables, p.PageTokens = [][]int32{{0}}, c.page
		}
		if k, v := e.orders(&p); k.rows != c.rows || v.most != c.most || k.rows > 0 && k.ahead != k.rows {
			t.Errorf("%d dims, pages of %d: keys %d rows ahead, values %d at a time, want %d and %d", c.dim, c.page, k.rows, v.most, c.rows, c.most)
		}
	}
}
