package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Neighbour is a process that worked through memory on other processors while a work was timed.
// Each of its threads goes through memory of its own, from one end to the other, and writes to each
// line of it.
type Neighbour struct {
	Kind    string `json:"kind"`    // cache or memory
	Bytes   int    `json:"bytes"`   // of a thread: what a second level holds, or far more than the last does
	Threads int    `json:"threads"` // one on another core, and one beside a worker where a core has two

	// Processors are those of the threads, and Workers those that the workers were kept to. They
	// are empty where the system does not keep threads to processors, Workers also where the
	// workers took all of them: Shared then says that a worker shared its processor.
	Processors []int `json:"processors,omitempty"`
	Workers    []int `json:"worker_processors,omitempty"`
	Shared     bool  `json:"shared,omitempty"`
}

// Kinds of a [Neighbour].
const (
	NeighbourCache  = "cache"
	NeighbourMemory = "memory"
)

// String says what it did and where, in a few words.
func (n *Neighbour) String() string {
	s := fmt.Sprintf("%.4g MiB", float64(n.Bytes)/(1<<20))
	switch {
	case len(n.Processors) == 0:
		return s + ", not kept to any processor"
	case n.Shared:
		return fmt.Sprintf("%s on processor %s, which a worker shares", s, formatCPUs(n.Processors))
	case len(n.Processors) == 1:
		s += " on processor "
	default:
		s += " each on processors "
	}
	s += formatCPUs(n.Processors)
	if len(n.Workers) > 0 {
		s += ", workers on " + formatCPUs(n.Workers)
	}
	return s
}

// newNeighbour says what a neighbour of that kind will be beside so many workers.
func newNeighbour(kind string, caches []Cache, workers int) (*Neighbour, error) {
	n := &Neighbour{Kind: kind, Threads: 1}
	switch kind {
	case NeighbourCache:
		n.Bytes = 1 << 20
		for _, c := range caches {
			if c.Level == "L2" {
				n.Bytes = c.Bytes
			}
		}
	case NeighbourMemory:
		all := levels(caches, 1)
		n.Bytes = all[len(all)-1].BytesOne
	default:
		return nil, fmt.Errorf("there is no neighbour %q, only %s and %s", kind, NeighbourCache, NeighbourMemory)
	}
	cpus := allowedCPUs()
	if cpus == nil {
		if runtime.NumCPU() < 2 {
			return nil, fmt.Errorf("a neighbour needs a second processor, and this process may use 1")
		}
		n.Shared = workers >= runtime.NumCPU()
		return n, nil
	}
	p, err := place(cpus, siblingsOf, workers)
	if err != nil {
		return nil, err
	}
	n.Threads, n.Processors, n.Workers, n.Shared = len(p.neighbour), p.neighbour, p.workers, p.shared
	return n, nil
}

const (
	neighbourArg = "work-through-memory-beside-qkv-bench" // of a process that is to be one
	neighbourEnv = "QKV_BENCH_NEIGHBOUR"                  // is set in it

	neighbourStart = 30 * time.Second // to have its memory
)

// What a neighbour is told, and what it answers when it has its memory.
const (
	neighbourRun   = 'r'
	neighbourPause = 'p'
	neighbourReady = "ready\n"
)

// A neighbourProcess is a neighbour that has been started. It rests until it is told to run.
type neighbourProcess struct {
	is    *Neighbour
	pid   int
	stdin io.WriteCloser // it ends when this is closed, by whatever ends this process
	ended chan struct{}
	err   error // why it has ended
}

// start starts the process: this program, see [BeNeighbour].
func (n *Neighbour) start() (*neighbourProcess, error) {
	if os.Getenv(neighbourEnv) != "" {
		return nil, errors.New("a neighbour cannot have one")
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the neighbour: %w", err)
	}
	cmd := exec.Command(program, neighbourArg, strconv.Itoa(n.Bytes), strconv.Itoa(n.Threads), formatCPUs(n.Processors))
	cmd.Env = append(os.Environ(), neighbourEnv+"=1")
	cmd.SysProcAttr = diesWithParent()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("the neighbour: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("the neighbour: %w", err)
	}
	p := &neighbourProcess{is: n, stdin: stdin, ended: make(chan struct{})}
	ready := make(chan error)
	go func() {
		// Linux kills it when the thread that has started it ends: this one waits for it.
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			ready <- err
			return
		}
		p.pid = cmd.Process.Pid
		late := time.AfterFunc(neighbourStart, func() { cmd.Process.Kill() })
		line, err := bufio.NewReader(stdout).ReadString('\n')
		switch inTime := late.Stop(); {
		case !inTime:
			err = fmt.Errorf("it was not ready in %v", neighbourStart)
		case err == nil && line != neighbourReady:
			cmd.Process.Kill()
			err = fmt.Errorf("it says %q", line)
		}
		if err == nil {
			ready <- nil
		}
		if end := cmd.Wait(); err == nil || stderr.Len() > 0 {
			if p.err = end; end == nil {
				p.err = errors.New("it has ended by itself")
			}
			if text := strings.TrimSpace(stderr.String()); text != "" {
				p.err = errors.New(text)
			}
		} else {
			p.err = err
		}
		close(p.ended)
		if err != nil {
			ready <- p.err
		}
	}()
	if err := <-ready; err != nil {
		stdin.Close()
		return nil, fmt.Errorf("the neighbour: %w", err)
	}
	return p, nil
}

// tell tells it to run or to pause.
func (p *neighbourProcess) tell(what byte) error {
	if _, err := p.stdin.Write([]byte{what}); err != nil {
		return p.lost(err)
	}
	return p.alive()
}

// alive returns an error if it has ended.
func (p *neighbourProcess) alive() error {
	select {
	case <-p.ended:
		return p.lost(nil)
	default:
		return nil
	}
}

// lost returns the error of a neighbour that has ended, if it does so soon.
func (p *neighbourProcess) lost(err error) error {
	select {
	case <-p.ended:
		err = p.err
	case <-time.After(time.Second):
	}
	return fmt.Errorf("the neighbour: %w", err)
}

// close ends it, and returns when it has ended.
func (p *neighbourProcess) close() {
	p.stdin.Close()
	<-p.ended
}

// beside starts the neighbour of so many workers, unless it is there, has it run and the workers
// keep to their processors. What it returns undoes the last two; it returns nil without neighbours.
func (r *Runner) beside(workers int) (p *neighbourProcess, end func(), err error) {
	if r.opts.Neighbour == "" {
		return nil, func() {}, nil
	}
	n, err := newNeighbour(r.opts.Neighbour, r.caches, workers)
	if err != nil {
		return nil, nil, err
	}
	if i := slices.IndexFunc(r.neighbours, func(p *neighbourProcess) bool { return reflect.DeepEqual(p.is, n) }); i >= 0 {
		p = r.neighbours[i]
	} else {
		if p, err = n.start(); err != nil {
			return nil, nil, err
		}
		r.neighbours = append(r.neighbours, p)
	}
	undo := func() {}
	if len(n.Workers) > 0 {
		if undo, err = pinTo(n.Workers, p.pid); err != nil {
			return nil, nil, err
		}
	}
	if err := p.tell(neighbourRun); err != nil {
		undo()
		return nil, nil, err
	}
	return p, func() {
		p.tell(neighbourPause) // if it cannot be told, it has ended
		undo()
	}, nil
}

// Close ends the neighbours of [Options], if there are any. They end with this process in any case.
func (r *Runner) Close() {
	for _, p := range r.neighbours {
		p.close()
	}
	r.neighbours = nil
}
