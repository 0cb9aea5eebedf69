// Command libqkv is the library qkv for C, and for what calls C:
//
//	go build -buildmode=c-shared -o libqkv.so .
//
// qkv.h says what it has, and qkv.py calls it from Python.
package main

/*
#define QKV_NO_PROTOTYPES // cgo writes its own, without const
#include <string.h>
#include "qkv.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/qkv-go/qkv"
)

func main() {}

var engine struct {
	sync.Mutex
	workers int
	made    *qkv.Engine
}

// theEngine returns the engine of all calls.
func theEngine() (*qkv.Engine, error) {
	engine.Lock()
	defer engine.Unlock()
	if engine.made == nil {
		e, err := qkv.New(qkv.Config{Workers: engine.workers})
		if err != nil {
			return nil, err
		}
		engine.made = e
	}
	return engine.made, nil
}

// call does what a function of the header does, and hands out what went wrong. A panic is an error too: it must not
// end a process of the caller's.
func call(text *C.char, size C.size_t, do func() error) (status C.int) {
	defer func() {
		if p := recover(); p != nil {
			status = failed(text, size, fmt.Errorf("qkv: %v", p))
		}
	}()
	if err := do(); err != nil {
		return failed(text, size, err)
	}
	return 0
}

func failed(text *C.char, size C.size_t, err error) C.int {
	if text != nil && size > 0 {
		message := err.Error()
		n := min(uint64(size)-1, uint64(len(message)))
		room := unsafe.Slice((*byte)(unsafe.Pointer(text)), n+1)
		room[copy(room[:n], message)] = 0
	}
	return -1
}

//export qkv_set_workers
func qkv_set_workers(workers C.int64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		engine.Lock()
		defer engine.Unlock()
		if engine.made != nil {
			return errors.New("qkv: workers are set before the first call")
		}
		engine.workers = int(workers)
		return nil
	})
}

//export qkv_attention
func qkv_attention(args *C.qkv_attention_args, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		e, err := theEngine()
		if err != nil {
			return err
		}
		c, err := attention(args)
		if err != nil {
			return err
		}
		return e.Run(c)
	})
}

//export qkv_matmul
func qkv_matmul(x, w *C.qkv_matrix, bias *C.float, y *C.qkv_matrix, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		e, err := theEngine()
		if err != nil {
			return err
		}
		var p qkv.Product
		for _, m := range []struct {
			name string
			from *C.qkv_matrix
			to   *qkv.Matrix
		}{{"x", x, &p.X}, {"w", w, &p.W}, {"y", y, &p.Y}} {
			if *m.to, err = matrix(m.name, m.from); err != nil {
				return err
			}
		}
		if bias != nil {
			p.Bias = unsafe.Slice((*float32)(bias), int(w.cols))
		}
		return e.MatMul(&p)
	})
}
