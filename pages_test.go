package qkv_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/qkv-go/qkv"
)

// forks returns a sequence of so many tokens of a cache of one layer, and forks of it.
func forks(t *testing.T, step *qkv.Step, c *qkv.Cache, s cacheShape, tokens, n int) []*qkv.Sequence {
	t.Helper()
	x := c.NewSequence()
	for r := rand.New(rand.NewPCG(1, 80)); x.Len() < tokens; {
		k, v := s.tokens(r, min(4, tokens-x.Len()))
		must(appendTokens(step, x, k.view(), v.view()))
	}
	all := []*qkv.Sequence{x}
	for len(all) < n {
		f, err := x.Fork()
		must(err)
		all = append(all, f)
	}
	return all
}

// TestForksWritten: forks that share pages and are written in one step need the pages that they have
// afterwards, and no other: one writes where it is.
func TestForksWritten(t *testing.T) {
	s := cacheShapes[0]
	e := newAttention(t, qkv.Config{})
	for _, x := range []struct {
		what              string
		cfg               qkv.CacheConfig
		tokens            int
		pages, before, in int // of the cache; free before the step, and in it
	}{
		{"a ring of one page, full", s.ring(3, 8, 4, 0, 5), 8, 3, 2, 0},
		{"a ring of one page, half full", s.ring(3, 8, 4, 2, 3), 5, 3, 2, 0},
		{"rings of two pages that go round", s.ring(3, 4, 4, 0, 5), 19, 6, 4, 2},
		{"the last page", s.config(8, 4), 7, 8, 6, 4},
		{"whole pages", s.config(8, 4), 8, 8, 6, 3},
	} {
		c := newCache(t, x.cfg)
		step := newStep(t, e, c)
		all := forks(t, step, c, s, x.tokens, 3)
		if n := c.FreePages(0); n != x.before {
			t.Fatalf("%s: %d pages are free before, want %d", x.what, n, x.before)
		}
		var batch []qkv.StepSequence
		for _, f := range all {
			batch = append(batch, qkv.StepSequence{Sequence: f, Tokens: 1})
		}
		if n, err := c.StepPages(0, batch); err != nil || n != x.before-x.in {
			t.Errorf("%s: %d pages are needed, want %d; %v", x.what, n, x.before-x.in, err)
		}
		k, v := s.tokens(rand.New(rand.NewPCG(2, 80)), 3)
		for _, end := range []func() error{step.Rollback, step.Commit} {
			must(step.Begin(batch))
			if n := c.FreePages(0); n != x.in {
				t.Errorf("%s: %d pages are free in the step, want %d", x.what, n, x.in)
			}
			must(errors.Join(step.Write(0, k.view(), v.view()), end()))
		}
		if n := c.FreePages(0); n != x.in {
			t.Errorf("%s: %d pages are free after it, want %d", x.what, n, x.in)
		}
		for _, f := range all {
			must(f.Free())
		}
		if n := c.FreePages(0); n != x.pages {
			t.Errorf("%s: %d pages are free at the end, want %d", x.what, n, x.pages)
		}
	}
}

// TestForksGoBack: what a fork overwrites in a page that another goes back to is lost to that one, too,
// and a page is only written where it is if that leaves the other its window.
func TestForksGoBack(t *testing.T) {
	s := cacheShapes[0]
	e := newAttention(t, qkv.Config{})
	for _, x := range []struct {
		what        string
		long, short int // new tokens
		pages       int // that the step takes
		err         error
	}{
		{"nothing lost", 1, 1, 1, nil},
		{"token 1 lost", 2, 1, 1, qkv.ErrOverwritten},
		{"the window of the other", 3, 1, 2, nil},
	} {
		c := newCache(t, s.ring(3, 4, 2, 0, 3)) // rings of a page
		step := newStep(t, e, c)
		all := forks(t, step, c, s, 4, 2)
		must(all[1].Truncate(3))
		batch := []qkv.StepSequence{{Sequence: all[0], Tokens: x.long}, {Sequence: all[1], Tokens: x.short}}
		if n, err := c.StepPages(0, batch); err != nil || n != x.pages {
			t.Errorf("%s: %d pages, want %d; %v", x.what, n, x.pages, err)
		}
		must(errors.Join(step.Begin(batch), step.Rollback())) // not written, not lost
		must(step.Begin(batch))
		k, v := s.tokens(rand.New(rand.NewPCG(3, 80)), x.long+x.short)
		must(errors.Join(step.Write(0, k.view(), v.view()), step.CommitFirst([]int{x.long, 0})))
		if err := all[1].Truncate(2); !errors.Is(err, x.err) {
			t.Errorf("%s: %v, want %v", x.what, err, x.err)
		}
	}
}

