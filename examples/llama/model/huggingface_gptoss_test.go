package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/ggufbuild"
	"github.com/qkv-go/qkv/internal/safetensorsbuild"
)

// A tensor is one of a file.
type tensor = safetensorsbuild.Tensor

// codesMXFP4 returns values in MXFP4, a code each and a scale for 32 of them, and has them become what is kept.
func codesMXFP4(x []float32, row int) (codes, scales []byte) {
	values := []float32{0, 0.5, 1, 1.5, 2, 3, 4, 6}
	for i := range x {
		e := (row + i/32) % 3
		if i%32 == 0 {
			scales = append(scales, byte(124-e)) // 2^-3 and less
		}
		scale := 1 / float32(int(8)<<e)
		code := min(7, int(max(x[i], -x[i])*40))
		v := values[code] * scale
		if x[i] < 0 {
			code, v = code|8, -v
		}
		codes, x[i] = append(codes, byte(code)), v
	}
	return codes, scales
}

// plainExperts returns matrices [out, in] of experts as [experts, in, out], of a type that their weights become. Of
// several matrices of an expert the columns lie in turns.
func plainExperts(name, dtype string, in int, matrices ...[][]float32) tensor {
	typ := map[string]qkv.WeightType{"F32": qkv.WeightFloat32, "F16": qkv.WeightFloat16, "BF16": qkv.WeightBFloat16}[dtype]
	_, bytes := typ.Block()
	experts, out := len(matrices[0]), len(matrices[0][0])/in
	var all []float32
	for expert := range experts {
		for _, m := range matrices {
			data := make([]byte, len(m[expert])*bytes)
			must(qkv.Quantize(typ, data, m[expert]))
			must(qkv.Dequantize(typ, m[expert], data))
		}
		for i := range in {
			for row := range out {
				for _, m := range matrices {
					all = append(all, m[expert][row*in+i])
				}
			}
		}
	}
	t := tensor{Name: name, Type: dtype, Shape: []int{experts, in, out * len(matrices)}, Data: make([]byte, len(all)*bytes)}
	must(qkv.Quantize(typ, t.Data, all))
	return t
}

