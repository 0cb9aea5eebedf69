package bench

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// sizes returns a shape of those lengths, in the order of [Shape.String].
func sizes(batch, heads, kvHeads, seqQ, seqKV, dimQK, dimV int, mask Mask) Shape {
	return Shape{Batch: batch, Heads: heads, KVHeads: kvHeads, SeqQ: seqQ, SeqKV: seqKV, DimQK: dimQK, DimV: dimV, Mask: mask}
}

// nine returns the shape h=1,sq=9,d=1 as set changes it.
func nine(set func(*Shape)) Shape {
	s := sizes(1, 1, 1, 9, 9, 1, 1, Mask{})
	set(&s)
	return s
}

func TestParseShape(t *testing.T) {
	for _, c := range []struct {
		text string
		want Shape
	}{
		{"h=8,sq=16,d=64", sizes(1, 8, 8, 16, 16, 64, 64, Mask{})},
		{"b=1,h=32,hkv=8,sq=2048,skv=4096,d=128,dv=64,mask=causal", sizes(1, 32, 8, 2048, 4096, 128, 64, Mask{Causal: true, Align: qkv.BottomRight})},
		{"mask=causal-bottom-right, d=1, sq=2, h=3, b=4", sizes(4, 3, 3, 2, 2, 1, 1, Mask{Causal: true, Align: qkv.BottomRight})},
		{"h=1,sq=1,d=1,mask=full", sizes(1, 1, 1, 1, 1, 1, 1, Mask{})},
		{"h=1,sq=1,d=1,mask=none", sizes(1, 1, 1, 1, 1, 1, 1, Mask{})},
		{"h=1,sq=1,d=1,mask=causal-top-left", sizes(1, 1, 1, 1, 1, 1, 1, Mask{Causal: true, Align: qkv.TopLeft})},
		{"h=1,sq=1,d=1,mask=causal@-3", sizes(1, 1, 1, 1, 1, 1, 1, Mask{Causal: true, Align: qkv.AlignOffset, Offset: -3})},
		{"h=1,sq=1,d=1,mask=none-bottom-right", sizes(1, 1, 1, 1, 1, 1, 1, Mask{Align: qkv.BottomRight})},
		{"h=1,sq=1,d=1,mask=none-top-left", sizes(1, 1, 1, 1, 1, 1, 1, Mask{Align: qkv.TopLeft})},
		{"h=1,sq=1,d=1,mask=none@7", sizes(1, 1, 1, 1, 1, 1, 1, Mask{Align: qkv.AlignOffset, Offset: 7})},
		{"h=1,sq=9,d=1,window=3:0", sizes(1, 1, 1, 9, 9, 1, 1, Mask{Window: Window{true, 3, 0}})},
		{"h=1,sq=9,d=1,window=0:all", sizes(1, 1, 1, 9, 9, 1, 1, Mask{Window: Window{true, 0, qkv.Unbounded}})},
		{"h=1,sq=9,d=1,mask=causal,prefix=9,segments=9,blocks=128:0.25,keep=0.98", sizes(1, 1, 1, 9, 9, 1, 1, Mask{
			Causal: true, Align: qkv.BottomRight, Prefix: 9, Segments: 9, Blocks: Blocks{128, 0.25}, Keep: 0.98,
		})},
		{"h=1,sq=9,d=1,keep=1e-3", sizes(1, 1, 1, 9, 9, 1, 1, Mask{Keep: 1e-3})},
		{"b=2,h=1,sq=9,d=1,ragged=9", nine(func(s *Shape) { s.Batch, s.Lengths = 2, Lengths{Least: 9, Ragged: true} })},
		{"b=2,h=1,sq=9,d=1,padded=1", nine(func(s *Shape) { s.Batch, s.Lengths = 2, Lengths{Least: 1} })},
		{"b=2,h=1,sq=9,d=1,kvlens=3", nine(func(s *Shape) { s.Batch, s.Lengths = 2, Lengths{LeastKV: 3} })},
		{"b=2,h=1,sq=9,d=1,prefill=1", nine(func(s *Shape) { s.Batch, s.Lengths = 2, Lengths{Prefill: 1} })},
		{"h=1,sq=9,d=1,bias=head", nine(func(s *Shape) { s.Values = Values{Bias: Bias{true, true, false}} })},
		{"h=1,sq=9,d=1,bias=shared", nine(func(s *Shape) { s.Values = Values{Bias: Bias{true, false, false}} })},
		{"h=1,sq=9,d=1,bias=head16", nine(func(s *Shape) { s.Values = Values{Bias: Bias{true, true, true}} })},
		{"h=1,sq=9,d=1,sinks=1,softcap=12.5,alibi=1,bias=shared16", nine(func(s *Shape) {
			s.Values = Values{Bias: Bias{true, false, true}, ALiBi: true, Softcap: 12.5, Sinks: true}
		})},
		{"h=1,sq=9,d=1,kv=float32", nine(func(*Shape) {})},
		{"h=1,sq=9,d=1,kv=bfloat16,page=16", nine(func(s *Shape) { s.KV = KV{K: kernel.BFloat16, V: kernel.BFloat16, Page: 16} })},
		{"h=1,sq=9,d=1,page=1,k=int8,v=float16", nine(func(s *Shape) { s.KV = KV{K: kernel.Int8, V: kernel.Float16, Page: 1} })},
		{"h=1,sq=9,d=1,cache=slots", nine(func(s *Shape) { s.KV = KV{Cache: Slots} })},
		{"h=1,sq=9,d=1,kv=float16,cache=ring", nine(func(s *Shape) { s.KV = KV{K: kernel.Float16, V: kernel.Float16, Cache: Ring} })},
		{"h=1,sq=9,d=1,class=bfloat16", nine(func(s *Shape) { s.Precision = qkv.PrecisionBFloat16 })},
		{"h=1,sq=9,d=1,class=float32", nine(func(*Shape) {})},
		{"h=1,sq=9,d=1,v=int8,class=int8,values=int8", nine(func(s *Shape) {
			s.KV.V, s.Precision, s.ValuePrecision = kernel.Int8, qkv.PrecisionInt8, qkv.PrecisionInt8
		})},
		{"h=1,sq=9,d=1,class=int8,values=bfloat16", nine(func(s *Shape) { s.Precision, s.ValuePrecision = qkv.PrecisionInt8, qkv.PrecisionBFloat16 })},
		{"h=1,sq=9,d=1,k=int8,class=int8", nine(func(s *Shape) { s.KV.K, s.Precision = kernel.Int8, qkv.PrecisionInt8 })},
		{"h=1,sq=9,d=1,v=int8", nine(func(s *Shape) { s.KV.V = kernel.Int8 })},
		{"h=1,sq=9,d=1,k=float16,v=float16", nine(func(s *Shape) { s.KV = KV{K: kernel.Float16, V: kernel.Float16, Page: 0} })},
		{"h=1,sq=9,dv=64,d=32,kv=q8_0", nine(func(s *Shape) { s.DimQK, s.DimV, s.KV = 32, 64, KV{K: kernel.Q8_0, V: kernel.Q8_0, Page: 0} })},
	} {
		got, err := ParseShape(c.text)
		if err != nil || got != c.want {
			t.Errorf("ParseShape(%q) = %v, %v, want %v", c.text, got, err, c.want)
			continue
		}
		for _, text := range []string{got.String(), got.Short()} {
			if again, err := ParseShape(text); err != nil || again != got {
				t.Errorf("ParseShape(%q) = %v, %v, want %v", text, again, err, got)
			}
		}
	}
}

func TestParseShapeErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "not key=value"},
		{"h=8,sq=16", "d is missing"},
		{"h=8,d=16", "sq is missing"},
		{"sq=8,d=16", "h is missing"},
		{"h=8,sq=16,d=64,", "not key=value"},
		{"h=8,sq=16,d=64,x=1", `unknown key "x"`},
		{"h=8,h=8,sq=16,d=64", "given twice"},
		{"h=0,sq=16,d=64", "h=0 is not a positive number"},
		{"h=8,sq=-1,d=64", "sq=-1 is not a positive number"},
		{"h=8,sq=1e3,d=64", "not a positive number"},
		{"h=99999999999999999999,sq=1,d=64", "not a positive number"},
		{"h=8,hkv=3,sq=16,d=64", "8 heads are not a multiple of 3"},
		{"h=8,sq=16,d=100000", "at most 16384 is supported"},
		{"h=8,sq=16,d=64,mask=diagonal", `unknown mask "diagonal"`},
		{"h=8,sq=16,d=64,mask=causal@", "unknown mask"},
		{"h=8,sq=16,d=64,mask=none@x", "unknown mask"},
		{"h=8,sq=16,d=64,window=3", `window="3" is not LEFT:RIGHT`},
		{"h=8,sq=16,d=64,window=3:-1", "is not LEFT:RIGHT"},
		{"h=8,sq=16,d=64,window=all:", "is not LEFT:RIGHT"},
		{"h=8,sq=16,d=64,window=9999999999:0", "is not LEFT:RIGHT"},
		{"h=8,sq=16,d=64,prefix=0", "not a positive number"},
		{"h=8,sq=16,skv=4,d=64,prefix=5", "a prefix of 5 keys, there are 4"},
		{"h=8,sq=16,skv=4,d=64,segments=5", "5 segments of 16 queries and 4 keys"},
		{"h=8,sq=16,d=64,blocks=128", "is not SIZE:SHARE"},
		{"h=8,sq=16,d=64,blocks=0:0.5", "is not SIZE:SHARE"},
		{"h=8,sq=16,d=64,blocks=4:1.5", "is not a share"},
		{"h=8,sq=16,d=64,keep=0", "is not a share"},
		{"h=8,sq=16,d=64,keep=NaN", "is not a share"},
		{"h=8,sq=16,d=64,ragged=17", "at least 17 tokens, and at most 16"},
		{"h=8,sq=16,skv=17,d=64,ragged=1", "need skv=sq"},
		{"h=8,sq=16,d=64,ragged=1,padded=1", "exclude each other"},
		{"h=8,sq=16,d=64,bias=row", "is not head, shared, head16 or shared16"},
		{"h=8,sq=16,d=64,alibi=0", "is not 1"},
		{"h=8,sq=16,skv=17,d=64,window=3:0", "mask=none does not say where 16 queries stand among 17 keys, for a window or ALiBi"},
		{"h=8,sq=16,skv=15,d=64,alibi=1", "mask=none does not say where 16 queries stand among 15 keys, for a window or ALiBi"},
		{"b=4,h=8,sq=16,d=64,alibi=1,kvlens=9", "mask=none does not say where 16 queries stand"},
		{"b=4,h=8,sq=16,d=64,window=all:3,prefill=2", "mask=none does not say where 1 queries stand among 16 keys"},
		{"h=8,sq=16,d=64,sinks=yes", "is not 1"},
		{"h=8,sq=16,d=64,softcap=-1", "is not a finite number above 0"},
		{"h=8,sq=16,d=64,softcap=1e99", "is not a finite number above 0"},
		{"h=8,sq=16,d=64,kvlens=17", "at least 17 keys, and at most 16"},
		{"h=8,sq=16,d=64,kvlens=0", "is not a positive number"},
		{"h=8,sq=16,d=64,kvlens=3,ragged=1", "ragged and kvlens exclude each other"},
		{"h=8,sq=16,d=64,padded=1,kvlens=3", "padded and kvlens exclude each other"},
		{"b=4,h=8,sq=16,d=64,prefill=4", "prefill of 4 of 4 sequences leaves none"},
		{"b=4,h=8,sq=1,d=64,prefill=2", "prefill of 1 query, at least 2 are needed"},
		{"b=4,h=8,sq=16,skv=15,d=64,prefill=2", "prefill of 16 queries, there are 15 keys"},
		{"b=4,h=8,sq=16,d=64,prefill=2,ragged=1", "ragged and prefill exclude each other"},
		{"b=4,h=8,sq=16,d=64,prefill=2,padded=1", "padded and prefill exclude each other"},
		{"h=8,sq=16,d=64,page=0", "is not a positive number"},
		{"h=8,sq=16,d=64,page=2147483647", "at most 1073741824 are supported"},
		{"h=8,sq=16,d=64,page=4,ragged=1", "ragged and page exclude each other"},
		{"h=8,sq=16,d=64,cache=pages", `"pages" is not slots or ring`},
		{"h=8,sq=16,d=64,cache=", `"" is not slots or ring`},
		{"h=8,sq=16,d=64,cache=slots,page=4", "page and cache exclude each other"},
		{"h=8,sq=16,d=64,cache=slots,v=int8", "cache=slots needs float32, float16, bfloat16, e4m3 or e5m2"},
		{"h=8,sq=16,d=64,cache=slots,layout=qkv", "layout=qkv needs float32 without pages"},
		{"h=8,sq=16,d=64,cache=slots,alibi=1", "and no bias"},
		{"h=8,sq=16,d=64,cache=slots,ragged=4", "needs sequences of equal length"},
		{"h=8,sq=16,d=64,cache=ring,kvlens=4", "needs sequences of equal length"},
		{"h=8,sq=16,d=64,cache=ring,window=3:0", "cache=ring has no mask but causal"},
		{"h=8,sq=16,d=64,cache=ring,mask=causal-top-left", "cache=ring has no mask but causal"},
		{"h=8,sq=16,d=64,cache=ring,bias=head", "and no bias"},
		{"h=8,sq=1073741824,d=1,cache=slots", "more than 32 GiB"},
		{"h=8,sq=16,d=64,kv=fp16", `kv="fp16" is not float32, float16, bfloat16, int8, q8_0, e4m3, e5m2, q4_0 or q4_1`},
		{"h=8,sq=16,d=64,k=", `k="" is not float32`},
		{"h=8,sq=16,d=64,values=int8", "values=int8 without class=int8"},
		{"h=8,sq=16,d=64,class=bfloat16,values=bfloat16", "values=bfloat16 without class=int8"},
		{"h=8,sq=16,d=64,class=int8,values=int4", `values="int4" is not float32, int8 or bfloat16`},
		{"h=8,sq=16,d=64,class=int4", `class="int4" is not float32, int8 or bfloat16`},
		{"h=8,sq=16,d=64,kv=int8,v=int8", "kv and v exclude each other"},
		{"h=8,sq=16,d=64,k=int8,kv=int8", "kv and k exclude each other"},
		{"h=8,sq=16,d=40,dv=64,kv=q8_0", "keys of q8_0 need a head dim that is a multiple of 32, it is 40"},
		{"h=8,sq=16,d=40,v=q8_0", "values of q8_0 need a head dim that is a multiple of 32, it is 40"},
		{"h=1,sq=1,skv=4,d=16384,dv=16384,page=536870912", "more than 32 GiB"},
		{"h=8,sq=65536,d=64,keep=1,bias=head16", "more than 32 GiB"},
		{"h=1,sq=2147483647,d=64", "more than 32 GiB"},
		{"b=65536,h=65536,sq=65536,d=16384", "more than 32 GiB"},
		{"h=1,sq=1,skv=2147483647,d=16384", "more than 32 GiB"},
	} {
		if s, err := ParseShape(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseShape(%q) = %v, %v, want an error about %s", c.text, s, err, c.want)
		}
	}
}

