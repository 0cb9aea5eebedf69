// Package jsontree reads JSON: into a tree of values, and from that into structures.
package jsontree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// An Object is the members of a JSON object: string, float64, bool, nil, Object or
// []any of these.
type Object = map[string]any

// Parse reads a file of one object, in which at most so many objects and arrays lie in each
// other, and no object has a name twice.
func Parse(data []byte, maxDepth int) (Object, error) {
	var x any
	if err := json.Unmarshal(data, &x); err != nil {
		if at := (*json.SyntaxError)(nil); errors.As(err, &at) {
			return nil, fmt.Errorf("%w at byte %d", err, at.Offset)
		}
		return nil, err
	}
	o, ok := x.(Object)
	if !ok {
		return nil, errors.New("an object is needed")
	}
	if depth(o) > maxDepth {
		return nil, fmt.Errorf("more than %d objects and arrays lie in each other", maxDepth)
	}
	if err := unique(json.NewDecoder(bytes.NewReader(data))); err != nil {
		return nil, err
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

// unique reports a name that an object has twice in the value that comes next, which is JSON.
func unique(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	begin, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if begin == '{' {
			t, err := d.Token()
			if err != nil {
				return err
			}
			name := t.(string)
			if seen[name] {
				return fmt.Errorf("%s stands twice in an object, the second time at byte %d", show(name), d.InputOffset())
			}
			seen[name] = true
		}
		if err := unique(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
