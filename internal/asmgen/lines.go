package asmgen

import (
	"bytes"
	"slices"
	"strings"
)

// joint stands for the end of a line that the next one must follow.
const joint = "\x00"

// together writes what emit does, to be captured as one line: it has the scratch register
// from beginning to end.
func (f *Func) together(emit func()) {
	lines := strings.Join(f.capture(emit), "")
	f.body.WriteString(strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", joint) + "\n")
}

// capture returns the lines that emit writes, without writing them.
func (f *Func) capture(emit func()) []string {
	written := f.body
	f.body = bytes.Buffer{}
	emit()
	lines := slices.Collect(strings.Lines(f.body.String()))
	f.body = written
	return lines
}

// write writes lines.
func (f *Func) write(lines []string) {
	for _, l := range lines {
		f.body.WriteString(strings.ReplaceAll(l, joint, "\n"))
	}
}
