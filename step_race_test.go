package qkv_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/qkv-go/qkv"
)

// inParallel runs f for each number below n at the same time.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// checkLast attends the last n tokens of a sequence by itself.
func (s cacheShape) checkLast(t *testing.T, r *rand.Rand, e *qkv.Engine, step *qkv.Step, h *history, n int, sequence *qkv.Sequence) {
	p := s.attend(r, 1, []*history{h}, []int{n})
	out, lse := p.run(t, e)
	c := p.call()
	c.K, c.V, c.CuLensQ, c.CuLensKV, c.Mask.Align = qkv.View{}, qkv.View{}, nil, nil, 0
	if err := attended(step, c, []*qkv.Sequence{sequence}, []int{n}); err != nil {
		t.Error(err)
		return
	}
	sameBits(t, "out", p.out.values(), out)
	sameBits(t, "lse", p.lse, lse)
}

// TestStepsParallel forks, writes, attends, saves and frees sequences that share pages at the same
// time, on an engine of Go code, whose reads the race detector sees.
func TestStepsParallel(t *testing.T) {
	for _, s := range cacheShapes[:5] {
		const pages, users = 300, 4
		c := newCache(t, s.config(pages, 4))
		e := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
		r := rand.New(rand.NewPCG(1, 72))
		prompt, h := c.NewSequence(), new(history)
		k, v := s.tokens(r, 18)
		must(appendTokens(newStep(t, e, c), prompt, k.view(), v.view()))
		h.append(s, k, v, 0, 18)
		forks := draw(users, func() *qkv.Sequence {
			fork, err := prompt.Fork()
			must(err)
			return fork
		})
		// Whoever writes first, the prompt stays what it is for all others.
		inParallel(users+2, func(i int) {
			r := rand.New(rand.NewPCG(uint64(i), 73))
			step := newStep(t, e, c)
			if i >= users { // two attend the same sequence
				for range 20 {
					s.checkLast(t, r, e, step, h, 3, prompt)
				}
				return
			}
			own, h := forks[i], h.clone()
			for range 12 {
				n := 1 + r.IntN(5)
				k, v := s.tokens(r, n)
				if err := appendTokens(step, own, k.view(), v.view()); err != nil {
					t.Error(err)
					return
				}
				h.append(s, k, v, 0, n)
				s.checkLast(t, r, e, step, h, n, own)
				switch r.IntN(4) {
				case 0: // goes on as a fork of itself
					fork, err := own.Fork()
					if err := errors.Join(err, own.Free()); err != nil {
						t.Error(err)
						return
					}
					own = fork
				case 1: // into the shared pages
					to := max(0, h.len-r.IntN(8))
					if err := own.Truncate(to); err != nil {
						t.Error(err)
					}
					h.truncate(s, to)
				case 2: // as what was written of it
					var file bytes.Buffer
					_, err := own.WriteTo(&file)
					read, err2 := c.ReadSequence(&file)
					if err := errors.Join(err, err2, own.Free()); err != nil {
						t.Error(err)
						return
					}
					own = read
				}
			}
			if err := own.Free(); err != nil {
				t.Error(err)
			}
		})
		must(prompt.Free())
		if n := c.FreePages(0); n != pages {
			t.Errorf("%v: %d of %d pages are free at the end", s, n, pages)
		}
	}
}

