package qkv

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// BenchmarkRowCall times MatMul of few rows by packed weights of each type that a copy keeps: other copies each time, of 384 MiB together, or
// the same one again and again. %reading is the median of what Read takes of as many bytes in turns with it on one worker, in parts of what
// the call takes. -cpu says how many workers a call has.
func BenchmarkRowCall(b *testing.B) {
	for _, k := range Kernels() {
		if k.Missing != 0 || k.Set.Name == genericSet.Name {
			continue
		}
		for _, w := range append([]kernel.Weight{kernel.WeightFloat32}, kernel.StripTypes()...) {
			for _, c := range []struct {
				rows, out, in int
				from          string
			}{
				{1, 4096, 4096, "memory"}, {1, 1536, 576, "memory"}, {1, 576, 1536, "memory"}, {1, 14336, 4096, "memory"},
				{2, 4096, 4096, "memory"}, {4, 4096, 4096, "memory"}, {6, 4096, 4096, "memory"}, {8, 4096, 4096, "memory"},
				{1, 128, 4096, "cache"}, {1, 1024, 1024, "cache"},
			} {
				if c.in%w.Values() != 0 {
					continue
				}
				name := fmt.Sprintf("set=%s/type=%s/rows=%d/out=%d/in=%d/from=%s", k.Set.Name, strings.ToLower(w.String()), c.rows, c.out, c.in, c.from)
				b.Run(name, func(b *testing.B) { benchmarkRowCall(b, k.Set.Name, w, c.rows, c.out, c.in, c.from == "memory") })
			}
		}
	}
}

func benchmarkRowCall(b *testing.B, set string, w kernel.Weight, rows, out, in int, memory bool) {
	const turn = 32 << 20 // bytes of calls, at least
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	e, err := New(Config{Kernel: set, Workers: runtime.GOMAXPROCS(0)})
	check(err)
	data := make([]byte, out*in/w.Values()*w.Bytes())
	for i := range data {
		data[i] = byte(i*i>>8)&0xbf | 0x20 // any of it as a scale is a normal number
	}
	var packed []*PackedMatrix
	for bytes := 0; bytes == 0 || memory && bytes < 12*turn; bytes += packed[0].Bytes() {
		p, err := e.Pack(WeightMatrix(WeightType(w), data, out, in).T())
		check(err)
		packed = append(packed, p)
	}
	x, y := make([]float32, rows*in), make([]float32, rows*out)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	at := 0
	timed := func(call func(p *PackedMatrix)) time.Duration {
		calls := max(1, turn/packed[0].Bytes())
		begin := time.Now()
		for range calls {
			call(packed[at%len(packed)])
			at++
		}
		return time.Since(begin) / time.Duration(calls)
	}
	var took, ratios []float64
	for b.Loop() {
		read := timed(func(p *PackedMatrix) { e.set.Read(&p.mem[0], len(p.mem)/256*256) })
		call := timed(func(p *PackedMatrix) {
			check(e.MatMul(&Product{X: RowMajor(x, rows, in), Packed: p, Y: RowMajor(y, rows, out)}))
		})
		took, ratios = append(took, float64(call)), append(ratios, float64(read)/float64(call))
	}
	slices.Sort(took)
	slices.Sort(ratios)
	b.ReportMetric(took[len(took)/2]/1e3, "us/call")
	b.ReportMetric(float64(packed[0].Bytes())/took[len(took)/2], "GB/s")
	b.ReportMetric(100*ratios[len(ratios)/2], "%reading")
	b.ReportMetric(0, "ns/op")
}
