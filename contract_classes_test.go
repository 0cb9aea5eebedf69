package qkv_test

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// A subject is what the contract is tested of: an engine of a set, and a class.
type subject struct {
	*qkv.Engine
	precision qkv.Precision
	values    qkv.Precision // of class Int8
}

// rounds reports whether weights and values are rounded to bfloat16.
func (a *subject) rounds() bool {
	return a.precision == qkv.PrecisionBFloat16 || a.values == qkv.PrecisionBFloat16
}

// forEachSubject runs a test of every class on every set: class Int8 with values of each, and those that are rounded to
// bfloat16 in numbers and, where a set can, in pairs.
func forEachSubject(t *testing.T, f func(t *testing.T, a *subject)) {
	for _, set := range classSets() {
		for _, s := range []subject{
			{}, {precision: qkv.PrecisionBFloat16},
			{precision: qkv.PrecisionInt8}, {precision: qkv.PrecisionInt8, values: qkv.PrecisionInt8}, {precision: qkv.PrecisionInt8, values: qkv.PrecisionBFloat16},
		} {
			if s.precision == qkv.PrecisionFloat32 && !slices.Contains(sets(), set) {
				continue
			}
			if raceEnabled && set == "generic" && s.precision != qkv.PrecisionFloat32 {
				continue // it takes minutes, and other tests look for races of it
			}
			for _, pairs := range []bool{false, true} {
				s.Engine = newAttention(t, qkv.Config{Kernel: set})
				if pairs && (!s.rounds() || !s.Kernel().Paired) {
					continue
				}
				s.TakePairs(pairs)
				t.Run(fmt.Sprintf("class=%v,values=%v,pairs=%v/kernel=%s", s.precision, s.values, pairs, set), func(t *testing.T) { f(t, &s) })
			}
		}
	}
}

// elemTypes returns the types of keys and values to test the class with.
func (a *subject) elemTypes() []qkv.ElemType {
	if a.precision == qkv.PrecisionInt8 {
		return scaledTypes
	}
	return elemTypes
}

// inClass makes a call one of the class.
func (a *subject) inClass(c *qkv.Call) { c.Precision, c.ValuePrecision = a.precision, a.values }

// prepare makes a problem one of the class. Keys and values that it has as float32 become those of int8 if the class
// multiplies integers.
func (a *subject) prepare(p *problem) {
	p.precision, p.valuePrecision = a.precision, a.values
	if a.precision != qkv.PrecisionInt8 {
		return
	}
	if p.change == nil && p.attend == nil {
		if p.keys = qkv.TypeInt8; a.values == qkv.PrecisionInt8 {
			p.values = qkv.TypeInt8
		}
	}
}

// convert makes a call of [scored] or [valued] one of the class: a key, and a value of one dim, is the integer 1 with
// a scale, and values of several dims are integers with the scale 1. What has scales stays.
func (a *subject) convert(t *testing.T, c *qkv.Call) {
	t.Helper()
	a.inClass(c)
	ints := func(x, scale *qkv.View) {
		shape := x.Shape()
		if x.Elem() != qkv.TypeFloat32 || shape[2] == 0 {
			return
		}
		p := newPool(qkv.TypeInt8, shape)
		for j := range shape[2] {
			row := p.ints[j*shape[3]:][:shape[3]]
			if p.scales[j] = 1; shape[3] == 1 {
				row[0], p.scales[j] = 1, x.At(0, 0, j, 0)
				continue
			}
			for d := range row {
				v := x.At(0, 0, j, d)
				if row[d] = int8(v); float32(row[d]) != v {
					t.Fatalf("value %v is no integer", v)
				}
			}
		}
		*x, *scale = p.views()
	}
	if a.precision == qkv.PrecisionInt8 {
		if ints(&c.K, &c.KScale); a.values == qkv.PrecisionInt8 {
			ints(&c.V, &c.VScale)
		}
	}
}

