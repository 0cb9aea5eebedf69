package qkv

import (
	"encoding/binary"
	"math"
)

// The header of each kind of file begins with 8 bytes that name the kind, a version in little-endian
// order, and fileMark in the order of the machine.
const fileMark = 0x01020304

// checkFileKind reports data of at least 16 bytes that is of another kind or version.
func checkFileKind(data []byte, magic, what string, version uint32) error {
	if got := string(data[:len(magic)]); got != magic {
		return because(ErrDamaged, argError("data", 0, 0, "data is no %s: it begins with %q", what, got))
	}
	if v := binary.LittleEndian.Uint32(data[8:]); v != version {
		return because(ErrMismatch, argError("data", int(v&math.MaxInt32), int(version), "data is of version %d, this program reads %d", v, version))
	}
	return nil
}

// checkFileHeader reports a header whose checksum is not that of its bytes, or of a machine with
// another byte order.
func checkFileHeader(data []byte, got, want uint32) error {
	if got != want {
		return because(ErrDamaged, argError("data", int(got&math.MaxInt32), int(want&math.MaxInt32), "the header of data has checksum %08x, its bytes have %08x", got, want))
	}
	if m := binary.NativeEndian.Uint32(data[12:]); m != fileMark {
		return because(ErrMismatch, argError("data", int(m&math.MaxInt32), fileMark, "data has the byte order of another machine: its mark is %08x, here it is %08x", m, uint32(fileMark)))
	}
	return nil
}
