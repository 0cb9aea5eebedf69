package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asParent is the environment variable by which the test's binary has a neighbour, writes the
// number of its process, and ends as the value says.
const asParent = "QKV_BENCH_TEST_AS_PARENT"

const sleptOn = 4 // the exit code of one that was to be ended, and was not

func TestMain(m *testing.M) {
	BeNeighbour()
	if how := os.Getenv(asParent); how != "" {
		haveNeighbour(how)
	}
	os.Exit(m.Run())
}

func haveNeighbour(how string) {
	n := &Neighbour{Kind: NeighbourCache, Bytes: 1 << 20, Threads: 1}
	p, err := n.start()
	if err == nil {
		err = p.tell(neighbourRun)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for range 100 { // none of the threads of this process is the one that has started it for ever
		go runtime.LockOSThread()
	}
	runtime.Gosched()
	if err := p.alive(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.pid)
	switch how {
	case "exit":
		os.Exit(3)
	case "panic":
		panic("as it was told")
	}
	time.Sleep(time.Minute)
	os.Exit(sleptOn)
}

// secondProcessor skips a test on a machine without.
func secondProcessor(t *testing.T) {
	t.Helper()
	if _, err := newNeighbour(NeighbourCache, nil, 1); err != nil {
		t.Skip(err)
	}
}

// TestNeighbourEnds: whatever ends a process ends its neighbour.
func TestNeighbourEnds(t *testing.T) {
	for how, sig := range map[string]os.Signal{"exit": nil, "panic": nil, "kill": os.Kill, "interrupt": os.Interrupt, "terminate": syscall.SIGTERM} {
		if runtime.GOOS == "windows" && sig != nil && sig != os.Kill {
			continue
		}
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			if sig == os.Interrupt && signal.Ignored(os.Interrupt) {
				t.Skip("interrupts are ignored, as shells have it of what they run in the background")
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), asParent+"="+how)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var line strings.Builder
			for text := make([]byte, 1); !strings.HasSuffix(line.String(), "\n"); {
				if _, err := out.Read(text); err != nil {
					break
				}
				line.Write(text)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(line.String()))
			if err != nil {
				cmd.Process.Kill()
				t.Fatalf("it says %q", line.String())
			}
			if sig != nil {
				cmd.Process.Signal(sig)
			}
			if cmd.Wait(); cmd.ProcessState.ExitCode() == sleptOn {
				t.Error("nothing has ended it")
			}
			for start := time.Now(); lives(pid); time.Sleep(10 * time.Millisecond) {
				if time.Since(start) > 30*time.Second {
					t.Fatalf("process %d lives on", pid)
				}
			}
		})
	}
}