// near compares a result to a few roundings of the class: an output with outputs that it belongs to.
func (a *subject) near(got, want float64, out []float32) bool {
	off := 1e-6 * math.Abs(want)
	switch {
	case a.rounds(): // q' is off by up to 2^-8 of itself, and so is a weight
		off = 0x1p-7 * math.Abs(want)
	case a.values == qkv.PrecisionInt8:
		for _, x := range out {
			if x := math.Abs(float64(x)); !math.IsInf(x, 0) && x == x {
				off = max(off, x/254*1.0001)
			}
		}
	}
	return got == want || got != got && want != want || math.Abs(got-want) <= off
}

// int8Call returns a call of one query with keys of int8 and as many unit vectors as values.
func int8Call(q []float32, keys []int8, scales ...float32) *qkv.Call {
	n, dim := len(scales), len(q)
	c := scored(make([]float32, n)...)
	c.Q = qkv.BHSD(q, 1, 1, 1, dim)
	p := newPool(qkv.TypeInt8, [4]int{1, 1, n, dim})
	copy(p.ints, keys)
	copy(p.scales, scales)
	c.K, c.KScale = p.views()
	return c
}

// classContract has a test for each case of the tables of classes in docs/numerics.md, by its name.
var classContract = map[string]struct {
	of   func(a *subject) bool
	test func(t *testing.T, a *subject)
}{
	"Int8: Inf in the query, or a number that is beyond float32 once it is scaled": {integerKeys, func(t *testing.T, a *subject) {
		for _, x := range []float32{posInf, negInf} {
			gives(t, a, int8Call([]float32{x, 1}, []int8{0, 1, 0, 0}, 1, 0), undefined, nan, nan)
		}
		c := int8Call([]float32{3e38, 0}, []int8{0, 1, 0, 0}, 1, 0)
		c.Scale = 2
		gives(t, a, c, undefined, nan, nan)
	}},
	"Int8: infinite scale of a key that the row attends": {integerKeys, func(t *testing.T, a *subject) {
		for _, typ := range scaledTypes {
			givesScale(t, a, typ, 1, 1, 0, posInf, undefined)
			givesScale(t, a, typ, 1, 1, 0, negInf, math.Inf(-1))
			givesScale(t, a, typ, 1, 0, 0, negInf, undefined)
			givesScale(t, a, typ, 0, 1, 1, negInf, undefined)
			if typ != qkv.TypeQ4_1 { // whose codes have no sign
				givesScale(t, a, typ, 1, 1, -1, negInf, undefined)
			}
		}
	}},
	"Int8: scale of a key whose product with that of the query is beyond float32": {integerKeys, func(t *testing.T, a *subject) {
		for _, typ := range scaledTypes {
			const q = 1.5e38
			givesScale(t, a, typ, q, 1, 0, 65504, undefined)
			givesScale(t, a, typ, q, 1, 0, -65504, math.Inf(-1))
			givesScale(t, a, typ, q, 0, 0, 65504, undefined)
			if typ != qkv.TypeQ4_1 {
				givesScale(t, a, typ, q, -1, 0, 65504, math.Inf(-1))
				givesScale(t, a, typ, q, 1, -1, -65504, undefined)
			}
		}
	}},
	"Int8: scale of a key whose product with that of the query is subnormal": {integerKeys, func(t *testing.T, a *subject) {
		for _, heads := range []int{1, 40} {
			const scale = 0x1.8p-136
			c := int8Call([]float32{1}, []int8{100, 0}, scale, 0)
			scores := make([]float32, 2*heads)
			c.Q, c.Out = qkv.BHSD(all(1, heads), 1, heads, 1, 1), qkv.BHSD(make([]float32, 2*heads), 1, heads, 1, 2)
			c.Scores = qkv.Pairs(scores, 1, heads, 1, 2)
			a.inClass(c)
			must(a.Run(c))
			// round(w*d) is off by 2^-150 at most, and the integers are 127 and 100.
			exact := 100 * float64(scale)
			off := math.Abs(float64(scores[0]) - exact)
			if bound := (0x1p-150*127*100 + 0x1p-149) / (math.Log2E / 2); off > bound || off == 0 {
				t.Errorf("score %g, want %g: off by %g, at most %g", scores[0], exact, off, bound)
			}
		}
	}},
	"Int8: 32 dims of the scaled query that are at most 127 * 2^-128": {integerKeys, func(t *testing.T, a *subject) {
		const least = 127 * 0x1p-128
		q := float32(least / (math.Log2E / 2))
		for q*float32(math.Log2E/2) > least {
			q = math.Nextafter32(q, 0)
		}
		gives(t, a, int8Call([]float32{q, -q}, []int8{1, 0, 0, 0}, 3e38, 0), math.Ln2, .5, .5)
		gives(t, a, int8Call([]float32{q, -q}, []int8{127, 0, 0, 0}, posInf, 0), undefined, nan, nan)
		above := int8Call([]float32{2 * q, 0}, []int8{1, 0, 0, 0}, 3e38, 0)
		gives(t, a, above, 2*float64(q)*float64(float32(3e38)), 1, 0)
	}},
	"Int8: Min of a key that is infinite, in BlockQ4_1": {integerKeys, func(t *testing.T, a *subject) {
		for _, c := range []struct {
			q0, q1 float32
			least  float32
			lse    float64
		}{{1, 1, posInf, undefined}, {1, 1, negInf, math.Inf(-1)}, {1, -1, negInf, undefined}, {0, 0, negInf, undefined}} {
			givesLeast(t, a, c.q0, c.q1, c.least, c.lse)
		}
	}},
	"Int8: 32 dims of the scaled query whose sum is beyond float32, and a key of BlockQ4_1": {integerKeys, func(t *testing.T, a *subject) {
		givesLeast(t, a, 3e38, 3e38, 0.5, undefined)
		givesLeast(t, a, 3e38, 3e38, -0.5, math.Inf(-1))
		givesLeast(t, a, 3e38, 3e38, 0, undefined)
		givesLeast(t, a, 3e38, -3e38, 0.5, math.Ln2)
	}},
	"values in Int8: scale of a value that the row attends that is NaN or infinite": {integerValues, func(t *testing.T, a *subject) {
		for _, x := range poisons {
			gives(t, a, valued(1, x), math.Ln2, nan)
			c := scored(100, -100)
			c.V = qkv.BHSD([]float32{1, x}, 1, 1, 2, 1)
			gives(t, a, c, 100, nan)
		}
		testNumberOfValue(t, a, false)
	}},
	"values in Int8: product of a weight and the scale of its value that is beyond float32": {integerValues, func(t *testing.T, a *subject) {
		gives(t, a, probMod(valued(3e38, 1), 2, 1), math.Ln2, nan)
		gives(t, a, probMod(scored(0, 0), posInf, 1), math.Ln2, nan, nan)
	}},
	"values in Int8: products of 32 weights and scales that are at most 127 * 2^-128": {integerValues, func(t *testing.T, a *subject) {
		const least = 127 * 0x1p-128
		gives(t, a, valued(least, least), math.Ln2, 0)
		gives(t, a, valued(2*least, 2*least), math.Ln2, 2*least)
	}},
	"values in Int8: Min of a value that is NaN or infinite, in BlockQ4_1": {integerValues, func(t *testing.T, a *subject) {
		testNumberOfValue(t, a, true)
	}},
	"BFloat16: number of the scaled query or a key from 2^128 - 2^119 on": {roundedKeys, func(t *testing.T, a *subject) {
		const first, below = 0x1.ffp127, 0x1.fefffep127
		gives(t, a, scored(first, 0), undefined, nan, nan)
		gives(t, a, scored(-first, 0), 0, 0, 1)
		gives(t, a, scored(below, 0), below, 1, 0)
		c := scored(0, 1)
		c.Q, c.Scale = qkv.BHSD([]float32{first}, 1, 1, 1, 1), 2
		gives(t, a, c, undefined, nan, nan)
	}},
	"BFloat16: number of the scaled query or a key that is below 2^-56 once it is rounded": {roundedKeys, func(t *testing.T, a *subject) {
		const big, least, below = 0x1p57, 0x1p-56, 0x1.fdp-57
		for _, x := range []float32{below, 0x1p-149} {
			c := scored(x, 0)
			c.Q = qkv.BHSD([]float32{big}, 1, 1, 1, 1)
			gives(t, a, c, math.Ln2, .5, .5)
		}
		c := scored(least, 0)
		c.Q = qkv.BHSD([]float32{big}, 1, 1, 1, 1)
		e := math.Exp(-2)
		gives(t, a, c, 2+math.Log1p(e), float32(1/(1+e)), float32(e/(1+e)))
	}},
	"values in BFloat16: value from 2^128 - 2^119 on": {(*subject).rounds, func(t *testing.T, a *subject) {
		const first, below = 0x1.ffp127, 0x1.fefffep127
		gives(t, a, valued(first, 0), math.Ln2, posInf)
		gives(t, a, valued(-first, first), math.Ln2, nan)
		gives(t, a, valued(below, 0), math.Ln2, below/2)
	}},
	"values in BFloat16: value that is below 2^-56 once it is rounded": {(*subject).rounds, func(t *testing.T, a *subject) {
		for _, x := range []float32{0x1.fdp-57, 0x1p-149} {
			gives(t, a, valued(x, x), math.Ln2, 0)
		}
		gives(t, a, valued(0x1p-56, 0x1p-56), math.Ln2, 0x1p-56)
	}},
	"values in BFloat16: weight that is below 2^-56 once it is rounded": {(*subject).rounds, func(t *testing.T, a *subject) {
		gives(t, a, scoreMod(scored(0, 0), 0, -40), 0, 1, 0)
		gives(t, a, scoreMod(scored(0, 0), 0, -37), 0, 1, float32(math.Exp(-37)))
		c := scoreMod(scored(0, 0), 0, -40)
		c.V = qkv.BHSD([]float32{1, posInf}, 1, 1, 2, 1)
		gives(t, a, c, 0, nan)
	}},
	"values in BFloat16: ProbMod returns a number from 2^128 - 2^119 on": {(*subject).rounds, func(t *testing.T, a *subject) {
		gives(t, a, probMod(valued(0x1p-20, 1), 0x1.ffp127, 1), math.Ln2, posInf)
	}},
}

