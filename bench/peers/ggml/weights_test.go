package ggml

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/bench/peers/internal/shared"
)

var generate = flag.Bool("generate", false, "write the blocks that ggml decodes and encodes for the tests of package kernel")

const goldenPath = "../../../kernel/testdata/weights.json"

// A golden is the file at goldenPath. Tests of package kernel read it.
type golden struct {
	Source string
	Types  []goldenType
	Rows   []goldenRow
}

// A goldenType is blocks and for each the FNV-1a hash of the bits of its values, in little-endian
// order, where a NaN counts as 0x7fc00000.
type goldenType struct {
	Name         string
	Blocks, Sums []byte
}

// A goldenRow is 32 values, in little-endian order, and the blocks that ggml makes of them.
type goldenRow struct {
	Values []byte
	Blocks map[string][]byte
}

// ggmlTypes lists types with the sizes of their blocks and where these hold numbers of binary16.
var ggmlTypes = []struct {
	name, symbol  string
	values, bytes int
	halves        []int
	blocks        int
	encodes       bool
}{
	{"Q8_0", "q8_0", 32, 34, []int{0}, 100, true},
	{"Q4_0", "q4_0", 32, 18, []int{0}, 100, true},
	{"Q4_1", "q4_1", 32, 20, []int{0, 2}, 150, true},
	{"Q5_0", "q5_0", 32, 22, []int{0}, 100, true},
	{"Q5_1", "q5_1", 32, 24, []int{0, 2}, 150, true},
	{"Q2_K", "q2_K", 256, 84, []int{80, 82}, 84, false},
	{"Q3_K", "q3_K", 256, 110, []int{108}, 84, false},
	{"Q4_K", "q4_K", 256, 144, []int{0, 2}, 84, false},
	{"Q5_K", "q5_K", 256, 176, []int{0, 2}, 84, false},
	{"Q6_K", "q6_K", 256, 210, []int{208}, 84, false},
	{"IQ4_NL", "iq4_nl", 32, 18, []int{0}, 100, true},
	{"MXFP4", "mxfp4", 32, 17, nil, 255, true},
}

// halves are scales: zeros, subnormal numbers, the least and the largest normal ones, usual ones,
// infinities and NaNs.
var halves = []uint16{
	0, 0x8000, 1, 0x8001, 0x3ff, 0x83ff, 0x400, 0x8400, 0x7bff, 0xfbff, 0x3c00, 0xbc00, 0x3555, 0x1e3f,
	0x2c01, 0xa7ff, 0x7c00, 0xfc00, 0x7e00, 0xfe00, 0x7c01,
}

