// Package models finds models of other projects for tests, which do not come with the repository.
package models

import (
	"os"
	"path/filepath"
)

// Require is the environment variable that, set to 1, makes tests fail that lack a model.
const Require = "QKV_REQUIRE_MODELS"

// Names of files that examples/fetch brings.
const (
	SmolLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
	Gemma3  = "gemma-3-270m-q4_k_m.gguf"
	MiniLM  = "all-MiniLM-L6-v2/model.safetensors"
)

// A TB is the part of a testing.TB that is used.
type TB interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Skipf(string, ...any)
}

// Path returns the path of a model. Without it the test is skipped, or fails where [Require] says so.
func Path(t TB, name string) string {
	t.Helper()
	dir, err := os.Getwd() // a test runs in the folder of its package
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the folder of the test")
		}
		dir = parent
	}
	path := filepath.Join(dir, "testdata", "models", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv(Require) == "1" {
			t.Fatalf("%s is not there, and %s is 1", path, Require)
		}
		t.Skipf("needs %s, which examples/fetch brings", path)
	}
	return path
}