// gptOSSOf returns weights as gpt-oss has them at Hugging Face. The weights of experts become those of a type.
func gptOSSOf(w *Weights, dtype string) (config map[string]any, tensors []tensor) {
	s := &w.Rotary.Scaling
	config = map[string]any{
		"model_type": "gpt_oss", "num_hidden_layers": w.Layers, "hidden_size": w.Width, "num_attention_heads": w.Heads,
		"num_key_value_heads": w.KVHeads, "head_dim": w.Dim(), "intermediate_size": w.FFN, "vocab_size": w.Vocab,
		"max_position_embeddings": w.Context, "hidden_act": "silu", "rms_norm_eps": w.NormEps, "rope_theta": w.Rotary.Base,
		"num_local_experts": w.Experts, "num_experts_per_tok": w.ExpertsUsed, "sliding_window": w.Window, "swiglu_limit": w.Clamp,
		"layer_types":  []string{"sliding_attention", "full_attention"},
		"rope_scaling": map[string]any{"rope_type": "yarn", "factor": s.Factor, "original_max_position_embeddings": s.OriginalMaxPositions, "beta_fast": 32, "beta_slow": 1, "truncate": false},
	}
	add := func(name, dtype string, data []byte, shape ...int) {
		tensors = append(tensors, tensor{Name: name, Type: dtype, Shape: shape, Data: data})
	}
	floats := func(name string, x []float32, shape ...int) { add(name, "F32", ggufbuild.Float32(x), shape...) }
	floats("model.embed_tokens.weight", w.Embedding, w.Vocab, w.Width)
	floats("model.norm.weight", w.Norm, w.Width)
	floats("lm_head.weight", w.Out, w.Vocab, w.Width)
	for i := range w.Blocks {
		b, layer := &w.Blocks[i], fmt.Sprintf("model.layers.%d.", i)
		q, kv := w.Heads*w.Dim(), w.KVHeads*w.Dim()
		for _, x := range []struct {
			name       string
			w, bias    []float32
			rows, cols int
		}{
			{"self_attn.q_proj", b.Q, b.QBias, q, w.Width}, {"self_attn.k_proj", b.K, b.KBias, kv, w.Width},
			{"self_attn.v_proj", b.V, b.VBias, kv, w.Width}, {"self_attn.o_proj", b.O, b.OBias, w.Width, q},
			{"mlp.router", b.Router, b.RouterBias, w.Experts, w.Width},
		} {
			floats(layer+x.name+".weight", x.w, x.rows, x.cols)
			floats(layer+x.name+".bias", x.bias, x.rows)
		}
		floats(layer+"self_attn.sinks", b.Sinks, w.Heads)
		floats(layer+"input_layernorm.weight", b.AttnNorm, w.Width)
		floats(layer+"post_attention_layernorm.weight", b.FFNNorm, w.Width)

		type rows struct {
			blocks, scales []byte
			bias           []float32
		}
		var both, down rows
		row := func(x, bias []float32, i, cols int, to *rows) {
			if dtype == "MXFP4" {
				codes, scales := codesMXFP4(x[i*cols:][:cols], len(to.bias))
				for j := 0; j < cols; j += 2 {
					to.blocks = append(to.blocks, codes[j]|codes[j+1]<<4)
				}
				to.scales = append(to.scales, scales...)
			}
			to.bias = append(to.bias, bias[i])
		}
		for j := range b.Experts {
			x := &b.Experts[j]
			for i := range w.FFN {
				row(x.Gate, x.GateBias, i, w.Width, &both)
				row(x.Up, x.UpBias, i, w.Width, &both)
			}
			for i := range w.Width {
				row(x.Down, x.DownBias, i, w.FFN, &down)
			}
		}
		layer += "mlp.experts."
		floats(layer+"gate_up_proj_bias", both.bias, w.Experts, 2*w.FFN)
		floats(layer+"down_proj_bias", down.bias, w.Experts, w.Width)
		if dtype != "MXFP4" {
			var gate, up, down [][]float32
			for _, x := range b.Experts {
				gate, up, down = append(gate, x.Gate), append(up, x.Up), append(down, x.Down)
			}
			tensors = append(tensors, plainExperts(layer+"gate_up_proj", dtype, w.Width, gate, up), plainExperts(layer+"down_proj", dtype, w.FFN, down))
			continue
		}
		add(layer+"gate_up_proj_blocks", "U8", both.blocks, w.Experts, 2*w.FFN, w.Width/32, 16)
		add(layer+"gate_up_proj_scales", "U8", both.scales, w.Experts, 2*w.FFN, w.Width/32)
		add(layer+"down_proj_blocks", "U8", down.blocks, w.Experts, w.Width, w.FFN/32, 16)
		add(layer+"down_proj_scales", "U8", down.scales, w.Experts, w.Width, w.FFN/32)
	}
	return config, tensors
}

// randomGPTOSS returns a small model.
func randomGPTOSS() *Weights {
	c := likeGPTOSS()
	c.Layers, c.Experts, c.NormEps = 2, 5, 1e-5
	w, err := Random(c, 3)
	must(err)
	return w
}

