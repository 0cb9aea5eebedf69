package fp

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// bigFMA computes x*y + z without an error and rounds it once.
func bigFMA(x, y, z float32) float32 {
	s := float64(x)*float64(y) + float64(z)
	if math.IsNaN(s) || math.IsInf(s, 0) { // an operand is one: the sum has no rounding
		return float32(s)
	}
	// The bits of a product reach from 2^-298 to 2^256.
	f := func(v float32) *big.Float { return new(big.Float).SetPrec(600).SetFloat64(float64(v)) }
	p := f(x)
	p.Mul(p, f(y))
	r, _ := p.Add(p, f(z)).Float32()
	return r
}

func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func testFMA(t testing.TB, x, y, z float32) {
	want := bigFMA(x, y, z)
	if got := ExactFMA(x, y, z); !same(got, want) {
		t.Fatalf("ExactFMA(%x, %x, %x) = %x, want %x", x, y, z, got, want)
	}
	if got := FMA(x, y, z); !same(got, want) {
		t.Fatalf("FMA(%x, %x, %x) = %x, want %x", x, y, z, got, want)
	}
	testChains(t, x, y, z, want)
}

var everyLane = [ChainLanes]int{0, 1, 2, 3, 4, 5, 6, 7}

// testChains adds a product to z in each lane, beside sums that are never in question, which
// a lane that is must not disturb. It does so where spans rule out sums that leave the normal
// range, as far as they do, and where they do not.
func testChains(t testing.TB, x, y, z, want float32) {
	spans := []Span{AnySpan}
	if math.Abs(float64(z)) < 0x1p126 { // as sums of products within a span are
		spans = append(spans, NoSpan.And(x))
	}
	lanes := everyLane[:]
	if testing.Short() { // one, by their bits
		l := (math.Float32bits(x)*3 + math.Float32bits(y)*5 + math.Float32bits(z)) * 0x9e3779b9 >> 29
		lanes = everyLane[l : l+1]
	}
	for _, xs := range spans {
		for _, lane := range lanes {
			var c Chains
			var terms [ChainLanes]Term
			for l := range c {
				c[l], terms[l] = Term(lane-l), 1
			}
			c[lane], terms[lane] = Term(z), Term(y)
			others := c
			c.Add(&x, 1, &terms, 1, xs, NoSpan.And(y).And(1), 1)
			if !same(float32(c[lane]), want) {
				t.Fatalf("Chains: %x*%x + %x = %x in lane %d, want %x", x, y, z, float32(c[lane]), lane, want)
			}
			for l := range c {
				if sum := x + float32(others[l]); l != lane && !same(float32(c[l]), sum) {
					t.Fatalf("Chains: %x*1 + %x = %x in lane %d, want %x", x, float32(others[l]), float32(c[l]), l, sum)
				}
			}
		}
	}
}

func TestFMASpecial(t *testing.T) {
	var values []float32
	for _, v := range []float64{
		0, 1, 2, 3, 0.5, 0x1.fffffep-1, 0x1.000002p+0, 0x1p-24, 0x1p-25, 0x1p+24, 0x1p+25,
		0x1p-149, 0x1p-148, 0x1.8p-148, 0x1p-127, 0x1.fffffcp-127, 0x1p-126, 0x1.000002p-126,
		0x1p-75, 0x1.8p-75, 0x1.000002p-75, 0x1p-63, 0x1p-64, 0x1.fffffep-64,
		0x1p+63, 0x1.fffffep+63, 0x1p+64, 0x1p+103, 0x1p+104, 0x1.fffffep+103, 0x1p+127,
		math.MaxFloat32, math.Inf(1), math.NaN(),
	} {
		values = append(values, float32(v), -float32(v))
	}
	values = append(values, math.Float32frombits(1<<31))
	for _, x := range values {
		for _, y := range values {
			for _, z := range values {
				testFMA(t, x, y, z)
			}
		}
	}
}

func TestFMARandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 400_000
	if testing.Short() {
		n /= 10
	}
	for range n {
		x, y, z := math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32())
		testFMA(t, x, y, z)
		// A sum of like terms, which random exponents rarely make.
		_, e := math.Frexp(float64(x) * float64(y))
		testFMA(t, x, y, float32(math.Ldexp(r.Float64()*2-1, e+r.IntN(51)-25)))
	}
}

