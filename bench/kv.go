package bench

import (
	"fmt"
	"slices"

	"github.com/qkv-go/qkv/kernel"
)

// KV says how keys and values are stored. The zero value is contiguous float32.
type KV struct {
	K, V kernel.Elem
	Page int // tokens of a page, 0 for none

	Cache CacheKind // that holds them
}

// elemNames are the element types as the text of a shape has them.
var elemNames = [...]string{
	kernel.Float32:  "float32",
	kernel.Float16:  "float16",
	kernel.BFloat16: "bfloat16",
	kernel.Int8:     "int8",
	kernel.Q8_0:     "q8_0",
}

func elemName(e kernel.Elem) string { return elemNames[e] }

func parseElem(text string) (kernel.Elem, error) {
	i := slices.Index(elemNames[:], text)
	if i < 0 {
		return 0, fmt.Errorf("%q is not float32, float16, bfloat16, int8 or q8_0", text)
	}
	return kernel.Elem(i), nil
}

// elemOption is the type of keys, of values, or of both, which is of one key where they have
// the same.
func elemOption(key string, k, v bool) option {
	return option{
		key: key,
		parse: func(s *Shape, text string) error {
			e, err := parseElem(text)
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
			return elemName(e)
		},
	}
}

// rowBytes returns the bytes of the elements of a row, its scale included.
func rowBytes(e kernel.Elem, dim int) int {
	n := e.Unit() * (dim / e.UnitValues())
	if e == kernel.Int8 {
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
			return fmt.Errorf("%s of %s need a head dim that is a multiple of %d, it is %d", x.name, elemName(x.elem), n, x.dim)
		}
	}
	return nil
}

// kvRowBytes returns the bytes of a key and its value.
func (s Shape) kvRowBytes() int {
	return rowBytes(s.KV.K, s.DimQK) + rowBytes(s.KV.V, s.DimV)
}
