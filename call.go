package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A Call is the operands of one attention:
//
//	Out = softmax(Scale * Q Kᵀ + mask) V
//
// for each batch and each of the heads of Q. K and V may have fewer heads, in a
// number that divides Q's: head h then reads KV head h / (heads / KV heads)
// (grouped-query attention; Ainslie et al., 2023). The head dim of Q and K may differ
// from that of V and Out. Any of the lengths batch, heads and seq may be 0.
//
// A score goes through these steps, each of which is left out where its field has the
// zero value:
//
//	s = Scale * q·k
//	s = Softcap * tanh(s/Softcap)
//	s = s - ALiBi[head] * |position of q - position of k|
//	s = s + Bias
//	s = ScoreMod(s)
//	s = -Inf where Mask does not keep the pair
//
// A query without any key has an output of zeros, and a log-sum-exp of -Inf or that of its
// sink. Keys and values that a query does not attend never reach its output, not even if
// they are NaN; a NaN that it does attend always does, unless ScoreMod replaces it.
//
// None of the slices may change until Run returns, other than those that it writes.
type Call struct {
	Q   View // [batch, heads, seqQ, dimQK], float32
	K   View // [batch, kvHeads, seqKV, dimQK]
	V   View // [batch, kvHeads, seqKV, dimV]
	Out View // [batch, heads, seqQ, dimV], float32, written; it shares no element with what is read, but may be Q

	// K and V may be of float32, [Float16], [BFloat16], int8 and [BlockQ8_0], each of its own
	// type. The result is, to the bit, that of the same values in float32.
	//
	// KScale and VScale [batch, kvHeads, seqKV, 1], float32, go with int8, and have the scale
	// of each row: a value is its scale times the integer, rounded to float32.
	KScale, VScale View

	// LSE, if not nil, receives for each row the natural logarithm of the sum of
	// exponentials of its scores, and of its sink: contiguous [batch, heads, seqQ].
	LSE []float32

	// LensQ and LensKV [batch], if not nil, are how many of the queries and keys of each
	// sequence count; what follows them is padding. Outputs of padding are zeros, and
	// their log-sum-exp is -Inf.
	LensQ, LensKV []int

	// CuLensQ and CuLensKV, if not nil, make the batch ragged: Q, K, V and Out have batch
	// 1 (see [THD]) and hold the sequences one behind the other. Sequence i has the tokens
	// from CuLensQ[i] to before CuLensQ[i+1] of Q and Out, and those of K and V by
	// CuLensKV: cumulative lengths, as FlashAttention's cu_seqlens. Tokens of Out
	// before the first and from the last on are not written. LSE is [heads, tokens]. With
	// CuLensQ alone, K and V have a sequence each on their batch axis, or Tables.
	CuLensQ, CuLensKV []int

	// Tables, if not nil, has the pages of each sequence. K and V are then pools of pages,
	// [pages, kvHeads, page tokens, dim], and so are their scales: key j of sequence i is
	// token j mod n of page Tables[i][j/n] of n tokens, and LensKV says how many keys it
	// has (Kwon et al., PagedAttention, 2023). A page may be of several sequences. A
	// contiguous cache [slots, kvHeads, capacity, dim] is a pool whose sequences have a
	// page each. Q has a sequence for each table, or CuLensQ.
	//
	// The longest of LensKV is then the number of keys that block masks, Mask.Keep, Bias
	// and Scores go by, and Mask.SegmentsKV is [sequences, longest], with CuLensQ too.
	Tables [][]int32

	// Ring has the keys of a sequence with Tables go round: those from key Mask.First on, or
	// Mask.Prefix, take the rest of its pages in turn, and again from there, so that key j
	// lies where key j-r did, of r tokens. LensKV counts all keys from the beginning; those
	// that were overwritten are not attended, by earlier queries either. Before the mask,
	// Scores has for such a key the score of the one in its place. There is no
	// Mask.Prefixes then.
	Ring bool

	// Lost [sequences], if not nil, says of rings that were longer and went back what LensKV
	// does not: the keys of sequence i before Lost[i], but for the first ones that stay, were
	// overwritten. Of a ring that has had n keys, that is n-r.
	Lost []int

	// Scale multiplies the scores; 0 means 1/sqrt(dimQK). It may be negative. The least
	// magnitude is 2^-125, as of a Softcap.
	Scale float32

	// Softcap bounds the scores to within ±Softcap (Gemma 2, 2024); 0 means no bound.
	Softcap float32

	// ALiBi [heads], if not nil, is a slope for each head (Press et al., 2021). Positions
	// are those of Mask.Align.
	ALiBi []float32

	// Bias, if given, is added to the scores: float32 or [Float16], in the shape of
	// [Pairs] or one that broadcasts to it, with any strides; in a ragged batch as for
	// Mask.Keep. Where it is -Inf the query does not attend the key.
	Bias View

	// ScoreMod, if not nil, changes a tile of scores at a time, in the manner of
	// FlexAttention (Dong et al., 2024). It is called from several goroutines at once, and
	// its result for a pair must depend on that pair alone. The tile may hold pairs that
	// the mask takes away; their scores are arbitrary. It must not keep the tile. A pair
	// comes again if its score is computed again, for ProbMod or Scores. If ScoreMod
	// panics, so does Run.
	ScoreMod func(*Tile)

	Mask Mask

	// Sinks [heads], if not nil, is a logit for each head that takes part in the sum of
	// exponentials and has no value (gpt-oss, 2025). One of -Inf is none; one of +Inf or
	// NaN makes the rows of its head NaN.
	Sinks []float32

	// ProbMod, if not nil, changes a tile of probabilities at a time before they weight
	// the values, such as dropout does. What it makes of them is not normalised again;
	// less than 0 counts as 0. Otherwise it is called as ScoreMod is. The scores are then
	// computed twice.
	ProbMod func(*Tile)

	// Scores, if given, receives the scores at the stage ScoresAt, or the probabilities:
	// float32, in the shape of [Pairs], or of a ragged batch at least as long as its
	// longest sequence. What lies beyond the lengths of a sequence is then not written, and
	// with Tables not what lies beyond its LensKV. Queries of padding have scores of -Inf,
	// and probabilities of 0.
	// It is the one part of a call that takes memory and time for each pair of a query
	// and a key, masked or not; the scores are computed again for it.
	Scores   View
	ScoresAt Stage

	// Progress, if not nil, is called whenever one more of the work items that the call was
	// divided into is done, with how many of them are. They are not of equal size. It is called
	// from several goroutines at once, so that a lesser number may come after a greater. If it
	// panics, so does Run.
	Progress func(done, of int)
}

