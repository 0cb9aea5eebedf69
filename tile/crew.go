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
	// falls asleep, at most: most items are shorter.
	patience = time.Millisecond

	// A caller looks out for one patienceFraction-th of the time that it has worked on the task
	// itself, and for linger at least: an item takes less. One that takes longer is in the hands
	// of a goroutine whose processor another process has taken. Once the caller sleeps, the
	// operating system has a processor for that goroutine.
	patienceFraction = 8
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
	task atomic.Pointer[task]
	run  func() // bound once: a go statement with a closure would allocate
}

// A task is work that goroutines share.
type task struct {
	drain func()        // takes part until nothing is left
	left  atomic.Int64  // goroutines besides the caller's that have not left it
	done  chan struct{} // receives when the last one leaves
	hands []*hand       // that it was given to
}

// init makes a task that may run again and again. drain is bound once: each closure
// would be allocated.
func (t *task) init(drain func()) {
	t.drain = drain
	t.done = make(chan struct{}, 1)
}

// run does the task with so many goroutines, the caller's among them unless it is kept
// apart. It does not end before they have.
func (c *crew) run(t *task, workers int, apart bool) {
	others := workers - 1
	if apart { // the caller's own labels could not be read back to restore them
		others++
	}
	t.left.Store(int64(others))
	if others > 0 {
		begin := time.Now()
		defer func() { c.wait(t, begin, apart) }() // also if a callback ends the goroutine
		c.start(t, others)
	}
	if !apart {
		t.drain()
	}
}

// wait waits for the other goroutines to leave. Where the caller has taken part, nothing is
// left to do: those that have not come yet need not.
func (c *crew) wait(t *task, begin time.Time, apart bool) {
	most := patience
	if !apart {
		if c.takeBack(t) {
			return
		}
		most = min(most, max(linger, time.Since(begin)/patienceFraction))
	}
	spin(most, func() bool { return t.left.Load() == 0 })
	<-t.done
}

// takeBack takes t back from those that have not come yet, and reports whether nobody takes
// part any more.
func (c *crew) takeBack(t *task) bool {
	if t.left.Load() == 0 {
		<-t.done
		return true
	}
	c.mu.Lock()
	n := int64(0)
	for _, h := range t.hands {
		if h.task.CompareAndSwap(t, nil) {
			c.idle = append(c.idle, h)
			n++
		}
	}
	c.mu.Unlock()
	return n > 0 && t.left.Add(-n) == 0 // otherwise the last one that leaves says so
}

// leave ends a goroutine's part.
func (t *task) leave() {
	if t.left.Add(-1) == 0 {
		t.done <- struct{}{}
	}
}

// start gives t to n goroutines.
func (c *crew) start(t *task, n int) {
	c.mu.Lock()
	known := min(n, len(c.idle))
	hands := c.idle[len(c.idle)-known:]
	t.hands = append(t.hands[:0], hands...)
	for i, h := range hands {
		h.task.Store(t)
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
		h.task.Store(t)
		t.hands = append(t.hands, h)
		go h.run()
	}
}

// loop works on tasks until none comes for a while.
func (h *hand) loop() {
	for {
		if t := h.task.Swap(nil); t != nil { // or it was taken back
			h.do(t)
		}
		if !spin(linger, func() bool { return h.task.Load() != nil }) && h.crew.dismiss(h) {
			return
		}
	}
}

// do takes part in a task. A callback may end the goroutine within; then h is lost.
func (h *hand) do(t *task) {
	defer t.leave()
	t.drain()
	// Idle before the task ends: its caller may come with the next at once.
	h.crew.mu.Lock()
	h.crew.idle = append(h.crew.idle, h)
	h.crew.mu.Unlock()
}

// dismiss takes h off the idle list and reports true, or reports false if h has been
// given a task.
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
