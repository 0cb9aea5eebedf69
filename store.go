package qkv

import (
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/memory"
	"github.com/qkv-go/qkv/kernel"
)

// maxStore is the most bytes that a cache allocates for keys, or for values.
const maxStore = math.MaxInt >> 1 & (1<<45 - 1)

// A store is the memory of a layer of a cache, [pages, KV heads, page tokens, dim].
type store struct {
	k, v           View
	kScale, vScale View // zero Views unless the type is int8
}

// check checks the shape of a store, and the memory that the caller gives, K and V in s. It returns
// the bytes of what allocate is to allocate.
func (s *store) check(pages, tokens int, l *CacheLayer) (total int64, err error) {
	for _, x := range [...]struct {
		name    string
		n, most int
	}{
		{"kvHeads", l.KVHeads, math.MaxInt32},
		{"dimQK", l.DimQK, MaxDim},
		{"dimV", l.DimV, MaxDim},
	} {
		if x.n < 1 {
			return 0, argError(x.name, x.n, 1, "%s is %d, at least 1 is needed", x.name, x.n)
		}
		if x.n > x.most {
			return 0, argError(x.name, x.n, x.most, "%s is %d, at most %d is supported", x.name, x.n, x.most)
		}
	}
	if s.k.given() != s.v.given() {
		name, other := "k", "v"
		if s.k.given() {
			name, other = other, name
		}
		return 0, argError(name, 0, 1, "%s is not given, %s is", name, other)
	}
	for _, x := range [...]struct {
		typeName, name, scaleName, dimName string
		view, scale                        *View
		dim                                int
		typ                                ElemType
	}{
		{"keyType", "k", "kScale", "dimQK", &s.k, &s.kScale, l.DimQK, l.KeyType},
		{"valueType", "v", "vScale", "dimV", &s.v, &s.vScale, l.DimV, l.ValueType},
	} {
		if !x.typ.known() {
			return 0, argError(x.typeName, int(x.typ), int(lastType), "%s is %d, the last is %d", x.typeName, int(x.typ), int(lastType))
		}
		kind := elemKind(x.typ)
		scaled := kind.elem().Scale() == kernel.RowScale
		if n := kind.values(); x.dim%n != 0 {
			return 0, argError(x.dimName, x.dim, n, "%s is %d, not a multiple of the %d of a block", x.dimName, x.dim, n)
		}
		shape := [4]int{pages, l.KVHeads, tokens, x.dim}
		scaleShape := [4]int{pages, l.KVHeads, tokens, 1}
		if !x.view.given() {
			if x.scale.given() {
				return 0, argError(x.scaleName, 1, 0, "%s is given, %s is not", x.scaleName, x.name)
			}
			row := kind.elem().RowBytes(x.dim)
			if n := mul(pages, l.KVHeads, tokens, max(row, 4)); n > maxStore {
				return 0, argError(x.name, n, maxStore, "%d pages take %d bytes for %s, at most %d are supported", pages, n, x.name, maxStore)
			}
			if scaled {
				row += kindFloat32.size()
			}
			total += int64(mul(pages, l.KVHeads, tokens, row)) // at most a few times maxStore
			continue
		}
		if err := x.view.checkPool(x.name, kind, shape); err != nil {
			return 0, err
		}
		if scaled {
			if err := x.scale.checkPool(x.scaleName, kindFloat32, scaleShape); err != nil {
				return 0, err
			}
		} else if x.scale.given() {
			return 0, argError(x.scaleName, int(x.typ), int(TypeInt8), "%s is given, %s has elements of type %v", x.scaleName, x.name, x.typ)
		}
	}
	return total, nil
}

// allocate allocates what is not given.
func (s *store) allocate(pages, tokens int, l *CacheLayer) {
	if !s.k.given() {
		s.k, s.kScale = allocate(l.KeyType, pages, l.KVHeads, tokens, l.DimQK)
		s.v, s.vScale = allocate(l.ValueType, pages, l.KVHeads, tokens, l.DimV)
	}
}

// bytes is the size of the keys and values that there is room for, without gaps.
func (s *store) bytes() int {
	n := 0
	for _, v := range [...]*View{&s.k, &s.v, &s.kScale, &s.vScale} {
		n += v.shape[axisBatch] * v.shape[axisHeads] * v.shape[axisSeq] * (v.shape[axisDim] / v.kind.values()) * v.kind.size()
	}
	return n
}

