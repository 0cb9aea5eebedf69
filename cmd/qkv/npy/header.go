// Package npy reads and writes the headers of .npy files, in which NumPy keeps an array.
//
// A header is a Python dictionary (numpy.lib.format), whose text the format leaves to its
// writer: the order of the keys, quotes, spaces and the last comma are anyone's choice.
package npy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Header says what the bytes after it are.
type Header struct {
	DType   string // as it is written: <f4, or the text of a record
	Fortran bool   // the first axis changes fastest, not the last
	Shape   []int
}

const (
	magic     = "\x93NUMPY"
	maxHeader = 1 << 16 // bytes: what version 1 of the format can have
)

// ErrFormat ends the reading of what is no .npy file.
var ErrFormat = errors.New("not a .npy file")

var errShort = errors.New("its header is cut short")

// ReadHeader reads a header, of versions 1 to 3, and returns its length in bytes too. The
// reader has to hold the 64 KiB that a header may have.
func ReadHeader(b *bufio.Reader) (h Header, length int, err error) {
	start, err := b.Peek(len(magic) + 6) // the shortest header is longer
	if !bytes.HasPrefix(start, []byte(magic)) {
		if err != nil && err != io.EOF {
			return h, 0, err
		}
		if bytes.HasPrefix(start, []byte("PK\x03\x04")) {
			return h, 0, fmt.Errorf("%w but an archive, such as a .npz, whose parts may be some", ErrFormat)
		}
		return h, 0, ErrFormat
	}
	if err != nil {
		return h, 0, shortly(err)
	}
	at := len(magic)
	major, minor := start[at], start[at+1]
	n := uint32(binary.LittleEndian.Uint16(start[at+2:]))
	begin := at + 4
	if major > 1 {
		n, begin = binary.LittleEndian.Uint32(start[at+2:]), at+6
	}
	if major < 1 || major > 3 || minor != 0 {
		return h, 0, fmt.Errorf("version %d.%d of the format is not supported", major, minor)
	}
	if n > maxHeader {
		return h, 0, fmt.Errorf("its header has %d bytes, at most %d make sense", n, maxHeader)
	}
	length = begin + int(n)
	all, err := b.Peek(length)
	if err != nil {
		return h, 0, shortly(err)
	}
	if h, err = parseHeader(string(all[begin:]), major >= 3); err != nil {
		return h, 0, fmt.Errorf("its header is malformed: %w", err)
	}
	_, err = b.Discard(length)
	return h, length, err
}

func shortly(err error) error {
	if err == io.EOF {
		return errShort
	}
	return err
}

// parseHeader reads the text of a header, in UTF-8 or of bytes that are characters.
func parseHeader(text string, unicode bool) (Header, error) {
	if unicode && !utf8.ValidString(text) {
		return Header{}, errors.New("it is not in UTF-8")
	}
	d, err := parseDict(text)
	if err != nil {
		return Header{}, err
	}
	var h Header
	seen := map[string]bool{}
	for _, m := range d {
		if seen[m.key] {
			return Header{}, fmt.Errorf("it has %s twice", show(m.key))
		}
		seen[m.key] = true
		ok, want := false, ""
		switch m.key {
		case "descr":
			switch x := m.item.(type) {
			case string:
				h.DType, ok = show(x), true
			case list, tuple:
				h.DType, ok = show(m.text), true
			}
			want = "a string or a list"
		case "fortran_order":
			h.Fortran, ok = m.item.(bool)
			want = "True or False"
		case "shape":
			h.Shape, ok, err = shape(m.item)
			if err != nil {
				return Header{}, err
			}
			want = "a tuple of whole numbers"
		default:
			return Header{}, fmt.Errorf("it has the key %s", show(m.key))
		}
		if !ok {
			return Header{}, fmt.Errorf("%s is %s, %s is needed", m.key, show(m.text), want)
		}
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return Header{}, fmt.Errorf("it has no %s", key)
		}
	}
	return h, nil
}

// shape returns the lengths of a tuple of whole numbers. One that an int does not hold is an
// error of its own.
func shape(x value) (dims []int, ok bool, err error) {
	t, ok := x.(tuple)
	if !ok {
		return nil, false, nil
	}
	dims = []int{}
	for _, x := range t {
		switch n := x.(type) {
		case int64:
			if int64(int(n)) != n {
				return nil, false, errors.New("its shape is too large")
			}
			dims = append(dims, int(n))
		case long:
			return nil, false, errors.New("its shape is too large")
		default:
			return nil, false, nil
		}
	}
	return dims, true, nil
}

// show is text from a file in a message: in one line, and not too long.
func show(text string) string {
	const most = 60
	var b strings.Builder
	for i, r := range text {
		if i >= most {
			return b.String() + "..."
		}
		if unicode.IsPrint(r) && r != utf8.RuneError {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Append appends a header of version 1, as NumPy writes it, after which the data begins at a
// multiple of 64 bytes. It panics if there are thousands of axes.
func (h Header) Append(b []byte) []byte {
	order := "False"
	if h.Fortran {
		order = "True"
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", h.DType, order, Tuple(h.Shape))
	const align, begin = 64, len(magic) + 4
	text += strings.Repeat(" ", align-1-(begin+len(text))%align) + "\n"
	if len(text) >= maxHeader {
		panic("npy: a header of " + strconv.Itoa(len(text)) + " bytes")
	}
	b = append(append(b, magic...), 1, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// Tuple writes lengths as Python writes a tuple.
func Tuple(dims []int) string {
	var s []string
	for _, d := range dims {
		s = append(s, strconv.Itoa(d))
	}
	if len(s) == 1 {
		return "(" + s[0] + ",)"
	}
	return "(" + strings.Join(s, ", ") + ")"
}
