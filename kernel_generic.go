package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// genericSet is the contract in Go. It runs on every architecture, and is what
// machine code is compared with.
var genericSet = kernel.Set{
	Name:             "generic",
	Vec:              4,
	Lanes:            16,
	Rows:             1,
	PackQ:            packQGeneric,
	Scores:           scoresGeneric,
	Softcap:          softcapGeneric,
	ALiBi:            alibiGeneric,
	Bias:             biasGeneric,
	Softmax:          softmaxGeneric,
	Accumulate:       accumulateGeneric,
	Finish:           finishGeneric,
	Merge:            mergeGeneric,
	Convert:          convertGeneric,
	DecodeRows:       kernel.MaxDecodeRows,
	DecodeScores:     decodeScoresGeneric,
	DecodeAccumulate: decodeAccumulateGeneric,
	Multiply:         multiplyGeneric,
	Float16:          float16Generic,
	Rotary:           rotaryGeneric,
	Peak:             peakGeneric,
	PeakFLOPs:        2 * 4,
	Read:             readGeneric,
}

const signBit = 1 << 31 // of the bits of a float32

var negZero = math.Float32frombits(signBit)

// at returns the address of the element i float32 after p.
func at(p *float32, i int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*i))
}

// quad returns the four elements from i float32 after p on.
func quad(p *float32, i int) *[4]float32 {
	return (*[4]float32)(unsafe.Add(unsafe.Pointer(p), 4*i))
}

func packQGeneric(a *kernel.PackArgs) {
	for l := range a.Rows {
		src := at(a.Src, a.Off[l])
		for d := range a.Dim {
			*at(a.Dst, d*a.Stride+l) = *at(src, d*a.DimStride) * a.Scale
		}
	}
	for d := range a.Dim {
		for l := a.Rows; l < a.Lanes; l++ {
			*at(a.Dst, d*a.Stride+l) = 0
		}
	}
}

func scoresGeneric(a *kernel.ScoresArgs) {
	for k := range a.Keys {
		key := at(a.K, k*a.KeyStride)
		for l := 0; l < a.Lanes; l += 4 {
			*quad(a.S, k*a.Stride+l) = chains(key, a.DimStride, at(a.Q, l), a.Stride, a.Dim)
		}
	}
}

// chains returns, for four lanes, the chain of n fused multiply-adds from +0 of elements of
// x, step apart, by rows of y, stride apart.
func chains(x *float32, step int, y *float32, stride, n int) [4]float32 {
	var s0, s1, s2, s3 float32
	for i := range n {
		e := *at(x, i*step)
		v := quad(y, i*stride)
		t0 := kernel.WideFMA(e, v[0], s0)
		t1 := kernel.WideFMA(e, v[1], s1)
		t2 := kernel.WideFMA(e, v[2], s2)
		t3 := kernel.WideFMA(e, v[3], s3)
		if kernel.Ambiguous(t0) || kernel.Ambiguous(t1) || kernel.Ambiguous(t2) || kernel.Ambiguous(t3) {
			s0 = kernel.FMA(e, v[0], s0)
			s1 = kernel.FMA(e, v[1], s1)
			s2 = kernel.FMA(e, v[2], s2)
			s3 = kernel.FMA(e, v[3], s3)
			continue
		}
		s0, s1, s2, s3 = float32(t0), float32(t1), float32(t2), float32(t3)
	}
	return [4]float32{s0, s1, s2, s3}
}

func softcapGeneric(a *kernel.SoftcapArgs) {
	for k := range a.Keys {
		for l := range a.Lanes {
			s := at(a.S, k*a.Stride+l)
			*s = kernel.Softcap(*s, a.In, a.Out)
		}
	}
}

func alibiGeneric(a *kernel.ALiBiArgs) {
	for k := range a.Keys {
		key := float32(a.First + k)
		for l := range a.Lanes {
			s := at(a.S, k*a.Stride+l)
			distance := math.Float32frombits(math.Float32bits(*at(a.Pos, l)-key) &^ signBit)
			*s = kernel.FMA(*at(a.Slope, l), distance, *s)
		}
	}
}

func biasGeneric(a *kernel.BiasArgs) {
	mask := unsafe.Slice(a.Mask, a.Keys)
	a.Cleared = false
	for l := range a.Lanes {
		for k := range a.Keys {
			b := float32(0)
			if l < a.Rows {
				b = *at(a.Src, a.Off[l]+k)
			}
			if b < -math.MaxFloat32 {
				mask[k] &^= 1 << l
				a.Cleared = true
			}
			s := at(a.S, k*a.Stride+l)
			*s = kernel.FMA(b, a.Scale, *s)
		}
	}
}

func float16Generic(dst *float32, src *uint16, n int) {
	for i, h := range unsafe.Slice(src, n) {
		*at(dst, i) = kernel.Float16ToFloat32(h)
	}
}

