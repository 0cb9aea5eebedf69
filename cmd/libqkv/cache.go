package main

// #define QKV_NO_PROTOTYPES
// #include "qkv.h"
import "C"

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// A sequence or a step, and the cache it is in.
type sequence struct {
	*qkv.Sequence
	cache uint64
}

type step struct {
	*qkv.Step
	cache uint64
}

// objects are what handles stand for: a *qkv.Cache, a *sequence or a *step. A number is never used again, so that
// one that was freed is none.
var objects struct {
	sync.Mutex
	last uint64
	all  map[uint64]any
}

// object returns what a handle stands for.
func object[T any](kind string, handle C.uint64_t) (T, error) {
	objects.Lock()
	defer objects.Unlock()
	x, ok := objects.all[uint64(handle)].(T)
	if !ok {
		return x, fmt.Errorf("qkv: there is no %s %d", kind, handle)
	}
	return x, nil
}

// drop forgets a handle.
func drop(handle C.uint64_t) {
	objects.Lock()
	defer objects.Unlock()
	delete(objects.all, uint64(handle))
}

// dropCache forgets a cache, and what is in it.
func dropCache(handle C.uint64_t) {
	objects.Lock()
	defer objects.Unlock()
	maps.DeleteFunc(objects.all, func(h uint64, x any) bool {
		in := h
		switch x := x.(type) {
		case *sequence:
			in = x.cache
		case *step:
			in = x.cache
		}
		return in == uint64(handle)
	})
}

// give makes an object and hands its handle to the caller. Without a place for that it makes none.
func give(to *C.uint64_t, create func() (any, error)) error {
	if to == nil {
		return errors.New("qkv: there is no place for the handle: it is NULL")
	}
	x, err := create()
	if err != nil {
		return err
	}
	objects.Lock()
	defer objects.Unlock()
	if objects.all == nil {
		objects.all = map[uint64]any{}
	}
	objects.last++
	objects.all[objects.last] = x
	*to = C.uint64_t(objects.last)
	return nil
}

//export qkv_cache_new
func qkv_cache_new(layers *C.qkv_cache_layer, n, pageTokens, pages, sequences C.int64_t, handle *C.uint64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		if layers == nil || n < 0 {
			return fmt.Errorf("qkv: layers is NULL, or there are %d layers", n)
		}
		cfg := qkv.CacheConfig{PageTokens: int(pageTokens), Pages: int(pages), Sequences: int(sequences)}
		for i, l := range unsafe.Slice(layers, int(n)) {
			layer := qkv.CacheLayer{
				KVHeads: int(l.kv_heads), DimQK: int(l.dim_qk), DimV: int(l.dim_v), Window: int(l.window), First: int(l.first),
			}
			var err error
			if layer.KeyType, err = elemType(fmt.Sprintf("the key_type of layer %d", i), l.key_type); err != nil {
				return err
			}
			if layer.ValueType, err = elemType(fmt.Sprintf("the value_type of layer %d", i), l.value_type); err != nil {
				return err
			}
			cfg.Layers = append(cfg.Layers, layer)
		}
		return give(handle, func() (any, error) { return qkv.NewCache(cfg) })
	})
}

//export qkv_cache_free
func qkv_cache_free(handle C.uint64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		if _, err := object[*qkv.Cache]("cache", handle); err != nil {
			return err
		}
		dropCache(handle)
		return nil
	})
}

//export qkv_sequence_new
func qkv_sequence_new(in C.uint64_t, handle *C.uint64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		c, err := object[*qkv.Cache]("cache", in)
		if err != nil {
			return err
		}
		return give(handle, func() (any, error) { return &sequence{c.NewSequence(), uint64(in)}, nil })
	})
}

// ofSequence does something with a sequence.
func ofSequence(handle C.uint64_t, text *C.char, size C.size_t, do func(s *sequence) error) C.int {
	return call(text, size, func() error {
		s, err := object[*sequence]("sequence", handle)
		if err != nil {
			return err
		}
		return do(s)
	})
}

//export qkv_sequence_fork
func qkv_sequence_fork(of C.uint64_t, handle *C.uint64_t, text *C.char, size C.size_t) C.int {
	return ofSequence(of, text, size, func(s *sequence) error {
		return give(handle, func() (any, error) {
			fork, err := s.Fork()
			return &sequence{fork, s.cache}, err
		})
	})
}

