package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/cmd/qkv/npy"
)

// An array is the content of a .npy file: float32 in row-major order.
type array struct {
	dims []int
	data []float32
}

const npyChunk = 256 << 10 // bytes converted at a time; a header is shorter

// readNPY reads a file of floating-point numbers as float32. It allocates no more than a few
// times what the file holds, whatever the header promises.
func readNPY(path string) (a array, err error) {
	err = readFile(path, func(r io.Reader, size int64) error {
		a, err = decodeNPY(r, size)
		return err
	})
	return a, err
}

// readBools reads a file of bool, or of uint8 where all but 0 is true. It returns the
// lengths of the axes too.
func readBools(path string) (dims []int, bools []bool, err error) {
	err = readFile(path, func(r io.Reader, size int64) error {
		dims, bools, err = decodeBools(r, size)
		return err
	})
	return dims, bools, err
}

// decodeNPY reads an array from r, which has size bytes, -1 if that is not known.
func decodeNPY(r io.Reader, size int64) (array, error) {
	dims, data, err := decodeElements(r, size, floats, "float32, float64 or float16 is needed: numpy.save(file, x.astype('float32')) writes it")
	return array{dims, data}, err
}

// decodeBools reads booleans as decodeNPY reads numbers.
func decodeBools(r io.Reader, size int64) ([]int, []bool, error) {
	return decodeElements(r, size, booleans, "bool or uint8 is needed: numpy.save(file, x.astype(bool)) writes it")
}

// An elem is how elements lie in a file: their width in bytes, and what they become. One
// that cannot become a T ends the decoding, which returns its place and value.
type elem[T any] struct {
	width  int
	decode func(to []T, from []byte, order binary.ByteOrder) (bad int, value float64)
}

// The elements that files may have, by the letters and the width that NumPy gives them.
var (
	floats = map[string]elem[float32]{
		"f2": {2, func(to []float32, from []byte, order binary.ByteOrder) (int, float64) {
			for i := range to {
				to[i] = qkv.Float16(order.Uint16(from[2*i:])).Float32()
			}
			return -1, 0
		}},
		"f4": {4, func(to []float32, from []byte, order binary.ByteOrder) (int, float64) {
			binary.Decode(from, order, to)
			return -1, 0
		}},
		"f8": {8, func(to []float32, from []byte, order binary.ByteOrder) (int, float64) {
			for i := range to {
				x := math.Float64frombits(order.Uint64(from[8*i:]))
				if to[i] = float32(x); math.IsInf(float64(to[i]), 0) && !math.IsInf(x, 0) {
					return i, x
				}
			}
			return -1, 0
		}},
	}
	booleans = map[string]elem[bool]{"b1": truth, "u1": truth}
	truth    = elem[bool]{1, func(to []bool, from []byte, _ binary.ByteOrder) (int, float64) {
		for i := range to {
			to[i] = from[i] != 0
		}
		return -1, 0
	}}
)

// dtypeNames are other names that NumPy reads.
var dtypeNames = map[string]string{
	"e": "f2", "f": "f4", "d": "f8", "?": "b1", "B": "u1",
	"float16": "f2", "float32": "f4", "float64": "f8", "bool": "b1", "uint8": "u1",
}

// byteOrder splits a dtype into the order of its bytes and the rest. One that says none means
// that of this machine, as it does to NumPy.
func byteOrder(dtype string) (binary.ByteOrder, string) {
	var order binary.ByteOrder = binary.LittleEndian
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		order = binary.BigEndian
	}
	if dtype != "" {
		switch rest := dtype[1:]; dtype[0] {
		case '<':
			return binary.LittleEndian, rest
		case '>':
			return binary.BigEndian, rest
		case '=', '|':
			return order, rest
		}
	}
	return order, dtype
}

