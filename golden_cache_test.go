package qkv_test

import (
	"testing"

	"github.com/qkv-go/qkv"
)

// goldenCache are hashes of what one query and 20 queries make of the same 1,500 keys, more
// than a chunk, kept in each type, in each class: the same on every architecture.
var goldenCache = []struct {
	precision    qkv.Precision
	keys, values qkv.ElemType
	hash         string
	integers     string // the hash with values that are multiplied as integers, too
	rounded      string // the hash of class Int8 with values in bfloat16
}{
	{qkv.PrecisionFloat32, qkv.TypeFloat32, qkv.TypeFloat32, "6720e2f1aa96c39c", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeFloat16, qkv.TypeBFloat16, "a305d44d4662cdb0", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeBFloat16, qkv.TypeFloat16, "e9633815d26b8428", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeInt8, qkv.TypeQ8_0, "0cde864392807c96", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeQ8_0, qkv.TypeInt8, "a874127cccdaf26d", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeFloat8E4M3, qkv.TypeQ4_1, "e712f4f810327755", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeQ4_1, qkv.TypeFloat8E5M2, "81ff76a6237eaba4", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeFloat8E5M2, qkv.TypeQ4_0, "ec478f78cf6145c0", "", ""},
	{qkv.PrecisionFloat32, qkv.TypeQ4_0, qkv.TypeFloat8E4M3, "9d1136345854ece1", "", ""},
	{qkv.PrecisionInt8, qkv.TypeInt8, qkv.TypeFloat32, "17c49407e3d226c4", "", "0ce0109bd590426a"},
	{qkv.PrecisionInt8, qkv.TypeQ8_0, qkv.TypeFloat16, "39d2c13402348d23", "", "87749307f2d45547"},
	{qkv.PrecisionInt8, qkv.TypeQ4_0, qkv.TypeQ4_0, "8c40f17cf3c5602e", "34b51089ed6f547b", "e4d883407044becf"},
	{qkv.PrecisionInt8, qkv.TypeQ4_1, qkv.TypeQ8_0, "9254249b15aed295", "6e317260c3e231ed", "7b647f328728cfb5"},
	{qkv.PrecisionBFloat16, qkv.TypeFloat32, qkv.TypeFloat16, "7983031b857418c2", "", ""},
	{qkv.PrecisionBFloat16, qkv.TypeBFloat16, qkv.TypeInt8, "2ff7adaef3f30f5a", "", ""},
	{qkv.PrecisionInt8, qkv.TypeFloat32, qkv.TypeInt8, "", "db7f0de7c6ad60e1", "b6f439d66c796827"},
	{qkv.PrecisionInt8, qkv.TypeInt8, qkv.TypeQ4_1, "", "1fa9b67fd9f42736", "d1ea1ab75f7811d6"},
}

func TestGoldenCaches(t *testing.T) {
	const heads, kvHeads, tokens, dim = 4, 2, 1500, 32
	for _, set := range classSets() {
		e := newAttention(t, qkv.Config{Kernel: set})
		for i, c := range goldenCache {
			next := integers(uint64(i), 1)
			draw := func(n int) []float32 {
				x := make([]float32, n)
				for i := range x {
					x[i] = next()
				}
				return x
			}
			cache := newCache(t, cacheShape{kvHeads, dim, dim, c.keys, c.values}.config(1, tokens))
			step, sequence := newStep(t, e, cache), cache.NewSequence()
			k, v := draw(kvHeads*tokens*dim), draw(kvHeads*tokens*dim)
			if err := appendTokens(step, sequence, qkv.BHSD(k, 1, kvHeads, tokens, dim), qkv.BHSD(v, 1, kvHeads, tokens, dim)); err != nil {
				t.Fatal(err)
			}
			qs := [][]float32{draw(heads * dim), draw(heads * 20 * dim)}
			for values, want := range []string{qkv.PrecisionFloat32: c.hash, qkv.PrecisionInt8: c.integers, qkv.PrecisionBFloat16: c.rounded} {
				if want == "" {
					continue
				}
				var results [][]float32
				for i, queries := range []int{1, 20} {
					out, lse := make([]float32, heads*queries*dim), make([]float32, heads*queries)
					call := &qkv.Call{
						Precision: c.precision, ValuePrecision: qkv.Precision(values),
						Q: qkv.BHSD(qs[i], 1, heads, queries, dim), Out: qkv.BHSD(out, 1, heads, queries, dim), LSE: lse, Mask: qkv.Mask{Causal: true},
					}
					if err := attended(step, call, []*qkv.Sequence{sequence}, []int{queries}); err != nil {
						t.Fatal(err)
					}
					results = append(results, out, lse)
				}
				if got := hash(results...); got != want {
					t.Errorf("kernel=%s class %v, %v, %v, values in %v: hash %s, want %s", set, c.precision, c.keys, c.values, qkv.Precision(values), got, want)
				}
			}
		}
	}
}
