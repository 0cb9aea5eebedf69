package qkv_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// stripTypes are the types of weights that packed copies keep.
var stripTypes = []qkv.WeightType{
	qkv.WeightFloat16, qkv.WeightBFloat16, qkv.WeightQ8_0, qkv.WeightQ4_0, qkv.WeightQ4_1, qkv.WeightQ5_0, qkv.WeightQ5_1,
	qkv.WeightQ4_K, qkv.WeightQ5_K, qkv.WeightQ6_K, qkv.WeightIQ4_NL, qkv.WeightMXFP4,
}

// packHeads returns packed weights, and the same from a file.
func packHeads(t *testing.T, e *qkv.Engine, w qkv.Matrix, heads int) [2]*qkv.PackedMatrix {
	t.Helper()
	packed, err := e.PackHeads(w, heads)
	must(err)
	var file bytes.Buffer
	n, err := packed.WriteTo(&file)
	must(err)
	size := e.PackedSize(qkv.PrecisionFloat32, w, heads)
	if int(n) != size || size < packed.Bytes()+64 || size > packed.Bytes()+64+63 {
		t.Errorf("%d bytes, PackedSize is %d, Bytes %d", n, size, packed.Bytes())
	}
	into := aligned(bytes.Repeat([]byte{1}, size))
	_, err = e.PackInto(into, qkv.PrecisionFloat32, w, heads)
	must(err)
	if !bytes.Equal(into, file.Bytes()) {
		t.Error("PackInto and WriteTo differ")
	}
	mapped, err := e.MapPacked(into)
	must(err)
	if mapped.Type() != packed.Type() || mapped.Bytes() != packed.Bytes() || mapped.Heads() != heads {
		t.Errorf("mapped: type %v, %d bytes, %d heads", mapped.Type(), mapped.Bytes(), mapped.Heads())
	}
	return [2]*qkv.PackedMatrix{packed, mapped}
}

// TestWeightsPacked: products by weights that are packed in their type have the bits of those by their
// values, of any number of rows, wherever these and Y lie, whatever the set, the heads, the depth, the workers and
// what the product is added to.
func TestWeightsPacked(t *testing.T) {
	rows := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 33}
	first := newAttention(t, qkv.Config{})
	engines := map[string][2]*qkv.Engine{}
	for _, set := range sets() {
		engines[set] = [2]*qkv.Engine{newAttention(t, qkv.Config{Kernel: set, Workers: 1}), newAttention(t, qkv.Config{Kernel: set, Workers: 3})}
	}
	for i, typ := range stripTypes {
		r := rand.New(rand.NewPCG(40, uint64(typ)))
		block, _ := typ.Block()
		whole := max(block, 32)
		for j, size := range [][3]int{{1, whole, 1}, {70, 256 + whole, 5}, {40, 5 * 256, 1}} {
			out, in, heads := size[0], size[1], size[2]
			w := newWeights(r, typ, out, in, 100)
			packed := map[string][2]*qkv.PackedMatrix{}
			for set, e := range engines {
				packed[set] = [2]*qkv.PackedMatrix{packHeads(t, e[0], w.T(), heads)[j%2], packHeads(t, e[1], w.T(), heads)[1-j%2]}
				if got := packed[set][0].Type(); got != typ {
					t.Fatalf("%s: %v is packed as %v", set, typ, got)
				}
			}
			for k, m := range rows {
				if (testing.Short() || raceEnabled) && (i+j+k)%3 > 0 {
					continue
				}
				x := newMatrix([]string{"rows", "padded", "every other"}[(j+k)%3], m, in, normal(41))
				bias, add := draw(out, signed(42)), k%2 == 0
				multiply := func(e *qkv.Engine, p qkv.Product) []float32 {
					y := newMatrix([]string{"rows", "columns", "every other"}[k%3], m, out, signed(43))
					p.X, p.Y, p.Accumulate = x.matrix(), y.matrix(), add
					if k%4 < 2 {
						p.Bias = bias
					}
					must(e.MatMul(&p))
					y.checkGaps(t)
					return y.values()
				}
				want := multiply(first, qkv.Product{W: w.floats().T()})
				for set, e := range engines {
					n := (i + j + k) % 2
					got := multiply(e[n], qkv.Product{Packed: packed[set][n]})
					sameBits(t, fmt.Sprintf("%s on %d, %v %v, %d rows", set, e[n].Workers(), typ, size, m), got, want)
				}
			}
		}
	}
}

