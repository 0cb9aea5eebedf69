package tile

import (
	"math"
	"sync/atomic"
)

// shares is a division of items among workers of which each has a run of them. A worker goes through its own run
// from the front, so that it reads memory in one stream, and then takes what others have left, from the ends of
// their runs.
type shares struct {
	runs   []share
	joined atomic.Int64 // workers
}

// A share is what is left of a run: its first item, and in the upper half the one behind its last.
type share struct {
	left atomic.Uint64
	_    [15]uint64 // apart from others, which other workers write
}

// items returns the first item of a share and the one behind its last.
func (s *share) items() (first, end int) {
	left := s.left.Load()
	return int(uint32(left)), int(left >> 32)
}

// begin divides so many items among so many workers.
func (s *shares) begin(items, workers int) {
	if cap(s.runs) < workers {
		s.runs = make([]share, workers)
	}
	s.runs = s.runs[:workers]
	s.joined.Store(0)
	for i := range s.runs {
		first, end := items*i/workers, items*(i+1)/workers
		s.runs[i].left.Store(uint64(first) | uint64(end)<<32)
	}
}

// join returns the number of the run of a worker that begins.
func (s *shares) join() int { return int(s.joined.Add(1)-1) % len(s.runs) }

// take takes the next item of a worker with a run of that number. It returns -1 if none is left.
func (s *shares) take(run int) int {
	item, _ := s.takeSome(run, math.MaxInt)
	return item
}

// takeSome is take of several items that follow each other: of those that are left of the worker's own run one in so many, at
// least one, and of what others have left one. So a worker reads on without a pause between items, and leaves most of
// its run to others if it is late.
func (s *shares) takeSome(run, oneIn int) (first, n int) {
	own := &s.runs[run]
	for first, end := own.items(); first < end; first, end = own.items() {
		n := max(1, (end-first)/oneIn)
		if left := uint64(first) | uint64(end)<<32; own.left.CompareAndSwap(left, left+uint64(n)) {
			return first, n
		}
	}
	for {
		from := s.longest()
		if from == nil {
			return -1, 0
		}
		left := from.left.Load()
		if uint32(left) < uint32(left>>32) && from.left.CompareAndSwap(left, left-1<<32) {
			return int(left>>32) - 1, 1
		}
	}
}

// stop leaves no item for anyone.
func (s *shares) stop() {
	for i := range s.runs {
		s.runs[i].left.Store(0)
	}
}

// longest returns the run that has most items left, or nil if none is left.
func (s *shares) longest() *share {
	var from *share
	most := 0
	for i := range s.runs {
		if first, end := s.runs[i].items(); end-first > most {
			from, most = &s.runs[i], end-first
		}
	}
	return from
}

// next returns the item that take most likely returns, and one that may not exist if it returns none.
func (s *shares) next(run int) int {
	first, end := s.runs[run].items()
	if first < end {
		return first
	}
	if from := s.longest(); from != nil {
		_, end = from.items()
		return end - 1
	}
	return first
}