// decodeElements reads elements of one of the kinds; needed says which these are.
func decodeElements[T any](r io.Reader, size int64, kinds map[string]elem[T], needed string) (dims []int, data []T, err error) {
	b := bufio.NewReaderSize(r, npyChunk)
	header, length, err := npy.ReadHeader(b)
	if err != nil {
		return nil, nil, err
	}
	order, name := byteOrder(header.DType)
	if known, ok := dtypeNames[name]; ok {
		name = known
	}
	kind, ok := kinds[name]
	if !ok {
		if strings.HasPrefix(name, "V") { // what NumPy makes of the types of others
			return nil, nil, fmt.Errorf("its dtype is %s, bytes of a type that NumPy does not know, such as bfloat16; %s", header.DType, needed)
		}
		return nil, nil, fmt.Errorf("its dtype is %s, %s", header.DType, needed)
	}
	dims = header.Shape
	n, err := elements(dims)
	if err != nil {
		return nil, nil, err
	}
	width := kind.width
	const promised = "its shape %s needs %d bytes of data, it has %d"
	if have := size - int64(length); size >= 0 && have != int64(width)*int64(n) {
		return nil, nil, fmt.Errorf(promised, npy.Tuple(dims), int64(width)*int64(n), have)
	}

	data = []T{}
	if size >= 0 {
		data = make([]T, 0, n)
	}
	buf := make([]byte, npyChunk)
	for len(data) < n {
		want := min(len(buf)/width, n-len(data))
		got, err := io.ReadFull(b, buf[:width*want])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, nil, fmt.Errorf(promised, npy.Tuple(dims), int64(width)*int64(n), int64(width)*int64(len(data))+int64(got))
		} else if err != nil {
			return nil, nil, err
		}
		begin := len(data)
		data = slices.Grow(data, want)[:begin+want]
		if bad, x := kind.decode(data[begin:], buf[:width*want], order); bad >= 0 {
			return nil, nil, fmt.Errorf("element %d is %g, which float32 cannot hold", begin+bad, x)
		}
	}
	if _, err := b.ReadByte(); err == nil {
		return nil, nil, fmt.Errorf("it has more data than its shape %s needs", npy.Tuple(dims))
	} else if err != io.EOF {
		return nil, nil, err
	}
	if header.Fortran {
		data = rowMajor(data, dims)
	}
	return dims, data, nil
}

// rowMajor reorders what changes fastest along the first axis.
func rowMajor[T any](data []T, dims []int) []T {
	to := make([]T, 0, len(data))
	strides := make([]int, len(dims))
	stride := 1
	for i, d := range dims {
		strides[i] = stride
		stride *= d
	}
	index := make([]int, len(dims))
	for at := 0; len(to) < len(data); {
		to = append(to, data[at])
		for i := len(dims) - 1; i >= 0; i-- { // the last axis first
			index[i]++
			at += strides[i]
			if index[i] < dims[i] {
				break
			}
			at -= index[i] * strides[i]
			index[i] = 0
		}
	}
	return to
}

// elements returns the product of the dims, whose bytes fit an int, as float64 too.
func elements(dims []int) (int, error) {
	n := uint64(1)
	for _, d := range dims {
		if d < 0 {
			return 0, fmt.Errorf("its shape %s has a negative length", npy.Tuple(dims))
		}
		if d > math.MaxInt32 { // also beside a 0, which hides it from the product
			return 0, fmt.Errorf("its shape %s is too large", npy.Tuple(dims))
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt/8 {
			return 0, fmt.Errorf("its shape %s is too large", npy.Tuple(dims))
		}
		n = lo
	}
	return int(n), nil
}

// encode writes the array.
func (a array) encode(w io.Writer) error {
	if _, err := w.Write(npy.Header{DType: "<f4", Shape: a.dims}.Append(nil)); err != nil {
		return err
	}
	buf := make([]byte, 0, npyChunk)
	for part := range slices.Chunk(a.data, npyChunk/4) {
		buf, err := binary.Append(buf, binary.LittleEndian, part)
		if err != nil {
			return err
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}