func integerKeys(a *subject) bool   { return a.precision == qkv.PrecisionInt8 }
func integerValues(a *subject) bool { return a.values == qkv.PrecisionInt8 }
func roundedKeys(a *subject) bool   { return a.precision == qkv.PrecisionBFloat16 }

// givesScale is [gives] of a query of 32 dims, the first two of which are q, and two keys of a type that are integers in
// these and zeros otherwise, with a scale.
func givesScale(t *testing.T, a *subject, typ qkv.ElemType, q float32, first, second int8, scale float32, lse float64) {
	t.Helper()
	k, half := newPool(typ, [4]int{1, 1, 2, 32}), uint16(qkv.ToFloat16(scale))
	for i := range 2 {
		switch typ {
		case qkv.TypeInt8:
			clear(k.ints[32*i:][:32])
			k.ints[32*i], k.ints[32*i+1], k.scales[i] = first, second, scale
		case qkv.TypeQ8_0:
			k.blocks[i] = qkv.BlockQ8_0{Scale: half, Quants: [32]int8{first, second}}
		case qkv.TypeQ4_0:
			b := &k.q4[i]
			for at := range b.Quants {
				b.Quants[at] = 0x88
			}
			b.Scale, b.Quants[0], b.Quants[1] = half, uint8(0x88+int(first)), uint8(0x88+int(second))
		case qkv.TypeQ4_1:
			k.q41[i] = qkv.BlockQ4_1{Scale: half, Quants: [16]uint8{uint8(first), uint8(second)}}
		}
	}
	givesKeys(t, a, []float32{q, q}, k, lse)
}