// A Tile is a block of scores or probabilities that a callback changes in place: that of
// row r and key t.Key+k is t.S[k*t.Stride+r], for r in t.Rows and k in t.Keys. The methods
// Head and Query tell what a row is, and Each goes through all.
type Tile = tile.Tile

// A Stage is a step on the way from scores to probabilities.
type Stage int

const (
	// StageScaled: Scale * q·k, of all pairs.
	StageScaled Stage = iota
	// StageCapped: after Softcap, of all pairs.
	StageCapped
	// StageMasked: what the softmax is taken of, -Inf where a pair is masked.
	StageMasked
	// StageProbs: the probabilities before ProbMod, 0 where a pair is masked.
	StageProbs
)

// minFactor is the least magnitude of a number that everything of a kind is multiplied by.
// In the softmax's units, of about 0.72, it is still normal: a lesser one has fewer bits, and
// what is large would show their error.
const minFactor = 0x1p-125

// problem checks the call and translates it.
func (c *Call) problem(p *tile.Problem) error {
	if c == nil {
		return argError("call", 0, 1, "call is nil")
	}
	if err := c.operands(p); err != nil {
		return err
	}
	if err := c.lengths(p); err != nil {
		return err
	}
	return c.options(p)
}

// options checks what else there is than operands and lengths, and translates it.
func (c *Call) options(p *tile.Problem) error {
	if n := mul(c.Q.shape[axisBatch], p.Heads, c.Q.shape[axisSeq]); c.LSE != nil && len(c.LSE) != n {
		return argError("lse", len(c.LSE), n, "lse has length %d, out has %d rows", len(c.LSE), n)
	}
	p.LSE = unsafe.Pointer(unsafe.SliceData(c.LSE))
	if s := float64(c.Scale); math.IsNaN(s) || math.IsInf(s, 0) {
		return argError("scale", 0, 0, "scale is %v, a finite number is needed", c.Scale)
	} else if s != 0 && math.Abs(s) < minFactor {
		return argError("scale", 0, 0, "scale is %v, 0 or a magnitude of at least %v is needed", c.Scale, float32(minFactor))
	}
	p.Scale = c.Scale
	if p.Scale == 0 {
		p.Scale = float32(1 / math.Sqrt(float64(p.DimQK)))
	}
	if s := float64(c.Softcap); !(s >= 0) || math.IsInf(s, 0) {
		return argError("softcap", 0, 0, "softcap is %v, a finite number of at least 0 is needed", c.Softcap)
	} else if s > 0 && s < minFactor {
		return argError("softcap", 0, 0, "softcap is %v, 0 or at least %v is needed", c.Softcap, float32(minFactor))
	}
	p.Softcap = c.Softcap
	for _, x := range [...]struct {
		name   string
		values []float32
		finite bool
	}{{"alibi", c.ALiBi, true}, {"sinks", c.Sinks, false}} {
		if x.values != nil && len(x.values) != p.Heads {
			return argError(x.name, len(x.values), p.Heads, "%s has length %d, q has %d heads", x.name, len(x.values), p.Heads)
		}
		for h, v := range x.values {
			if x.finite && (math.IsNaN(float64(v)) || math.IsInf(float64(v), 0)) {
				return argError(x.name, h, 0, "%s[%d] is %v, a finite number is needed", x.name, h, v)
			}
		}
	}
	p.ALiBi, p.Sinks = c.ALiBi, c.Sinks
	if err := c.Mask.resolve(p); err != nil {
		return err
	}
	if c.Bias.given() {
		if err := c.Bias.checkKind("bias", kindFloat32, kindFloat16); err != nil {
			return err
		}
		if err := c.Bias.broadcast("bias", p, &p.Bias); err != nil {
			return err
		}
		p.BiasFloat16 = c.Bias.kind == kindFloat16
	}
	p.ScoreMod, p.ProbMod, p.Progress = c.ScoreMod, c.ProbMod, c.Progress
	if err := c.scores(p); err != nil {
		return err
	}
	return c.apart()
}

