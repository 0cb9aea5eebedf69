package onednn

import (
	"fmt"
	"unsafe"

	"github.com/qkv-go/qkv/bench/peers/internal/shared"
)

// library is the functions of dnnl.h, version 2, and of OpenMP, on whose threads it computes.
// Those that return an int32 return a dnnl_status_t.
type library struct {
	version string
	engine  uintptr

	ompSetNumThreads func(n int32)

	engineCreate         func(engine *uintptr, kind int32, index uintptr) int32
	streamCreate         func(stream *uintptr, engine uintptr, flags uint32) int32
	streamWait           func(stream uintptr) int32
	streamDestroy        func(stream uintptr) int32
	memoryDescStrides    func(d *desc, ndims int32, dims *int64, typ int32, strides *int64) int32
	memoryDescTag        func(d *desc, ndims int32, dims *int64, typ int32, tag int32) int32
	memoryDescSize       func(d *desc) uintptr
	memoryCreate         func(memory *uintptr, d *desc, engine uintptr, handle unsafe.Pointer) int32
	memorySetHandle      func(memory uintptr, handle unsafe.Pointer) int32
	memoryDestroy        func(memory uintptr) int32
	attrCreate           func(attr *uintptr) int32
	attrSetOutputScales  func(attr uintptr, count int64, mask int32, scales *float32) int32
	attrSetScratchpad    func(attr uintptr, mode int32) int32
	attrDestroy          func(attr uintptr) int32
	matmulDescInit       func(op *opDesc, src, weights, bias, dst *desc) int32
	softmaxDescInit      func(op *opDesc, prop, alg int32, src, dst *desc, axis int32) int32
	reorderDescCreate    func(pd *uintptr, src *desc, srcEngine uintptr, dst *desc, dstEngine, attr uintptr) int32
	primitiveDescCreate  func(pd *uintptr, op *opDesc, attr, engine, hint uintptr) int32
	primitiveDescQueryMD func(pd uintptr, what, index int32) *desc
	primitiveDescDestroy func(pd uintptr) int32
	primitiveCreate      func(primitive *uintptr, pd uintptr) int32
	primitiveExecute     func(primitive, stream uintptr, n int32, args *execArg) int32
	primitiveDestroy     func(primitive uintptr) int32
}

// desc is a dnnl_memory_desc_t, which has 696 bytes.
type desc [696 / 8]uint64

// opDesc has room for a dnnl_matmul_desc_t or dnnl_softmax_v2_desc_t, of 2800 bytes.
type opDesc [3072 / 8]uint64

// execArg is a dnnl_exec_arg_t.
type execArg struct {
	arg    int32
	memory uintptr
}

// Enumerations of dnnl_types.h.
const (
	bfloat16 = 2 // dnnl_data_type_t
	float32s = 3

	anyTag            = 1 // dnnl_format_tag_t
	cpu               = 1 // dnnl_engine_kind_t
	inOrder           = 1 // dnnl_stream_flags_t
	userScratchpad    = 1 // dnnl_scratchpad_mode_t
	forwardInference  = 96
	softmaxAccurate   = 0x30000
	queryWeights      = 128 + 3
	queryScratchpad   = 128 + 8
	argSrc            = 1
	argDst            = 17
	argWeights        = 33
	argScratchpad     = 80
	statusUnsupported = 3 // dnnl_unimplemented
)

// versionInfo is the beginning of a dnnl_version_t.
type versionInfo struct{ major, minor, patch int32 }

// load loads libdnnl.so.2 and its OpenMP.
func load() (*library, error) {
	dnnl, err := shared.Load(false, "libdnnl.so.2")
	if err != nil {
		return nil, fmt.Errorf("onednn: libdnnl.so.2 is missing (Debian: libdnnl2): %w", err)
	}
	omp, err := shared.Load(false, "libgomp.so.1")
	if err != nil {
		return nil, fmt.Errorf("onednn: libgomp.so.1 is missing: %w", err)
	}
	l := &library{}
	if err := omp.Func(&l.ompSetNumThreads, "omp_set_num_threads"); err != nil {
		return nil, fmt.Errorf("onednn: %w", err)
	}
	var version func() *versionInfo
	for _, f := range []struct {
		fn     any
		symbol string
	}{
		{&version, "version"},
		{&l.engineCreate, "engine_create"},
		{&l.streamCreate, "stream_create"},
		{&l.streamWait, "stream_wait"},
		{&l.streamDestroy, "stream_destroy"},
		{&l.memoryDescStrides, "memory_desc_init_by_strides"},
		{&l.memoryDescTag, "memory_desc_init_by_tag"},
		{&l.memoryDescSize, "memory_desc_get_size"},
		{&l.memoryCreate, "memory_create"},
		{&l.memorySetHandle, "memory_set_data_handle"},
		{&l.memoryDestroy, "memory_destroy"},
		{&l.attrCreate, "primitive_attr_create"},
		{&l.attrSetOutputScales, "primitive_attr_set_output_scales"},
		{&l.attrSetScratchpad, "primitive_attr_set_scratchpad_mode"},
		{&l.attrDestroy, "primitive_attr_destroy"},
		{&l.matmulDescInit, "matmul_desc_init"},
		{&l.softmaxDescInit, "softmax_v2_forward_desc_init"},
		{&l.reorderDescCreate, "reorder_primitive_desc_create"},
		{&l.primitiveDescCreate, "primitive_desc_create"},
		{&l.primitiveDescQueryMD, "primitive_desc_query_md"},
		{&l.primitiveDescDestroy, "primitive_desc_destroy"},
		{&l.primitiveCreate, "primitive_create"},
		{&l.primitiveExecute, "primitive_execute"},
		{&l.primitiveDestroy, "primitive_destroy"},
	} {
		if err := dnnl.Func(f.fn, "dnnl_"+f.symbol); err != nil {
			return nil, fmt.Errorf("onednn: %w", err)
		}
	}
	v := version()
	if v.major != 2 {
		return nil, fmt.Errorf("onednn: libdnnl.so.2 is version %d, want 2", v.major)
	}
	l.version = fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch)
	return l, check("dnnl_engine_create", l.engineCreate(&l.engine, cpu, 0))
}

// statusError is a dnnl_status_t other than success.
type statusError struct {
	call   string
	status int32
}

func (e *statusError) Error() string { return fmt.Sprintf("%s returns status %d", e.call, e.status) }

func check(call string, status int32) error {
	if status != 0 {
		return &statusError{call, status}
	}
	return nil
}
