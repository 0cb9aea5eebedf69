package qkv

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/qkv-go/qkv/kernel"
)

// An ArgError reports an argument that cannot be used, alone or beside the others.
// Nothing has been written when it is returned.
type ArgError struct {
	Arg  string // the argument: "q", "k", "v", "out", "lse", "lensQ", "cuLensKV", "mask", "bias", ...
	Got  int    // what it has
	Want int    // what it would have to have
	msg  string
}

func (e *ArgError) Error() string { return "qkv: " + e.msg }

// argError makes a message of copies of the arguments. Whatever they were read from would
// otherwise escape: the Call or the Product that a caller writes where it is used would be
// allocated, for an error that there is not.
func argError(arg string, got, want int, format string, args ...any) error {
	if false {
		_ = fmt.Sprintf(format, args...) // has vet check the formats
	}
	copies := make([]any, len(args))
	for i, a := range args {
		copies[i] = copyOf(a)
	}
	return &ArgError{Arg: strings.Clone(arg), Got: got, Want: want, msg: fmt.Sprintf(format, copies...)}
}

// inLayer says in an error of a layer which that is.
func inLayer(err error, layer int) error {
	if e, ok := err.(*ArgError); ok {
		e.msg = fmt.Sprintf("layer %d: %s", layer, e.msg)
	}
	return err
}

// copyOf returns a copy of an argument of a message. Those that are printed by a method of their
// own have a case of their own. Of what is neither a number, a string nor a bool it is the type.
func copyOf(a any) any {
	switch a := a.(type) {
	case float32:
		return a
	case [4]int:
		return a
	case elemKind:
		return a
	case ElemType:
		return a
	}
	switch v := reflect.ValueOf(a); {
	case a == nil:
		return nil
	case v.CanInt():
		return v.Int()
	case v.CanUint():
		return v.Uint()
	case v.CanFloat():
		return v.Float()
	case v.Kind() == reflect.Bool:
		return v.Bool()
	case v.Kind() == reflect.String:
		return strings.Clone(v.String())
	default:
		return strings.Clone(v.Type().String())
	}
}

// A KernelError reports a kernel set that was asked for by name and cannot run here.
type KernelError struct {
	Name      string
	Env       string          // the environment variable that named it, if one did
	Known     bool            // a set of this architecture has the name
	Missing   kernel.Features // what the CPU or its operating system lacks
	Available []string        // sets that this machine can run, best first
}

func (e *KernelError) Error() string {
	var b strings.Builder
	b.WriteString("qkv: ")
	if e.Env != "" {
		fmt.Fprintf(&b, "the environment variable %s: ", e.Env)
	}
	if e.Known {
		fmt.Fprintf(&b, "kernel set %q needs %s, which this machine lacks", e.Name, e.Missing)
	} else {
		fmt.Fprintf(&b, "unknown kernel set %q", e.Name)
	}
	fmt.Fprintf(&b, "; this machine can run %s", strings.Join(e.Available, ", "))
	return b.String()
}
