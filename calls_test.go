package qkv

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/internal/asmgen"
	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// TestMachineCodeIsCalledBySets: functions without a body are named where a kernel.Set is
// made of them, or in functions without a loop that are not inlined, and nowhere else. A loop
// that calls one itself could not be stopped.
func TestMachineCodeIsCalledBySets(t *testing.T) {
	files := token.NewFileSet()
	names, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var all []*ast.File
	code := map[string]bool{}
	for _, name := range names {
		if !strings.HasSuffix(name.Name(), ".go") || strings.HasSuffix(name.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name.Name(), nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body == nil {
				code[f.Name.Name] = true
			}
		}
	}
	if len(code) < 3*15 {
		t.Fatalf("%d functions without a body, want those of three sets", len(code))
	}
	for _, file := range all {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && !stops(f) {
				ast.Inspect(f.Body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok && code[id.Name] {
						t.Errorf("%v: %s has %s", files.Position(id.Pos()), f.Name.Name, id.Name)
					}
					return true
				})
			}
		}
	}
}

// stops reports whether each call of machine code by f has a call of f before it, which looks
// whether the goroutine is to stop.
func stops(f *ast.FuncDecl) bool {
	stops := f.Doc != nil && slices.ContainsFunc(f.Doc.List, func(c *ast.Comment) bool { return c.Text == "//go:noinline" })
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt, *ast.RangeStmt, *ast.FuncLit:
			stops = false
		case *ast.BranchStmt:
			stops = stops && n.Tok != token.GOTO
		}
		return true
	})
	return stops
}

// A workLog has the largest work of the calls of each function.
type workLog map[string]int64

func (w workLog) note(name string, work int64) { w[name] = max(w[name], work) }

// logged returns a set of that shape whose functions do nothing but note their work.
func logged(shape kernel.Set, w workLog) *kernel.Set {
	return shape.With(kernel.Funcs{
		Pack:                 func(a *kernel.PackArgs) { w.note("Pack", a.Work()) },
		Scores:               func(a *kernel.ScoresArgs) { w.note("Scores", a.Work()) },
		Softcap:              func(a *kernel.SoftcapArgs) { w.note("Softcap", a.Work()) },
		ALiBi:                func(a *kernel.ALiBiArgs) { w.note("ALiBi", a.Work()) },
		Bias:                 func(a *kernel.BiasArgs) { w.note("Bias", a.Work()) },
		Softmax:              func(a *kernel.SoftmaxArgs) { w.note("Softmax", a.Work()) },
		Accumulate:           func(a *kernel.AccumulateArgs) { w.note("Accumulate", a.Work()) },
		Unpack:               func(a *kernel.UnpackArgs) { w.note("Unpack", a.Work()) },
		Merge:                func(a *kernel.MergeArgs) { w.note("Merge", a.Work()) },
		Convert:              func(a *kernel.ConvertArgs) { w.note("Convert", a.Work()) },
		Store:                func(a *kernel.StoreArgs) { w.note("Store", a.Work()) },
		DecodeScoresInt8:     func(a *kernel.DecodeScoresInt8Args) { w.note("DecodeScoresInt8", a.Work()) },
		DecodeAccumulateInt8: func(a *kernel.DecodeAccumulateInt8Args) { w.note("DecodeAccumulateInt8", a.Work()) },
		DecodeScores:         func(a *kernel.DecodeScoresArgs) { w.note("DecodeScores", a.Work()) },
		DecodeAccumulate:     func(a *kernel.DecodeAccumulateArgs) { w.note("DecodeAccumulate", a.Work()) },
		Multiply:             func(a *kernel.MultiplyArgs) { w.note("Multiply", a.Work()) },
		MultiplyFew:          func(a *kernel.MultiplyArgs) { w.note("MultiplyFew", int64(a.Depth)*int64(a.Lanes)) },
		Combine:              func(a *kernel.CombineArgs) { w.note("Combine", a.Work()) },
		Dots:                 func(a *kernel.DotsArgs) { w.note("Dots", a.Work()) },
		Dequantize:           func(a *kernel.DequantizeArgs) { w.note("Dequantize", a.Work()) },
		DotWeights:           func(a *kernel.DotWeightsArgs) { w.note("DotWeights", a.Work()) },
		Quantize:             func(a *kernel.QuantizeArgs) { w.note("Quantize", a.Work()) },
		UnpackInt8:           func(a *kernel.UnpackInt8Args) { w.note("UnpackInt8", a.Work()) },
		MultiplyInt8:         func(a *kernel.MultiplyInt8Args) { w.note("MultiplyInt8", a.Work()) },
		MultiplyRowInt8:      func(a *kernel.MultiplyRowInt8Args) { w.note("MultiplyRowInt8", a.Work()) },
		ConvertInt8:          func(a *kernel.ConvertInt8Args) { w.note("ConvertInt8", a.Work()) },
		PackWeights:          func(a *kernel.PackWeightsArgs) { w.note("PackWeights", a.Work()) },
		PackInt8:             func(a *kernel.PackInt8Args) { w.note("PackInt8", a.Work()) },
		TransposeInt8:        func(a *kernel.TransposeInt8Args) { w.note("TransposeInt8", a.Work()) },
		MultiplyStrips:       func(a *kernel.MultiplyStripsArgs) { w.note("MultiplyStrips", a.Work()) },
		DequantizeStrips:     func(a *kernel.DequantizeStripsArgs) { w.note("DequantizeStrips", a.Work()) },
		Float16:              func(_ *float32, _ *uint16, n int) { w.note("Float16", 4*int64(n)) },
		Rotary:               func(a *kernel.RotaryArgs) { w.note("Rotary", a.Work()) },
		Activate:             func(a *kernel.ActivateArgs) { w.note("Activate", a.Work()) },
		Sums:                 func(a *kernel.SumsArgs) { w.note("Sums", a.Work()) },
		Normalize:            func(a *kernel.NormalizeArgs) { w.note("Normalize", a.Work()) },
		Hadamard:             func(a *kernel.HadamardArgs) { w.note("Hadamard", a.Work()) },
		Above:                func(a *kernel.AboveArgs) { a.At = a.N; w.note("Above", a.Work()) },
		Peak:                 func(n int) { w.note("Peak", 8*int64(n)) },
		PeakInt8:             func(n int) { w.note("PeakInt8", 8*int64(n)) },
		Pairs:                func(a *kernel.PairsArgs) { w.note("Pairs", a.Work()) },
		MultiplyPairs:        func(a *kernel.MultiplyArgs) { w.note("MultiplyPairs", a.Work()) },
		MultiplyPairsFew:     func(a *kernel.MultiplyArgs) { w.note("MultiplyPairsFew", int64(a.Depth)*int64(a.Lanes)) },
		ScoresPairs:          func(a *kernel.ScoresArgs) { w.note("ScoresPairs", a.Work()) },
		PairWeights:          func(a *kernel.PairWeightsArgs) { w.note("PairWeights", a.Work()) },
		AccumulatePairs:      func(a *kernel.AccumulateArgs) { w.note("AccumulatePairs", a.Work()) },
		PeakBFloat16:         func(n int) { w.note("PeakBFloat16", 8*int64(n)) },
		Read:                 func(_ *float32, n int) float32 { w.note("Read", int64(n)); return 0 },
	})
}

