package qkv_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/pprof"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// axes are the order of the axes of a tensor in memory, the outermost first, and those that go
// backwards.
type axes struct {
	name     string
	order    [4]int
	backward [4]bool
	gap      int // elements after each along the innermost axis
}

var axesOf = []axes{
	{name: "heads first", order: [4]int{0, 1, 2, 3}},
	{name: "tokens first", order: [4]int{0, 2, 1, 3}},
	{name: "dims-major", order: [4]int{0, 1, 3, 2}},
	{name: "backward", order: [4]int{0, 1, 2, 3}, backward: [4]bool{true, true, true, true}},
	{name: "tokens backward", order: [4]int{2, 0, 1, 3}, backward: [4]bool{false, true, true, false}},
	{name: "gaps", order: [4]int{1, 0, 2, 3}, gap: 1},
}

// place returns the strides of a tensor, its first element, and the elements of its memory.
func (a *axes) place(shape [4]int) (stride [4]int, first, n int) {
	n = 1 + a.gap
	for i := 3; i >= 0; i-- {
		axis := a.order[i]
		stride[axis] = n
		n *= shape[axis]
		if a.backward[axis] {
			first += stride[axis] * (shape[axis] - 1)
			stride[axis] = -stride[axis]
		}
	}
	return stride, first, n
}

// A writtenPool is keys or values that a test writes, and the memory for them.
type writtenPool struct {
	tile.KVWrite
	src, scales []float32
	dst         []byte
}

const (
	poolPages, poolTokens, srcTokens = 5, 130, 460
	poolHeads                        = 5
)

// newWrittenPool makes one of a type with axes of the numbers and of the pool.
func newWrittenPool(r *rand.Rand, e kernel.Elem, from, to *axes, heads, dim int) *writtenPool {
	p := &writtenPool{KVWrite: tile.KVWrite{Heads: heads, Dim: dim}}
	stride, first, n := from.place([4]int{1, heads, srcTokens, dim})
	p.src = make([]float32, n)
	for i := range p.src {
		switch x := r.Uint32(); {
		case x%4096 == 0:
			p.src[i] = float32(math.Inf(1))
		case x%16 == 0:
			p.src[i] = float32(int8(x>>8)) / 2
		default:
			p.src[i] = float32(r.NormFloat64())
		}
	}
	p.Src = tile.Operand{Base: unsafe.Pointer(&p.src[first]), Stride: stride}
	stride, first, n = to.place([4]int{poolPages, heads, poolTokens, dim / e.UnitValues()})
	p.dst = bytes.Repeat([]byte{0xa5}, n*e.Unit())
	p.Pool = tile.KV{Elem: e, Base: unsafe.Pointer(&p.dst[first*e.Unit()])}
	for i, s := range stride {
		p.Pool.Stride[i] = s * e.Unit()
	}
	if e == kernel.Int8 {
		stride, first, n = to.place([4]int{poolPages, heads, poolTokens, 1})
		p.scales = make([]float32, n)
		p.Pool.Scale = tile.Operand{Base: unsafe.Pointer(&p.scales[first]), Stride: stride}
	}
	p.Runs = []tile.WriteRun{
		{From: 3, Page: 2, Token: 7, N: 1}, {From: 4, Page: 4, N: poolTokens}, {From: 140, Page: 0, Token: 1, N: 60},
		{From: 201, Page: 3, Token: 99}, {From: 201, Page: 3, N: poolTokens - 3}, {From: 330, Page: 1, Token: 5, N: 4},
		{From: 335, Page: 2, Token: 8, N: poolTokens - 8}, {From: srcTokens - 1, Page: 1, Token: 129, N: 1},
	}
	return p
}

