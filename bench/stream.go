package bench

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/qkv-go/qkv/kernel"
)

// A stream is memory of the size of the keys and values that a call reads, to be read in
// turns with it: each worker reads a part of its own from one end to the other, again and
// again.
type stream struct {
	buf     *buffers
	workers int
	part    int    // bytes of a worker
	level   string // of memory that all of it fits in
}

func newStream(set *kernel.Set, workers int, bytes int64, caches []Cache) *stream {
	n := int64(workers)
	part := int((bytes + n*readGrain - 1) / (n * readGrain) * readGrain)
	s := &stream{
		buf:     newBuffers(set, workers, workers*part),
		workers: workers,
		part:    part,
		level:   levelOf(caches, workers, part),
	}
	s.buf.pass(workers, part)
	return s
}

// fits reports whether the stream is that of so many bytes on so many workers.
func (s *stream) fits(workers int, bytes int64) bool {
	have := int64(s.workers) * int64(s.part)
	return s.workers == workers && bytes <= have && have < bytes+int64(workers)*readGrain
}

// burst reads for d and returns bytes a second. The clock starts when a cache that has room
// for the stream holds it; what is in memory is read on from where the last burst ended,
// since no cache has that.
func (s *stream) burst(d time.Duration) float64 {
	if !strings.HasSuffix(s.level, levelMemory) {
		s.buf.pass(s.workers, s.part)
	}
	return s.buf.read(s.workers, s.part, d)
}

// levelOf returns the first level that so many workers' parts fit in, and the one before if it
// has room for half of them: their rate is then of both. As in levels, the third is taken for
// one that all share.
func levelOf(caches []Cache, workers, part int) string {
	before := ""
	for _, c := range append(slices.Clip(caches), Cache{levelMemory, math.MaxInt}) {
		bytes := int64(part)
		if c.Level == levelShared {
			bytes *= int64(workers)
		}
		if bytes <= int64(c.Bytes) {
			return before + c.Level
		}
		before = ""
		if bytes/2 <= int64(c.Bytes) {
			before = c.Level + "/"
		}
	}
	return levelMemory
}
