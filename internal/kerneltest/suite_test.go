package kerneltest

import (
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// reference describes the transcription of the contract.
var reference = kernel.Set{Name: "reference", Vec: 4, Lanes: 8, Rows: 3, DecodeRows: kernel.MaxDecodeRows, FewRows: 5, PeakFLOPs: 1, PeakInt8Ops: 1, PeakBFloat16FLOPs: 1, SpreadsLanes: true, SpreadsBlocks: true, BrainRows: true}

// TestOperations: the suite has all functions of a set. Those that measure peaks have no operands.
func TestOperations(t *testing.T) {
	has := map[string]bool{"Peak": true, "PeakInt8": true, "PeakBFloat16": true}
	for _, op := range slices.Concat(operations, classOperations) {
		has[op.name] = true
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[kernel.Funcs]()) {
		if !has[field.Name] {
			t.Errorf("%s is tested by no operation of the suite", field.Name)
		}
	}
}

// transcription returns the functions of the reference.
func transcription() kernel.Funcs {
	return kernel.Funcs{
		Pack: pack, Scores: scores, Softcap: softcap, ALiBi: alibi, Bias: bias,
		Softmax: softmax, Accumulate: accumulate, Unpack: unpack, Merge: merge, Convert: convert, Store: store,
		DecodeScores: decodeScores, DecodeAccumulate: decodeAccumulate, DecodeScoresInt8: decodeScoresInt8, DecodeAccumulateInt8: decodeAccumulateInt8,
		Multiply: multiply, MultiplyFew: multiplyFew, Combine: combine, Dots: dots, Dequantize: dequantize, DotWeights: dotWeights, MultiplyStrips: multiplyStrips, DequantizeStrips: dequantizeStrips,
		Pairs: pairs, MultiplyPairs: multiplyPairs, MultiplyPairsFew: multiplyPairsFew,
		ScoresPairs: scoresPairs, PairWeights: pairWeights, AccumulatePairs: accumulatePairs,
		Quantize: quantize, UnpackInt8: unpackInt8, PackWeights: packWeights, MultiplyInt8: multiplyInt8, MultiplyRowInt8: multiplyRowInt8, ConvertInt8: convertInt8, PackInt8: packInt8, TransposeInt8: transposeInt8, Float16: float16, Rotary: rotary, Activate: activate,
		Sums: sums, Normalize: normalize, Hadamard: hadamard, Above: above,
		Peak: func(int) {}, PeakInt8: func(int) {}, PeakBFloat16: func(int) {},
		Read: func(p *float32, n int) float32 {
			var s float32
			for i := range n {
				s += *ptr.At(p, i)
			}
			return s
		},
	}
}

// TestReference: the suite finds no fault in its own transcription. What is wrong with a case shows
// in an eighth of them.
func TestReference(t *testing.T) { test(t, reference.With(transcription()), true) }

// A recorder keeps the first failure of a test that should fail.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	if r.failure == "" {
		r.failure = fmt.Sprintf(format, args...)
	}
}
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); r.FailNow() }
func (r *recorder) Fatal(args ...any)                 { r.Fatalf("%s", fmt.Sprint(args...)) }
func (r *recorder) FailNow()                          { runtime.Goexit() }

// A fault changes a set so that it breaks a clause.
type fault struct {
	name string
	op   string // what must find it
	want string // in the failure
	set  func(s *kernel.Funcs)
}

