package blas

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
	"github.com/qkv-go/qkv/kernel"
)

// threeSteps computes for each head all scores, their softmax in plain Go, and the output, the
// products on all threads of the library.
func (s *System) threeSteps(o *bench.Operands, workers int) bench.Path {
	shape := o.Shape
	scores := make([]float32, shape.SeqQ*shape.SeqKV)
	g := &gemm{lib: s}
	d, dv, headsPerKV := shape.DimQK, shape.DimV, shape.Heads/shape.KVHeads
	scale := shared.Scale(shape)
	return bench.Path{
		Name:  "sgemm, softmax, sgemm for each head",
		NoLSE: true,
		Rest:  s.rest(workers),
		Run: func() error {
			s.setThreads(workers)
			for h := range shape.Batch * shape.Heads {
				q, out := o.Q[h*shape.SeqQ*d:], o.Out[h*shape.SeqQ*dv:]
				kv := h / headsPerKV * shape.SeqKV
				g.run(false, true, shape.SeqQ, shape.SeqKV, d, scale, &q[0], d, &o.K.Float32[kv*d], d, 0, &scores[0], shape.SeqKV)
				parallel(workers, shape.SeqQ, func(i int) {
					row := scores[i*shape.SeqKV:][:shape.SeqKV]
					softmax(row, keysOf(shape, i))
				})
				g.run(false, false, shape.SeqQ, dv, shape.SeqKV, 1, &scores[0], shape.SeqKV, &o.V.Float32[kv*dv], dv, 0, &out[0], dv)
			}
			return nil
		},
	}
}

// keysOf returns how many keys a query attends.
func keysOf(s bench.Shape, query int) int {
	if !s.Mask.Causal {
		return s.SeqKV
	}
	return query + 1 + s.SeqKV - s.SeqQ
}

// softmax makes weights of the first n scores of a row, and zeros of the others.
func softmax(row []float32, n int) {
	clear(row[n:])
	row = row[:n]
	top := float32(math.Inf(-1))
	for _, x := range row {
		top = max(top, x)
	}
	sum := float32(0)
	for i, x := range row {
		x = exp(x - top)
		row[i] = x
		sum += x
	}
	for i := range row {
		row[i] /= sum
	}
}

// exp is e^x for x up to 0, within 2 ulp: 2^n times a polynomial of what remains.
func exp(x float32) float32 {
	if x < -87 {
		return 0
	}
	y := x * math.Log2E
	n := float32(int32(y - 0.5))
	f := y - n
	p := float32(1.5403530393381609954e-4)
	p = p*f + 1.3333558146428443423e-3
	p = p*f + 9.6181291076284771619e-3
	p = p*f + 5.5504108664821579953e-2
	p = p*f + 2.4022650695910071233e-1
	p = p*f + 6.9314718055994530942e-1
	p = p*f + 1
	return p * math.Float32frombits(uint32(int32(n)+127)<<23)
}

// parallel calls f with 0..n-1 on so many goroutines.
func parallel(workers, n int, f func(i int)) {
	if workers == 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	done.Wait()
}

// rowBlocks are numbers of queries of a block to choose from.
var rowBlocks = []int{64, 128, 256}

const keyBlock = kernel.KeyBlock

// blocked computes blocks of queries over blocks of keys up to the diagonal of the mask, as an
// attention of one's own around a BLAS would, on goroutines that each call it on one thread.
// Its products are transposed, so that the softmax between them can be this library's, which
// is better than any that a BLAS has.
func (s *System) blocked(o *bench.Operands, rowBlock, workers int) bench.Path {
	shape := o.Shape
	// Where all heads of a KV head attend the same keys, their queries are rows of one matrix.
	heads, rows := shape.Heads, shape.SeqQ
	if !shape.Mask.Causal || shape.SeqQ == 1 {
		heads, rows = shape.KVHeads, shape.SeqQ*shape.Heads/shape.KVHeads
	}
	blocks := (rows + rowBlock - 1) / rowBlock
	set := bestSet()
	spaces := make(chan *space, workers)
	for range workers {
		spaces <- newSpace(s, set, min(rows, rowBlock), shape.DimV)
	}
	return bench.Path{
		Name:  fmt.Sprintf("sgemm by blocks of %d queries, this library's softmax", min(rows, rowBlock)),
		NoLSE: true,
		Run: func() error {
			s.setThreads(1)
			parallel(workers, shape.Batch*heads*blocks, func(i int) {
				w := <-spaces
				// The last blocks have the most keys.
				w.block(o, heads, rows, rowBlock, i/blocks, blocks-1-i%blocks)
				spaces <- w
			})
			return nil
		},
	}
}

