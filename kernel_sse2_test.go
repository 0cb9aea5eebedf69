//go:build amd64 && !purego

package qkv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// tieKinds are numbers whose products and sums are ties hardly ever, often, and mostly.
func tieKinds(r *rand.Rand) map[string]func() float32 {
	return map[string]func() float32{
		"normal":   func() float32 { return float32(r.NormFloat64()) },
		"bfloat16": func() float32 { return fp.BFloat16ToFloat32(fp.Float32ToBFloat16(float32(r.NormFloat64()))) },
		"integers": func() float32 { return float32(r.IntN(1<<13) - 1<<12) },
		"halves":   func() float32 { return float32(math.Ldexp(float64(1-2*r.IntN(2)), r.IntN(26)-13)) },
		"zeros":    func() float32 { return [...]float32{0, 1, negZero, -1}[r.IntN(4)] },
	}
}

// TestChainsSSE2 compares the machine code with fp.Chains.Add, for numbers of terms that
// end in every place of its loop, from sums that have ties with the first term.
func TestChainsSSE2(t *testing.T) {
	const most, width = 60, 2 * fp.ChainLanes
	r := rand.New(rand.NewPCG(1, 2))
	var ties int
	for xKind, xNext := range tieKinds(r) {
		for yKind, yNext := range tieKinds(r) {
			for n := 1; n <= most; n++ {
				var (
					x      [2 * most]float32
					y      [most]terms
					pairs  [most][2]float64
					rows   [most][width]float32 // of y
					keys   [fp.ChainLanes][most]float32
					off    [2 * most]int
					keyOff [2 * fp.ChainLanes]int
				)
				xs, ys := fp.NoSpan, fp.NoSpan
				for i := range n {
					x[2*i] = xNext()
					xs = xs.And(x[2*i])
					pairs[i] = [2]float64{float64(x[2*i]), float64(x[2*i])}
					off[i] = i * int(unsafe.Sizeof(rows[0]))
					for l := range y[i] {
						v := yNext()
						ys = ys.And(v)
						y[i][l], rows[i][l], keys[l][i] = fp.Term(v), v, v
					}
				}
				for l := range keys {
					keyOff[l] = l * int(unsafe.Sizeof(keys[0]))
				}
				var begin fp.Chains
				for l := range begin {
					begin[l] = float64(float32(r.NormFloat64()))
				}
				want := begin
				for i := range n {
					for l := range want {
						s := float64(x[2*i])*y[i][l] + want[l]
						if math.Float64bits(s)&(1<<29-1) == 1<<28 {
							ties++
						}
						want[l] = float64(fp.ExactFMA(x[2*i], float32(y[i][l]), float32(want[l])))
					}
				}
				if !xs.Plain(ys, n) {
					t.Fatalf("%s times %s: not plain", xKind, yKind)
				}
				for name, f := range map[string]func(c *fp.Chains){
					"add":     func(c *fp.Chains) { inSSE2.add(c, &x[0], 2, &y[0], n, xs, ys, n) },
					"addKeys": func(c *fp.Chains) { addKeys(c, unsafe.Pointer(&keys), &keyOff, &pairs[0], n) },
					"addValues": func(c *fp.Chains) {
						within := addValues(c, unsafe.Pointer(&rows), &off[0], &off[0], &pairs[0], n, leastValue)
						if got := ys.Plain(fp.NoSpan, n); within && !got {
							t.Fatalf("addValues: %d of %s are within", n, yKind)
						}
					},
				} {
					c := begin
					f(&c)
					for l := range c {
						if math.Float64bits(c[l]) != math.Float64bits(want[l]) {
							t.Fatalf("%s, %d of %s times %s, lane %d: %x, want %x", name, n, xKind, yKind, l, c[l], want[l])
						}
					}
				}
			}
		}
	}
	if ties < 10_000 {
		t.Errorf("%d ties: they test little", ties)
	}
}

