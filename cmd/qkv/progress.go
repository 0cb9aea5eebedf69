package main

import (
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows on a terminal how far the work is. Elsewhere it is nil, and silent.
type progress struct {
	bar *progressbar.ProgressBar
}

func newProgress(w io.Writer, steps int) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &progress{progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(20),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	)}
}

// begin names the step that begins.
func (p *progress) begin(step string) {
	if p != nil {
		p.bar.Describe(step)
	}
}

// done counts a step, and takes the bar away for a line of output.
func (p *progress) done() {
	if p != nil {
		p.bar.Add(1)
		p.bar.Clear()
	}
}

// finish takes the bar away.
func (p *progress) finish() {
	if p != nil {
		p.bar.Finish()
		p.bar.Clear()
	}
}
