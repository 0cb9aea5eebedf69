package gomlx

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qkv-go/qkv"
)

func random(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// at returns an element of what broadcasts to [batch, heads, seqQ, seqKV], written the other way than pairs does it.
func at(t Tensor, tokensFirst bool, b, h, i, j int) int {
	var index []int
	switch len(t.Dims) {
	case 2:
		index = []int{i, j}
	case 3:
		index = []int{b, i, j}
	case 4:
		index = []int{b, h, i, j}
		if tokensFirst {
			index = []int{b, i, h, j}
		}
	}
	at := 0
	for axis, d := range t.Dims {
		if d == 1 {
			index[axis] = 0
		}
		at = at*d + index[axis]
	}
	return at
}

// want computes an attention in float64.
func want(a *Attention, q, k, v Tensor) []float64 {
	value := func(t Tensor, b, h, i, d int) float64 {
		n := t.Dims
		e := ((b*n[1]+h)*n[2]+i)*n[3] + d
		if a.TokensFirst {
			e = ((b*n[1]+i)*n[2]+h)*n[3] + d
		}
		switch x := t.Flat.(type) {
		case []float32:
			return float64(x[e])
		case []qkv.Float16:
			return float64(x[e].Float32())
		case []qkv.BFloat16:
			return float64(x[e].Float32())
		}
		panic("unknown type")
	}
	batch, heads, seqQ, dim := q.Dims[0], q.Dims[1], q.Dims[2], q.Dims[3]
	kvHeads, seqKV := k.Dims[1], k.Dims[2]
	if a.TokensFirst {
		heads, seqQ, kvHeads, seqKV = seqQ, heads, seqKV, kvHeads
	}
	scale := float64(a.Scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(dim))
	}
	out := make([]float64, size(q.Dims))
	for b := range batch {
		for h := range heads {
			for i := range seqQ {
				p, sum := make([]float64, seqKV), 0.0
				for j := range seqKV {
					if a.Causal && j > i || a.KeyLens != nil && j >= int(a.KeyLens[b]) || a.QueryLens != nil && i >= int(a.QueryLens[b]) ||
						a.Keep.Flat != nil && !a.Keep.Flat.([]bool)[at(a.Keep, a.TokensFirst, b, h, i, j)] {
						continue
					}
					s := 0.0
					for d := range dim {
						s += value(q, b, h, i, d) * value(k, b, h*kvHeads/heads, j, d)
					}
					s *= scale
					if a.Bias.Flat != nil {
						s += float64(a.Bias.Flat.([]float32)[at(a.Bias, a.TokensFirst, b, h, i, j)])
					}
					p[j] = math.Exp(s)
					sum += p[j]
				}
				for d := range dim {
					o := 0.0
					for j := range seqKV {
						if p[j] != 0 {
							o += p[j] / sum * value(v, b, h*kvHeads/heads, j, d)
						}
					}
					e := ((b*heads+h)*seqQ+i)*dim + d
					if a.TokensFirst {
						e = ((b*seqQ+i)*heads+h)*dim + d
					}
					out[e] = o
				}
			}
		}
	}
	return out
}

func TestAttention(t *testing.T) {
	const batch, heads, kvHeads, seqQ, seqKV, dim = 2, 4, 2, 5, 7, 24
	rng := rand.New(rand.NewPCG(1, 2))
	half := func(bf bool, x []float32) any {
		if bf {
			y := make([]qkv.BFloat16, len(x))
			for i := range x {
				y[i] = qkv.ToBFloat16(x[i])
			}
			return y
		}
		y := make([]qkv.Float16, len(x))
		for i := range x {
			y[i] = qkv.ToFloat16(x[i])
		}
		return y
	}
	for _, tokensFirst := range []bool{false, true} {
		order := func(heads, seq int) []int {
			if tokensFirst {
				return []int{batch, seq, heads, dim}
			}
			return []int{batch, heads, seq, dim}
		}
		pairs := [][]int{nil, {seqQ, seqKV}, {1, seqKV}, {batch, seqQ, seqKV}, {1, seqQ, seqKV}, {batch, heads, seqQ, seqKV}, {batch, 1, 1, seqKV}}
		if tokensFirst {
			pairs[5] = []int{batch, seqQ, heads, seqKV}
		}
		for _, mask := range pairs {
			for _, bias := range pairs {
				for _, typ := range []string{"float32", "float16", "bfloat16"} {
					a := &Attention{TokensFirst: tokensFirst, Scale: float32(rng.IntN(2)) * .3, Causal: rng.IntN(2) == 0}
					if rng.IntN(2) == 0 {
						a.QueryLens, a.KeyLens = []int32{3, 9}, []int32{4, -1}
					}
					if mask != nil {
						keep := make([]bool, size(mask))
						for i := range keep {
							keep[i] = rng.IntN(3) > 0
						}
						a.Keep = Tensor{keep, mask}
					}
					if bias != nil {
						a.Bias = Tensor{random(rng, size(bias)), bias}
					}
					q := Tensor{random(rng, batch*heads*seqQ*dim), order(heads, seqQ)}
					k := Tensor{random(rng, batch*kvHeads*seqKV*dim), order(kvHeads, seqKV)}
					v := Tensor{random(rng, batch*kvHeads*seqKV*dim), order(kvHeads, seqKV)}
					out, bound := Tensor{make([]float32, batch*heads*seqQ*dim), q.Dims}, 2e-6
					if typ != "float32" {
						bound = 1.0 / 512
						bf := typ == "bfloat16"
						if bf {
							bound = 1.0 / 64
						}
						for _, x := range []*Tensor{&q, &k, &v, &out} {
							x.Flat = half(bf, x.Flat.([]float32))
						}
					}
					if err := a.Run(out, q, k, v); err != nil {
						t.Fatal(err)
					}
					for i, w := range want(a, q, k, v) {
						var got float64
						switch x := out.Flat.(type) {
						case []float32:
							got = float64(x[i])
						case []qkv.Float16:
							got = float64(x[i].Float32())
						case []qkv.BFloat16:
							got = float64(x[i].Float32())
						}
						if math.Abs(got-w) > bound*max(1, math.Abs(w)) {
							t.Fatalf("tokens first %v, mask %v, bias %v, %s: element %d is %v, want %v", tokensFirst, mask, bias, typ, i, got, w)
						}
					}
				}
			}
		}
	}
}

