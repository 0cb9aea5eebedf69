package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/onnx"
)

const conformSynopsis = `qkv conform DIR [flags]

Runs ONNX backend node tests of Attention and RotaryEmbedding: the one in DIR, or those
in its folders. Outputs may differ from those of the test as the ONNX runner allows:
by 1e-7 and a thousandth of the value, FLOAT16 and BFLOAT16 by 8 units in the last place.
Tests of other operators are skipped.`

// conformFlags are the arguments of qkv conform.
type conformFlags struct {
	dir, kernel string
	workers     int
}

func (c *conformFlags) parse(args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("conform", flag.ContinueOnError)
	f.StringVar(&c.kernel, "kernel", "", "use the kernel set `NAME`, as qkv info lists them")
	f.IntVar(&c.workers, "workers", 0, "compute on at most `N` processors, 0 for all")
	dirs, err := parseArgs(f, args, conformSynopsis, stdout)
	switch {
	case err != nil:
		return err
	case len(dirs) == 0:
		return badUsage("DIR is missing")
	case len(dirs) > 1:
		return badUsage("unexpected argument %q", dirs[1])
	}
	c.dir = dirs[0]
	if c.workers < 0 {
		return badUsage("-workers is %d, want 0 or more", c.workers)
	}
	return checkKernelFlag(c.kernel)
}

func conformCommand(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var c conformFlags
	if err := c.parse(args, stdout); err != nil {
		return err
	}
	attention, err := qkv.New(qkv.Config{Kernel: c.kernel, Workers: c.workers})
	if err != nil {
		return err
	}
	dirs, err := caseDirs(c.dir)
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return fmt.Errorf("%s has no test: neither it nor a folder in it has a model.onnx", c.dir)
	}
	width := 0
	for _, dir := range dirs {
		width = max(width, len(filepath.Base(dir)))
	}
	var passed, failed, skipped int
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		largest, err := conform(attention, dir)
		var status, detail string
		switch {
		case err == nil:
			passed++
			status, detail = "pass", fmt.Sprintf("largest difference %.2g", largest)
		case errors.As(err, new(*onnx.UnsupportedError)):
			skipped++
			status, detail = "skip", reason(err, dir)
		default:
			failed++
			status, detail = "FAIL", reason(err, dir)
			if largest > 0 {
				detail += fmt.Sprintf(", largest difference %.2g", largest)
			}
		}
		if _, err := fmt.Fprintf(stdout, "%s  %-*s  %s\n", status, width, filepath.Base(dir), detail); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(stdout, "\n%s on kernel set %s: %d passed, %d failed, %d skipped\n",
		plural(len(dirs), "test"), attention.Kernel().Name, passed, failed, skipped); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s failed", failed, plural(len(dirs), "test"))
	}
	return nil
}

// conform runs the test in a folder.
func conform(a *qkv.Engine, dir string) (largest float64, err error) {
	c, err := onnx.LoadCase(dir)
	if err != nil {
		return 0, err
	}
	return c.Check(a)
}

// caseDirs returns the folders of tests: dir, or those in it.
func caseDirs(dir string) ([]string, error) {
	isCase := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "model.onnx"))
		return err == nil
	}
	dir, err := filepath.Abs(dir) // even "." has a name
	if err != nil || isCase(dir) {
		return []string{dir}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if sub := filepath.Join(dir, e.Name()); isCase(sub) {
			dirs = append(dirs, sub)
		}
	}
	return dirs, nil
}

// reason is an error about the test in dir, without what the line says already.
func reason(err error, dir string) string {
	text := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
	text = strings.TrimPrefix(text, dir+": ")
	text = strings.ReplaceAll(text, dir, filepath.Base(dir))
	return strings.TrimPrefix(text, "onnx: ")
}