// TestCommitFirstShared: a sequence of which no token is accepted shares its pages as before.
func TestCommitFirstShared(t *testing.T) {
	s := cacheShapes[0]
	e := newAttention(t, qkv.Config{})
	for _, cfg := range []qkv.CacheConfig{s.config(4, 4), s.ring(3, 8, 4, 0, 5)} {
		c := newCache(t, cfg)
		step := newStep(t, e, c)
		all := forks(t, step, c, s, 6, 2)
		before, err := all[0].Table(0)
		must(err)
		free := c.FreePages(0)
		k, v := s.tokens(rand.New(rand.NewPCG(4, 80)), 2)
		for _, accepted := range []int{0, 0, 1} {
			must(step.Begin([]qkv.StepSequence{{Sequence: all[1], Tokens: 2}}))
			if n := c.FreePages(0); n != free-1 {
				t.Fatalf("%d pages are free in the step, want %d", n, free-1)
			}
			must(errors.Join(step.Write(0, k.view(), v.view()), step.CommitFirst([]int{accepted})))
			table, err := all[1].Table(0)
			must(err)
			last := len(before) - 1
			if n := c.FreePages(0); n != free-accepted || (table[last] == before[last]) != (accepted == 0) {
				t.Errorf("%d accepted: %d pages are free, %d before; pages %v, %v before", accepted, n, free, table, before)
			}
		}
	}
}

