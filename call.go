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
// for each sequence and each head of Q. K and V may have fewer heads, a divisor of Q's
// (grouped-query attention; Ainslie et al., 2023): head h reads KV head h / (heads / KV heads). With 8
// heads over 2, heads 0 to 3 read KV head 0. The head dim of Q and K may differ from that of V and Out.
// Each of batch, heads and seq may be 0.
//
// A score is computed in these steps. A step whose field has the zero value is left out:
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
// they are NaN. A NaN that it attends always does, unless ScoreMod replaces it.
//
// The caller changes no slice before Run returns.
type Call struct {
	Q   View // [batch, heads, seqQ, dimQK], float32
	K   View // [batch, kvHeads, seqKV, dimQK]
	V   View // [batch, kvHeads, seqKV, dimV]
	Out View // [batch, heads, seqQ, dimV], float32, written; it may be Q, and shares no element with anything else

	// K and V may have the types float32, [Float16], [BFloat16], int8, [BlockQ8_0], [Float8E4M3],
	// [Float8E5M2], [BlockQ4_0] and [BlockQ4_1], and need not have the same. The result has the bits
	// of the same values in float32, but for what [PrecisionInt8] multiplies as integers.
	//
	// KScale and VScale [batch, kvHeads, seqKV, 1], float32, are the scales of the rows of int8 K and
	// V. A value is the scale times the integer, rounded to float32. Other types have no scales here.
	KScale, VScale View

	// LSE, if not nil, receives the log-sum-exp of each row: the natural logarithm of the sum of the
	// exponentials of its scores, its sink included. It is contiguous, [batch, heads, seqQ].
	LSE []float32

	// LensQ and LensKV [batch], if not nil, are the lengths of the sequences. Queries and keys behind
	// them are padding, which nothing attends. Outputs of padding are zeros, and their log-sum-exp is
	// -Inf.
	LensQ, LensKV []int

	// CuLensQ and CuLensKV, if not nil, make the batch ragged. Q, K, V and Out have batch 1 then, see
	// [THD], and the sequences lie one behind the other. Their cumulative lengths, FlashAttention's
	// cu_seqlens, say where: sequence i has the tokens from CuLensQ[i] to before CuLensQ[i+1] of Q and
	// Out, and those from CuLensKV[i] to before CuLensKV[i+1] of K and V. For example, sequences of 3
	// and 1 queries have the CuLensQ 0, 3, 4. LSE is [heads, tokens].
	//
	// Tokens of Out before CuLensQ[0] and from the last of CuLensQ on are not written. With CuLensQ
	// alone, each sequence has an index of the batch axis of K and V, or a table.
	CuLensQ, CuLensKV []int

	// Tables, if not nil, are the page tables of the sequences (Kwon et al., PagedAttention, 2023). K,
	// V and their scales are pools of pages then, [pages, kvHeads, page tokens, dim]. Key j of sequence
	// i is token j mod n of page Tables[i][j/n], where pages have n tokens. LensKV says how many keys a
	// sequence has. For example, with pages of 16 tokens, key 20 of a sequence with the table 7, 3 is
	// token 4 of page 3.
	//
	// Several sequences may have the same page. A contiguous cache [slots, kvHeads, capacity, dim] is
	// a pool with a page for each sequence. Q has a sequence for each table, or CuLensQ.
	//
	// Block masks, Mask.Keep, Bias and Scores have as many keys as the longest of LensKV.
	// Mask.SegmentsKV is [sequences, longest], with CuLensQ too.
	Tables [][]int32

	// Ring makes the pages of each sequence a ring buffer. The first tokens stay: as many as
	// Mask.First, or Mask.Prefix, says. The r places behind them are used in turn, so that key j lies
	// where key j-r was. For example, in 8 places of which 2 stay, r is 6, and key 9 takes the place of
	// key 3.
	//
	// LensKV counts all keys from the beginning. No query attends a key that was overwritten. Scores of
	// a stage before the mask are, at such a key, those of the key that has its place. Mask.Prefixes is
	// nil.
	Ring bool

	// Lost [sequences], if not nil, is for rings that were longer and went back, which LensKV does not
	// tell. The keys of sequence i before Lost[i] were overwritten, apart from the first ones, which
	// stay. A ring that has had n keys at most has lost those before n-r.
	Lost []int

	// Precision is the numerical class. Of [PrecisionInt8] scores are products of integers: those of keys of
	// int8, [BlockQ8_0], [BlockQ4_0] and [BlockQ4_1] as their type has them, and those of queries, which are
	// quantised in blocks of 32 dims. Keys of other types have the arithmetic of [PrecisionFloat32], the default, and
	// values that of ValuePrecision. Of [PrecisionBFloat16] queries, keys, values and the weights of the
	// softmax are rounded to bfloat16 before they are multiplied. docs/numerics.md says what each class computes.
	Precision Precision

	// ValuePrecision is the class of weighted values where Precision is [PrecisionInt8]; with another Precision, all but the
	// default is an error. [PrecisionFloat32], the default, multiplies numbers of float32. Of [PrecisionBFloat16] values and
	// the weights of the softmax are rounded to bfloat16, as in that class. Of [PrecisionInt8] values of the types whose keys
	// are multiplied so are integers, too: those of the values as their type has them, and those of the weights times the scales of
	// the values, quantised in blocks of 32 keys; values of other types have the arithmetic of PrecisionFloat32.
	// docs/classes.md says where each is faster.
	ValuePrecision Precision

	// Scale multiplies the scores; 0 means 1/sqrt(dimQK). It may be negative. Its magnitude is at
	// least 2^-125, as that of Softcap.
	Scale float32

	// Softcap bounds the scores to within ±Softcap (Gemma 2, 2024); 0 means no bound.
	Softcap float32

	// ALiBi [heads], if not nil, is a slope for each head (Press et al., 2021). Positions
	// are those of Mask.Align.
	ALiBi []float32

	// Bias, if given, is added to the scores. It is float32 or [Float16], with any strides, and has the
	// shape [batch, heads, seqQ, seqKV] or one that broadcasts to it, see [Pairs]; in a ragged batch as
	// Mask.Keep. A query does not attend a key where it is -Inf.
	Bias View

	// ScoreMod, if not nil, changes scores a block at a time (FlexAttention; Dong et al., 2024). It is
	// called from several goroutines at once, and must not keep the block. Its result for a pair must
	// depend on that pair alone: a pair comes twice if its score is computed twice, for ProbMod or
	// Scores. Scores of pairs that the mask takes away are arbitrary. If ScoreMod panics, so does Run.
	ScoreMod func(*ScoreBlock)

	// Mask says which keys each query attends.
	Mask Mask

	// Sinks [heads], if not nil, are attention sinks (gpt-oss, 2025): a logit of each head that is
	// part of the softmax's sum and has no value. -Inf is no sink. +Inf or NaN makes the rows of the
	// head NaN.
	Sinks []float32

	// ProbMod, if not nil, changes probabilities a block at a time before they weight the values, as
	// dropout does. The results are not normalised again, and those below 0 count as 0. It is called
	// as ScoreMod is. All scores are computed twice then.
	ProbMod func(*ScoreBlock)

	// Scores, if given, receives the scores at the stage ScoresAt, or the probabilities. It is float32,
	// [batch, heads, seqQ, seqKV]; in a ragged batch, seqQ and seqKV are at least those of the
	// longest sequence. What lies beyond the lengths of a sequence of a ragged batch, or beyond LensKV
	// with Tables, is not written. Queries of padding have scores of -Inf and probabilities of 0.
	//
	// Nothing else of a call takes memory and time for each pair of a query and a key, masked or not.
	// All scores are computed twice for it.
	Scores   View
	ScoresAt Stage

	// Progress, if not nil, is called after each work item of the call, with the number of items that
	// are done and that of all. Items differ in size. It is called from several goroutines at once, so
	// that a lesser number may come after a greater. If it panics, so does Run.
	Progress func(done, of int)
}

