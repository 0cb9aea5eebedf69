package npy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// file is a header of a version around a text.
func file(major byte, text string) []byte {
	b := append([]byte(magic), major, 0)
	if major == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	}
	return append(b, text...)
}

func read(data []byte) (Header, int, error) {
	return ReadHeader(bufio.NewReaderSize(bytes.NewReader(data), 2*maxHeader))
}

// TestHeaders: what the format leaves to the writer changes nothing.
func TestHeaders(t *testing.T) {
	plain := Header{"<f4", false, []int{3, 2, 1}}
	for _, c := range []struct {
		text string
		want Header
	}{
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1), }\n", plain},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1)}\n", plain},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1)}", plain},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1,),}\n", plain},
		{"{'shape': (3, 2, 1), 'fortran_order': False, 'descr': '<f4'}\n", plain},
		{"{'fortran_order':False,'shape':(3,2,1),'descr':'<f4'}", plain},
		{`{"descr": "<f4", "fortran_order": False, "shape": (3, 2, 1)}`, plain},
		{`{u'descr': u'<f4', "fortran_order": False, 'shape': (3L, 2l, 1L)}`, plain},
		{"  {\t'descr' :\n '<f4' , \r\n 'fortran_order' : False , 'shape' : ( 3 , 2 , 1 , ) , }  \n \n", plain},
		{`{'d\x65scr': '\074f4', 'fortran_order': False, 'shape': (+3, 0x2, 0b1)}`, plain},
		{"{'descr': ('<f4'), 'fortran_order': (False), 'shape': ((3, 2, 1))}", plain},
		{"{'descr': '|b1', 'fortran_order': True, 'shape': (5,)}", Header{"|b1", true, []int{5}}},
		{"{'descr': '<f8', 'fortran_order': False, 'shape': ()}", Header{"<f8", false, []int{}}},
		{"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1_000)}", Header{"<f8", false, []int{0, 1000}}},
		{"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -0)}", Header{"<f8", false, []int{-1, 0}}}, // the reader's to judge
		{"{'descr': [('a', '<f4'), ('b\\'\"', '|O', (2,))], 'fortran_order': False, 'shape': (2,)}", Header{`[('a', '<f4'), ('b\'"', '|O', (2,))]`, false, []int{2}}},
	} {
		for major := byte(1); major <= 3; major++ {
			data := append(file(major, c.text), "data"...)
			got, n, err := read(data)
			if err != nil || !reflect.DeepEqual(got, c.want) || n != len(data)-4 {
				t.Errorf("version %d, %s: %+v, %d bytes, error %v, want %+v", major, c.text, got, n, err, c.want)
			}
		}
	}
	// Names of a record are in UTF-8 from version 3 on, and bytes before.
	record := "{'descr': [('h\xf6he', '<f4')], 'fortran_order': False, 'shape': (2,)}"
	if _, _, err := read(file(1, record)); err != nil {
		t.Errorf("Latin-1 in version 1: %v", err)
	}
	if _, _, err := read(file(3, record)); err == nil || !strings.Contains(err.Error(), "not in UTF-8") {
		t.Errorf("Latin-1 in version 3: error %v", err)
	}
	if _, _, err := read(file(3, strings.Replace(record, "\xf6", "ö", 1))); err != nil {
		t.Errorf("UTF-8 in version 3: %v", err)
	}
}

