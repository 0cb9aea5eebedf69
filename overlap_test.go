package qkv_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestOverlap: an output that shares an element with another operand is refused, wherever the two
// begin; one that interleaves with it and does not is not.
func TestOverlap(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	const seq, heads, dim = 3, 2, 4
	mem := draw(400, normal(1))
	apart := func(n int) qkv.View { return qkv.BHSD(draw(n, normal(2)), 1, heads, seq, dim) }
	at := func(offset int) qkv.View {
		return qkv.Strided(mem, offset, [4]int{1, heads, seq, dim}, [4]int{0, seq * dim, dim, 1})
	}
	shares := func(what string, err error) {
		t.Helper()
		isArgError(t, what, err, "share elements")
	}
	a, b, c := apart(24), apart(24), apart(24)
	shares("out and q, one element on", e.Run(&qkv.Call{Q: at(0), K: a, V: b, Out: at(1)}))
	shares("out and q, the last element", e.Run(&qkv.Call{Q: at(0), K: a, V: b, Out: at(23)}))
	shares("out before k", e.Run(&qkv.Call{Q: a, K: at(20), V: b, Out: at(0)}))
	shares("out in v", e.Run(&qkv.Call{Q: a, K: b, V: at(4), Out: at(0)}))
	shares("out of q, transposed", e.Run(&qkv.Call{Q: at(0), K: a, V: b, Out: qkv.Strided(mem, 0, [4]int{1, heads, seq, dim}, [4]int{0, dim, heads * dim, 1})}))
	shares("lse in out", e.Run(&qkv.Call{Q: a, K: b, V: c, Out: at(0), LSE: mem[23:29]}))
	shares("lse in bias", e.Run(&qkv.Call{Q: a, K: b, V: c, Out: at(0), LSE: mem[50:56], Bias: qkv.Pairs(mem[55:], 1, 1, seq, seq)}))
	shares("out and sinks", e.Run(&qkv.Call{Q: a, K: b, V: c, Out: at(0), Sinks: mem[22:24]}))
	shares("out and slopes", e.Run(&qkv.Call{Q: a, K: b, V: c, Out: at(0), ALiBi: mem[23:25]}))
	shares("scores in k", e.Run(&qkv.Call{Q: a, K: at(0), V: c, Out: at(60), Scores: qkv.Pairs(mem[23:], 1, heads, seq, seq)}))
	must(e.Run(&qkv.Call{Q: at(0), K: a, V: b, Out: at(24)}))
	must(e.Run(&qkv.Call{Q: at(0), K: a, V: b, Out: at(0)}))
	shape := [4]int{1, heads, 1, dim} // of a token, in any layout and part of the slice
	token := qkv.BHSD(mem, 1, heads, 1, dim)
	for _, out := range []qkv.View{
		token, qkv.THD(mem, 1, heads, dim), qkv.BHSD(mem[:heads*dim:heads*dim], 1, heads, 1, dim), qkv.Strided(mem, 0, shape, [4]int{7, dim, -5, 1}),
	} {
		must(e.Run(&qkv.Call{Q: token, K: a, V: b, Out: out}))
		must(e.Merge(out, nil, []qkv.Partial{{Out: token, LSE: mem[300:302]}, {Out: qkv.Strided(mem, 60, shape, [4]int{0, dim, 0, 1}), LSE: mem[302:304]}}))
	}
	must(e.Run(&qkv.Call{Q: at(4), K: a, V: b, Out: qkv.BHSD(mem[4:], 1, heads, seq, dim)}))
	shares("out and q, the heads the other way round", e.Run(&qkv.Call{Q: token, K: a, V: b, Out: qkv.Strided(mem, dim, shape, [4]int{0, -dim, 0, 1})}))
	shares("out and the beginning of q", e.Run(&qkv.Call{Q: token, K: a, V: qkv.BHSD(mem[100:], 1, heads, seq, 2), Out: qkv.Strided(mem, 0, [4]int{1, heads, 1, 2}, [4]int{0, dim, 0, 1})}))
	must(e.Run(&qkv.Call{Q: a, K: at(0), V: at(1), Out: at(100), LSE: mem[25:31], Sinks: mem[31:33]}))

	// Those of a fused projection, its queries or its values in the place of the output.
	q, k, v := qkv.PackedQKV(mem, 1, 5, 4, 2, 8)
	must(e.Run(&qkv.Call{Q: q, K: k, V: v, Out: q}))
	rest := qkv.Strided(mem, 6*8, [4]int{1, 2, 5, 8}, [4]int{0, 8, 64, 1})
	must(e.Run(&qkv.Call{Q: k, K: k, V: k, Out: rest}))
	shares("out and v of one row", e.Run(&qkv.Call{Q: k, K: k, V: k, Out: qkv.Strided(mem, 5*8+1, [4]int{1, 2, 5, 8}, [4]int{0, 8, 64, 1})}))

	x, w := qkv.RowMajor(draw(16, normal(3)), 4, 4), qkv.RowMajor(mem, 4, 4)
	shares("y in x", e.MatMul(&qkv.Product{X: w, W: x, Y: qkv.RowMajor(mem[15:], 4, 4)}))
	shares("y in w", e.MatMul(&qkv.Product{X: x, W: w.T(), Y: qkv.RowMajor(mem[4:], 4, 4)}))
	shares("y in bias", e.MatMul(&qkv.Product{X: x, W: w, Y: qkv.RowMajor(mem[20:], 4, 4), Bias: mem[18:22]}))
	must(e.MatMul(&qkv.Product{X: x, W: qkv.StridedMatrix(mem, 0, 4, 4, 8, 1), Y: qkv.StridedMatrix(mem, 4, 4, 4, 8, 1)}))

	p, err := e.NewProjection(qkv.ProjectionConfig{Q: qkv.Linear{W: x}, K: qkv.Linear{W: x}, V: qkv.Linear{W: x}, Heads: 1})
	must(err)
	one := func(offset int) qkv.View { return qkv.BHSD(mem[offset:], 1, 1, 4, 4) }
	shares("k in q", p.Run(&qkv.ProjectionCall{X: x, Q: one(0), K: one(9), V: one(40)}))
	shares("v in x", p.Run(&qkv.ProjectionCall{X: qkv.RowMajor(mem[50:], 4, 4), Q: one(0), K: one(16), V: one(40)}))
	q, k, v = qkv.PackedQKV(mem, 1, 4, 1, 1, 4)
	must(p.Run(&qkv.ProjectionCall{X: x, Q: q, K: k, V: v}))

	l, err := e.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{Q: qkv.Linear{W: x}, K: qkv.Linear{W: x}, V: qkv.Linear{W: x}, Heads: 1}, Out: qkv.Linear{W: x},
	})
	must(err)
	shares("y in k", l.Run(&qkv.LayerCall{X: x, Y: qkv.RowMajor(mem[8:], 4, 4), Attention: &qkv.Call{K: one(0)}}))
	must(l.Run(&qkv.LayerCall{X: qkv.RowMajor(mem, 4, 4), Y: qkv.RowMajor(mem[2:], 4, 4)})) // X has been read by then

	sum := mem[300:306]
	shares("a part of merged rows", e.Merge(at(0), nil, []qkv.Partial{{Out: at(0), LSE: sum}, {Out: at(12), LSE: sum}}))
	shares("merged sums", e.Merge(at(0), mem[303:309], []qkv.Partial{{Out: at(0), LSE: sum}}))
	shares("merged sums in rows", e.Merge(at(0), mem[20:26], []qkv.Partial{{Out: a, LSE: sum}}))
	must(e.Merge(at(0), sum, []qkv.Partial{{Out: at(0), LSE: sum}, {Out: at(24), LSE: sum}}))

	cache := func(views ...qkv.View) (*qkv.Cache, error) {
		cfg := qkv.CacheConfig{Pages: 1, PageTokens: seq}
		for i := 0; i < len(views); i += 2 {
			cfg.Layers = append(cfg.Layers, qkv.CacheLayer{KVHeads: heads, DimQK: dim, DimV: dim, K: views[i], V: views[i+1]})
		}
		return qkv.NewCache(cfg)
	}
	shares("v in k of a cache", second(cache(at(0), at(10))))
	shares("a layer of a cache in another", second(cache(at(0), at(24), at(47), at(71))))
	must(second(cache(at(0), at(24), at(48), at(72))))
	c2, err := cache(at(0), at(24))
	must(err)
	step := newStep(t, e, c2)
	must(step.Begin([]qkv.StepSequence{{Sequence: c2.NewSequence(), Tokens: 1}}))
	shares("tokens in the cache", step.Write(0, qkv.BHSD(mem[47:], 1, heads, 1, dim), qkv.BHSD(mem[60:], 1, heads, 1, dim)))

	r, err := qkv.NewRotary(qkv.RotaryConfig{Dim: dim, Cos: mem[:8], Sin: mem[8:16]})
	must(err)
	shares("x in the tables", e.Rotate(r, at(15), nil))
}

