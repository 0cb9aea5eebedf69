package jsontree

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A FieldError says what is wrong with a value of a tree.
type FieldError struct {
	Path   string // such as runs[3].seconds_median
	Reason string
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Reason }

// Decode copies the members of an object into the structure that to points to, whose fields
// have the tags of encoding/json. A field that is not marked omitempty has to be there, a
// member without a field is left out. The fields may be strings, bools, numbers, times,
// structures, pointers to them and slices. The error is a [*FieldError].
func Decode(o Object, to any) error {
	return decoder{}.value("", o, reflect.ValueOf(to).Elem())
}

// DecodeExact does as [Decode], but a member without a field is an error, and so is a null.
func DecodeExact(o Object, to any) error {
	return decoder{exact: true}.value("", o, reflect.ValueOf(to).Elem())
}

type decoder struct{ exact bool }

var timeType = reflect.TypeFor[time.Time]()

func (d decoder) value(path string, x any, to reflect.Value) error {
	wrong := func(want string) error {
		return &FieldError{strings.TrimPrefix(path, "."), fmt.Sprintf("it is %s, %s is needed", show(x), want)}
	}
	switch kind := to.Kind(); {
	case to.Type() == timeType:
		s, _ := x.(string)
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return wrong("a time of RFC 3339")
		}
		to.Set(reflect.ValueOf(t))
	case kind == reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		return d.value(path, x, to.Elem())
	case kind == reflect.Struct:
		o, ok := x.(Object)
		if !ok {
			return wrong("an object")
		}
		return d.fields(path, o, to)
	case kind == reflect.Slice && x == nil && !d.exact: // encoding/json writes a nil slice so
		to.SetZero()
	case kind == reflect.Slice:
		list, ok := x.([]any)
		if !ok {
			return wrong("an array")
		}
		to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
		for i, x := range list {
			if err := d.value(fmt.Sprintf("%s[%d]", path, i), x, to.Index(i)); err != nil {
				return err
			}
		}
	case kind == reflect.String:
		s, ok := x.(string)
		if !ok {
			return wrong("a string")
		}
		to.SetString(s)
	case kind == reflect.Bool:
		b, ok := x.(bool)
		if !ok {
			return wrong("true or false")
		}
		to.SetBool(b)
	case to.CanFloat():
		f, ok := x.(float64)
		if !ok {
			return wrong("a number")
		}
		to.SetFloat(f)
	case to.CanInt():
		const exact = 1 << 53 // up to which every integer is a float64
		f, ok := x.(float64)
		if !ok || f != math.Trunc(f) || math.Abs(f) > exact || to.OverflowInt(int64(f)) {
			return wrong("an integer")
		}
		to.SetInt(int64(f))
	default:
		panic("jsontree: no way to decode into " + to.Type().String())
	}
	return nil
}

func (d decoder) fields(path string, o Object, to reflect.Value) error {
	known := map[string]bool{}
	for i := range to.NumField() {
		name, options, _ := strings.Cut(to.Type().Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		known[name] = true
		field := path + "." + name
		x, ok := o[name]
		if !ok {
			if options == "omitempty" {
				continue
			}
			return &FieldError{strings.TrimPrefix(field, "."), "it is missing"}
		}
		if err := d.value(field, x, to.Field(i)); err != nil {
			return err
		}
	}
	if d.exact {
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if !known[name] {
				return &FieldError{strings.TrimPrefix(path+"."+name, "."), "it is not known"}
			}
		}
	}
	return nil
}

// show names a value briefly.
func show(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case string:
		const most = 40
		if len(x) > most {
			return strconv.Quote(x[:most]) + "..."
		}
		return strconv.Quote(x)
	case Object:
		return "an object"
	case []any:
		return "an array"
	}
	return fmt.Sprint(x)
}
