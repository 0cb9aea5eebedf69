package bench

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// A Job is a work to run on a number of workers.
type Job struct {
	Work    Work
	Workers int // 0 means GOMAXPROCS
}

// A Preset is a named list of works.
type Preset struct {
	Name  string
	About string
	Works []Work

	// Workers lists the numbers of workers that each work runs on, 0 for
	// GOMAXPROCS.
	Workers []int

	// Unmasked has each shape compared with its unmasked one, see [Options].
	Unmasked bool

	// Limit, if not 0, is how long all of it may take: a run that would not fit is
	// left out.
	Limit time.Duration
}

// Jobs returns each work on each number of workers, or on one number only if
// workers is not 0.
func (p Preset) Jobs(workers int) []Job {
	counts := p.Workers
	if workers != 0 {
		counts = []int{workers}
	}
	var jobs []Job
	for _, w := range p.Works {
		first := len(jobs)
		for _, n := range counts {
			if n == 0 {
				n = runtime.GOMAXPROCS(0)
			}
			if j := (Job{Work: w, Workers: n}); !slices.Contains(jobs[first:], j) {
				jobs = append(jobs, j)
			}
		}
	}
	return jobs
}

// Presets lists the presets, the default first.
func Presets() []Preset {
	return []Preset{
		{
			Name:    "default",
			About:   "full and causal, short and long, and products, within 30 seconds",
			Workers: []int{1, 0},
			Limit:   27 * time.Second,
			Works: works(
				"h=12,sq=128,d=64",
				"h=12,sq=1024,d=64",
				"h=32,sq=512,d=128",
				"h=32,hkv=8,sq=512,d=128,mask=causal,layout=bshd",
				"h=8,sq=2048,d=128",
				"h=32,hkv=8,sq=2048,d=128,mask=causal",
				"m=1,n=4096,k=4096",
				"m=1,n=4096,k=4096,w=q4_k",
				"m=512,n=4096,k=4096",
			),
		},
		{
			Name:    "prefill",
			About:   "prompts of language models, and encoders",
			Workers: []int{1, 2},
			Works: works(
				"h=32,sq=2048,d=128",
				"h=32,sq=512,d=128",
				"h=32,hkv=8,sq=512,d=128,mask=causal",
				"h=32,hkv=8,sq=2048,d=128,mask=causal",
				"h=8,sq=8192,d=128,mask=causal",
				"h=12,sq=128,d=64",
				"h=12,sq=1024,d=64",
			),
		},
		{
			Name:    "lengths",
			About:   "sequences of 128 to 4,096 tokens, for a picture of rates over lengths",
			Workers: []int{1, 0},
			Works:   overLengths(128, 4096, "h=8,sq=%d,d=64", "h=8,sq=%d,d=64,mask=causal", "h=8,sq=%d,d=128", "h=8,sq=%d,d=128,mask=causal"),
		},
		{
			Name:    "dims",
			About:   "head dims other than 64 and 128",
			Workers: []int{1, 0},
			Works: works(
				"h=8,sq=2048,d=80",
				"h=8,sq=2048,d=96",
				"h=8,sq=2048,d=112",
				"h=8,sq=2048,d=256",
				"h=8,sq=2048,d=100",
				"h=8,sq=2048,d=192,dv=128",
			),
		},
		{
			Name:    "small",
			About:   "the latency of little work, and of single queries",
			Workers: []int{1, 0},
			Works: works(
				"h=1,sq=1,d=64",
				"h=12,sq=1,d=64",
				"h=1,sq=16,d=64",
				"h=12,sq=16,d=64",
				"h=12,sq=64,d=64",
				"h=32,hkv=8,sq=1,skv=512,d=128,mask=causal",
				"h=32,hkv=8,sq=1,skv=4096,d=128,mask=causal",
				"h=32,hkv=8,sq=8,skv=4096,d=128,mask=causal",
			),
		},
		{
			Name:     "masks",
			About:    "every kind of mask, and the shapes without",
			Workers:  []int{1, 0},
			Unmasked: true,
			Works: works(
				"h=8,sq=2048,d=128",
				"h=8,sq=8192,d=128",
				"h=8,sq=2048,d=128,mask=causal",
				"h=8,sq=8192,d=128,mask=causal,window=1023:0",
				"b=64,h=8,sq=2048,d=128,mask=causal,ragged=16",
				"b=8,h=8,sq=2048,d=128,padded=16",
				"h=8,sq=2048,d=128,mask=causal,prefix=512",
				"h=8,sq=8192,d=128,segments=8",
				"h=8,sq=8192,d=128,blocks=128:0.25",
				"h=8,sq=2048,d=128,keep=0.98",
			),
		},
		{
			Name:     "values",
			About:    "everything that changes scores, and the shape without",
			Workers:  []int{1, 0},
			Unmasked: true,
			Works: works(
				"h=8,sq=2048,d=128",
				"h=8,sq=2048,d=128,bias=head",
				"h=8,sq=2048,d=128,bias=shared",
				"h=8,sq=2048,d=128,bias=head16",
				"h=8,sq=2048,d=128,bias=shared16",
				"h=8,sq=2048,d=128,alibi=1",
				"h=8,sq=2048,d=128,softcap=50",
				"h=8,sq=2048,d=128,sinks=1",
			),
		},
		{
			// Each call reads the cache that the one before it read: a cache of the processor
			// that holds all of it does so from call to call. In an engine it holds less, as
			// weights and the caches of other layers pass through between two steps.
			Name:    "decode",
			About:   "few queries over a long cache, the same at every step, beside reading as much",
			Workers: []int{1, 0},
			Works: works(
				"h=32,hkv=8,sq=1,skv=8192,d=128",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=bfloat16",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q8_0",
				"h=32,sq=1,skv=8192,d=128",
				"h=32,hkv=8,sq=1,skv=1024,d=128",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=float16,page=16",
				"h=32,hkv=8,sq=8,skv=8192,d=128,mask=causal,kv=float16",
				"h=32,hkv=8,sq=1,skv=8192,d=128,mask=causal,window=1023:0,prefix=4,kv=float16",
				"h=8,hkv=1,sq=1,skv=8192,d=128,kv=float16",
				"h=32,hkv=8,sq=1,skv=8192,d=64,kv=float16",
			),
		},
		{
			Name:    "batch",
			About:   "the steps of a server: caches of any length, with prompts among them, and in pages",
			Workers: []int{1, 0},
			Works: works(
				"b=64,h=32,hkv=8,sq=1,skv=4000,d=128,kvlens=100,kv=float16",
				"b=64,h=32,hkv=8,sq=1,skv=4000,d=128,kvlens=100,kv=float16,page=16",
				"b=64,h=32,hkv=8,sq=512,skv=2560,d=128,mask=causal,kvlens=100,prefill=4,kv=float16",
				"b=64,h=32,hkv=8,sq=512,skv=2560,d=128,mask=causal,kvlens=100,prefill=4,kv=float16,page=16",
			),
		},
		{
			Name:    "layouts",
			About:   "queries, keys and values as engines have them in memory, in pages and in caches",
			Workers: []int{1},
			Works: slices.Concat(
				inLayouts("h=8,sq=2048,d=128", "layout=bhsd", "layout=bshd", "layout=bshd+16", "layout=qkv", "layout=bhds", "ragged=2048",
					"page=1", "page=16", "page=64", "page=256", "cache=slots", "cache=ring", "kv=float16", "kv=float16,layout=bshd"),
				inLayouts("h=32,hkv=8,sq=2048,d=128", "layout=bhsd", "layout=bshd", "layout=qkv", "page=16", "kv=float16", "kv=float16,layout=bshd"),
				inLayouts("h=12,sq=1024,d=64", "layout=bhsd", "layout=bshd", "layout=qkv", "page=16", "kv=float16", "kv=float16,layout=bshd"),
				inLayouts("h=32,hkv=8,sq=1,skv=8192,d=128", "layout=bhsd", "layout=bshd", "page=1", "page=16", "page=16,layout=bshd", "page=64", "page=256", "cache=slots", "cache=ring"),
			),
		},
		{
			// Rows that lie 4,096 bytes apart share a set of the first level of caches, and each is
			// in a page of its own; 64 bytes more or less, and they do not.
			Name:    "strides",
			About:   "rows of keys and values 4,096 bytes apart and nearly so, and head dims, by layout",
			Workers: []int{1},
			Works: slices.Concat(
				inLayouts("h=8,sq=2048,d=128", "layout=bhsd", "layout=bhsd+880", "layout=bhsd+896", "layout=bhsd+912"),
				inLayouts("h=12,sq=1024,d=64", "layout=bhsd", "layout=bhsd+944", "layout=bhsd+960", "layout=bhsd+976"),
				inLayouts("h=8,sq=2048,d=128,kv=float16", "layout=bhsd", "layout=bhsd+1888", "layout=bhsd+1920", "layout=bhsd+1952"),
				inLayouts("h=32,hkv=8,sq=1,skv=8192,d=128", "layout=bhsd", "layout=bhsd+880", "layout=bhsd+896", "layout=bhsd+912"),
				inLayouts("h=8,sq=1024,d=40", "layout=bhsd", "layout=bshd"),
				inLayouts("h=8,sq=1024,d=64", "layout=bhsd", "layout=bshd"),
				inLayouts("h=8,sq=1024,d=80", "layout=bhsd", "layout=bshd"),
				inLayouts("h=8,sq=1024,d=96", "layout=bhsd", "layout=bshd"),
				inLayouts("h=8,sq=1024,d=128", "layout=bhsd", "layout=bshd"),
				inLayouts("h=8,sq=1024,d=256", "layout=bhsd", "layout=bshd"),
			),
		},
		{
			Name:    "linear",
			About:   "matrix products, projections and appending to caches",
			Workers: []int{1, 0},
			Works: works(
				"m=512,n=4096,k=4096",
				"m=128,n=768,k=768",
				"m=2048,n=1024,k=1024",
				"m=1,n=4096,k=4096",
				"m=8,n=4096,k=4096",
				"project=512,in=4096,h=32,hkv=8,d=128",
				"project=1,in=4096,h=32,hkv=8,d=128",
				"append=512,hkv=8,d=128",
				"append=512,hkv=8,d=128,kv=float16",
				"append=512,hkv=8,d=128,kv=int8",
				"append=512,hkv=8,d=128,kv=q8_0,page=16",
			),
		},
		{
			Name:    "weights",
			About:   "matrix products by weights in the types of model files, in place; takes minutes",
			Workers: []int{1, 0},
			Works: slices.Concat(
				byWeights("n=4096,k=4096", []int{1}, weightNames(func(kernel.Weight) bool { return true })...),
				byWeights("n=4096,k=4096", []int{2, 4, 8, 16, 64, 512}, "float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_k", "q6_k"),
			),
		},
		{
			Name:    "packed",
			About:   "matrix products by weights packed in the types of model files; takes minutes",
			Workers: []int{1, 0},
			Works: slices.Concat(
				byWeights("n=4096,k=4096,packed=1", []int{1}, weightNames(keepsType)...),
				byWeights("n=1024,k=1024,packed=1", []int{1}, "float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_k"),
				byWeights("n=14336,k=4096,packed=1", []int{1}, "float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_k"),
				byWeights("n=4096,k=4096,packed=1", []int{2, 4, 8, 16, 64, 512}, "float16", "q8_0", "q4_k"),
			),
		},
		{
			Name:    "int8",
			About:   "products and attention of classes Int8 and BFloat16, and both of class Float32",
			Workers: []int{1, 0},
			Works: works(
				"m=512,n=4096,k=4096",
				"m=512,n=4096,k=4096,w=q8_0,packed=1,class=int8",
				"m=512,n=4096,k=4096,w=q4_0,packed=1,class=int8",
				"m=512,n=4096,k=4096,w=q4_k,packed=1,class=int8",
				"m=512,n=4096,k=4096,w=q8_0,class=int8",
				"m=1,n=4096,k=4096",
				"m=1,n=4096,k=4096,w=q8_0,packed=1,class=int8",
				"m=1,n=4096,k=4096,w=q4_0,packed=1,class=int8",
				"m=1,n=4096,k=4096,w=q4_k,packed=1,class=int8",
				"m=512,n=4096,k=4096,w=bfloat16,packed=1,class=bfloat16",
				"m=1,n=4096,k=4096,w=bfloat16,packed=1,class=bfloat16",
				"h=32,sq=2048,d=128",
				"h=32,sq=2048,d=128,class=bfloat16",
				"h=32,sq=2048,d=128,kv=int8",
				"h=32,sq=2048,d=128,kv=int8,class=int8",
				"h=32,sq=2048,d=128,kv=int8,class=int8,values=bfloat16",
				"h=32,sq=2048,d=128,kv=int8,class=int8,values=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8,class=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=int8,class=int8,values=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q8_0,class=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q8_0,class=int8,values=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q4_0,class=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=q4_0,class=int8,values=int8",
				"h=32,hkv=8,sq=1,skv=8192,d=128,kv=bfloat16,class=bfloat16",
			),
		},
	}
}