// givesKeys is [gives] of a query of 32 dims, the others 0, and two keys. The log-sum-exp says which outputs there are.
func givesKeys(t *testing.T, a *subject, q []float32, k *pool, lse float64) {
	t.Helper()
	c := scored(0, 0)
	c.Q = qkv.BHSD(append(slices.Clone(q), make([]float32, 32-len(q))...), 1, 1, 1, 32)
	c.K, c.KScale = k.views()
	switch lse {
	case math.Inf(-1):
		gives(t, a, c, lse, 0, 0)
	case math.Ln2:
		gives(t, a, c, lse, .5, .5)
	default:
		gives(t, a, c, lse, nan, nan)
	}
}

// givesLeast is [gives] of a query of 32 dims, two of which are not 0, and two keys of BlockQ4_1 that are zeros but for a
// Min.
func givesLeast(t *testing.T, a *subject, q0, q1, least float32, lse float64) {
	t.Helper()
	k := newPool(qkv.TypeQ4_1, [4]int{1, 1, 2, 32})
	for i := range 2 {
		k.set(0, 0, i, make([]float32, 32))
		k.setScale(0, 0, i, least)
	}
	givesKeys(t, a, []float32{q0, q1}, k, lse)
}

// testNumberOfValue makes the Min, or the Scale, of a value's block of BlockQ4_1 NaN or infinite: the dims of the block are
// NaN, or of an infinite Min an infinity or NaN.
func testNumberOfValue(t *testing.T, a *subject, least bool) {
	const token = 20
	for _, queries := range fewAndMany {
		for _, poison := range poisons {
			p, _, v := scaled(qkv.TypeQ4_1, queries, bottomRight)
			if b := &v.q41[(v.shape[2]+token)*v.rowUnits]; least {
				b.Min = uint16(qkv.ToFloat16(poison))
			} else {
				b.Scale = uint16(qkv.ToFloat16(poison))
			}
			a.prepare(p)
			out, _ := p.run(t, a.Engine)
			for row := range 4 * queries {
				attends := row >= 2*queries && 37-queries+row%queries >= token
				for d, x := range out[row*64:][:64] {
					if bad := attends && d < 32; bad != (x-x != 0) || bad && x == x && (!least || poison != poison) {
						t.Fatalf("Min %v, %v: row %d, dim %d is %v", least, poison, row, d, x)
					}
				}
			}
		}
	}
}

