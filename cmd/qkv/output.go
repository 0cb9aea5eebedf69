package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// An output is a file being written under another name beside its own, which it takes
// when it is complete. What is no regular file, such as a pipe, is written in place.
type output struct {
	path string // empty if written in place
	temp string
	file *os.File
}

func createOutput(path string) (*output, error) {
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return nil, fmt.Errorf("%s is a directory", path)
		}
		if !info.Mode().IsRegular() {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			return &output{file: f}, err
		}
		// A link keeps pointing where it does.
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, err
		}
	}
	dir, name := filepath.Split(path)
	if name == "" {
		return nil, fmt.Errorf("%q names no file", path)
	}
	for {
		temp := filepath.Join(dir, "."+name+"."+strconv.FormatUint(rand.Uint64(), 36))
		f, err := temporaries.create(temp)
		if errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return nil, withPath(err, path)
		}
		return &output{path: path, temp: temp, file: f}, nil
	}
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
	o.file.Close()
	if o.temp != "" {
		temporaries.remove(o.temp)
	}
}

// A content is what goes into the file of that path.
type content struct {
	path  string
	write func(io.Writer) error
}

// outputs are files that take their names together.
type outputs []*output

func (o *outputs) create(path string) (io.Writer, error) {
	out, err := createOutput(path)
	if err != nil {
		return nil, err
	}
	*o = append(*o, out)
	return out.file, nil
}

func (o outputs) discard() {
	for _, out := range o {
		out.discard()
	}
}

// commit gives the files their names or, if that fails, leaves none.
func (o outputs) commit() error {
	defer o.discard()
	for _, out := range o {
		if err := out.file.Close(); err != nil {
			return withPath(err, out.path)
		}
	}
	return temporaries.commit(o.rename)
}

// rename gives the files their names or, if that fails, leaves none.
func (o outputs) rename() error {
	for i, out := range o {
		if out.temp == "" {
			continue
		}
		if err := os.Rename(out.temp, out.path); err != nil {
			for _, done := range o[:i] {
				if done.path != "" {
					os.Remove(done.path)
				}
			}
			return err
		}
		out.temp = ""
	}
	return nil
}

// writeFiles writes all of the files or, if anything fails or ctx is canceled, none.
func writeFiles(ctx context.Context, files ...content) error {
	var all outputs
	write := func() error {
		for _, f := range files {
			if _, err := all.create(f.path); err != nil {
				return err
			}
		}
		for i, f := range files {
			if err := f.write(all[i].file); err != nil {
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

// A flagFile is a file that a flag names, or an empty path.
type flagFile struct{ flag, path string }

// checkDistinct reports two flags that name the same file.
func checkDistinct(files ...flagFile) error {
	for i, a := range files {
		for _, b := range files[:i] {
			if sameFile(a.path, b.path) {
				return badUsage("-%s and -%s name the same file", b.flag, a.flag)
			}
		}
	}
	return nil
}

// sameFile reports whether two paths are given that name one file. A device or a pipe is no
// file.
func sameFile(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return x.Mode().IsRegular() && os.SameFile(x, y)
	}
	return filepath.Clean(a) == filepath.Clean(b)
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
		o, err := createOutput(path)
		if err != nil {
			return err
		}
		o.discard()
	}
	return nil
}
