package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/llama/model"
)

// A work is what -speed times: so many tokens in a prompt, or one by one, behind those of a context.
type work struct {
	prompt         bool
	tokens, behind int
}

// String returns the name of a work, as llama.cpp's llama-bench has it: pp512, tg64@4096.
func (w work) String() string {
	name := "tg"
	if w.prompt {
		name = "pp"
	}
	name += strconv.Itoa(w.tokens)
	if w.behind > 0 {
		name += "@" + strconv.Itoa(w.behind)
	}
	return name
}

// mostTokens bounds the tokens of a work, of a prompt and of a context each.
const mostTokens = 1 << 20

// parseWorks reads names of works with commas between them.
func parseWorks(names string) ([]work, error) {
	var works []work
	for _, name := range strings.Split(names, ",") {
		var w work
		kind, behind, deep := strings.Cut(name, "@")
		var err error
		if deep {
			w.behind, err = strconv.Atoi(behind)
		}
		kind, w.prompt = strings.CutPrefix(kind, "pp")
		if !w.prompt {
			kind = strings.TrimPrefix(kind, "tg")
		}
		if err == nil {
			w.tokens, err = strconv.Atoi(kind)
		}
		if err != nil || w.tokens < 1 || w.tokens > mostTokens || w.behind < 0 || w.behind > mostTokens || w.String() != name {
			return nil, fmt.Errorf("%q is no work such as pp512 or tg64@4096", name)
		}
		works = append(works, w)
	}
	return works, nil
}

// A work is done in speedRounds rounds at least, until speedTime has passed or there are speedMost. The fastest counts:
// what else runs on the machine only takes time.
const (
	speedRounds, speedMost = 3, 20
	speedTime              = 3 * time.Second
)

// speed prints how many tokens a second the model reads in each work. What the tokens are is no matter of time.
func (m *file) speed(o options, stdout io.Writer) error {
	room := 0
	for _, w := range o.speed {
		room = max(room, w.behind+w.tokens)
	}
	if room > m.Context {
		return fmt.Errorf("a work has %d tokens, the model reads %d", room, m.Context)
	}
	e, err := m.engine(o, 2*room, 2)
	if err != nil {
		return err
	}
	tokens := make([]int32, room)
	for i := range tokens {
		tokens[i] = int32(int64(i) * 7919 % int64(m.Vocab)) // more than 32 bits hold
	}
	for _, w := range o.speed {
		rate, err := speedOf(e, w, tokens)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%-12s %9.1f tokens/s\n", w, rate)
	}
	return nil
}

// speedOf returns how many tokens a second the model reads in the fastest round of a work.
func speedOf(e *model.Engine, w work, tokens []int32) (rate float64, err error) {
	context := e.Cache.NewSequence()
	defer func() { err = cmp.Or(err, context.Free()) }()
	if err := read(e, context, tokens[:w.behind], promptTokens); err != nil {
		return 0, err
	}
	step := 1
	if w.prompt {
		step = promptTokens
	}
	start := time.Now()
	for round := 0; round < speedRounds || round < speedMost && time.Since(start) < speedTime; round++ {
		s, err := context.Fork()
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		err = read(e, s, tokens[w.behind:w.behind+w.tokens], step)
		rate = max(rate, float64(w.tokens)/time.Since(begin).Seconds())
		if err = cmp.Or(err, s.Free()); err != nil {
			return 0, err
		}
	}
	return rate, nil
}

// read has a sequence read tokens, so many in a step, and the logits of the last of each.
func read(e *model.Engine, s *qkv.Sequence, tokens []int32, step int) error {
	for len(tokens) > 0 {
		n := min(step, len(tokens))
		if _, err := e.Forward([]model.Input{{Sequence: s, Tokens: tokens[:n], Logits: 1}}); err != nil {
			return err
		}
		if err := e.Step.Commit(); err != nil {
			return err
		}
		tokens = tokens[n:]
	}
	return nil
}
