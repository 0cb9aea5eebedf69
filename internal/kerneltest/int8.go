package kerneltest

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

// quantize is a transcription of the contract.
func quantize(a *kernel.QuantizeArgs) {
	for r := range a.Rows {
		dst := (*byte)(unsafe.Add(unsafe.Pointer(a.Dst), r*a.RowBytes))
		for k := 0; k < a.Depth; k += kernel.Int8Block {
			var x [kernel.Int8Block]float32
			finite, most := true, 0.0
			for i := range x {
				x[i] = *ptr.At(a.X, r*a.RowStride+(k+i)*a.ColStride)
				size := math.Abs(float64(x[i]))
				finite = finite && size <= math.MaxFloat32
				most = max(most, size)
			}
			d, factor := float32(most)/127, float32(0)
			if finite {
				if factor = 127 / float32(most); factor > math.MaxFloat32 {
					d, factor = 0, 0
				}
			} else {
				d = nan
			}
			var q [kernel.Int8Block]int32
			var first, second int32
			for i := range q {
				if finite {
					q[i] = int32(math.RoundToEven(float64(x[i] * factor)))
				}
				if i < 16 {
					first += q[i]
				} else {
					second += q[i]
				}
			}
			block := unsafe.Slice(dst, kernel.Int8BlockBytes(a.Halves))
			for i := range q {
				if a.Halves {
					// Of each four the second and the third change places.
					place := i
					switch i % 4 {
					case 1:
						place++
					case 2:
						place--
					}
					binary.NativeEndian.PutUint16(block[2*place:], uint16(q[i]))
				} else {
					block[i] = byte(q[i])
				}
			}
			sum := d * float32(first+second)
			if !finite {
				sum = nan
			}
			tail := block[len(block)-20:]
			for i, bits := range []uint32{
				math.Float32bits(d), math.Float32bits(sum), uint32(-128 * (first + second)), uint32(-128 * first), uint32(-128 * second),
			} {
				binary.NativeEndian.PutUint32(tail[4*i:], bits)
			}
			dst = (*byte)(unsafe.Add(unsafe.Pointer(dst), len(block)))
		}
	}
}

// unpackInt8 is a transcription of the contract.
func unpackInt8(a *kernel.UnpackInt8Args) {
	next := unsafe.Pointer(a.Src)
	half := func() (x []float32) {
		for range a.Lanes {
			x = append(x, fp.Float16ToFloat32(*(*uint16)(next)))
			next = unsafe.Add(next, 2)
		}
		return x
	}
	integers := func() (x []float32) {
		for range a.Lanes {
			x = append(x, float32(*(*int8)(next)))
			next = unsafe.Add(next, 1)
		}
		return x
	}
	products := func(x, y []float32, sign float32) (z []float32) {
		for l := range x {
			z = append(z, sign*(x[l]*y[l]))
		}
		return z
	}
	var scales, mins []float32
	var d, m []float32
	if a.Kind == kernel.Int8Groups32 || a.Kind == kernel.Int8Groups16 {
		d = half()
	}
	if a.Kind == kernel.Int8Groups32 {
		m = half()
	}
	for range a.Depth / kernel.Int8Block {
		switch a.Kind {
		case kernel.Int8Half:
			scales = append(scales, half()...)
		case kernel.Int8HalfMin:
			scales = append(scales, half()...)
			mins = append(mins, half()...)
		case kernel.Int8Groups32:
			scales = append(scales, products(d, integers(), 1)...)
			mins = append(mins, products(m, integers(), -1)...)
		case kernel.Int8Groups16:
			scales = append(scales, products(d, integers(), 1)...)
			scales = append(scales, products(d, integers(), 1)...)
		default:
			for range a.Lanes {
				scales = append(scales, *(*float32)(next))
				next = unsafe.Add(next, 4)
			}
		}
	}
	copy(unsafe.Slice(a.Scales, len(scales)), scales)
	if len(mins) > 0 {
		copy(unsafe.Slice(a.Mins, len(mins)), mins)
	}
	if a.Codes == nil {
		return
	}
	for b := range a.Depth / kernel.Int8Block {
		for g := range 4 {
			for i := range 4 * a.Lanes {
				code := *(*byte)(unsafe.Add(unsafe.Pointer(a.Codes), (b*4+g)*4*a.Lanes+i))
				*(*byte)(unsafe.Add(unsafe.Pointer(a.Dst), (b*8+g)*4*a.Lanes+i)) = a.Table[code%16]
				*(*byte)(unsafe.Add(unsafe.Pointer(a.Dst), (b*8+4+g)*4*a.Lanes+i)) = a.Table[code/16]
			}
		}
	}
}

