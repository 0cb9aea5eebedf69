package main

import (
	"fmt"
	"io"
	"os"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

// standard is the name of standard input among inputs, and of standard output among outputs.
// A file of that name is ./-.
const standard = "-"

// maxInput is the most bytes of a document that is read whole.
const maxInput = 64 << 20

// stdin is what inputs named standard read. Tests replace it.
var stdin io.Reader = os.Stdin

// inputName is an input in a message.
func inputName(path string) string {
	if path == standard {
		return "standard input"
	}
	return path
}

// An inputError is that of a package about an input, and names it.
type inputError struct {
	path string
	err  error
}

func (e inputError) Error() string { return inputName(e.path) + ": " + plain(e.err) }

func (e inputError) Unwrap() error { return e.err }

// readFile opens an input and decodes it, of -1 bytes if its size is not known.
func readFile(path string, decode func(r io.Reader, size int64) error) error {
	r, size := stdin, int64(-1)
	if path != standard {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil {
			return err
		} else if info.IsDir() {
			return fmt.Errorf("%s is a directory", path)
		} else if info.Mode().IsRegular() {
			size = info.Size()
		}
		r = f
	}
	if err := decode(r, size); err != nil {
		return fmt.Errorf("%s: %w", inputName(path), err)
	}
	return nil
}

// readAll reads an input of at most so many bytes.
func readAll(path string, most int64) (data []byte, err error) {
	err = readFile(path, func(r io.Reader, _ int64) error {
		if data, err = io.ReadAll(io.LimitReader(r, most+1)); err == nil && int64(len(data)) > most {
			err = fmt.Errorf("it has more than %d bytes", most)
		}
		return err
	})
	return data, err
}

// readRecord reads a record of qkv bench.
func readRecord(path string) (*bench.Document, error) {
	data, err := readAll(path, maxInput)
	if err != nil {
		return nil, err
	}
	d, err := bench.ParseDocument(data)
	if err != nil {
		return nil, &bench.RecordError{Name: inputName(path), Err: err}
	}
	return d, nil
}

// readTuning reads a file of qkv tune.
func readTuning(path string) (*qkv.Tuning, error) {
	data, err := readAll(path, maxInput)
	if err != nil {
		return nil, err
	}
	t, err := qkv.ParseTuning(data)
	if err != nil {
		return nil, inputError{path, err}
	}
	return t, nil
}
