package qkv

import (
	"fmt"
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

func argError(arg string, got, want int, format string, args ...any) error {
	return &ArgError{Arg: arg, Got: got, Want: want, msg: fmt.Sprintf(format, args...)}
}

// A KernelError reports a kernel set that was asked for by name and cannot run here.
type KernelError struct {
	Name      string
	Known     bool            // a set of this architecture has the name
	Missing   kernel.Features // what the CPU or its operating system lacks
	Available []string        // sets that this machine can run, best first
}

func (e *KernelError) Error() string {
	var b strings.Builder
	if e.Known {
		fmt.Fprintf(&b, "qkv: kernel set %q needs %s, which this machine lacks", e.Name, e.Missing)
	} else {
		fmt.Fprintf(&b, "qkv: unknown kernel set %q", e.Name)
	}
	fmt.Fprintf(&b, "; this machine can run %s", strings.Join(e.Available, ", "))
	return b.String()
}