// multiplyInt8 is a transcription of the contract.
func multiplyInt8(a *kernel.MultiplyInt8Args) {
	for i := range a.Rows {
		for l := range a.Lanes {
			acc := float32(0)
			for b := range a.Depth / kernel.Int8Block {
				var codes, integers [kernel.Int8Block]int32
				block := unsafe.Add(unsafe.Pointer(a.X), i*a.RowBytes+b*kernel.Int8BlockBytes(a.Halves))
				tail := unsafe.Add(block, kernel.Int8BlockBytes(a.Halves)-20)
				for k := range kernel.Int8Block {
					group := b*8 + k/4
					if a.Table != nil {
						group = b*4 + k/4%4
					}
					c := *(*byte)(unsafe.Add(unsafe.Pointer(a.W), (group*a.Lanes+l)*4+k%4))
					if a.Table != nil {
						c = a.Table[c>>(k/16*4)&15]
					}
					codes[k], integers[k] = int32(c), int32(*(*int8)(unsafe.Add(block, k)))
					if a.Halves {
						integers[k] = int32(*(*int16)(unsafe.Add(block, 2*(k/4*4+[]int{0, 2, 1, 3}[k%4]))))
					}
				}
				terms := kernel.Int8Block / a.Groups
				for g := range a.Groups {
					sum := int32(0)
					for k := g * terms; k < (g+1)*terms; k++ {
						sum += (codes[k] - 128) * integers[k]
					}
					p := *ptr.At(a.Scales, (b*a.Groups+g)*a.Lanes+l) * *(*float32)(tail)
					acc = fp.ExactFMA(float32(sum), p, acc)
				}
				if a.Mins != nil {
					acc = fp.ExactFMA(*ptr.At(a.Mins, b*a.Lanes+l), *(*float32)(unsafe.Add(tail, 4)), acc)
				}
			}
			c := ptr.At(a.C, i*a.Stride+l)
			if a.Alpha != nil {
				*c = float32(*c**ptr.At(a.Alpha, l)) + acc
				continue
			}
			old, bias := float32(0), float32(0)
			if a.Add {
				old = *c
			}
			if a.Bias != nil {
				bias = *ptr.At(a.Bias, l)
			}
			*c = (old + bias) + acc
		}
	}
}

// multiplyRowInt8 is a transcription of the contract.
func multiplyRowInt8(a *kernel.MultiplyRowInt8Args) {
	form, w := a.Type.Int8(), unsafe.Pointer(a.W)
	for p := range a.Panels {
		for k := 0; k < a.Depth; k += kernel.KC {
			depth := min(kernel.KC, a.Depth-k)
			blocks := depth / kernel.Int8Block
			u := kernel.UnpackInt8Args{
				Kind: form.Scales, Src: (*byte)(unsafe.Add(w, form.ScalesAt(depth, a.Lanes))), Depth: depth, Lanes: a.Lanes,
				Scales: &make([]float32, blocks*form.Scales.Groups()*a.Lanes)[0],
			}
			m := kernel.MultiplyInt8Args{
				X: (*byte)(unsafe.Add(unsafe.Pointer(a.X), k/kernel.Int8Block*kernel.Int8BlockBytes(a.Halves))), Rows: 1, Depth: depth, Halves: a.Halves,
				W: (*byte)(w), Table: form.Table, Groups: form.Scales.Groups(), Scales: u.Scales,
				C: ptr.At(a.C, p*a.Lanes), Lanes: a.Lanes, Add: a.Add || k > 0,
			}
			if form.Scales.HasMins() {
				u.Mins = &make([]float32, blocks*a.Lanes)[0]
				m.Mins = u.Mins
			}
			if a.Bias != nil && k == 0 {
				m.Bias = ptr.At(a.Bias, p*a.Lanes)
			}
			unpackInt8(&u)
			multiplyInt8(&m)
			w = unsafe.Add(w, form.Bytes(depth)*a.Lanes)
		}
	}
}