// TestWeightsPackedType: what is not whole blocks of columns [out, in] is packed as float32, and so are types
// without a packed form.
func TestWeightsPackedType(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	r := rand.New(rand.NewPCG(44, 44))
	q8 := newWeights(r, qkv.WeightQ8_0, 64, 128, 1)
	half := newWeights(r, qkv.WeightFloat16, 64, 128, 1)
	for _, c := range []struct {
		what string
		w    qkv.Matrix
		want qkv.WeightType
	}{
		{"whole", q8.T(), qkv.WeightQ8_0}, {"blocks", q8.T().Slice(32, 96), qkv.WeightQ8_0}, {"columns", q8.Slice(3, 9).T(), qkv.WeightQ8_0},
		{"begins in a block", q8.T().Slice(1, 33), qkv.WeightFloat32}, {"ends in a block", q8.T().Slice(0, 33), qkv.WeightFloat32},
		{"inputs first", q8.Matrix, qkv.WeightFloat32}, {"halves", half.T().Slice(1, 34), qkv.WeightFloat16}, {"halves, inputs first", half.Matrix, qkv.WeightFloat32},
		{"float32", q8.floats().T(), qkv.WeightFloat32},
		{"Q2_K", qkv.WeightMatrix(qkv.WeightQ2_K, make([]byte, 84), 1, 256).T(), qkv.WeightFloat32},
		{"int8", qkv.Int8Matrix(make([]int8, 8), make([]float32, 2), 2, 4, 0).T(), qkv.WeightFloat32},
	} {
		if p := packHeads(t, e, c.w, 1)[0]; p.Type() != c.want {
			t.Errorf("%s: packed as %v, want %v", c.what, p.Type(), c.want)
		}
	}
	if typ := (*qkv.PackedMatrix)(nil).Type(); typ != qkv.WeightFloat32 {
		t.Errorf("nil has type %v", typ)
	}
	// As many bytes as blocks have, for each lane.
	if p, err := e.Pack(q8.T()); err != nil || p.Bytes() != len(q8.data) {
		t.Errorf("%d bytes of %d: %v", p.Bytes(), len(q8.data), err)
	}
}

// TestWeightsPackedGated: gate and up, each packed in a type, packed as float32 or in place, have the bits
// of their values.
func TestWeightsPackedGated(t *testing.T) {
	const in, out = 512, 150
	types := []qkv.WeightType{qkv.WeightQ8_0, qkv.WeightQ4_K, qkv.WeightFloat32}
	r := rand.New(rand.NewPCG(45, 45))
	ws := make([]weights, 2*len(types))
	for i := range ws {
		ws[i] = newWeights(r, types[i/2], out, in, 1)
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		for i, rows := range []int{1, 8, 9} {
			x := newMatrix("rows", rows, in, normal(46)).matrix()
			multiply := func(p qkv.Product) []float32 {
				y := make([]float32, rows*out)
				p.X, p.Activation, p.Y = x, qkv.SiLU, qkv.RowMajor(y, rows, out)
				must(e.MatMul(&p))
				return y
			}
			for g := range types {
				for u := range types {
					if brief() && (i+g+u)%3 > 0 {
						continue
					}
					gate, up := ws[2*g], ws[2*u+1]
					want := multiply(qkv.Product{W: gate.floats().T(), Up: qkv.Linear{W: up.floats().T()}})
					packedGate, packedUp := packHeads(t, e, gate.T(), 1)[1], packHeads(t, e, up.T(), 1)[1]
					what := fmt.Sprintf("%d rows, %v and %v", rows, types[g], types[u])
					sameBits(t, what, multiply(qkv.Product{Packed: packedGate, Up: qkv.Linear{Packed: packedUp}}), want)
					sameBits(t, what+", up in place", multiply(qkv.Product{Packed: packedGate, Up: qkv.Linear{W: up.T()}}), want)
					sameBits(t, what+", gate in place", multiply(qkv.Product{W: gate.T(), Up: qkv.Linear{Packed: packedUp}}), want)
				}
			}
		}
	})
}

// TestWeightsPackedStep: steps by weights that are packed in their type, with norms, rotary embeddings and
// rows of K and V on their way to pages, have the bits of their values.
func TestWeightsPackedStep(t *testing.T) {
	const tokens, in, out, heads, kvHeads, dim = 12, 256, 70, 4, 2, 20
	r := rand.New(rand.NewPCG(47, 47))
	rotary := newRotary(t, qkv.RotaryConfig{Dim: dim, MaxPositions: tokens})
	norm := draw(dim, normal(48))
	xs := draw(tokens*in, normal(49))
	for _, typ := range []qkv.WeightType{qkv.WeightBFloat16, qkv.WeightQ4_K} {
		q, k, v := newWeights(r, typ, heads*dim, in, 1), newWeights(r, typ, kvHeads*dim, in, 1), newWeights(r, typ, kvHeads*dim, in, 1)
		o := newWeights(r, qkv.WeightFloat16, out, heads*dim, 1)
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			run := func(linear func(w *weights, heads int) qkv.Linear) []float32 {
				layer, err := e.NewLayer(qkv.LayerConfig{
					ProjectionConfig: qkv.ProjectionConfig{
						Q: linear(&q, heads), K: linear(&k, kvHeads), V: linear(&v, kvHeads),
						Heads: heads, KVHeads: kvHeads, QNorm: norm, KNorm: norm, Rotary: rotary,
					},
					Out: linear(&o, 1),
				})
				must(err)
				cache := newCache(t, qkv.CacheConfig{
					Layers: []qkv.CacheLayer{{KVHeads: kvHeads, DimQK: dim, DimV: dim}}, PageTokens: 2, Pages: tokens, StepTokens: 9,
				})
				step, s := newStep(t, e, cache), cache.NewSequence()
				y := make([]float32, tokens*out)
				for i, n := range []int{1, 9, 2} { // tokens
					at := []int{0, 1, 10}[i]
					must(step.Begin([]qkv.StepSequence{{Sequence: s, Tokens: n}}))
					must(layer.Step(step, 0, qkv.RowMajor(y[at*out:], n, out), qkv.RowMajor(xs[at*in:], n, in)))
					must(step.Commit())
				}
				return y
			}
			sameBits(t, typ.String(), run(func(w *weights, heads int) qkv.Linear {
				p := packHeads(t, e, w.T(), heads)[1]
				if p.Type() == qkv.WeightFloat32 {
					t.Error("packed as float32")
				}
				return qkv.Linear{Packed: p}
			}), run(func(w *weights, _ int) qkv.Linear { return qkv.Linear{W: w.floats().T()} }))
		})
	}
}

