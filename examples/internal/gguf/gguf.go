// Package gguf reads GGUF, the file format of ggml: metadata and tensors. Tensors are not copied:
// they are parts of the file, which [Open] maps into memory. The format is that of
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
//
// A file is not trusted. What it says of lengths, counts, dims and offsets is held against its size
// before anything is allocated; what is allocated is a small multiple of the file at most.
package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/qkv-go/qkv/examples/internal/mapped"
)

// What the format bounds, or files that are meant to be read.
const (
	maxKey  = 1<<16 - 1 // bytes of a key
	maxName = 64        // bytes of a tensor's name, the last of them a 0 in ggml's memory
	maxDims = 4
	maxSize = 1 << 16 // of an alignment
)

// A File is a file that has been read. It does not change.
type File struct {
	Version   int
	Alignment int      // of the tensors
	Keys      []string // of the metadata, in the order of the file
	Tensors   []Tensor // in the order of the file

	values map[string]value
	byName map[string]int
	file   *mapped.File
}

// Open maps a file and reads it. Close it when its tensors are not used any more.
func Open(path string) (*File, error) {
	f, m, err := mapped.Read(path, Parse)
	if err != nil {
		return nil, err
	}
	f.file = m
	return f, nil
}

// Close gives the memory of the file back. Strings that were had of it remain.
func (f *File) Close() error { return f.file.Close() }

// Tensor returns the tensor of a name, nil if there is none.
func (f *File) Tensor(name string) *Tensor {
	if i, ok := f.byName[name]; ok {
		return &f.Tensors[i]
	}
	return nil
}

// Parse reads the contents of a file, of which the tensors are parts.
func Parse(data []byte) (*File, error) {
	r := reader{data: data}
	f, err := r.file()
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	return f, nil
}

// A reader goes through a file. It keeps the first error, and is at the end then.
type reader struct {
	data []byte
	at   int
	err  error
}

var errShort = errors.New("the file ends too early")

// fail keeps an error.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.at = len(r.data)
}

// left is how many bytes there are.
func (r *reader) left() int { return len(r.data) - r.at }

// bytes returns the next n bytes, nil if there are fewer.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(r.left()) {
		if r.err == nil {
			r.err = errShort
		}
		r.at = len(r.data)
		return nil
	}
	r.at += int(n)
	return r.data[r.at-int(n) : r.at : r.at]
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count reads how many of something follow, of which each takes some bytes at least.
func (r *reader) count(what string, least int) int {
	n := r.uint64()
	if n > uint64(r.left()/least) {
		r.fail("%d %s, the %d bytes that are left have %d at most", n, what, r.left(), r.left()/least)
		return 0
	}
	return int(n)
}

// text reads a string.
func (r *reader) text() []byte { return r.bytes(r.uint64()) }

// file reads everything.
func (r *reader) file() (*File, error) {
	if magic := r.bytes(4); string(magic) != "GGUF" {
		return nil, fmt.Errorf("the file begins with %q, GGUF is needed", magic)
	}
	version := r.uint32()
	switch {
	case r.err != nil:
		return nil, r.err
	case version != 2 && version != 3 && bits.ReverseBytes32(version) <= 3:
		return nil, errors.New("the file is big-endian, little-endian is supported")
	case version != 2 && version != 3:
		return nil, fmt.Errorf("the file is of version %d, 2 and 3 are supported", version)
	}
	tensors := r.count("tensors", 8+4+4+8)
	keys := r.count("keys", 8+4+1)
	f := &File{
		Version: int(version), Alignment: 32,
		values: map[string]value{}, byName: map[string]int{},
	}
	for range keys {
		key := r.text()
		v := r.value(valueType(r.uint32()))
		if r.err != nil {
			return nil, fmt.Errorf("key %d, %.80q: %w", len(f.Keys), key, r.err)
		}
		if len(key) > maxKey {
			return nil, fmt.Errorf("key %d has %d bytes, up to %d are supported", len(f.Keys), len(key), maxKey)
		}
		if _, ok := f.values[string(key)]; ok {
			return nil, fmt.Errorf("key %.80q is there twice", key)
		}
		f.Keys = append(f.Keys, string(key))
		f.values[string(key)] = v
	}
	if _, ok := f.values["general.alignment"]; ok {
		n, ok := f.Int("general.alignment")
		if !ok || n < 1 || n > maxSize || n&(n-1) != 0 {
			return nil, fmt.Errorf("general.alignment is %d, a power of two up to %d is supported", n, maxSize)
		}
		f.Alignment = int(n)
	}
	var offsets []uint64
	for i := range tensors {
		t, offset, err := r.tensor()
		if err != nil {
			return nil, fmt.Errorf("tensor %d, %.80q: %w", i, t.Name, err)
		}
		if _, ok := f.byName[t.Name]; ok {
			return nil, fmt.Errorf("tensor %.80q is there twice", t.Name)
		}
		f.byName[t.Name] = i
		f.Tensors, offsets = append(f.Tensors, t), append(offsets, offset)
	}
	if r.err != nil {
		return nil, r.err
	}
	return f, f.place(offsets, r)
}