// rule writes p row by row, and returns what is in its memory then.
func (p *writtenPool) rule() (dst []byte, scales []float32) {
	for _, run := range p.Runs {
		for h := range p.Heads {
			for t := range run.N {
				at := func(o *tile.Operand, batch, token int) *float32 {
					return (*float32)(unsafe.Add(o.Base, 4*(batch*o.Stride[0]+h*o.Stride[1]+token*o.Stride[2])))
				}
				page, s := int(run.Page), &p.Pool.Stride
				var scale *float32
				if p.scales != nil {
					scale = at(&p.Pool.Scale, page, run.Token+t)
				}
				to := unsafe.Add(p.Pool.Base, page*s[0]+h*s[1]+(run.Token+t)*s[2])
				p.Pool.Elem.SetRow(to, s[3], scale, at(&p.Src, 0, run.From+t), p.Src.Stride[3], p.Dim)
			}
		}
	}
	dst, scales = bytes.Clone(p.dst), append([]float32(nil), p.scales...)
	p.clear()
	return dst, scales
}

// clear forgets what was written.
func (p *writtenPool) clear() {
	for i := range p.dst {
		p.dst[i] = 0xa5
	}
	clear(p.scales)
}

// same compares the memory of p with what it should be.
func (p *writtenPool) same(t *testing.T, what string, dst []byte, scales []float32) {
	t.Helper()
	for i := 0; !bytes.Equal(p.dst, dst); i++ {
		if b := p.dst[i]; b != dst[i] {
			t.Fatalf("%s: byte %d is %#x, want %#x", what, i, b, dst[i])
		}
	}
	for i, x := range p.scales {
		if math.Float32bits(x) != math.Float32bits(scales[i]) {
			t.Fatalf("%s: scale %d is %v, want %v", what, i, x, scales[i])
		}
	}
}

// TestWrite compares what every set writes, on one worker and on three, with the rule for a row,
// for every type and in every order of axes, keys and values of two types at once.
func TestWrite(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	const dim = 96
	few := 3 // one in so many orders
	if testing.Short() || raceEnabled {
		few = 18
	}
	elems := kernel.Elems()
	for i, e := range elems {
		for _, from := range axesOf {
			for _, to := range axesOf {
				if r.IntN(few) != 0 {
					continue
				}
				k := newWrittenPool(r, e, &from, &to, poolHeads, dim)
				v := newWrittenPool(r, elems[(i+2)%len(elems)], &to, &from, 1, 64)
				kWant, kScales := k.rule()
				vWant, vScales := v.rule()
				for _, set := range kernelSets() {
					engine := tile.New(kernel.Checked(set), tile.Caches{}, false, tile.Tuning{})
					for _, workers := range workerCounts(1, 3) {
						what := fmt.Sprintf("%s, %v, %s to %s, %d workers", set.Name, e, from.name, to.name, workers)
						engine.Write(&k.KVWrite, &v.KVWrite, workers)
						k.same(t, what, kWant, kScales)
						v.same(t, what+", v", vWant, vScales)
						k.clear()
						v.clear()
						engine.Write(nil, &v.KVWrite, workers)
						v.same(t, what+", v alone", vWant, vScales)
						v.clear()
					}
				}
			}
		}
	}
}

// TestWriteNothing: runs of no tokens write nothing, and neither does nothing at all.
func TestWriteNothing(t *testing.T) {
	engine := tile.New(bestSet(t), tile.Caches{}, false, tile.Tuning{})
	engine.Write(nil, nil, 2)
	p := newWrittenPool(rand.New(rand.NewPCG(5, 6)), kernel.Int8, &axesOf[0], &axesOf[0], 2, 8)
	p.Runs = []tile.WriteRun{{Page: 3}, {From: 9}}
	want, scales := p.rule()
	engine.Write(&p.KVWrite, nil, 2)
	p.same(t, "nothing", want, scales)
}

