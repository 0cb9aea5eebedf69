package bench

import (
	"math"
	"slices"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// Ceilings are the limits of a machine as a kernel set reaches them, on one worker
// and on several at once. Each is the best of a few bursts: what the machine can do
// when it is left alone. A [Run] has the peak of its own minute.
type Ceilings struct {
	Kernel          string      `json:"kernel"`
	Workers         int         `json:"workers"` // of the "all" fields
	PeakGFLOPSOne   float64     `json:"peak_gflops_one"`
	PeakGFLOPSAll   float64     `json:"peak_gflops_all"`
	PeakInt8One     float64     `json:"peak_int8_gops_one,omitempty"` // of products of class Int8
	PeakInt8All     float64     `json:"peak_int8_gops_all,omitempty"`
	PeakBFloat16One float64     `json:"peak_bfloat16_gflops_one,omitempty"` // of pairs of bfloat16, where a set multiplies those
	PeakBFloat16All float64     `json:"peak_bfloat16_gflops_all,omitempty"`
	Read            []Bandwidth `json:"read"`
	Clocks          []Clock     `json:"clocks,omitempty"`
}

// A Bandwidth is the rate of reading a buffer over and over again.
type Bandwidth struct {
	Level string `json:"level"` // L1, L2, L3 or memory

	// BytesOne and BytesAll are what each worker reads: half of a first or second level;
	// the geometric mean of the second and a worker's share of the third, since other
	// virtual machines may have most of that; four times the last level for memory.
	BytesOne int     `json:"bytes_one"`
	BytesAll int     `json:"bytes_all"`
	GBpsOne  float64 `json:"gbps_one"`
	GBpsAll  float64 `json:"gbps_all"`
}

const (
	ceilingBursts = 5
	ceilingBurst  = 15 * time.Millisecond

	// readCall is the most that one call reads: about 10 µs from a cache, 100 µs
	// from the slowest memory.
	readCall = 256 << 10

	minMemory, maxMemory = 64 << 20, 1 << 30 // bytes read to measure memory
)

// MeasureCeilings measures the ceilings of a set on one worker and on workers.
func MeasureCeilings(set *kernel.Set, caches []Cache, workers int) Ceilings {
	c := Ceilings{Kernel: set.Name, Workers: workers}
	peak := NewPeak(set)
	best := func(burst func() float64) float64 {
		rate := 0.0
		for range ceilingBursts {
			rate = max(rate, burst())
		}
		return rate
	}
	measure := func(p *Peak) (one, all float64) {
		return 1e-9 * best(func() float64 { return p.Burst(1, ceilingBurst) }),
			1e-9 * best(func() float64 { return p.Burst(workers, ceilingBurst) })
	}
	c.PeakGFLOPSOne, c.PeakGFLOPSAll = measure(peak)
	c.PeakInt8One, c.PeakInt8All = measure(NewPeakOf(set, kernel.PrecisionInt8))
	if set.Paired {
		c.PeakBFloat16One, c.PeakBFloat16All = measure(newPeak(set.PeakBFloat16, set.PeakBFloat16FLOPs))
	}
	for _, l := range levels(caches, workers) {
		buf := newBuffers(set, workers, max(l.BytesOne, workers*l.BytesAll))
		l.GBpsOne = 1e-9 * best(func() float64 { return buf.rate(1, l.BytesOne, ceilingBurst) })
		l.GBpsAll = 1e-9 * best(func() float64 { return buf.rate(workers, l.BytesAll, ceilingBurst) })
		c.Read = append(c.Read, l)
	}
	c.Clocks = measureClocks(set, peak, workers)
	return c
}

// Raise takes what another measurement on the same machine found higher.
func (c *Ceilings) Raise(o *Ceilings) {
	raise := func(x *float64, to float64) { *x = max(*x, to) }
	raise(&c.PeakGFLOPSOne, o.PeakGFLOPSOne)
	raise(&c.PeakGFLOPSAll, o.PeakGFLOPSAll)
	raise(&c.PeakInt8One, o.PeakInt8One)
	raise(&c.PeakInt8All, o.PeakInt8All)
	raise(&c.PeakBFloat16One, o.PeakBFloat16One)
	raise(&c.PeakBFloat16All, o.PeakBFloat16All)
	for i := range min(len(c.Read), len(o.Read)) {
		raise(&c.Read[i].GBpsOne, o.Read[i].GBpsOne)
		raise(&c.Read[i].GBpsAll, o.Read[i].GBpsAll)
	}
	for i := range min(len(c.Clocks), len(o.Clocks)) {
		raise(&c.Clocks[i].GHzOne, o.Clocks[i].GHzOne)
		raise(&c.Clocks[i].GHzAll, o.Clocks[i].GHzAll)
	}
}

const (
	levelShared = "L3"     // taken for one that all cores share
	levelMemory = "memory" // what no cache has room for
)

// levels says what to read to measure each level. The first two are taken for a
// core's own, the third for one that all share.
func levels(caches []Cache, workers int) []Bandwidth {
	var list []Bandwidth
	last := 0
	for _, c := range caches {
		l := Bandwidth{Level: c.Level, BytesOne: c.Bytes / 2, BytesAll: c.Bytes / 2}
		if c.Level == levelShared {
			l.BytesAll /= workers
			if last > 0 {
				between := func(l3 int) int {
					return max(last*3/2, int(math.Sqrt(float64(last)*float64(l3)))) // not of the second
				}
				l.BytesOne, l.BytesAll = between(c.Bytes), between(c.Bytes/workers)
			}
		}
		list = append(list, l)
		last = max(last, c.Bytes)
	}
	memory := max(minMemory, 4*min(last, maxMemory/4))
	list = append(list, Bandwidth{Level: levelMemory, BytesOne: memory, BytesAll: memory / workers})
	for i := range list {
		list[i].BytesOne = roundRead(list[i].BytesOne)
		list[i].BytesAll = roundRead(list[i].BytesAll)
	}
	return list
}

// readGrain is what Set.Read reads a multiple of, in bytes.
const readGrain = 4 * 256

func roundRead(bytes int) int { return max(readGrain, bytes/readGrain*readGrain) }

// buffers is memory to read.
type buffers struct {
	set  *kernel.Set
	data []float32
	pos  []position
}

// A position is where a worker reads next.
type position struct {
	next int
	sum  float32
	_    [112]byte // apart from that of another worker
}

func newBuffers(set *kernel.Set, workers, bytes int) *buffers {
	b := &buffers{set: set, data: make([]float32, bytes/4), pos: make([]position, workers)}
	// A page that was never written reads from one page of zeros. Several processors write
	// it, as they do operands, so that both lie alike.
	pieces := (len(b.data) + pieceLen - 1) / pieceLen
	parallel(pieces, func(p int) {
		part := b.data[p*pieceLen : min((p+1)*pieceLen, len(b.data))]
		for i := range part {
			part[i] = 1
		}
	})
	return b
}

// rate reads bytes on each of workers, again and again, and returns bytes a second.
func (b *buffers) rate(workers, bytes int, d time.Duration) float64 {
	clear(b.pos)
	return b.read(workers, bytes, d)
}

// read reads as rate does, from where each worker stopped.
func (b *buffers) read(workers, bytes int, d time.Duration) float64 {
	call := min(bytes, readCall)
	perPiece := max(1, readCall/call) // the clock is not read after each few nanoseconds
	rate := together(workers, d, func(w int) float64 {
		work := 0
		for range perPiece {
			work += b.next(w, bytes)
		}
		return float64(work)
	})
	if slices.ContainsFunc(b.pos, func(p position) bool { return math.IsNaN(float64(p.sum)) }) {
		panic("bench: a sum of ones is NaN")
	}
	return rate
}

// pass reads all of it once, from the beginning.
func (b *buffers) pass(workers, bytes int) {
	clear(b.pos)
	together(workers, 0, func(w int) float64 {
		work := 0
		for work < bytes {
			work += b.next(w, bytes)
		}
		return float64(work)
	})
}

// next makes one call, on the part of a worker, and returns the bytes that it has read.
func (b *buffers) next(w, bytes int) int {
	p := &b.pos[w]
	mine := b.data[w*bytes/4:][:bytes/4]
	n := min(readCall/4, len(mine)-p.next)
	p.sum += b.set.Read(&mine[p.next], n)
	if p.next += n; p.next == len(mine) {
		p.next = 0
	}
	return 4 * n
}
