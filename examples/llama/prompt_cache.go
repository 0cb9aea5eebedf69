package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/llama/model"
)

// A promptCache is a file with a text, and what the cache has of it: this header, then what [model.Text.Save] writes.
type promptCache struct {
	path    string
	context int         // tokens that the model reads
	head    savedHeader // of this model with these options
}

// A savedHeader is what a file begins with, in little-endian order.
type savedHeader struct {
	Magic  [8]byte
	Of     [sha256.Size]byte // the model, and the options that keys and values depend on
	Tokens uint32            // which the cache has
}

// newPromptCache returns the promptCache of the options.
func newPromptCache(o options, m *file) (*promptCache, error) {
	names := []string{o.model}
	if info, err := os.Stat(o.model); err == nil && info.IsDir() {
		if names, err = filepath.Glob(filepath.Join(o.model, "*.safetensors")); err != nil {
			return nil, err
		}
		names = append(names, filepath.Join(o.model, "config.json"))
	}
	h := sha256.New()
	long := m.Rotary.Scaling.Type == qkv.ScalingLongRoPE && m.Context > m.Rotary.Scaling.OriginalMaxPositions
	fmt.Fprintln(h, o.class, o.kv, o.hadamard, o.values, long)
	for _, name := range names {
		if err := hashEnds(h, name); err != nil {
			return nil, err
		}
	}
	for _, mean := range m.keyMeans {
		if err := binary.Write(h, binary.LittleEndian, mean); err != nil {
			return nil, err
		}
	}
	c := &promptCache{path: o.promptCache, context: m.Context, head: savedHeader{Magic: [8]byte([]byte("qkvtext\x01"))}}
	h.Sum(c.head.Of[:0])
	return c, nil
}

// hashEnds adds a file to a hash: its size, its beginning, which has what it says of itself, and its end, which is weights.
func hashEnds(h io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const part = 1 << 20
	size := info.Size()
	fmt.Fprintln(h, size)
	for _, at := range []int64{0, max(0, size-part)} {
		if _, err := io.Copy(h, io.NewSectionReader(f, at, part)); err != nil {
			return err
		}
	}
	return nil
}

// open opens the file, and returns of how many tokens it has keys and values. Without a file there are none, and nil. The
// error is for a file of another model or other options too.
func (c *promptCache) open() (tokens int, r *os.File, err error) {
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err := os.Stat(filepath.Dir(c.path)) // before the work rather than behind it
		return 0, nil, err
	}
	if err != nil {
		return 0, nil, err
	}
	var head savedHeader
	err = binary.Read(f, binary.LittleEndian, &head)
	switch {
	case err != nil || head.Magic != c.head.Magic:
		err = fmt.Errorf("%s is no file of -prompt-cache", c.path)
	case head.Of != c.head.Of:
		err = fmt.Errorf("%s is of another model, or of other options: -class, -kv, -hadamard, -key-mean, -values, -context", c.path)
	case int64(head.Tokens) > int64(c.context): // before the cache has room for them
		err = fmt.Errorf("%s says %d tokens, the model reads %d", c.path, head.Tokens, c.context)
	}
	if err != nil {
		f.Close()
		return 0, nil, err
	}
	return int(head.Tokens), f, nil
}

// restore returns the text of a file that was opened, with another prompt, and how many tokens of that need not be read. It
// closes the file: not every system puts another in the place of one that is open.
func (c *promptCache) restore(e *model.Engine, f *os.File, prompt []int32, limit int) (*model.Text, int, error) {
	defer f.Close()
	t, err := e.Restore(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", c.path, err)
	}
	kept, err := e.Restart(t, prompt, limit)
	if errors.Is(err, qkv.ErrOverwritten) { // a window does not reach back that far
		return e.NewText(prompt, limit), 0, t.Free()
	}
	return t, kept, err
}

// save writes a text in the place of what the file has.
func (c *promptCache) save(t *model.Text) (err error) {
	f, err := os.CreateTemp(filepath.Dir(c.path), filepath.Base(c.path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	c.head.Tokens = uint32(t.Len())
	w := bufio.NewWriterSize(f, 1<<20)
	if err = cmp.Or(binary.Write(w, binary.LittleEndian, &c.head), t.Save(w), w.Flush()); err != nil {
		f.Close()
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path)
}
