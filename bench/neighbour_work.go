package bench

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
)

// BeNeighbour returns at once, unless a [Runner] has started this process to be the neighbour of
// another: it then works through memory until that ends, and does not return. A program that sets
// [Options.Neighbour] calls it before anything else.
func BeNeighbour() {
	if os.Getenv(neighbourEnv) == "" || len(os.Args) < 2 || os.Args[1] != neighbourArg {
		return
	}
	runtime.GOMAXPROCS(4)       // two threads at most, and one that hears when they are to stop
	signal.Ignore(os.Interrupt) // which a terminal sends to both: it ends with the other
	if err := workThroughMemory(os.Args[2:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// workThroughMemory does so when it is told, until in ends. The arguments are the bytes of a thread,
// the threads and their processors.
func workThroughMemory(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("%d arguments, want 3", len(args))
	}
	size, err := strconv.Atoi(args[0])
	if err != nil || size < 1 {
		return fmt.Errorf("%q is no number of bytes", args[0])
	}
	threads, err := strconv.Atoi(args[1])
	cpus := parseCPUs(args[2])
	if err != nil || threads < 1 || cpus != nil && len(cpus) != threads {
		return fmt.Errorf("%q threads on processors %q", args[1], args[2])
	}
	var gate sync.RWMutex // is open while they run
	gate.Lock()
	running := false
	ready := make(chan error, threads)
	for i := range threads {
		go func() {
			runtime.LockOSThread()
			if cpus != nil {
				if err := pinThread(cpus[i]); err != nil {
					ready <- fmt.Errorf("processor %d: %w", cpus[i], err)
					return
				}
			}
			data := make([]uint64, max(lineWords, size/8/lineWords*lineWords))
			touch(data)
			ready <- nil
			for {
				for from := 0; from < len(data); from += gateWords {
					gate.RLock()
					touch(data[from:min(from+gateWords, len(data))])
					gate.RUnlock()
				}
			}
		}()
	}
	for range threads {
		if err := <-ready; err != nil {
			return err
		}
	}
	if _, err := io.WriteString(out, neighbourReady); err != nil {
		return err
	}
	var told [1]byte
	for {
		if _, err := io.ReadFull(in, told[:]); err != nil {
			return nil // who has started it has ended
		}
		switch run := told[0] == neighbourRun; {
		case run && !running:
			gate.Unlock()
			running = true
		case !run && running:
			gate.Lock()
			running = false
		}
	}
}

const (
	lineWords = 8       // 64 bytes
	gateWords = 8 << 10 // some microseconds of work
)

// touch reads and writes a word of each line.
func touch(data []uint64) {
	for i := 0; i < len(data); i += lineWords {
		data[i]++
	}
}
