package qkv_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

func newRotary(t testing.TB, cfg qkv.RotaryConfig) *qkv.Rotary {
	t.Helper()
	r, err := qkv.NewRotary(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rotaryTensor returns a tensor whose elements are drawn by next and whose other memory
// is canaries.
func rotaryTensor(layout string, batch, heads, seq, dim int, next func() float32) *tensor {
	x := newTensor(layout, batch, heads, seq, dim, nil)
	x.each(func(i int) { x.data[i] = next() })
	return x
}

// rotated returns the elements of x after their rotation in float64, in the order of the
// axes, and the bounds of the errors.
func rotated(x *tensor, cos, sin []float32, dim int, interleaved bool, position func(b, s int) int) (want, bound []float64) {
	d := x.shape
	for b := range d[0] {
		for h := range d[1] {
			for s := range d[2] {
				for e := range d[3] {
					value := float64(x.at(b, h, s, e))
					if e >= dim {
						want, bound = append(want, value), append(bound, 0)
						continue
					}
					pair, other, sign := e%(dim/2), (e+dim/2)%dim, -1.0
					if interleaved {
						pair, other = e/2, e^1
					}
					if other < e {
						sign = 1
					}
					at := position(b, s)*dim/2 + pair
					p, q := value*float64(cos[at]), sign*float64(x.at(b, h, s, other))*float64(sin[at])
					want = append(want, p+q)
					// The product is rounded, and then the sum.
					bound = append(bound, 0x1p-24*math.Abs(p)+0x1p-24*math.Abs(p+q)+0x1p-46)
				}
			}
		}
	}
	return want, bound
}

var rotaryLayouts = []string{"bhsd", "bshd", "bhds", "gaps", "reversed"}

// TestRotate compares with float64: every layout, both pairings, all or a part of the head
// dim, positions of each kind. Nothing but the tensor is written.
func TestRotate(t *testing.T) {
	const batch, heads, seq, positions = 2, 3, 7, 40
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, layout := range rotaryLayouts {
			for _, dims := range [][2]int{{2, 2}, {6, 6}, {34, 40}, {64, 64}, {128, 128}, {20, 80}} {
				for _, interleaved := range []bool{false, true} {
					rotary := newRotary(t, qkv.RotaryConfig{Dim: dims[0], Interleaved: interleaved, MaxPositions: positions})
					for _, kind := range []string{"none", "shared", "own", "runs"} {
						x := rotaryTensor(layout, batch, heads, seq, dims[1], normal(r.Uint64()))
						var ids []int
						switch kind {
						case "shared":
							ids = make([]int, seq)
						case "own", "runs":
							ids = make([]int, batch*seq)
						}
						for i := range ids {
							if ids[i] = r.IntN(positions); kind == "runs" && i%3 > 0 {
								ids[i] = min(ids[i-1]+1, positions-1)
							}
						}
						position := func(b, s int) int {
							switch kind {
							case "none":
								return s
							case "shared":
								return ids[s]
							}
							return ids[b*seq+s]
						}
						cos, sin := rotary.Tables()
						want, bound := rotated(x, cos, sin, dims[0], interleaved, position)
						if err := a.Rotate(rotary, x.view(), ids); err != nil {
							t.Fatal(err)
						}
						for i, got := range x.values() {
							if !(math.Abs(float64(got)-want[i]) <= bound[i]) {
								t.Fatalf("%s dims=%v interleaved=%v positions=%s: element %d is %v, want %v", layout, dims, interleaved, kind, i, got, want[i])
							}
						}
						checkGaps(t, x)
					}
				}
			}
		}
	})
}

// TestRotateSameBits: neither the kernel set, nor the layout, nor what else is in the
// tensor changes a bit.
func TestRotateSameBits(t *testing.T) {
	const batch, heads, seq = 2, 3, 5
	for _, dims := range [][2]int{{2, 2}, {6, 7}, {64, 64}, {80, 128}} {
		for _, interleaved := range []bool{false, true} {
			rotary := newRotary(t, qkv.RotaryConfig{Dim: dims[0], Interleaved: interleaved, MaxPositions: seq})
			var want []float32
			forEachSet(t, func(t *testing.T, a *qkv.Engine) {
				for _, layout := range rotaryLayouts {
					x := rotaryTensor(layout, batch, heads, seq, dims[1], normal(1))
					one := rotaryTensor(layout, batch, heads, seq, dims[1], normal(1))
					if err := a.Rotate(rotary, x.view(), nil); err != nil {
						t.Fatal(err)
					}
					if want == nil {
						want = x.values()
					}
					sameBits(t, layout, x.values(), want)
					for b := range batch {
						for h := range heads {
							for s := range seq {
								token := one.cut([4]int{b, h, s, 0}, [4]int{1, 1, 1, dims[1]})
								if err := a.Rotate(rotary, token.view(), []int{s}); err != nil {
									t.Fatal(err)
								}
							}
						}
					}
					sameBits(t, layout+", one by one", one.values(), want)
				}
			})
		}
	}
}