// tableCases returns the first cells of the rows of the tables in docs/numerics.md behind a heading.
func tableCases(t *testing.T, heading string) (cases []string) {
	t.Helper()
	text, err := os.ReadFile("docs/numerics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/numerics.md has no heading %q", heading)
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		switch {
		case strings.HasPrefix(line, "#"):
			return cases
		case len(cells) < 3 || strings.HasPrefix(cells[1], "---") || cells[1] == " case ":
		default:
			cases = append(cases, strings.TrimSpace(cells[1]))
		}
	}
	return cases
}

// sameCases requires the names of tests to be the cases of a table.
func sameCases[T any](t *testing.T, tests map[string]T, cases []string) {
	t.Helper()
	for name := range tests {
		if !slices.Contains(cases, name) {
			t.Errorf("docs/numerics.md has no case %q", name)
		}
	}
	for _, name := range cases {
		if _, ok := tests[name]; !ok {
			t.Errorf("no test of the contract has the name %q", name)
		}
	}
}

// TestContract runs the cases of docs/numerics.md, which must be those that have a test, in every class on every set.
func TestContract(t *testing.T) {
	t.Parallel()
	cases := tableCases(t, "## NaN, infinities, empty rows")
	sameCases(t, contract, cases)
	for _, name := range cases {
		t.Run(name, func(t *testing.T) { forEachSubject(t, contract[name]) })
	}
}

// TestContractClasses runs the cases of classes likewise.
func TestContractClasses(t *testing.T) {
	t.Parallel()
	cases := tableCases(t, "### By class")
	sameCases(t, classContract, cases)
	for _, name := range cases {
		c := classContract[name]
		t.Run(name, func(t *testing.T) {
			forEachSubject(t, func(t *testing.T, a *subject) {
				if c.of(a) {
					c.test(t, a)
				}
			})
		})
	}
}
