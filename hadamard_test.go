package qkv_test

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// TestHadamard compares with the matrix in float64, and the bits of every set and number of workers, in any
// layout: element (i, j) of the matrix is -1 to the number of bits that i and j share.
func TestHadamard(t *testing.T) {
	for _, c := range []struct{ dim, block, used int }{{128, 0, 128}, {128, 32, 32}, {64, 1, 1}, {96, 0, 32}, {10, 2, 2}, {12, 4, 4}, {7, 0, 1}} {
		for _, layout := range []string{"bhsd", "bshd", "bhds", "gaps", "reversed"} {
			var first []float32
			for _, set := range sets() {
				for _, workers := range workerCounts() {
					e := newAttention(t, qkv.Config{Kernel: set, Workers: workers})
					x := newTensor(layout, 2, 3, 40, c.dim, normal(1))
					was := newTensor(layout, 2, 3, 40, c.dim, normal(1))
					if err := e.Hadamard(x.view(), c.block); err != nil {
						t.Fatal(err)
					}
					if first == nil {
						first = x.data
						for row := range 5 {
							for i := range c.dim {
								want, size := 0.0, 0.0
								for j := range c.used {
									v := float64(was.at(1, row%3, row, i-i%c.used+j)) / math.Sqrt(float64(c.used))
									size += math.Abs(v)
									want += v * float64(1-2*(bits.OnesCount(uint(i%c.used&j))&1))
								}
								if off := math.Abs(float64(x.at(1, row%3, row, i)) - want); off > 8*0x1p-24*size {
									t.Fatalf("%+v, %s: element %d of row %d is off by %g", c, layout, i, row, off)
								}
							}
						}
					}
					sameBits(t, fmt.Sprintf("%+v, %s, %s, %d workers", c, layout, set, workers), x.data, first)
				}
			}
		}
	}
	e := newAttention(t, qkv.Config{})
	x := make([]float32, 12)
	for _, block := range []int{-1, 3, 8} {
		err := e.Hadamard(qkv.BHSD(x, 1, 1, 1, 12), block)
		var a *qkv.ArgError
		if !errors.As(err, &a) || a.Arg != "block" {
			t.Errorf("block %d: error %v", block, err)
		}
	}
}

// TestOutlierChannels shows what a Hadamard rotation of queries and keys, and a mean of the keys that is
// subtracted from them, buy where a few channels of the keys are large, as in trained models: the
// error of outputs against float64, of keys stored in 8 and in 4 bits.
func TestOutlierChannels(t *testing.T) {
	const heads, keys, queries, dim = 2, 300, 8, 128
	e := newAttention(t, qkv.Config{})
	r := rand.New(rand.NewPCG(3, 3))
	q, k, v := make([]float32, heads*queries*dim), make([]float32, heads*keys*dim), make([]float32, heads*keys*dim)
	for _, x := range [][]float32{q, k, v} {
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
	}
	for i := range k { // far from 0, and further apart
		switch i % dim {
		case 3, 40, 77, 101:
			k[i] = 20 + 3*k[i]
		}
	}
	for i := range q { // so that the softmax has some keys, not one
		q[i] *= 0.5
	}
	mean := make([]float32, heads*dim)
	for i, x := range k {
		mean[i/(keys*dim)*dim+i%dim] += x / keys
	}
	exact := make([]float64, len(q))
	for h := range heads {
		for i := range queries {
			scores, sum, top := make([]float64, keys), 0.0, math.Inf(-1)
			for j := range scores {
				for d := range dim {
					scores[j] += float64(q[(h*queries+i)*dim+d]) * float64(k[(h*keys+j)*dim+d]) / math.Sqrt(dim)
				}
				top = max(top, scores[j])
			}
			for j, s := range scores {
				scores[j] = math.Exp(s - top)
				sum += scores[j]
			}
			for j, p := range scores {
				for d := range dim {
					exact[(h*queries+i)*dim+d] += p / sum * float64(v[(h*keys+j)*dim+d])
				}
			}
		}
	}
	// failed returns the root mean square of the error, of that of the output.
	failed := func(typ qkv.ElemType, subtract, rotate bool) float64 {
		q, k, out := append([]float32(nil), q...), append([]float32(nil), k...), make([]float32, len(q))
		if subtract {
			for i := range k {
				k[i] -= mean[i/(keys*dim)*dim+i%dim]
			}
		}
		if rotate {
			must(errors.Join(e.Hadamard(qkv.BHSD(q, 1, heads, queries, dim), 0), e.Hadamard(qkv.BHSD(k, 1, heads, keys, dim), 0)))
		}
		for row := range heads * keys {
			copy(k[row*dim:], stored(typ, k[row*dim:][:dim]))
		}
		must(e.Run(&qkv.Call{
			Q: qkv.BHSD(q, 1, heads, queries, dim), K: qkv.BHSD(k, 1, heads, keys, dim), V: qkv.BHSD(v, 1, heads, keys, dim),
			Out: qkv.BHSD(out, 1, heads, queries, dim),
		}))
		var off, all float64
		for i, x := range exact {
			off += (float64(out[i]) - x) * (float64(out[i]) - x)
			all += x * x
		}
		return math.Sqrt(off / all)
	}
	for _, typ := range []qkv.ElemType{qkv.TypeInt8, qkv.TypeQ8_0, qkv.TypeFloat8E4M3, qkv.TypeQ4_0, qkv.TypeQ4_1} {
		plain, mean, rotated, both := failed(typ, false, false), failed(typ, true, false), failed(typ, false, true), failed(typ, true, true)
		t.Logf("%v: error %.3g; mean subtracted %.3g, rotated %.3g, both %.3g", typ, plain, mean, rotated, both)
		if !(mean < plain) || !(both < plain) {
			t.Errorf("%v: neither helps", typ)
		}
	}
}
