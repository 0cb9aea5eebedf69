package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/qkv-go/qkv/examples/llama/model"
)

// limit is how many tokens a text has at most: those of a prompt that the model reads, some more, and one
// more than the model reads in all.
func limit(prompt, more, context int) int { return prompt + min(more, context+1-prompt) }

// A stream is a text that is being written.
type stream struct {
	*model.Text
	begin string // the prompt
	done  int    // tokens, of which out has what is not printed yet
	ended bool   // by the model, or by its limit
	out   []byte
}

// write continues the prompts side by side, each until the model ends it, or there are enough tokens. The text of the first
// goes to stdout as it is made, and of each other when those before it have ended; how fast it was goes to stderr.
func (m *file) write(o options, stdout, stderr io.Writer) error {
	prompts, tokens, room := make([][]int32, len(o.prompts)), 0, 0
	for i, text := range o.prompts {
		name := "the prompt"
		if len(prompts) > 1 {
			name = fmt.Sprintf("prompt %d", i+1)
		}
		prompts[i] = m.tokenizer.Encode(text, true)
		switch n := len(prompts[i]); {
		case n == 0:
			return errors.New(name + " is empty")
		case n > m.Context:
			return fmt.Errorf("%s has %d tokens, the model reads %d", name, n, m.Context)
		default:
			tokens, room = tokens+n, room+limit(n, o.tokens, m.Context)
		}
	}
	var cache *promptCache
	var saved *os.File
	if o.promptCache != "" {
		var err error
		var n int
		if cache, err = newPromptCache(o, m); err == nil {
			n, saved, err = cache.open()
		}
		if err != nil {
			return err
		}
		room = max(room, n)
	}
	e, err := m.engine(o, room, len(prompts))
	if err != nil {
		saved.Close() // of nil, too
		return err
	}
	streams, texts, kept := make([]stream, len(prompts)), make([]*model.Text, len(prompts)), 0
	for i, p := range prompts {
		limit := limit(len(p), o.tokens, m.Context)
		if saved != nil {
			texts[i], kept, err = cache.restore(e, saved, p, limit)
			if err != nil {
				return err
			}
		} else {
			texts[i] = e.NewText(p, limit)
		}
		texts[i].Sampler = &o.sampler
		streams[i] = stream{Text: texts[i], begin: o.prompts[i], done: len(p)}
	}
	var draft model.Draft
	if o.draft > 0 {
		draft = model.NGram(3, o.draft)
	}
	start, now := time.Now(), 0 // the stream that is printed
	var first time.Duration     // until each text has a token
	made, begun := 0, 0         // tokens in all, and until then
	if _, err := io.WriteString(stdout, streams[0].begin); err != nil {
		return err
	}
	for len(texts) > 0 {
		if _, err := e.Continue(texts, draft); err != nil {
			return err
		}
		texts = texts[:0]
		waiting := false
		for i := range streams {
			s := &streams[i]
			before := s.done
			for ; s.done < len(s.Tokens) && !s.ended; s.done++ {
				if s.ended = m.tokenizer.IsEnd(s.Tokens[s.done]); !s.ended {
					s.out = m.tokenizer.Append(s.out, s.Tokens[s.done])
				}
			}
			made += s.done - before
			if s.ended = s.ended || s.done == s.Limit; !s.ended {
				texts = append(texts, s.Text)
			}
			waiting = waiting || s.done == len(prompts[i])
		}
		if first == 0 && !waiting {
			first, begun = time.Since(start), made
		}
		if now, err = print(stdout, streams, now); err != nil {
			return err
		}
	}
	rest := time.Since(start) - first
	fmt.Fprintf(stderr, "prompt    %d tokens, %.1f tokens/s", tokens, float64(tokens-kept)/first.Seconds())
	switch {
	case kept > 0:
		fmt.Fprintf(stderr, " without the first %d, which %s has", kept, o.promptCache)
	case saved != nil: // it begins otherwise, or a window does not reach back that far
		fmt.Fprintf(stderr, "; %s has none of them", o.promptCache)
	}
	fmt.Fprintln(stderr)
	if made > begun {
		fmt.Fprintf(stderr, "generate  %d tokens, %.1f tokens/s", made, float64(made-begun)/rest.Seconds())
		if draft != nil {
			fmt.Fprintf(stderr, ", %d of %d guesses are kept", e.Stats.Kept, e.Stats.Drafted)
		}
		fmt.Fprintln(stderr)
	}
	if cache != nil {
		return cache.save(streams[0].Text)
	}
	return nil
}

// print writes what there is of streams in their order, from the one of a number on. It returns the one that it has come to.
func print(w io.Writer, streams []stream, now int) (int, error) {
	for ; now < len(streams); now++ {
		s := &streams[now]
		text := s.out
		if s.ended {
			text = append(text, '\n')
			if now+1 < len(streams) {
				text = append(append(text, '\n'), streams[now+1].begin...)
			}
		}
		if _, err := w.Write(text); err != nil {
			return now, err
		}
		if s.out = s.out[:0]; !s.ended {
			break
		}
	}
	return now, nil
}
