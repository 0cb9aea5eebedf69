package vectors

import (
	"encoding/json"
	"fmt"
)

// Files lists the cases of each file, without results.
func Files() map[string][]Case {
	files := map[string][]Case{"attention": attentions(), "cache": caches(), "product": products(), "rotary": rotaries(), "layer": layers()}
	for _, cases := range files {
		for i := range cases {
			cases[i].Seed = uint64(i + 1)
		}
	}
	return files
}

func attentions() (cases []Case) {
	add := func(name string, change func(*Attention)) {
		a := &Attention{Batch: 2, Heads: 4, KVHeads: 2, Queries: 7, Keys: 19, DimQK: 8, DimV: 5}
		change(a)
		cases = append(cases, Case{Name: name, Attention: a})
	}
	add("all", func(a *Attention) {})
	add("multi-head", func(a *Attention) { a.KVHeads = 4 })
	add("multi-query", func(a *Attention) { a.KVHeads = 1 })
	add("one of everything", func(a *Attention) {
		*a = Attention{Batch: 1, Heads: 1, KVHeads: 1, Queries: 1, Keys: 1, DimQK: 1, DimV: 1}
	})
	add("negative scale", func(a *Attention) { a.Scale = -3 })
	add("large scores", func(a *Attention) { a.Scale = 40 })
	add("two blocks of keys", func(a *Attention) { a.Batch, a.Queries, a.Keys = 1, 5, 200 })
	add("two chunks of keys", func(a *Attention) { a.Batch, a.Heads, a.KVHeads, a.Queries, a.Keys = 1, 2, 1, 3, 1300 })
	add("long heads", func(a *Attention) { a.Batch, a.Heads, a.Queries, a.DimQK, a.DimV = 1, 2, 3, 300, 40 })
	add("causal", func(a *Attention) { a.Causal, a.Queries, a.Keys = true, 13, 13 })
	add("causal, more keys", func(a *Attention) { a.Causal = true })
	add("causal, bottom right", func(a *Attention) { a.Causal, a.Align = true, "bottom-right" })
	add("causal, bottom right, fewer keys", func(a *Attention) { a.Causal, a.Align, a.Keys = true, "bottom-right", 4 })
	add("causal, at an offset", func(a *Attention) { a.Causal, a.Align, a.Offset = true, "offset", 3 })
	add("causal, at a negative offset", func(a *Attention) { a.Causal, a.Align, a.Offset = true, "offset", -3 })
	add("window", func(a *Attention) { a.Window = &[2]int{2, 1} })
	add("window, left", func(a *Attention) { a.Window, a.Align = &[2]int{3, -1}, "bottom-right" })
	add("window, right", func(a *Attention) { a.Window = &[2]int{-1, 4} })
	add("causal window", func(a *Attention) { a.Causal, a.Window, a.Align = true, &[2]int{4, 0}, "bottom-right" })
	add("causal window and first keys", func(a *Attention) {
		a.Causal, a.Window, a.Align, a.First = true, &[2]int{4, 0}, "bottom-right", 2
	})
	add("prefix", func(a *Attention) { a.Causal, a.Prefix = true, 5 })
	add("lengths", func(a *Attention) { a.LensQ, a.LensKV = []int{7, 3}, []int{11, 0} })
	add("lengths, causal, bottom right", func(a *Attention) {
		a.LensQ, a.LensKV, a.Causal, a.Align = []int{6, 3}, []int{11, 19}, true, "bottom-right"
	})
	add("ragged", func(a *Attention) {
		a.Batch, a.CuLensQ, a.CuLensKV, a.Causal, a.Align = 1, []int{0, 2, 2, 7}, []int{0, 9, 10, 19}, true, "bottom-right"
	})
	add("segments", func(a *Attention) { a.Segments = 3 })
	add("boolean mask", func(a *Attention) { a.Keep = true })
	add("blocks", func(a *Attention) { a.Block = 4 })
	add("bias", func(a *Attention) { a.Bias = true })
	add("ALiBi", func(a *Attention) { a.ALiBi, a.Causal, a.Align = true, true, "bottom-right" })
	add("ALiBi, both sides", func(a *Attention) { a.ALiBi = true })
	add("softcap", func(a *Attention) { a.Softcap, a.Scale = 1.5, 2 })
	add("sinks", func(a *Attention) { a.Sinks = true })
	add("sinks beside no key", func(a *Attention) { a.Sinks, a.Causal, a.Align, a.Offset = true, true, "offset", -2 })
	add("all of it", func(a *Attention) {
		a.Softcap, a.ALiBi, a.Bias, a.Sinks, a.Keep, a.Causal, a.Align = 2, true, true, true, true, true, "bottom-right"
		a.Window, a.First, a.Block = &[2]int{9, 0}, 1, 8
	})
	return cases
}