// TestFaults runs the suite on sets that each break one clause.
func TestFaults(t *testing.T) {
	for _, f := range append([]fault{
		{"reads past Q", "Scores", "fault", func(s *kernel.Funcs) {
			s.Scores = func(a *kernel.ScoresArgs) {
				sink = *ptr.At(a.Q, (a.Dim-1)*a.Stride+a.Lanes)
				scores(a)
			}
		}},
		{"reads before K", "Scores", "fault", func(s *kernel.Funcs) {
			s.Scores = func(a *kernel.ScoresArgs) { sink = *ptr.At(a.K, -1); scores(a) }
		}},
		{"writes between rows", "Scores", "no operand", func(s *kernel.Funcs) {
			s.Scores = func(a *kernel.ScoresArgs) {
				scores(a)
				if a.Keys > 1 && a.Stride > a.Lanes {
					*ptr.At(a.S, a.Lanes) = nan
				}
			}
		}},
		{"ignores KeyStride", "Scores", "want", func(s *kernel.Funcs) {
			s.Scores = func(a *kernel.ScoresArgs) {
				b := *a
				b.KeyStride = a.Dim
				scores(&b)
			}
		}},
		{"rounds products", "Scores", "want", func(s *kernel.Funcs) {
			s.Scores = func(a *kernel.ScoresArgs) {
				for k := range a.Keys {
					for l := range a.Lanes {
						var acc float32
						for d := range a.Dim {
							acc += float32(*ptr.At(a.K, k*a.KeyStride+d*a.DimStride) * *ptr.At(a.Q, d*a.Stride+l))
						}
						*ptr.At(a.S, k*a.Stride+l) = acc
					}
				}
			}
		}},
		{"rounds sums twice", "Scores", "want", func(s *kernel.Funcs) {
			s.Scores = func(a *kernel.ScoresArgs) {
				for k := range a.Keys {
					for l := range a.Lanes {
						var acc float32
						for d := range a.Dim {
							acc = float32(float64(*ptr.At(a.K, k*a.KeyStride+d*a.DimStride))*float64(*ptr.At(a.Q, d*a.Stride+l)) + float64(acc))
						}
						*ptr.At(a.S, k*a.Stride+l) = acc
					}
				}
			}
		}},
		{"changes its arguments", "Scores", "arguments", func(s *kernel.Funcs) {
			s.Scores = func(a *kernel.ScoresArgs) { scores(a); a.Keys = 0 }
		}},
		{"leaves spare lanes", "Pack", "stale", func(s *kernel.Funcs) {
			s.Pack = func(a *kernel.PackArgs) {
				b := *a
				b.Lanes = a.Rows
				pack(&b)
			}
		}},
		{"packs spare rows", "Pack", "fault", func(s *kernel.Funcs) {
			s.Pack = func(a *kernel.PackArgs) {
				sink = *ptr.At(a.Src, a.Off[min(a.Rows, a.Lanes-1)])
				pack(a)
			}
		}},
		{"caps without a sign", "Softcap", "want", func(s *kernel.Funcs) {
			s.Softcap = func(a *kernel.SoftcapArgs) {
				b := *a
				for k := range a.Keys {
					b.S, b.Keys = ptr.At(a.S, k*a.Stride), 1
					for l := range a.Lanes {
						*ptr.At(b.S, l) = float32(math.Abs(float64(*ptr.At(b.S, l))))
					}
					softcap(&b)
				}
			}
		}},
		{"caps between rows", "Softcap", "no operand", func(s *kernel.Funcs) {
			s.Softcap = func(a *kernel.SoftcapArgs) {
				softcap(a)
				if a.Keys > 1 && a.Stride > a.Lanes {
					*ptr.At(a.S, a.Lanes) = 0
				}
			}
		}},
		{"caps by the other tanh", "Softcap", "want", func(s *kernel.Funcs) {
			s.Softcap = func(a *kernel.SoftcapArgs) {
				for k := range a.Keys {
					for l := range a.Lanes {
						s := ptr.At(a.S, k*a.Stride+l)
						*s = a.Out * float32(math.Tanh(math.Ln2*float64(a.In)*float64(*s)))
					}
				}
			}
		}},
		{"ignores First", "ALiBi", "want", func(s *kernel.Funcs) {
			s.ALiBi = func(a *kernel.ALiBiArgs) { b := *a; b.First = 0; alibi(&b) }
		}},
		{"forgets keys to come", "ALiBi", "want", func(s *kernel.Funcs) {
			s.ALiBi = func(a *kernel.ALiBiArgs) {
				for k := range a.Keys {
					for l := range a.Lanes {
						s := ptr.At(a.S, k*a.Stride+l)
						*s = fp.ExactFMA(*ptr.At(a.Slope, l), max(0, *ptr.At(a.Pos, l)-float32(a.First+k)), *s)
					}
				}
			}
		}},
		{"reads another slope", "ALiBi", "fault", func(s *kernel.Funcs) {
			s.ALiBi = func(a *kernel.ALiBiArgs) { sink = *ptr.At(a.Slope, a.Lanes); alibi(a) }
		}},
		{"adds spare rows", "Bias", "fault", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) { b := *a; b.Rows = a.Lanes; bias(&b); a.Cleared = b.Cleared }
		}},
		{"reads another key", "Bias", "fault", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) { sink = *ptr.At(a.Src, a.Off[0]+a.Keys); bias(a) }
		}},
		{"leaves spare rows", "Bias", "want", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) {
				b := *a
				b.Lanes = a.Rows
				bias(&b)
				a.Cleared = b.Cleared
			}
		}},
		{"masks by large biases", "Bias", "want", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) {
				bias(a)
				for k := range a.Keys {
					for l := range a.Rows {
						if *ptr.At(a.Src, a.Off[l]+k) <= -huge {
							*ptr.At(a.Mask, k) &^= 1 << l
						}
					}
				}
			}
		}},
		{"keeps where a bias is -Inf", "Bias", "want", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) {
				bias(a)
				if a.Cleared {
					*ptr.At(a.Mask, 0) |= 1
				}
			}
		}},
		{"clears bits past the lanes", "Bias", "want", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) {
				bias(a)
				if a.Cleared {
					*ptr.At(a.Mask, a.Keys-1) &= 1<<a.Lanes - 1
				}
			}
		}},
		{"forgets Cleared", "Bias", "arguments", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) { bias(a); a.Cleared = false }
		}},
		{"leaves Cleared", "Bias", "arguments", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) { old := a.Cleared; bias(a); a.Cleared = a.Cleared || old }
		}},
		{"rounds products of biases", "Bias", "want", func(s *kernel.Funcs) {
			s.Bias = func(a *kernel.BiasArgs) {
				b := *a
				scaled := make([]float32, a.Rows*a.Keys)
				off := new([kernel.MaxLanes]int)
				for l := range a.Rows {
					off[l] = l * a.Keys
					for k := range a.Keys {
						x := *ptr.At(a.Src, a.Off[l]+k)
						if x != -inf {
							x *= a.Scale
						}
						scaled[l*a.Keys+k] = x
					}
				}
				b.Src, b.Off, b.Scale = &scaled[0], off, 1
				bias(&b)
				a.Cleared = b.Cleared
			}
		}},
		{"reads another half", "Float16", "fault", func(s *kernel.Funcs) {
			s.Float16 = func(dst *float32, src *uint16, n int) {
				sink = float32(*ptr.At(src, n))
				float16(dst, src, n)
			}
		}},
		{"flushes subnormals", "Float16", "want", func(s *kernel.Funcs) {
			s.Float16 = func(dst *float32, src *uint16, n int) {
				float16(dst, src, n)
				for i := range n {
					if x := ptr.At(dst, i); math.Abs(float64(*x)) < 0x1p-14 {
						*x = 0
					}
				}
			}
		}},
		{"converts in whole vectors", "Float16", "outside", func(s *kernel.Funcs) {
			s.Float16 = func(dst *float32, src *uint16, n int) {
				float16(dst, src, n)
				for i := n; i%4 != 0; i++ {
					*ptr.At(dst, i) = 0
				}
			}
		}},
		{"adds C at the end", "Multiply", "want", func(s *kernel.Funcs) {
			s.Multiply = func(a *kernel.MultiplyArgs) {
				b := *a
				b.Bias, b.Add = nil, false
				old := make([]float32, a.Rows*a.Lanes)
				for i := range a.Rows * a.Lanes {
					if a.Add {
						old[i] = *ptr.At(a.C, i/a.Lanes*a.Stride+i%a.Lanes)
					}
				}
				multiply(&b)
				for i := range a.Rows * a.Lanes {
					c := ptr.At(a.C, i/a.Lanes*a.Stride+i%a.Lanes)
					if a.Bias != nil {
						*c += *ptr.At(a.Bias, i%a.Lanes)
					}
					*c += old[i]
				}
			}
		}},
		{"reads C without Add", "Multiply", "want", func(s *kernel.Funcs) {
			s.Multiply = func(a *kernel.MultiplyArgs) { b := *a; b.Add = true; multiply(&b) }
		}},
		{"forgets the bias", "Multiply", "want", func(s *kernel.Funcs) {
			s.Multiply = func(a *kernel.MultiplyArgs) { b := *a; b.Bias = nil; multiply(&b) }
		}},
		{"sums from both ends", "Multiply", "want", func(s *kernel.Funcs) {
			s.Multiply = func(a *kernel.MultiplyArgs) {
				b := *a
				if a.Depth > 2 {
					b.Depth = a.Depth / 2
					multiply(&b)
					b.A, b.B = ptr.At(a.A, b.Depth*a.ColStride), ptr.At(a.B, b.Depth*a.Lanes)
					b.Depth, b.Add, b.Bias = a.Depth-b.Depth, true, nil
				}
				multiply(&b)
			}
		}},
		{"reads a row of B too many", "Multiply", "fault", func(s *kernel.Funcs) {
			s.Multiply = func(a *kernel.MultiplyArgs) { sink = *ptr.At(a.B, a.Depth*a.Lanes); multiply(a) }
		}},
		{"writes beside rows", "Multiply", "no operand", func(s *kernel.Funcs) {
			s.Multiply = func(a *kernel.MultiplyArgs) {
				multiply(a)
				if a.Rows > 1 && a.Stride > a.Lanes {
					*ptr.At(a.C, a.Lanes) = nan
				}
			}
		}},
		{"loses the sign of a zero", "Rotary", "want", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) {
				rotary(a)
				for r := range a.Rows {
					for d := range 2 * a.Pairs {
						if y := ptr.At(a.Y, r*a.YStride+d); *y == 0 {
							*y = 0 // without its sign
						}
					}
				}
			}
		}},
		{"rotates the other pairs", "Rotary", "want", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) { b := *a; b.Pairing = 1 - a.Pairing; rotary(&b) }
		}},
		{"rounds both products", "Rotary", "want", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) {
				for r := range a.Rows {
					b := *a
					b.X, b.Y, b.Rows = ptr.At(a.X, r*a.XStride), ptr.At(a.Y, r*a.YStride), 1
					b.Cos, b.Sin = ptr.At(a.Cos, r*a.TableStride), ptr.At(a.Sin, r*a.TableStride)
					for i := range b.Pairs {
						j, k := i, b.Pairs+i
						if b.Pairing == kernel.Interleaved {
							j, k = 2*i, 2*i+1
						}
						x0, x1, cos, sin := *ptr.At(b.X, j), *ptr.At(b.X, k), *ptr.At(b.Cos, i), *ptr.At(b.Sin, i)
						*ptr.At(b.Y, j) = float32(x0*cos) - float32(x1*sin)
						*ptr.At(b.Y, k) = float32(x1*cos) + float32(x0*sin)
					}
				}
			}
		}},
		{"fuses the other product", "Rotary", "want", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) {
				rotary(a)
				j, k := 0, a.Pairs
				if a.Pairing == kernel.Interleaved {
					k = 1
				}
				if a.X != a.Y && a.Rows == 1 {
					*ptr.At(a.Y, j) = fp.ExactFMA(*ptr.At(a.Cos, 0), *ptr.At(a.X, j), -float32(*ptr.At(a.Sin, 0)**ptr.At(a.X, k)))
				}
			}
		}},
		{"keeps the first row's tables", "Rotary", "want", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) { b := *a; b.TableStride = 0; rotary(&b) }
		}},
		{"reads another cosine", "Rotary", "fault", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) { sink = *ptr.At(a.Cos, a.Pairs); rotary(a) }
		}},
		{"writes beside rows", "Rotary", "no operand", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) {
				rotary(a)
				if a.Rows > 1 && a.YStride > 2*a.Pairs {
					*ptr.At(a.Y, 2*a.Pairs) = nan
				}
			}
		}},
		{"stores whole vectors", "Rotary", "outside", func(s *kernel.Funcs) {
			s.Rotary = func(a *kernel.RotaryArgs) {
				rotary(a)
				if a.Pairs%2 != 0 && a.YStride > 0 {
					*ptr.At(a.Y, (a.Rows-1)*a.YStride+2*a.Pairs) = 0
				}
			}
		}},
		{"counts the weights of masked keys", "Softmax", "want", func(s *kernel.Funcs) {
			s.Softmax = func(a *kernel.SoftmaxArgs) {
				b := *a
				b.MaskFrom, b.Mask = b.Keys, nil
				softmax(&b)
				a.Moved = b.Moved
			}
		}},
		{"masks with +0", "Softmax", "want", func(s *kernel.Funcs) {
			s.Softmax = func(a *kernel.SoftmaxArgs) {
				softmax(a)
				for i := range (a.Keys-1)*a.Stride + a.Lanes {
					if *ptr.At(a.S, i) == 0 {
						*ptr.At(a.S, i) = 0
					}
				}
			}
		}},
		{"forgets Moved", "Softmax", "arguments", func(s *kernel.Funcs) {
			s.Softmax = func(a *kernel.SoftmaxArgs) { softmax(a); a.Moved = false }
		}},
		{"ends in exp2 that underflows late", "Softmax", "want", func(s *kernel.Funcs) {
			s.Softmax = func(a *kernel.SoftmaxArgs) {
				before := make([]float32, (a.Keys-1)*a.Stride+a.Lanes)
				for i := range before {
					before[i] = *ptr.At(a.S, i)
				}
				softmax(a)
				for i, y := range before {
					y -= *ptr.At(a.Max, i%a.Stride%a.Lanes)
					if p := ptr.At(a.S, i); *p == 0 && y > -64 && y < fp.ExpMin {
						*p = tiny
					}
				}
			}
		}},
		{"adds masked values", "Accumulate", "want", func(s *kernel.Funcs) {
			s.Accumulate = func(a *kernel.AccumulateArgs) {
				b := *a
				b.MaskFrom = b.Keys
				accumulate(&b)
			}
		}},
		{"reads the first output", "Accumulate", "want", func(s *kernel.Funcs) {
			s.Accumulate = func(a *kernel.AccumulateArgs) {
				b := *a
				b.Mode = max(b.Mode, kernel.Add)
				accumulate(&b)
			}
		}},
		{"begins at +0", "Accumulate", "want", func(s *kernel.Funcs) {
			s.Accumulate = func(a *kernel.AccumulateArgs) {
				accumulate(a)
				for d := range a.Dim {
					for l := range a.Lanes {
						*ptr.At(a.O, d*a.Stride+l) += 0
					}
				}
			}
		}},
		{"gives First a sign", "Claims", "want", func(s *kernel.Funcs) {
			s.Accumulate = func(a *kernel.AccumulateArgs) {
				accumulate(a)
				if o := ptr.At(a.O, 0); a.Mode == kernel.First && *o == 0 {
					*o = negZero
				}
			}
		}},
		{"divides", "Unpack", "want", func(s *kernel.Funcs) {
			s.Unpack = func(a *kernel.UnpackArgs) {
				for l := range a.Rows {
					for d := range a.Dim {
						*ptr.At(a.Dst, a.Off[l]+d*a.DimStride) = *ptr.At(a.O, d*a.Stride+l) / *ptr.At(a.Sum, l)
					}
				}
			}
		}},
		{"writes spare rows", "Unpack", "fault", func(s *kernel.Funcs) {
			s.Unpack = func(a *kernel.UnpackArgs) {
				unpack(a)
				*ptr.At(a.Dst, a.Off[min(a.Rows, a.Lanes-1)]) = 0
			}
		}},
		{"swaps values", "Attention", "want", func(s *kernel.Funcs) {
			s.Accumulate = func(a *kernel.AccumulateArgs) {
				b := *a
				b.V, b.KeyStride = ptr.At(a.V, (a.Keys-1)*a.KeyStride), -a.KeyStride
				accumulate(&b)
			}
		}},
		{"skips elements", "Read", "does not depend", func(s *kernel.Funcs) {
			s.Read = func(p *float32, n int) float32 { return transcription().Read(p, n-1) }
		}},
	}, slices.Concat(decodeFaults, storeFaults, dequantizeFaults, dotWeightsFaults, stripFaults, activateFaults, normFaults, hadamardFaults, aboveFaults, pairsFaults, int8Faults, packWeightsFaults, int8AttentionFaults, int8ValuesFaults)...) {
		t.Run(f.name, func(t *testing.T) {
			if f.want == "fault" && !faults {
				t.Skip("no pages that fault on this system")
			}
			funcs := transcription()
			f.set(&funcs)
			set := reference.With(funcs)
			r := &recorder{TB: t}
			for _, op := range slices.Concat(operations, classOperations) {
				if op.name == f.op {
					done := make(chan struct{})
					go func() {
						defer close(done)
						op.run(r, set, false)
					}()
					<-done
				}
			}
			if !strings.Contains(r.failure, f.want) || r.failure == "" {
				t.Errorf("%s: failure %q, want one with %q", f.op, r.failure, f.want)
			}
		})
	}
}

// sink keeps the compiler from dropping a load.
var sink float32

func TestCompareNaN(t *testing.T) {
	quiet, other := math.Float32bits(nan), math.Float32bits(negNaN)
	for _, c := range []struct {
		name            string
		init, want, got uint32
		ok              bool
	}{
		{"equal", stale, 1, 1, true},
		{"another NaN", stale, quiet, other, true},
		{"NaN for a number", stale, 1, quiet, false},
		{"zero's sign", stale, 0, 1 << 31, false},
		{"NaN over poison", poison, poison, quiet, false},
	} {
		a := &arena{}
		a.reset(back)
		w := a.words(t, c.name, 1)
		w[0] = c.init
		r := &recorder{TB: t}
		if got := a.compare(r, func() string { return "" }, func() { w[0] = c.want }, func() { w[0] = c.got }); got != c.ok {
			t.Errorf("%s: compare is %v", c.name, got)
		}
	}
}
