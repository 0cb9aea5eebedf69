package onednn

import (
	"runtime"
	"unsafe"
)

// matrix returns the description of a matrix with that many elements from one row, and from
// one column, to the next.
func (l *library) matrix(typ int32, rows, columns, rowStride, columnStride int) (*desc, error) {
	d := new(desc)
	dims, strides := [2]int64{int64(rows), int64(columns)}, [2]int64{int64(rowStride), int64(columnStride)}
	return d, check("dnnl_memory_desc_init_by_strides", l.memoryDescStrides(d, 2, &dims[0], typ, &strides[0]))
}

// A primitive is an operation on memory of certain descriptions. Several threads may execute
// it at once, each in a call of its own.
type primitive struct {
	l       *library
	handle  uintptr
	args    []int32 // what the memory of each description is to it
	descs   []*desc
	weights desc // of a product, the layout that it wants
}

// A call is a primitive with memory to execute it on.
type call struct {
	p       *primitive
	stream  uintptr
	args    []execArg
	scratch []byte
}

// matmul makes dst = scale src weights.
func (l *library) matmul(src, weights, dst *desc, scale float32) (*primitive, error) {
	var op opDesc
	if err := check("dnnl_matmul_desc_init", l.matmulDescInit(&op, src, weights, nil, dst)); err != nil {
		return nil, err
	}
	return l.primitive([]int32{argSrc, argWeights, argDst}, []*desc{src, weights, dst}, scale, func(pd *uintptr, attr uintptr) error {
		return check("dnnl_primitive_desc_create of a product", l.primitiveDescCreate(pd, &op, attr, l.engine, 0))
	})
}

// softmax makes the softmax of each row of src.
func (l *library) softmax(src, dst *desc) (*primitive, error) {
	var op opDesc
	if err := check("dnnl_softmax_v2_forward_desc_init", l.softmaxDescInit(&op, forwardInference, softmaxAccurate, src, dst, 1)); err != nil {
		return nil, err
	}
	return l.primitive([]int32{argSrc, argDst}, []*desc{src, dst}, 1, func(pd *uintptr, attr uintptr) error {
		return check("dnnl_primitive_desc_create of a softmax", l.primitiveDescCreate(pd, &op, attr, l.engine, 0))
	})
}

// reorder makes a copy of src in the layout and the type of dst.
func (l *library) reorder(src, dst *desc) (*primitive, error) {
	return l.primitive([]int32{argSrc, argDst}, []*desc{src, dst}, 1, func(pd *uintptr, attr uintptr) error {
		return check("dnnl_reorder_primitive_desc_create", l.reorderDescCreate(pd, src, l.engine, dst, l.engine, attr))
	})
}

func (l *library) primitive(args []int32, descs []*desc, scale float32, describe func(pd *uintptr, attr uintptr) error) (*primitive, error) {
	var attr, pd uintptr
	if err := check("dnnl_primitive_attr_create", l.attrCreate(&attr)); err != nil {
		return nil, err
	}
	defer func() { l.attrDestroy(attr) }()
	// The scratchpad of the library is one for all primitives that a thread has made.
	if err := check("dnnl_primitive_attr_set_scratchpad_mode", l.attrSetScratchpad(attr, userScratchpad)); err != nil {
		return nil, err
	}
	if scale != 1 {
		if err := check("dnnl_primitive_attr_set_output_scales", l.attrSetOutputScales(attr, 1, 0, &scale)); err != nil {
			return nil, err
		}
	}
	if err := describe(&pd, attr); err != nil {
		return nil, err
	}
	defer func() { l.primitiveDescDestroy(pd) }()
	scratch := *l.primitiveDescQueryMD(pd, queryScratchpad, 0)
	p := &primitive{l: l, args: append(args, argScratchpad), descs: append(descs, &scratch)}
	if w := l.primitiveDescQueryMD(pd, queryWeights, 0); w != nil {
		p.weights = *w
	}
	return p, check("dnnl_primitive_create", l.primitiveCreate(&p.handle, pd))
}

func (p *primitive) close() { p.l.primitiveDestroy(p.handle) }

// call makes a call of the primitive, with a scratchpad of its own.
func (p *primitive) call() (*call, error) {
	c := &call{p: p, scratch: make([]byte, p.l.memoryDescSize(p.descs[len(p.descs)-1])+1)}
	if err := check("dnnl_stream_create", p.l.streamCreate(&c.stream, p.l.engine, inOrder)); err != nil {
		return nil, err
	}
	for i, arg := range p.args {
		var handle unsafe.Pointer
		if arg == argScratchpad {
			handle = unsafe.Pointer(&c.scratch[0])
		}
		var memory uintptr
		if err := check("dnnl_memory_create", p.l.memoryCreate(&memory, p.descs[i], p.l.engine, handle)); err != nil {
			c.close()
			return nil, err
		}
		c.args = append(c.args, execArg{arg, memory})
	}
	return c, nil
}

// run executes the primitive on memory, in the order of its descriptions.
func (c *call) run(at ...unsafe.Pointer) error {
	l := c.p.l
	for i, handle := range at {
		if err := check("dnnl_memory_set_data_handle", l.memorySetHandle(c.args[i].memory, handle)); err != nil {
			return err
		}
	}
	err := check("dnnl_primitive_execute", l.primitiveExecute(c.p.handle, c.stream, int32(len(c.args)), &c.args[0]))
	if err == nil {
		err = check("dnnl_stream_wait", l.streamWait(c.stream))
	}
	runtime.KeepAlive(at)
	return err
}

func (c *call) close() {
	for _, a := range c.args {
		c.p.l.memoryDestroy(a.memory)
	}
	c.p.l.streamDestroy(c.stream)
}

// once executes a primitive once.
func (p *primitive) once(at ...unsafe.Pointer) error {
	c, err := p.call()
	if err != nil {
		return err
	}
	defer c.close()
	return c.run(at...)
}

// at returns where a slice is.
func at[T any](x []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }
