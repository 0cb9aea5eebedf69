package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestLayouts computes every order of every kind of operand, and looks at the strides that the
// library is given.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		text    string
		q, k, v [4]int // strides
	}{
		{"b=2,h=4,hkv=2,sq=5,d=32,layout=bhsd", [4]int{640, 160, 32, 1}, [4]int{320, 160, 32, 1}, [4]int{320, 160, 32, 1}},
		{"b=2,h=4,hkv=2,sq=5,d=32,layout=bshd", [4]int{640, 32, 128, 1}, [4]int{320, 32, 64, 1}, [4]int{320, 32, 64, 1}},
		{"b=2,h=4,hkv=2,sq=5,d=32,layout=bshd+3", [4]int{655, 32, 131, 1}, [4]int{335, 32, 67, 1}, [4]int{335, 32, 67, 1}},
		{"b=2,h=4,hkv=2,sq=5,d=32,layout=qkv", [4]int{1280, 32, 256, 1}, [4]int{1280, 32, 256, 1}, [4]int{1280, 32, 256, 1}},
		{"b=2,h=4,hkv=2,sq=5,d=32,layout=qkv+2,mask=causal", [4]int{1290, 32, 258, 1}, [4]int{1290, 32, 258, 1}, [4]int{1290, 32, 258, 1}},
		{"b=2,h=4,hkv=2,sq=5,d=32,layout=bhds+1", [4]int{768, 192, 1, 6}, [4]int{384, 192, 1, 6}, [4]int{384, 192, 1, 6}},
		{"b=2,h=4,hkv=2,sq=5,skv=9,d=32,dv=64,layout=bshd,kv=q8_0", [4]int{640, 32, 128, 1}, [4]int{18, 1, 2, 1}, [4]int{36, 2, 4, 1}},
		{"b=2,h=2,sq=5,skv=9,d=32,layout=bhsd+1,k=int8,v=float16", [4]int{330, 165, 33, 1}, [4]int{594, 297, 33, 1}, [4]int{594, 297, 33, 1}},
		{"b=2,h=2,sq=1,skv=9,d=32,layout=bshd,page=4,kv=bfloat16", [4]int{64, 32, 64, 1}, [4]int{256, 32, 64, 1}, [4]int{256, 32, 64, 1}},
		{"b=2,h=4,hkv=2,sq=5,d=32,cache=slots", [4]int{640, 160, 32, 1}, [4]int{512, 256, 32, 1}, [4]int{512, 256, 32, 1}},
		{"b=2,h=4,hkv=2,sq=5,d=32,cache=slots,layout=bshd+3,mask=causal", [4]int{655, 32, 131, 1}, [4]int{536, 32, 67, 1}, [4]int{536, 32, 67, 1}},
		{"b=3,h=2,sq=3,skv=9,d=32,cache=slots,kvlens=4,kv=float16,mask=causal", [4]int{}, [4]int{}, [4]int{}},
		{"b=2,h=4,hkv=2,sq=5,skv=7,d=32,cache=ring,mask=causal", [4]int{640, 160, 32, 1}, [4]int{448, 224, 32, 1}, [4]int{448, 224, 32, 1}},
		{"b=2,h=2,sq=1,skv=9,d=32,dv=8,cache=ring,layout=bhds,k=bfloat16", [4]int{64, 32, 1, 1}, [4]int{576, 288, 1, 9}, [4]int{144, 72, 1, 9}},
		{"b=2,h=2,sq=300,d=16,cache=ring,mask=causal,softcap=5", [4]int{}, [4]int{}, [4]int{}},
		{"b=3,h=2,sq=7,d=32,layout=qkv,ragged=2", [4]int{}, [4]int{}, [4]int{}},
		{"b=3,h=2,sq=7,skv=9,d=32,layout=bhsd+4,prefill=1,kvlens=3", [4]int{}, [4]int{}, [4]int{}},
	} {
		o := NewOperands(parse(t, c.text), 1)
		a, err := o.arrange()
		if err != nil {
			t.Fatal(err)
		}
		if call := a.call; c.q != [4]int{} && (call.Q.Strides() != c.q || call.K.Strides() != c.k || call.V.Strides() != c.v) {
			t.Errorf("%s: strides %v, %v, %v, want %v, %v, %v", c.text, call.Q.Strides(), call.K.Strides(), call.V.Strides(), c.q, c.k, c.v)
		}
		paths, err := Library().Paths(o, 1)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		o.Spoil()
		if _, err := o.Check(context.Background(), CheckRows, nil); err == nil {
			t.Errorf("%s: passes before it is computed", c.text)
		}
		if err := errors.Join(paths[0].Compute(), func() error { _, err := o.Check(context.Background(), CheckRows, nil); return err }()); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		for i := range o.Q { // those of the next call
			o.Q[i] = -o.Q[i]
		}
		if err := errors.Join(paths[0].Compute(), func() error { _, err := o.Check(context.Background(), CheckRows, nil); return err }()); err != nil {
			t.Errorf("%s, other queries: %v", c.text, err)
		}
	}
}

func TestParseLayout(t *testing.T) {
	for text, want := range map[string]Layout{
		"bhsd": {}, "bshd": {Order: TokenMajor}, "qkv+16": {PackedQKV, 16}, "bhds": {Order: DimMajor}, "bhsd+1": {HeadMajor, 1},
	} {
		got, err := parseLayout(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
		if text := got.String(); text != "" {
			if again, err := parseLayout(text); err != nil || again != got {
				t.Errorf("%s is read as %v, %v", text, again, err)
			}
		}
	}
	for text, want := range map[string]string{
		"h=8,sq=16,d=64,layout=hsbd":                     `"hsbd" is not bhsd, bshd, qkv, bhds`,
		"h=8,sq=16,d=64,layout=bshd+0":                   "is not 1 to 65536 elements",
		"h=8,sq=16,d=64,layout=bshd+":                    "is not 1 to 65536 elements",
		"h=8,sq=16,d=64,layout=bshd+x":                   "is not 1 to 65536 elements",
		"h=8,sq=16,skv=8,d=64,layout=qkv":                "layout=qkv needs skv=sq and dv=d",
		"h=8,sq=16,d=64,dv=32,layout=qkv":                "layout=qkv needs skv=sq and dv=d",
		"h=8,sq=16,d=64,layout=qkv,kv=float16":           "layout=qkv needs float32 without pages",
		"h=8,sq=16,d=64,layout=qkv,page=4":               "layout=qkv needs float32 without pages",
		"b=2,h=8,sq=16,d=64,layout=qkv,kvlens=3":         "layout=qkv needs as many queries as keys",
		"b=3000,h=1,sq=1024,d=512,layout=bshd+65536":     "more than 32 GiB",
		"b=10,h=64,sq=65536,skv=1,d=64,layout=bshd":      "more than 32 GiB",
		"b=1,h=1,sq=1,skv=70000,d=16384,layout=bshd":     "",
		"b=1,h=1,sq=1,skv=2147483647,d=16384,layout=qkv": "needs skv=sq",
	} {
		_, err := ParseShape(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("ParseShape(%q): %v, want an error about %q", text, err, want)
		}
	}
}
