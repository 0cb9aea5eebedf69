// Command embed compares sentences by their meaning: it prints the cosine of the angle between the embeddings of each
// two. The model is in package bert, which is the part to read.
//
//	examples/fetch minilm
//	go run ./examples/embed "A man is eating." "Someone has a meal." "The sky is blue."
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/embed/bert"
)

const usage = `usage: embed [flags] SENTENCE...

Prints the cosine of the angle between the embeddings of each two sentences. Without any it reads them from
standard input, one in a line. Of a sentence the first 256 tokens count.

`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// mostTokens is how many tokens of a sentence count, as the model's makers have it.
const mostTokens = 256

func main() { os.Exit(command(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// command carries out a command line and returns the exit code.
func command(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("embed", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	model := f.String("model", "testdata/models/all-MiniLM-L6-v2", "`folder` with config.json, vocab.txt and model.safetensors")
	workers := f.Int("workers", 0, "most `goroutines` to compute on, GOMAXPROCS by default")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "embed: %v\n", err)
		return exitUsage
	}
	if err := run(*model, *workers, f.Args(), stdin, stdout); err != nil {
		fmt.Fprintf(stderr, "embed: %s\n", strings.TrimPrefix(strings.TrimPrefix(err.Error(), "bert: "), "qkv: "))
		return exitFailed
	}
	return exitOK
}

func run(dir string, workers int, sentences []string, stdin io.Reader, stdout io.Writer) error {
	engine, err := qkv.New(qkv.Config{Workers: workers})
	if err != nil {
		return err
	}
	m, err := bert.Load(engine, dir, qkv.PrecisionFloat32)
	if err != nil {
		return err
	}
	defer m.Close()
	if len(sentences) == 0 {
		lines := bufio.NewScanner(stdin)
		for lines.Scan() {
			sentences = append(sentences, lines.Text())
		}
		if err := lines.Err(); err != nil {
			return err
		}
	}
	var texts [][]int32
	for _, s := range sentences {
		texts = append(texts, m.Tokenizer.Encode(s, min(mostTokens, m.Context)))
	}
	y := make([]float32, len(texts)*m.Width)
	if err := bert.NewEncoder(m).Embed(y, texts); err != nil {
		return err
	}
	for i, s := range sentences {
		for j := range sentences {
			cosine := 0.0
			for k := range m.Width {
				cosine += float64(y[i*m.Width+k]) * float64(y[j*m.Width+k])
			}
			fmt.Fprintf(stdout, "%7.3f", cosine)
		}
		fmt.Fprintf(stdout, "  %s\n", s)
	}
	return nil
}