// TestFits: what a step would take can be asked for, and takes nothing.
func TestFits(t *testing.T) {
	s := cacheShapes[0]
	cfg := s.config(5, 4)
	ring := s.layer()
	ring.Window = 3
	cfg.Layers, cfg.Sequences, cfg.StepTokens = append(cfg.Layers, ring), 2, 6 // rings of 8 tokens
	e, c := newAttention(t, qkv.Config{}), newCache(t, cfg)
	step := newStep(t, e, c)
	a, b := c.NewSequence(), c.NewSequence()
	batch := []qkv.StepSequence{{Sequence: a, Tokens: 5}, {Sequence: b, Tokens: 1}}
	pages := func(layer int, batch ...qkv.StepSequence) int {
		n, err := c.StepPages(layer, batch)
		must(err)
		return n
	}
	if all, window := pages(0, batch...), pages(1, batch...); all != 3 || window != 3 {
		t.Errorf("%d and %d pages, want 3 and 3", all, window)
	}
	must(c.Fits(batch))
	if a.Room() != 8 || c.FreePages(0) != 5 || c.FreePages(1) != 4 {
		t.Errorf("room for %d tokens, %d and %d pages", a.Room(), c.FreePages(0), c.FreePages(1))
	}
	must(step.Begin(batch))
	if err := c.Fits(batch); !errors.Is(err, qkv.ErrBusy) || a.Room() != 0 {
		t.Errorf("in a step: %v, room for %d", err, a.Room())
	}
	if err := c.Fits([]qkv.StepSequence{{Sequence: c.NewSequence(), Tokens: 8}}); !errors.As(err, new(*qkv.PagesError)) {
		t.Errorf("in a step: %v", err)
	}
	must(step.Rollback())
	big := newCache(t, s.config(1<<18, 1))
	if n := big.NewSequence().Room(); n != 1<<18 {
		t.Errorf("room for %d tokens", n)
	}
	var none *qkv.Cache
	for what, err := range map[string]error{"nil": none.Fits(nil), "layer": second(c.StepPages(2, nil)), "no sequence": c.Fits([]qkv.StepSequence{{}})} {
		if !errors.As(err, new(*qkv.ArgError)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(a.Free())
	if (*qkv.Sequence)(nil).Room() != 0 || a.Room() != 0 {
		t.Error("room in no sequence")
	}
}

// TestReasons: what a caller may act on can be told apart.
func TestReasons(t *testing.T) {
	s := cacheShapes[0]
	e, c := newAttention(t, qkv.Config{}), newCache(t, s.ring(3, 4, 2, 0, 3))
	step, other := newStep(t, e, c), newStep(t, e, c)
	x, freed := c.NewSequence(), c.NewSequence()
	must(freed.Free())
	of := func(x *qkv.Sequence, tokens int) []qkv.StepSequence {
		return []qkv.StepSequence{{Sequence: x, Tokens: tokens}}
	}
	reasons := []error{
		qkv.ErrBusy, qkv.ErrFreed, qkv.ErrOtherCache, qkv.ErrNotBegun, qkv.ErrBegun, qkv.ErrUnwritten, qkv.ErrUnfinished,
		qkv.ErrTooManyTokens, qkv.ErrOverwritten, qkv.ErrDamaged, qkv.ErrMismatch,
	}
	check := func(what string, err, want error) {
		t.Helper()
		isArgError(t, what, err, "")
		for _, reason := range reasons {
			if errors.Is(err, reason) != (reason == want) {
				t.Errorf("%s: %v is %v: %v", what, err, reason, errors.Is(err, reason))
			}
		}
	}
	check("freed", step.Begin(of(freed, 1)), qkv.ErrFreed)
	check("freed twice", freed.Free(), qkv.ErrFreed)
	check("another cache", step.Begin(of(newCache(t, s.config(1, 4)).NewSequence(), 1)), qkv.ErrOtherCache)
	check("no sequence", step.Begin(of(nil, 1)), nil)
	check("too many tokens", step.Begin(of(x, 5)), qkv.ErrTooManyTokens)
	check("not begun", step.Commit(), qkv.ErrNotBegun)
	check("not begun", step.SetQueries(nil), qkv.ErrNotBegun)
	must(step.Begin(of(x, 4)))
	check("begun", step.Begin(nil), qkv.ErrBegun)
	check("in another step", other.Begin(of(x, 1)), qkv.ErrBusy)
	check("in a step", x.Truncate(0), qkv.ErrBusy)
	check("not written", step.Commit(), qkv.ErrUnwritten)
	data := make([]float32, 4*4*64)
	call := &qkv.Call{Q: qkv.THD(data, 4, 2, 32), Out: qkv.THD(make([]float32, 4*2*64), 4, 2, 64), Mask: qkv.Mask{Causal: true}}
	check("not written", step.Attend(0, call), qkv.ErrUnwritten)
	k, v := s.tokens(rand.New(rand.NewPCG(5, 80)), 4)
	must(step.Write(0, k.view(), v.view()))
	call.ScoreMod = func(*qkv.ScoreBlock) { check("in a callback", step.Commit(), qkv.ErrBusy) }
	must(errors.Join(step.Attend(0, call), step.Commit()))
	k, v = s.tokens(rand.New(rand.NewPCG(6, 80)), 3)
	must(appendTokens(step, x, k.view(), v.view()))
	check("overwritten", x.Truncate(1), qkv.ErrOverwritten)

	var file bytes.Buffer
	must(second(x.WriteTo(&file)))
	read := func(c *qkv.Cache, change int) error {
		data := bytes.Clone(file.Bytes())
		if change >= 0 {
			data[change] ^= 1
		}
		return second(c.ReadSequence(bytes.NewReader(data)))
	}
	must(read(c, -1))
	for _, at := range []int{0, 16, 28, 100, file.Len() - 1} {
		check("damaged", read(c, at), qkv.ErrDamaged)
	}
	check("other layers", read(newCache(t, s.config(3, 4)), -1), qkv.ErrMismatch)
	check("another version", read(c, 8), qkv.ErrMismatch)
	if err := second(c.ReadSequence(bytes.NewReader(file.Bytes()[:50]))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
