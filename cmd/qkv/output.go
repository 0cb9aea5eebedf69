package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/term"
)

// An output is a file being written under another name, which takes its own name when it is
// complete. A file that was there keeps its mode and owner, and its other names. What is no
// regular file, such as a pipe, is written in place.
type output struct {
	path  string // empty if written in place
	temp  string
	file  *os.File  // nil if it is not ours to close
	to    io.Writer // file, or standard output
	copy  bool      // the content goes into the file that is there
	fresh bool      // nothing had the name before
}

func createOutput(path string, stdout io.Writer) (*output, error) {
	if path == standard {
		return &output{to: stdout}, nil
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().IsRegular() {
		path = resolve(path) // a link keeps pointing where it does; that to a pipe names none
	}
	dir, name := filepath.Split(path)
	switch {
	case err != nil && name == "":
		return nil, fmt.Errorf("%q names no file", path)
	case err != nil:
		info = nil // there is none, or creating one says what is wrong
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory", path)
	default:
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return &output{file: f, to: f}, nil
		}
		f.Close() // it may be written
	}
	o := &output{path: path, copy: info != nil && hasOtherNames(info), fresh: info == nil}
	if err := o.create(dir, name, info); err != nil {
		return nil, withPath(err, path)
	}
	o.to = o.file
	return o, nil
}

// create opens the file that is written, beside what info describes if anything is there.
func (o *output) create(dir, name string, info fs.FileInfo) (err error) {
	mode := fs.FileMode(0o666)
	if info != nil {
		mode = 0o600 // until it is known whose it is
	}
	for {
		o.temp = filepath.Join(dir, "."+name+"."+strconv.FormatUint(rand.Uint64(), 36))
		o.file, err = temporaries.create(o.temp, mode)
		if !errors.Is(err, os.ErrExist) {
			break
		}
	}
	if info == nil {
		return err
	}
	if errors.Is(err, os.ErrPermission) { // no new file in this folder
		o.copy = true
		o.temp = filepath.Join(os.TempDir(), "qkv-"+strconv.FormatUint(rand.Uint64(), 36))
		o.file, err = temporaries.create(o.temp, mode)
	}
	if err != nil || o.copy {
		return err
	}
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	if keepOwner(o.file, info) != nil || o.file.Chmod(info.Mode()&bits) != nil {
		o.copy = true
	}
	return nil
}

// resolve returns the file that a path leads to through links, which need not exist.
func resolve(path string) string {
	const most = 40 // links of links
	for range most {
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	dir, name := filepath.Split(path)
	if dir != "" {
		if real, err := filepath.EvalSymlinks(dir); err == nil && name != "" {
			return filepath.Join(real, name)
		}
	}
	return path
}

// withPath replaces the path that an error is about with the one that the user knows.
func withPath(err error, path string) error {
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return &os.PathError{Op: e.Op, Path: path, Err: e.Err}
	}
	return err
}

// discard removes what was written.
func (o *output) discard() {
	if o.file != nil {
		o.file.Close()
	}
	if o.temp != "" {
		temporaries.remove(o.temp)
	}
}

// take gives what was written its name.
func (o *output) take() error {
	if o.file == nil {
		return nil
	}
	if o.copy {
		if err := o.copyInto(); err != nil {
			return withPath(err, o.path)
		}
		return nil // discard removes the copy
	}
	if err := o.file.Close(); err != nil {
		return withPath(err, o.path)
	}
	if o.temp != "" {
		if err := os.Rename(o.temp, o.path); err != nil {
			return err
		}
		o.temp = ""
	}
	return nil
}

// copyInto writes the content over that of the file that is there.
func (o *output) copyInto() error {
	size, err := o.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(o.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	before, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		err = overwrite(f, before, o.file, size)
	}
	return errors.Join(err, f.Close())
}

// A writable is a file that is written over.
type writable interface {
	io.WriterAt
	Sync() error
	Truncate(size int64) error
}

