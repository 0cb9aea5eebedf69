package main

// #define QKV_NO_PROTOTYPES
// #include "qkv.h"
import "C"

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/qkv-go/qkv"
)

// A cache is a cache and the handles of what is in it.
type cache struct {
	*qkv.Cache
	in []uint64
}

// A sequence or a step, and the cache it is in.
type sequence struct {
	*qkv.Sequence
	cache uint64
}

type step struct {
	*qkv.Step
	cache uint64
}

// objects are what handles stand for. A number is never used again, so that one that was freed is none.
var objects struct {
	sync.Mutex
	last uint64
	all  map[uint64]any
}

// keep returns a handle, of something in a cache if that is not 0.
func keep(x any, in uint64) uint64 {
	objects.Lock()
	defer objects.Unlock()
	if objects.all == nil {
		objects.all = map[uint64]any{}
	}
	objects.last++
	objects.all[objects.last] = x
	if c, ok := objects.all[in].(*cache); ok {
		c.in = append(c.in, objects.last)
	}
	return objects.last
}

// object returns what a handle stands for.
func object[T any](kind string, handle uint64) (T, error) {
	objects.Lock()
	defer objects.Unlock()
	x, ok := objects.all[handle].(T)
	if !ok {
		return x, fmt.Errorf("qkv: there is no %s %d", kind, handle)
	}
	return x, nil
}

// drop forgets a handle.
func drop(handle uint64) {
	objects.Lock()
	defer objects.Unlock()
	delete(objects.all, handle)
}

// give hands a handle to the caller.
func give(to *C.uint64_t, x any, in uint64) error {
	if to == nil {
		return fmt.Errorf("qkv: there is no place for the handle: it is NULL")
	}
	*to = C.uint64_t(keep(x, in))
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
		c, err := qkv.NewCache(cfg)
		if err != nil {
			return err
		}
		return give(handle, &cache{Cache: c}, 0)
	})
}

//export qkv_cache_free
func qkv_cache_free(handle C.uint64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		c, err := object[*cache]("cache", uint64(handle))
		if err != nil {
			return err
		}
		for _, h := range c.in {
			drop(h)
		}
		drop(uint64(handle))
		return nil
	})
}

//export qkv_sequence_new
func qkv_sequence_new(in C.uint64_t, handle *C.uint64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		c, err := object[*cache]("cache", uint64(in))
		if err != nil {
			return err
		}
		return give(handle, &sequence{c.NewSequence(), uint64(in)}, uint64(in))
	})
}

// ofSequence does something with a sequence.
func ofSequence(handle C.uint64_t, text *C.char, size C.size_t, do func(s *sequence) error) C.int {
	return call(text, size, func() error {
		s, err := object[*sequence]("sequence", uint64(handle))
		if err != nil {
			return err
		}
		return do(s)
	})
}

//export qkv_sequence_fork
func qkv_sequence_fork(of C.uint64_t, handle *C.uint64_t, text *C.char, size C.size_t) C.int {
	return ofSequence(of, text, size, func(s *sequence) error {
		fork, err := s.Fork()
		if err != nil {
			return err
		}
		return give(handle, &sequence{fork, s.cache}, s.cache)
	})
}

//export qkv_sequence_truncate
func qkv_sequence_truncate(handle C.uint64_t, tokens C.int64_t, text *C.char, size C.size_t) C.int {
	return ofSequence(handle, text, size, func(s *sequence) error { return s.Truncate(int(tokens)) })
}

//export qkv_sequence_len
func qkv_sequence_len(handle C.uint64_t, tokens *C.int64_t, text *C.char, size C.size_t) C.int {
	return ofSequence(handle, text, size, func(s *sequence) error {
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
		drop(uint64(handle))
		return nil
	})
}

//export qkv_step_new
func qkv_step_new(in C.uint64_t, handle *C.uint64_t, text *C.char, size C.size_t) C.int {
	return call(text, size, func() error {
		c, err := object[*cache]("cache", uint64(in))
		if err != nil {
			return err
		}
		e, err := theEngine()
		if err != nil {
			return err
		}
		s, err := e.NewStep(c.Cache)
		if err != nil {
			return err
		}
		return give(handle, &step{s, uint64(in)}, uint64(in))
	})
}

// ofStep does something with a step.
func ofStep(handle C.uint64_t, text *C.char, size C.size_t, do func(s *step) error) C.int {
	return call(text, size, func() error {
		s, err := object[*step]("step", uint64(handle))
		if err != nil {
			return err
		}
		return do(s)
	})
}

//export qkv_step_begin
func qkv_step_begin(handle C.uint64_t, sequences *C.uint64_t, tokens *C.int64_t, n C.int64_t, text *C.char, size C.size_t) C.int {
	return ofStep(handle, text, size, func(s *step) error {
		if n < 0 || n > 0 && (sequences == nil || tokens == nil) {
			return fmt.Errorf("qkv: sequences or tokens is NULL, or there are %d sequences", n)
		}
		of := make([]qkv.StepSequence, int(n))
		for i := range of {
			q, err := object[*sequence]("sequence", uint64(unsafe.Slice(sequences, int(n))[i]))
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
