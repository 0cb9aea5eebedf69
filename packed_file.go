package qkv

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/tile"
)

// A packed matrix in a file is a header of packedHeader bytes and the panels, float32 in the order of
// the machine, or strips of another type, see [kernel.Weight.Strip]. The header is, in little-endian order but for the mark:
//
//	 0  8 bytes  "qkvpack" and a 0
//	 8  uint32   version
//	12  uint32   the mark, in the order of the machine
//	16  uint32   the class of products that it is packed for, a [kernel.Precision]
//	20  uint32   the type of the weights, a [kernel.Weight]
//	24  8 bytes  0
//	32  uint32   lanes of a vector
//	36  uint32   lanes of a panel
//	40  uint64   rows
//	48  uint64   columns
//	56  uint32   heads
//	60  uint32   CRC-32 (IEEE) of what is before
//
// Sets whose vectors and panels are alike have strips alike.
//
// Behind the panels are zeros up to a multiple of packedAlign bytes, so that files that are written one
// after the other begin where they have to.
const (
	packedMagic   = "qkvpack\x00"
	packedVersion = 3 // strips of kernel.Set.StripLanes
	packedHeader  = 64
	packedAlign   = 64 // bytes
)

// header returns the header of p.
func (p *PackedMatrix) header() (h [packedHeader]byte) {
	order := binary.LittleEndian
	copy(h[:], packedMagic)
	order.PutUint32(h[8:], packedVersion)
	binary.NativeEndian.PutUint32(h[12:], fileMark)
	order.PutUint32(h[16:], uint32(p.precision))
	order.PutUint32(h[20:], uint32(p.Type()))
	order.PutUint32(h[32:], uint32(p.set.Vec))
	order.PutUint32(h[36:], uint32(p.set.Lanes))
	order.PutUint64(h[40:], uint64(p.rows))
	order.PutUint64(h[48:], uint64(p.cols))
	order.PutUint32(h[56:], uint32(p.heads))
	order.PutUint32(h[60:], crc32.ChecksumIEEE(h[:60]))
	return h
}