// TestHuggingFaceGPTOSS: gpt-oss from a folder, of one file or of two, and with experts of each type, has the bits of its
// weights.
func TestHuggingFaceGPTOSS(t *testing.T) {
	e, err := qkv.New(qkv.Config{})
	must(err)
	for _, x := range []struct {
		dtype         string
		shards, newer bool // newer is a configuration as transformers 5 have it
	}{{"MXFP4", false, false}, {"MXFP4", true, true}, {"BF16", true, false}, {"F16", false, true}, {"F32", false, false}} {
		w := randomGPTOSS()
		config, tensors := gptOSSOf(w, x.dtype) // which rounds the weights
		for _, x := range tensors {
			different := bytes.Clone(x.Data)
			slices.Sort(different)
			different = slices.Compact(different)
			if strings.HasSuffix(x.Name, "_blocks") && len(different) < 100 || strings.HasSuffix(x.Name, "_scales") && len(different) < 3 {
				t.Fatalf("%s has few different bytes", x.Name)
			}
		}
		run := func(x *Tensors) []float32 {
			m, err := NewOf(e, x, qkv.PrecisionFloat32, true)
			must(err)
			e := newEngine(t, m, EngineConfig{PageTokens: 16, Pages: 4})
			return read(e, e.Cache.NewSequence(), randomTokens(40, w.Vocab, 1), 24)
		}
		want := run(tensorsOf(w))
		files := map[string][]byte{"model.safetensors": safetensorsbuild.File(tensors...)}
		if x.shards {
			where, half := map[string]string{}, len(tensors)/2
			for i, x := range tensors {
				where[x.Name] = fmt.Sprintf("model-%d.safetensors", min(1, i/half))
			}
			index, err := json.Marshal(map[string]any{"weight_map": where})
			must(err)
			files = map[string][]byte{
				"model.safetensors.index.json": index,
				"model-0.safetensors":          safetensorsbuild.File(tensors[:half]...), "model-1.safetensors": safetensorsbuild.File(tensors[half:]...),
			}
		}
		if x.newer {
			rope := config["rope_scaling"].(map[string]any)
			rope["rope_theta"], config["rope_parameters"] = config["rope_theta"], rope
			delete(config, "rope_scaling")
			delete(config, "rope_theta")
		}
		text, err := json.Marshal(config)
		must(err)
		files["config.json"] = text
		dir := t.TempDir()
		for name, data := range files {
			must(os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
		opened, closer, err := OpenHuggingFace(dir)
		if err != nil {
			t.Errorf("%+v: %v", x, err)
			continue
		}
		if got := run(opened); !slices.Equal(got, want) {
			t.Errorf("%+v: logits are others", x)
		}
		must(closer.Close())
	}
}

func TestHuggingFaceGPTOSSErrors(t *testing.T) {
	all, tensors := gptOSSOf(randomGPTOSS(), "MXFP4")
	_, plain := gptOSSOf(randomGPTOSS(), "BF16")
	drop := func(name string) func(map[string]any, []tensor) []tensor {
		return func(_ map[string]any, x []tensor) []tensor {
			return slices.DeleteFunc(x, func(x tensor) bool { return strings.HasSuffix(x.Name, name) })
		}
	}
	shape := func(name, dtype string, shape ...int) func(map[string]any, []tensor) []tensor {
		return func(_ map[string]any, x []tensor) []tensor {
			for i := range x {
				if strings.HasSuffix(x[i].Name, "0.mlp.experts."+name) {
					x[i].Type, x[i].Shape = dtype, shape
				}
			}
			return x
		}
	}
	rename := func(name, other string) func(map[string]any, []tensor) []tensor {
		return func(_ map[string]any, x []tensor) []tensor {
			for i := range x {
				if before, ok := strings.CutSuffix(x[i].Name, "0.mlp.experts."+name); ok {
					x[i].Name = before + "0.mlp.experts." + other
				}
			}
			return x
		}
	}
	extra := func(name string) func(map[string]any, []tensor) []tensor {
		return func(_ map[string]any, x []tensor) []tensor {
			return append([]tensor{{Name: "model.layers.0.mlp.experts." + name, Type: "U8", Shape: []int{1}, Data: []byte{1}}}, x...)
		}
	}
	set := func(key string, v any, without ...string) func(map[string]any, []tensor) []tensor {
		return func(c map[string]any, x []tensor) []tensor {
			for _, key := range without {
				delete(c, key)
			}
			c[key] = v
			return x
		}
	}
	type change struct {
		want   string
		change func(config map[string]any, x []tensor) []tensor
	}
	check := func(tensors []tensor, c change) {
		t.Helper()
		config := maps.Clone(all)
		data := safetensorsbuild.File(c.change(config, slices.Clone(tensors))...)
		if _, err := fromHuggingFace(config, data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	for _, c := range []change{
		{`no tensor "model.layers.0.mlp.experts.gate_up_proj_scales"`, drop("0.mlp.experts.gate_up_proj_scales")},
		{`no tensor "model.layers.1.mlp.experts.down_proj_blocks"`, drop("1.mlp.experts.down_proj_blocks")},
		{`no tensor "model.layers.1.mlp.experts.gate_up_proj_bias"`, drop("1.mlp.experts.gate_up_proj_bias")},
		{`no tensor "model.layers.1.self_attn.sinks"`, drop("1.self_attn.sinks")},
		{`down_proj_blocks" is I8 [5 64 3 16] and its scales are U8 [5 64 3]`, shape("down_proj_blocks", "I8", 5, 64, 3, 16)},
		{`scales are U8 [5 3 64]`, shape("down_proj_scales", "U8", 5, 3, 64)},
		{`down_proj_blocks" is U8 [5 64 6 8]`, shape("down_proj_blocks", "U8", 5, 64, 6, 8)},
		{`gate_up_proj_blocks" is U8 [30720]`, shape("gate_up_proj_blocks", "U8", 5*192*2*16)},
		{`gate_up_proj_bias" is [320 3], and`, shape("gate_up_proj_bias", "F32", 320, 3)},
		{`down_proj_bias" is [64 5], and`, shape("down_proj_bias", "F32", 64, 5)},
		{`gate_up_proj_blocks", which is needed beside "model.layers.0.mlp.experts.gate_up_proj_bias"`, rename("gate_up_proj_blocks", "gate_up_proj_others")},
		{`has tensor "model.layers.0.mlp.experts.gate_proj.weight" and experts`, extra("gate_proj.weight")},
		{`tensor "model.layers.0.mlp.experts.down_proj.weight" is not supported`, extra("down_proj.weight")},
		{`layer_types has 3 layers, num_hidden_layers is 2`, set("layer_types", []string{"sliding_attention", "full_attention", "sliding_attention"})},
		{`no rope_theta`, set("rope_parameters", map[string]any{"full_attention": map[string]any{"rope_theta": 5000}}, "rope_theta")},
		{`layer_types[1] is "sliding_attention", full_attention is`, set("layer_types", []string{"sliding_attention", "sliding_attention"})},
		{`is [5, 64], [4, 64] is needed`, set("num_local_experts", 4)},
		{`0 experts`, set("num_local_experts", 0)},
		{`experts multiply is -1`, set("swiglu_limit", -1)},
		{`swiglu_alpha is 1.5`, set("swiglu_alpha", 1.5)},
	} {
		check(tensors, c)
	}
	for _, c := range []change{
		{`no tensor "model.layers.0.mlp.experts.gate_up_proj_bias", which is needed beside`, drop("0.mlp.experts.gate_up_proj_bias")},
		{`no tensor "model.layers.1.mlp.experts.down_proj_blocks", which is needed beside "model.layers.1.mlp.experts.down_proj_bias"`, drop("1.mlp.experts.down_proj")},
		{`gate_up_proj" is [320 192], [experts, in, out] with a multiple of 2`, shape("gate_up_proj", "BF16", 320, 192)},
		{`gate_up_proj" is [5 192 64 1], [experts`, shape("gate_up_proj", "BF16", 5, 192, 64, 1)},
		{`gate_up_proj" is [4 80 192]: a bias`, shape("gate_up_proj", "BF16", 4, 80, 192)},
		{`gate_up_proj" is [5 4096 3], [experts`, shape("gate_up_proj", "BF16", 5, 4096, 3)},
		{`gate_up_proj_bias" is [5 192], and "model.layers.0.mlp.experts.gate_up_proj" is [10 64 96]`, shape("gate_up_proj", "BF16", 10, 64, 96)},
		{`down_proj" is of type I16`, shape("down_proj", "I16", 5, 96, 64)},
		{`down_proj" is [5 64 96]: a bias`, shape("down_proj", "BF16", 5, 64, 96)},
		{`has tensors "model.layers.0.mlp.experts.down_proj" and "model.layers.0.mlp.experts.down_proj_blocks"`, extra("down_proj_blocks")},
	} {
		check(plain, c)
	}
}
