package qkv_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

// integers returns integers in [-2^23, 2^23) from SplitMix64, scaled to 2^exp: the same
// on every machine, since a float32 holds them exactly.
func integers(seed uint64, exp int) func() float32 {
	return func() float32 {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		return float32(math.Ldexp(float64(int64(z)>>40), exp-23))
	}
}

// hash returns a hash of the bits of values.
func hash(values ...[]float32) string {
	h := sha256.New()
	for _, v := range values {
		for _, x := range v {
			var b [4]byte
			binary.LittleEndian.PutUint32(b[:], math.Float32bits(x))
			h.Write(b[:])
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// golden are hashes of the output and the log-sum-exp, the same on every architecture.
var golden = []struct {
	dims
	layout string
	mask   qkv.Mask
	exp    int // magnitude of the inputs
	hash   string
}{
	{dims{1, 1, 1, 1, 1, 1, 1}, "bhsd", none, 0, "5955b1169707a48f"},
	{dims{1, 1, 1, 3, 5, 7, 9}, "bshd", none, 1, "9aa8a9456fbef2eb"},
	{dims{1, 4, 2, 13, 140, 16, 11}, "bhsd", topLeft, 2, "013afa698f9f6df4"},
	{dims{1, 3, 1, 10, 300, 5, 8}, "bshd", bottomRight, 3, "a4cc95ce4308cb2f"},
	{dims{2, 2, 1, 9, 130, 24, 3}, "gaps", causalAt(125), 1, "70b87b2f95a7b494"},
	{dims{1, 2, 2, 17, 129, 3, 20}, "bhds", none, 5, "453ef3fbe14f9de4"},
	{dims{1, 1, 1, 33, 260, 8, 6}, "reversed", topLeft, 4, "23847b692f6bb7a2"},
	{dims{1, 6, 2, 5, 20, 9, 4}, "broadcast", bottomRight, -40, "eea6cb208ad5607b"},
	{dims{1, 2, 1, 6, 40, 4, 4}, "bhsd", causalAt(-3), 20, "19ac63d0b6e009bf"},
	{dims{1, 5, 1, 30, 150, 64, 48}, "bshd", bottomRight, 1, "3d753f1511c34365"},
	{dims{1, 2, 1, 3, 9300, 5, 4}, "bhsd", none, 0, "96f900ce77d794c7"}, // ten chunks
	{dims{1, 1, 1, 1, 7000, 16, 16}, "bshd", causalAt(6100), 1, "a60c7dd6b8ea791e"},
}

func TestGolden(t *testing.T) {
	for _, set := range sets() {
		a := newAttention(t, qkv.Config{Kernel: set})
		for i, c := range golden {
			out, lse := newProblem(c.dims, c.layout, c.mask, integers(uint64(i), c.exp)).run(t, a)
			if slices.ContainsFunc(append(out, lse...), func(x float32) bool { return x != x }) {
				t.Fatalf("kernel=%s %v %s: a NaN, whose payload is not promised", set, c.dims, c.layout)
			}
			if got := hash(out, lse); got != c.hash {
				t.Errorf("kernel=%s %v %s mask=%v exp=%d: hash %s, want %s", set, c.dims, c.layout, c.mask, c.exp, got, c.hash)
			}
		}
	}
	goldenLayers(t)
}

// goldenLayer are hashes of a layer's output for so many tokens, the same on every
// architecture.
var goldenLayer = []struct {
	projection
	hash string
}{
	{projection{1, 1, 7, 2, 1, 6, 3}, "efd2c8924bd27ac8"},
	{projection{2, 9, 33, 4, 2, 16, 8}, "b14d7f5432727b1f"},
	{projection{1, 20, 600, 3, 3, 20, 17}, "9f9d2f5b027edaf3"},
}

func goldenLayers(t *testing.T) {
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 6, MaxPositions: 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets() {
		e := newAttention(t, qkv.Config{Kernel: set})
		for i, c := range goldenLayer {
			next := integers(uint64(i), -1)
			cfg := c.layerConfig(11, next)
			cfg.Rotary = rotary
			cfg.QNorm, cfg.KNorm = newMatrix("rows", 1, c.dimQK, next).data, newMatrix("rows", 1, c.dimQK, next).data
			l, err := e.NewLayer(cfg)
			if err != nil {
				t.Fatal(err)
			}
			tokens := c.batch * c.seq
			y := make([]float32, tokens*11)
			if err := l.Run(&qkv.LayerCall{X: newMatrix("rows", tokens, c.in, next).matrix(), Y: qkv.RowMajor(y, tokens, 11), Batch: c.batch}); err != nil {
				t.Fatal(err)
			}
			if got := hash(y); got != c.hash {
				t.Errorf("kernel=%s layer %+v: hash %s, want %s", set, c.projection, got, c.hash)
			}
		}
	}
}