// TestWorkOfCalls runs every operation on the largest operands, and those that take the most
// for their size, and finds no call with more work than is stated.
func TestWorkOfCalls(t *testing.T) {
	t.Parallel()
	var shapes []kernel.Set
	for _, file := range asmgen.Files { // those of other architectures too
		for _, arch := range file.Sets {
			shapes = append(shapes, arch.Set())
		}
	}
	for _, k := range Kernels() {
		if !slices.ContainsFunc(shapes, func(s kernel.Set) bool { return s.Name == k.Set.Name }) {
			shapes = append(shapes, *k.Set)
		}
	}
	if testing.Short() {
		shapes = slices.DeleteFunc(shapes, func(s kernel.Set) bool { return s.Name != "neon" })
	} else if name := os.Getenv("QKV_KERNEL"); name != "" {
		shapes = slices.DeleteFunc(shapes, func(s kernel.Set) bool { return s.Name != name })
	}
	for _, shape := range shapes {
		if shape.Base != "" { // of the same numbers
			continue
		}
		t.Run(shape.Name, func(t *testing.T) {
			w := workLog{}
			set := logged(shape, w)
			e := &Engine{set: set, workers: 1, engine: tile.New(set, tile.Caches{L1: 32 << 10, L2: 2 << 20, L3: 64 << 20}, false, tile.Tuning{})}
			largestCalls(t, e)
			set.Peak(1 << 30)
			set.PeakInt8(1 << 30)
			set.PeakBFloat16(1 << 30)
			far := make([]float32, 1<<22)         // never touched, but there, for -race asks
			for _, rows := range []int{1, 2000} { // all of one row
				set.Pairs(&kernel.PairsArgs{Src: &far[0], ColStride: 1 << 10, Rows: rows, Cols: 1 << 12, Dst: &far[0]})
			}
			set.ScoresPairs(&kernel.ScoresArgs{K: &far[0], Keys: kernel.KeyBlock, Dim: MaxDim / 2, S: &far[0]})
			set.AccumulatePairs(&kernel.AccumulateArgs{V: &far[0], DimStride: 1, Keys: kernel.KeyBlock / 2, Dim: MaxDim, O: &far[0]})
			set.PairWeights(&kernel.PairWeightsArgs{Keys: kernel.KeyBlock, Lanes: set.Lanes})
			set.MultiplyPairs(&kernel.MultiplyArgs{A: &far[0], Rows: 5000, Depth: kernel.KC / 2, C: &far[0], Lanes: set.Lanes})
			set.MultiplyPairsFew(&kernel.MultiplyArgs{A: &far[0], Rows: set.FewRows, Depth: 1 << 16, B: &far[0], C: &far[0], Lanes: set.Lanes})
			set.Dequantize(&kernel.DequantizeArgs{Depth: kernel.KC, Lanes: set.Lanes})
			wide := make([]byte, 4*kernel.MaxWork)
			set.DotWeights(&kernel.DotWeightsArgs{
				Type: kernel.WeightQ4_0, Src: &wide[0], RowBytes: 18, Depth: 1 << 16, Lanes: 3 * set.Vec,
				X: &make([]float32, 1<<16)[0], C: &make([]float32, 1<<8*3*set.Vec)[0], Stride: 3 * set.Vec,
			})
			for _, step := range []int{1, 16} {
				set.Quantize(&kernel.QuantizeArgs{X: &make([]float32, 16<<16)[0], ColStride: step, Rows: 3, Depth: 1 << 16, Dst: &make([]byte, 3<<17)[0], RowBytes: 1 << 17})
			}
			set.DecodeScoresInt8(&kernel.DecodeScoresInt8Args{
				Off: new([2 * kernel.KeyBlock]int), Elem: kernel.Int8, Scale: &far[0], Keys: kernel.KeyBlock, Dim: MaxDim, S: &far[0],
			})
			set.PackWeights(&kernel.PackWeightsArgs{Depth: kernel.KC, Lanes: set.Lanes})
			set.UnpackInt8(&kernel.UnpackInt8Args{Depth: kernel.KC, Lanes: set.Lanes, Codes: &wide[0]})
			set.MultiplyInt8(&kernel.MultiplyInt8Args{X: &wide[0], Rows: 5000, Depth: kernel.KC, C: &make([]float32, 5000)[0]})
			for _, panels := range []int{1, 3} {
				set.MultiplyRowInt8(&kernel.MultiplyRowInt8Args{
					X: &wide[0], Depth: 1 << 15, Type: kernel.WeightQ4_0, W: &wide[0], C: &far[0], Lanes: set.Lanes, Panels: panels,
				})
			}
			for _, elem := range []kernel.Elem{kernel.Int8, kernel.Q4_0} {
				set.ConvertInt8(&kernel.ConvertInt8Args{Src: unsafe.Pointer(&wide[0]), Elem: elem, UnitStride: 18, Rows: kernel.KeyBlock, Dim: MaxDim, Dst: &wide[0]})
				set.TransposeInt8(&kernel.TransposeInt8Args{Src: unsafe.Pointer(&far[0]), Elem: elem, UnitStride: 18, Keys: kernel.KeyBlock, Dim: MaxDim, Dst: (*byte)(unsafe.Pointer(&far[0])), RowBytes: 208})
				set.DecodeAccumulateInt8(&kernel.DecodeAccumulateInt8Args{
					V: unsafe.Pointer(&wide[0]), Elem: elem, Keys: kernel.KeyBlock, Dim: MaxDim, Codes: (*int8)(unsafe.Pointer(&far[0])), Scales: &far[0], GroupCodes: 4 * 8 * 16 * 4, GroupScales: 4 * 16, Lanes: 16, O: &far[0],
				})
			}
			set.PackInt8(&kernel.PackInt8Args{Q: &far[0], Dim: MaxDim, Lanes: set.Lanes, Stride: set.Lanes, Codes: (*byte)(unsafe.Pointer(&far[0])), Scales: &far[0]})
			set.MultiplyStrips(&kernel.MultiplyStripsArgs{
				Type: kernel.WeightQ4_0, Src: &wide[0], StripBytes: 18 * set.Vec, Vec: set.Vec, Depth: 1 << 13, Lanes: 3 * set.Vec,
				A: &make([]float32, 1<<13)[0], Rows: 8, C: &make([]float32, 8*3*set.Vec)[0], Stride: 3 * set.Vec,
			})
			set.DequantizeStrips(&kernel.DequantizeStripsArgs{Type: kernel.WeightQ4_0, Vec: set.Vec, Depth: kernel.KC, Lanes: set.Lanes})
			read := make([]float32, 3*kernel.MaxWork) // as far is
			set.Read(&read[0], len(read))
			set.Activate(&kernel.ActivateArgs{Gate: &read[0], Dst: &read[0], Rows: 2, DstStride: 1, Cols: len(read) - 1})
			for _, f := range reflect.VisibleFields(reflect.TypeFor[kernel.Funcs]()) {
				switch work := w[f.Name]; {
				case work == 0:
					t.Errorf("%s was not called", f.Name)
				case work > kernel.MaxWork:
					t.Errorf("%s was called with work of %d, at most %d is allowed", f.Name, work, kernel.MaxWork)
				}
			}
		})
	}
}

