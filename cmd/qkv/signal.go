package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A signalError is a signal to end.
type signalError struct{ syscall.Signal }

func (s signalError) Error() string {
	if s.Signal == syscall.SIGINT {
		return "interrupted"
	}
	return "terminated"
}

// exitCode is that of a process which a signal ends, as shells have it.
func (s signalError) exitCode() int { return 128 + int(s.Signal) }

// grace is how long a command has to end by itself after a signal. What computes does so within
// some tens of milliseconds; not so what waits for another process at the end of a pipe.
const grace = 500 * time.Millisecond

// untilSignal returns a context that a signal to end cancels, which is its cause then. The process
// ends some time after the signal, or at another, whatever it does, and leaves no file that is not
// whole.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		got := signalError{(<-signals).(syscall.Signal)}
		cancel(got)
		select {
		case <-signals:
		case <-time.After(grace):
		}
		temporaries.abandon()
		os.Stderr.WriteString("qkv: " + got.Error() + "\n")
		os.Exit(got.exitCode())
	}()
	return ctx
}