func (s *suite) quantize(lanes int) {
	if lanes != s.set.Vec {
		return
	}
	for _, rows := range []int{1, 2, 3, 5} {
		for _, blocks := range []int{1, 2, 3, 8, 9} {
			depth := blocks * kernel.Int8Block
			for _, l := range layouts(rows, depth) {
				if s.skip() {
					continue
				}
				s.begin()
				halves := s.set.Int8Halves
				g := choose(s.Rand, numbers)
				row := blocks*kernel.Int8BlockBytes(halves) + 4*s.IntN(3)
				a := kernel.QuantizeArgs{
					X: s.strided("X", rows, l.outer, depth, l.inner, g), RowStride: l.outer, ColStride: l.inner,
					Rows: rows, Depth: depth, Halves: halves,
					Dst: (*byte)(s.bytes("Dst", rows, blocks*kernel.Int8BlockBytes(halves), row)), RowBytes: row,
				}
				got := a
				what := func() string { return fmt.Sprintf("Quantize rows=%d depth=%d %v X=%s", rows, depth, l, g.name) }
				s.check(what, func() { quantize(&a) }, func() { s.set.Quantize(&got) })
				unchanged(s, what, got, a)
			}
		}
	}
}

// randomOf returns n random bytes that are an operand.
func (s *suite) randomOf(name string, n int) *byte {
	p := (*byte)(s.bytes(name, 1, n, 0))
	randomBytes(s.Rand, unsafe.Slice(p, n))
	return p
}

// table returns a table of codes, in order from that of 0 or -8 on, or in order but for one, or any.
func (s *suite) table() *[16]byte {
	t := (*[16]byte)(unsafe.Pointer(s.randomOf("Table", 16)))
	if kind := s.IntN(6); kind < 4 {
		other, at := t[0], s.IntN(16)
		for i := range t {
			t[i] = byte(0x80 - kind%2*8 + i)
		}
		if kind > 1 {
			t[at] = other
		}
	}
	return t
}

func (s *suite) unpackInt8(lanes int) {
	for kind := kernel.Int8Half; kind <= kernel.Int8Float; kind++ {
		for blocks := 1; blocks <= kernel.KC/kernel.Int8Block; blocks++ {
			depth := blocks * kernel.Int8Block
			if depth < kernel.KC && (kind == kernel.Int8Groups16 || kind == kernel.Int8Groups32) {
				continue
			}
			s.begin()
			size := kind.Bytes(depth) * lanes
			a := kernel.UnpackInt8Args{
				Kind: kind, Depth: depth, Lanes: lanes, Src: s.randomOf("Src", size),
				Scales: s.matrix("Scales", blocks*kind.Groups(), lanes, lanes, unwritten),
			}
			for range size {
				if kind != kernel.Int8Float && s.IntN(8) == 0 {
					putHalf(s.Rand, unsafe.Slice(a.Src, size), s.IntN(size/2)*2)
				}
			}
			if kind == kernel.Int8Groups32 { // integers without a sign
				for i := 4 * lanes; i < size; i++ {
					*(*byte)(unsafe.Add(unsafe.Pointer(a.Src), i)) &= 0x7f
				}
			}
			if kind.HasMins() {
				a.Mins = s.matrix("Mins", blocks, lanes, lanes, unwritten)
			}
			if s.IntN(2) == 0 {
				a.Table, a.Codes = s.table(), s.randomOf("Codes", depth/2*lanes)
				a.Dst = (*byte)(s.bytes("Dst", 1, depth*lanes, 0))
			}
			got := a
			what := func() string {
				return fmt.Sprintf("UnpackInt8 kind=%d depth=%d lanes=%d codes=%v", kind, depth, lanes, a.Codes != nil)
			}
			s.check(what, func() { unpackInt8(&a) }, func() {
				got.Ahead, got.AheadBytes = s.IntN(1<<20), s.IntN(1<<12) // memory that is not there
				s.set.UnpackInt8(&got)
				got.Ahead, got.AheadBytes = 0, 0
			})
			unchanged(s, what, got, a)
		}
	}
}

// int8Rows returns rows of quantised blocks, of numbers one after the other.
func (s *suite) int8Rows(rows, blocks, rowBytes int, number func(i int) float32) *byte {
	halves := s.set.Int8Halves
	x := make([]float32, rows*blocks*kernel.Int8Block)
	for i := range x {
		x[i] = number(i)
	}
	dst := (*byte)(s.bytes("X", rows, blocks*kernel.Int8BlockBytes(halves), rowBytes))
	quantize(&kernel.QuantizeArgs{
		X: &x[0], RowStride: blocks * kernel.Int8Block, ColStride: 1, Rows: rows, Depth: blocks * kernel.Int8Block,
		Halves: halves, Dst: dst, RowBytes: rowBytes,
	})
	return dst
}

