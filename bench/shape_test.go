package bench

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

func TestParseShape(t *testing.T) {
	for _, c := range []struct {
		text string
		want Shape
	}{
		{"h=8,sq=16,d=64", Shape{1, 8, 8, 16, 16, 64, 64, Mask{}}},
		{"b=1,h=32,hkv=8,sq=2048,skv=4096,d=128,dv=64,mask=causal", Shape{1, 32, 8, 2048, 4096, 128, 64, Mask{Causal: true, Align: qkv.BottomRight}}},
		{"mask=causal-bottom-right, d=1, sq=2, h=3, b=4", Shape{4, 3, 3, 2, 2, 1, 1, Mask{Causal: true, Align: qkv.BottomRight}}},
		{"h=1,sq=1,d=1,mask=full", Shape{1, 1, 1, 1, 1, 1, 1, Mask{}}},
		{"h=1,sq=1,d=1,mask=none", Shape{1, 1, 1, 1, 1, 1, 1, Mask{}}},
		{"h=1,sq=1,d=1,mask=causal-top-left", Shape{1, 1, 1, 1, 1, 1, 1, Mask{Causal: true}}},
		{"h=1,sq=1,d=1,mask=causal@-3", Shape{1, 1, 1, 1, 1, 1, 1, Mask{Causal: true, Align: qkv.AlignOffset, Offset: -3}}},
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
		{"h=1,sq=2147483647,d=64", "more than 32 GiB"},
		{"b=65536,h=65536,sq=65536,d=16384", "more than 32 GiB"},
		{"h=1,sq=1,skv=2147483647,d=16384", "more than 32 GiB"},
	} {
		if s, err := ParseShape(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseShape(%q) = %v, %v, want an error about %s", c.text, s, err, c.want)
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
