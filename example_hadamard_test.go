package qkv_test

import (
	"fmt"
	"log"

	"github.com/qkv-go/qkv"
)

// A large element of a key is spread over its block.
func ExampleEngine_Hadamard() {
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		log.Fatal(err)
	}
	key := []float32{16, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0}
	x := qkv.BHSD(key, 1, 1, 1, 16)
	if err := e.Hadamard(x, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Println(key)
	if err := e.Hadamard(x, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Println(key)
	// Output:
	// [4.5 3.5 3.5 4.5 3.5 4.5 4.5 3.5 4.5 3.5 3.5 4.5 3.5 4.5 4.5 3.5]
	// [16 0 0 0 0 0 0 2 0 0 0 0 0 0 0 0]
}