// inLayouts returns works that differ in their last keys.
func inLayouts(text string, ends ...string) []Work {
	var texts []string
	for _, e := range ends {
		texts = append(texts, text+","+e)
	}
	return works(texts...)
}

// weightNames returns the names of the types that keep says.
func weightNames(keep func(w kernel.Weight) bool) []string {
	var names []string
	for _, w := range kernel.Weights() {
		if keep(w) {
			names = append(names, Product{Weights: qkv.WeightType(w)}.weightsName())
		}
	}
	return names
}

// keepsType reports whether a packed copy of weights of a type has that type.
func keepsType(w kernel.Weight) bool { return w == kernel.WeightFloat32 || w.Strip().SubBlock > 0 }

// byWeights returns products of so many rows by weights of each type.
func byWeights(text string, rows []int, types ...string) []Work {
	var texts []string
	for _, typ := range types {
		for _, m := range rows {
			texts = append(texts, fmt.Sprintf("m=%d,%s,w=%s", m, text, typ))
		}
	}
	return works(texts...)
}

// overLengths returns works of lengths from least to most, each twice the one before.
func overLengths(least, most int, formats ...string) []Work {
	var texts []string
	for _, f := range formats {
		for n := least; n <= most; n *= 2 {
			texts = append(texts, fmt.Sprintf(f, n))
		}
	}
	return works(texts...)
}

// FindPreset returns the preset of that name. The error lists all there are.
func FindPreset(name string) (Preset, error) {
	var names []string
	for _, p := range Presets() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Preset{}, fmt.Errorf("unknown preset %q, want %s", name, strings.Join(names, ", "))
}