// A ScoreBlock is a block of scores or probabilities that a callback changes in place. Its rows are
// queries, of one or several heads, and its columns keys of one sequence:
//
//	type ScoreBlock struct {
//		Batch  int       // sequence
//		Rows   int       // number of rows
//		Key    int       // position of the first key in its sequence
//		Keys   int       // number of keys
//		S      []float32 // row r and key Key+k have S[k*Stride+r]
//		Stride int
//	}
//
//	func (t *ScoreBlock) Head(row int) int  // query head of a row
//	func (t *ScoreBlock) Query(row int) int // position of its query in its sequence
//
//	// Each replaces each score by what f makes of it.
//	func (t *ScoreBlock) Each(f func(head, query, key int, s float32) float32)
type ScoreBlock = tile.ScoreBlock

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
	if c.LSE != nil {
		if n := mul(c.Q.shape[axisBatch], p.Heads, c.Q.shape[axisSeq]); len(c.LSE) != n {
			return argError("lse", len(c.LSE), n, "lse has length %d, out has %d rows", len(c.LSE), n)
		}
	}
	p.LSE = unsafe.Pointer(unsafe.SliceData(c.LSE))
	if err := c.Precision.check("precision"); err != nil {
		return err
	}
	p.Precision = kernel.Precision(c.Precision)
	if err := c.ValuePrecision.check("valuePrecision"); err != nil {
		return err
	}
	if c.ValuePrecision != PrecisionFloat32 && c.Precision != PrecisionInt8 {
		return argError("valuePrecision", int(c.Precision), int(PrecisionInt8), "valuePrecision is %v in class %v, class %v is needed", c.ValuePrecision, c.Precision, PrecisionInt8)
	}
	p.Values = kernel.Precision(c.ValuePrecision)
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
	if c.scattered() {
		return nil
	}
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

