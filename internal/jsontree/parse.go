// Package jsontree reads JSON: into a tree of values, and from that into structures.
package jsontree

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/minio/simdjson-go"
)

// An Object is the members of a JSON object: string, float64, bool, nil, Object or
// []any of these.
type Object = map[string]any

var (
	errObject = errors.New("an object is needed")
	errDeep   = errors.New("too deep")
)

func depthError(most int) error {
	return fmt.Errorf("more than %d objects and arrays lie in each other", most)
}

// Parse reads a file of one object, in which at most so many objects and arrays lie in each
// other: with simdjson where the CPU has the vector instructions that it needs, which is
// about twice as fast on a large file. What it rejects, with few words, encoding/json reads
// again to say what is wrong and where.
func Parse(data []byte, maxDepth int) (Object, error) {
	if simdjson.SupportedCPU() && plain(data) {
		if o, err := parseSIMD(data, maxDepth); err == nil {
			return o, nil
		}
	}
	return parseStandard(data, maxDepth)
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

func parseStandard(data []byte, maxDepth int) (Object, error) {
	var x any
	if err := json.Unmarshal(data, &x); err != nil {
		if at := (*json.SyntaxError)(nil); errors.As(err, &at) {
			return nil, fmt.Errorf("%w at byte %d", err, at.Offset)
		}
		return nil, err
	}
	o, ok := x.(Object)
	if !ok {
		return nil, errObject
	}
	if depth(o) > maxDepth {
		return nil, depthError(maxDepth)
	}
	return o, nil
}

// depth is how deep objects and arrays lie in each other.
func depth(x any) int {
	deepest := 0
	switch x := x.(type) {
	case Object:
		for _, v := range x {
			deepest = max(deepest, depth(v))
		}
	case []any:
		for _, v := range x {
			deepest = max(deepest, depth(v))
		}
	default:
		return 0
	}
	return deepest + 1
}

func parseSIMD(data []byte, maxDepth int) (Object, error) {
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
	return x.(Object), nil
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
		o := Object{}
		for {
			name, typ, err := from.NextElement(&elem)
			if err != nil || typ == simdjson.TypeNone {
				return o, err
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
