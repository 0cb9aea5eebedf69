package kernel

import (
	"context"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// TestCallsStop shows that a loop of calls can be stopped at every method of a Set, whatever its function
// is, and where memory is moved: in a process without asynchronous preemption, in which a loop that has no
// such point keeps a collection waiting for ever.
func TestCallsStop(t *testing.T) {
	const env = "QKV_TEST_CALLS_STOP"
	if os.Getenv(env) != "" {
		collectUnderCalls()
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	ctx := context.Background()
	if end, ok := t.Deadline(); ok {
		var cancel func()
		ctx, cancel = context.WithDeadline(ctx, end.Add(-10*time.Second)) // before the test's own
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestCallsStop$", "-test.v")
	cmd.Env = append(os.Environ(), env+"=1", "GODEBUG=asyncpreemptoff=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("a loop of calls cannot be stopped, the last one named: %v\n%s", err, out)
	}
}

// collectUnderCalls collects garbage beside a loop of calls of each method.
func collectUnderCalls() {
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	s := quiet.With(nothing())
	for _, l := range loops {
		println(l.name)
		var begun, stop atomic.Bool
		done := make(chan bool)
		go func() {
			l.run(s, &begun, &stop)
			close(done)
		}()
		for !begun.Load() {
			runtime.Gosched()
		}
		runtime.GC()
		stop.Store(true)
		<-done
	}
}

// A loop calls a method of a Set, or a function that moves memory, until it is to stop.
type loop struct {
	name string
	run  func(s *Set, begun, stop *atomic.Bool)
}

// Each is written out: a call through a function value is one that cannot be inlined.
var loops = []loop{
	{"Pack", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(PackArgs); !stop.Load(); begun.Store(true) {
			s.Pack(a)
		}
	}},
	{"Scores", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(ScoresArgs); !stop.Load(); begun.Store(true) {
			s.Scores(a)
		}
	}},
	{"Softcap", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(SoftcapArgs); !stop.Load(); begun.Store(true) {
			s.Softcap(a)
		}
	}},
	{"ALiBi", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(ALiBiArgs); !stop.Load(); begun.Store(true) {
			s.ALiBi(a)
		}
	}},
	{"Bias", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(BiasArgs); !stop.Load(); begun.Store(true) {
			s.Bias(a)
		}
	}},
	{"Softmax", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(SoftmaxArgs); !stop.Load(); begun.Store(true) {
			s.Softmax(a)
		}
	}},
	{"Accumulate", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(AccumulateArgs); !stop.Load(); begun.Store(true) {
			s.Accumulate(a)
		}
	}},
	{"Unpack", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(UnpackArgs); !stop.Load(); begun.Store(true) {
			s.Unpack(a)
		}
	}},
	{"Merge", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MergeArgs); !stop.Load(); begun.Store(true) {
			s.Merge(a)
		}
	}},
	{"Convert", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(ConvertArgs); !stop.Load(); begun.Store(true) {
			s.Convert(a)
		}
	}},
	{"Store", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(StoreArgs); !stop.Load(); begun.Store(true) {
			s.Store(a)
		}
	}},
	{"DecodeScoresInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DecodeScoresInt8Args); !stop.Load(); begun.Store(true) {
			s.DecodeScoresInt8(a)
		}
	}},
	{"DecodeScores", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DecodeScoresArgs); !stop.Load(); begun.Store(true) {
			s.DecodeScores(a)
		}
	}},
	{"DecodeAccumulate", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DecodeAccumulateArgs); !stop.Load(); begun.Store(true) {
			s.DecodeAccumulate(a)
		}
	}},
	{"Multiply", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MultiplyArgs); !stop.Load(); begun.Store(true) {
			s.Multiply(a)
		}
	}},
	{"MultiplyFew", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MultiplyArgs); !stop.Load(); begun.Store(true) {
			s.MultiplyFew(a)
		}
	}},
	{"Combine", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(CombineArgs); !stop.Load(); begun.Store(true) {
			s.Combine(a)
		}
	}},
	{"Dots", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DotsArgs); !stop.Load(); begun.Store(true) {
			s.Dots(a)
		}
	}},
	{"Dequantize", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DequantizeArgs); !stop.Load(); begun.Store(true) {
			s.Dequantize(a)
		}
	}},
	{"DotWeights", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DotWeightsArgs); !stop.Load(); begun.Store(true) {
			s.DotWeights(a)
		}
	}},
	{"Quantize", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(QuantizeArgs); !stop.Load(); begun.Store(true) {
			s.Quantize(a)
		}
	}},
	{"UnpackInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(UnpackInt8Args); !stop.Load(); begun.Store(true) {
			s.UnpackInt8(a)
		}
	}},
	{"ConvertInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(ConvertInt8Args); !stop.Load(); begun.Store(true) {
			s.ConvertInt8(a)
		}
	}},
	{"PackWeights", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(PackWeightsArgs); !stop.Load(); begun.Store(true) {
			s.PackWeights(a)
		}
	}},
	{"PackInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(PackInt8Args); !stop.Load(); begun.Store(true) {
			s.PackInt8(a)
		}
	}},
	{"TransposeInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(TransposeInt8Args); !stop.Load(); begun.Store(true) {
			s.TransposeInt8(a)
		}
	}},
	{"DecodeAccumulateInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DecodeAccumulateInt8Args); !stop.Load(); begun.Store(true) {
			s.DecodeAccumulateInt8(a)
		}
	}},
	{"MultiplyInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MultiplyInt8Args); !stop.Load(); begun.Store(true) {
			s.MultiplyInt8(a)
		}
	}},
	{"MultiplyRowInt8", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MultiplyRowInt8Args); !stop.Load(); begun.Store(true) {
			s.MultiplyRowInt8(a)
		}
	}},
	{"MultiplyStrips", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MultiplyStripsArgs); !stop.Load(); begun.Store(true) {
			s.MultiplyStrips(a)
		}
	}},
	{"DequantizeStrips", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(DequantizeStripsArgs); !stop.Load(); begun.Store(true) {
			s.DequantizeStrips(a)
		}
	}},
	{"Rotary", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(RotaryArgs); !stop.Load(); begun.Store(true) {
			s.Rotary(a)
		}
	}},
	{"Activate", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(ActivateArgs); !stop.Load(); begun.Store(true) {
			s.Activate(a)
		}
	}},
	{"Sums", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(SumsArgs); !stop.Load(); begun.Store(true) {
			s.Sums(a)
		}
	}},
	{"Normalize", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(NormalizeArgs); !stop.Load(); begun.Store(true) {
			s.Normalize(a)
		}
	}},
	{"Hadamard", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(HadamardArgs); !stop.Load(); begun.Store(true) {
			s.Hadamard(a)
		}
	}},
	{"Above", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(AboveArgs); !stop.Load(); begun.Store(true) {
			s.Above(a)
		}
	}},
	{"Pairs", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(PairsArgs); !stop.Load(); begun.Store(true) {
			s.Pairs(a)
		}
	}},
	{"MultiplyPairs", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MultiplyArgs); !stop.Load(); begun.Store(true) {
			s.MultiplyPairs(a)
		}
	}},
	{"MultiplyPairsFew", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(MultiplyArgs); !stop.Load(); begun.Store(true) {
			s.MultiplyPairsFew(a)
		}
	}},
	{"ScoresPairs", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(ScoresArgs); !stop.Load(); begun.Store(true) {
			s.ScoresPairs(a)
		}
	}},
	{"PairWeights", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(PairWeightsArgs); !stop.Load(); begun.Store(true) {
			s.PairWeights(a)
		}
	}},
	{"AccumulatePairs", func(s *Set, begun, stop *atomic.Bool) {
		for a := new(AccumulateArgs); !stop.Load(); begun.Store(true) {
			s.AccumulatePairs(a)
		}
	}},
	{"Float16", func(s *Set, begun, stop *atomic.Bool) {
		for ; !stop.Load(); begun.Store(true) {
			s.Float16(nil, nil, 1)
		}
	}},
	{"Peak", func(s *Set, begun, stop *atomic.Bool) {
		for ; !stop.Load(); begun.Store(true) {
			s.Peak(1)
		}
	}},
	{"PeakInt8", func(s *Set, begun, stop *atomic.Bool) {
		for ; !stop.Load(); begun.Store(true) {
			s.PeakInt8(1)
		}
	}},
	{"PeakBFloat16", func(s *Set, begun, stop *atomic.Bool) {
		for ; !stop.Load(); begun.Store(true) {
			s.PeakBFloat16(1)
		}
	}},
	{"Clear", func(_ *Set, begun, stop *atomic.Bool) {
		for x := make([]float32, 8); !stop.Load(); begun.Store(true) {
			Clear(x)
		}
	}},
	{"Copy", func(_ *Set, begun, stop *atomic.Bool) {
		for x := make([]float32, 8); !stop.Load(); begun.Store(true) {
			Copy(x[:4], x[4:])
		}
	}},
	{"Append", func(_ *Set, begun, stop *atomic.Bool) {
		for x := make([]float32, 8); !stop.Load(); begun.Store(true) {
			x = Append(x[:4], x[4:])
		}
	}},
	{"Read", func(s *Set, begun, stop *atomic.Bool) {
		for ; !stop.Load(); begun.Store(true) {
			s.Read(nil, 256)
		}
	}},
}