// scattered reports whether the extent of no output meets another: so much is quick to tell, and true of
// most calls.
func (c *Call) scattered() bool {
	extents := [...]extent{
		c.Scores.extent(), c.Out.extent(), floatsExtent(c.LSE),
		c.Q.extent(), c.K.extent(), c.V.extent(), c.KScale.extent(), c.VScale.extent(),
		c.Bias.extent(), c.Mask.Keep.extent(), floatsExtent(c.ALiBi), floatsExtent(c.Sinks),
	}
	const out, q = 1, 3
	inPlace := c.Out == c.Q
	for i := range 3 { // what is written
		if extents[i].base == nil {
			continue
		}
		for j := i + 1; j < len(extents); j++ {
			if extents[i].meets(&extents[j]) && !(i == out && j == q && inPlace) {
				return false
			}
		}
	}
	return true
}

// checkOptions reports an output that shares memory with options that were checked.
func (c *Call) checkOptions(name string, written *region) error {
	err := checkViewApart(name, written, "bias", &c.Bias)
	if err == nil {
		err = checkViewApart(name, written, "mask", &c.Mask.Keep)
	}
	if err == nil {
		err = checkFloatsApart(name, written, "alibi", c.ALiBi)
	}
	if err == nil {
		err = checkFloatsApart(name, written, "sinks", c.Sinks)
	}
	return err
}

// operands checks Q, K, V and Out.
func (c *Call) operands(p *tile.Problem) error {
	q, k, v, out := &c.Q, &c.K, &c.V, &c.Out
	views := [...]*View{q, k, v, out}
	for i, x := range views {
		if err := x.checkKind(operandNames[i], operandKinds[i]...); err != nil {
			return err
		}
		if err := x.check(operandNames[i], &axisNames); err != nil {
			return err
		}
	}
	common := commonAxes[:]
	if c.CuLensQ != nil || c.Tables != nil {
		common = common[2:] // sequences of Q are not on its batch axis
	}
	for _, m := range common {
		if got, want := views[m.a].shape[m.axis], views[m.b].shape[m.axis]; got != want {
			name := operandNames[m.a]
			return argError(name, got, want, "%s has %s %d, %s has %d", name, axisNames[m.axis], got, operandNames[m.b], want)
		}
	}
	for i, x := range views[:3] {
		name := operandNames[i]
		if d := x.shape[axisDim]; d < 1 {
			return argError(name, d, 1, "%s has head dim %d, at least 1 is needed", name, d)
		} else if d > MaxDim {
			return argError(name, d, MaxDim, "%s has head dim %d, at most %d is supported", name, d, MaxDim)
		}
	}
	for i, x := range views[:2] {
		if n := x.shape[axisSeq]; n > MaxSeq {
			return argError(operandNames[i], n, MaxSeq, "%s has sequence length %d, at most %d is supported", operandNames[i], n, MaxSeq)
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

// Operands, their element types, and the axes in which two of them, by index, have the same length:
// the first two for sequences on the batch axis of Q.
var (
	operandNames = [...]string{"q", "k", "v", "out"}
	operandKinds = [...][]elemKind{{kindFloat32}, kindsKV, kindsKV, {kindFloat32}}
	kindsKV      = func() (kinds []elemKind) {
		for _, e := range kernel.Elems() {
			kinds = append(kinds, elemKind(e))
		}
		return kinds
	}()
	commonAxes = [...]struct{ a, b, axis int }{
		{1, 0, axisBatch},
		{2, 0, axisBatch},
		{2, 1, axisBatch},
		{3, 0, axisBatch},
		{2, 1, axisHeads},
		{3, 0, axisHeads},
		{2, 1, axisSeq},
		{3, 0, axisSeq},
		{1, 0, axisDim},
		{3, 2, axisDim},
	}
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