func TestUnmasked(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"b=3,h=4,hkv=2,sq=10,skv=20,d=8,dv=4", ""},
		{"b=3,h=4,hkv=2,sq=10,skv=20,d=8,mask=causal", "b=3,h=4,hkv=2,sq=10,skv=20,d=8"},
		{"h=4,sq=10,d=8,window=1:1,keep=0.5", "h=4,sq=10,d=8"},
		{"h=4,sq=10,d=8,sinks=1", "h=4,sq=10,d=8"},
		{"b=64,h=4,sq=10,d=8,ragged=1", "h=4,sq=10,d=8"},
		{"b=64,h=4,sq=10,skv=20,d=8,prefill=9,kvlens=3,kv=int8,page=4", "h=4,sq=10,skv=20,d=8,kv=int8,page=4"},
	} {
		s := parse(t, c.text)
		u, other := s.Unmasked()
		if c.want == "" {
			c.want = c.text
		}
		if u != parse(t, c.want) || other != (u != s) {
			t.Errorf("%s: %v, %v, want %s", c.text, u, other, c.want)
		}
	}
}

// TestShapeFLOPs compares with what the library says that it computes.
func TestShapeFLOPs(t *testing.T) {
	a, err := qkv.New(qkv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"h=4,hkv=2,sq=10,skv=20,d=8,dv=4",
		"b=2,h=4,sq=10,skv=20,d=8,mask=causal",
		"h=4,sq=20,skv=10,d=8,mask=causal",
		"h=4,sq=10,skv=20,d=8,mask=causal-top-left",
		"h=4,sq=10,skv=20,d=8,mask=causal@5",
		"h=4,sq=10,skv=20,d=8,mask=causal@-5",
		fmt.Sprintf("h=4,sq=10,skv=20,d=8,mask=causal@%d", math.MinInt),
		fmt.Sprintf("h=4,sq=10,skv=20,d=8,mask=causal@%d", math.MaxInt),
		"h=4,sq=150,skv=300,d=8,mask=causal,window=100:0",
		"h=4,hkv=2,sq=150,skv=300,d=8,mask=none@40,window=3:9",
		"h=4,sq=150,d=8,mask=causal,prefix=20,segments=3",
		"b=2,h=4,hkv=2,sq=150,skv=300,d=8,segments=7",
		"h=4,hkv=2,sq=150,skv=300,d=8,blocks=16:0.25",
		"h=4,sq=300,d=8,mask=causal,blocks=128:0.01",
		"h=4,hkv=1,sq=150,skv=300,d=8,keep=0.98",
		"b=9,h=4,hkv=2,sq=150,d=8,mask=causal,ragged=3",
		"b=9,h=4,hkv=2,sq=150,d=8,mask=causal,padded=3",
		"b=3,h=2,sq=150,d=8,mask=causal,window=60:0,prefix=9,segments=4,blocks=32:0.6,keep=0.5,ragged=40",
		"h=4,sq=10,d=8,bias=head,alibi=1,softcap=5,sinks=1",
		"b=9,h=4,hkv=2,sq=3,skv=300,d=8,mask=causal,kvlens=20,window=100:0,prefix=4",
		"b=9,h=4,hkv=2,sq=70,skv=300,d=8,mask=causal,kvlens=20,prefill=4,page=16,kv=float16",
	} {
		s, err := ParseShape(text)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := a.Explain(NewOperands(s, 1).Call())
		if err != nil {
			t.Fatal(err)
		}
		if s.Pairs() != plan.Pairs || s.FLOPs() != plan.FLOPs {
			t.Errorf("%s: %d pairs, %g FLOP; the plan has %d, %g", text, s.Pairs(), s.FLOPs(), plan.Pairs, plan.FLOPs)
		}
	}
}