// largestCalls runs the operations of e. Operands overlap themselves where they are read, so
// that they take little memory.
func largestCalls(t *testing.T, e *Engine) {
	const dim, far, keys = MaxDim, 16, kernel.KeyChunk + 200
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	data := make([]float32, far*dim+4*keys)
	halves := make([]Float16, len(data))
	small := make([]int8, len(data))
	blocks := make([]BlockQ8_0, len(data)/kernel.BlockValues*2)
	out := make([]float32, 70*far*dim)
	for _, step := range []int{1, 2, far} {
		view := func(rows int) View {
			return Strided(data, 0, [4]int{1, 1, rows, dim}, [4]int{0, 0, 1, step})
		}
		kvs := []View{
			view(keys),
			Strided(halves, 0, [4]int{1, 1, keys, dim}, [4]int{0, 0, 1, step}),
			Strided(small, 0, [4]int{1, 1, keys, dim}, [4]int{0, 0, 1, step}),
		}
		if step <= 2 {
			kvs = append(kvs, Strided(blocks, 0, [4]int{1, 1, keys, dim}, [4]int{0, 0, 0, step}))
		}
		for _, rows := range []int{1, 70} {
			for i, kv := range kvs {
				c := Call{
					Q: view(rows), K: kv, V: kv,
					Out: Strided(out, 0, [4]int{1, 1, rows, dim}, [4]int{0, 0, dim * step, step}),
				}
				if i == 2 {
					c.KScale = Strided(data, 0, [4]int{1, 1, keys, 1}, [4]int{})
					c.VScale = c.KScale
				}
				ok(e.Run(&c))
				c.Softcap, c.ALiBi, c.Sinks = 30, []float32{1}, []float32{1}
				c.Mask.Align = TopLeft
				c.Bias = Strided(data, 0, [4]int{1, 1, rows, keys}, [4]int{0, 0, 1, 1})
				ok(e.Run(&c))
				c.Bias = Strided(halves, 0, [4]int{1, 1, rows, keys}, [4]int{0, 0, 1, 1})
				ok(e.Run(&c))
				if rows == 1 || i > 0 {
					continue
				}
				c.ProbMod = func(*ScoreBlock) {}
				c.Scores, c.ScoresAt = Pairs(make([]float32, rows*keys), 1, 1, rows, keys), StageProbs
				ok(e.Run(&c))
			}
		}
		rotary, err := NewRotary(RotaryConfig{Dim: dim, MaxPositions: 1})
		ok(err)
		const heads = 60
		ok(e.Rotate(rotary, Strided(out, 0, [4]int{1, heads, 1, dim}, [4]int{0, dim * step, 0, step}), nil))
		ok(e.Hadamard(Strided(out, 0, [4]int{1, heads, 1, dim}, [4]int{0, dim * step, 0, step}), 0))
	}
	narrow, err := NewRotary(RotaryConfig{Dim: 2, MaxPositions: len(out) / 2})
	ok(err)
	ok(e.Rotate(narrow, BHSD(out, 1, 1, len(out)/2, 2), nil))
	row := RowMajor(out[:len(out)/2], 1, len(out)/2) // longer than a call takes
	ok(e.LayerNorm(&Norm{X: row, Weight: out[len(out)/2:], Y: row}))
	e.ArgMax(out)
	write := tile.KVWrite{
		Src: tile.Operand{Base: unsafe.Pointer(&data[0]), Stride: [4]int{0, 1, 1, 1}}, Heads: 1, Dim: dim,
		Pages: tile.Pages{
			Pool: tile.KV{Elem: kernel.BFloat16, Base: unsafe.Pointer(&out[0]), Stride: [4]int{0, 0, 2 * dim, 2}},
			Runs: []tile.WriteRun{{N: 70}},
		},
	}
	e.engine.Write(&write, nil, 1)
	for _, c := range []struct{ m, k, n int }{
		{1, 5000, 50}, {1, 5000, 3000}, {3000, 1, 70}, {3000, 5000, 3}, {100, 1 << 16, 3}, {100, 5000, 300}, {5000, 300, 100},
	} {
		for _, step := range []int{1, far} {
			x := StridedMatrix(data, 0, c.m, c.k, 1, step)
			y := StridedMatrix(out, 0, c.m, c.n, c.n*step, step)
			if c.k > far*dim/step {
				continue
			}
			for _, w := range []Matrix{
				StridedMatrix(data, 0, c.k, c.n, 1, 0), StridedMatrix(data, 0, c.k, c.n, 0, 1), StridedMatrix(data, 0, c.k, c.n, step, 2),
			} {
				bias := make([]float32, c.n)
				ok(e.MatMul(&Product{X: x, W: w, Y: y, Bias: bias, Accumulate: true}))
				if c.k*c.n <= len(data) { // a copy has every element
					packed, err := e.Pack(w)
					ok(err)
					ok(e.MatMul(&Product{X: x, Packed: packed, Y: y}))
				}
			}
		}
	}
}

