package bench

import (
	"fmt"
	"strings"

	"github.com/qkv-go/qkv/kernel"
)

// KV says how keys and values are stored. The zero value is contiguous float32.
type KV struct {
	K, V kernel.Elem
	Page int // tokens of a page, 0 for none

	Cache CacheKind // that holds them
}

// ParseElem reads the name of a type of keys and values, as float16.
func ParseElem(text string) (kernel.Elem, error) {
	e, ok := kernel.ElemNamed(text)
	if !ok {
		return 0, fmt.Errorf("%q is not %s", text, ElemNames("or", nil))
	}
	return e, nil
}

// ElemNames lists the names of the types of keys and values, or of some, as "float32, float16 or int8".
func ElemNames(conjunction string, some func(kernel.Elem) bool) string {
	var names []string
	for _, e := range kernel.Elems() {
		if some == nil || some(e) {
			names = append(names, e.Name())
		}
	}
	return listed(names, conjunction)
}

// listed joins names as a sentence has them.
func listed(names []string, conjunction string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + conjunction + " " + names[last]
}

// elemOption is the type of keys, of values, or of both, which is of one key where they have
// the same.
func elemOption(key string, k, v bool) option {
	return option{
		key: key,
		parse: func(s *Shape, text string) error {
			e, err := ParseElem(text)
			if k {
				s.KV.K = e
			}
			if v {
				s.KV.V = e
			}
			return err
		},
		format: func(s Shape) string {
			e := s.KV.V
			if k {
				e = s.KV.K
			}
			if e == kernel.Float32 || (k && v) != (s.KV.K == s.KV.V) {
				return ""
			}
			return e.Name()
		},
	}
}

// rowBytes returns the bytes of the elements of a row, its scale included.
func rowBytes(e kernel.Elem, dim int) int {
	n := e.RowBytes(dim)
	if e.Scale() == kernel.RowScale {
		n += 4
	}
	return n
}

// check reports dims that a type of keys or values cannot have.
func (kv KV) check(dimK, dimV int) error {
	for _, x := range [2]struct {
		name string
		elem kernel.Elem
		dim  int
	}{{"keys", kv.K, dimK}, {"values", kv.V, dimV}} {
		if n := x.elem.UnitValues(); x.dim%n != 0 {
			return fmt.Errorf("%s of %s need a head dim that is a multiple of %d, it is %d", x.name, x.elem.Name(), n, x.dim)
		}
	}
	return nil
}

// kvRowBytes returns the bytes of a key and its value.
func (s Shape) kvRowBytes() int {
	return rowBytes(s.KV.K, s.DimQK) + rowBytes(s.KV.V, s.DimV)
}
