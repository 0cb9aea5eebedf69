package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"os"
	"testing"
)

// A goldenWeights is what ggml makes of blocks and of values: testdata/weights.json, which a test of
// bench/peers/ggml writes and describes.
type goldenWeights struct {
	Source string
	Types  []struct {
		Name         string
		Blocks, Sums []byte
	}
	Rows []struct {
		Values []byte
		Blocks map[string][]byte
	}
}

func readGolden(t *testing.T) (g goldenWeights) {
	t.Helper()
	b, err := os.ReadFile("testdata/weights.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// weightNamed returns the type of that name.
func weightNamed(t *testing.T, name string) Weight {
	t.Helper()
	for _, w := range Weights() {
		if w.String() == name {
			return w
		}
	}
	t.Fatalf("no type is called %s", name)
	return 0
}

// bitsOf returns those of values, in little-endian order, where a NaN is 0x7fc00000.
func bitsOf(values []float32) (b []byte) {
	for _, v := range values {
		if v != v {
			b = binary.LittleEndian.AppendUint32(b, 0x7fc00000)
			continue
		}
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// TestDecodeGolden: blocks have the values that they have in ggml.
func TestDecodeGolden(t *testing.T) {
	g := readGolden(t)
	held := map[Weight]bool{}
	for _, typ := range g.Types {
		w := weightNamed(t, typ.Name)
		held[w] = true
		n := len(typ.Blocks) / w.Bytes()
		if n < 80 || n*w.Bytes() != len(typ.Blocks) || len(typ.Sums) != 8*n {
			t.Fatalf("%v: there are %d bytes of blocks and %d of hashes", w, len(typ.Blocks), len(typ.Sums))
		}
		values := make([]float32, n*w.Values())
		w.Decode(values, typ.Blocks)
		for i := range n {
			h := fnv.New64a()
			h.Write(bitsOf(values[i*w.Values():][:w.Values()]))
			if !bytes.Equal(h.Sum(nil), typ.Sums[8*i:][:8]) {
				t.Errorf("%v: block %d, % x, has other values than in %s: %v", w, i, typ.Blocks[i*w.Bytes():][:w.Bytes()], g.Source, values[i*w.Values():][:w.Values()])
				break
			}
		}
	}
	for w := WeightQ8_0; w < weights; w++ {
		if !held[w] {
			t.Errorf("there are no blocks of %v", w)
		}
	}
}

// TestEncodeGolden: values become the blocks that they become in ggml.
func TestEncodeGolden(t *testing.T) {
	g := readGolden(t)
	held := map[Weight]int{}
	for i, row := range g.Rows {
		values := make([]float32, 32)
		WeightFloat32.Decode(values, row.Values)
		for name, want := range row.Blocks {
			w := weightNamed(t, name)
			held[w]++
			have := make([]byte, w.Bytes())
			w.Encode(have, values)
			if !bytes.Equal(have, want) {
				t.Errorf("%v: row %d is\n% x, in %s\n% x, of\n%v", w, i, have, g.Source, want, values)
			}
		}
	}
	for w := WeightQ8_0; w < weights; w++ {
		if w.Encodes() && held[w] < 40 {
			t.Errorf("%v: there are %d rows", w, held[w])
		}
	}
}