// TestCallsDivide: a method of a set that divides its work has the bits of one call.
func TestCallsDivide(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = r.Float32() - 0.5
		}
		return x
	}
	tried := 0
	for _, k := range Kernels() {
		if k.Missing != 0 || k.Set.Base != "" || testing.Short() && tried > 0 {
			continue
		}
		tried++
		set := k.Set
		lanes := set.Vec
		const dim, keys = MaxDim, 30
		data, packed, weights := random(2*keys*dim), random(dim*kernel.MaxLanes), random(keys*kernel.MaxLanes)
		for i, x := range weights {
			weights[i] = max(x, float32(math.Copysign(0, -1))) // of a masked key it is -0
		}
		pairs := make([]float32, len(data)/2)
		for i := range pairs {
			pairs[i] = math.Float32frombits(kernel.Pair(data[2*i], data[2*i+1]))
		}
		off, far, bytes := new([kernel.MaxLanes]int), new([kernel.KeyBlock]int), new([2 * kernel.KeyBlock]int)
		for i := range off {
			off[i] = i % keys * dim
		}
		for i := range bytes {
			bytes[i] = i % keys * dim
		}
		for i := range far {
			far[i] = i % keys * 2 * dim
		}
		raw := unsafe.Pointer(&data[0])
		rows := make([]byte, 1<<13)
		for i := range rows {
			rows[i] = byte(r.Uint32()) & 0xbf // any two bytes are a number of binary16
		}
		strips := make([]byte, 44*kernel.KC*34/32*set.Vec)
		for i := range strips {
			strips[i] = byte(r.Uint32()) & 0xbf
		}
		maxima, sums := random(lanes), random(lanes)
		for i := range sums {
			sums[i] += 2
		}
		alpha := random(kernel.MaxLanes)
		base := random(dim * keys)
		for _, c := range []struct {
			name string
			call func(generic bool, out, top, sum *float32)
		}{
			{"Pack", func(generic bool, out, _, _ *float32) {
				a := &kernel.PackArgs{Src: &data[0], Off: off, DimStride: 1, Rows: lanes, Dim: dim, Dst: out, Lanes: lanes, Stride: lanes, Scale: 2}
				either(t, generic, packGeneric, set.Pack, a)
			}},
			{"Scores", func(generic bool, out, _, _ *float32) {
				a := &kernel.ScoresArgs{K: &data[0], KeyStride: dim, DimStride: 1, Keys: keys, Dim: dim, Q: &packed[0], S: out, Lanes: lanes, Stride: lanes}
				either(t, generic, scoresGeneric, set.Scores, a)
			}},
			{"Accumulate", func(generic bool, out, _, _ *float32) {
				a := &kernel.AccumulateArgs{
					V: &data[0], KeyStride: dim, DimStride: 1, Keys: keys, MaskFrom: 3, Dim: dim, P: &weights[0], O: out, Alpha: &alpha[0],
					Lanes: lanes, Stride: lanes, Mode: kernel.Rescale,
				}
				either(t, generic, accumulateGeneric, set.Accumulate, a)
			}},
			{"Unpack", func(generic bool, out, _, _ *float32) {
				a := &kernel.UnpackArgs{O: &data[0], Sum: &sums[0], Dst: out, Off: off, DimStride: 1, Rows: lanes, Dim: dim, Lanes: lanes, Stride: lanes}
				either(t, generic, unpackGeneric, set.Unpack, a)
			}},
			{"Merge", func(generic bool, out, top, sum *float32) {
				a := &kernel.MergeArgs{O: out, Max: top, Sum: sum, Chunk: &data[0], ChunkMax: &maxima[0], ChunkSum: &sums[0], Dim: dim, Lanes: lanes, Stride: lanes}
				either(t, generic, mergeGeneric, set.Merge, a)
			}},
			{"Convert", func(generic bool, out, _, _ *float32) {
				a := &kernel.ConvertArgs{Src: raw, Off: far, Elem: kernel.BFloat16, UnitStride: 2, Rows: keys, Dim: dim, Dst: out, Stride: dim}
				either(t, generic, convertGeneric, set.Convert, a)
			}},
			{"Convert blocks", func(generic bool, out, _, _ *float32) {
				a := &kernel.ConvertArgs{Src: raw, Off: far, Elem: kernel.Q8_0, UnitStride: 36, Rows: keys, Dim: dim, Dst: out, Stride: dim}
				either(t, generic, convertGeneric, set.Convert, a)
			}},
			{"Quantize", func(generic bool, out, _, _ *float32) {
				a := &kernel.QuantizeArgs{
					X: &data[0], RowStride: dim, ColStride: 1, Rows: keys, Depth: dim, Halves: set.Int8Halves,
					Dst: (*byte)(unsafe.Pointer(out)), RowBytes: dim / kernel.Int8Block * kernel.Int8BlockBytes(set.Int8Halves),
				}
				either(t, generic, quantizeGeneric, set.Quantize, a)
			}},
			{"ConvertInt8", func(generic bool, out, _, _ *float32) {
				a := &kernel.ConvertInt8Args{
					Src: raw, Off: far, Elem: kernel.Int8, UnitStride: 1, Scale: &alpha[0], Rows: keys, Dim: dim, Halves: set.Int8Halves,
					Dst: (*byte)(unsafe.Pointer(out)), RowBytes: kernel.Int8Blocks(dim) * kernel.Int8BlockBytes(set.Int8Halves),
				}
				either(t, generic, convertInt8Generic, set.ConvertInt8, a)
			}},
			{"PackInt8", func(generic bool, out, top, sum *float32) {
				a := &kernel.PackInt8Args{Q: &packed[0], Dim: dim, Lanes: lanes, Stride: lanes, Codes: (*byte)(unsafe.Pointer(out)), Scales: ptr.At(out, dim*lanes/4)}
				either(t, generic, packInt8Generic, set.PackInt8, a)
			}},
			{"PackInt8 of weights", func(generic bool, out, top, sum *float32) {
				a := &kernel.PackInt8Args{
					Q: &packed[0], Dim: dim, Lanes: lanes, Stride: lanes, Factors: &data[0], Mins: &data[dim], Codes: (*byte)(unsafe.Pointer(out)),
					Scales: ptr.At(out, dim*lanes/4), Sums: ptr.At(out, dim*lanes/4+dim/kernel.Int8Block*lanes),
				}
				either(t, generic, packInt8Generic, set.PackInt8, a)
			}},
			{"PackInt8 of weights by lane", func(generic bool, out, top, sum *float32) {
				a := &kernel.PackInt8Args{
					Q: &packed[0], Dim: dim, Lanes: lanes, Stride: lanes, Factors: &data[0], Mins: &data[1], FactorStride: lanes + 3, Codes: (*byte)(unsafe.Pointer(out)),
					Scales: ptr.At(out, dim*lanes/4), Sums: ptr.At(out, dim*lanes/4+dim/kernel.Int8Block*lanes),
				}
				either(t, generic, packInt8Generic, set.PackInt8, a)
			}},
			{"PackInt8 of weights of several groups", func(generic bool, out, top, sum *float32) {
				if !set.SpreadsLanes {
					return
				}
				places := make([]int32, lanes)
				a := &kernel.PackInt8Args{
					Q: &packed[0], Dim: dim, Lanes: lanes, Stride: lanes, Factors: &data[0], Mins: &data[1], FactorStride: 3, RowOf: &places[0], FactorOf: &places[0],
					Codes: (*byte)(unsafe.Pointer(out)), Scales: ptr.At(out, dim*lanes/4), Sums: ptr.At(out, dim*lanes/4+dim/kernel.Int8Block*lanes),
				}
				either(t, generic, packInt8Generic, set.PackInt8, a)
			}},
			{"TransposeInt8", func(generic bool, out, _, _ *float32) {
				a := &kernel.TransposeInt8Args{
					Src: raw, Off: far, Elem: kernel.Q8_0, UnitStride: 34, Keys: keys, Dim: dim, Halves: set.Int8Halves,
					Dst: (*byte)(unsafe.Pointer(out)), RowBytes: kernel.Int8BlockBytes(set.Int8Halves),
				}
				either(t, generic, transposeInt8Generic, set.TransposeInt8, a)
			}},
			{"DecodeAccumulateInt8", func(generic bool, out, _, _ *float32) {
				a := &kernel.DecodeAccumulateInt8Args{
					V: raw, Off: bytes, Elem: kernel.Q4_1, Keys: kernel.Int8Block, Dim: dim, Codes: (*int8)(unsafe.Pointer(&packed[0])), Scales: &data[0], Mins: &data[dim],
					GroupCodes: 8 * 3 * 4, GroupScales: 3, Lanes: 3, Rows: 3, O: out, OStride: dim, Alpha: &alpha[0], Mode: kernel.Rescale,
				}
				either(t, generic, decodeAccumulateInt8Generic, set.DecodeAccumulateInt8, a)
			}},
			{"Quantize a long row", func(generic bool, out, _, _ *float32) {
				a := &kernel.QuantizeArgs{
					X: &data[0], ColStride: 1, Rows: 1, Depth: len(data) / 4 / kernel.Int8Block * kernel.Int8Block, Halves: set.Int8Halves,
					Dst: (*byte)(unsafe.Pointer(out)),
				}
				either(t, generic, quantizeGeneric, set.Quantize, a)
			}},
			{"Store", func(generic bool, out, _, _ *float32) {
				a := &kernel.StoreArgs{
					Src: &data[0], SrcStride: 2 * dim, Dst: unsafe.Pointer(out), DstStride: 2 * dim, Elem: kernel.Int8, Scale: ptr.At(out, dim*keys-1), ScaleStride: -1,
					Rows: keys, Dim: dim,
				}
				either(t, generic, storeGeneric, set.Store, a)
			}},
			{"DecodeScoresInt8", func(generic bool, out, _, _ *float32) {
				row := dim / kernel.Int8Block * kernel.Int8BlockBytes(set.Int8Halves)
				q := make([]byte, 3*row)
				quantizeGeneric(&kernel.QuantizeArgs{X: &data[0], RowStride: dim, ColStride: 1, Rows: 3, Depth: dim, Halves: set.Int8Halves, Dst: &q[0], RowBytes: row})
				a := &kernel.DecodeScoresInt8Args{
					K: raw, Off: bytes, Elem: kernel.Int8, Scale: &alpha[0], Keys: keys, Dim: dim,
					Q: &q[0], QBytes: row, Halves: set.Int8Halves, Rows: 3, S: out, Stride: 4,
				}
				either(t, generic, decodeScoresInt8Generic, set.DecodeScoresInt8, a)
			}},
			{"DecodeScores", func(generic bool, out, _, _ *float32) {
				a := &kernel.DecodeScoresArgs{K: raw, Off: bytes, Elem: kernel.Int8, Scale: &alpha[0], Keys: keys, Dim: dim, Q: &packed[0], QStride: 4, Rows: 3, S: out, Stride: 4}
				either(t, generic, decodeScoresGeneric, set.DecodeScores, a)
			}},
			{"DecodeAccumulate", func(generic bool, out, _, _ *float32) {
				a := &kernel.DecodeAccumulateArgs{
					V: raw, Off: bytes, Elem: kernel.Int8, Scale: &alpha[0], Keys: keys, MaskFrom: 3, Dim: dim, P: &weights[0], Stride: 4, Rows: 3,
					O: out, OStride: dim, Alpha: &alpha[0], Mode: kernel.Rescale,
				}
				either(t, generic, decodeAccumulateGeneric, set.DecodeAccumulate, a)
			}},
			{"Multiply", func(generic bool, out, _, _ *float32) {
				a := &kernel.MultiplyArgs{
					A: &data[0], RowStride: 1, ColStride: 20, Rows: 1000, Depth: kernel.KC, B: &packed[0], Bias: &alpha[0], C: out, Stride: lanes, Lanes: lanes, Add: true,
				}
				either(t, generic, multiplyGeneric, set.Multiply, a)
			}},
			{"MultiplyFew", func(generic bool, out, _, _ *float32) {
				a := &kernel.MultiplyArgs{
					A: &data[0], RowStride: 1, ColStride: 1, Rows: 3, Depth: 9*kernel.KC + 17, B: &data[0], Bias: &alpha[0], C: out, Stride: lanes, Lanes: lanes, Add: true,
				}
				either(t, generic, multiplyFewGeneric, set.MultiplyFew, a)
			}},
			{"Pairs", func(generic bool, out, _, _ *float32) {
				a := &kernel.PairsArgs{Kind: kernel.PairAcross, Src: &data[0], RowStride: dim, ColStride: 1, Rows: 3, Cols: dim - 1, Dst: out, Stride: dim}
				either(t, generic, pairsGeneric, set.Pairs, a)
			}},
			{"Pairs apart", func(generic bool, out, _, _ *float32) {
				a := &kernel.PairsArgs{Kind: kernel.RoundEach, Src: &data[0], RowStride: 1, ColStride: 20, Rows: 1, Cols: dim, Dst: out, Stride: dim}
				either(t, generic, pairsGeneric, set.Pairs, a)
			}},
			{"Pairs down", func(generic bool, out, _, _ *float32) {
				a := &kernel.PairsArgs{Kind: kernel.PairDown, Src: &data[0], RowStride: lanes, ColStride: 1, Rows: 4001, Cols: lanes, Dst: out, Stride: lanes}
				either(t, generic, pairsGeneric, set.Pairs, a)
			}},
			{"Pairs of two rows", func(generic bool, out, _, _ *float32) {
				a := &kernel.PairsArgs{Kind: kernel.PairDown, Src: &data[0], RowStride: dim, ColStride: 1, Rows: 2, Cols: 3*dim - 7, Dst: out, Stride: 3 * dim}
				either(t, generic, pairsGeneric, set.Pairs, a)
			}},
			{"Pairs split", func(generic bool, out, _, _ *float32) {
				a := &kernel.PairsArgs{Kind: kernel.SplitDown, Src: &pairs[0], RowStride: lanes, ColStride: 1, Rows: 4001, Cols: lanes, Dst: out, Stride: lanes}
				either(t, generic, pairsGeneric, set.Pairs, a)
			}},
			{"MultiplyPairs", func(generic bool, out, _, _ *float32) {
				a := &kernel.MultiplyArgs{
					A: &pairs[0], RowStride: 1, ColStride: 20, Rows: 1000, Depth: kernel.KC / 2, B: &pairs[5], Bias: &alpha[0], C: out, Stride: lanes, Lanes: lanes, Add: true,
				}
				either(t, generic, multiplyPairsGeneric, set.MultiplyPairs, a)
			}},
			{"MultiplyPairsFew", func(generic bool, out, _, _ *float32) {
				a := &kernel.MultiplyArgs{
					A: &pairs[0], RowStride: 1, ColStride: 1, Rows: 3, Depth: 9*kernel.KC + 17, B: &pairs[0], Bias: &alpha[0], C: out, Stride: lanes, Lanes: lanes, Add: true,
				}
				either(t, generic, multiplyPairsFewGeneric, set.MultiplyPairsFew, a)
			}},
			{"ScoresPairs", func(generic bool, out, _, _ *float32) {
				a := &kernel.ScoresArgs{K: &pairs[0], KeyStride: dim, DimStride: 1, Keys: keys, Dim: dim, Q: &pairs[7], S: out, Lanes: lanes, Stride: lanes}
				either(t, generic, scoresPairsGeneric, set.ScoresPairs, a)
			}},
			{"AccumulatePairs", func(generic bool, out, _, _ *float32) {
				a := &kernel.AccumulateArgs{
					V: &pairs[0], KeyStride: dim, DimStride: 1, Keys: keys, MaskFrom: 3, Dim: dim, P: &pairs[9], O: out, Alpha: &alpha[0],
					Lanes: lanes, Stride: lanes, Mode: kernel.Rescale,
				}
				either(t, generic, accumulatePairsGeneric, set.AccumulatePairs, a)
			}},
			{"Combine", func(generic bool, out, _, _ *float32) {
				a := &kernel.CombineArgs{A: &data[0], ColStride: 2, Depth: kernel.KC - 3, B: &data[1], BStride: 3, C: out, Lanes: 800}
				either(t, generic, combineGeneric, set.Combine, a)
			}},
			{"Dots", func(generic bool, out, _, _ *float32) {
				a := &kernel.DotsArgs{Q: &data[0], QStride: 4, Rows: 4, Depth: kernel.KC - 3, B: &data[1], BStride: 3, C: out, Stride: 800, Lanes: 800}
				either(t, generic, dotsGeneric, set.Dots, a)
			}},
			{"DotWeights", func(generic bool, out, _, _ *float32) {
				const depth = 27*kernel.KC + 32
				a := &kernel.DotWeightsArgs{
					Type: kernel.WeightQ4_0, Src: &rows[0], RowBytes: 3, Depth: depth, Lanes: 3 * lanes,
					X: &data[0], C: out, Stride: 3*lanes + 1,
				}
				either(t, generic, dotWeightsGeneric, set.DotWeights, a)
			}},
			{"MultiplyStrips", func(generic bool, out, _, _ *float32) {
				const depth = 43*kernel.KC + 32
				a := &kernel.MultiplyStripsArgs{
					Type: kernel.WeightQ8_0, Src: &strips[0], StripBytes: 6, Vec: set.Vec, Depth: depth, Lanes: 3 * set.Vec,
					A: &data[0], RowStride: 3, Rows: 7, Bias: &data[5], C: out, Stride: 3*set.Vec + 1, Add: true,
				}
				either(t, generic, multiplyStripsGeneric, set.MultiplyStrips, a)
			}},
			{"Float16", func(generic bool, out, _, _ *float32) {
				const n = 100_000
				if generic {
					float16Generic(out, (*uint16)(raw), n)
				} else {
					set.Float16(out, (*uint16)(raw), n)
				}
			}},
			{"Rotary", func(generic bool, out, _, _ *float32) {
				a := &kernel.RotaryArgs{X: out, XStride: dim, Y: out, YStride: dim, Cos: &data[0], Sin: &data[1], TableStride: dim, Rows: keys - 1, Pairs: dim / 2}
				either(t, generic, rotaryGeneric, set.Rotary, a)
			}},
			{"Sums", func(generic bool, out, _, sum *float32) {
				a := &kernel.SumsArgs{X: out, Add: &data[1], N: dim*keys - 5, Mean: 0.25, Squares: true, Sums: new([kernel.NormSums]float32)}
				either(t, generic, sumsGeneric, set.Sums, a)
				*sum = a.Sums[0] + 2*a.Sums[3] + 4*a.Sums[10]
			}},
			{"Normalize", func(generic bool, out, _, _ *float32) {
				a := &kernel.NormalizeArgs{X: &data[3], Y: out, N: dim*keys - 5, Mean: 0.25, Scale: 3, Weight: &data[1], Bias: &data[0]}
				either(t, generic, normalizeGeneric, set.Normalize, a)
			}},
			{"Hadamard", func(generic bool, out, _, _ *float32) {
				a := &kernel.HadamardArgs{X: out, XStride: dim, Y: out, YStride: dim, Rows: keys - 1, Cols: dim / 32 * 32, Block: 32, Scale: 0.5}
				either(t, generic, hadamardGeneric, set.Hadamard, a)
			}},
			{"Above", func(generic bool, out, _, sum *float32) {
				*ptr.At(out, dim*keys-70) = 3
				a := &kernel.AboveArgs{X: out, N: dim * keys, Bound: 2}
				if generic {
					aboveGeneric(a)
				} else {
					set.Above(a)
				}
				if *sum = float32(a.At); a.At != dim*keys-128 || a.X != out || a.N != dim*keys {
					t.Errorf("arguments are %+v after the call", a)
				}
			}},
			{"Activate", func(generic bool, out, _, _ *float32) {
				a := &kernel.ActivateArgs{Gate: &data[0], Up: &data[1], UpStride: 2, Dst: out, DstStride: kernel.MaxWork/4 + 7, Rows: 2, Cols: kernel.MaxWork/4 + 5}
				either(t, generic, activateGeneric, set.Activate, a)
			}},
			{"Activate rows", func(generic bool, out, _, _ *float32) {
				a := &kernel.ActivateArgs{Gate: out, GateStride: 100, Dst: out, DstStride: 100, Rows: 800, Cols: 99}
				either(t, generic, activateGeneric, set.Activate, a)
			}},
		} {
			results := [2][]float32{}
			for i := range results {
				out := append([]float32(nil), base...)
				top, sum := append([]float32(nil), maxima...), append([]float32(nil), sums...)
				top[0]++
				c.call(i == 0, &out[0], &top[0], &sum[0])
				results[i] = append(append(out, top...), sum...)
			}
			for i, want := range results[0] {
				if got := results[1][i]; math.Float32bits(got) != math.Float32bits(want) && got == got {
					t.Fatalf("%s of %s: element %d is %v, want %v", c.name, set.Name, i, got, want)
				}
			}
		}
	}
}

// either makes one call of the generic function or one of the method, which leaves its
// arguments as they are.
func either[A comparable](t *testing.T, generic bool, one, divided func(*A), a *A) {
	t.Helper()
	if generic {
		one(a)
		return
	}
	before := *a
	divided(a)
	if *a != before {
		t.Errorf("arguments are %+v after the call, want %+v", *a, before)
	}
}
