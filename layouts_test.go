package qkv_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// A laidOut is one tensor of keys or values in a place of its own.
type laidOut struct {
	name   string
	view   qkv.View
	tables [][]int32 // if it is in pages
	ring   bool
}

// layOut returns the tensor [1, heads, seq, dim] in all layouts that a float32 tensor may have.
func layOut(x []float32, heads, seq, dim int) []laidOut {
	shape := [4]int{1, heads, seq, dim}
	place := func(name string, n, offset int, stride [4]int) laidOut {
		data := make([]float32, n)
		for i := range data {
			data[i] = nan // what is not of the tensor
		}
		for h := range heads {
			for s := range seq {
				for d := range dim {
					data[offset+h*stride[1]+s*stride[2]+d*stride[3]] = x[(h*seq+s)*dim+d]
				}
			}
		}
		return laidOut{name: name, view: qkv.Strided(data, offset, shape, stride)}
	}
	list := []laidOut{place("bhsd", heads*seq*dim, 0, [4]int{0, seq * dim, dim, 1})}
	for _, row := range []int{heads * dim, heads*dim + 16, 512 - 16, 512, 512 + 16, 1024 - 16, 1024, 1024 + 16, 1024 + 1, 3 * 1024} {
		if row < heads*dim {
			continue
		}
		list = append(list,
			place(fmt.Sprintf("rows %d bytes apart", 4*row), seq*row, 0, [4]int{0, dim, row, 1}),
			place(fmt.Sprintf("rows %d bytes apart", -4*row), seq*row, (seq-1)*row, [4]int{0, dim, -row, 1}))
	}
	list = append(list,
		place("dims-major", heads*seq*dim, 0, [4]int{0, seq * dim, 1, seq}),
		place("dims-major, 4096 bytes apart", heads*1024*dim, 0, [4]int{0, 1024 * dim, 1, 1024}),
		place("elements apart", heads*seq*dim*3, 0, [4]int{0, seq * dim * 3, dim * 3, 3}),
	)
	for _, page := range []int{1, 16, 64, 128, 256} {
		pages := (seq + page - 1) / page
		r := rand.New(rand.NewPCG(uint64(page), 1))
		table := make([]int32, pages)
		for i, p := range r.Perm(pages) {
			table[i] = int32(p)
		}
		for _, tokenMajor := range []bool{false, true} {
			stride := [4]int{heads * page * dim, page * dim, dim, 1}
			if tokenMajor {
				stride = [4]int{page * heads * dim, dim, heads * dim, 1}
			}
			data := make([]float32, pages*heads*page*dim)
			for s := range seq {
				for h := range heads {
					copy(data[int(table[s/page])*stride[0]+h*stride[1]+s%page*stride[2]:][:dim], x[(h*seq+s)*dim:])
				}
			}
			v := qkv.Strided(data, 0, [4]int{pages, heads, page, dim}, stride)
			name := fmt.Sprintf("pages of %d, rows %d bytes apart", page, 4*stride[2])
			list = append(list, laidOut{name: name, view: v, tables: [][]int32{table}})
			if seq%page == 0 {
				list = append(list, laidOut{name: name + ", a ring", view: v, tables: [][]int32{table}, ring: true})
			}
		}
	}
	return list
}

// TestLayoutsSameBits: keys and values give the same bits wherever their rows are: in place, copied
// and transposed, for items of few rows and many, with Inf, NaN and -0 among them.
func TestLayoutsSameBits(t *testing.T) {
	t.Parallel()
	const heads, kvHeads, seqKV = 4, 2, 320
	few := testing.Short() || raceEnabled
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		queries := []int{1, 9, 24, 80}
		few := few || e.Kernel().Name == "generic" || e.Kernel().Name == "sse2" // slow, and with little of its own
		if !few && e.Kernel().Lanes > 16 {
			queries[3] = 210 // as many lane groups
		}
		for _, dim := range []int{20, 128, 144} {
			for _, seqQ := range queries {
				if few && dim != 128 && seqQ != 24 {
					continue
				}
				r := rand.New(rand.NewPCG(uint64(dim), uint64(seqQ)))
				next := func() float32 { return float32(r.NormFloat64()) }
				q := draw(heads*seqQ*dim, next)
				k, v := draw(kvHeads*seqKV*dim, next), draw(kvHeads*seqKV*dim, next)
				for i := range v {
					if r.IntN(40) == 0 {
						v[i] = float32(math.Copysign(0, -1))
					}
				}
				v[3*dim+1], v[5*dim+2], v[5*dim+3] = nan, float32(math.Inf(1)), math.Float32frombits(1)
				k[seqKV*dim+2] = float32(math.Inf(-1))
				call := func(k, v laidOut) (*qkv.Call, []float32, []float32) {
					out, lse := make([]float32, heads*seqQ*dim), make([]float32, heads*seqQ)
					c := &qkv.Call{
						Q: qkv.BHSD(q, 1, heads, seqQ, dim), K: k.view, V: v.view, Out: qkv.BHSD(out, 1, heads, seqQ, dim), LSE: lse,
						Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight},
					}
					if k.tables != nil {
						c.Tables, c.LensKV, c.Ring = k.tables, []int{seqKV}, k.ring
					}
					return c, out, lse
				}
				keys, values := layOut(k, kvHeads, seqKV, dim), layOut(v, kvHeads, seqKV, dim)
				c, want, wantLSE := call(keys[0], values[0])
				must(e.Run(c))
				for i := range keys {
					for _, j := range []int{i, 0} {
						if (keys[i].tables == nil) != (values[j].tables == nil) || few && j != i && seqQ != 24 {
							continue
						}
						name := fmt.Sprintf("dim %d, %d queries, K: %s, V: %s", dim, seqQ, keys[i].name, values[j].name)
						c, out, lse := call(keys[i], values[j])
						must(e.Run(c))
						sameFloats(t, name, out, want)
						sameFloats(t, name+", log-sum-exp", lse, wantLSE)
						if t.Failed() {
							return
						}
					}
				}
			}
		}
	})
}