// TestRotateLong has more rows than a call into the kernel set takes.
func TestRotateLong(t *testing.T) {
	const seq, dim = 1500, 64
	rotary := newRotary(t, qkv.RotaryConfig{Dim: dim, MaxPositions: seq})
	cos, sin := rotary.Tables()
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		for _, layout := range []string{"bhsd", "bshd"} {
			x := rotaryTensor(layout, 1, 2, seq, dim, normal(2))
			want, bound := rotated(x, cos, sin, dim, false, func(_, s int) int { return s })
			if err := a.Rotate(rotary, x.view(), nil); err != nil {
				t.Fatal(err)
			}
			for i, got := range x.values() {
				if !(math.Abs(float64(got)-want[i]) <= bound[i]) {
					t.Fatalf("%s: element %d is %v, want %v", layout, i, got, want[i])
				}
			}
		}
	})
}

// TestRotateEmpty: a tensor without elements is no error, whatever its lengths.
func TestRotateEmpty(t *testing.T) {
	rotary := newRotary(t, qkv.RotaryConfig{Dim: 4, MaxPositions: 2})
	for _, d := range [][3]int{{0, 2, 9}, {1, 0, 9}, {1, 2, 0}} {
		if err := newAttention(t, qkv.Config{}).Rotate(rotary, qkv.BHSD([]float32{}, d[0], d[1], d[2], 4), nil); err != nil {
			t.Errorf("%v: %v", d, err)
		}
	}
	given := newRotary(t, qkv.RotaryConfig{Dim: 4, Cos: []float32{}, Sin: []float32{}})
	if err := newAttention(t, qkv.Config{}).Rotate(given, qkv.BHSD([]float32{}, 1, 1, 0, 4), nil); err != nil || given.Positions() != 0 {
		t.Errorf("tables without a position: %v", err)
	}
}

func TestRotateErrors(t *testing.T) {
	a := newAttention(t, qkv.Config{})
	rotary := newRotary(t, qkv.RotaryConfig{Dim: 8, MaxPositions: 6})
	data := make([]float32, 2*3*4*8)
	view := qkv.BHSD(data, 2, 3, 4, 8)
	for _, c := range []struct {
		arg, want string
		rotary    *qkv.Rotary
		x         qkv.View
		positions []int
	}{
		{"rotary", "qkv: rotary is nil or empty, one of NewRotary is needed", nil, view, nil},
		{"rotary", "qkv: rotary is nil or empty, one of NewRotary is needed", &qkv.Rotary{}, view, nil},
		{"x", "qkv: x has elements of type bool, float32 is needed", rotary, qkv.BHSD(make([]bool, 8), 1, 1, 1, 8), nil},
		{"x", "qkv: x is not given", rotary, qkv.View{}, nil},
		{"x", "qkv: x has head dim 4, the rotary embedding has 8", rotary, qkv.BHSD(data, 2, 3, 4, 4), nil},
		{"x", "qkv: x reaches element 383, its slice has 192", rotary, qkv.BHSD(data, 4, 3, 4, 8), nil},
		{"x", "qkv: x overlaps itself: its heads stride is 0, at least 1 is needed", rotary,
			qkv.Strided(data, 0, [4]int{2, 3, 4, 8}, [4]int{32, 0, 8, 1}), nil},
		{"x", "qkv: x has sequence length 7, the rotary embedding has 6 positions", rotary, qkv.BHSD(data, 1, 1, 7, 8), nil},
		{"positions", "qkv: positions has length 5, x has sequence length 4 and batch 2", rotary, view, make([]int, 5)},
		{"positions", "qkv: positions has length 0, x has sequence length 4 and batch 2", rotary, view, []int{}},
		{"positions", "qkv: positions[2] is 6, the rotary embedding has 6 positions", rotary, view, []int{0, 1, 6, 2}},
		{"positions", "qkv: positions[7] is -1, the rotary embedding has 6 positions", rotary, view, []int{0, 1, 2, 3, 0, 1, 2, -1}},
	} {
		for i := range data {
			data[i] = canary
		}
		err := a.Rotate(c.rotary, c.x, c.positions)
		var arg *qkv.ArgError
		if !errors.As(err, &arg) || err.Error() != c.want || arg.Arg != c.arg {
			t.Errorf("error %v, want %s", err, c.want)
		}
		if slices.ContainsFunc(data, func(x float32) bool { return x != canary }) {
			t.Fatalf("%s: x was written", c.want)
		}
	}
}

