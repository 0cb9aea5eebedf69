package bounded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, most := range []int64{5, 6, 1 << 40} {
		if data, err := ReadFile(path, most); err != nil || string(data) != "12345" {
			t.Errorf("%q, %v", data, err)
		}
	}
	var size *SizeError
	if data, err := ReadFile(path, 4); data != nil || !errors.As(err, &size) || *size != (SizeError{path, 5, 4}) || err.Error() != path+" has 5 bytes, up to 4 are read" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := ReadFile(path+"y", 9); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := ReadFile(filepath.Dir(path), 9); err == nil {
		t.Error("a folder was read")
	}

	// Nothing is read of a file that is too long, nor more than is allowed where the file doesn't say how long it is.
	if err := os.Truncate(path, 1<<33); err != nil {
		t.Skip(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadFile(path, 1<<30)
	runtime.ReadMemStats(&after)
	if !errors.As(err, &size) || size.Size != 1<<33 || after.TotalAlloc-before.TotalAlloc > 1<<16 {
		t.Errorf("%v, %d bytes allocated", err, after.TotalAlloc-before.TotalAlloc)
	}
	if runtime.GOOS == "linux" {
		if _, err := ReadFile("/dev/zero", 100); !errors.As(err, &size) || size.Size != -1 || err.Error() != "/dev/zero has more than 100 bytes" {
			t.Error(err)
		}
	}
}