// TestLayoutsOfRows: queries and outputs give the same bits wherever they are, and what lies between
// the rows of an output is not written.
func TestLayoutsOfRows(t *testing.T) {
	t.Parallel()
	const kvHeads, seqKV, dimQK, gap = 2, 150, 36, 5
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, headsPerKV := range []int{1, 3} {
			for _, seqQ := range []int{7, 30, 64, 141} {
				for _, dimV := range []int{20, 64} {
					heads := headsPerKV * kvHeads
					next := normal(uint64(seqQ))
					q := draw(heads*seqQ*dimQK, next)
					k, v := draw(kvHeads*seqKV*dimQK, next), draw(kvHeads*seqKV*dimV, next)
					var want []float32
					for _, layout := range []string{"bhsd", "bshd", "bhds", "rows 4096 bytes apart"} {
						place := func(dim int) *tensor {
							x := &tensor{shape: [4]int{1, heads, seqQ, dim}}
							switch layout {
							case "bhsd":
								x.stride = [4]int{0, seqQ * (dim + gap), dim + gap, 1}
							case "bshd":
								x.stride = [4]int{0, dim, heads*dim + gap, 1}
							case "bhds":
								x.stride = [4]int{0, dim * (seqQ + gap), 1, seqQ + gap}
							default:
								x.stride = [4]int{0, dim, 1024, 1}
							}
							x.data = make([]float32, heads*seqQ*(dim+gap)+1024*seqQ+dim*heads*gap)
							for i := range x.data {
								x.data[i] = canary
							}
							return x
						}
						from, to := place(dimQK), place(dimV)
						i := 0
						from.each(func(at int) {
							from.data[at] = q[i]
							i++
						})
						must(e.Run(&qkv.Call{
							Q: from.view(), K: qkv.BHSD(k, 1, kvHeads, seqKV, dimQK), V: qkv.BHSD(v, 1, kvHeads, seqKV, dimV), Out: to.view(),
							Mask: qkv.Mask{Causal: true, Align: qkv.BottomRight},
						}))
						checkGaps(t, to)
						got := to.values()
						if want == nil {
							want = got
						}
						sameFloats(t, fmt.Sprintf("%d queries, %d heads, %s", seqQ, heads, layout), got, want)
					}
				}
			}
		}
	})
}

// sameFloats compares bits, but for those of a NaN.
func sameFloats(t *testing.T, name string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] == got[i] || want[i] == want[i]) {
			t.Errorf("%s: element %d is %v, want %v", name, i, got[i], want[i])
			return
		}
	}
}

// TestLayoutsRepeated: keys and values that all have the same row, by a stride of 0.
func TestLayoutsRepeated(t *testing.T) {
	const heads, kvHeads, seqQ, seqKV, dim = 4, 2, 70, 300, 128
	r := rand.New(rand.NewPCG(4, 4))
	next := func() float32 { return float32(r.NormFloat64()) }
	q, row := draw(heads*seqQ*dim, next), draw(kvHeads*dim, next)
	rows := make([]float32, 0, kvHeads*seqKV*dim)
	for h := range kvHeads {
		for range seqKV {
			rows = append(rows, row[h*dim:][:dim]...)
		}
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		var results [2][]float32
		for i, kv := range []qkv.View{
			qkv.BHSD(rows, 1, kvHeads, seqKV, dim),
			qkv.Strided(row, 0, [4]int{1, kvHeads, seqKV, dim}, [4]int{0, dim, 0, 1}),
		} {
			results[i] = make([]float32, heads*seqQ*dim)
			must(e.Run(&qkv.Call{Q: qkv.BHSD(q, 1, heads, seqQ, dim), K: kv, V: kv, Out: qkv.BHSD(results[i], 1, heads, seqQ, dim)}))
		}
		sameFloats(t, "stride 0", results[1], results[0])
	})
}

