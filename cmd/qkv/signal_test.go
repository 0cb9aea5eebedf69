//go:build unix

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qkv-go/qkv/bench"
)

// asCommand is the environment variable by which the test's binary is the command, which closes
// its file 3 as soon as a signal would not simply end it.
const asCommand = "QKV_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	bench.BeNeighbour()
	if os.Getenv(asCommand) != "" {
		ctx := untilSignal()
		os.NewFile(3, "ready").Close()
		os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestSignals: a signal ends every command soon, wherever it is, with the exit code that shells
// know, and leaves whole files or none. Of those that compute, the work takes minutes at least; the
// others wait for the writer of a pipe who never comes.
func TestSignals(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.npy")
	var file bytes.Buffer
	if err := (array{dims: []int{16, 4096, 64}, data: make([]float32, 16*4096*64)}).encode(&file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(big, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "model.onnx") // what makes its folder a test
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	out := func(name string) string { return "OUT/" + name }
	for _, c := range []struct {
		after time.Duration
		args  []string
	}{
		{time.Second, []string{"run", "-kernel", "generic", "-q", big, "-k", big, "-v", big, "-o", out("o.npy"), "-lse", out("l.npy")}},
		{time.Second, []string{"run", "-q", pipe, "-k", big, "-v", big, "-o", out("o.npy")}},
		{time.Second, []string{"view", "-kernel", "generic", "-q", big, "-k", big, "-o", out("v.png")}},
		{100 * time.Millisecond, []string{"bench", "-shape", "h=1,sq=400000,d=64", "-kernel", "generic", "-json", out("b.json"), "-cpuprofile", out("cpu")}},
		{4 * time.Second, []string{"bench", "-shape", "h=1,sq=400000,d=64", "-kernel", "generic", "-json", out("b.json"), "-cpuprofile", out("cpu")}},
		{4 * time.Second, []string{"bench", "-shape", "m=20000,n=20000,k=2000", "-kernel", "generic", "-json", out("b.json")}},
		{4 * time.Second, []string{"bench", "-neighbour", "memory", "-shape", "h=1,sq=400000,d=64", "-kernel", "generic", "-json", out("b.json")}},
		{time.Second, []string{"tune", "-rounds", "1000", "-time", "1m", "-o", out("t.json")}},
		{time.Second, []string{"compare", pipe, pipe}},
		{time.Second, []string{"report", pipe, "-o", out("r.html")}},
		{time.Second, []string{"conform", dir}},
	} {
		if slices.Contains(c.args, "-neighbour") && runtime.NumCPU() < 2 {
			continue // which ends at once
		}
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			if s == syscall.SIGTERM && c.args[0] != "run" {
				continue // what hears them is the same in all commands
			}
			t.Run(c.args[0]+"/"+s.String(), func(t *testing.T) {
				t.Parallel()
				results := t.TempDir()
				args := slices.Clone(c.args)
				for i, a := range args {
					args[i] = strings.ReplaceAll(a, "OUT", results)
				}
				signalled(t, args, results, c.after, s)
			})
		}
	}
}

// signalled starts the command, signals it and looks at what it leaves among its results.
func signalled(t *testing.T, args []string, results string, after time.Duration, s syscall.Signal) {
	const soon = 30 * time.Second // generous: the machine may be busy
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	ready, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, ready) // however long a busy machine takes to start a process
	time.Sleep(after)
	start := time.Now()
	cmd.Process.Signal(s)
	killed := time.AfterFunc(2*soon, func() { cmd.Process.Kill() })
	err = cmd.Wait()
	killed.Stop()
	took := time.Since(start)
	what := strings.Join(args, " ")
	t.Logf("%s: %v after %v", what, took.Round(time.Millisecond), s)
	if took > soon {
		t.Errorf("%s: ended %v after %v", what, took, s)
	}
	e := (*exec.ExitError)(nil)
	if !errors.As(err, &e) || e.ExitCode() != 128+int(s) {
		t.Errorf("%s: %v after %v, want exit code %d; stderr %q", what, err, s, 128+int(s), stderr.String())
	}
	if want := (signalError{s}).Error(); !strings.HasSuffix(stderr.String(), want+"\n") {
		t.Errorf("%s: stderr %q, want %q", what, stderr.String(), want)
	}
	if got := entries(t, results); len(got) > 0 {
		t.Errorf("%s: it has left %q", what, got)
	}
}

// entries returns the names in a directory.
func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
