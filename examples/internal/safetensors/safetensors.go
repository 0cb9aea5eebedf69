// Package safetensors reads files in the format safetensors, of https://github.com/huggingface/safetensors:
// named tensors, which are not copied: they are parts of the file, which [Open] maps into memory.
//
// A file is not trusted: what it says of lengths, shapes and offsets is held against its size first.
package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/examples/internal/mapped"
	"github.com/qkv-go/qkv/internal/jsontree"
)

// maxHeader is how long the header may be, as the format says.
const maxHeader = 100_000_000

// A File is a file that has been read, or all files of a model. It does not change.
type File struct {
	Names   []string // of the tensors, in the order in which they lie
	tensors map[string]*Tensor
	files   []*mapped.File
}

// A Tensor is one of a file.
type Tensor struct {
	Name  string
	Type  string // as "F32" or "BF16"
	Shape []int  // the last is that of a row, whose elements lie side by side; none of a single number
	Data  []byte // part of the file

	begin, end uint64
}

// types are those of the format, their bytes, and what the library calls them.
var types = map[string]struct {
	bytes  int
	weight qkv.WeightType
	known  bool
}{
	"F32": {4, qkv.WeightFloat32, true}, "F16": {2, qkv.WeightFloat16, true}, "BF16": {2, qkv.WeightBFloat16, true},
	"F64": {bytes: 8}, "I64": {bytes: 8}, "U64": {bytes: 8}, "I32": {bytes: 4}, "U32": {bytes: 4}, "I16": {bytes: 2}, "U16": {bytes: 2},
	"I8": {bytes: 1}, "U8": {bytes: 1}, "BOOL": {bytes: 1}, "F8_E4M3": {bytes: 1}, "F8_E5M2": {bytes: 1},
}

// Open maps a file and reads it. Close it when its tensors are not used any more. The error is that of [Parse], with
// the file, or that of the operating system.
func Open(path string) (*File, error) {
	f, m, err := mapped.Read(path, Parse)
	if x := new(TensorError); errors.As(err, &x) {
		x.File = path
		return nil, x
	}
	if err != nil {
		return nil, err
	}
	f.files = []*mapped.File{m}
	return f, nil
}

// Close gives the memory of the files back.
func (f *File) Close() error {
	var all []error
	for _, m := range f.files {
		all = append(all, m.Close())
	}
	f.files = nil
	return errors.Join(all...)
}

// Tensor returns the tensor of a name, nil if there is none.
func (f *File) Tensor(name string) *Tensor { return f.tensors[name] }