// TestOverlapSearch: sharing is found as trying all elements finds it.
func TestOverlapSearch(t *testing.T) {
	e := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
	r := rand.New(rand.NewPCG(1, 2))
	mem := make([]float32, 4096)
	shared, not := 0, 0
	for range 3000 {
		n := [4]int{1, 1 + r.IntN(3), 1 + r.IntN(4), 1 + r.IntN(4)}
		view := func() (qkv.View, map[int]bool) {
			var stride [4]int
			span := 1
			for _, axis := range r.Perm(4) {
				stride[axis] = span + r.IntN(4)
				span = stride[axis]*(n[axis]-1) + span + r.IntN(2)
				if r.IntN(4) == 0 {
					stride[axis] = -stride[axis]
				}
			}
			offset := 1000 + r.IntN(40)
			has := make(map[int]bool)
			for h := range n[1] {
				for s := range n[2] {
					for d := range n[3] {
						has[offset+h*stride[1]+s*stride[2]+d*stride[3]] = true
					}
				}
			}
			return qkv.Strided(mem, offset, n, stride), has
		}
		out, written := view()
		k, read := view()
		want := false
		for i := range written {
			want = want || read[i]
		}
		q := qkv.Strided(mem[3000:], 0, n, [4]int{0, 16, 4, 1})
		err := e.Run(&qkv.Call{Q: q, K: k, V: q, Out: out})
		if want {
			shared++
			isArgError(t, "shared", err, "out and k share elements")
		} else if not++; err != nil {
			t.Fatalf("out %+v and k %+v: %v", out, k, err)
		}
	}
	if shared < 300 || not < 300 {
		t.Errorf("%d share, %d do not", shared, not)
	}
}

