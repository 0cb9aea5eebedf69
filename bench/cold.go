package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
)

// Of a cold work each call gets keys, values or weights that are in no cache, as a layer of a
// model finds its own after the other layers: there are so many copies of them, which take turns,
// that between two uses of one the others go through every cache twice.
//
// Turns, and not a buffer that is read between the calls: calls follow each other at once, so
// that workers are awake, code and scratch memory are at hand and short calls can be timed several
// together, all as in a model. Queries and outputs, which a model has just computed, are shared.

const (
	// coldPasses is how often the other copies fill all caches before one has its turn again.
	// A cache that does not throw out the oldest line first keeps some of it after one.
	coldPasses = 2

	leastCold, mostCold = 64 << 20, 4 << 30 // bytes of the other copies

	// maxCopies bounds the copies of a work: a smaller one is more of its operands than of
	// keys, values or weights.
	maxCopies = 1024
)

// coldBytes returns how many bytes have to be read for nothing that was read before to be left
// in the caches: of every core's own, and of so many last ones.
func coldBytes(caches []Cache, last int) int64 {
	var all int64
	for _, c := range caches {
		n := runtime.NumCPU()
		if c.Level == levelShared {
			n = last
		}
		all += int64(n) * int64(c.Bytes)
	}
	return max(leastCold, min(coldPasses*all, mostCold))
}

// copiesOf returns how many copies of what a work reuses take turns, 1 where nothing is cold. The
// error says why a work cannot be cold.
func (r *Runner) copiesOf(w Work) (int, error) {
	if !r.opts.Cold {
		return 1, nil
	}
	one := w.reused()
	if one <= 0 {
		return 0, fmt.Errorf("it reads no keys, values or weights, so that nothing can be cold")
	}
	n := 1 + (r.cold+one-1)/one
	if n > maxCopies {
		return 0, fmt.Errorf("its keys and values or weights take %d bytes, so that it would need %d copies to be cold, and at most %d are made", one, n, maxCopies)
	}
	return int(n), nil
}

// bytesOf returns the size of the operands of a work with all copies.
func (r *Runner) bytesOf(w Work) int64 {
	n, err := r.copiesOf(w)
	if err != nil {
		return w.Bytes()
	}
	return satAdd(w.Bytes(), satMul(n-1, int(min(w.reused(), maxBytes))))
}

// cool has a path take turns with others like it, on copies of its operands. The last of them is
// checked, too.
func (r *Runner) cool(ctx context.Context, sys System, in Inputs, workers, copies int, t *timed) error {
	t.turns = append(t.turns, t.path)
	for i := range copies - 1 {
		other := in.again()
		p, err := namedPath(sys, other, workers, t.path.Name)
		if err != nil {
			return err
		}
		t.turns = append(t.turns, p)
		if p.Bind != nil {
			p.Bind(ctx)
		}
		if i < copies-2 {
			if p.Load != nil {
				err = p.Load()
			}
			if err == nil { // its memory is there, and what it does once is done
				err = p.Run()
			}
		} else {
			other.Spoil()
			if err = p.Compute(); err == nil {
				_, err = other.Check(ctx, CheckRows, p)
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("copy %d of %d: %w", i+2, copies, err)
		}
	}
	return t.count()
}

// namedPath returns the path of that name alone.
func namedPath(sys System, in Inputs, workers int, name string) (*Path, error) {
	paths, err := sys.Paths(in, workers)
	if err != nil {
		return nil, err
	}
	return pathNamed(paths, name)
}

// pathNamed returns the path of that name, and closes the others.
func pathNamed(paths []Path, name string) (*Path, error) {
	at := slices.IndexFunc(paths, func(p Path) bool { return p.Name == name })
	for i := range paths {
		if i != at {
			paths[i].close()
		}
	}
	if at < 0 {
		return nil, fmt.Errorf("there is no path %s", name)
	}
	return &paths[at], nil
}