// overwrite gives a file of so many bytes other content. What goes beyond its end comes first:
// where there is no room for that, the file is cut back to what it was. The rest needs no room,
// unless the file has holes or its file system writes elsewhere than in place. There, and where
// the machine stops, a part of the content may be what is left.
func overwrite(f writable, before int64, content io.ReaderAt, size int64) error {
	write := func(from, to int64) error {
		_, err := io.Copy(io.NewOffsetWriter(f, from), io.NewSectionReader(content, from, to-from))
		return err
	}
	if size > before {
		err := write(before, size)
		if err == nil {
			err = f.Sync() // some tell only now that there is no room
		}
		if err != nil {
			return errors.Join(err, f.Truncate(before))
		}
	}
	if err := write(0, min(before, size)); err != nil {
		return err
	}
	return f.Truncate(size)
}

// A content is what goes into the file of that path.
type content struct {
	path  string
	write func(io.Writer) error
}

// outputs are files that take their names together.
type outputs struct {
	stdout io.Writer
	list   []*output
}

func (o *outputs) create(path string) (io.Writer, error) {
	out, err := createOutput(path, o.stdout)
	if err != nil {
		return nil, err
	}
	o.list = append(o.list, out)
	return out.to, nil
}

func (o *outputs) discard() {
	for _, out := range o.list {
		out.discard()
	}
}

// commit takes all of them, unless the process is ended.
func (o *outputs) commit() error {
	defer o.discard()
	return temporaries.commit(o.take)
}

// take gives the files their names or, if that fails, leaves none that was not there.
func (o *outputs) take() error {
	for i, out := range o.list {
		if err := out.take(); err != nil {
			for _, done := range o.list[:i] {
				if done.fresh {
					os.Remove(done.path)
				}
			}
			return err
		}
	}
	return nil
}

// writeFiles writes all of the files or, if anything fails or ctx is canceled, none.
func writeFiles(ctx context.Context, stdout io.Writer, files ...content) error {
	all := outputs{stdout: stdout}
	write := func() error {
		for _, f := range files {
			if _, err := all.create(f.path); err != nil {
				return err
			}
		}
		for i, f := range files {
			if err := f.write(all.list[i].to); err != nil {
				return withPath(err, f.path)
			}
		}
		return ctx.Err()
	}
	if err := write(); err != nil {
		all.discard()
		return err
	}
	return all.commit()
}

// A flagFile is a file that an argument names, or an empty path.
type flagFile struct{ flag, path string }

// checkFiles reports an output that is an input or another output, by whichever name, and a
// standard stream that is given twice.
func checkFiles(inputs, outputs []flagFile) error {
	for i, in := range inputs {
		for _, other := range inputs[:i] {
			if in.path == standard && other.path == standard {
				return badUsage("%s and %s both read standard input", other.flag, in.flag)
			}
		}
	}
	for i, out := range outputs {
		for _, other := range outputs[:i] {
			if sameFile(out.path, other.path) {
				return badUsage("%s and %s name the same file", other.flag, out.flag)
			}
		}
		for _, in := range inputs {
			if out.path != standard && sameFile(out.path, in.path) {
				return badUsage("%s is %s, which is what %s reads", out.flag, out.path, in.flag)
			}
		}
	}
	return nil
}

// sameFile reports whether two paths are given that name one file. A device or a pipe is no
// file.
func sameFile(a, b string) bool {
	switch {
	case a == "" || b == "":
		return false
	case a == standard || b == standard:
		return a == b
	}
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return x.Mode().IsRegular() && os.SameFile(x, y)
	}
	return absolute(a) == absolute(b)
}

func absolute(path string) string {
	path = resolve(path)
	if abs, err := filepath.Abs(path); err == nil {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
			return filepath.Join(dir, filepath.Base(abs))
		}
		return abs
	}
	return path
}

// checkWritable reports early that writeFiles will fail.
func checkWritable(paths ...string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil && !info.IsDir() && !info.Mode().IsRegular() {
			continue // opening a pipe waits for its reader
		}
		o, err := createOutput(path, nil)
		if err != nil {
			return err
		}
		o.discard()
	}
	return nil
}

// checkBinary reports bytes that would go to a terminal.
func checkBinary(stdout io.Writer, flag, path string) error {
	if path == standard && isTerminal(stdout) {
		return badUsage("%s is standard output, a terminal, to which no binary data is written", flag)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// reading returns where the text for a reader goes: to standard output, unless that takes one
// of the files.
func reading(stdout, stderr io.Writer, paths ...string) io.Writer {
	if slices.Contains(paths, standard) {
		return stderr
	}
	return stdout
}