// apart reports an output that shares an element with another, or with what is read. Out may have
// the elements of Q.
func (c *Call) apart() error {
	names := [...]string{"scores", "out", "lse", "q", "k", "v", "kScale", "vScale", "bias", "mask", "alibi", "sinks"}
	regions := [len(names)]region{
		c.Scores.region(), c.Out.region(), floatsRegion(c.LSE),
		c.Q.region(), c.K.region(), c.V.region(), c.KScale.region(), c.VScale.region(),
		c.Bias.region(), c.Mask.Keep.region(), floatsRegion(c.ALiBi), floatsRegion(c.Sinks),
	}
	const out, q = 1, 3
	inPlace := regions[out] == regions[q]
	for i := range 3 { // what is written
		for j := i + 1; j < len(names); j++ {
			if i == out && j == q && inPlace {
				continue
			}
			if err := checkApart(names[i], &regions[i], names[j], &regions[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// operands checks Q, K, V and Out.
func (c *Call) operands(p *tile.Problem) error {
	views := [...]struct {
		name  string
		view  *View
		kinds []elemKind
	}{{"q", &c.Q, kindsFloat32}, {"k", &c.K, kindsKV}, {"v", &c.V, kindsKV}, {"out", &c.Out, kindsFloat32}}
	for _, x := range views {
		if err := x.view.checkKind(x.name, x.kinds...); err != nil {
			return err
		}
		if err := x.view.check(x.name, &axisNames); err != nil {
			return err
		}
	}
	q, k, v, out := &c.Q, &c.K, &c.V, &c.Out
	sequences, name := q, "q"
	if c.CuLensQ != nil || c.Tables != nil {
		sequences, name = k, "k"
	}
	for _, m := range [...]struct {
		a, b         *View
		aName, bName string
		axis         int
	}{
		{k, sequences, "k", name, axisBatch},
		{v, sequences, "v", name, axisBatch},
		{out, q, "out", "q", axisBatch},
		{v, k, "v", "k", axisHeads},
		{out, q, "out", "q", axisHeads},
		{v, k, "v", "k", axisSeq},
		{out, q, "out", "q", axisSeq},
		{k, q, "k", "q", axisDim},
		{out, v, "out", "v", axisDim},
	} {
		if got, want := m.a.shape[m.axis], m.b.shape[m.axis]; got != want {
			return argError(m.aName, got, want, "%s has %s %d, %s has %d", m.aName, axisNames[m.axis], got, m.bName, want)
		}
	}
	for _, x := range views[:3] {
		if d := x.view.shape[axisDim]; d < 1 {
			return argError(x.name, d, 1, "%s has head dim %d, at least 1 is needed", x.name, d)
		} else if d > MaxDim {
			return argError(x.name, d, MaxDim, "%s has head dim %d, at most %d is supported", x.name, d, MaxDim)
		}
	}
	for _, x := range views[:2] {
		if n := x.view.shape[axisSeq]; n > MaxSeq {
			return argError(x.name, n, MaxSeq, "%s has sequence length %d, at most %d is supported", x.name, n, MaxSeq)
		}
	}
	heads, kvHeads := q.shape[axisHeads], k.shape[axisHeads]
	if heads > 0 && (kvHeads == 0 || heads%kvHeads != 0) {
		return argError("q", heads, kvHeads, "q has %d heads, not a multiple of k's %d", heads, kvHeads)
	}
	if err := out.checkWritable("out", &axisNames); err != nil {
		return err
	}
	p.Q = q.operand()
	var err error
	if p.K, err = k.keys("k", &c.KScale, "kScale"); err != nil {
		return err
	}
	if p.V, err = v.keys("v", &c.VScale, "vScale"); err != nil {
		return err
	}
	p.Out = out.operand()
	p.Heads, p.KVHeads = heads, kvHeads
	p.DimQK, p.DimV = q.shape[axisDim], v.shape[axisDim]
	return nil
}

// The element types of operands.
var (
	kindsFloat32 = []elemKind{kindFloat32}
	kindsKV      = func() (kinds []elemKind) {
		for _, e := range kernel.Elems {
			kinds = append(kinds, elemKind(e))
		}
		return kinds
	}()
)

// pool translates checked keys or values, and their scales if there are some.
func (v *View) pool(scale *View) tile.KV {
	kv := tile.KV{Elem: v.kind.elem(), Base: v.first(), Stride: v.stride}
	for axis := range kv.Stride {
		kv.Stride[axis] *= v.kind.size()
	}
	if kv.Elem.Scale() == kernel.RowScale {
		kv.Scale = scale.operand()
	}
	return kv
}

// keys translates checked keys or values, after a check of their scales.
func (v *View) keys(name string, scale *View, scaleName string) (kv tile.KV, err error) {
	if v.kind.elem().Scale() != kernel.RowScale {
		if scale.given() {
			return kv, argError(scaleName, int(v.kind), int(TypeInt8), "%s is given, %s has elements of type %v", scaleName, name, v.kind)
		}
		return v.pool(scale), nil
	}
	if err := scale.checkKind(scaleName, kindFloat32); err != nil {
		return kv, err
	}
	if err := scale.check(scaleName, &axisNames); err != nil {
		return kv, err
	}
	for axis, want := range [4]int{v.shape[0], v.shape[1], v.shape[2], 1} {
		if got := scale.shape[axis]; got != want {
			return kv, argError(scaleName, got, want, "%s has %s %d, %s needs %d", scaleName, axisNames[axis], got, name, want)
		}
	}
	return v.pool(scale), nil
}

// scores checks Scores.
func (c *Call) scores(p *tile.Problem) error {
	if c.ScoresAt < StageScaled || c.ScoresAt > StageProbs {
		return argError("scores", int(c.ScoresAt), int(StageProbs), "scores are wanted at stage %d, the last is %d", c.ScoresAt, StageProbs)
	}
	v := &c.Scores
	if !v.given() {
		if c.ScoresAt != StageScaled {
			return argError("scores", int(c.ScoresAt), 0, "scores are wanted at stage %d, there is no view for them", c.ScoresAt)
		}
		return nil
	}
	if err := v.checkKind("scores", kindFloat32); err != nil {
		return err
	}
	if err := v.check("scores", &pairAxisNames); err != nil {
		return err
	}
	for axis, want := range [4]int{p.Batch, p.Heads, p.SeqQ, p.SeqKV} {
		if got := v.shape[axis]; got < want || got > want && (p.CuQ == nil || axis < axisSeq) {
			return argError("scores", got, want, "scores has %s %d, the call has %d", pairAxisNames[axis], got, want)
		}
	}
	if err := v.checkWritable("scores", &pairAxisNames); err != nil {
		return err
	}
	p.Record = v.operand()
	p.RecordAt = tile.Stage(c.ScoresAt)
	return nil
}
