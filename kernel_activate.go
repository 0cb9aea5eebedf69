package qkv

import (
	"github.com/qkv-go/qkv/internal/ptr"
	"github.com/qkv-go/qkv/kernel"
	"github.com/qkv-go/qkv/kernel/fp"
)

func activateGeneric(a *kernel.ActivateArgs) {
	f := fp.SiLU
	switch a.Kind {
	case kernel.GELU:
		f = fp.GELU
	case kernel.GELUTanh:
		f = fp.GELUTanh
	}
	for r := range a.Rows {
		gate, dst := ptr.At(a.Gate, r*a.GateStride), ptr.At(a.Dst, r*a.DstStride)
		if a.Up == nil {
			for i := range a.Cols {
				*ptr.At(dst, i) = f(*ptr.At(gate, i))
			}
			continue
		}
		up := ptr.At(a.Up, r*a.UpStride)
		for i := range a.Cols {
			*ptr.At(dst, i) = f(*ptr.At(gate, i)) * *ptr.At(up, i)
		}
	}
}
