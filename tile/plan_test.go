package tile

import (
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// TestPlan: a problem that finds another's plan is divided as without one, whatever the two differ in.
func TestPlan(t *testing.T) {
	set := &kernel.Set{Vec: 16, Lanes: 64, Rows: 6, DecodeRows: 16, DecodeDims: 16, Turn: 64, TurnFar: 32}
	e := New(set, Caches{48 << 10, 2 << 20, 32 << 20}, false, Tuning{Rules: []Rule{{MaxDim: 64, QueryRows: 128}}})
	memory := make([]float32, 16)
	base := unsafe.Pointer(&memory[0])
	lens := []int{9000, 5, 700, 4000}
	problem := func() *Problem {
		p := &Problem{
			Batch: 4, Heads: 8, KVHeads: 2, SeqQ: 1, SeqKV: 9000, DimQK: 128, DimV: 128, TokensQ: 4, TokensKV: 4 * 9000,
			LensKV: lens, CuQ: []int{0, 1, 2, 3, 4}, PageTokens: 16, Mask: Mask{Left: Unbounded, BottomRight: true},
			Q: Operand{base, [4]int{0, 128, 8 * 128, 1}}, Out: Operand{base, [4]int{0, 128, 8 * 128, 1}},
		}
		p.K = KV{Base: base, Stride: [4]int{2 * 16 * 512, 16 * 512, 512, 4}}
		p.V = p.K
		p.Tables = make([][]int32, 4)
		for i, n := range lens {
			p.Tables[i] = make([]int32, (n+15)/16)
		}
		return p
	}
	variants := map[string]func(p *Problem){
		"nothing":      func(p *Problem) {},
		"heads":        func(p *Problem) { p.Heads = 64 },
		"KV heads":     func(p *Problem) { p.KVHeads = 8 },
		"dims":         func(p *Problem) { p.DimQK, p.DimV = 64, 64 },
		"dims of v":    func(p *Problem) { p.DimV = 17 },
		"type":         func(p *Problem) { p.K.Elem, p.K.Stride = kernel.Float16, [4]int{2 * 16 * 256, 16 * 256, 256, 2} },
		"far keys":     func(p *Problem) { p.K.Stride = [4]int{1 << 16, 256, 4096, 4} },
		"sparse keys":  func(p *Problem) { p.K.Stride[3] = 64 },
		"sparse":       func(p *Problem) { p.V.Stride[3] = 64 },
		"left":         func(p *Problem) { p.Mask.Left = 100 },
		"further left": func(p *Problem) { p.Mask.Left = 3000 },
		"near":         func(p *Problem) { p.Mask.BottomRight, p.Mask.Offset = false, 100 },
		"right":        func(p *Problem) { p.Mask.BottomRight, p.Mask.Offset, p.Mask.Right = false, 100, Unbounded },
		"offset":       func(p *Problem) { p.Mask.BottomRight, p.Mask.Offset = false, 4000 },
		"offsets":      func(p *Problem) { p.Mask.BottomRight, p.Mask.Offsets = false, []int{1, 2, 3, 4000} },
		"prefix":       func(p *Problem) { p.Mask.Left, p.Mask.Prefix = 100, 2000 },
		"first":        func(p *Problem) { p.Mask.Left, p.Mask.Prefix, p.Mask.Behind = 100, 2000, true },
		"prefixes":     func(p *Problem) { p.Mask.Left, p.Mask.Prefixes = 100, []int{2000, 0, 1, 2} },
		"segments":     func(p *Problem) { p.Mask.SegmentsQ = make([]int32, 4) },
		"keep":         func(p *Problem) { p.Mask.Bool.Given = true },
		"blocks":       func(p *Problem) { p.Mask.Blocks = Blocks{Bits: []uint64{1}, QueryBlock: 32, KeyBlock: 128} },
		"softcap":      func(p *Problem) { p.Softcap = 1 },
		"callback":     func(p *Problem) { p.ProbMod = func(*ScoreBlock) {} },
		"scores":       func(p *Problem) { p.Record.Base = base },
	}
	differ := map[string]bool{}
	for a, changeA := range variants {
		for b, changeB := range variants {
			for _, workers := range []int{1, 2, 16} {
				var plan Plan
				p, q := problem(), problem()
				changeA(p)
				changeB(q)
				var d decoding
				want := e.schedule(q, workers, &d)
				p.Plan, q.Plan = &plan, &plan
				e.divide(p, 2, new(decoding))
				got, list := e.divide(q, workers, new(decoding))
				if !reflect.DeepEqual(got, want) || !slices.Equal(list.items, d.items) {
					t.Errorf("%s after %s, %d workers: %+v, want %+v", b, a, workers, got, want)
				}
				// What a variant adds changes the division of what it adds that to.
				var plain decoding
				base := problem()
				if b == "right" {
					variants["near"](base)
				}
				differ[b] = differ[b] || !reflect.DeepEqual(e.schedule(base, workers, &plain), want) || !slices.Equal(plain.items, d.items)
			}
		}
	}
	for name := range variants {
		if !differ[name] && name != "nothing" {
			t.Errorf("%s decides nothing", name)
		}
	}

	// The same lists again, and others when they have changed.
	var plan Plan
	p := problem()
	p.Plan = &plan
	before, one := e.divide(p, 2, new(decoding))
	if _, two := e.divide(p, 2, new(decoding)); one != two || one != &plan.decoding {
		t.Error("the division was made twice")
	}
	p.LensKV = []int{9000, 5, 700, 90}
	plan.Forget()
	if after, list := e.divide(p, 2, new(decoding)); reflect.DeepEqual(before, after) || len(list.items) == 0 {
		t.Error("the division is that of other lengths")
	}
}

// TestLaneGroups: an item has as many lane groups as the second-level cache holds of what their class reads: packed queries
// in integers or in pairs leave room for more.
func TestLaneGroups(t *testing.T) {
	set := &kernel.Set{Vec: 16, Lanes: 64, Rows: 6, Paired: true}
	e := New(set, Caches{48 << 10, 1 << 20, 32 << 20}, false, Tuning{})
	memory := make([]float32, 16)
	for _, c := range []struct {
		precision, values kernel.Precision
		keys              kernel.Elem
		pairs             bool
		want              int
	}{
		{kernel.PrecisionFloat32, kernel.PrecisionFloat32, kernel.Float32, true, 8}, // 4 items of 8, of 10 that there is room for
		{kernel.PrecisionBFloat16, kernel.PrecisionFloat32, kernel.Float32, false, 8},
		{kernel.PrecisionBFloat16, kernel.PrecisionFloat32, kernel.Float32, true, 11},
		{kernel.PrecisionInt8, kernel.PrecisionFloat32, kernel.Int8, true, 16},
		{kernel.PrecisionInt8, kernel.PrecisionBFloat16, kernel.Int8, true, 16},
		{kernel.PrecisionInt8, kernel.PrecisionBFloat16, kernel.Float32, true, 8},
	} {
		e.TakePairs(c.pairs)
		kv := KV{Elem: c.keys, Base: unsafe.Pointer(&memory[0]), Stride: [4]int{0, 0, 128 * c.keys.Unit(), c.keys.Unit()}}
		p := Problem{
			Batch: 1, Heads: 1, KVHeads: 1, SeqQ: 2048, SeqKV: 2048, TokensQ: 2048, TokensKV: 2048, DimQK: 128, DimV: 128,
			K: kv, V: kv, Mask: Mask{Left: Unbounded, Right: Unbounded}, Precision: c.precision, Values: c.values,
		}
		if s := e.Schedule(&p, 1); s.LaneGroups != c.want {
			t.Errorf("class %v, values in %v, keys of type %v, pairs %v: %d lane groups, want %d", c.precision, c.values, c.keys, c.pairs, s.LaneGroups, c.want)
		}
	}
}
