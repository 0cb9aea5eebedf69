// Package fastjson reads large files of JSON into a tree of values.
package fastjson

import (
	"errors"

	"github.com/minio/simdjson-go"

	"github.com/qkv-go/qkv/internal/jsontree"
)

var (
	errObject = errors.New("an object is needed")
	errDeep   = errors.New("too deep")
	errTwice  = errors.New("a name twice")
)

// Parse does what [jsontree.Parse] does: with simdjson where the CPU has the vector
// instructions that it needs, which is several times as fast on a large file. What it
// rejects, with few words, jsontree reads again to say what is wrong and where.
func Parse(data []byte, maxDepth int) (jsontree.Object, error) {
	if simdjson.SupportedCPU() && plain(data) {
		if o, err := parseSIMD(data, maxDepth); err == nil {
			return o, nil
		}
	}
	return jsontree.Parse(data, maxDepth)
}

// plain reports whether data has nothing that simdjson takes although it is no JSON:
// wrong escapes, control characters in strings, wrong UTF-8.
func plain(data []byte) bool {
	inString := false
	for _, b := range data {
		switch {
		case b == '"':
			inString = !inString
		case b == '\\' || b >= 0x7f:
			return false
		case b < ' ' && (inString || b != '\n' && b != '\r' && b != '\t'):
			return false
		}
	}
	return !inString
}

func parseSIMD(data []byte, maxDepth int) (jsontree.Object, error) {
	p, err := simdjson.Parse(data, nil)
	if err != nil {
		return nil, err
	}
	it := p.Iter()
	it.Advance() // to the root
	typ, root, err := it.Root(nil)
	if err != nil {
		return nil, err
	}
	if typ != simdjson.TypeObject {
		return nil, errObject
	}
	x, err := value(root, maxDepth)
	if err != nil {
		return nil, err
	}
	return x.(jsontree.Object), nil
}

// value copies what an iterator stands at, in which objects and arrays are at most depth
// deep.
func value(it *simdjson.Iter, depth int) (any, error) {
	switch it.Type() {
	case simdjson.TypeString:
		return it.String()
	case simdjson.TypeInt, simdjson.TypeUint, simdjson.TypeFloat:
		return it.Float()
	case simdjson.TypeBool:
		return it.Bool()
	case simdjson.TypeNull:
		return nil, nil
	}
	if depth == 0 {
		return nil, errDeep
	}
	var elem simdjson.Iter
	if it.Type() == simdjson.TypeObject {
		from, err := it.Object(nil)
		if err != nil {
			return nil, err
		}
		o := jsontree.Object{}
		for {
			name, typ, err := from.NextElement(&elem)
			if err != nil || typ == simdjson.TypeNone {
				return o, err
			}
			if _, twice := o[name]; twice {
				return nil, errTwice
			}
			if o[name], err = value(&elem, depth-1); err != nil {
				return nil, err
			}
		}
	}
	from, err := it.Array(nil)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for elems := from.Iter(); ; {
		typ, err := elems.AdvanceIter(&elem)
		if err != nil || typ == simdjson.TypeNone {
			return list, err
		}
		x, err := value(&elem, depth-1)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
}