func caches() (cases []Case) {
	add := func(name string, queries int, change func(*Attention)) {
		a := &Attention{Batch: 1, Heads: 2, KVHeads: 1, Queries: queries, Keys: 45, DimQK: 32, DimV: 32, Causal: true, Align: "bottom-right"}
		a.Cache = &Cache{KeyType: "float32", ValueType: "float32", Step: 7}
		change(a)
		cases = append(cases, Case{Name: name, Attention: a})
	}
	types := []string{"float32", "Float16", "BFloat16", "int8", "BlockQ8_0"}
	for i, kind := range types {
		for _, queries := range []int{1, 20} {
			add(fmt.Sprintf("%s, %s, %d queries", kind, types[(i+2)%5], queries), queries, func(a *Attention) {
				a.Cache.KeyType, a.Cache.ValueType = kind, types[(i+2)%5]
			})
			add(fmt.Sprintf("pages, %s, %s, %d queries", kind, types[(i+1)%5], queries), queries, func(a *Attention) {
				a.Cache.KeyType, a.Cache.ValueType, a.Cache.PageTokens = kind, types[(i+1)%5], 4
			})
		}
	}
	add("ring", 1, func(a *Attention) { a.Cache.Ring, a.Window = 16, &[2]int{8, 0} })
	add("ring, first keys", 3, func(a *Attention) { a.Cache.Ring, a.Window, a.First = 18, &[2]int{8, 0}, 2 })
	add("ring, int8", 1, func(a *Attention) {
		a.Cache.Ring, a.Window, a.Cache.KeyType, a.Cache.ValueType = 16, &[2]int{8, 0}, "int8", "Float16"
	})
	return cases
}

func products() (cases []Case) {
	for _, p := range []Product{
		{M: 1, K: 1, N: 1}, {M: 1, K: 40, N: 33, Bias: true}, {M: 9, K: 17, N: 21}, {M: 5, K: 600, N: 18, Bias: true, Accumulate: true},
		{M: 40, K: 3, N: 5, Accumulate: true},
	} {
		cases = append(cases, Case{Name: fmt.Sprintf("%d x %d x %d", p.M, p.K, p.N), Product: &p})
	}
	return cases
}

func rotaries() (cases []Case) {
	add := func(name string, change func(*Rotary)) {
		r := &Rotary{Heads: 2, Seq: 4, HeadDim: 16, Dim: 16, Base: 10000, MaxPositions: 4096, Positions: []int{0, 1, 77, 4095}}
		change(r)
		cases = append(cases, Case{Name: name, Rotary: r})
	}
	add("halves", func(r *Rotary) {})
	add("interleaved", func(r *Rotary) { r.Interleaved = true })
	add("part of a head", func(r *Rotary) { r.Dim = 6 })
	add("part of a head, interleaved", func(r *Rotary) { r.Dim, r.Interleaved = 6, true })
	add("base", func(r *Rotary) { r.Base = 500000 })
	for _, scaling := range []string{
		`{"rope_type": "default"}`,
		`{"rope_type": "linear", "factor": 4}`,
		`{"rope_type": "ntk", "factor": 4}`,
		`{"rope_type": "dynamic", "factor": 2, "original_max_position_embeddings": 1024}`,
		`{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 512}`,
		`{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 512}`,
		`{"rope_type": "longrope", "factor": 8, "original_max_position_embeddings": 512, "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [1, 1.5, 2, 3, 4, 6, 8, 8]}`,
	} {
		add(scaling, func(r *Rotary) { r.Scaling = json.RawMessage(scaling) })
	}
	return cases
}

func layers() (cases []Case) {
	for _, l := range []Layer{
		{Seq: 6, In: 12, Out: 10, Heads: 4, KVHeads: 2, Dim: 8},
		{Seq: 6, In: 12, Out: 10, Heads: 4, KVHeads: 2, Dim: 8, Rotary: true},
		{Seq: 6, In: 12, Out: 10, Heads: 4, KVHeads: 1, Dim: 8, Rotary: true, Norm: true},
		{Seq: 20, In: 33, Out: 7, Heads: 3, KVHeads: 3, Dim: 16, Rotary: true},
	} {
		cases = append(cases, Case{Name: fmt.Sprintf("%d tokens, %d heads over %d, rotary %v, norm %v", l.Seq, l.Heads, l.KVHeads, l.Rotary, l.Norm), Layer: &l})
	}
	return cases
}
