// Package vectors has small problems and their results in float64. It shares nothing with the
// library but the order in which inputs are drawn, so that its vectors, in testdata/vectors,
// tell whether the library computes what it says.
//
// A file is a JSON list of cases. A case has a name, the seed of its inputs, a problem of one
// kind, and results of at least nine digits in the order of their tensors, contiguous with
// the last axis running fastest. A log-sum-exp of -Inf is null. Inputs are drawn one after
// the other from [Draw], in the order that a kind says.
package vectors

import "encoding/json"

// A Case is a problem and its results.
type Case struct {
	Name string `json:"name"`
	Seed uint64 `json:"seed"`

	Attention *Attention `json:"attention,omitempty"`
	Product   *Product   `json:"product,omitempty"`
	Rotary    *Rotary    `json:"rotary,omitempty"`
	Layer     *Layer     `json:"layer,omitempty"`

	Out []float64  `json:"out"`
	LSE []*float64 `json:"lse,omitempty"`
}

// Attention draws Q [Batch, Heads, Queries, DimQK], K [Batch, KVHeads, Keys, DimQK] and
// V [Batch, KVHeads, Keys, DimV], and then those of Bias, Keep, Blocks, ALiBi and Sinks that
// it has. The results are [Batch, Heads, Queries, DimV].
type Attention struct {
	Batch   int `json:"batch"`
	Heads   int `json:"heads"`
	KVHeads int `json:"kv_heads"`
	Queries int `json:"queries"`
	Keys    int `json:"keys"`
	DimQK   int `json:"dim_qk"`
	DimV    int `json:"dim_v"`

	Scale   float64 `json:"scale,omitempty"` // 0 is 1/sqrt(DimQK)
	Softcap float64 `json:"softcap,omitempty"`

	Causal bool    `json:"causal,omitempty"`
	Align  string  `json:"align,omitempty"` // "" for top-left, "bottom-right" or "offset"
	Offset int     `json:"offset,omitempty"`
	Window *[2]int `json:"window,omitempty"` // left and right, -1 without a bound
	Prefix int     `json:"prefix,omitempty"`
	First  int     `json:"first,omitempty"`

	LensQ  []int `json:"lens_q,omitempty"`
	LensKV []int `json:"lens_kv,omitempty"`

	// CuLensQ and CuLensKV make the batch, of 1, ragged.
	CuLensQ  []int `json:"cu_lens_q,omitempty"`
	CuLensKV []int `json:"cu_lens_kv,omitempty"`

	// Segments is the number of runs that queries and keys are cut into: token i of n is of
	// segment i*Segments/n.
	Segments int `json:"segments,omitempty"`

	Bias  bool `json:"bias,omitempty"`  // [Heads, Queries, Keys]
	Keep  bool `json:"keep,omitempty"`  // [Queries, Keys], kept where it is above -0.5
	Block int  `json:"block,omitempty"` // squares of Block, kept where one number each is above -0.3
	ALiBi bool `json:"alibi,omitempty"` // [Heads], magnitudes
	Sinks bool `json:"sinks,omitempty"` // [Heads]

	Cache *Cache `json:"cache,omitempty"`
}

// A Cache keeps keys and values that come in pieces of Step tokens, rounded to their types;
// the queries are those of the last tokens.
type Cache struct {
	KeyType    string `json:"key_type"` // float32, Float16, BFloat16, int8 or BlockQ8_0
	ValueType  string `json:"value_type"`
	Step       int    `json:"step"`
	PageTokens int    `json:"page_tokens,omitempty"` // of a paged cache
	Ring       int    `json:"ring,omitempty"`        // capacity of a ring that keeps First and has Window
}

// A Product draws X [M, K], W [K, N], Bias [N] and Y [M, N] as far as it has them. The result
// is (Y + Bias) + X W.
type Product struct {
	M          int  `json:"m"`
	K          int  `json:"k"`
	N          int  `json:"n"`
	Bias       bool `json:"bias,omitempty"`
	Accumulate bool `json:"accumulate,omitempty"`
}

// A Rotary draws X [Seq, Heads, HeadDim], of which it rotates the first Dim elements of each
// head.
type Rotary struct {
	Heads        int             `json:"heads"`
	Seq          int             `json:"seq"`
	HeadDim      int             `json:"head_dim"`
	Dim          int             `json:"dim"`
	Interleaved  bool            `json:"interleaved,omitempty"`
	Base         float64         `json:"base"`
	MaxPositions int             `json:"max_positions"`
	Positions    []int           `json:"positions"`
	Scaling      json.RawMessage `json:"scaling,omitempty"` // rope_scaling of a config.json
}

// A Layer draws X [Seq, In], and the weights Wq, Wk, Wv [In, heads*Dim] and Wo [Heads*Dim, Out],
// each followed by its bias, and the norms of queries and keys [Dim] if it has them. Weights
// are halved. Attention is causal, and all of a head is rotated by angles of base 10000.
type Layer struct {
	Seq     int  `json:"seq"`
	In      int  `json:"in"`
	Out     int  `json:"out"`
	Heads   int  `json:"heads"`
	KVHeads int  `json:"kv_heads"`
	Dim     int  `json:"dim"`
	Norm    bool `json:"norm,omitempty"`
	Rotary  bool `json:"rotary,omitempty"`
}

// Draw returns numbers in [-1, 1), multiples of 2^-23, from SplitMix64 (Steele, Lea and Flood,
// 2014): the upper 24 bits of each output, as a signed integer.
func Draw(seed uint64) func() float64 {
	return func() float64 {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		return float64(int64(z)>>40) / (1 << 23)
	}
}

// Numbers returns the next n numbers of draw.
func Numbers(draw func() float64, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = draw()
	}
	return x
}