// int8Keys returns rows of blocks as ConvertInt8 makes them: of integers down to -128, which Quantize has none of.
func (s *suite) int8Keys(rows, blocks, rowBytes int, scale gen) *byte {
	halves, dim := s.set.Int8Halves, blocks*kernel.Int8Block
	keys, scales := make([]int8, rows*dim), make([]float32, rows)
	for i := range keys {
		if keys[i] = int8(s.Uint32()); s.IntN(4) == 0 {
			keys[i] = -128
		}
	}
	off := new([kernel.KeyBlock]int)
	for r := range scales {
		off[r], scales[r] = r*dim, scale.draw(s.Rand)
	}
	dst := (*byte)(s.bytes("X", rows, blocks*kernel.Int8BlockBytes(halves), rowBytes))
	convertInt8(&kernel.ConvertInt8Args{
		Src: unsafe.Pointer(&keys[0]), Off: off, Elem: kernel.Int8, UnitStride: 1, Scale: &scales[0], Rows: rows, Dim: dim,
		Halves: halves, Dst: dst, RowBytes: rowBytes,
	})
	return dst
}

func (s *suite) multiplyInt8(lanes int) {
	for _, rows := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 17, 20, 25, 45} {
		cases := 3
		if rows == 1 {
			cases = 16
		}
		for i := range cases {
			nibbles := rows == 1 && i%2 == 0
			if s.skip() && i > 1 {
				continue
			}
			s.begin()
			blocks := []int{1, 2, 3, kernel.KC / kernel.Int8Block}[s.IntN(4)]
			if rows > 9 {
				blocks = 1 + s.IntN(3)
			} else if rows == 9 && i == 0 || s.IntN(8) == 0 { // deeper than a step of a panel
				blocks = kernel.KC/kernel.Int8Block + 3
			}
			depth, size := blocks*kernel.Int8Block, kernel.Int8BlockBytes(s.set.Int8Halves)
			stride := s.stride(lanes) * (1 - 2*s.IntN(2))
			gx, gs := choose(s.Rand, numbers), choose(s.Rand, numbers)
			row := blocks*size + 4*s.IntN(3)
			a := kernel.MultiplyInt8Args{
				X: s.int8Rows(rows, blocks, row, func(int) float32 { return gx.draw(s.Rand) }), RowBytes: row, Rows: rows, Depth: depth, Halves: s.set.Int8Halves,
				Groups: 1, Stride: stride, Lanes: lanes, Add: s.IntN(2) == 0,
			}
			if nibbles {
				a.Table, a.W = s.table(), s.randomOf("W", depth/2*lanes)
			} else {
				a.W = s.randomOf("W", depth*lanes)
				a.Groups = 1 + s.IntN(2)
			}
			if a.Groups == 1 && s.IntN(2) == 0 {
				a.X = s.int8Keys(rows, blocks, row, gx)
			}
			a.Scales = s.matrix("Scales", blocks*a.Groups, lanes, lanes, gs)
			if a.Groups == 1 && s.IntN(2) == 0 {
				a.Mins = s.matrix("Mins", blocks, lanes, lanes, choose(s.Rand, numbers))
			}
			if a.Add && a.Groups == 1 && !nibbles && s.IntN(3) == 0 {
				a.Alpha = s.matrix("Alpha", 1, lanes, lanes, choose(s.Rand, weightKinds))
			} else if s.IntN(2) == 0 {
				a.Bias = s.matrix("Bias", 1, lanes, lanes, choose(s.Rand, numbers).with(constant(negZero), 3))
			}
			gc := unwritten
			if a.Add {
				gc = choose(s.Rand, numbers).with(constant(negZero), 3)
			}
			a.C = s.strided("C", rows, stride, lanes, 1, gc)
			got := a
			asks := s.IntN(2) == 0
			what := func() string {
				return fmt.Sprintf("MultiplyInt8 rows=%d depth=%d lanes=%d stride=%d groups=%d codes=%v mins=%v add=%v alpha=%v bias=%v X=%s Scales=%s",
					rows, depth, lanes, stride, a.Groups, nibbles, a.Mins != nil, a.Add, a.Alpha != nil, a.Bias != nil, gx.name, gs.name)
			}
			s.check(what, func() { multiplyInt8(&a) }, func() {
				if asks { // of memory that is not there
					got.Next, got.NextEnd, got.Ahead = 3, 3+uintptr(s.IntN(1<<16)), s.IntN(2)*s.IntN(1<<20)
				}
				s.set.MultiplyInt8(&got)
				if got.Next < got.NextEnd && got.Next < 3 || got.Next > got.NextEnd+4*64 {
					s.Fatalf("%s: asked for memory up to %d, which ends at %d", what(), got.Next, got.NextEnd)
				}
				got.Next, got.NextEnd, got.Ahead = 0, 0, 0
			})
			unchanged(s, what, got, a)
		}
	}
}

