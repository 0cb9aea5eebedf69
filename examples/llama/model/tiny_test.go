package model

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/gguf"
	"github.com/qkv-go/qkv/examples/internal/safetensors"
)

// tinyFiles are the files of the model that examples/llama/train.py has trained: its matrices are in Q8_0 in the
// first, and in bfloat16 in the second.
var tinyFiles = []string{"gguf", "safetensors"}

// tinyEnd is the token that begins and ends its texts. The others are bytes.
const tinyEnd = 256

// tiny returns the weights of a file.
func tiny(t testing.TB, file string) *Tensors {
	t.Helper()
	const path = "../testdata/tiny."
	var w *Tensors
	switch file {
	case "gguf":
		f, err := gguf.Open(path + file)
		must(err)
		t.Cleanup(func() { f.Close() })
		w, err = FromGGUF(f)
		must(err)
	case "safetensors":
		config, err := os.ReadFile(path + "config.json")
		must(err)
		f, err := safetensors.Open(path + file)
		must(err)
		t.Cleanup(func() { f.Close() })
		w, err = FromHuggingFace(config, f)
		must(err)
	}
	return w
}

// tinyModel returns the model of a file on an engine.
func tinyModel(cfg qkv.Config, w *Tensors, class qkv.Precision, packed bool) *Model {
	e, err := qkv.New(cfg)
	must(err)
	m, err := NewOf(e, w, class, packed)
	must(err)
	return m
}

// TestTiny: logits of the model are those of a forward pass in float64, of each file, in place and packed.
func TestTiny(t *testing.T) {
	want := readReference("testdata/tiny.json")
	for _, file := range tinyFiles {
		w := tiny(t, file)
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/packed=%v", file, packed), func(t *testing.T) {
				want[file].check(t, tinyModel(qkv.Config{}, w, qkv.PrecisionFloat32, packed), 2e-6)
			})
		}
	}
}

// TestTinySums: the model has learnt to add. Of sums that it has not seen it gets 95 of 100 right, in each class
// and with keys and values in 8 bits.
func TestTinySums(t *testing.T) {
	type pair struct{ a, b int }
	var all []pair
	for a := range 1000 {
		for b := range 1000 {
			// The first says which sums train.py leaves out, and the second takes some.
			if (7*a+b)%11 == 0 && (a < 100 && b < 100 || (61*a+b)%331 == 0) {
				all = append(all, pair{a, b})
			}
		}
	}
	if testing.Short() || raceEnabled || forced != "" { // which changes no bit, see TestGoldenTiny
		all = slices.DeleteFunc(all, func(p pair) bool { return p.a%97 != 3 })
	}
	for _, c := range []struct {
		file  string
		class qkv.Precision
		kv    qkv.ElemType
	}{
		{"gguf", qkv.PrecisionFloat32, qkv.TypeFloat32},
		{"gguf", qkv.PrecisionInt8, qkv.TypeInt8},
		{"safetensors", qkv.PrecisionFloat32, qkv.TypeQ8_0},
		{"safetensors", qkv.PrecisionBFloat16, qkv.TypeBFloat16},
	} {
		m := tinyModel(qkv.Config{}, tiny(t, c.file), c.class, true)
		e := newEngine(t, m, EngineConfig{Type: c.kv, PageTokens: 16, Pages: 64})
		right := [2]int{} // below 100, and others
		count := [2]int{}
		for part := range slices.Chunk(all, 64) {
			var texts []*Text
			for _, p := range part {
				prompt := []int32{tinyEnd}
				for _, b := range []byte(fmt.Sprintf("%d+%d=", p.a, p.b)) {
					prompt = append(prompt, int32(b))
				}
				texts = append(texts, e.NewText(prompt, len(prompt)+5))
			}
			must(e.Generate(texts, nil))
			for i, x := range texts {
				p := part[i]
				answer := strconv.Itoa(p.a+p.b) + "\x00"
				got := ""
				for _, token := range x.Tokens[len(x.Tokens)-5:][:len(answer)] {
					got += string(rune(token % tinyEnd)) // 0 at the end
				}
				group := 0
				if p.a >= 100 || p.b >= 100 {
					group = 1
				}
				count[group]++
				if got == answer {
					right[group]++
				}
				must(x.Free())
			}
		}
		t.Logf("%s, class %v, cache %v: %d of %d below 100 are right, and %d of %d others", c.file, c.class, c.kv, right[0], count[0], right[1], count[1])
		for i := range right {
			if count[i] == 0 || 100*right[i] < 95*count[i] {
				t.Errorf("%s, class %v, cache %v: %v of %v are right", c.file, c.class, c.kv, right, count)
			}
		}
	}
}

// goldenTiny are hashes of the logits of a text, the same on every architecture.
var goldenTiny = []struct {
	file  string
	class qkv.Precision
	kv    qkv.ElemType
	hash  string
}{
	{"gguf", qkv.PrecisionFloat32, qkv.TypeFloat32, "f47734f7af7febb9"},
	{"gguf", qkv.PrecisionInt8, qkv.TypeInt8, "44b2e975b29a104a"},
	{"safetensors", qkv.PrecisionFloat32, qkv.TypeQ8_0, "5be24c86e62ec965"},
	{"safetensors", qkv.PrecisionBFloat16, qkv.TypeBFloat16, "7eb2ed4a49024c7d"},
}

// hashOf returns a hash of the bits of numbers.
func hashOf(x []float32) string {
	h := sha256.New()
	var b [4]byte
	for _, v := range x {
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(v))
		h.Write(b[:])
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// TestGoldenTiny: the model has the same bits of logits on every set, beside other texts and in chunks of any size.
func TestGoldenTiny(t *testing.T) {
	const n = 20 // across a page, and few enough for an emulated CPU
	tokens := readReference("testdata/tiny.json")["gguf"].Tokens[:n]
	for _, c := range goldenTiny {
		w := tiny(t, c.file)
		forEachSet(t, c.class, func(t *testing.T, cfg qkv.Config) {
			m := tinyModel(cfg, w, c.class, true)
			e := newEngine(t, m, EngineConfig{Type: c.kv, PageTokens: 16, Pages: 4})
			check := func(what string, logits []float32) {
				if got := hashOf(logits); got != c.hash {
					t.Errorf("%s, class %v, cache %v, %s: hash %s, want %s", c.file, c.class, c.kv, what, got, c.hash)
				}
			}
			for _, chunk := range []int{n, 7} {
				s := e.Cache.NewSequence()
				check(fmt.Sprintf("chunks of %d", chunk), read(e, s, tokens, chunk))
				must(s.Free())
			}
			var beside []float32
			s, other := e.Cache.NewSequence(), e.Cache.NewSequence()
			for i, left := 0, tokens; len(left) > 0; i++ {
				part := left[:min(len(left), 1+i*5%13)]
				left = left[len(part):]
				logits, err := e.Forward([]Input{{other, tokens[i : i+1], 1}, {s, part, len(part)}})
				must(err)
				beside = append(beside, logits[1]...)
				must(e.Step.Commit())
			}
			check("beside another text", beside)
			must(s.Free())
			must(other.Free())
		})
	}
}
