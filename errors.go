package qkv

import (
	"errors"
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
	why  error
}

func (e *ArgError) Error() string { return "qkv: " + e.msg }

// Unwrap returns what a caller may act on, such as [ErrBusy], or nil.
func (e *ArgError) Unwrap() error { return e.why }

// Reasons that an [*ArgError] wraps where a caller may act on them. [errors.Is] tells them apart:
//
//	switch err := sequence.Truncate(n); {
//	case errors.Is(err, qkv.ErrOverwritten):
//		// begin again with an empty sequence
//	case errors.Is(err, qkv.ErrBusy):
//		// try again after the step
//	}
var (
	// ErrBusy: a [Sequence] is in a [Step] that has not ended, or being written to a file, in a way
	// that excludes this use of it. Or a method of a Step is called while another runs.
	ErrBusy = errors.New("qkv: busy")

	// ErrFreed: the [Sequence] was freed.
	ErrFreed = errors.New("qkv: freed")

	// ErrOtherCache: the [Sequence] is of another [Cache] than the Step.
	ErrOtherCache = errors.New("qkv: of another cache")

	// ErrNotBegun: the [Step] has to begin before this call.
	ErrNotBegun = errors.New("qkv: step has not begun")

	// ErrBegun: the [Step] has to end before it begins again.
	ErrBegun = errors.New("qkv: step has begun")

	// ErrUnwritten: the keys and values of a layer are to be attended or committed, and the [Step]
	// has not written them.
	ErrUnwritten = errors.New("qkv: layer has not been written")

	// ErrUnfinished: a call of the [Step] ended before it was complete, by its context or a panic. The
	// step cannot be committed, only rolled back.
	ErrUnfinished = errors.New("qkv: step is unfinished")

	// ErrTooManyTokens: a [Step] is to add more tokens to a sequence than it can at once.
	// [Sequence.Room] says how many it can.
	ErrTooManyTokens = errors.New("qkv: too many new tokens")

	// ErrOverwritten: [Sequence.Truncate] would go back further than a ring of the cache keeps the window of the next query.
	ErrOverwritten = errors.New("qkv: overwritten")

	// ErrDamaged: data of a file is not what was written.
	ErrDamaged = errors.New("qkv: damaged data")

	// ErrMismatch: data of a file is whole as far as it was read, and belongs to something else: other
	// layers, another version of the format, a machine of another byte order, another kernel set.
	ErrMismatch = errors.New("qkv: data of something else")
)

// because has an *ArgError wrap a reason.
func because(why, err error) error {
	err.(*ArgError).why = why
	return err
}

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
	case WeightType:
		return a
	case Precision:
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
	Name      string          // what was asked for
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