func TestRotaryConfigErrors(t *testing.T) {
	long := qkv.RotaryScaling{
		Type: qkv.ScalingLongRoPE, Factor: 2, OriginalMaxPositions: 8, ShortFactor: []float64{1, 1, 1, 1}, LongFactor: []float64{1, 1, 1, 1},
	}
	yarn := qkv.RotaryScaling{Type: qkv.ScalingYaRN, Factor: 2, OriginalMaxPositions: 8}
	llama := qkv.RotaryScaling{Type: qkv.ScalingLlama3, Factor: 2, OriginalMaxPositions: 8, LowFreqFactor: 1, HighFreqFactor: 4}
	with := func(s qkv.RotaryScaling, change func(*qkv.RotaryScaling)) func(*qkv.RotaryConfig) {
		return func(c *qkv.RotaryConfig) { change(&s); c.Scaling = s }
	}
	for _, s := range []qkv.RotaryScaling{long, yarn, llama} {
		if _, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 8, MaxPositions: 16, Scaling: s}); err != nil {
			t.Errorf("%s: %v", s.Type, err)
		}
	}
	inf := math.Inf(1)
	for _, c := range []struct {
		arg, want string
		change    func(*qkv.RotaryConfig)
	}{
		{"dim", "dim is 0, at least 2 is needed", func(c *qkv.RotaryConfig) { c.Dim = 0 }},
		{"dim", "dim is -2, at least 2 is needed", func(c *qkv.RotaryConfig) { c.Dim = -2 }},
		{"dim", "dim is 7, an even number is needed", func(c *qkv.RotaryConfig) { c.Dim = 7 }},
		{"dim", "dim is 16386, at most 16384 is supported", func(c *qkv.RotaryConfig) { c.Dim = 16386 }},
		{"maxPositions", "maxPositions is 0, at least 1 is needed", func(c *qkv.RotaryConfig) { c.MaxPositions = 0 }},
		{"maxPositions", "maxPositions is 1073741824, at most", func(c *qkv.RotaryConfig) { c.MaxPositions = 1 << 30 }},
		{"base", "base is 1, a finite number above 1 is needed", func(c *qkv.RotaryConfig) { c.Base = 1 }},
		{"base", "base is NaN, a finite number above 1 is needed", func(c *qkv.RotaryConfig) { c.Base = math.NaN() }},
		{"base", "base is +Inf, a finite number above 1 is needed", func(c *qkv.RotaryConfig) { c.Base = inf }},
		{"base", `base is 10000 and its scaling "ntk" makes it +Inf`, func(c *qkv.RotaryConfig) {
			c.Scaling = qkv.RotaryScaling{Type: qkv.ScalingNTK, Factor: 1e300}
		}},
		{"scaling", `scaling has the unknown type "su"`, func(c *qkv.RotaryConfig) { c.Scaling.Type = "su" }},
		{"scaling", `scaling "linear" has factor 0.5, a finite number of at least 1 is needed`, func(c *qkv.RotaryConfig) {
			c.Scaling = qkv.RotaryScaling{Type: qkv.ScalingLinear, Factor: 0.5}
		}},
		{"scaling", `scaling "yarn" has factor 0,`, with(yarn, func(s *qkv.RotaryScaling) { s.Factor = 0 })},
		{"scaling", `scaling "yarn" has factor NaN,`, with(yarn, func(s *qkv.RotaryScaling) { s.Factor = math.NaN() })},
		{"scaling", `scaling "yarn" has original max positions 0, 2 to 1073741824 are supported`, with(yarn, func(s *qkv.RotaryScaling) { s.OriginalMaxPositions = 0 })},
		{"scaling", `scaling "yarn" has betas 1 and 2,`, with(yarn, func(s *qkv.RotaryScaling) { s.BetaFast, s.BetaSlow = 1, 2 })},
		{"scaling", `scaling "yarn" has attention factor 1e-39, 2.3509887e-38 to 3.4028235e+38 is supported`, with(yarn, func(s *qkv.RotaryScaling) { s.AttentionFactor = 1e-39 })},
		{"scaling", `scaling "yarn" has attention factor 1e+39, 2.3509887e-38 to 3.4028235e+38 is supported`, with(yarn, func(s *qkv.RotaryScaling) { s.AttentionFactor = 1e39 })},
		{"scaling", `scaling "yarn" has attention factor -1,`, with(yarn, func(s *qkv.RotaryScaling) { s.AttentionFactor = -1 })},
		{"scaling", `scaling "yarn" has attention factor +Inf,`, with(yarn, func(s *qkv.RotaryScaling) { s.MScale, s.MScaleAllDim = inf, -1 })},
		{"scaling", `scaling "llama3" has frequency factors 4 and 4,`, with(llama, func(s *qkv.RotaryScaling) { s.LowFreqFactor = 4 })},
		{"scaling", `scaling "llama3" has frequency factors 0 and 4,`, with(llama, func(s *qkv.RotaryScaling) { s.LowFreqFactor = 0 })},
		{"scaling", `scaling "longrope" has 3 long factors, the dim of 8 needs 4`, with(long, func(s *qkv.RotaryScaling) { s.LongFactor = s.LongFactor[:3] })},
		{"scaling", `scaling "longrope" has the long factor 0 at 1,`, with(long, func(s *qkv.RotaryScaling) { s.LongFactor = []float64{1, 0, 1, 1} })},
		{"sin", "sin has length 4, cos has 8", func(c *qkv.RotaryConfig) {
			*c = qkv.RotaryConfig{Dim: 8, Cos: make([]float32, 8), Sin: make([]float32, 4)}
		}},
		{"cos", "cos has length 6, not a multiple of half of dim, 4", func(c *qkv.RotaryConfig) {
			*c = qkv.RotaryConfig{Dim: 8, Cos: make([]float32, 6), Sin: make([]float32, 6)}
		}},
		{"maxPositions", "maxPositions is 16, beside given tables it is 0", func(c *qkv.RotaryConfig) { c.Cos, c.Sin = make([]float32, 8), make([]float32, 8) }},
		{"base", "base is 2, beside given tables it is 0", func(c *qkv.RotaryConfig) {
			*c = qkv.RotaryConfig{Dim: 8, Base: 2, Cos: make([]float32, 8), Sin: make([]float32, 8)}
		}},
		{"scaling", `scaling has type "yarn", beside given tables it has none`, func(c *qkv.RotaryConfig) {
			*c = qkv.RotaryConfig{Dim: 8, Scaling: yarn, Cos: make([]float32, 8), Sin: make([]float32, 8)}
		}},
	} {
		cfg := qkv.RotaryConfig{Dim: 8, MaxPositions: 16}
		c.change(&cfg)
		r, err := qkv.NewRotary(cfg)
		var arg *qkv.ArgError
		if !errors.As(err, &arg) || !strings.HasPrefix(err.Error(), "qkv: "+c.want) || arg.Arg != c.arg || r != nil {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

// TestRotaryDynamicFactor has a factor beside which 1 is lost: up to OriginalMaxPositions
// the base stays what it is.
func TestRotaryDynamicFactor(t *testing.T) {
	cfg := qkv.RotaryConfig{Dim: 8, MaxPositions: 16, Base: 1.5}
	want, _ := newRotary(t, cfg).Tables()
	cfg.Scaling = qkv.RotaryScaling{Type: qkv.ScalingDynamic, Factor: 1e17, OriginalMaxPositions: 16}
	got, _ := newRotary(t, cfg).Tables()
	sameBits(t, "factor 1e17", got, want)
}

// TestRotateAllocs: a call allocates nothing.
func TestRotateAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops items under the race detector")
	}
	rotary := newRotary(t, qkv.RotaryConfig{Dim: 64, MaxPositions: 64})
	positions := make([]int, 64)
	forEachSet(t, func(t *testing.T, a *qkv.Engine) {
		x := rotaryTensor("bshd", 1, 4, 64, 64, normal(1)).view()
		if n := allocsPerCall(20, func() {
			if err := a.Rotate(rotary, x, positions); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations a call", n)
		}
	})
}

// goldenRotary are hashes of the tables and of a rotated tensor, the same on every
// architecture.
var goldenRotary = []struct {
	cfg  qkv.RotaryConfig
	hash string
}{
	{qkv.RotaryConfig{Dim: 2, MaxPositions: 9}, "7ca835ccb03f908a"},
	{qkv.RotaryConfig{Dim: 64, MaxPositions: 300, Base: 1e6, Interleaved: true}, "db859b2359b1ca88"},
	{qkv.RotaryConfig{Dim: 34, MaxPositions: 300, Scaling: qkv.RotaryScaling{Type: qkv.ScalingLinear, Factor: 3}}, "1574ef7c0484d9e6"},
	{qkv.RotaryConfig{Dim: 48, MaxPositions: 300, Scaling: qkv.RotaryScaling{Type: qkv.ScalingNTK, Factor: 4}}, "95ef0fcdaccd2d95"},
	{qkv.RotaryConfig{Dim: 48, MaxPositions: 300, Scaling: qkv.RotaryScaling{Type: qkv.ScalingDynamic, Factor: 4, OriginalMaxPositions: 100}}, "a49dbac8e865fbe0"},
	{qkv.RotaryConfig{Dim: 64, MaxPositions: 300, Base: 150000, Scaling: qkv.RotaryScaling{Type: qkv.ScalingYaRN, Factor: 32, OriginalMaxPositions: 4096}}, "f29b321b68194999"},
	{qkv.RotaryConfig{Dim: 128, MaxPositions: 300, Base: 500000, Interleaved: true, Scaling: qkv.RotaryScaling{
		Type: qkv.ScalingLlama3, Factor: 8, OriginalMaxPositions: 8192, LowFreqFactor: 1, HighFreqFactor: 4,
	}}, "f00dfb52ddf804de"},
	{qkv.RotaryConfig{Dim: 4, MaxPositions: 300, Scaling: qkv.RotaryScaling{
		Type: qkv.ScalingLongRoPE, Factor: 32, OriginalMaxPositions: 256, LongFactor: []float64{1.1, 40.5},
	}}, "bf0235bb9500a1ac"},
}

func TestGoldenRotary(t *testing.T) {
	for _, set := range sets() {
		a := newAttention(t, qkv.Config{Kernel: set})
		for i, c := range goldenRotary {
			rotary := newRotary(t, c.cfg)
			cos, sin := rotary.Tables()
			x := rotaryTensor("bshd", 1, 2, rotary.Positions(), c.cfg.Dim+1, integers(uint64(i), 1))
			if err := a.Rotate(rotary, x.view(), nil); err != nil {
				t.Fatal(err)
			}
			if got := hash(cos, sin, x.values()); got != c.hash {
				t.Errorf("kernel=%s %d, %+v: hash %s, want %s", set, i, c.cfg, got, c.hash)
			}
		}
	}
}

// The rotary embedding of a model, by its config.json.
func ExampleNewRotary() {
	var model struct {
		HeadDim     int               `json:"head_dim"`
		RopeTheta   float64           `json:"rope_theta"`
		RopeScaling qkv.RotaryScaling `json:"rope_scaling"`
	}
	err := json.Unmarshal([]byte(`{
		"head_dim": 128,
		"rope_theta": 500000.0,
		"rope_scaling": {
			"rope_type": "llama3",
			"factor": 8.0,
			"low_freq_factor": 1.0,
			"high_freq_factor": 4.0,
			"original_max_position_embeddings": 8192
		}
	}`), &model)
	if err != nil {
		log.Fatal(err)
	}
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{
		Dim:          model.HeadDim,
		MaxPositions: 1024, // the longest sequence to be served
		Base:         model.RopeTheta,
		Scaling:      model.RopeScaling,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rotary.Dim(), rotary.Positions())
	// Output: 128 1024
}

// The query of a new token, at position 2, of two heads whose pairs are neighbours.
func ExampleEngine_Rotate() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	rotary, err := qkv.NewRotary(qkv.RotaryConfig{Dim: 2, Interleaved: true, MaxPositions: 4})
	if err != nil {
		log.Fatal(err)
	}
	q := []float32{1, 0, 0, 10}
	if err := e.Rotate(rotary, qkv.BSHD(q, 1, 1, 2, 2), []int{2}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f\n", q) // by 2 radians
	// Output: [-0.416 0.909 -9.093 -4.161]
}
