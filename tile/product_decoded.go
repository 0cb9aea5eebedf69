package tile

import (
	"unsafe"

	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
)

// packDecoded packs as pack does, weights that are decoded on the way: a step of a panel at a time, in
// memory that the first caches hold.
func (ws *productWorkspace) packDecoded(set *kernel.Set, dst *float32, p *panel, k, depth int) {
	w := &p.W
	first := w.First + k*w.Row + p.col()*w.Col
	if w.Col == 1 { // rows of lanes already
		for i := range depth {
			to := unsafe.Slice(ptr.At(dst, i*p.lanes), p.lanes)
			w.Weights.Values(to[:p.cols], first+i*w.Row)
			clear(to[p.cols:])
		}
		return
	}
	values := ws.decoded.room(p.cols * depth)
	for i := range p.cols {
		w.Weights.Values(unsafe.Slice(lane(values, i, depth, 0), depth), first+i*w.Col)
		ws.off[i] = i * depth
	}
	ws.packArgs = kernel.PackArgs{
		Src: values, Off: &ws.off, DimStride: 1,
		Rows: p.cols, Dim: depth,
		Dst: dst, Lanes: p.lanes, Stride: p.lanes, Scale: 1,
	}
	set.Pack(&ws.packArgs)
}