// tensor reads what the file says of a tensor, and where in the part of the tensors it lies.
func (r *reader) tensor() (t Tensor, offset uint64, err error) {
	name := r.text()
	t.Name = string(name[:min(len(name), maxName)])
	n := r.uint32()
	switch {
	case r.err != nil:
		return t, 0, r.err
	case len(name) >= maxName:
		return t, 0, fmt.Errorf("the name has %d bytes, up to %d are supported", len(name), maxName-1)
	case n < 1 || n > maxDims:
		return t, 0, fmt.Errorf("it has %d dims, 1 to %d are supported", n, maxDims)
	}
	elements := uint64(1)
	const most = math.MaxInt / 8 // a value takes 8 bytes at most
	for range n {
		d := r.uint64()
		hi, lo := bits.Mul64(elements, d)
		if r.err == nil && (hi != 0 || lo > most || d < 1) {
			return t, 0, fmt.Errorf("it has a dim of %d beside %v", d, t.Dims)
		}
		elements = lo
		t.Dims = append(t.Dims, int(d))
	}
	t.Type = Type(r.uint32())
	offset = r.uint64()
	if r.err != nil {
		return t, 0, r.err
	}
	info, ok := types[t.Type]
	switch {
	case !ok:
		return t, 0, fmt.Errorf("it is of type %d, which is not known", t.Type)
	case t.Dims[0]%info.values != 0:
		return t, 0, fmt.Errorf("its rows have %d elements, a multiple of %d is needed for %s", t.Dims[0], info.values, info.name)
	}
	t.size = elements / uint64(info.values) * uint64(info.bytes)
	return t, offset, nil
}

// place gives each tensor its part of the file: no two have a byte in common, and none goes beyond the end.
func (f *File) place(offsets []uint64, r *reader) error {
	begin := (r.at + f.Alignment - 1) &^ (f.Alignment - 1)
	have := uint64(max(0, len(r.data)-begin))
	order := make([]int, len(offsets))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		if offsets[i] < offsets[j] || offsets[i] == offsets[j] && i < j {
			return -1
		}
		return 1
	})
	end, last := uint64(0), ""
	for _, i := range order {
		t, offset := &f.Tensors[i], offsets[i]
		switch {
		case offset%uint64(f.Alignment) != 0:
			return fmt.Errorf("tensor %q lies at %d, a multiple of %d is needed", t.Name, offset, f.Alignment)
		case offset > have || t.size > have-offset:
			return fmt.Errorf("tensor %q lies at %d and has %d bytes, the file has %d for tensors", t.Name, offset, t.size, have)
		case offset < end:
			return fmt.Errorf("tensor %q lies at %d, where tensor %q lies as well", t.Name, offset, last)
		}
		end, last = offset+t.size, t.Name
		t.Data = r.data[begin+int(offset) : begin+int(end) : begin+int(end)]
	}
	return nil
}

// String lists the tensors by type.
func (f *File) String() string {
	var b strings.Builder
	counts := map[Type]int{}
	for _, t := range f.Tensors {
		counts[t.Type]++
	}
	for i := range 256 {
		if n := counts[Type(i)]; n > 0 {
			fmt.Fprintf(&b, "%s%d %v", strings.Repeat(", ", min(1, b.Len())), n, Type(i))
		}
	}
	return b.String()
}