// TestOverlapKept: nothing is written over weights, biases and norms that a projection or a layer
// keeps.
func TestOverlapKept(t *testing.T) {
	const seq, heads, dim = 3, 2, 8
	const in = heads * dim
	e := newAttention(t, qkv.Config{})
	for _, inPlace := range []bool{false, true} {
		var mem [][]float32 // what is kept
		var names []string
		keep := func(name string, n int) []float32 {
			mem, names = append(mem, make([]float32, max(n, seq*in))), append(names, name)
			return mem[len(mem)-1][:n]
		}
		linear := func(name string) qkv.Linear {
			return qkv.Linear{W: qkv.RowMajor(keep(name+" weights", in*in), in, in), Bias: keep(name+" bias", in)}
		}
		cfg := qkv.ProjectionConfig{
			Heads: heads, Q: linear("q"), K: linear("k"), V: linear("v"),
			QNorm: keep("q norm", dim), KNorm: keep("k norm", dim), InPlace: inPlace,
		}
		p, err := e.NewProjection(cfg)
		if err != nil {
			t.Fatal(err)
		}
		own := len(mem)
		l, err := e.NewLayer(qkv.LayerConfig{ProjectionConfig: cfg, Out: linear("out")})
		if err != nil {
			t.Fatal(err)
		}
		x := qkv.RowMajor(make([]float32, seq*in), seq, in)
		fresh := func() qkv.View { return qkv.BSHD(make([]float32, seq*in), 1, seq, heads, dim) }
		for i, m := range mem {
			kept := inPlace || !strings.HasSuffix(names[i], "weights")
			check := func(name string, err error) {
				t.Helper()
				want := "qkv: " + name + " and " + names[i] + " share elements"
				if kept && (err == nil || err.Error() != want) || !kept && err != nil {
					t.Errorf("in place %t: error %v, want %s: %t", inPlace, err, want, kept)
				}
			}
			over := qkv.BSHD(m[:seq*in], 1, seq, heads, dim)
			call := func(i int) (v [4]qkv.View) {
				for k := range v {
					v[k] = fresh()
				}
				v[i] = over
				return v
			}
			for k, name := range []string{"q", "k", "v", "out"} {
				v := call(k)
				if k < 3 && i < own {
					check(name, p.Run(&qkv.ProjectionCall{X: x, Q: v[0], K: v[1], V: v[2]}))
				}
				y := qkv.RowMajor(make([]float32, seq*in), seq, in)
				check(name, l.Run(&qkv.LayerCall{X: x, Y: y, Attention: &qkv.Call{Q: v[0], K: v[1], V: v[2], Out: v[3]}}))
			}
			y := qkv.RowMajor(m[:seq*in], seq, in)
			if names[i] == "out weights" || names[i] == "out bias" {
				continue // see TestOverlap: y is that of a product
			}
			check("y", l.Forward(y, x))
		}
	}
}

// TestOverlapLayer: a layer does not write y over what else its attention writes or reads.
func TestOverlapLayer(t *testing.T) {
	const seq, heads, dim = 3, 2, 8
	const in = heads * dim
	e := newAttention(t, qkv.Config{})
	linear := func() qkv.Linear { return qkv.Linear{W: qkv.RowMajor(make([]float32, in*in), in, in)} }
	l, err := e.NewLayer(qkv.LayerConfig{
		ProjectionConfig: qkv.ProjectionConfig{Heads: heads, Q: linear(), K: linear(), V: linear()}, Out: linear(),
	})
	if err != nil {
		t.Fatal(err)
	}
	mem := make([]float32, seq*in)
	for name, a := range map[string]*qkv.Call{
		"scores": {Scores: qkv.BHSD(mem[:heads*seq*seq], 1, heads, seq, seq)},
		"lse":    {LSE: mem[:heads*seq]},
		"bias":   {Bias: qkv.BHSD(mem[:heads*seq*seq], 1, heads, seq, seq)},
		"alibi":  {ALiBi: mem[:heads]},
		"sinks":  {Sinks: mem[:heads]},
	} {
		x := qkv.RowMajor(make([]float32, seq*in), seq, in)
		want := "qkv: y and " + name + " share elements"
		if err := l.Run(&qkv.LayerCall{X: x, Y: qkv.RowMajor(mem, seq, in), Attention: a}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if err := l.Run(&qkv.LayerCall{X: x, Y: x, Attention: a}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
