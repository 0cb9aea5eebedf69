package ggml

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

// weightTypes are the numbers of ggml.h of types of weights.
var weightTypes = map[qkv.WeightType]int{
	qkv.WeightFloat32:  typeF32,
	qkv.WeightFloat16:  typeF16,
	qkv.WeightBFloat16: typeBF16,
	qkv.WeightQ8_0:     typeQ8_0,
	qkv.WeightQ4_0:     typeQ4_0,
	qkv.WeightQ4_1:     typeQ4_1,
	qkv.WeightQ5_0:     6,
	qkv.WeightQ5_1:     7,
	qkv.WeightQ2_K:     10,
	qkv.WeightQ3_K:     11,
	qkv.WeightQ4_K:     12,
	qkv.WeightQ5_K:     13,
	qkv.WeightQ6_K:     14,
	qkv.WeightIQ4_NL:   20,
	qkv.WeightMXFP4:    39,
}

// roundings are what types that X is converted to round, by their names. A value in eight bits is off by
// half of 1/127 of the largest of its block, and by what the scale in binary16 is off.
var roundings = map[string]bench.Rounds{
	"f32":  {},
	"f16":  {X: bench.RoundoffFloat16},
	"bf16": {X: bench.RoundoffBFloat16},
	"q8_0": {X: 1./254 + bench.RoundoffFloat16, Block: 32},
	"q8_1": {X: 1./254 + bench.RoundoffFloat16, Block: 32},
	"q8_K": {X: 1. / 254, Block: 256},
}

// typeTraits is the beginning of a ggml_type_traits_cpu.
type typeTraits struct {
	_, _    uintptr // from_float, vec_dot
	dotType int32   // what X is converted to
}

// operands are X and Y of a product, and how its weights come into a tensor.
type operands struct {
	x, y []float32
	set  func(g *graph, w handle)
}

// products multiply by weights as they are in files and, of types for which ggml has that, laid out anew
// as llama.cpp does when it loads a model.
func (s *System) products(p bench.Product, workers int, in operands) ([]bench.Path, error) {
	t, ok := weightTypes[p.Weights]
	if !ok {
		return nil, &bench.UnsupportedError{System: s.Name(), Work: p, Reason: "it has no such type of weights"}
	}
	if err := s.checkType(t, p.Weights); err != nil {
		return nil, err
	}
	plain, err := s.product(p, workers, in, t, 0)
	if err != nil {
		return nil, err
	}
	paths := []bench.Path{*plain}
	for _, memory := range s.extraBuffers() {
		path, err := s.product(p, workers, in, t, memory)
		if err != nil {
			for _, p := range paths {
				p.Close()
			}
			return nil, err
		}
		if path != nil {
			paths = append(paths, *path)
		}
	}
	return paths, nil
}

// checkType reports that the library has another type by that number, or none.
func (s *System) checkType(t int, w qkv.WeightType) error {
	want := map[qkv.WeightType]string{qkv.WeightFloat32: "f32", qkv.WeightFloat16: "f16", qkv.WeightBFloat16: "bf16"}[w]
	if want == "" {
		want = w.String()
	}
	if have := s.typeName(int32(t)); !strings.EqualFold(have, want) {
		return fmt.Errorf("ggml %s has the type %q by the number %d, not %q", s.version, have, t, want)
	}
	haveValues, haveBytes := s.blockSize(int32(t)), s.typeSize(int32(t))
	if values, bytes := w.Block(); haveValues != int64(values) || haveBytes != uintptr(bytes) {
		return fmt.Errorf("ggml %s has blocks of %d values in %d bytes for %s, not of %d in %d", s.version, haveValues, haveBytes, want, values, bytes)
	}
	return nil
}

// product is a path with weights in memory of a kind, 0 for the usual one. It is nil if there is no
// product of such weights.
func (s *System) product(p bench.Product, workers int, in operands, typ int, memory handle) (*bench.Path, error) {
	g := s.start(workers)
	w, x := g.tensor(typ, p.K, p.N), g.tensor(typeF32, p.K, p.M)
	y := s.mulMat(g.ctx, w, x)
	layout := ""
	if memory != 0 {
		buffer := s.allocBuffer(memory, s.allocSize(memory, w))
		if buffer == 0 {
			g.close()
			return nil, fmt.Errorf("ggml has no memory of type %s", s.bufferName(memory))
		}
		g.buffers = append(g.buffers, buffer)
		if status := s.place(buffer, w, s.bufferBase(buffer)); status != 0 {
			g.close()
			return nil, fmt.Errorf("ggml_backend_tensor_alloc returned %d", status)
		}
		if !s.supportsOp(s.device(g.backend), y) {
			g.close()
			return nil, nil
		}
		layout = " laid out by " + s.bufferName(memory)
	}
	s.expand(g.graph, y)
	g.alloc()
	in.set(g, w)
	to := s.typeName(s.typeTraits(int32(typ)).dotType)
	rounds, ok := roundings[to]
	if !ok {
		g.close()
		return nil, fmt.Errorf("ggml converts x to %q, of which no rounding is known", to)
	}
	path := g.path(fmt.Sprintf("ggml_mul_mat, %s%s, x %s", s.typeName(int32(typ)), layout, to), 0, func() { set(g, x, in.x) }, func() { get(g, y, in.y) })
	path.Rounds = rounds
	return &path, nil
}

// extraBuffers lists the kinds of memory that lay weights out anew.
func (s *System) extraBuffers() []handle {
	g := s.start(1)
	defer g.close()
	device := s.device(g.backend)
	address := s.procAddress(s.registry(device), "ggml_backend_dev_get_extra_bufts")
	if address == 0 {
		return nil
	}
	var list []handle
	for next := s.extra(address, device); next != nil && *next != 0; next = (*handle)(unsafe.Add(unsafe.Pointer(next), unsafe.Sizeof(*next))) {
		list = append(list, *next)
	}
	return list
}

// extra calls ggml_backend_dev_get_extra_bufts, which returns handles up to one that is 0, or nil.
func (s *System) extra(address, device handle) *handle {
	var get func(device handle) *handle
	purego.RegisterFunc(&get, address)
	return get(device)
}
