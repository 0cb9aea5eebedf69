package tile

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// linger is how long a goroutine without work looks out for more before it gives
	// its place up. Waking a sleeping processor takes up to that long (100 µs in a
	// virtual machine), so waiting costs at most as much as it can save.
	linger = 100 * time.Microsecond

	// patience is how long a caller looks out for the others' last items before it
	// falls asleep: most items are shorter.
	patience = time.Millisecond
)

// A crew is the goroutines of an Engine other than its callers'. They are started when
// there is work for them and end when there has been none for a while. While they
// wait they yield to any other goroutine that can run.
type crew struct {
	mu   sync.Mutex
	idle []*hand
	free sync.Pool // of *hand whose goroutines have ended
}

// A hand is one goroutine of a crew.
type hand struct {
	crew *crew
	job  atomic.Pointer[job]
	run  func() // bound once: a go statement with a closure would allocate
}

// start gives j to n goroutines.
func (c *crew) start(j *job, n int) {
	c.mu.Lock()
	known := min(n, len(c.idle))
	hands := c.idle[len(c.idle)-known:]
	for i, h := range hands {
		h.job.Store(j)
		hands[i] = nil
	}
	c.idle = c.idle[:len(c.idle)-known]
	c.mu.Unlock()
	for range n - known {
		h, ok := c.free.Get().(*hand)
		if !ok {
			h = &hand{crew: c}
			h.run = h.loop
		}
		h.job.Store(j)
		go h.run()
	}
}

// loop works on jobs until none comes for a while.
func (h *hand) loop() {
	for {
		h.do(h.job.Load())
		if !spin(linger, func() bool { return h.job.Load() != nil }) && h.crew.dismiss(h) {
			return
		}
	}
}

// do takes part in a job. A callback may end the goroutine within; then h is lost.
func (h *hand) do(j *job) {
	defer j.leave()
	h.job.Store(nil)
	j.drain()
	// Idle before the job ends: its caller may come with the next at once.
	h.crew.mu.Lock()
	h.crew.idle = append(h.crew.idle, h)
	h.crew.mu.Unlock()
}

// dismiss takes h off the idle list and reports true, or reports false if h has been
// given a job.
func (c *crew) dismiss(h *hand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range c.idle {
		if x == h {
			last := len(c.idle) - 1
			c.idle[i] = c.idle[last]
			c.idle[last] = nil
			c.idle = c.idle[:last]
			c.free.Put(h)
			return true
		}
	}
	return false
}

// spin waits for done, yielding to other goroutines, and reports whether it came
// within d.
func spin(d time.Duration, done func() bool) bool {
	for start := time.Now(); !done(); runtime.Gosched() {
		if time.Since(start) > d {
			return false
		}
	}
	return true
}
