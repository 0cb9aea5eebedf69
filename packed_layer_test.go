package qkv_test

import (
	"bytes"
	"errors"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// TestPackedLayer: a layer whose weights one file has packed gives the bits of one that packs them,
// whichever of them are packed before, and is as large; and so does one that reads the others in place,
// which has copies of none.
func TestPackedLayer(t *testing.T) {
	t.Parallel()
	const out = 29
	next := normal(21)
	for _, p := range projections {
		cfg := p.layerConfig(out, next)
		tokens := p.batch * p.seq
		x := newMatrix("padded", tokens, p.in, next).matrix()
		forEachSet(t, func(t *testing.T, e *qkv.Engine) {
			var file bytes.Buffer
			var ends [4]int
			heads := [4]int{p.heads, p.kvHeads, p.kvHeads, 1}
			linears := func(c *qkv.LayerConfig) [4]*qkv.Linear {
				return [4]*qkv.Linear{&c.Q, &c.K, &c.V, &c.Out}
			}
			for i, l := range linears(&cfg) {
				packed, err := e.PackHeads(l.W, heads[i])
				if err != nil {
					t.Fatal(err)
				}
				if _, err := packed.WriteTo(&file); err != nil {
					t.Fatal(err)
				}
				ends[i] = file.Len()
			}
			data := aligned(file.Bytes())
			run := func(cfg qkv.LayerConfig) ([]float32, int) {
				l, err := e.NewLayer(cfg)
				if err != nil {
					t.Fatal(err)
				}
				y := make([]float32, tokens*out)
				if err := l.Run(&qkv.LayerCall{X: x, Y: qkv.RowMajor(y, tokens, out), Batch: p.batch}); err != nil {
					t.Fatal(err)
				}
				return y, l.Bytes()
			}
			want, size := run(cfg)
			for which := range 16 {
				if brief() && which&(which-1) > 0 && which < 15 {
					continue // one of them, or all
				}
				some := cfg
				begin := 0
				for i, l := range linears(&some) {
					if which>>i&1 != 0 {
						var err error
						if l.Packed, err = e.MapPacked(data[begin:ends[i]:ends[i]]); err != nil {
							t.Fatal(err)
						}
						l.W = qkv.Matrix{}
					}
					begin = ends[i]
				}
				got, n := run(some)
				if n != size {
					t.Errorf("%+v: weights of %d bytes, want %d", p, n, size)
				}
				sameBits(t, "packed before", got, want)
				some.InPlace = true
				got, n = run(some)
				all := 0
				for _, l := range linears(&some) {
					all += l.Packed.Bytes()
				}
				if n != all {
					t.Errorf("%+v, others in place: weights of %d bytes, want %d", p, n, all)
				}
				sameBits(t, "others in place", got, want)
			}
		})
	}
}

// TestPackedLayerErrors: packed weights that do not fit, and outputs in their memory.
func TestPackedLayerErrors(t *testing.T) {
	p := projection{1, 4, 6, 4, 2, 8, 8}
	next := normal(22)
	e := newAttention(t, qkv.Config{})
	pack := func(rows, cols, heads int) *qkv.PackedMatrix {
		m, err := e.PackHeads(newMatrix("rows", rows, cols, next).matrix(), heads)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, c := range []struct {
		want  string
		spoil func(c *qkv.LayerConfig)
	}{
		{"qkv: q weights is packed as 1 heads, the projection has 4", func(c *qkv.LayerConfig) { c.Q = qkv.Linear{Packed: pack(6, 32, 1)} }},
		{"qkv: k weights has 17 columns, not a multiple of 2 heads", func(c *qkv.LayerConfig) { c.K = qkv.Linear{Packed: pack(6, 17, 1)} }},
		{"qkv: v weights has 7 rows, q weights has 6", func(c *qkv.LayerConfig) { c.V = qkv.Linear{Packed: pack(7, 16, 2)} }},
		{"qkv: v weights is the zero PackedMatrix: Engine.Pack makes one", func(c *qkv.LayerConfig) { c.V = qkv.Linear{Packed: new(qkv.PackedMatrix)} }},
		{"qkv: q weights is given twice, packed with 6 rows and not packed with 6", func(c *qkv.LayerConfig) { c.Q.Packed = pack(6, 32, 4) }},
		{"qkv: out weights has 31 rows, the heads have 32 values", func(c *qkv.LayerConfig) { c.Out = qkv.Linear{Packed: pack(31, 5, 1)} }},
	} {
		cfg := p.layerConfig(5, next)
		c.spoil(&cfg)
		if _, err := e.NewLayer(cfg); !errors.As(err, new(*qkv.ArgError)) || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	for _, heads := range []int{-1, 0, 3} {
		if _, err := e.PackHeads(newMatrix("rows", 6, 32, next).matrix(), heads); !errors.As(err, new(*qkv.ArgError)) {
			t.Errorf("%d heads: %v", heads, err)
		}
		if n := e.PackedSize(qkv.PrecisionFloat32, qkv.RowMajor(nil, 6, 32), heads); n != 0 {
			t.Errorf("%d heads: a size of %d", heads, n)
		}
	}

	// Outputs in the memory of the caller where the weights are.
	cfg := p.layerConfig(5, next)
	mem := aligned(make([]byte, e.PackedSize(qkv.PrecisionFloat32, cfg.Q.W, 4)))
	packed, err := e.PackInto(mem, qkv.PrecisionFloat32, cfg.Q.W, 4)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Q = qkv.Linear{Packed: packed}
	outMem := aligned(make([]byte, e.PackedSize(qkv.PrecisionFloat32, cfg.Out.W, 1)))
	if cfg.Out.Packed, err = e.PackInto(outMem, qkv.PrecisionFloat32, cfg.Out.W, 1); err != nil {
		t.Fatal(err)
	}
	cfg.Out.W = qkv.Matrix{}
	l, err := e.NewLayer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x := newMatrix("rows", 4, 6, next).matrix()
	y := newMatrix("rows", 4, 5, next).matrix()
	for i, data := range [][]byte{mem, outMem} {
		name := [...]string{"q weights", "out weights"}[i]
		floats := unsafe.Slice((*float32)(unsafe.Pointer(&data[64])), (len(data)-64)/4)
		was := bytes.Clone(data)
		for _, call := range []qkv.LayerCall{
			{X: x, Y: qkv.RowMajor(floats, 4, 5)},
			{X: x, Y: y, Attention: &qkv.Call{K: qkv.BHSD(floats, 1, 2, 4, 8)}},
			{X: x, Y: y, Attention: &qkv.Call{Out: qkv.BSHD(floats, 1, 4, 4, 8)}},
		} {
			if err := l.Run(&call); !errors.As(err, new(*qkv.ArgError)) {
				t.Errorf("written over %s: %v", name, err)
			}
			if !bytes.Equal(data, was) {
				t.Fatalf("%s were written", name)
			}
		}
	}
}
