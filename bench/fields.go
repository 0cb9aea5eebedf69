package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A field is a key of the text of a work and where its number goes.
type field struct {
	key string
	to  *int
}

// parseFields reads key=value,... in any order, each key once. Numbers go to the fields, and the
// values of other keys to what others returns for them, which may be nil.
func parseFields(kind, text string, fields []field, other func(key, value string) (bool, error)) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s %q: %s", kind, text, fmt.Sprintf(format, args...))
	}
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return wrong("%q is not key=value", part)
		}
		if seen[key] {
			return wrong("%s is given twice", key)
		}
		seen[key] = true
		if i := slices.IndexFunc(fields, func(f field) bool { return f.key == key }); i >= 0 {
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return wrong("%s=%s is not a positive number", key, value)
			}
			*fields[i].to = n
			continue
		}
		known := false
		if other != nil {
			var err error
			if known, err = other(key, value); err != nil {
				return wrong("%s: %v", key, err)
			}
		}
		if !known {
			return wrong("unknown key %q", key)
		}
	}
	return nil
}

// missing names a field that has no number, "" if there is none.
func missing(fields []field) string {
	for _, f := range fields {
		if *f.to == 0 {
			return f.key
		}
	}
	return ""
}