func (s *suite) multiplyRowInt8(lanes int) {
	for _, w := range kernel.Weights() {
		form := w.Int8()
		if form == nil {
			continue
		}
		for i := range 4 {
			if s.skip() && i > 1 {
				continue
			}
			s.begin()
			values := max(w.Values(), kernel.Int8Block)
			blocks := []int{1, 2, 3, kernel.KC / kernel.Int8Block, kernel.KC/kernel.Int8Block + 1, 3*kernel.KC/kernel.Int8Block - 1}[s.IntN(6)]
			depth := max(1, blocks*kernel.Int8Block/values) * values
			g := choose(s.Rand, numbers)
			a := kernel.MultiplyRowInt8Args{
				X:     s.int8Rows(1, depth/kernel.Int8Block, depth/kernel.Int8Block*kernel.Int8BlockBytes(s.set.Int8Halves), func(int) float32 { return g.draw(s.Rand) }),
				Depth: depth, Halves: s.set.Int8Halves, Type: w, Lanes: lanes, Panels: 1 + i%3, Add: s.IntN(2) == 0, Ahead: s.IntN(1 << 16),
				Near: s.IntN(2) == 0,
			}
			size := form.Bytes(depth) * lanes
			a.W = s.randomOf("W", a.Panels*size)
			s.int8Scales(form, unsafe.Slice(a.W, a.Panels*size), depth, lanes)
			if s.IntN(2) == 0 {
				a.Bias = s.matrix("Bias", a.Panels, lanes, lanes, choose(s.Rand, numbers).with(constant(negZero), 3))
			}
			gc := unwritten
			if a.Add {
				gc = choose(s.Rand, numbers).with(constant(negZero), 3)
			}
			a.C = s.matrix("C", a.Panels, lanes, lanes, gc)
			got := a
			what := func() string {
				return fmt.Sprintf("MultiplyRowInt8 type=%v depth=%d lanes=%d panels=%d add=%v bias=%v X=%s", w, depth, lanes, a.Panels, a.Add, a.Bias != nil, g.name)
			}
			s.check(what, func() { multiplyRowInt8(&a) }, func() { s.set.MultiplyRowInt8(&got) })
			unchanged(s, what, got, a)
		}
	}
}

// int8Scales writes scales into steps of panels, of small numbers and of any, and clears the signs of integers that
// have none.
func (s *suite) int8Scales(form *kernel.Int8Form, w []byte, depth, lanes int) {
	for len(w) > 0 {
		for k := 0; k < depth; k += kernel.KC {
			d := min(kernel.KC, depth-k)
			scales := w[form.ScalesAt(d, lanes) : form.Bytes(d)*lanes]
			w = w[form.Bytes(d)*lanes:]
			switch form.Scales {
			case kernel.Int8Float:
				for i := 0; i < len(scales); i += 4 {
					binary.NativeEndian.PutUint32(scales[i:], math.Float32bits(s.Float32()-0.5))
				}
				continue
			case kernel.Int8Groups32:
				for i := 4 * lanes; i < len(scales); i++ {
					scales[i] &= 0x7f
				}
				scales = scales[:4*lanes]
			case kernel.Int8Groups16:
				scales = scales[:2*lanes]
			}
			for i := 0; i < len(scales); i += 2 {
				if s.IntN(64) == 0 {
					putHalf(s.Rand, scales, i)
				} else { // from 2^-5 to 2
					binary.NativeEndian.PutUint16(scales[i:], uint16(s.IntN(6)+10)<<10|uint16(s.Uint32())&0x83ff)
				}
			}
		}
	}
}