// TestWeightsPackedLookup: rows of a table that is packed in its type, by engines of any set.
func TestWeightsPackedLookup(t *testing.T) {
	const vocab, cols = 71, 512
	other := newAttention(t, qkv.Config{Kernel: "generic"})
	r := rand.New(rand.NewPCG(50, 50))
	for _, typ := range stripTypes {
		w := newWeights(r, typ, vocab, cols, 1)
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			ids := []int32{70, 0, 17, 5}
			for i, layout := range []string{"rows", "every other"} {
				dst := newMatrix(layout, len(ids), cols, func() float32 { return 0 })
				must([]*qkv.Engine{e, other}[i].LookupPacked(dst.matrix(), packHeads(t, e, w.T(), 1)[i], ids))
				for row, id := range ids {
					sameBits(t, fmt.Sprintf("%v, id %d", typ, id), dst.values()[row*cols:][:cols], w.values[int(id)*cols:][:cols])
				}
			}
		})
	}
}

// TestWeightsPackedErrors: files with a type that is changed are errors, and outputs in packed weights, with
// nothing written.
func TestWeightsPackedErrors(t *testing.T) {
	e := newAttention(t, qkv.Config{})
	w := newWeights(rand.New(rand.NewPCG(51, 51)), qkv.WeightQ8_0, 20, 64, 1)
	packed, err := e.Pack(w.T())
	must(err)
	var file bytes.Buffer
	packed.WriteTo(&file)
	for _, typ := range []uint32{0, uint32(qkv.WeightQ5_1), uint32(qkv.WeightInt8), uint32(qkv.WeightQ2_K), uint32(qkv.WeightQ4_K), 99, 1 << 31} {
		data := aligned(file.Bytes())
		binary.LittleEndian.PutUint32(data[20:], typ)
		if _, err := e.MapPacked(data); !errors.Is(err, qkv.ErrDamaged) {
			t.Errorf("type %d: %v", typ, err)
		}
		binary.LittleEndian.PutUint32(data[60:], crc32.ChecksumIEEE(data[:60]))
		if _, err := e.MapPacked(data); !errors.Is(err, qkv.ErrDamaged) {
			t.Errorf("type %d with its checksum: %v", typ, err)
		}
	}
	mem := aligned(make([]byte, e.PackedSize(qkv.PrecisionFloat32, w.T(), 1)))
	into, err := e.PackInto(mem, qkv.PrecisionFloat32, w.T(), 1)
	must(err)
	was := bytes.Clone(mem)
	floats := unsafe.Slice((*float32)(unsafe.Pointer(&mem[0])), len(mem)/4)
	x := newMatrix("rows", 1, 64, normal(52)).matrix()
	for _, at := range []int{16, 16 + into.Bytes()/4 - 20} {
		err := e.MatMul(&qkv.Product{X: x, Packed: into, Y: qkv.StridedMatrix(floats, at, 1, 20, 0, 1)})
		if !errors.As(err, new(*qkv.ArgError)) || !bytes.Equal(mem, was) {
			t.Errorf("Y at %d: %v", at, err)
		}
	}
}

// TestAllocsWeightsPacked: products by weights that are packed in their type allocate nothing.
func TestAllocsWeightsPacked(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	forEachSet(t, func(t *testing.T, e *qkv.Engine) {
		w := newWeights(rand.New(rand.NewPCG(53, 53)), qkv.WeightQ4_K, 70, 256, 1)
		packed, err := e.Pack(w.T())
		must(err)
		for _, rows := range []int{1, 8, 20} {
			p := &qkv.Product{X: newMatrix("rows", rows, 256, normal(54)).matrix(), Packed: packed, Y: qkv.RowMajor(make([]float32, rows*70), rows, 70)}
			if n := allocsPerCall(10, func() { must(e.MatMul(p)) }); n != 0 {
				t.Errorf("%d rows: %v allocations", rows, n)
			}
		}
	})
}
