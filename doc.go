// Package qkv computes scaled dot-product attention on CPUs,
//
//	Out = softmax(scale * Q Kᵀ + mask) V
//
// and the projections that make Q, K, V and the layer's output, in Go and Go assembly,
// without cgo. It never holds the matrix of scores: the keys go by in blocks under an
// online softmax (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022), with a
// block of queries along the vector lanes.
//
// # Use
//
// Describe tensors that you own with a [View]: [BHSD] and [BSHD] for contiguous ones,
// [PackedQKV] for the output of a fused projection, [THD] for a ragged batch, [Strided] for
// anything else.
// Make an [Engine] with [New], once, and [Engine.Run] a [Call] on it as often
// as you like, from any number of goroutines. [Run] does both with the defaults.
// [Engine.Explain] says what a call runs and why.
//
// [Engine.RunContext] and the other methods of that form end early when a context is done, within
// some milliseconds where a kernel set has vectors, and a tenth of a second on generic. What a
// call that has ended early leaves in its outputs stands at each. [Step.Write] and packing
// weights, which copy memory, are not ended early, nor is [NewRotary]. They take tenths
// of a second for ten million numbers or more.
//
// A method on an Engine, a Layer or another object of this package that is nil or was not made by
// its constructor returns an [*ArgError]. One that returns no error returns 0, or panics and says
// so.
//
// # Layers
//
// A [Layer] is all of it, weights in: [Engine.NewLayer] takes them as a model file has them,
// and [Layer.Forward] computes Y from X. Its parts can be had by themselves: a [Projection]
// computes queries, keys and values in one product and writes them where attention reads
// them, or into a cache, normalised and rotated. [NewRotary] makes the tables of a rotary position
// embedding from what a model's config.json says, and [Engine.Rotate] rotates by them.
//
// [Engine.MatMul] computes a [Product], or several of one X in a call: of weights that [Engine.Pack] packed
// once, that [Engine.MapPacked] found packed in a file, or that are read where they are. A Product may apply
// an [Activation], and multiply by a second product (SwiGLU, GeGLU). [Engine.ExplainMatMul] says how
// a product will run. A [WeightMatrix] takes the place of float32 weights in all of them, and of the
// table of [Engine.Lookup]: weights in the types of model files, quantised or not.
//
// The rest of a model: [Engine.Lookup] reads an embedding, [Engine.RMSNorm] and [Engine.LayerNorm]
// normalise between layers, [Engine.ArgMax] and [Engine.TopK] find the greatest logits, and
// [Engine.Parallel] lends the workers to loops of the caller's. examples/llama is an engine of these parts.
//
// # Masks and scores
//
// All of it is fused, and all of it composes. A [Mask] has causal masks, sliding windows,
// prefixes, segments, block masks and boolean tensors; a [Call] has the lengths of each
// sequence, ragged batches, biases, ALiBi, a softcap, sinks and callbacks on blocks of
// scores and probabilities. What has structure costs no memory to read, and blocks of
// keys without a kept pair are not computed. [Engine.Merge] joins attentions over parts of the
// keys.
//
// # Caches and decoding
//
// Keys and values may be float32, [Float16], [BFloat16], [Float8E4M3], [Float8E5M2], int8 with a scale
// for each row, or ggml's blocks [BlockQ8_0], [BlockQ4_0] and [BlockQ4_1], and are computed with in
// float32, unless [Call].Precision is another numerical class. [QuantizeInt8], [QuantizeQ8_0],
// [QuantizeQ4_0], [QuantizeQ4_1], [ToFloat16], [ToBFloat16], [ToFloat8E4M3] and [ToFloat8E5M2] make them.
//
// A [Cache] keeps those of all layers of a model, for any number of sequences, in pages that forked
// sequences share. A layer with a window keeps the window in a ring buffer. A [Step] is one pass of
// the model over new tokens of some sequences, each any number of them: Begin takes pages and notes
// once what all layers need, [Step.Write] stores keys and values of a layer in its types,
// [Step.Attend] attends them, and Commit or Rollback ends the step for all layers at once. Masks are
// Causal or not; where the queries stand among the keys is the step's to know. An engine with a
// cache of its own sets Call.Tables, or LensKV, itself.
//
// Where few queries share a KV head, the kernels that run read each key and value once, in its type,
// and a long sequence is divided among the workers.
//
// # Numerical contract
//
//   - Same bits, within a numerical class ([Precision]): a result depends on its row's query,
//     keys, values, mask and what changes its scores only. Every kernel set, number of workers,
//     batch, chunking of the queries and place of the keys gives it bit for bit, prefill as
//     decoding, and an element of a product comes from its row and column alone. (A NaN is a NaN;
//     its payload may differ.)
//   - The error against exact arithmetic, in class Float32, is that of float32: products are fused,
//     sums over keys go in blocks of 128, chunks of 1,024 and a tree of chunks, those of
//     matrix products in parts of 256, exp2 is within 1 ulp. Keys and values are the numbers that their type
//     holds.
//   - A row without a key is zeros, and its log-sum-exp is -Inf, or that of its sink.
//   - What is masked never reaches a row, NaN and Inf included. An unmasked NaN
//     always does, unless a callback replaces it.
//   - Scores up to the largest float32 do not overflow.
//
// docs/numerics.md has the details.
//
// # Kernel sets
//
// The inner loops come in several sets, listed by [Kernels]: avx512, avx2 and sse2 on
// amd64, and avx512amx, avx512bf16, avx512vnni and avxvnni with instructions for products of bfloat16 numbers or
// integers, neon on arm64, and neondot with SDOT, and generic (Go) everywhere. The best that the machine can run is used;
// avx512amx, which has been verified in an emulator and not timed on hardware, only where it is named.
// The environment variable QKV_KERNEL or [Config].Kernel forces one; the build tag
// purego leaves only generic.
package qkv