// lives reports whether a process has not ended.
func lives(pid int) bool {
	if runtime.GOOS == "linux" {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := bytes.Cut(stat, []byte(") "))
		return err == nil && !bytes.HasPrefix(state, []byte("Z")) // which nobody has asked for yet
	}
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

// TestNeighbour: a work is timed beside a process on another processor, which rests in between,
// and whose time counts as neither this process's nor that of others.
func TestNeighbour(t *testing.T) {
	secondProcessor(t)
	opts := quick
	opts.Neighbour = NeighbourCache
	r := newRunner(t, opts)
	defer r.Close()
	before := allowedCPUs()
	for _, workers := range []int{1, runtime.NumCPU()} {
		run, err := r.Run(context.Background(), Job{parse(t, "h=2,sq=64,d=32"), workers}, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := run.Neighbour
		if n == nil || n.Kind != NeighbourCache || n.Threads < 1 || n.Bytes < 1<<10 || run.Conditions() != "neighbour=cache" {
			t.Fatalf("%d workers: %+v", workers, n)
		}
		if n.Shared != (workers > 1) || before != nil && len(n.Processors) != n.Threads || (before != nil && workers == 1) != (len(n.Workers) == 1) {
			t.Errorf("%d workers: %+v", workers, n)
		}
		for _, cpu := range n.Processors {
			if !n.Shared && slices.Contains(n.Workers, cpu) {
				t.Errorf("both on processor %d: %+v", cpu, n)
			}
		}
		if got := allowedCPUs(); !slices.Equal(got, before) {
			t.Errorf("afterwards on processors %d, before on %d", got, before)
		}
	}
	if len(r.neighbours) != 2 {
		t.Fatalf("%d neighbours", len(r.neighbours))
	}
	p := r.neighbours[0]
	if took := processTime(p.pid); took > 0 { // where the system tells
		for p.tell(neighbourRun); processTime(p.pid) < took+10*time.Millisecond; {
			time.Sleep(time.Millisecond)
		}
		p.tell(neighbourPause)
		for rests := false; !rests; { // as soon as it has heard
			took = processTime(p.pid)
			time.Sleep(20 * time.Millisecond)
			rests = processTime(p.pid)-took < time.Millisecond
		}
	}
	r.Close()
	if lives(p.pid) || len(r.neighbours) != 0 {
		t.Errorf("process %d lives on", p.pid)
	}
}

// TestPinTo: what is kept to a processor are all threads, also those that begin later.
func TestPinTo(t *testing.T) {
	before := allowedCPUs()
	if len(before) < 2 {
		t.Skip("there is one processor, or the system does not tell")
	}
	undo, err := pinTo(before[1:2], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	for range 20 {
		done := make(chan []int)
		go func() {
			runtime.LockOSThread() // so that the next has another
			done <- allowedCPUs()
		}()
		if got := <-done; !slices.Equal(got, before[1:2]) {
			t.Fatalf("a thread is on processors %d, want %d", got, before[1:2])
		}
	}
	undo()
	if got := allowedCPUs(); !slices.Equal(got, before) {
		t.Errorf("afterwards on processors %d, before on %d", got, before)
	}
}

// TestNeighbourLost: a run beside a neighbour that ends is an error.
func TestNeighbourLost(t *testing.T) {
	secondProcessor(t)
	opts := quick
	opts.Neighbour, opts.Time = NeighbourCache, time.Minute
	r := newRunner(t, opts)
	defer r.Close()
	done := make(chan error)
	n, err := newNeighbour(NeighbourCache, r.caches, 1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.start()
	if err != nil {
		t.Fatal(err)
	}
	r.neighbours = append(r.neighbours, p)
	go func() {
		_, err := r.Run(context.Background(), Job{parse(t, "h=2,sq=64,d=32"), 1}, 0)
		done <- err
	}()
	time.Sleep(50 * time.Millisecond) // before it runs or after
	process, err := os.FindProcess(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	process.Kill()
	if err := <-done; err == nil || !strings.HasPrefix(err.Error(), "the neighbour: ") {
		t.Errorf("error %v", err)
	}
}

func TestNeighbourErrors(t *testing.T) {
	if _, err := NewRunner(Options{Neighbour: "loud"}); err == nil || !strings.Contains(err.Error(), `no neighbour "loud"`) {
		t.Errorf("of another kind: error %v", err)
	}
	n := &Neighbour{Kind: NeighbourCache, Bytes: 1 << 10, Threads: 1}
	t.Setenv(neighbourEnv, "1")
	if _, err := n.start(); err == nil {
		t.Error("a neighbour has one")
	}
	os.Unsetenv(neighbourEnv)
	n.Threads = 0
	if _, err := n.start(); err == nil || !strings.Contains(err.Error(), `the neighbour: "0" threads`) {
		t.Errorf("without threads: error %v", err)
	}
	for _, args := range [][]string{nil, {"1", "1"}, {"x", "1", "0"}, {"0", "1", "0"}, {"1", "1", "0,1"}, {"1", "2", "0"}} {
		if err := workThroughMemory(args, strings.NewReader(""), new(strings.Builder)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if err := workThroughMemory([]string{"64", "1", ""}, strings.NewReader("rrppr"), broken{}); !errors.Is(err, errBroken) {
		t.Errorf("nobody hears it: error %v", err)
	}
	var out strings.Builder
	if err := workThroughMemory([]string{"64", "1", ""}, strings.NewReader("rrpprp"), &out); err != nil || out.String() != neighbourReady {
		t.Errorf("it says %q, error %v", out.String(), err)
	}
	for _, c := range []struct {
		n    Neighbour
		want string
	}{
		{Neighbour{Bytes: 1 << 20}, "1 MiB, not kept to any processor"},
		{Neighbour{Bytes: 1 << 19, Processors: []int{1}, Workers: []int{0}}, "0.5 MiB on processor 1, workers on 0"},
		{Neighbour{Bytes: 1 << 20, Processors: []int{2, 1}, Workers: []int{0}}, "1 MiB each on processors 2,1, workers on 0"},
		{Neighbour{Bytes: 1 << 20, Processors: []int{1}, Shared: true}, "1 MiB on processor 1, which a worker shares"},
	} {
		if got := c.n.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }
