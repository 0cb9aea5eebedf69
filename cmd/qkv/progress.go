package main

import (
	"io"
	"os"
	"strings"
	"sync"

	"github.com/rivo/uniseg"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows on a terminal how far the work is. Elsewhere it is nil, and silent.
type progress struct {
	bar     *progressbar.ProgressBar
	columns func() int // of the terminal, 0 if unknown
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
	), func() int {
		columns, _, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 0
		}
		return columns
	}}
}

// fitting is the beginning of a step's name that has room beside the rest of the line, of
// which the bar itself gives way: a line that wraps could not be taken away.
func fitting(step string, columns int) string {
	const rest = len(" 100% || (1000/1000) [59m59s] ")
	room := columns - rest
	switch {
	case columns == 0 || uniseg.StringWidth(step) <= room:
		return step
	case room < 4: // says nothing
		return ""
	}
	var b strings.Builder
	width := 1 // of the dots
	for g := uniseg.NewGraphemes(step); g.Next(); b.WriteString(g.Str()) {
		if width += g.Width(); width > room {
			break
		}
	}
	return b.String() + "…"
}

// A percent shows on a terminal how much of one step is done. Elsewhere it shows nothing.
type percent struct {
	progress *progress
	mu       sync.Mutex
	most     int
}

func newPercent(w io.Writer, step string) *percent {
	s := &percent{progress: newProgress(w, 100)}
	s.progress.begin(step)
	return s
}

// to shows what is done if it is a percent more. It may be called by several goroutines at once.
func (s *percent) to(done, of int) {
	if s.progress == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := int(100 * int64(done) / int64(of)); n > s.most {
		s.most = n
		s.progress.bar.Set(n)
	}
}

func (s *percent) finish() { s.progress.finish() }

// begin names the step that begins.
func (p *progress) begin(step string) {
	if p != nil {
		p.bar.Describe(fitting(step, p.columns()))
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