// TestExpSSE2 compares weights with fp.Exp2, at the ends of its range and all over it.
func TestExpSSE2(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	edge := []float32{
		0, negZero, fp.ExpMin, math.Nextafter32(fp.ExpMin, -100), math.Nextafter32(fp.ExpMin, 0), -0.25, -0.75,
		-math.MaxFloat32, float32(math.Inf(-1)), float32(math.NaN()), -1e-45, -1e8,
	}
	n := 400_000
	if testing.Short() {
		n /= 4
	}
	const stride = 5
	for range n / 4 {
		var s, old [4 * stride]float32
		for i := range s {
			s[i] = -float32(r.ExpFloat64())
			if r.IntN(16) == 0 {
				s[i] = edge[r.IntN(len(edge))]
			}
		}
		top := [4]float32{0, 0, 0, float32(r.NormFloat64())}
		old = s
		column{&s[0], stride, 4}.exp(&top)
		for i, got := range s {
			want := old[i]
			if lane := i % stride; lane < 4 {
				want = fp.Exp2(want - top[lane])
			}
			if math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
				t.Fatalf("lane %d of %v: %x, want %x", i%stride, old, got, want)
			}
		}
	}
}

// TestSpanSSE2 compares spans with those of numbers one by one: they are the same, or, where
// they are rough, as wide at least.
func TestSpanSSE2(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30_000 {
		n, rows := 1+r.IntN(21), 1+r.IntN(3)
		var x [3][23]float32
		var off [3]int
		least, width := r.IntN(200), 1+r.IntN(140)
		want := fp.NoSpan
		for i := range rows {
			off[i] = i * int(unsafe.Sizeof(x[0]))
			for j := range x[i] {
				e := min(least+r.IntN(width), 255)
				x[i][j] = math.Float32frombits(uint32(r.IntN(2))<<31 | uint32(e)<<23 | r.Uint32()>>9)
				if r.IntN(8) == 0 {
					x[i][j] = 0
				}
				if r.IntN(8) == 0 {
					x[i][j] = math.Float32frombits(uint32(e) << 23)
				}
				if j < n {
					want = want.And(x[i][j])
				}
			}
		}
		got := spanAt(unsafe.Pointer(&x), &off[0], rows, n, fp.NoSpan)
		rough := roughSpanAt(unsafe.Pointer(&x), &off[0], rows, n, leastKey, fp.NoSpan)
		for range 8 {
			other := fp.NoSpan.And(math.Float32frombits(uint32(r.IntN(255)) << 23))
			if got.Plain(other, n) != want.Plain(other, n) {
				t.Fatalf("%d by %d of %x: a span of %v, want %v", rows, n, x, got, want)
			}
			if rough.Plain(other, n) && !want.Plain(other, n) {
				t.Fatalf("%d by %d of %x: a rough span of %v, want %v or more", rows, n, x, rough, want)
			}
		}
	}
}

// TestDecodeSSE2 has spans that are plain, only when looked at closely, and not.
func TestDecodeSSE2(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, dim := range []int{4, 8, 12, 36, 132} {
		for _, size := range []int{0, -30, -100, -120, 100} {
			t.Run(fmt.Sprintf("dim=%d,size=%d", dim, size), func(t *testing.T) {
				const keys, rows = 21, 3
				x := make([]float32, (keys+1)*dim)
				for i := range x {
					x[i] = float32(math.Ldexp(r.NormFloat64(), r.IntN(8)/7*size))
				}
				q := make([]float32, rows*max(dim, keys))
				for i := range q {
					q[i] = float32(r.ExpFloat64())
				}
				var off [2 * kernel.KeyBlock]int
				for k := range off {
					off[k] = k * 4 * dim
				}
				var out [2][]float32
				for i, code := range []struct {
					scores     func(*kernel.DecodeScoresArgs)
					accumulate func(*kernel.DecodeAccumulateArgs)
				}{{decodeScoresGeneric, decodeAccumulateGeneric}, {decodeScoresSSE2, decodeAccumulateSSE2}} {
					s, o := make([]float32, keys*rows), make([]float32, rows*dim)
					code.scores(&kernel.DecodeScoresArgs{
						K: unsafe.Pointer(&x[0]), Off: &off, Keys: keys, Dim: dim, Q: &q[0], QStride: rows, Rows: rows, S: &s[0], Stride: rows,
					})
					code.accumulate(&kernel.DecodeAccumulateArgs{
						V: unsafe.Pointer(&x[0]), Off: &off, Keys: keys, MaskFrom: keys, Dim: dim, P: &q[0], Stride: rows, Rows: rows, O: &o[0], OStride: dim,
					})
					out[i] = append(s, o...)
				}
				for i, want := range out[0] {
					if math.Float32bits(out[1][i]) != math.Float32bits(want) {
						t.Fatalf("%d: %x, want %x", i, out[1][i], want)
					}
				}
			})
		}
	}
}