// WriteTo writes p to w, a header of 64 bytes, [PackedMatrix.Bytes], and zeros up to a multiple of 64, which
// [Engine.MapPacked] uses on any Engine of a kernel set with such panels. Several matrices may be written into
// one file, one after the other: each begins at a multiple of 64 bytes if the first does. WriteTo returns how
// many bytes it wrote. The error is an [*ArgError], or that of w.
func (p *PackedMatrix) WriteTo(w io.Writer) (int64, error) {
	if p == nil || p.set == nil {
		return 0, argError("packed", 0, 1, "packed is nil or zero: Pack makes one")
	}
	h := p.header()
	data := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.mem))), 4*len(p.mem))
	all := int64(0)
	for _, part := range [...][]byte{h[:], data, make([]byte, -len(data)&(packedAlign-1))} {
		n, err := writeAll(w, part)
		all += int64(n)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// PackedSize returns how many bytes [Engine.PackInto] and [PackedMatrix.WriteTo] write for weights w, packed
// as so many heads for products of a class: a header of 64, [PackedMatrix.Bytes], and zeros up to a multiple of 64.
// It depends on the type, the shape and the layout of w: the values need not be there. It is 0 for sizes that
// no matrix can have, for an unknown type, for weights that the class does not multiply, see [Engine.PackFor], and
// on an Engine that New did not make.
func (e *Engine) PackedSize(precision Precision, w Matrix, heads int) int {
	if e.ready() != nil || w.rows < 1 || w.cols < 1 || w.weights != nil && !WeightType(w.weights.Type).known() {
		return 0
	}
	p, err := e.packing("w", precision, w, heads)
	if err != nil {
		return 0
	}
	return e.packedSize(p)
}

// packedSize returns the size of the file of p, 0 for sizes that no matrix can have.
func (e *Engine) packedSize(p *PackedMatrix) int {
	if p.rows < 1 || p.cols < 1 || p.cols > math.MaxInt/8 || p.heads < 1 || p.heads > math.MaxInt32 || p.cols%p.heads != 0 ||
		p.rows > math.MaxInt/8 {
		return 0
	}
	part := p.part(tile.Matrix{})
	lanes := e.engine.PackedLanes(&part)
	if lanes > int64((math.MaxInt-packedHeader-packedAlign)/4/p.rows) {
		return 0
	}
	return packedHeader + (4*part.PackedFloats(int(lanes), p.rows)+packedAlign-1)&^(packedAlign-1)
}

// PackInto packs w as [Engine.PackFor] does, into data: memory of the caller, such as a mapped file, of
// [Engine.PackedSize] bytes, which begins at an address that is a multiple of 64. data then holds what
// [PackedMatrix.WriteTo] writes. The matrix that is returned uses it in place: data must neither
// change nor be unmapped as long as the matrix is used. The error is an [*ArgError].
func (e *Engine) PackInto(data []byte, precision Precision, w Matrix, heads int) (*PackedMatrix, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	if err := w.checkHeads("w", heads); err != nil {
		return nil, err
	}
	p, err := e.packing("w", precision, w, heads)
	if err != nil {
		return nil, err
	}
	if size := e.packedSize(p); size == 0 || len(data) != size {
		return nil, argError("data", len(data), size, "data has %d bytes, the packed matrix has %d", len(data), size)
	}
	if err := p.use(e, data); err != nil {
		return nil, err
	}
	written := bytesRegion(data)
	if err := w.checkApart("data", &written, "w"); err != nil {
		return nil, err
	}
	part := p.part(w.tile())
	e.engine.Pack(unsafe.Pointer(&p.mem[0]), &part, w.rows, e.Workers())
	h := p.header()
	copy(data, h[:])
	clear(data[packedHeader+4*len(p.mem):])
	return p, nil
}

// use makes p use the panels behind the header in data, which has the size of the file of p.
func (p *PackedMatrix) use(e *Engine, data []byte) error {
	if off := int(uintptr(unsafe.Pointer(unsafe.SliceData(data))) % packedAlign); off != 0 {
		return argError("data", off, packedAlign, "data begins %d bytes after a multiple of %d", off, packedAlign)
	}
	part := p.part(tile.Matrix{})
	p.mem = unsafe.Slice((*float32)(unsafe.Pointer(&data[packedHeader])), part.PackedFloats(int(e.engine.PackedLanes(&part)), p.rows))
	return nil
}

// MapPacked returns the packed matrix in data, which [PackedMatrix.WriteTo] or [Engine.PackInto] wrote
// for a kernel set with the panels of that of e. It copies nothing. data, which may be a mapped file, begins at an address
// that is a multiple of 64, and must neither change nor be unmapped as long as the matrix is used.
// MapPacked checks the header, not the values of the weights. The error is an [*ArgError], which
// wraps [ErrMismatch] for another kernel set, or [ErrDamaged].
func (e *Engine) MapPacked(data []byte) (*PackedMatrix, error) {
	if err := e.ready(); err != nil {
		return nil, err
	}
	if len(data) < packedHeader {
		return nil, because(ErrDamaged, argError("data", len(data), packedHeader, "data has %d bytes, a header has %d", len(data), packedHeader))
	}
	order := binary.LittleEndian
	if err := checkFileKind(data, packedMagic, "packed matrix", packedVersion); err != nil {
		return nil, err
	}
	if err := checkFileHeader(data, order.Uint32(data[60:]), crc32.ChecksumIEEE(data[:60])); err != nil {
		return nil, err
	}
	if vec, lanes := order.Uint32(data[32:]), order.Uint32(data[36:]); int64(vec) != int64(e.set.Vec) || int64(lanes) != int64(e.set.Lanes) {
		return nil, because(ErrMismatch, argError("data", int(lanes&math.MaxInt32), e.set.Lanes, "data is packed in panels of %d lanes of vectors of %d, this engine runs %s with %d and %d", lanes, vec, e.set.Name, e.set.Lanes, e.set.Vec))
	}
	class, typ := order.Uint32(data[16:]), order.Uint32(data[20:])
	precision := Precision(class & math.MaxInt32)
	if class != uint32(precision) || precision.check("data") != nil {
		return nil, because(ErrMismatch, argError("data", int(precision), int(PrecisionBFloat16), "data is packed for class %d, which this program does not know", class))
	}
	w := kernel.Weight(typ & math.MaxInt32)
	known := typ == uint32(w) && w.Known()
	p := &PackedMatrix{set: e.set, precision: precision}
	switch {
	case precision == PrecisionInt8 && known && w.Int8() != nil:
		p.int8 = w.Int8()
	case precision == PrecisionFloat32 && known && (w == kernel.WeightFloat32 || w.Strip().SubBlock > 0):
		p.typ = w
	case precision == PrecisionBFloat16 && typ == uint32(kernel.WeightBFloat16):
	default:
		return nil, because(ErrDamaged, argError("data", int(typ&math.MaxInt32), int(WeightQ8_0), "data has weights of type %d in class %v", typ, precision))
	}
	if order.Uint64(data[24:]) != 0 {
		return nil, because(ErrDamaged, argError("data", 0, 0, "data has %q where a header has zeros", string(data[24:32])))
	}
	rows, cols, heads := order.Uint64(data[40:]), order.Uint64(data[48:]), uint64(order.Uint32(data[56:]))
	most := 2 * uint64(len(data)) // values have 4 bits at least
	if rows < 1 || rows > most || cols < 1 || cols > most {
		return nil, because(ErrDamaged, argError("data", int(min(rows, math.MaxInt)), int(most), "data has %d rows of %d columns in %d bytes", rows, cols, len(data)))
	}
	if heads < 1 || heads > math.MaxInt32 || cols%heads != 0 {
		return nil, because(ErrDamaged, argError("data", int(min(heads, math.MaxInt32)), int(cols), "data has %d columns, not a multiple of %d heads", cols, heads))
	}
	p.rows, p.cols, p.heads = int(rows), int(cols), int(heads)
	block := w.Values()
	if p.int8 != nil {
		block = max(block, kernel.Int8Block)
	}
	if p.rows%block != 0 {
		return nil, because(ErrDamaged, argError("data", p.rows, block, "data has %d rows, not a multiple of the %d of a block", p.rows, block))
	}
	if size := e.packedSize(p); size != len(data) {
		return nil, because(ErrDamaged, argError("data", len(data), size, "data has %d bytes, a packed matrix of %d rows of %d columns in %d heads has %d", len(data), rows, cols, heads, size))
	}
	if err := p.use(e, data); err != nil {
		return nil, err
	}
	return p, nil
}