// TestStepsInUse: what a sequence in a step cannot be used for is refused, and changes nothing.
func TestStepsInUse(t *testing.T) {
	s := cacheShapes[0]
	e, c := newAttention(t, qkv.Config{}), newCache(t, s.config(10, 4))
	a, b := newStep(t, e, c), newStep(t, e, c)
	x, y := c.NewSequence(), c.NewSequence()
	writes, reads := []qkv.StepSequence{{Sequence: x, Tokens: 1}}, []qkv.StepSequence{{Sequence: x, Queries: 1}}
	busy := func(what string, err error) {
		t.Helper()
		isArgError(t, what, err, "it is in a step that has not ended")
	}
	must(a.Begin(writes))
	busy("written twice", b.Begin(writes))
	busy("written and attended", b.Begin([]qkv.StepSequence{{Sequence: y, Tokens: 2}, reads[0]}))
	busy("forked", second(x.Fork()))
	busy("truncated", x.Truncate(0))
	busy("freed", x.Free())
	busy("saved", second(x.WriteTo(new(bytes.Buffer))))
	busy("looked at", second(x.Table(0)))
	must(errors.Join(b.Begin([]qkv.StepSequence{{Sequence: y, Tokens: 2}}), b.Rollback())) // y was left alone
	busy("twice in one", b.Begin([]qkv.StepSequence{{Sequence: y, Tokens: 2}, {Sequence: y, Tokens: 1}}))
	isArgError(t, "begun twice", a.Begin(nil), "step has begun already")
	must(a.Rollback())
	isArgError(t, "ended twice", a.Rollback(), "step has not begun")
	isArgError(t, "committed after it", a.Commit(), "step has not begun")

	must(errors.Join(a.Begin(reads), b.Begin(append(reads, reads...)))) // any number of readers
	busy("written while it is attended", newStep(t, e, c).Begin(writes))
	busy("truncated while it is attended", x.Truncate(0))
	fork, err := x.Fork()
	must(errors.Join(err, fork.Free(), a.Commit()))
	busy("freed while it is attended", x.Free())
	must(errors.Join(b.Rollback(), x.Free(), y.Free()))
	if n := c.FreePages(0); n != 10 {
		t.Errorf("%d pages are free", n)
	}
}

// TestStepCallbacks: a callback of a call cannot use the step, whose pages are being read, and after one that
// panics the step can be rolled back.
func TestStepCallbacks(t *testing.T) {
	s := cacheShapes[0]
	e, c := newAttention(t, qkv.Config{}), newCache(t, s.config(10, 4))
	step, x := newStep(t, e, c), c.NewSequence()
	r := rand.New(rand.NewPCG(1, 1))
	k, v := s.tokens(r, 5)
	must(errors.Join(step.Begin([]qkv.StepSequence{{Sequence: x, Tokens: 5}}), step.Write(0, k.view(), v.view())))
	q, out := make([]float32, 5*2*s.dimQK), make([]float32, 5*2*s.dimV)
	call := &qkv.Call{Q: qkv.THD(q, 5, 2, s.dimQK), Out: qkv.THD(out, 5, 2, s.dimV), Mask: qkv.Mask{Causal: true}}
	var once sync.Once
	call.ScoreMod = func(*qkv.ScoreBlock) {
		once.Do(func() {
			for i, err := range []error{
				step.Begin(nil), step.Write(0, k.view(), v.view()), step.Attend(0, call), second(step.Explain(0, call)),
				step.Commit(), step.CommitFirst([]int{1}), step.Rollback(),
			} {
				if isArgError(t, "in a callback", err, "step is used by another call at the same time"); t.Failed() {
					t.Fatalf("call %d", i)
				}
			}
			isArgError(t, "truncated", x.Truncate(0), "it is in a step")
		})
	}
	must(step.Attend(0, call))
	call.ScoreMod = func(*qkv.ScoreBlock) { panic("no") }
	panics(t, "no", func() { step.Attend(0, call) })
	if err := step.Commit(); !errors.Is(err, qkv.ErrUnfinished) {
		t.Errorf("after a panic: %v", err)
	}
	must(step.Rollback())
	if x.Len() != 0 {
		t.Errorf("%d tokens", x.Len())
	}

	// As many tokens as a slice of positions of them would not fit anywhere.
	err := step.Begin([]qkv.StepSequence{{Sequence: x, Tokens: 1 << 30}})
	if !errors.As(err, new(*qkv.PagesError)) {
		t.Error(err)
	}
}

// A yieldingWriter lets others run.
type yieldingWriter struct{}

func (yieldingWriter) Write(p []byte) (int, error) {
	runtime.Gosched()
	return len(p), nil
}

