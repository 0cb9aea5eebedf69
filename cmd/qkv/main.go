// Command qkv computes attention on .npy files, draws it, measures it, runs ONNX backend node
// tests, and tells what it runs on. Run it without arguments for its usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/qkv-go/qkv/bench"
)

const usage = `qkv computes softmax(scale * Q Kᵀ + mask) V on CPUs.

  qkv run      compute it on .npy files
  qkv view     draw its probabilities, in the terminal or as pictures
  qkv bench    measure it beside the ceilings of this machine
  qkv compare  hold records of it against each other
  qkv report   draw them: a page, pictures or tables
  qkv tune     measure choices for this CPU, for the library to load
  qkv conform  run ONNX backend node tests of Attention and RotaryEmbedding
  qkv info     say what this machine has and which kernel set runs
  qkv version  say which build this is

"qkv run -h" lists the flags of run, and so on. A file named - is standard input or output.
The environment variable QKV_KERNEL names a kernel set to use where -kernel does not.
`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	bench.BeNeighbour()
	os.Exit(command(untilSignal(), os.Args[1:], os.Stdout, os.Stderr))
}

// A usageError reports a command line that cannot be carried out.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }

func badUsage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

var commands = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error{
	"run":     runCommand,
	"view":    viewCommand,
	"bench":   benchCommand,
	"compare": compareCommand,
	"report":  reportCommand,
	"tune":    tuneCommand,
	"conform": conformCommand,
	"info":    infoCommand,
	"version": versionCommand,
}

// command carries out a command line and returns the exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 1 && args[0] == "help" {
		args = []string{args[1], "-h"}
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		io.WriteString(stdout, usage)
		return exitOK
	}
	if args[0] == "-v" || args[0] == "-version" || args[0] == "--version" {
		args = append([]string{"version"}, args[1:]...)
	}
	do := commands[args[0]]
	if do == nil {
		fmt.Fprintf(stderr, "qkv: unknown command %q, want run, view, bench, compare, report, tune, conform, info, version or help\n", args[0])
		return exitUsage
	}
	err := do(ctx, args[1:], stdout, stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	code := exitFailed
	if s := (signalError{}); errors.As(context.Cause(ctx), &s) { // whatever came of it
		err, code = s, s.exitCode()
	} else if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(stderr, "qkv %s: %s (qkv %[1]s -h says more)\n", args[0], plain(err))
		return exitUsage
	}
	fmt.Fprintf(stderr, "qkv %s: %s\n", args[0], plain(err))
	return code
}

// plain is an error without the name of the package that it carries, of which the library's
// is the command's.
func plain(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "qkv: "), "gpt: ")
}

// parseFlags parses the flags of a command that takes no other arguments. Asked for
// help, it writes the usage and returns flag.ErrHelp.
func parseFlags(f *flag.FlagSet, args []string, synopsis string, stdout io.Writer) error {
	others, err := parseArgs(f, args, synopsis, stdout)
	if err == nil && len(others) > 0 {
		err = badUsage("unexpected argument %q", others[0])
	}
	return err
}

// parseArgs does as parseFlags and returns the other arguments, which may stand among
// the flags.
func parseArgs(f *flag.FlagSet, args []string, synopsis string, stdout io.Writer) (others []string, err error) {
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(stdout, "usage: %s\n\n", synopsis)
			f.SetOutput(stdout)
			f.PrintDefaults()
			return nil, err
		} else if err != nil {
			return nil, badUsage("%s", wanted(f, err))
		}
		if parsed := len(args) - f.NArg(); f.NArg() == 0 || parsed > 0 && args[parsed-1] == "--" {
			return append(others, f.Args()...), nil
		}
		others, args = append(others, f.Arg(0)), f.Args()[1:]
	}
}

// wanted is an error of parsing, with what a flag wants where package flag leaves that open.
func wanted(f *flag.FlagSet, err error) string {
	text := err.Error()
	said, unsaid := strings.CutSuffix(text, ": parse error")
	_, name, _ := strings.Cut(said, " for flag -")
	at := f.Lookup(name)
	if !unsaid || at == nil {
		return text
	}
	getter, _ := at.Value.(flag.Getter)
	if getter == nil {
		return text
	}
	switch getter.Get().(type) {
	case int:
		return said + ": want a whole number"
	case time.Duration:
		return said + ": want a time such as 15ms"
	}
	return text
}

func versionCommand(_ context.Context, args []string, stdout, _ io.Writer) error {
	if err := parseFlags(flag.NewFlagSet("version", flag.ContinueOnError), args, "qkv version", stdout); err != nil {
		return err
	}
	b := bench.ThisBuild()
	_, err := fmt.Fprintln(stdout, strings.TrimSpace(fmt.Sprintf("qkv %s %s", b.Version, b.Commit)))
	return err
}