func bestSet() *kernel.Set {
	for _, k := range qkv.Kernels() {
		if k.Missing == 0 {
			return k.Set
		}
	}
	panic("blas: no kernel set runs") // the generic one always does
}

// A space is what a goroutine works on.
type space struct {
	gemm            gemm
	set             *kernel.Set
	stride          int       // lanes of a row block
	s               []float32 // [keyBlock][stride]
	o               []float32 // [dimV][stride]
	max, sum, alpha []float32
	mask            [keyBlock]uint64
	off             [kernel.MaxLanes]int
	zeros           [kernel.MaxLanes]float32
}

func newSpace(lib *System, set *kernel.Set, rows, dimV int) *space {
	stride := (rows + set.Vec - 1) / set.Vec * set.Vec
	return &space{
		gemm: gemm{lib: lib}, set: set, stride: stride,
		s: make([]float32, keyBlock*stride), o: make([]float32, dimV*stride),
		max: make([]float32, stride), sum: make([]float32, stride), alpha: make([]float32, stride),
	}
}

// block computes a block of rows of a head.
func (w *space) block(o *bench.Operands, heads, rows, rowBlock, head, block int) {
	shape := o.Shape
	d, dv := shape.DimQK, shape.DimV
	first := block * rowBlock
	n := min(rowBlock, rows-first)
	q := o.Q[(head*rows+first)*d:]
	kv := head * shape.KVHeads / heads * shape.SeqKV
	causal := shape.Mask.Causal && shape.SeqQ > 1
	keys := shape.SeqKV
	if causal {
		keys = keysOf(shape, first+n-1)
	}
	for i := range w.max {
		w.max[i], w.sum[i] = kernel.InitMax, 0
	}
	clear(w.o)
	scale := math.Log2E / 2 * shared.Scale(shape)
	for key := 0; key < keys; key += keyBlock {
		block := min(keyBlock, keys-key)
		w.gemm.run(false, true, block, n, d, scale, &o.K.Float32[(kv+key)*d], d, &q[0], d, 0, &w.s[0], w.stride)
		moved := false
		for lane := 0; lane < w.stride; lane += w.set.Lanes {
			lanes := min(w.set.Lanes, w.stride-lane)
			a := kernel.SoftmaxArgs{
				S: &w.s[lane], Keys: block, MaskFrom: block, Max: &w.max[lane], Sum: &w.sum[lane], Alpha: &w.alpha[lane],
				Lanes: lanes, Stride: w.stride,
			}
			if causal && keysOf(shape, first+lane) < key+block {
				w.diagonal(shape, first+lane, key, block)
				a.MaskFrom, a.Mask = 0, &w.mask[0]
			}
			w.set.Softmax(&a)
			moved = moved || a.Moved
		}
		if moved && key > 0 {
			w.rescale(dv)
		}
		w.gemm.run(true, false, dv, n, block, 1, &o.V.Float32[(kv+key)*dv], dv, &w.s[0], w.stride, 1, &w.o[0], w.stride)
	}
	for lane := 0; lane < n; lane += w.set.Lanes {
		lanes := min(w.set.Lanes, w.stride-lane)
		for l := range lanes {
			w.off[l] = l * dv
		}
		w.set.Unpack(&kernel.UnpackArgs{
			O: &w.o[lane], Sum: &w.sum[lane], Dst: &o.Out[(head*rows+first+lane)*dv], Off: &w.off, DimStride: 1,
			Rows: min(lanes, n-lane), Dim: dv, Lanes: lanes, Stride: w.stride,
		})
	}
}

// rescale multiplies the output by the factors of the softmax.
func (w *space) rescale(dv int) {
	for lane := 0; lane < w.stride; lane += w.set.Lanes {
		w.set.Accumulate(&kernel.AccumulateArgs{
			V: &w.zeros[0], Keys: 1, MaskFrom: 1, Dim: dv, P: &w.zeros[0], O: &w.o[lane], Alpha: &w.alpha[lane],
			Lanes: min(w.set.Lanes, w.stride-lane), Stride: w.stride, Mode: kernel.Rescale,
		})
	}
}

// diagonal notes which of the lanes from a query on attend which keys of a block.
func (w *space) diagonal(s bench.Shape, query, key, block int) {
	first := keysOf(s, query) // that the first lane does not attend
	for k := range block {
		w.mask[k] = ^uint64(0) << max(0, key+k-first+1)
	}
}