func softmaxGeneric(a *kernel.SoftmaxArgs) {
	masked := unsafe.Slice(a.Mask, a.Keys-a.MaskFrom)
	a.Moved = false
	for l := range a.Lanes {
		s := at(a.S, l)
		oldMax := *at(a.Max, l)
		m := oldMax
		for k := range a.MaskFrom {
			if x := *at(s, k*a.Stride); x > m {
				m = x
			}
		}
		for i, word := range masked {
			if x := *at(s, (a.MaskFrom+i)*a.Stride); word>>l&1 == 1 && x > m {
				m = x
			}
		}

		alpha := kernel.Exp2(oldMax - m)
		var sum float32
		for k := range a.MaskFrom {
			e := at(s, k*a.Stride)
			p := kernel.Exp2(*e - m)
			*e = p
			sum += p
		}
		for i, word := range masked {
			e := at(s, (a.MaskFrom+i)*a.Stride)
			if word>>l&1 == 0 {
				*e = math.Float32frombits(signBit)
				continue // adding -0 changes nothing
			}
			p := kernel.Exp2(*e - m)
			*e = p
			sum += p
		}

		*at(a.Max, l) = m
		*at(a.Alpha, l) = alpha
		*at(a.Sum, l) = kernel.FMA(*at(a.Sum, l), alpha, sum)
		if alpha != 1 {
			a.Moved = true
		}
	}
}

func accumulateGeneric(a *kernel.AccumulateArgs) {
	for d := range a.Dim {
		val := at(a.V, d*a.DimStride)
		for l := 0; l < a.Lanes; l += 4 {
			acc0 := math.Float32frombits(signBit)
			acc1, acc2, acc3 := acc0, acc0, acc0
			for k := range a.Keys {
				x := *at(val, k*a.KeyStride)
				p := quad(a.P, k*a.Stride+l)
				t0 := kernel.WideFMA(x, p[0], acc0)
				t1 := kernel.WideFMA(x, p[1], acc1)
				t2 := kernel.WideFMA(x, p[2], acc2)
				t3 := kernel.WideFMA(x, p[3], acc3)
				masked := k >= a.MaskFrom
				if masked && anySign(p) || kernel.Ambiguous(t0) || kernel.Ambiguous(t1) || kernel.Ambiguous(t2) || kernel.Ambiguous(t3) {
					acc0 = addWeighted(acc0, x, p[0], masked)
					acc1 = addWeighted(acc1, x, p[1], masked)
					acc2 = addWeighted(acc2, x, p[2], masked)
					acc3 = addWeighted(acc3, x, p[3], masked)
					continue
				}
				acc0, acc1, acc2, acc3 = float32(t0), float32(t1), float32(t2), float32(t3)
			}
			acc := [4]float32{acc0, acc1, acc2, acc3}
			o := quad(a.O, d*a.Stride+l)
			switch a.Mode {
			case kernel.First:
				for i := range o {
					o[i] = 0 + acc[i] // +0, where the sum is -0
				}
			case kernel.Add:
				for i := range o {
					o[i] += acc[i]
				}
			case kernel.Rescale:
				for i, alpha := range quad(a.Alpha, l) {
					o[i] = kernel.FMA(o[i], alpha, acc[i])
				}
			}
		}
	}
}

// anySign reports whether a weight has the sign bit set.
func anySign(p *[4]float32) bool {
	return (math.Float32bits(p[0])|math.Float32bits(p[1])|math.Float32bits(p[2])|math.Float32bits(p[3]))&signBit != 0
}

// addWeighted returns acc + x*p, or acc if the mask took p away.
func addWeighted(acc, x, p float32, masked bool) float32 {
	if masked && math.Float32bits(p)&signBit != 0 {
		return acc
	}
	return kernel.FMA(x, p, acc)
}

func finishGeneric(a *kernel.FinishArgs) {
	for l := range a.Rows {
		var r float32
		if sum := *at(a.Sum, l); sum != 0 {
			r = 1 / sum
		}
		dst := at(a.Dst, a.Off[l])
		for d := range a.Dim {
			*at(dst, d*a.DimStride) = *at(a.O, d*a.Stride+l) * r
		}
	}
}

func multiplyGeneric(a *kernel.MultiplyArgs) {
	for i := range a.Rows {
		row := at(a.A, i*a.RowStride)
		for l := 0; l < a.Lanes; l += 4 {
			c := quad(a.C, i*a.Stride+l)
			var old, bias [4]float32
			if a.Add {
				old = *c
			}
			if a.Bias != nil {
				bias = *quad(a.Bias, l)
			}
			for j, s := range chains(row, a.ColStride, at(a.B, l), a.Lanes, a.Depth) {
				c[j] = (old[j] + bias[j]) + s
			}
		}
	}
}

func peakGeneric(n int) {
	x, y := float32(n), float32(0.5)
	var s0, s1, s2, s3 float32
	for range n {
		t0 := kernel.WideFMA(x, y, s0)
		t1 := kernel.WideFMA(x, y, s1)
		t2 := kernel.WideFMA(x, y, s2)
		t3 := kernel.WideFMA(x, y, s3)
		if kernel.Ambiguous(t0) || kernel.Ambiguous(t1) || kernel.Ambiguous(t2) || kernel.Ambiguous(t3) {
			t0, t1, t2, t3 = 0, 0, 0, 0
		}
		s0, s1, s2, s3 = float32(t0), float32(t1), float32(t2), float32(t3)
	}
	if s0+s1+s2+s3 < 0 {
		panic("qkv: a sum of positive products is negative") // keeps the sums alive
	}
}

func readGeneric(p *float32, n int) float32 {
	var s0, s1, s2, s3 float32
	for i := 0; i < n; i += 4 {
		v := quad(p, i)
		s0 += v[0]
		s1 += v[1]
		s2 += v[2]
		s3 += v[3]
	}
	return s0 + s1 + s2 + s3
}
