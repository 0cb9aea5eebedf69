package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// modifies reports whether something changes the scores.
func (p *Problem) modifies() bool {
	return p.Softcap != 0 || p.ALiBi != nil || p.Bias.Given || p.ScoreMod != nil
}

// modify changes the scores of what c covers, and takes from c what the bias masks.
func (t *scoreBlock) modify(at *cursor, g *laneGroup, c *cover) {
	p := &at.problem
	at.engine.phase(phaseModify)
	t.softcap(at, g, c.from, c.to)
	if p.ALiBi != nil {
		t.alibi(at, g, c.from, c.to)
	}
	if p.Bias.Given {
		t.mask.allOnes(c.from, c.full)
		if t.bias(at, g, c.from, c.to) {
			c.span = trim(t.mask.words[:], c.span, g.all())
			if c.from == c.to {
				return
			}
			t.mask.halve(g, c)
		}
	}
	if p.ScoreMod != nil {
		t.call(p.ScoreMod, at, g, c.from, c.to)
		t.toUnit(g, c.from, c.to)
	}
}

// softcap bounds the scores of the keys [from, to).
func (t *scoreBlock) softcap(at *cursor, g *laneGroup, from, to int) {
	p := &at.problem
	if p.Softcap == 0 {
		return
	}
	a := &t.softcapArgs
	a.S = lane(t.s, from, g.lanes, 0)
	a.Keys = to - from
	a.Lanes, a.Stride = g.lanes, g.lanes
	c := float64(p.Softcap) * p.unit()
	a.In, a.Out = float32(math.Log2E/c), float32(c)
	at.engine.set.Softcap(a)
}

// alibi adds the biases that grow with distance.
func (t *scoreBlock) alibi(at *cursor, g *laneGroup, from, to int) {
	g.offsets(&t.off, 0, 1) // positions
	for l, pos := range t.off[:g.rows] {
		t.pos[l] = float32(clampFar(addSat(int64(pos), at.seq.offset)) - int64(at.key0))
	}
	a := &t.alibiArgs
	a.S = lane(t.s, from, g.lanes, 0)
	a.First, a.Keys = from, to-from
	a.Pos, a.Slope = &t.pos[0], g.slope
	a.Lanes, a.Stride = g.lanes, g.lanes
	at.engine.set.ALiBi(a)
}

// bias adds the bias of the keys [from, to) and reports whether it took a pair away from
// their mask words.
func (t *scoreBlock) bias(at *cursor, g *laneGroup, from, to int) bool {
	p, set := &at.problem, at.engine.set
	pairs := &p.Bias
	g.offsets(&t.off, pairs.Stride[1], pairs.Stride[2])
	a := &t.biasArgs
	size := 4
	if p.BiasFloat16 {
		size = 2
	}
	base := unsafe.Add(pairs.Base, size*(pairs.first(at, &g.queryRows)+from*pairs.Stride[3]))
	if !p.BiasFloat16 && pairs.Stride[3] == 1 {
		a.Src = (*float32)(base)
	} else {
		for l := range g.rows {
			dst := lane(t.biases, l, kernel.KeyBlock, 0)
			src := unsafe.Add(base, size*t.off[l])
			if p.BiasFloat16 && pairs.Stride[3] == 1 {
				set.Float16(dst, (*uint16)(src), to-from)
			} else {
				for k := range to - from {
					x := unsafe.Add(src, size*k*pairs.Stride[3])
					if p.BiasFloat16 {
						*ptr.At(dst, k) = fp.Float16ToFloat32(*(*uint16)(x))
					} else {
						*ptr.At(dst, k) = *(*float32)(x)
					}
				}
			}
			t.off[l] = l * kernel.KeyBlock
		}
		a.Src = t.biases
	}
	a.Off = &t.off
	a.Rows, a.Keys = g.rows, to-from
	a.S, a.Mask = lane(t.s, from, g.lanes, 0), &t.mask.words[from]
	a.Scale = float32(p.unit())
	a.Lanes, a.Stride = g.lanes, g.lanes
	set.Bias(a)
	return a.Cleared
}

// toUnit brings scores that a callback left to the unit of the softmax.
func (t *scoreBlock) toUnit(g *laneGroup, from, to int) {
	s := unsafe.Slice(lane(t.s, from, g.lanes, 0), (to-from)*g.lanes)
	for i := range s {
		s[i] *= softmaxUnit
	}
}
