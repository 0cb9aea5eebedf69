//go:build unix && !aix && !solaris && !illumos

package qkv_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"github.com/qkv-go/qkv"
)

// Weights are packed once into a file. Each later start maps the file and uses it in place: the
// system reads what a product needs, and processes share one copy.
func ExampleEngine_MapPacked() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// The first start: two matrices, one after the other.
	name := filepath.Join(dir, e.Kernel().Name+".weights")
	file, err := os.Create(name)
	if err != nil {
		log.Fatal(err)
	}
	for _, w := range [][]float32{{1, 2, 3, 4}, {5, 6, 7, 8}} {
		packed, err := e.Pack(qkv.RowMajor(w, 2, 2))
		if err != nil {
			log.Fatal(err)
		}
		if _, err := packed.WriteTo(file); err != nil {
			log.Fatal(err)
		}
	}

	// A later one: the second of them. It begins at a multiple of 64 bytes, as the mapping does.
	size := e.PackedSize(qkv.PrecisionFloat32, qkv.RowMajor(nil, 2, 2), 1)
	data, err := syscall.Mmap(int(file.Fd()), 0, 2*size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		log.Fatal(err)
	}
	defer syscall.Munmap(data)
	file.Close()
	w, err := e.MapPacked(data[size:])
	if err != nil {
		log.Fatal(err)
	}
	y := make([]float32, 2)
	err = e.MatMul(&qkv.Product{X: qkv.RowMajor([]float32{1, 10}, 1, 2), Packed: w, Y: qkv.RowMajor(y, 1, 2)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(y)
	// Output: [75 86]
}

// Weights packed into memory of the caller's, such as that of a file which other processes map.
func ExampleEngine_PackInto() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	size := e.PackedSize(qkv.PrecisionFloat32, qkv.RowMajor(nil, 2, 2), 1)
	data, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		log.Fatal(err)
	}
	defer syscall.Munmap(data)
	w, err := e.PackInto(data, qkv.PrecisionFloat32, qkv.RowMajor([]float32{1, 2, 3, 4}, 2, 2), 1)
	if err != nil {
		log.Fatal(err)
	}
	y := make([]float32, 2)
	err = e.MatMul(&qkv.Product{X: qkv.RowMajor([]float32{1, 10}, 1, 2), Packed: w, Y: qkv.RowMajor(y, 1, 2)})
	fmt.Println(y, err)
	// Output: [31 42] <nil>
}