//export qkv_sequence_truncate
func qkv_sequence_truncate(handle C.uint64_t, tokens C.int64_t, text *C.char, size C.size_t) C.int {
	return ofSequence(handle, text, size, func(s *sequence) error { return s.Truncate(int(tokens)) })
}

//export qkv_sequence_len
func qkv_sequence_len(handle C.uint64_t, tokens *C.int64_t, text *C.char, size C.size_t) C.int {
	return ofSequence(handle, text, size, func(s *sequence) error {
		if tokens == nil {
			return fmt.Errorf("qkv: there is no place for the number of tokens: it is NULL")
		}
		*tokens = C.int64_t(s.Len())
		return nil
	})
}

//export qkv_sequence_free
func qkv_sequence_free(handle C.uint64_t, text *C.char, size C.size_t) C.int {
	return ofSequence(handle, text, size, func(s *sequence) error {
		if err := s.Free(); err != nil {
			return err
		}
		drop(handle)
		return nil
	})
}

//export qkv_step_new
func qkv_step_new(in C.uint64_t, handle *C.uint64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		c, err := object[*qkv.Cache]("cache", in)
		if err != nil {
			return err
		}
		e, err := theEngine()
		if err != nil {
			return err
		}
		return give(handle, func() (any, error) {
			s, err := e.NewStep(c)
			return &step{s, uint64(in)}, err
		})
	})
}

// ofStep does something with a step.
func ofStep(handle C.uint64_t, text *C.char, size C.size_t, do func(s *step) error) C.int {
	return call(text, size, func() error {
		s, err := object[*step]("step", handle)
		if err != nil {
			return err
		}
		return do(s)
	})
}

//export qkv_step_begin
func qkv_step_begin(handle C.uint64_t, sequences *C.uint64_t, tokens *C.int64_t, n C.int64_t, text *C.char, size C.size_t) C.int {
	return ofStep(handle, text, size, func(s *step) error {
		if n < 0 || n > most || n > 0 && (sequences == nil || tokens == nil) {
			return fmt.Errorf("qkv: sequences or tokens is NULL, or there are %d sequences, 0 to %d are supported", n, most)
		}
		of := make([]qkv.StepSequence, int(n))
		for i := range of {
			q, err := object[*sequence]("sequence", unsafe.Slice(sequences, int(n))[i])
			if err != nil {
				return err
			}
			of[i] = qkv.StepSequence{Sequence: q.Sequence, Tokens: int(unsafe.Slice(tokens, int(n))[i])}
		}
		return s.Begin(of)
	})
}

//export qkv_step_write
func qkv_step_write(handle C.uint64_t, layer C.int64_t, k, v *C.qkv_tensor, text *C.char, size C.size_t) C.int {
	return ofStep(handle, text, size, func(s *step) error {
		kv, err := view("k", k)
		if err != nil {
			return err
		}
		vv, err := view("v", v)
		if err != nil {
			return err
		}
		return s.Write(int(layer), kv, vv)
	})
}

//export qkv_step_attend
func qkv_step_attend(handle C.uint64_t, layer C.int64_t, args *C.qkv_attention_args, text *C.char, size C.size_t) C.int {
	return ofStep(handle, text, size, func(s *step) error {
		c, err := attention(args)
		if err != nil {
			return err
		}
		return s.Attend(int(layer), c)
	})
}

//export qkv_step_commit
func qkv_step_commit(handle C.uint64_t, text *C.char, size C.size_t) C.int {
	return ofStep(handle, text, size, func(s *step) error { return s.Commit() })
}

//export qkv_step_rollback
func qkv_step_rollback(handle C.uint64_t, text *C.char, size C.size_t) C.int {
	return ofStep(handle, text, size, func(s *step) error { return s.Rollback() })
}

//export qkv_step_free
func qkv_step_free(handle C.uint64_t, text *C.char, size C.size_t) C.int {
	return ofStep(handle, text, size, func(s *step) error {
		if err := s.Rollback(); err != nil && !errors.Is(err, qkv.ErrNotBegun) {
			return err
		}
		drop(handle)
		return nil
	})
}