// TestStepAttendsSaved: a sequence of a ring may be written to a file while steps attend it beside
// others that grow.
func TestStepAttendsSaved(t *testing.T) {
	s := cacheShapes[0]
	e, c := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1}), newCache(t, s.ring(3, 4, 3, 1, 4))
	r := rand.New(rand.NewPCG(1, 74))
	k, v := s.tokens(r, 4)
	x := c.NewSequence()
	for range 6 {
		must(appendTokens(newStep(t, e, c), x, k.view(), v.view()))
	}
	inParallel(3, func(i int) {
		step, y := newStep(t, e, c), c.NewSequence()
		for range 20 {
			if i == 0 {
				must(second(x.WriteTo(yieldingWriter{})))
				continue
			}
			must(step.Begin([]qkv.StepSequence{{Sequence: x, Queries: 1}, {Sequence: y, Tokens: 4}}))
			must(errors.Join(step.Write(0, k.view(), v.view()), step.Commit()))
		}
		must(y.Free())
	})
	must(x.Free())
}

// TestStepsParallelForks: several forks in each of the steps, of which some write shared pages in place and
// some go back, while others ask what would fit.
func TestStepsParallelForks(t *testing.T) {
	const users, forks = 4, 3
	s := cacheShapes[0]
	e := newAttention(t, qkv.Config{Kernel: "generic", Workers: 1})
	for _, cfg := range []qkv.CacheConfig{s.config(200, 4), s.ring(users*forks+1, 4, 5, 1, 6)} {
		c := newCache(t, cfg)
		pages := c.FreePages(0)
		r := rand.New(rand.NewPCG(3, 74))
		prompt, h := c.NewSequence(), new(history)
		for range 3 {
			k, v := s.tokens(r, 6)
			must(appendTokens(newStep(t, e, c), prompt, k.view(), v.view()))
			h.append(s, k, v, 0, 6)
		}
		var all [users][]*qkv.Sequence
		for i := range all {
			all[i] = draw(forks, func() *qkv.Sequence {
				fork, err := prompt.Fork()
				must(err)
				return fork
			})
		}
		inParallel(users+1, func(i int) {
			r := rand.New(rand.NewPCG(uint64(i), 75))
			if i == users {
				for range 200 {
					own := all[r.IntN(users)]
					c.Fits([]qkv.StepSequence{{Sequence: own[0], Tokens: 1}, {Sequence: own[1], Tokens: 3}, {Sequence: prompt, Queries: 1}})
					c.StepPages(0, []qkv.StepSequence{{Sequence: own[2], Tokens: r.IntN(5)}})
					own[1].Room()
				}
				return
			}
			step, histories := newStep(t, e, c), draw(forks, h.clone)
			for range 15 {
				var batch []qkv.StepSequence
				tokens := 0
				for j := range all[i] {
					n := 1 + r.IntN(3)
					batch = append(batch, qkv.StepSequence{Sequence: all[i][j], Tokens: n})
					tokens += n
				}
				k, v := s.tokens(r, tokens)
				if err := errors.Join(step.Begin(batch), step.Write(0, k.view(), v.view())); err != nil {
					t.Error(err)
					return
				}
				accepted, first := make([]int, forks), 0
				for j, x := range batch {
					accepted[j] = r.IntN(x.Tokens + 1)
					histories[j].append(s, k, v, first, accepted[j])
					first += x.Tokens
				}
				if err := step.CommitFirst(accepted); err != nil {
					t.Error(err)
					return
				}
				if cfg.Sequences > 0 {
					continue
				}
				for j, fork := range all[i] {
					s.checkLast(t, r, e, step, histories[j], 2, fork)
				}
			}
		})
		for _, own := range all {
			for _, fork := range own {
				must(fork.Free())
			}
		}
		must(prompt.Free())
		if n := c.FreePages(0); n != pages {
			t.Errorf("%+v: %d of %d pages are free at the end", cfg, n, pages)
		}
	}
}
