package tile

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// modifies reports whether something changes the scores.
func (p *Problem) modifies() bool {
	return p.Softcap != 0 || p.ALiBi != nil || p.Bias.Given || p.ScoreMod != nil
}

// modify changes the scores of what c covers, and takes from c what the bias masks.
func (w *workspace) modify(at *cursor, g *laneGroup, c *cover) {
	p := &at.problem
	at.engine.phase(phaseModify)
	w.softcap(at, g, c.from, c.to)
	if p.ALiBi != nil {
		w.alibi(at, g, c.from, c.to)
	}
	if p.Bias.Given {
		w.allOnes(c.from, c.full)
		if w.bias(at, g, c.from, c.to) {
			c.span = trim(w.mask[:], c.span, g.all())
			if c.from == c.to {
				return
			}
			w.halve(g, c)
		}
	}
	if p.ScoreMod != nil {
		w.call(p.ScoreMod, at, g, c.from, c.to)
		w.convert(g, c.from, c.to)
	}
}

// softcap bounds the scores of the keys [from, to).
func (w *workspace) softcap(at *cursor, g *laneGroup, from, to int) {
	p := &at.problem
	if p.Softcap == 0 {
		return
	}
	a := &w.softcapArgs
	a.S = lane(w.p, from, g.lanes, 0)
	a.Keys = to - from
	a.Lanes, a.Stride = g.lanes, g.lanes
	c := float64(p.Softcap) * p.unit()
	a.In, a.Out = float32(math.Log2E/c), float32(c)
	at.engine.set.Softcap(a)
}

// alibi adds the biases that grow with distance.
func (w *workspace) alibi(at *cursor, g *laneGroup, from, to int) {
	g.offsets(&w.pairOff, 0, 1) // positions
	for l, pos := range w.pairOff[:g.rows] {
		w.pos[l] = float32(clampFar(addSat(int64(pos), at.seq.offset)) - int64(at.key0))
	}
	a := &w.alibiArgs
	a.S = lane(w.p, from, g.lanes, 0)
	a.First, a.Keys = from, to-from
	a.Pos, a.Slope = &w.pos[0], g.slope
	a.Lanes, a.Stride = g.lanes, g.lanes
	at.engine.set.ALiBi(a)
}

// bias adds the bias of the keys [from, to) and reports whether it took a pair away from
// their mask words.
func (w *workspace) bias(at *cursor, g *laneGroup, from, to int) bool {
	p, set := &at.problem, at.engine.set
	t := &p.Bias
	g.offsets(&w.pairOff, t.Stride[1], t.Stride[2])
	a := &w.biasArgs
	size := 4
	if p.BiasFloat16 {
		size = 2
	}
	base := unsafe.Add(t.Base, size*(t.first(at, &g.queryRows)+from*t.Stride[3]))
	if !p.BiasFloat16 && t.Stride[3] == 1 {
		a.Src = (*float32)(base)
	} else {
		for l := range g.rows {
			dst := lane(w.biases, l, kernel.KeyBlock, 0)
			src := unsafe.Add(base, size*w.pairOff[l])
			if p.BiasFloat16 && t.Stride[3] == 1 {
				set.Float16(dst, (*uint16)(src), to-from)
			} else {
				for k := range to - from {
					x := unsafe.Add(src, size*k*t.Stride[3])
					if p.BiasFloat16 {
						*lane(dst, 0, 0, k) = fp.Float16ToFloat32(*(*uint16)(x))
					} else {
						*lane(dst, 0, 0, k) = *(*float32)(x)
					}
				}
			}
			w.pairOff[l] = l * kernel.KeyBlock
		}
		a.Src = w.biases
	}
	a.Off = &w.pairOff
	a.Rows, a.Keys = g.rows, to-from
	a.S, a.Mask = lane(w.p, from, g.lanes, 0), &w.mask[from]
	a.Scale = float32(p.unit())
	a.Lanes, a.Stride = g.lanes, g.lanes
	set.Bias(a)
	return a.Cleared
}

// convert brings scores that a callback left to the unit of the softmax.
func (w *workspace) convert(g *laneGroup, from, to int) {
	s := unsafe.Slice(lane(w.p, from, g.lanes, 0), (to-from)*g.lanes)
	for i := range s {
		s[i] *= softmaxUnit
	}
}