// TestLoops: every function of a Set has a method of its name, which has a loop.
func TestLoops(t *testing.T) {
	have := map[string]bool{}
	for _, l := range loops {
		have[l.name] = true
	}
	set := reflect.TypeFor[*Set]()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Funcs]()) {
		if !have[f.Name] {
			t.Errorf("%s has no loop", f.Name)
		}
		if m, ok := set.MethodByName(f.Name); !ok || m.Type.NumIn() != f.Type.NumIn()+1 {
			t.Errorf("%s has no method", f.Name)
		}
	}
}

// TestLongRows: of rows that alone exceed MaxWork, each is one call.
func TestLongRows(t *testing.T) {
	const rows, long = 3, MaxWork
	calls := 0
	count := func(rows int, work int64) {
		if calls++; rows != 1 || work <= MaxWork {
			t.Errorf("a call of %d rows, of work %d", rows, work)
		}
	}
	s := quiet.With(Funcs{
		Scores:           func(a *ScoresArgs) { count(a.Keys, a.Work()) },
		ScoresPairs:      func(a *ScoresArgs) { count(a.Keys, a.Work()) },
		DecodeScores:     func(a *DecodeScoresArgs) { count(a.Keys, a.Work()) },
		DecodeScoresInt8: func(a *DecodeScoresInt8Args) { count(a.Keys, a.Work()) },
		Rotary:           func(a *RotaryArgs) { count(a.Rows, a.Work()) },
		Hadamard:         func(a *HadamardArgs) { count(a.Rows, a.Work()) },
		Store:            func(a *StoreArgs) { count(a.Rows, a.Work()) },
	})
	x, off := new(float32), new([2 * KeyBlock]int)
	for name, run := range map[string]func(){
		"Scores":           func() { s.Scores(&ScoresArgs{K: x, S: x, Keys: rows, Dim: 2 * long}) },
		"ScoresPairs":      func() { s.ScoresPairs(&ScoresArgs{K: x, S: x, Keys: rows, Dim: 2 * long}) },
		"DecodeScores":     func() { s.DecodeScores(&DecodeScoresArgs{Off: off, S: x, Keys: rows, Dim: 2 * long}) },
		"DecodeScoresInt8": func() { s.DecodeScoresInt8(&DecodeScoresInt8Args{Off: off, S: x, Keys: rows, Dim: 2 * long}) },
		"Store":            func() { s.Store(&StoreArgs{Src: x, Dst: unsafe.Pointer(x), Rows: rows, Dim: long}) },
		"Hadamard":         func() { s.Hadamard(&HadamardArgs{X: x, Y: x, Rows: rows, Cols: long, Block: 1}) },
		"Rotary":           func() { s.Rotary(&RotaryArgs{X: x, Y: x, Cos: x, Sin: x, Rows: rows, Pairs: long}) },
	} {
		calls = 0
		run()
		if calls != rows {
			t.Errorf("%s: %d calls of %d rows", name, calls, rows)
		}
	}
}
