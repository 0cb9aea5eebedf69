package qkv

import (
	"encoding/json"
	"math"
	"testing"
)

// TestRotaryScaling compares the frequencies of some pairs and the attention factor with
// those that the formulas of Hugging Face transformers, modeling_rope_utils.py, give in
// float64. The scalings are as models' config.json have them.
func TestRotaryScaling(t *testing.T) {
	for _, c := range []struct {
		name      string
		dim       int
		base      float64
		positions int
		scaling   string
		want      map[int]float64
		factor    float64
	}{
		{"none", 64, 10000, 4096, `{}`, map[int]float64{0: 1, 8: 0.1, 16: 0.01, 24: 0.001}, 1},
		{"default", 64, 10000, 4096, `{"rope_type": "default"}`, map[int]float64{0: 1, 8: 0.1, 16: 0.01, 24: 0.001}, 1},
		{"linear", 64, 10000, 4096, `{"rope_type": "linear", "factor": 2.5}`,
			map[int]float64{0: 0.4, 7: 0.05334085728653296, 31: 5.3340857286532955e-05}, 1},
		{"NTK", 128, 10000, 8192, `{"rope_type": "ntk", "factor": 4}`,
			map[int]float64{0: 1, 1: 0.8471171851512068, 32: 0.004945289840680367, 63: 2.8869549617236452e-05}, 1},
		{"dynamic NTK, longer", 128, 10000, 8192, `{"rope_type": "dynamic", "factor": 2, "original_max_position_embeddings": 2048}`,
			map[int]float64{0: 1, 1: 0.8396257425643114, 32: 0.003721721340214912, 63: 1.649688549556369e-05}, 1},
		{"dynamic NTK, not longer", 64, 10000, 512, `{"rope_type": "dynamic", "factor": 2, "original_max_position_embeddings": 2048}`,
			map[int]float64{0: 1, 8: 0.1, 16: 0.01, 24: 0.001}, 1},
		{"dynamic NTK of one pair", 2, 10000, 8192, `{"rope_type": "dynamic", "factor": 2, "original_max_position_embeddings": 2048}`,
			map[int]float64{0: 1}, 1},
		{"Llama 3.1", 128, 500000, 131072,
			`{"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}`,
			map[int]float64{0: 1, 20: 0.016560440080994446, 28: 0.003211445994752591, 30: 0.0013718935677611381,
				34: 0.0001785078127679964, 35: 9.556212353964683e-05, 63: 3.068925988914511e-07}, 1},
		{"Qwen2.5", 128, 1000000, 131072, `{"factor": 4.0, "original_max_position_embeddings": 32768, "rope_type": "yarn"}`,
			map[int]float64{0: 1, 20: 0.01333521432163324, 30: 0.001064360981247002, 40: 4.445698525097307e-05,
				46: 1.2174188129146578e-05, 63: 3.102344401879299e-07}, 1.138629436111989},
		{"gpt-oss", 64, 150000, 131072,
			`{"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": false}`,
			map[int]float64{0: 1, 5: 0.15532298948448497, 10: 0.01933500112654036, 15: 0.0010526021013863357,
				20: 1.818833668168956e-05, 31: 3.0235114281192144e-07}, 1.3465735902799727},
		{"DeepSeek-V2", 64, 10000, 163840,
			`{"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096, "rope_type": "yarn"}`,
			map[int]float64{0: 1, 8: 0.1, 12: 0.026879360111431223, 20: 0.0007905694150420946, 24: 2.5e-05, 31: 3.3338035804083097e-06}, 1},
		{"two scales", 64, 10000, 163840,
			`{"factor": 40, "mscale": 0.707, "mscale_all_dim": 1, "original_max_position_embeddings": 4096, "rope_type": "yarn"}`,
			map[int]float64{8: 0.1}, 0.9210423553163399},
		{"attention factor", 64, 10000, 163840,
			`{"factor": 40, "attention_factor": 1.25, "mscale": 1, "mscale_all_dim": 2, "original_max_position_embeddings": 4096, "rope_type": "yarn"}`,
			map[int]float64{8: 0.1}, 1.25},
		{"LongRoPE, short", 4, 10000, 4096,
			`{"rope_type": "longrope", "factor": 32, "short_factor": [1, 2], "long_factor": [4, 8], "original_max_position_embeddings": 4096}`,
			map[int]float64{0: 1, 1: 0.005}, 1.1902380714238083},
		{"LongRoPE, long", 4, 10000, 4097,
			`{"rope_type": "longrope", "factor": 32, "short_factor": [1, 2], "long_factor": [4, 8], "original_max_position_embeddings": 4096}`,
			map[int]float64{0: 0.25, 1: 0.00125}, 1.1902380714238083},
	} {
		var s RotaryScaling
		if err := json.Unmarshal([]byte(c.scaling), &s); err != nil {
			t.Fatal(err)
		}
		if err := s.check(c.dim, c.positions); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		freqs := s.frequencies(c.dim, c.positions, c.base)
		if len(freqs) != c.dim/2 {
			t.Fatalf("%s: %d frequencies", c.name, len(freqs))
		}
		for i, want := range c.want {
			if !(math.Abs(freqs[i]-want) <= 1e-14*want) {
				t.Errorf("%s: frequency %d is %v, want %v", c.name, i, freqs[i], want)
			}
		}
		if got := s.attentionFactor(); !(math.Abs(got-c.factor) <= 1e-15*c.factor) {
			t.Errorf("%s: attention factor %v, want %v", c.name, got, c.factor)
		}
	}
}

// TestRotaryTables compares tables with the sines and cosines of package math, whose
// angles are off by a rounding: less than half an ulp of a float32 and that.
func TestRotaryTables(t *testing.T) {
	const dim, positions, factor = 20, 5000, 1.5
	r, err := NewRotary(RotaryConfig{Dim: dim, MaxPositions: positions, Base: 1e6, Scaling: RotaryScaling{
		Type: ScalingYaRN, Factor: 1, OriginalMaxPositions: 100, AttentionFactor: factor,
	}})
	if err != nil {
		t.Fatal(err)
	}
	cos, sin := r.Tables()
	if len(cos) != positions*dim/2 || len(sin) != len(cos) {
		t.Fatalf("%d cosines, %d sines", len(cos), len(sin))
	}
	for p := range positions {
		for i := range dim / 2 {
			angle := float64(p) * math.Pow(1e6, -float64(2*i)/dim)
			for _, x := range []struct {
				got  float32
				want float64
			}{{cos[p*dim/2+i], factor * math.Cos(angle)}, {sin[p*dim/2+i], factor * math.Sin(angle)}} {
				if bound := 0x1p-24*math.Abs(x.want) + 0x1p-50*angle + 0x1p-50; !(math.Abs(float64(x.got)-x.want) <= bound) {
					t.Fatalf("position %d, pair %d: %v, want %v", p, i, x.got, x.want)
				}
			}
		}
	}
}