func TestAttentionErrors(t *testing.T) {
	x := func(dims ...int) Tensor { return Tensor{make([]float32, size(dims)), dims} }
	good := func() (a Attention, out, q, k, v Tensor) {
		return Attention{}, x(1, 2, 3, 4), x(1, 2, 3, 4), x(1, 2, 5, 4), x(1, 2, 5, 4)
	}
	for name, spoil := range map[string]func(a *Attention, out, q, k, v *Tensor){
		"another shape of out": func(a *Attention, out, q, k, v *Tensor) { out.Dims = []int{1, 3, 2, 4} },
		"three dimensions":     func(a *Attention, out, q, k, v *Tensor) { k.Dims = []int{2, 5, 4} },
		"another type":         func(a *Attention, out, q, k, v *Tensor) { v.Flat = make([]qkv.Float16, 40) },
		"a type that is none":  func(a *Attention, out, q, k, v *Tensor) { q.Flat, k.Flat, v.Flat, out.Flat = 1, 1, 1, 1 },
		"a slice too short":    func(a *Attention, out, q, k, v *Tensor) { k.Flat = make([]float32, 39) },
		"half, out of other size": func(a *Attention, out, q, k, v *Tensor) {
			for _, t := range []*Tensor{q, k, v, out} {
				t.Flat = make([]qkv.Float16, size(t.Dims))
			}
			out.Flat = make([]qkv.Float16, 25)
		},
		"a mask of floats":         func(a *Attention, out, q, k, v *Tensor) { a.Keep = x(3, 5) },
		"a mask of one dimension":  func(a *Attention, out, q, k, v *Tensor) { a.Keep = Tensor{make([]bool, 5), []int{5}} },
		"a bias that is no one's":  func(a *Attention, out, q, k, v *Tensor) { a.Bias = x(3, 6) },
		"lengths of another batch": func(a *Attention, out, q, k, v *Tensor) { a.QueryLens, a.KeyLens = []int32{1, 2}, []int32{1, 2} },
	} {
		a, out, q, k, v := good()
		if err := a.Run(out, q, k, v); err != nil {
			t.Fatal(err)
		}
		spoil(&a, &out, &q, &k, &v)
		if err := a.Run(out, q, k, v); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMatMul(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, batch := range []int{0, 1, 3, 50} {
		for _, transposed := range []bool{false, true} {
			const m, n, k = 5, 33, 70
			lhs, rhs, out := random(rng, batch*m*k), random(rng, batch*n*k), make([]float32, batch*m*n)
			if err := MatMul(out, lhs, rhs, batch, m, n, k, transposed); err != nil {
				t.Fatal(err)
			}
			for b := range batch {
				for i := range m {
					for j := range n {
						want := 0.0
						for d := range k {
							w := rhs[(b*k+d)*n+j]
							if transposed {
								w = rhs[(b*n+j)*k+d]
							}
							want += float64(lhs[(b*m+i)*k+d]) * float64(w)
						}
						if got := float64(out[(b*m+i)*n+j]); math.Abs(got-want) > 1e-4 {
							t.Fatalf("batch %d of %d, transposed %v: [%d][%d] is %v, want %v", b, batch, transposed, i, j, got, want)
						}
					}
				}
			}
		}
	}
	if err := MatMul(make([]float32, 3), make([]float32, 4), make([]float32, 4), 1, 2, 2, 2, false); err == nil {
		t.Error("no error of an output that is too short")
	}
	if err := MatMul(nil, nil, nil, 1, -1, 2, 2, false); err == nil {
		t.Error("no error of a negative dimension")
	}
}

// TestMatMulEmpty: a batch of empty products takes neither time nor memory, whatever their number.
func TestMatMulEmpty(t *testing.T) {
	for _, d := range [][3]int{{0, 0, 0}, {0, 3, 0}, {3, 0, 0}} {
		if err := MatMul(nil, nil, nil, math.MaxInt, d[0], d[1], d[2], false); err != nil {
			t.Errorf("%v: %v", d, err)
		}
	}
	out := []float32{1, 2, 3, 4}
	if err := MatMul(out, nil, nil, 2, 2, 1, 0, false); err != nil || !slices.Equal(out, make([]float32, 4)) {
		t.Errorf("sums of no terms are %v, and the error is %v", out, err)
	}
}
