package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"

	"codeberg.org/sbinet/npyio/npy"
)

// An array is the content of a .npy file: float32 in row-major order.
type array struct {
	dims []int
	data []float32
}

const (
	maxHeader = 1 << 16   // bytes: what version 1 of the format can have
	npyChunk  = 256 << 10 // bytes converted at a time
)

// readNPY reads a file of float32. It allocates no more than the file holds, whatever
// the header promises.
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

// readFile opens a file and decodes it, of -1 bytes if its size is not known.
func readFile(path string, decode func(r io.Reader, size int64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size := int64(-1)
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.Mode().IsRegular() {
		size = info.Size()
	}
	if err := decode(f, size); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// decodeNPY reads an array from r, which has size bytes, -1 if that is not known.
func decodeNPY(r io.Reader, size int64) (array, error) {
	dims, data, err := decodeElements[float32](r, size, "little-endian float32 (<f4)", "<f4")
	return array{dims, data}, err
}

// decodeBools reads booleans as decodeNPY reads float32.
func decodeBools(r io.Reader, size int64) ([]int, []bool, error) {
	dims, data, err := decodeElements[uint8](r, size, "bool (|b1) or uint8 (|u1)", "|b1", "|u1")
	if err != nil {
		return nil, nil, err
	}
	bools := make([]bool, len(data))
	for i, x := range data {
		bools[i] = x != 0
	}
	return dims, bools, nil
}

// decodeElements reads elements of one of the dtypes, which needed names, each as a T.
func decodeElements[T float32 | uint8](r io.Reader, size int64, needed string, dtypes ...string) (dims []int, data []T, err error) {
	b := bufio.NewReaderSize(r, npyChunk)
	header, length, err := decodeHeader(b)
	if err != nil {
		return nil, nil, err
	}
	if t := strings.Trim(header.Descr.Type, `'"`); !slices.Contains(dtypes, t) {
		return nil, nil, fmt.Errorf("its dtype is %s, %s is needed", t, needed)
	}
	if header.Descr.Fortran {
		return nil, nil, errors.New("it is in Fortran order, C order is needed")
	}
	dims = header.Descr.Shape
	n, err := elements(dims)
	if err != nil {
		return nil, nil, err
	}
	width := binary.Size(*new(T))
	const promised = "its shape %s needs %d bytes of data, it has %d"
	if have := size - int64(length); size >= 0 && have != int64(width)*int64(n) {
		return nil, nil, fmt.Errorf(promised, dimsString(dims), width*n, have)
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
			return nil, nil, fmt.Errorf(promised, dimsString(dims), width*n, width*len(data)+got)
		} else if err != nil {
			return nil, nil, err
		}
		data = slices.Grow(data, want)[:len(data)+want]
		if _, err := binary.Decode(buf[:width*want], binary.LittleEndian, data[len(data)-want:]); err != nil {
			return nil, nil, err
		}
	}
	if _, err := b.ReadByte(); err == nil {
		return nil, nil, fmt.Errorf("it has more data than its shape %s needs", dimsString(dims))
	} else if err != io.EOF {
		return nil, nil, err
	}
	return dims, data, nil
}

// decodeHeader reads the header and returns its length too. npy.NewReader allocates
// what the header says, and indexes into it unchecked: hence the bound before
// and the recover.
func decodeHeader(b *bufio.Reader) (h npy.Header, length int, err error) {
	start, err := b.Peek(len(npy.Magic) + 6) // the shortest header is longer
	if !bytes.HasPrefix(start, npy.Magic[:]) {
		if err != nil && err != io.EOF {
			return h, 0, err
		}
		return h, 0, errors.New("not a .npy file")
	}
	if err != nil {
		return h, 0, errors.New("its header is cut short")
	}
	at := len(npy.Magic)
	switch major := start[at]; major {
	case 1:
		length = at + 4 + int(binary.LittleEndian.Uint16(start[at+2:]))
	case 2:
		n := binary.LittleEndian.Uint32(start[at+2:])
		if n > maxHeader {
			return h, 0, fmt.Errorf("its header has %d bytes, at most %d make sense", n, maxHeader)
		}
		length = at + 6 + int(n)
	default:
		return h, 0, fmt.Errorf("version %d of the format is not supported", major)
	}
	if _, err := b.Peek(length); err == io.EOF {
		return h, 0, errors.New("its header is cut short")
	} else if err != nil {
		return h, 0, err
	}
	defer func() {
		if recover() != nil {
			h, length, err = npy.Header{}, 0, errors.New("its header is malformed")
		}
	}()
	r, err := npy.NewReader(b)
	if errors.Is(err, strconv.ErrRange) {
		return h, 0, errors.New("its shape is too large")
	} else if err != nil {
		return h, 0, fmt.Errorf("its header is malformed: %w", err)
	}
	return r.Header, length, nil
}

// elements returns the product of the dims, whose bytes fit an int.
func elements(dims []int) (int, error) {
	n := uint64(1)
	for _, d := range dims {
		if d < 0 {
			return 0, fmt.Errorf("its shape %s has a negative length", dimsString(dims))
		}
		if d > math.MaxInt32 { // also beside a 0, which hides it from the product
			return 0, fmt.Errorf("its shape %s is too large", dimsString(dims))
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt/4 {
			return 0, fmt.Errorf("its shape %s is too large", dimsString(dims))
		}
		n = lo
	}
	return int(n), nil
}

// encode writes the array. npy.Write cannot: it knows vectors and matrices only.
func (a array) encode(w io.Writer) error {
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", dimsString(a.dims))
	start := len(npy.Magic) + 4
	const align = 64 // the data begins at a multiple of it
	header += strings.Repeat(" ", align-1-(start+len(header))%align) + "\n"

	b := append(npy.Magic[:len(npy.Magic):len(npy.Magic)], 1, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	if _, err := w.Write(append(b, header...)); err != nil {
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

// dimsString writes dims as Python writes a tuple.
func dimsString(dims []int) string {
	var s []string
	for _, d := range dims {
		s = append(s, strconv.Itoa(d))
	}
	if len(s) == 1 {
		return "(" + s[0] + ",)"
	}
	return "(" + strings.Join(s, ", ") + ")"
}
