package onnxruntime

import (
	"runtime"
	"time"
	"unsafe"

	"github.com/qkv-go/qkv/bench"
)

// spin is how long idle threads look for work.
const spin = 60 * time.Millisecond

// A session is a model with operands bound to it.
type session struct {
	sys              *System
	workers          int
	session, binding uintptr
	values           []uintptr
	pins             runtime.Pinner
	err              error // the first while it was made

	// What calls are given addresses of: stacks move.
	handle uintptr
	text   []byte
	dims   []int64
}

// start makes a session of a model on so many threads.
func (s *System) start(m *model, workers int) *session {
	x := &session{sys: s, workers: workers}
	x.try(createSessionOptions, out(&x.handle))
	options := x.handle
	x.try(setIntraOpNumThreads, options, uintptr(workers))
	x.try(setInterOpNumThreads, options, 1)
	x.try(setSessionGraphOptimizationLevel, options, optimizeAll)
	x.text = m.encode()
	x.try(createSessionFromArray, s.env, address(x.text), uintptr(len(x.text)), options, out(&x.session))
	s.release(releaseSessionOptions, options)
	x.try(createIoBinding, x.session, out(&x.binding))
	return x
}

// try calls a function unless something has failed.
func (x *session) try(function int, args ...uintptr) {
	if x.err == nil {
		x.err = x.sys.call(function, args...)
	}
}

// bind binds data to an input or an output.
func bind[T any](x *session, function int, t tensorType, data []T) {
	x.pins.Pin(unsafe.SliceData(data))
	size := uintptr(len(data)) * unsafe.Sizeof(data[0])
	x.dims, x.text = t.dims, append([]byte(t.name), 0)
	x.handle = 0
	x.try(createTensorWithData, x.sys.memory, address(data), size, address(x.dims), uintptr(len(x.dims)), uintptr(t.typ), out(&x.handle))
	x.values = append(x.values, x.handle)
	x.try(function, x.binding, address(x.text), x.handle)
	runtime.KeepAlive(x)
}

func (x *session) run() error { return x.sys.call(runWithBinding, x.session, 0, x.binding) }

func (x *session) close() {
	x.sys.release(releaseIoBinding, x.binding)
	for _, v := range x.values {
		x.sys.release(releaseValue, v)
	}
	x.sys.release(releaseSession, x.session)
	x.pins.Unpin()
}

// path returns the way that a session is, and closes it if it could not be made.
func (x *session) path(name string, roundoff float64, load, finish func()) (bench.Path, error) {
	if x.err != nil {
		x.close()
		return bench.Path{}, x.err
	}
	p := bench.Path{Name: name, Roundoff: roundoff, NoLSE: true, Run: x.run, Close: x.close}
	p.Load = func() error { load(); return nil }
	p.Finish = func() error { finish(); return nil }
	if x.workers > 1 {
		p.Rest = func() { time.Sleep(spin) }
	}
	return p, nil
}
