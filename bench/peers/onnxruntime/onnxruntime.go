// Package onnxruntime computes attention and matrix products with ONNX Runtime, that is loaded
// with dlopen from the npm package onnxruntime-node.
package onnxruntime

import (
	"errors"
	"path/filepath"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/internal/shared"
)

// Functions of OrtApi by their place in it (onnxruntime_c_api.h), to which later versions only
// append.
const (
	getErrorMessage                  = 2
	createEnv                        = 3
	createSessionFromArray           = 8
	createSessionOptions             = 10
	setSessionGraphOptimizationLevel = 23
	setIntraOpNumThreads             = 24
	setInterOpNumThreads             = 25
	createTensorWithData             = 49
	createCPUMemoryInfo              = 69
	releaseStatus                    = 93
	releaseSession                   = 95
	releaseValue                     = 96
	releaseSessionOptions            = 100
	runWithBinding                   = 133
	createIoBinding                  = 134
	releaseIoBinding                 = 135
	bindInput                        = 136
	bindOutput                       = 137

	apiFunctions = bindOutput + 1
	apiVersion   = 16 // that has them

	logError    = 3
	optimizeAll = 99
)

// A System is ONNX Runtime on its CPU provider.
type System struct {
	version string
	api     *[apiFunctions]uintptr
	name    []byte
	env     uintptr
	memory  uintptr
}

// Open loads ONNX Runtime from the folder that setup has put packages in.
func Open(lib string) (bench.System, error) {
	l, err := shared.Load(false, filepath.Join(lib, "node_modules/onnxruntime-node/bin/napi-v6", runtime.GOOS, arch(), "libonnxruntime.so.1"))
	if err != nil {
		return nil, err
	}
	var base func() *[2]uintptr
	if err := l.Func(&base, "OrtGetApiBase"); err != nil {
		return nil, err
	}
	var getAPI func(version uint32) *[apiFunctions]uintptr
	var version func() string
	purego.RegisterFunc(&getAPI, base()[0])
	purego.RegisterFunc(&version, base()[1])
	s := &System{version: version(), api: getAPI(apiVersion)}
	if s.api == nil {
		return nil, errors.New("its API has another version")
	}
	s.name = append([]byte("peers"), 0) // on the heap, with the handles: stacks move
	if err := s.call(createEnv, logError, address(s.name), out(&s.env)); err != nil {
		return nil, err
	}
	const arena, standard = 1, 0
	if err := s.call(createCPUMemoryInfo, arena, standard, out(&s.memory)); err != nil {
		return nil, err
	}
	return s, nil
}

func arch() string {
	if runtime.GOARCH == "amd64" {
		return "x64"
	}
	return runtime.GOARCH
}

// Name is "onnxruntime".
func (s *System) Name() string { return "onnxruntime" }

// Version is what the library says.
func (s *System) Version() string { return s.version }

func address[T any](x []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(x))) }

// out passes a pointer to where a handle goes.
func out(p *uintptr) uintptr { return uintptr(unsafe.Pointer(p)) }

// call calls a function that returns a status.
func (s *System) call(function int, args ...uintptr) error {
	status, _, _ := purego.SyscallN(s.api[function], args...)
	if status == 0 {
		return nil
	}
	var message func(status uintptr) string
	purego.RegisterFunc(&message, s.api[getErrorMessage])
	err := errors.New(message(status))
	s.release(releaseStatus, status)
	return err
}

func (s *System) release(function int, handle uintptr) {
	if handle != 0 {
		purego.SyscallN(s.api[function], handle)
	}
}
