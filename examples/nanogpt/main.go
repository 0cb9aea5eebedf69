// Command nanogpt sorts letters with a trained GPT of 85,000 parameters, whose attention
// and matrix products are qkv's. The network is in package gpt, which is the part to read.
//
//	go run ./examples/nanogpt -model gpt-nano-sort-model.json CBABBC
//
// The model is public/gpt-nano-sort-model.json of https://github.com/bbycroft/llm-viz.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/nanogpt/gpt"
)

const usage = `usage: nanogpt -model FILE [flags] LETTERS...

Sorts six letters, each A, B or C, with a trained GPT. FILE is gpt-nano-sort-model.json,
which is in the folder public of https://github.com/bbycroft/llm-viz.

`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command carries out a command line and returns the exit code.
func command(args []string, stdout, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("nanogpt", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&o.model, "model", "", "read the model from `file`")
	f.StringVar(&o.kernel, "kernel", "", "compute on this kernel `set`, the best by default")
	f.BoolVar(&o.verbose, "v", false, "print how likely the model holds each letter at each step")
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			io.WriteString(stdout, usage)
			f.SetOutput(stdout)
			f.PrintDefaults()
			return exitOK
		} else if err != nil {
			fmt.Fprintf(stderr, "nanogpt: %v\n", err)
			return exitUsage
		}
		if f.NArg() == 0 {
			break
		}
		o.words, args = append(o.words, f.Arg(0)), f.Args()[1:] // flags may follow
	}
	for _, missing := range []struct {
		is   bool
		what string
	}{{o.model == "", "no -model"}, {len(o.words) == 0, "no letters"}} {
		if missing.is {
			fmt.Fprintf(stderr, "nanogpt: %s; try -h\n", missing.what)
			return exitUsage
		}
	}
	if err := sort(o, stdout); err != nil {
		fmt.Fprintf(stderr, "nanogpt: %s\n", strings.TrimPrefix(err.Error(), "gpt: "))
		return exitFailed
	}
	return exitOK
}

// options are what the command line says.
type options struct {
	model, kernel string
	verbose       bool
	words         []string
}

// sort prints words with their letters sorted.
func sort(o options, w io.Writer) error {
	e, err := qkv.New(qkv.Config{Kernel: o.kernel})
	if err != nil {
		return err
	}
	m, err := gpt.Load(o.model, e)
	if err != nil {
		return err
	}
	for _, word := range o.words {
		sorted, steps, err := m.Sort(word)
		if err != nil {
			return err
		}
		if o.verbose {
			printSteps(w, word, steps)
		}
		if _, err := fmt.Fprintln(w, sorted); err != nil {
			return err
		}
	}
	return nil
}

// printSteps prints a table: what the model has seen at each step, and how likely it holds
// each letter to be next.
func printSteps(w io.Writer, word string, steps []gpt.Step) {
	var b strings.Builder
	seen, width := word+" ", len(word)+len(steps)
	fmt.Fprintf(&b, "%-*s", width, "seen")
	for token := range steps[0].Probs {
		fmt.Fprintf(&b, "%9s", gpt.Label(token))
	}
	b.WriteString("   next\n")
	for _, s := range steps {
		fmt.Fprintf(&b, "%-*s", width, seen)
		for _, p := range s.Probs {
			fmt.Fprintf(&b, "%8.3f%%", 100*p)
		}
		next := gpt.Label(s.Token)
		fmt.Fprintf(&b, "   %s\n", next)
		seen += next
	}
	b.WriteByte('\n')
	io.WriteString(w, b.String())
}
