package tile

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// A countdown is a task of so many items.
type countdown struct {
	task
	next, items int64
	did         atomic.Int64
	item        func()
}

func newCountdown(items int64, item func()) *countdown {
	c := &countdown{items: items, item: item}
	c.init(c.drain)
	return c
}

func (c *countdown) drain() {
	for atomic.AddInt64(&c.next, 1) <= c.items {
		c.item()
		c.did.Add(1)
	}
}

// A caller does not wait for those that have not come when nothing is left to do: here they
// cannot, since the only processor is the caller's until it waits.
func TestCrewRevokes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var c crew
	for range 100 {
		d := newCountdown(7, func() {})
		c.run(&d.task, 8, false)
		if d.did.Load() != 7 {
			t.Fatalf("%d items were done, want 7", d.did.Load())
		}
		if d.left.Load() != 0 {
			t.Fatalf("%d goroutines have not left", d.left.Load())
		}
	}
}

// Tasks from several callers at once, each of which some take part in and some do not, are
// all done, once.
func TestCrewTogether(t *testing.T) {
	var c crew
	done := make(chan bool)
	for range 4 {
		go func() {
			d := newCountdown(0, runtime.Gosched)
			for n := range int64(500) {
				d.next, d.items = 0, n%17
				d.did.Store(0)
				c.run(&d.task, 1+int(n%5), n%3 == 0)
				if got := d.did.Load(); got != d.items {
					t.Errorf("%d items were done, want %d", got, d.items)
				}
			}
			done <- true
		}()
	}
	for range 4 {
		<-done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[*hand]bool{}
	for _, h := range c.idle {
		if seen[h] {
			t.Error("a goroutine is idle twice")
		}
		seen[h] = true
	}
}
