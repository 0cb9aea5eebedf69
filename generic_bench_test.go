package qkv_test

import (
	"math"
	"testing"
	"time"

	"github.com/qkv-go/qkv"
)

// naiveAttention is attention as a triple loop in float32, for a head of
// len(q)/dim rows and n keys.
func naiveAttention(q, k, v, out []float32, n, dim int, scale float32, p []float32) {
	for i := range len(q) / dim {
		qi, oi := q[i*dim:][:dim], out[i*dim:][:dim]
		top := float32(math.Inf(-1))
		for j := range n {
			kj := k[j*dim:][:dim]
			var s float32
			for d := range qi {
				s += qi[d] * kj[d]
			}
			p[j] = s * scale
			top = max(top, p[j])
		}
		var sum float32
		for j := range n {
			p[j] = float32(math.Exp(float64(p[j] - top)))
			sum += p[j]
		}
		clear(oi)
		for j := range n {
			vj := v[j*dim:][:dim]
			w := p[j] / sum
			for d := range oi {
				oi[d] += w * vj[d]
			}
		}
	}
}

// naiveProduct is a @ b, rows by depth by columns, as a triple loop.
func naiveProduct(a, b, c []float32, rows, depth, columns int) {
	for i := range rows {
		for j := range columns {
			var s float32
			for k := range depth {
				s += a[i*depth+k] * b[k*columns+j]
			}
			c[i*columns+j] = s
		}
	}
}

// BenchmarkGeneric times the sets that every CPU of the architecture runs, beside what one
// writes by hand.
func BenchmarkGeneric(b *testing.B) {
	for _, k := range qkv.Kernels() {
		if k.Set.Needs == 0 {
			b.Run(k.Set.Name, func(b *testing.B) { benchmarkBeside(b, k.Set.Name) })
		}
	}
}

func benchmarkBeside(b *testing.B, set string) {
	e, err := qkv.New(qkv.Config{Kernel: set, Workers: 1})
	if err != nil {
		b.Fatal(err)
	}
	next := integers(1, 1)
	fill := func(n int) []float32 {
		s := make([]float32, n)
		for i := range s {
			s[i] = next()
		}
		return s
	}
	beside := func(b *testing.B, ours, naive func()) {
		var of [2]time.Duration
		for b.Loop() {
			for i, f := range []func(){ours, naive} {
				begin := time.Now()
				f()
				of[i] += time.Since(begin)
			}
		}
		b.ReportMetric(float64(of[0].Microseconds())/float64(b.N), "µs")
		b.ReportMetric(float64(of[1].Microseconds())/float64(b.N), "naive-µs")
		b.ReportMetric(of[0].Seconds()/of[1].Seconds(), "ratio")
	}
	b.Run("attention", func(b *testing.B) {
		const h, s, d = 4, 512, 64
		q, k, v, out, p := fill(h*s*d), fill(h*s*d), fill(h*s*d), fill(h*s*d), fill(s)
		beside(b, func() {
			err := e.Run(&qkv.Call{
				Q: qkv.BHSD(q, 1, h, s, d), K: qkv.BHSD(k, 1, h, s, d), V: qkv.BHSD(v, 1, h, s, d), Out: qkv.BHSD(out, 1, h, s, d),
			})
			if err != nil {
				b.Fatal(err)
			}
		}, func() {
			for i := range h {
				at := func(x []float32) []float32 { return x[i*s*d:][:s*d] }
				naiveAttention(at(q), at(k), at(v), at(out), s, d, 0.125, p)
			}
		})
	})
	b.Run("product", func(b *testing.B) {
		const m, k, n = 64, 512, 512
		x, y, z := fill(m*k), fill(k*n), fill(m*n)
		beside(b, func() {
			if err := e.MatMul(&qkv.Product{X: qkv.RowMajor(x, m, k), W: qkv.RowMajor(y, k, n), Y: qkv.RowMajor(z, m, n)}); err != nil {
				b.Fatal(err)
			}
		}, func() { naiveProduct(x, y, z, m, k, n) })
	})
	b.Run("decode", func(b *testing.B) {
		const h, s, d = 8, 1024, 64
		q, k, v, out, p := fill(h*d), fill(h*s*d), fill(h*s*d), fill(h*d), fill(s)
		beside(b, func() {
			err := e.Run(&qkv.Call{
				Q: qkv.BHSD(q, 1, h, 1, d), K: qkv.BHSD(k, 1, h, s, d), V: qkv.BHSD(v, 1, h, s, d), Out: qkv.BHSD(out, 1, h, 1, d),
			})
			if err != nil {
				b.Fatal(err)
			}
		}, func() {
			for i := range h {
				naiveAttention(q[i*d:][:d], k[i*s*d:][:s*d], v[i*s*d:][:s*d], out[i*d:][:d], s, d, 0.125, p)
			}
		})
	})
}
