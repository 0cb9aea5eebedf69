package kerneltest

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// The functions of this file transcribe the comments of package kernel.

var negZero = float32(math.Copysign(0, -1))

func pack(a *kernel.PackArgs) {
	for d := range a.Dim {
		for l := range a.Rows {
			*ptr.At(a.Dst, d*a.Stride+l) = *ptr.At(a.Src, a.Off[l]+d*a.DimStride) * a.Scale
		}
		for l := a.Rows; l < a.Lanes; l++ {
			*ptr.At(a.Dst, d*a.Stride+l) = 0
		}
	}
}

func scores(a *kernel.ScoresArgs) {
	for k := range a.Keys {
		for l := range a.Lanes {
			acc := float32(0)
			for d := range a.Dim {
				acc = fp.ExactFMA(*ptr.At(a.K, k*a.KeyStride+d*a.DimStride), *ptr.At(a.Q, d*a.Stride+l), acc)
			}
			*ptr.At(a.S, k*a.Stride+l) = acc
		}
	}
}

func softcap(a *kernel.SoftcapArgs) {
	for k := range a.Keys {
		for l := range a.Lanes {
			s := ptr.At(a.S, k*a.Stride+l)
			*s = fp.Softcap(*s, a.In, a.Out)
		}
	}
}

func alibi(a *kernel.ALiBiArgs) {
	for k := range a.Keys {
		for l := range a.Lanes {
			s := ptr.At(a.S, k*a.Stride+l)
			distance := float32(math.Abs(float64(*ptr.At(a.Pos, l) - float32(a.First+k))))
			*s = fp.ExactFMA(*ptr.At(a.Slope, l), distance, *s)
		}
	}
}

func bias(a *kernel.BiasArgs) {
	a.Cleared = false
	for k := range a.Keys {
		for l := range a.Lanes {
			b := float32(0)
			if l < a.Rows {
				b = *ptr.At(a.Src, a.Off[l]+k)
			}
			if b == -inf {
				*ptr.At(a.Mask, k) &^= 1 << l
				a.Cleared = true
			}
			s := ptr.At(a.S, k*a.Stride+l)
			*s = fp.ExactFMA(b, a.Scale, *s)
		}
	}
}

func float16(dst *float32, src *uint16, n int) {
	for i := range n {
		*ptr.At(dst, i) = fp.Float16ToFloat32(*ptr.At(src, i))
	}
}

func rotary(a *kernel.RotaryArgs) {
	for r := range a.Rows {
		for i := range a.Pairs {
			j, k := i, a.Pairs+i
			if a.Pairing == kernel.Interleaved {
				j, k = 2*i, 2*i+1
			}
			x0, x1 := *ptr.At(a.X, r*a.XStride+j), *ptr.At(a.X, r*a.XStride+k)
			cos, sin := *ptr.At(a.Cos, r*a.TableStride+i), *ptr.At(a.Sin, r*a.TableStride+i)
			*ptr.At(a.Y, r*a.YStride+j) = fp.ExactFMA(-sin, x1, float32(x0*cos))
			*ptr.At(a.Y, r*a.YStride+k) = fp.ExactFMA(sin, x0, float32(x1*cos))
		}
	}
}

func activate(a *kernel.ActivateArgs) {
	for r := range a.Rows {
		for i := range a.Cols {
			x := *ptr.At(a.Gate, r*a.GateStride+i)
			var y float32
			switch a.Kind {
			case kernel.SiLU:
				y = fp.SiLU(x)
			case kernel.GELU:
				y = fp.GELU(x)
			case kernel.GELUTanh:
				y = fp.GELUTanh(x)
			}
			if a.Up != nil {
				y *= *ptr.At(a.Up, r*a.UpStride+i)
			}
			*ptr.At(a.Dst, r*a.DstStride+i) = y
		}
	}
}

func softmax(a *kernel.SoftmaxArgs) {
	kept := func(k, l int) bool {
		return k < a.MaskFrom || *ptr.At(a.Mask, k-a.MaskFrom)>>l&1 == 1
	}
	a.Moved = false
	for l := range a.Lanes {
		m := *ptr.At(a.Max, l)
		for k := range a.Keys {
			if s := *ptr.At(a.S, k*a.Stride+l); kept(k, l) && s > m {
				m = s
			}
		}
		alpha := fp.Exp2(*ptr.At(a.Max, l) - m)
		sum := float32(0)
		for k := range a.Keys {
			p := fp.Exp2(*ptr.At(a.S, k*a.Stride+l) - m)
			if !kept(k, l) {
				p = negZero
			}
			*ptr.At(a.S, k*a.Stride+l) = p
			sum += p
		}
		*ptr.At(a.Max, l) = m
		*ptr.At(a.Alpha, l) = alpha
		*ptr.At(a.Sum, l) = fp.ExactFMA(*ptr.At(a.Sum, l), alpha, sum)
		if alpha != 1 {
			a.Moved = true
		}
	}
}

func accumulate(a *kernel.AccumulateArgs) {
	for d := range a.Dim {
		for l := range a.Lanes {
			acc := negZero
			for k := range a.Keys {
				p := *ptr.At(a.P, k*a.Stride+l)
				if k >= a.MaskFrom && math.Signbit(float64(p)) {
					continue
				}
				acc = fp.ExactFMA(*ptr.At(a.V, k*a.KeyStride+d*a.DimStride), p, acc)
			}
			update(a, d, l, acc)
		}
	}
}

