package gpt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/bounded"
)

// TestMalformed makes one thing wrong in a model, and wants it named.
func TestMalformed(t *testing.T) {
	e := newEngine(t, qkv.Config{})
	type file = map[string]map[string]any
	const wpe, fc = "transformer.wpe.weight", "transformer.h.1.mlp.c_fc.bias"
	for _, c := range []struct {
		name, want string
		edit       func(f file)
	}{
		{"config", "gpt: config is missing, an object is needed",
			func(f file) { delete(f, "config") }},
		{"n_layer", "gpt: n_layer is missing, a whole number of at least 1 is needed",
			func(f file) { delete(f["config"], "n_layer") }},
		{"n_layer", "gpt: n_layer is 0, a whole number of at least 1 is needed",
			func(f file) { f["config"]["n_layer"] = 0 }},
		{"transformer.h.2.ln_1.weight", "gpt: transformer.h.2.ln_1.weight is missing, a tensor is needed",
			func(f file) { f["config"]["n_layer"] = 2_000_000_000 }},
		{"n_embd", "gpt: n_embd is 6.5, a whole number of at least 1 is needed",
			func(f file) { f["config"]["n_embd"] = 6.5 }},
		{"n_embd", "gpt: n_embd is wide, a whole number of at least 1 is needed",
			func(f file) { f["config"]["n_embd"] = "wide" }},
		{"n_embd", "gpt: n_embd is 6, not a multiple of n_head, 4",
			func(f file) { f["config"]["n_head"] = 4 }},
		{"vocab_size", "gpt: vocab_size is 27, at most 26 letters are supported",
			func(f file) { f["config"]["vocab_size"] = 27 }},
		{"transformer.wte.weight", "gpt: transformer.wte.weight has shape [4 6], [4 2147483646] is needed",
			func(f file) { f["config"]["n_embd"] = 2147483646 }},
		{wpe, "gpt: transformer.wpe.weight is missing, a tensor is needed",
			func(f file) { delete(f, wpe) }},
		{"lm_head.weight", "gpt: lm_head.weight is missing, a tensor is needed",
			func(f file) { delete(f, "lm_head.weight") }},
		{fc, "gpt: " + fc + " has dtype torch.float16, torch.float32 is needed",
			func(f file) { f[fc]["dtype"] = "torch.float16" }},
		{fc, "gpt: " + fc + " has dtype missing, torch.float32 is needed",
			func(f file) { delete(f[fc], "dtype") }},
		{fc, "gpt: " + fc + " has shape [12 2], [24] is needed",
			func(f file) { f[fc]["shape"] = []int{12, 2} }},
		{fc, "gpt: " + fc + " has 96 bytes of data, shape [23] needs 92",
			func(f file) { f[fc]["shape"] = []int{23} }},
		{fc, "gpt: " + fc + " has 96 bytes of data, shape [] needs 4",
			func(f file) { f[fc]["shape"] = []int{} }},
		{fc, "gpt: " + fc + " has 96 bytes of data, shape [65536 65536 65536 65536 4] needs more",
			func(f file) { f[fc]["shape"] = []int{65536, 65536, 65536, 65536, 4} }},
		{fc, "gpt: " + fc + " has length -24 of axis 0, a whole number of at least 1 is needed",
			func(f file) { f[fc]["shape"] = []int{-24} }},
		{fc, "gpt: " + fc + " has length long of axis 0, a whole number of at least 1 is needed",
			func(f file) { f[fc]["shape"] = []any{"long"} }},
		{fc, "gpt: " + fc + " has shape 24, a list of lengths is needed",
			func(f file) { f[fc]["shape"] = 24 }},
		{fc, "gpt: " + fc + " has data missing, base64 is needed",
			func(f file) { delete(f[fc], "data") }},
		{fc, "gpt: " + fc + " has data that is not base64: illegal base64 data at input byte 3",
			func(f file) { f[fc]["data"] = "AAA*" }},
		{fc, "gpt: " + fc + " has 95 bytes of data, shape [24] needs 96",
			func(f file) { f[fc]["data"] = base64.StdEncoding.EncodeToString(make([]byte, 95)) }},
	} {
		f := tinyFile(tinyConfig)
		c.edit(f)
		data := marshal(t, f)
		_, err := Parse(data, e)
		var in *InputError
		if !errors.As(err, &in) || in.Name != c.name || err.Error() != c.want {
			t.Errorf("error %v, want %q of %s", err, c.want, c.name)
		}
	}

	var in *InputError
	if _, err := Parse([]byte(`{"config`), e); !errors.As(err, &in) || in.Name != "checkpoint" {
		t.Errorf("error %v, want one of the checkpoint", err)
	}
}

func TestLoad(t *testing.T) {
	e := newEngine(t, qkv.Config{})
	dir := t.TempDir()
	good, cut := filepath.Join(dir, "good.json"), filepath.Join(dir, "cut.json")
	data := marshal(t, tinyFile(tinyConfig))
	if err := errors.Join(os.WriteFile(good, data, 0o600), os.WriteFile(cut, data[:100], 0o600)); err != nil {
		t.Fatal(err)
	}
	if m, err := Load(good, e); err != nil || m.Config != tinyConfig {
		t.Errorf("model of %+v, %v, want %+v", m.Config, err, tinyConfig)
	}
	var in *InputError
	if _, err := Load(cut, e); !errors.As(err, &in) || !strings.HasPrefix(err.Error(), cut+": gpt: checkpoint is not JSON") {
		t.Errorf("error %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.json"), e); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	var size *bounded.SizeError
	if err := os.Truncate(cut, mostBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(cut, e); !errors.As(err, &size) || size.Size != mostBytes+1 || size.Most != mostBytes {
		t.Errorf("error %v", err)
	}
}

// FuzzParse wants a model that runs, or an error.
func FuzzParse(f *testing.F) {
	e := newEngine(f, qkv.Config{Workers: 1})
	data := marshal(f, tinyFile(Config{Layers: 1, Heads: 2, Width: 2, Vocab: 1, Context: 1}))
	f.Add(data)
	f.Add(bytes.Replace(data, []byte("torch.float32"), []byte("torch.int32"), 1))
	f.Add(bytes.Replace(data, []byte(`"n_head":2`), []byte(`"n_head":6`), 1))
	f.Add(data[:len(data)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data, e)
		if err != nil {
			if m != nil {
				t.Errorf("a model beside the error %v", err)
			}
			return
		}
		steps, err := m.Generate([]int{0}, 1)
		if err != nil || len(steps) != 1 || steps[0].Token < 0 || steps[0].Token >= m.Vocab {
			t.Errorf("steps %v, %v", steps, err)
		}
	})
}