// TestFMAHalfway adds a number and nearly half of its last place, which the sum
// in float64 cannot tell from the half.
func TestFMAHalfway(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 300_000
	if testing.Short() {
		n /= 10
	}
	var twice, doubtful int
	for range n {
		e := r.IntN(276) - 149 // 2^e is the last place of z
		z := float32(math.Ldexp(float64(1<<23+r.IntN(1<<23)), e))
		if r.IntN(8) == 0 {
			z = float32(math.Ldexp(1<<23, e)) // the places below a power of two are finer
		}
		if r.IntN(4) == 0 {
			// About the least normal number: a last place of 2^-149 holds fewer bits.
			z, e = float32(math.Ldexp(float64(r.IntN(1<<25)), -149)), -149
		}
		// (1 + i/2^23)(1 - j/2^24), about 1, in units of half a last place.
		i, j := r.IntN(4), r.IntN(8)
		half := r.IntN(3) - 1
		x := float32(math.Ldexp(1+float64(i)/(1<<23), (e+half)/2))
		y := float32(math.Ldexp(1-float64(j)/(1<<24), e-1+half-(e+half)/2))
		if r.IntN(2) == 0 {
			x = -x
		}
		if r.IntN(2) == 0 {
			z = -z
		}
		testFMA(t, x, y, z)
		s := wideFMA(x, y, z)
		if ambiguous(s) {
			doubtful++
		}
		if !same(float32(s), FMA(x, y, z)) {
			twice++
		}
	}
	if twice < n/100 {
		t.Errorf("rounding twice is wrong for %d of %d operands (%d ambiguous): they do not test much", twice, n, doubtful)
	}
}

func FuzzFMA(f *testing.F) {
	f.Add(uint32(0x3f800001), uint32(0x3f7ffffe), uint32(0x4b800001))
	f.Add(uint32(0x00000001), uint32(0x3f000000), uint32(0x00000001))
	f.Add(uint32(0x7f7fffff), uint32(0x3f800001), uint32(0xff7fffff))
	f.Fuzz(func(t *testing.T, x, y, z uint32) {
		testFMA(t, math.Float32frombits(x), math.Float32frombits(y), math.Float32frombits(z))
	})
}

// TestChains adds many terms, of each of several kinds, in steps and whole.
func TestChains(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]func() float32{
		"normal":    func() float32 { return float32(r.NormFloat64()) },
		"integers":  func() float32 { return float32(r.IntN(1<<12) - 1<<11) },
		"bfloat16":  func() float32 { return BFloat16ToFloat32(Float32ToBFloat16(float32(r.NormFloat64()))) },
		"zeros":     func() float32 { return [...]float32{0, 1, math.Float32frombits(1 << 31)}[r.IntN(3)] },
		"tiny":      func() float32 { return float32(r.NormFloat64() * 0x1p-70) },
		"subnormal": func() float32 { return math.Float32frombits(r.Uint32() & (1<<31 | 1<<23 - 1)) },
		"huge":      func() float32 { return float32(r.NormFloat64() * 0x1p62) },
		"any":       func() float32 { return math.Float32frombits(r.Uint32()) },
	}
	for xKind, xNext := range kinds {
		for yKind, yNext := range kinds {
			for range 20 {
				const n = 60
				x, y := make([]float32, 2*n), make([][ChainLanes]Term, n)
				xs, ys := NoSpan, NoSpan
				var want [ChainLanes]float32
				for i := range n {
					x[2*i] = xNext()
					xs = xs.And(x[2*i])
					for l := range ChainLanes {
						v := yNext()
						y[i][l] = Term(v)
						ys = ys.And(v)
						want[l] = ExactFMA(x[2*i], v, want[l])
					}
				}
				if r.IntN(4) == 0 {
					xs = AnySpan
				}
				var c Chains
				split := r.IntN(n)
				c.Add(&x[0], 2, &y[0], split, xs, ys, n)
				c.Add(&x[2*split], 2, &y[split], n-split, xs, ys, n)
				for l := range c {
					if got := float32(c[l]); !same(got, want[l]) {
						t.Fatalf("%s times %s, lane %d: %x, want %x", xKind, yKind, l, got, want[l])
					}
				}
			}
		}
	}
}

// TestSpan holds what spans promise against sums.
func TestSpan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	of := func(e int) float32 { return float32(math.Ldexp(1+r.Float64(), e)) }
	var plain int
	for range 100_000 {
		x, y, n := of(r.IntN(276)-149), of(r.IntN(276)-149), 1+r.IntN(100_000)
		if !NoSpan.And(x).And(0).Plain(NoSpan.And(y), n) {
			continue
		}
		plain++
		if p := float64(x) * float64(y); p*float64(n) >= 0x1p127 || math.Ldexp(p, 149) != math.Trunc(math.Ldexp(p, 149)) {
			t.Fatalf("%x times %x, %d times: out of range", x, y, n)
		}
	}
	if plain < 10_000 {
		t.Errorf("%d spans are plain: they test little", plain)
	}
	for _, x := range []float32{float32(math.Inf(-1)), float32(math.NaN())} {
		if s := NoSpan.And(1).And(x); s.finite() || s.Plain(NoSpan, 1) || NoSpan.Plain(s, 1) {
			t.Errorf("%v is finite", x)
		}
	}
}

func BenchmarkFMA(b *testing.B) {
	x, y, s := float32(0.999), float32(1.001), float32(0)
	for b.Loop() {
		s = FMA(x, y, s)
	}
}