// Parse reads the contents of a file, of which the tensors are parts. The error is a [*TensorError] where a tensor is
// not what the file says, or not all there.
func Parse(data []byte) (*File, error) {
	f, err := parse(data)
	if err != nil {
		if errors.As(err, new(*TensorError)) {
			return nil, err
		}
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return f, nil
}

func parse(data []byte) (*File, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("the file has %d bytes, at least 8 are needed", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if data = data[8:]; n > maxHeader || n > uint64(len(data)) {
		return nil, fmt.Errorf("the header has %d bytes, up to %d are supported", n, min(maxHeader, len(data)))
	}
	header, err := jsontree.Parse(data[:n], 3)
	if err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	data = data[n:]
	f := &File{tensors: map[string]*Tensor{}}
	for name, x := range header {
		if name == "__metadata__" {
			continue
		}
		t, err := tensor(name, x)
		if err != nil {
			return nil, err
		}
		f.Names, f.tensors[name] = append(f.Names, name), t
	}
	slices.SortFunc(f.Names, func(a, b string) int {
		x, y := f.tensors[a], f.tensors[b]
		switch {
		case x.begin < y.begin, x.begin == y.begin && (x.end < y.end || x.end == y.end && a < b):
			return -1
		}
		return 1
	})
	// The tensors are all of the file, one behind the other.
	at := uint64(0)
	for _, name := range f.Names {
		t := f.tensors[name]
		if t.begin != at {
			return nil, sizes(name, t.begin, at, "it lies from %d to %d, where the one before ends at %d", t.begin, t.end, at)
		}
		if t.end > uint64(len(data)) {
			return nil, sizes(name, uint64(len(data)), t.end, "it lies from %d to %d, the file has %d bytes for tensors: it is not whole", t.begin, t.end, len(data))
		}
		at = t.end
		t.Data = data[t.begin:t.end:t.end]
	}
	if at != uint64(len(data)) {
		return nil, fmt.Errorf("the tensors have %d bytes, the file has %d for them", at, len(data))
	}
	return f, nil
}

// tensor reads what the header says of a tensor.
func tensor(name string, x any) (*Tensor, error) {
	o, _ := x.(jsontree.Object)
	t, fail := &Tensor{Name: name}, func(format string, args ...any) (*Tensor, error) { return nil, sizes(name, 0, 0, format, args...) }
	t.Type, _ = o["dtype"].(string)
	typ, ok := types[t.Type]
	if !ok {
		return fail("its type %.20q is not known", t.Type)
	}
	shape, ok := integers(o["shape"])
	offsets, ok2 := integers(o["data_offsets"])
	if !ok || !ok2 || len(offsets) != 2 || offsets[0] > offsets[1] {
		return fail("it needs a shape and data_offsets, of integers from 0 on")
	}
	size := uint64(typ.bytes)
	for _, d := range shape {
		hi, lo := bits.Mul64(size, d)
		if hi != 0 || lo > math.MaxInt || d > math.MaxInt { // beside a 0, any d gives 0
			return fail("its shape %v is too large", shape)
		}
		size = lo
		t.Shape = append(t.Shape, int(d))
	}
	if t.begin, t.end = offsets[0], offsets[1]; t.end-t.begin != size {
		return nil, sizes(name, t.end-t.begin, size, "it lies from %d to %d, its shape %v of %s has %d bytes", t.begin, t.end, shape, t.Type, size)
	}
	return t, nil
}

// integers returns those of a list, of 0 to less than 2^53.
func integers(x any) ([]uint64, bool) {
	list, ok := x.([]any)
	all := make([]uint64, len(list))
	for i, v := range list {
		n, isNumber := v.(float64)
		if !isNumber || n != math.Trunc(n) || n < 0 || n >= 1<<53 {
			return nil, false
		}
		all[i] = uint64(n)
	}
	return all, ok
}

// Size returns the rows and columns of the tensor as a matrix, over all dims before the last.
func (t *Tensor) Size() (rows, cols int) {
	rows, cols = 1, 1
	for i, d := range t.Shape {
		if i == len(t.Shape)-1 {
			cols = d
		} else {
			rows *= d
		}
	}
	return rows, cols
}

// WeightType returns what the library calls the type of the elements. The error is for one that it has not.
func (t *Tensor) WeightType() (qkv.WeightType, error) {
	typ := types[t.Type]
	if !typ.known {
		return 0, fmt.Errorf("safetensors: tensor %q is of type %s, which is not supported", t.Name, t.Type)
	}
	return typ.weight, nil
}

// Matrix returns the tensor as a matrix of weights, in the file. The error is that of [Tensor.WeightType].
func (t *Tensor) Matrix() (qkv.Matrix, error) {
	typ, err := t.WeightType()
	if err != nil {
		return qkv.Matrix{}, err
	}
	rows, cols := t.Size()
	return qkv.WeightMatrix(typ, t.Data, rows, cols), nil
}

// Float32 returns a copy of the elements. The error is that of [Tensor.WeightType].
func (t *Tensor) Float32() ([]float32, error) {
	typ, err := t.WeightType()
	if err != nil {
		return nil, err
	}
	x := make([]float32, len(t.Data)/types[t.Type].bytes)
	if err := qkv.Dequantize(typ, x, t.Data); err != nil {
		return nil, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
	}
	return x, nil
}