func TestHeaderErrors(t *testing.T) {
	with := func(shape string) string { return "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + "}" }
	for _, c := range []struct{ text, want string }{
		{"", "no dictionary"},
		{"shape", "no dictionary"},
		{"('descr',)", "no dictionary"},
		{"{", "ends early"},
		{"{}", "it has no descr"},
		{"{'descr': '<f4', 'shape': (1,)}", "it has no fortran_order"},
		{"{'descr': '<f4', 'fortran_order': False}", "it has no shape"},
		{with("(1,)") + "}", `'}' at byte 55 is unexpected`},
		{with("(1,)") + "{}", `'{' at byte 55 is unexpected`},
		{with("(1,)") + "\x00", `'\x00' at byte 55 is unexpected`},
		{with(""), `'}' at byte 50 is unexpected`},
		{with("3"), "shape is 3, a tuple"},
		{with("(3)"), "shape is (3), a tuple"},
		{with("[3, 2]"), "shape is [3, 2], a tuple"},
		{with("(3, '2')"), "shape is (3, '2'), a tuple"},
		{with("(3, None)"), "shape is (3, None), a tuple"},
		{with("(3, (2,))"), "a tuple of whole numbers"},
		{with("(3, 2.0)"), `'.' at byte 55 is unexpected`},
		{with("(3, x)"), `'x' at byte 54 is unexpected`},
		{with("(3 2)"), `'2' at byte 53 is unexpected`},
		{with("(3,, 2)"), `',' at byte 53 is unexpected`},
		{with("(,)"), `',' at byte 51 is unexpected`},
		{with("(3, 2"), `'}' at byte 55 is unexpected`},
		{with("(03,)"), `"03" is no whole number`},
		{with("(3e5,)"), `"3e5" is no whole number`},
		{with("(--3,)"), `no whole number`},
		{with("(1__0,)"), `no whole number`},
		{with("(9223372036854775808,)"), "too large"},
		{with("(-9223372036854775809,)"), "too large"},
		{with(strings.Repeat("(", 40) + strings.Repeat(",)", 40)), "lie in each other"},
		{with(strings.Repeat("[", 60000)), "lie in each other"},
		{"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "fortran_order is 0, True or False is needed"},
		{"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}", `'M' at byte 34 is unexpected`},
		{"{'descr': None, 'fortran_order': False, 'shape': (1,)}", "descr is None, a string or a list is needed"},
		{"{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", "it has descr twice"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", "it has the key more"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 1: 1}", "the key 1 is no string"},
		{"{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}", `'\'' at byte 16 is unexpected`},
		{"{'descr', '<f4'}", `',' at byte 8 is unexpected`},
		{"{'descr': '<f4}", "ends early"},
		{"{'descr': '<f4\n'}", `'\n' at byte 14 is unexpected`},
		{`{'descr': '<f4\q'}`, "the escape at byte 14 is none"},
		{`{'descr': '<f4\`, "the escape at byte 14 is none"},
		{"{'a\x1b[31m': 1}", `it has the key a\x1b[31m`},
		{"{'" + strings.Repeat("a", 1000) + "': 1}", "aaa..."},
	} {
		for major := byte(1); major <= 3; major++ {
			_, _, err := read(append(file(major, c.text), "data"...))
			if err == nil || !strings.HasPrefix(err.Error(), "its header is malformed: ") && !strings.Contains(err.Error(), "too large") || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 200 {
				t.Errorf("version %d, %.80s: error %v, want one about %q", major, c.text, err, c.want)
			}
		}
	}
	good := file(1, with("(3,)"))
	for n := range good {
		if _, _, err := read(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are read without an error", n, len(good))
		}
	}
	for _, c := range []struct {
		data []byte
		want string
	}{
		{[]byte("text, and more of it"), "not a .npy file"},
		{append([]byte(magic+"\x04\x00"), good[8:]...), "version 4.0 of the format is not supported"},
		{append([]byte(magic+"\x00\x00"), good[8:]...), "version 0.0 of the format is not supported"},
		{append([]byte(magic+"\x01\x01"), good[8:]...), "version 1.1 of the format is not supported"},
		{[]byte(magic + "\x02\x00\xff\xff\xff\xff{}"), "4294967295 bytes, at most 65536 make sense"},
	} {
		if _, _, err := read(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one about %q", c.data, err, c.want)
		}
	}
	if _, _, err := read([]byte("PK\x03\x04 a .npz file")); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "an archive, such as a .npz") {
		t.Errorf("error %v", err)
	}
}

func TestAppend(t *testing.T) {
	for _, h := range []Header{{"<f4", false, []int{}}, {"<f4", true, []int{7}}, {"|b1", false, []int{2, 3, 4, 5}}, {"<f4", false, slices.Repeat([]int{1 << 30}, 32)}} {
		b := h.Append([]byte{})
		got, n, err := read(b)
		if err != nil || !reflect.DeepEqual(got, h) || n != len(b) || n%64 != 0 || b[n-1] != '\n' {
			t.Errorf("%+v: read back %+v of %d bytes, error %v", h, got, n, err)
		}
	}
	// As NumPy writes it, to the byte.
	const want = "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }                                                          \n"
	if got := string(Header{"<f4", false, []int{3, 4}}.Append(nil)); got != want {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		dims []int
		want string
	}{{nil, "()"}, {[]int{3}, "(3,)"}, {[]int{3, 4}, "(3, 4)"}} {
		if got := Tuple(c.dims); got != c.want {
			t.Errorf("Tuple(%v) = %s, want %s", c.dims, got, c.want)
		}
	}
}

// FuzzHeader: no text makes the reader panic, and what it understands it reads again from
// what Append writes of it.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1), }\n",
		`{"shape": (3L,), u'fortran_order': True, "descr": [('a', '|O', (2,)), {'b': None}]}`,
		`{'d\x65scr': '\074f4', 'fortran_order': False, 'shape': (+3, 0x2, -1_0)}`,
		"{'descr': (((((", "{'\\", "{'a': 99999999999999999999}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) >= maxHeader {
			return
		}
		h, n, err := read(file(1, text))
		if err != nil {
			return
		}
		if n != len(file(1, text)) {
			t.Errorf("%q: %d bytes", text, n)
		}
		if h.DType != "<f4" || len(h.Shape) > 1000 {
			return
		}
		again, _, err := read(h.Append(nil))
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Errorf("%q: %+v, read back %+v, error %v", text, h, again, err)
		}
	})
}