// TestLayoutsAllocs: copies are made in memory that is kept.
func TestLayoutsAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	const heads, seq, dim = 2, 140, 64
	x := draw(heads*seq*dim, normal(1))
	out := make([]float32, heads*seq*dim)
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for _, l := range layOut(x, heads, seq, dim) {
			c := &qkv.Call{Q: qkv.BHSD(x, 1, heads, seq, dim), K: l.view, V: l.view, Out: qkv.BHSD(out, 1, heads, seq, dim)}
			if l.tables != nil {
				c.Tables, c.LensKV, c.Ring = l.tables, []int{seq}, l.ring
			}
			must(e.Run(c))
			if n := allocsPerCall(3, func() { must(e.Run(c)) }); n >= 1 {
				t.Errorf("%s: %v allocations", l.name, n)
			}
		}
	})
}

// TestExplainLayouts: a plan says what is read in place, what is copied, and why.
func TestExplainLayouts(t *testing.T) {
	const heads, seq, dim = 8, 512, 128
	x := make([]float32, heads*seq*dim)
	out, halves := make([]float32, len(x)), make([]qkv.Float16, len(x))
	table := make([]int32, seq/16)
	for i := range table {
		table[i] = int32(i)
	}
	bhsd, bshd := qkv.BHSD(x, 1, heads, seq, dim), qkv.BSHD(x, 1, seq, heads, dim)
	bhds := qkv.Strided(x, 0, [4]int{1, heads, seq, dim}, [4]int{0, seq * dim, 1, seq})
	pages := qkv.BHSD(x, seq/16, heads, 16, dim)
	const still = "read where they are"
	far := "copied: they lie 4096 bytes apart"
	if qkv.TakesApart() {
		far = still
	}
	for _, test := range []struct {
		name         string
		kv           qkv.View
		tables       [][]int32
		keys, values map[string]string // by set
	}{
		{"bhsd", bhsd, nil,
			map[string]string{"avx512": still, "avx2": still, "generic": still},
			map[string]string{"avx512": "transposed, which pays from 256 query rows", "avx2": "transposed, which pays from 32 query rows", "generic": still}},
		{"bshd", bshd, nil,
			map[string]string{"avx512": far, "avx2": far, "generic": still},
			map[string]string{"avx512": "transposed: they lie 4096 bytes apart", "avx2": "transposed: they lie 4096 bytes apart", "generic": still}},
		{"bhds", bhds, nil,
			map[string]string{"avx512": "transposed: their elements lie 2048", "avx2": "transposed: their elements lie 2048", "generic": still},
			map[string]string{"avx512": still, "avx2": still, "generic": still}},
		{"float16", qkv.BHSD(halves, 1, heads, seq, dim), nil,
			map[string]string{"avx512": "copied, as float32", "avx2": "copied, as float32", "generic": "copied, as float32"},
			map[string]string{"avx512": "transposed", "avx2": "transposed", "generic": "copied, as float32"}},
		{"pages", pages, [][]int32{table},
			map[string]string{"avx512": "less than a block", "avx2": "less than a block", "generic": "less than a block"},
			map[string]string{"avx512": "transposed", "avx2": "transposed", "generic": "less than a block"}},
	} {
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			c := &qkv.Call{Q: bhsd, K: test.kv, V: test.kv, Out: qkv.BHSD(out, 1, heads, seq, dim), Tables: test.tables}
			if test.tables != nil {
				c.LensKV = []int{seq}
			}
			plan, err := e.Explain(c)
			must(err)
			set := plan.Kernel
			if base := e.Kernel().Base; base != "" {
				set = base
			}
			keys, known := test.keys[set]
			if !known {
				t.Skipf("nothing is said of %s", plan.Kernel)
			}
			var got [2]string
			for _, why := range plan.Why {
				for i, of := range []string{"keys: ", "values: "} {
					if strings.HasPrefix(why, of) {
						got[i] = why
					}
				}
			}
			if !strings.Contains(got[0], keys) || !strings.Contains(got[1], test.values[plan.Kernel]) {
				t.Errorf("%s: %q and %q, want %q and %q", test.name, got[0], got[1], keys, test.values[plan.Kernel])
			}
		})
	}
}
