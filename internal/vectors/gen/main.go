// Command gen writes the files of package vectors into a directory:
//
//	go run ./internal/vectors/gen testdata/vectors
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/qkv-go/qkv/internal/vectors"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen DIR")
		os.Exit(2)
	}
	for name, cases := range vectors.Files() {
		data, err := vectors.Encode(cases)
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], name+".json"), data, 0o666)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	}
}