// TestWeights holds the file of what ggml makes of blocks and values against the library.
func TestWeights(t *testing.T) {
	dir, err := filepath.Abs("../lib/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64")
	if err != nil {
		t.Fatal(err)
	}
	base, err := shared.Load(true, filepath.Join(dir, "libggml-base.so"))
	if err != nil {
		t.Skip(err)
	}
	var version func() string
	if err := base.Func(&version, "ggml_version"); err != nil {
		t.Fatal(err)
	}
	g := golden{Source: "ggml " + version()}
	r := rand.New(rand.NewPCG(1, 2))
	rows := encodedRows(r)
	all := len(rows)
	rows = append(rows, nearPowers(r)...)
	for _, v := range rows {
		b := make([]byte, 0, 4*len(v))
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		g.Rows = append(g.Rows, goldenRow{b, map[string][]byte{}})
	}
	for _, typ := range ggmlTypes {
		var decode func(blocks, values unsafe.Pointer, n int64)
		if err := base.Func(&decode, "dequantize_row_"+typ.symbol); err != nil {
			t.Fatal(err)
		}
		out := goldenType{Name: typ.name}
		values := make([]float32, typ.values)
		for i := range typ.blocks {
			block := make([]byte, typ.bytes)
			for j := range block {
				block[j] = byte(r.Uint32())
			}
			for j, at := range typ.halves {
				h := uint16(0x1000 + r.IntN(0x3000)) // 2^-11 to 2
				if i < 4*len(halves) {
					h = halves[(i+j*(i/len(halves)+1))%len(halves)]
				}
				binary.LittleEndian.PutUint16(block[at:], h)
			}
			if typ.name == "MXFP4" {
				block[0] = byte(i) // 255 is a NaN, for which ggml has numbers
			}
			decode(unsafe.Pointer(&block[0]), unsafe.Pointer(&values[0]), int64(typ.values))
			out.Blocks = append(out.Blocks, block...)
			out.Sums = append(out.Sums, sum(values)...)
		}
		g.Types = append(g.Types, out)
		if !typ.encodes {
			continue
		}
		var encode func(values, blocks unsafe.Pointer, n int64)
		if err := base.Func(&encode, "quantize_row_"+typ.symbol+"_ref"); err != nil {
			t.Fatal(err)
		}
		for i, v := range rows {
			if typ.name == "IQ4_NL" && !inTable(v) || i >= all && typ.name != "MXFP4" {
				continue
			}
			block := make([]byte, typ.bytes)
			encode(unsafe.Pointer(&v[0]), unsafe.Pointer(&block[0]), int64(typ.values))
			g.Rows[i].Blocks[typ.name] = block
		}
	}
	have, err := json.MarshalIndent(&g, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	have = append(have, '\n')
	if *generate {
		if err := os.WriteFile(goldenPath, have, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(want) {
		t.Errorf("%s is not what ggml computes; run go test ./ggml -run TestWeights -generate", goldenPath)
	}
}

// sum returns the hash of values.
func sum(values []float32) []byte {
	h := fnv.New64a()
	for _, v := range values {
		bits := math.Float32bits(v)
		if v != v {
			bits = 0x7fc00000
		}
		h.Write(binary.LittleEndian.AppendUint32(nil, bits))
	}
	return h.Sum(nil)
}

// encodedRows returns rows of values for which C says what ggml does: finite, and no scale or code
// beyond its type.
func encodedRows(r *rand.Rand) [][]float32 {
	var rows [][]float32
	add := func(value func(i int) float64) {
		row := make([]float32, 32)
		for i := range row {
			row[i] = float32(value(i))
		}
		rows = append(rows, row)
	}
	normal := func(scale float64) func(int) float64 {
		return func(int) float64 { return scale * r.NormFloat64() }
	}
	for _, scale := range []float64{1, 1, 1, 0.02, 0.02, 0.02, 0.02, 1e-3, 3e-5, 1e-6, 1e-9, 1e-14, 1e-20, 0x1p-110, 50, 1e4, 1e6, 1e9, 1e20, 0x1p110} {
		add(normal(scale))
	}
	add(func(int) float64 { return 0 })
	add(func(int) float64 { return math.Copysign(0, -1) })
	add(func(i int) float64 { return math.Copysign(0, float64(i%2)-0.5) })
	for _, x := range []float64{1, -0.1, 65504, 1e-7} {
		add(func(int) float64 { return x })                         // all equal
		add(func(i int) float64 { return x * float64(1-2*(i%2)) })  // the first of the largest
		add(func(i int) float64 { return x * float64(i/31) })       // one
		add(func(i int) float64 { return x * (float64(i) - 15.5) }) // a ramp
		add(func(i int) float64 { return x * float64(i) / 62 })     // ties
		add(func(i int) float64 { return x * float64(i-16) / 16 })  // codes themselves
		add(func(i int) float64 { return x * (1 + float64(i)/64) }) // far from 0
		add(func(i int) float64 { return x * math.Exp2(float64(-i)) })
	}
	add(func(i int) float64 { // half way between codes of IQ4_NL
		return []float64{-127, -115.5, -93.5, -74, -57, -42, -28.5, -16, -4.5, 7, 19, 31.5, 45.5, 61, 79, 101}[i/2]
	})
	add(func(i int) float64 { return math.Ldexp(r.NormFloat64(), -130-i) * float64((i+1)/2%2) }) // subnormal
	rows[len(rows)-1][5] = 1
	return rows
}

// nearPowers returns rows whose largest magnitude is a power of two or up to 45 numbers below it,
// which the logarithm decides about.
func nearPowers(r *rand.Rand) [][]float32 {
	var rows [][]float32
	for _, k := range []int{-100, -64, -33, -16, -8, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 8, 16, 33, 64, 100} {
		for _, below := range []uint32{0, 1, 2, 3, 5, 6, 11, 12, 22, 23, 44, 45} {
			if p := max(k, -k); below > uint32(p) {
				break
			}
			row := make([]float32, 32)
			for i := range row {
				row[i] = float32(math.Ldexp(1.8*r.Float64()-0.9, k))
			}
			row[r.IntN(32)] = math.Float32frombits(math.Float32bits(float32(math.Ldexp(1, k))) - below)
			rows = append(rows, row)
		}
	}
	return rows
}

// inTable reports whether sums of cubes of the values are finite, and one is not so small that ggml
// leaves codes as they were.
func inTable(v []float32) bool {
	most := float64(0)
	for _, x := range v {
		most = max(most, math.Abs(float64(x)))
	}
	return most >= 1e-15 && most < 0x1p36
}
