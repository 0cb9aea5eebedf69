// Package shareddata finds the data of tests that the repository does not have: models and
// test cases of other projects, in ../shared/data beside the checkout.
package shareddata

import (
	"os"
	"path/filepath"
)

// Require is the environment variable that, set to 1, makes tests fail that lack data.
const Require = "QKV_REQUIRE_DATA"

// A TB is the part of a testing.TB that is used.
type TB interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Skipf(string, ...any)
}

// Path returns the path of a file or folder of the data. Without it the test is skipped, or
// fails where [Require] says so.
func Path(t TB, elem ...string) string {
	t.Helper()
	path, ok := Find(t, elem...)
	switch {
	case ok:
	case os.Getenv(Require) == "1":
		t.Fatalf("%s is not there, and %s is 1", path, Require)
	default:
		t.Skipf("needs %s, which does not come with the repository", path)
	}
	return path
}

// Find returns the path, and whether something is there.
func Find(t TB, elem ...string) (path string, ok bool) {
	t.Helper()
	dir, err := os.Getwd() // a test runs in the folder of its package
	if err != nil {
		t.Fatal(err)
	}
	up := ".."
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the folder of the test")
		}
		dir, up = parent, filepath.Join(up, "..")
	}
	path = filepath.Join(append([]string{up, "shared", "data"}, elem...)...)
	_, err = os.Stat(path)
	return path, err == nil
}