// regions returns the bytes of the keys, the values and their scales.
func (s *store) regions() [4]region {
	return [...]region{s.k.region(), s.v.region(), s.kScale.region(), s.vScale.region()}
}

// checkPool checks a view that a cache is to write.
func (v *View) checkPool(name string, kind elemKind, shape [4]int) error {
	if !v.given() {
		return argError(name, 0, 1, "%s is not given", name)
	}
	if err := v.checkKind(name, kind); err != nil {
		return err
	}
	if err := v.checkShape(name, shape); err != nil {
		return err
	}
	if err := v.check(name, &axisNames); err != nil {
		return err
	}
	return v.checkWritable(name, &axisNames)
}

// checkShape reports a shape other than that wanted.
func (v *View) checkShape(name string, want [4]int) error {
	for axis, n := range want {
		if got := v.shape[axis]; got != n {
			return argError(name, got, n, "%s has %s %d, the cache needs %d", name, axisNames[axis], got, n)
		}
	}
	return nil
}

// allocate returns a contiguous view of zeros, and the scales of its rows if it needs some.
func allocate(t ElemType, shape ...int) (rows, scales View) {
	s := [4]int(shape)
	if kernel.Elem(t).Scale() == kernel.RowScale {
		scales = allocateOf(kindFloat32, [4]int{s[0], s[1], s[2], 1})
	}
	return allocateOf(elemKind(t), s), scales
}

// allocateOf returns a contiguous view of zeros. No type has a greater alignment than float32.
func allocateOf(kind elemKind, shape [4]int) View {
	row := shape[axisDim] / kind.values()
	n := shape[axisBatch] * shape[axisHeads] * shape[axisSeq] * row
	const word = int(unsafe.Sizeof(float32(0)))
	data := make([]float32, (n*kind.size()+word-1)/word)
	memory.AskHuge(data) // decoding reads all of it, and fewer pages are fewer translations
	return View{
		data:   unsafe.Pointer(unsafe.SliceData(data)),
		len:    n,
		shape:  shape,
		stride: [4]int{shape[axisHeads] * shape[axisSeq] * row, shape[axisSeq] * row, row, 1},
		kind:   kind,
	}
}

// checkTokens checks keys and values of n tokens.
func (s *store) checkTokens(k, v *View, n int) error {
	if err := k.checkRows("k", &s.k, n); err != nil {
		return err
	}
	if err := v.checkRows("v", &s.v, n); err != nil {
		return err
	}
	own := s.regions()
	read := [...]region{k.region(), v.region()}
	for i, name := range [...]string{"k", "v"} {
		for j := range own {
			if err := checkApart(name, &read[i], "the cache", &own[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRows checks rows to store in own. A list of views and their names would have the
// views escape.
func (v *View) checkRows(name string, own *View, n int) error {
	if err := v.checkKind(name, kindFloat32); err != nil {
		return err
	}
	if err := v.check(name, &axisNames); err != nil {
		return err
	}
	for axis, want := range [4]int{1, own.shape[axisHeads], n, own.shape[axisDim]} {
		if got := v.shape[axis]; got != want {
			return argError(name, got, want, "%s has %s %d, the step needs %d", name, axisNames[axis], got, want)
		}
	}
	return nil
}

// row returns the index of the first element of a row.
func (v *View) row(batch, head, token int) int {
	return v.offset + batch*v.stride[axisBatch] + head*v.stride[axisHeads] + token*v.stride[axisSeq]
}

// move copies the first n tokens of a place to another.
func (s *store) move(to, from, n int) {
	for _, v := range [...]*View{&s.k, &s.v, &s.kScale, &s.vScale} {
		if v.given() {
			v.move(to, from, n)
		}
	}
}

func (v *View) move(to, from, n int) {
	size, step := v.kind.size(), v.stride[axisDim]
	row := v.shape[axisDim] / v.kind.values()
	units := func(i, n int) []byte { return unsafe.Slice((*byte)(unsafe.Add(v.data, i*size)), n*size) }
	for h := range v.shape[axisHeads] {
		for t := range n {
			dst, src := v.row(to, h, t), v.row(from, h, t)
			if step == 1 {
				kernel.Copy(units(dst, row), units(src, row))
				continue
			}
			for d := range row {
				copy(units(dst+d*step, 1), units(src+d*step, 1))
			}
		}
	}
}
