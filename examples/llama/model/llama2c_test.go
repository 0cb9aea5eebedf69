package model

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// file returns weights as llama2.c's export.py writes them.
func file(w *Weights) []byte {
	var b bytes.Buffer
	vocab := w.Vocab
	if !w.Tied {
		vocab = -vocab
	}
	put := func(x any) { must(binary.Write(&b, binary.LittleEndian, x)) }
	for _, n := range []int{w.Width, w.FFN, w.Layers, w.Heads, w.KVHeads, vocab, w.Context} {
		put(int32(n))
	}
	put(w.Embedding)
	for _, part := range []func(b *Block) []float32{
		func(b *Block) []float32 { return b.AttnNorm },
		func(b *Block) []float32 { return b.Q },
		func(b *Block) []float32 { return b.K },
		func(b *Block) []float32 { return b.V },
		func(b *Block) []float32 { return b.O },
		func(b *Block) []float32 { return b.FFNNorm },
		func(b *Block) []float32 { return b.Gate }, // w1
		func(b *Block) []float32 { return b.Down }, // w2
		func(b *Block) []float32 { return b.Up },   // w3
	} {
		for i := range w.Blocks {
			put(part(&w.Blocks[i]))
		}
	}
	put(w.Norm)
	for _, f := range []func(float64) float64{math.Cos, math.Sin} {
		for at := range w.Context {
			for i := range w.Dim() / 2 {
				put(float32(f(float64(at) * math.Pow(10000, -2*float64(i)/float64(w.Dim())))))
			}
		}
	}
	if !w.Tied {
		put(w.Out)
	}
	return b.Bytes()
}

func TestLoad(t *testing.T) {
	for _, tied := range []bool{false, true} {
		c := Config{Layers: 2, Width: 24, Heads: 6, KVHeads: 3, FFN: 20, Vocab: 33, Context: 50, Tied: tied}
		want, err := Random(c, 5)
		must(err)
		path := filepath.Join(t.TempDir(), "model.bin")
		must(os.WriteFile(path, file(want), 0o600))
		got, err := Load(path)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("tied %v: read %+v, error %v", tied, got, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error without a file")
	}
}

// TestReadHostile: an error, and little memory, for whatever a file says.
func TestReadHostile(t *testing.T) {
	w, err := Random(Config{Layers: 2, Width: 8, Heads: 2, KVHeads: 1, FFN: 6, Vocab: 5, Context: 4}, 1)
	must(err)
	good := file(w)
	header := func(h ...int32) []byte {
		b := bytes.Clone(good)
		for i, n := range h {
			binary.LittleEndian.PutUint32(b[4*i:], uint32(n))
		}
		return b
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, c := range []struct {
		what string
		data []byte
		want string
	}{
		{"nothing", nil, "reading the header"},
		{"half a header", good[:15], "reading the header"},
		{"a header alone", good[:28], "its header says"},
		{"a byte less", good[:len(good)-1], "its header says"},
		{"a byte more", append(bytes.Clone(good), 0), "its header says"},
		{"another format", header(0x616b3432, 2), "version 2"},
		{"no width", header(0), "width is 0"},
		{"a negative ffn", header(8, -6), "ffn is -6"},
		{"many layers", header(8, 6, math.MaxInt32), "layers is 2147483647"},
		{"no heads", header(8, 6, 2, 0), "heads is 0"},
		{"heads that do not divide", header(8, 6, 2, 3, 3), "not a multiple of heads"},
		{"KV heads that do not divide", header(8, 6, 2, 2, 3), "not a multiple of kvHeads"},
		{"an odd head dim", header(8, 6, 2, 8, 1), "head dim is 1"},
		{"wide heads", header(1<<20, 6, 2, 2, 1), "head dim is 524288"},
		{"the least vocab", header(8, 6, 2, 2, 1, math.MinInt32), "vocab is 2147483647"},
		{"no vocab", header(8, 6, 2, 2, 1, 0), "vocab is 0"},
		{"another vocab", header(8, 6, 2, 2, 1, -4), "its header says"},
		{"all at most", header(1<<24, 1<<24, 1<<24, 1<<12, 1<<12, 1<<24, 1<<24), "its header says"},
		{"a wrapped size", header(1<<24, 1<<24, 1<<16, 1<<12, 1<<12, 1<<24, 1<<24), "its header says"},
	} {
		if _, err := Read(bytes.NewReader(c.data), int64(len(c.data))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.what, err, c.want)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	for n := 28; n < len(good); n++ { // a file that shrinks while it is read
		if _, err := Read(bytes.NewReader(good[:n]), int64(len(good))); err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Fatalf("%d bytes: error %v", n, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	w, err := Random(Config{Layers: 1, Width: 4, Heads: 2, KVHeads: 1, FFN: 3, Vocab: 2, Context: 2}, 1)
	must(err)
	f.Add(file(w))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := Read(bytes.NewReader(data), int64(len(data)))
		if err == nil && w.check() != nil {
			t.Errorf("%+v is read: %v", w.Config, w.check())
		}
	})
}
