package qkv_test

import (
	"testing"

	"github.com/qkv-go/qkv"
)

// Mistakes in the types of keys and values, their scales, page tables and rings.
func TestTypesAndTablesErrors(t *testing.T) {
	data, out := make([]float32, 8192), make([]float32, 4096)
	ints, halves, blocks := make([]int8, 4096), make([]qkv.Float16, 4096), make([]qkv.BlockQ8_0, 256)
	// Two sequences of queries; six pages of four tokens.
	good := func() *qkv.Call {
		return &qkv.Call{
			Q: qkv.BHSD(data, 2, 4, 3, 32), Out: qkv.BHSD(out, 2, 4, 3, 32),
			K: qkv.BHSD(ints, 6, 2, 4, 32), KScale: qkv.BHSD(data, 6, 2, 4, 1),
			V: qkv.BHSD(blocks, 6, 2, 4, 32), Tables: [][]int32{{5, 0}, {1, 1, 3}}, LensKV: []int{7, 9},
		}
	}
	// The same without tables.
	padded := func(c *qkv.Call) {
		c.K, c.KScale, c.V = qkv.BHSD(ints, 2, 2, 10, 32), qkv.BHSD(data, 2, 2, 10, 1), qkv.BHSD(blocks, 2, 2, 10, 32)
		c.Tables = nil
	}
	ragged := func(c *qkv.Call) {
		c.Q, c.Out = qkv.THD(data, 6, 4, 32), qkv.THD(out, 6, 4, 32)
		c.CuLensQ = []int{0, 5, 6}
	}
	ring := func(c *qkv.Call) { c.Ring, c.Mask.Prefix = true, 3 }
	for _, change := range []func(*qkv.Call){
		func(*qkv.Call) {}, padded, ragged, ring, after(ring, func(c *qkv.Call) { c.LensKV = []int{1000, 0} }), after(ring, func(c *qkv.Call) { c.Lost = []int{7, 0} }),
		func(c *qkv.Call) { c.LensKV = []int{0, 0}; c.Tables = [][]int32{nil, {}} },
		after(ragged, func(c *qkv.Call) { c.Tables[0] = c.Tables[0][:1]; c.LensKV[0] = 4 }),
	} {
		c := good()
		change(c)
		if err := qkv.Run(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []callError{
		{"q", "qkv: q has elements of type int8, float32 is needed", func(c *qkv.Call) { c.Q = qkv.BHSD(ints, 2, 4, 3, 32) }},
		{"out", "qkv: out has elements of type Float16, float32 is needed", func(c *qkv.Call) { c.Out = qkv.BHSD(halves, 2, 4, 3, 32) }},
		{"k", "qkv: k has elements of type bool, float32 or Float16 or BFloat16 or int8 or BlockQ8_0 or Float8E4M3 or Float8E5M2 or BlockQ4_0 or BlockQ4_1 is needed", func(c *qkv.Call) {
			c.K = qkv.BHSD(make([]bool, 2048), 6, 2, 4, 32)
		}},
		{"v", "qkv: v has head dim 33, not a multiple of the 32 of a block", func(c *qkv.Call) { c.V = qkv.BHSD(blocks, 6, 2, 4, 33) }},
		{"v", "qkv: v reaches element 47, its slice has 47", func(c *qkv.Call) { c.V = qkv.BHSD(blocks[:47], 6, 2, 4, 32) }},
		{"kScale", "qkv: kScale has heads 0, k needs 2", func(c *qkv.Call) { c.KScale = qkv.BHSD(data, 6, 0, 4, 1) }},
		{"kScale", "qkv: kScale is not given", func(c *qkv.Call) { c.KScale = qkv.View{} }},
		{"kScale", "qkv: kScale has head dim 32, k needs 1", func(c *qkv.Call) { c.KScale = qkv.BHSD(data, 6, 2, 4, 32) }},
		{"kScale", "qkv: kScale has elements of type Float16, float32 is needed", func(c *qkv.Call) { c.KScale = qkv.BHSD(halves, 6, 2, 4, 1) }},
		{"kScale", "qkv: kScale reaches element 47, its slice has 20", func(c *qkv.Call) { c.KScale = qkv.BHSD(data[:20], 6, 2, 4, 1) }},
		{"vScale", "qkv: vScale is given, v has elements of type BlockQ8_0", func(c *qkv.Call) { c.VScale = c.KScale }},
		{"vScale", "qkv: vScale has sequence length 3, v needs 4", func(c *qkv.Call) {
			c.V, c.VScale = qkv.BHSD(ints, 6, 2, 4, 32), qkv.BHSD(data, 6, 2, 3, 1)
		}},

		{"tables", "qkv: tables has 1 sequences, q has 2", func(c *qkv.Call) { c.Tables = c.Tables[:1] }},
		{"tables", "qkv: tables has 2 sequences, q has 1", after(ragged, func(c *qkv.Call) { c.CuLensQ = []int{0, 6} })},
		{"lensKV", "qkv: lensKV has 0 lengths, tables has 2 sequences", func(c *qkv.Call) { c.LensKV = nil }},
		{"lensKV", "qkv: lensKV has 1 lengths, tables has 2 sequences", func(c *qkv.Call) { c.LensKV = c.LensKV[:1] }},
		{"lensKV", "qkv: lensKV[1] is -1, 0 to 1073741824 is supported", func(c *qkv.Call) { c.LensKV[1] = -1 }},
		{"lensKV", "qkv: lensKV[0] is 1073741825, 0 to 1073741824 is supported", after(ring, func(c *qkv.Call) { c.LensKV[0] = 1<<30 + 1 })},
		{"lensKV", "qkv: lensKV[0] is 9, tables[0] has pages of 8 tokens", func(c *qkv.Call) { c.LensKV[0] = 9 }},
		{"lensKV", "qkv: lensKV[1] is 9, tables[1] has pages of 0 tokens", func(c *qkv.Call) { c.Tables[1] = nil }},
		{"tables", "qkv: tables[0][1] is page 6, k has 6", func(c *qkv.Call) { c.Tables[0][1] = 6 }},
		{"tables", "qkv: tables[1][2] is page -1, k has 6", func(c *qkv.Call) { c.Tables[1][2] = -1 }},
		{"cuLensKV", "qkv: cuLensKV has 3 cumulative lengths, sequences with tables have lensKV", after(ragged, func(c *qkv.Call) { c.CuLensKV = c.CuLensQ })},
		{"v", "qkv: v has batch 5, k has 6", func(c *qkv.Call) { c.V = qkv.BHSD(blocks, 5, 2, 4, 32) }},

		{"ring", "qkv: ring is set, it needs tables", after(padded, func(c *qkv.Call) { c.Ring = true })},
		{"lost", "qkv: lost has 2 sequences, it needs ring", after(padded, func(c *qkv.Call) { c.Lost = []int{0, 0} })},
		{"lost", "qkv: lost has 0 sequences, it needs ring", func(c *qkv.Call) { c.Lost = []int{} }},
		{"lost", "qkv: lost has 1 sequences, tables has 2", after(ring, func(c *qkv.Call) { c.Lost = []int{0} })},
		{"lost", "qkv: lost[1] is 10, 0 to lensKV[1] of 9 is supported", after(ring, func(c *qkv.Call) { c.Lost = []int{7, 10} })},
		{"lost", "qkv: lost[0] is -1, 0 to lensKV[0] of 7 is supported", after(ring, func(c *qkv.Call) { c.Lost = []int{-1, 9} })},
		{"tables", "qkv: tables[0] has pages of 8 tokens, a ring with first 8 needs more", after(ring, func(c *qkv.Call) {
			c.Mask.Prefix, c.LensKV[0] = 8, 9
		})},
		{"tables", "qkv: tables[1] has pages of 0 tokens, a ring with first 3 needs more", after(ring, func(c *qkv.Call) { c.Tables[1] = nil })},
		{"mask", "qkv: mask has 2 prefixes, a ring has one for all sequences", after(ring, func(c *qkv.Call) {
			c.Mask.Prefix, c.Mask.Prefixes = 0, []int{1, 1}
		})},
		{"mask", "qkv: mask has prefix -1, at least 0 is needed", after(ring, func(c *qkv.Call) { c.Mask.Prefix = -1; c.LensKV[0] = 100 })},

		{"k", "qkv: k has batch 2, cuLensQ has 3 sequences", after(padded, ragged, func(c *qkv.Call) { c.CuLensQ = []int{0, 5, 5, 6} })},
		{"lensKV", "qkv: lensKV[1] is 11, k has sequence length 10", after(padded, func(c *qkv.Call) { c.LensKV[1] = 11 })},
	} {
		e.check(t, good(), out)
	}
}