// TestWriteAllocs: writing allocates nothing in steady state.
func TestWriteAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("pools are not kept under the race detector")
	}
	engine := tile.New(bestSet(t), tile.Caches{}, false, tile.Tuning{})
	r := rand.New(rand.NewPCG(7, 8))
	k := newWrittenPool(r, kernel.Int8, &axesOf[1], &axesOf[0], poolHeads, 96)
	v := newWrittenPool(r, kernel.Float16, &axesOf[2], &axesOf[0], poolHeads, 96)
	if n := allocsPerCall(20, func() { engine.Write(&k.KVWrite, &v.KVWrite, 2) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

// bestSet returns the first set that this machine can run.
func bestSet(t *testing.T) *kernel.Set {
	t.Helper()
	for _, info := range qkv.Kernels() {
		if info.Missing == 0 && info.Set.Base == "" {
			return info.Set
		}
	}
	t.Fatal("no set")
	return nil
}

// TestWriteLabel: workers that write carry the label store, and none afterwards.
func TestWriteLabel(t *testing.T) {
	labelled := func() bool {
		var text bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
			t.Error(err)
		}
		return bytes.Contains(text.Bytes(), []byte(`"phase":"store"`))
	}
	calls := 0
	set := kernel.Set{Vec: 4, Lanes: 4}.With(kernel.Funcs{Store: func(*kernel.StoreArgs) {
		if calls++; !labelled() {
			t.Error("no label")
		}
	}})
	engine := tile.New(set, tile.Caches{}, true, tile.Tuning{})
	p := newWrittenPool(rand.New(rand.NewPCG(9, 10)), kernel.Int8, &axesOf[0], &axesOf[0], 2, 8)
	p.Runs = p.Runs[:1]
	engine.Write(&p.KVWrite, nil, 1)
	if calls == 0 || labelled() {
		t.Errorf("%d calls, labelled afterwards: %v", calls, labelled())
	}
}

// FuzzStore compares what every set makes of rows of any numbers, those that bytes spell, with
// the rule for a row.
func FuzzStore(f *testing.F) {
	r := rand.New(rand.NewPCG(11, 12))
	for i := range 40 {
		b := draw(4*(1+r.IntN(300)), func() byte { return byte(r.Uint32()) })
		for at := 0; at+4 <= len(b); at += 4 { // exponents about one, but for some
			if i%4 != 0 && r.IntN(100) != 0 {
				b[at+3] = b[at+3]&0x80 | byte(0x3c+r.IntN(8))
			}
		}
		f.Add(byte(i), byte(r.Uint32()), b)
	}
	f.Add(byte(3), byte(3), []byte{0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0xff, 1, 0, 0, 0, 0, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, elem, size byte, b []byte) {
		elems := kernel.Elems()
		e := elems[int(elem)%len(elems)]
		numbers := make([]float32, len(b)/4)
		for i := range numbers {
			numbers[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		dim := (1 + int(size)%200) * e.UnitValues()
		rows := len(numbers) / dim
		if rows == 0 {
			return
		}
		row := dim / e.UnitValues() * e.Unit()
		store := func(f func(a *kernel.StoreArgs)) ([]byte, []float32) {
			dst, scales := make([]byte, rows*row+64), make([]float32, rows+1)
			f(&kernel.StoreArgs{
				Src: &numbers[0], SrcStride: dim, Dst: unsafe.Pointer(&dst[0]), DstStride: row, Elem: e,
				Scale: &scales[0], ScaleStride: 1, Rows: rows, Dim: dim,
			})
			return dst, scales
		}
		want, wantScales := store(func(a *kernel.StoreArgs) {
			scales := unsafe.Slice(a.Scale, rows)
			for r := range rows {
				e.SetRow(unsafe.Add(a.Dst, r*row), e.Unit(), &scales[r], &numbers[r*dim], 1, dim)
			}
		})
		for _, set := range kernelSets() {
			got, gotScales := store(set.Store)
			if !bytes.Equal(got, want) {
				t.Errorf("%s: %v, %d rows of %d: %x, want %x", set.Name, e, rows, dim, got, want)
			}
			for i, s := range gotScales {
				if math.Float32bits(s) != math.Float32bits(wantScales[i]) {
					t.Errorf("%s: scale %d is %v, want %v", set.Name, i, s, wantScales[i])
				}
			}
		}
	})
}