// update adds the sum of a block of keys to an element of the output.
func update(a *kernel.AccumulateArgs, d, l int, sum float32) {
	o := ptr.At(a.O, d*a.Stride+l)
	switch a.Mode {
	case kernel.First:
		*o = 0 + sum
	case kernel.Add:
		*o = *o + sum
	case kernel.Rescale:
		*o = fp.ExactFMA(*o, *ptr.At(a.Alpha, l), sum)
	}
}

func unpack(a *kernel.UnpackArgs) {
	for l := range a.Rows {
		r := float32(0)
		if *ptr.At(a.Sum, l) != 0 {
			r = 1 / *ptr.At(a.Sum, l)
		}
		for d := range a.Dim {
			*ptr.At(a.Dst, a.Off[l]+d*a.DimStride) = *ptr.At(a.O, d*a.Stride+l) * r
		}
	}
}

func multiply(a *kernel.MultiplyArgs) {
	for i := range a.Rows {
		for l := range a.Lanes {
			acc := float32(0)
			for k := range a.Depth {
				acc = fp.ExactFMA(*ptr.At(a.A, i*a.RowStride+k*a.ColStride), *ptr.At(a.B, k*a.Lanes+l), acc)
			}
			c := float32(0)
			if a.Add {
				c = *ptr.At(a.C, i*a.Stride+l)
			}
			b := float32(0)
			if a.Bias != nil {
				b = *ptr.At(a.Bias, l)
			}
			*ptr.At(a.C, i*a.Stride+l) = (c + b) + acc
		}
	}
}

func merge(a *kernel.MergeArgs) {
	for l := range a.Lanes {
		m := *ptr.At(a.Max, l)
		if c := *ptr.At(a.ChunkMax, l); c > m {
			m = c
		}
		wa, wb := fp.Exp2(*ptr.At(a.Max, l)-m), fp.Exp2(*ptr.At(a.ChunkMax, l)-m)
		if *ptr.At(a.ChunkSum, l) == 0 {
			wa, wb = 1, negZero
		} else if *ptr.At(a.Sum, l) == 0 {
			wa = negZero
		}
		*ptr.At(a.Max, l) = m
		*ptr.At(a.Sum, l) = fp.ExactFMA(*ptr.At(a.Sum, l), wa, float32(*ptr.At(a.ChunkSum, l)*wb))
		for d := range a.Dim {
			o := ptr.At(a.O, d*a.Stride+l)
			*o = fp.ExactFMA(*o, wa, float32(*ptr.At(a.Chunk, d*a.Stride+l)*wb))
		}
	}
}

// scaleOf is the scale of a row, of Int8.
func scaleOf(e kernel.Elem, scale *float32, row int) float32 {
	if e.Scale() != kernel.RowScale {
		return nan // not an operand
	}
	return *ptr.At(scale, row)
}

func convert(a *kernel.ConvertArgs) {
	for k := range a.Rows {
		for d := range a.Dim {
			value := a.Elem.Value(unsafe.Add(a.Src, a.Off[k]), d, a.UnitStride, scaleOf(a.Elem, a.Scale, k))
			if a.Brain {
				value = brain(value)
			}
			*ptr.At(a.Dst, k*a.Stride+d) = value
		}
	}
}

func decodeScores(a *kernel.DecodeScoresArgs) {
	for k := range a.Keys {
		for r := range a.Rows {
			acc := float32(0)
			for d := range a.Dim {
				key := a.Elem.Value(unsafe.Add(a.K, a.Off[k]), d, a.Elem.Unit(), scaleOf(a.Elem, a.Scale, k))
				if a.Brain {
					key = brain(key)
				}
				acc = fp.ExactFMA(key, *ptr.At(a.Q, d*a.QStride+r), acc)
			}
			*ptr.At(a.S, k*a.Stride+r) = acc
		}
	}
}

func decodeAccumulate(a *kernel.DecodeAccumulateArgs) {
	for r := range a.Rows {
		for d := range a.Dim {
			acc := negZero
			if a.From != nil {
				acc = *ptr.At(a.From, r*a.OStride+d)
			}
			for k := range a.Keys {
				p := *ptr.At(a.P, k*a.Stride+r)
				if k >= a.MaskFrom && math.Signbit(float64(p)) {
					continue
				}
				value := a.Elem.Value(unsafe.Add(a.V, a.Off[k]), d, a.Elem.Unit(), scaleOf(a.Elem, a.Scale, k))
				if a.Brain {
					value = brain(value)
				}
				acc = fp.ExactFMA(value, p, acc)
			}
			if a.To != nil {
				*ptr.At(a.To, r*a.OStride+d) = acc
				continue
			}
			o := ptr.At(a.O, r*a.OStride+d)
			switch a.Mode {
			case kernel.First:
				*o = 0 + acc
			case kernel.Add:
				*o = *o + acc
			case kernel.Rescale:
				*o = fp.ExactFMA(*o, *ptr.At(a.Alpha, r), acc)
			}
		}
	}
}
