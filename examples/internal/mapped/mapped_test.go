package mapped

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, want := range [][]byte{nil, {1, 2, 3}, bytes.Repeat([]byte{7}, 12345)} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil || !bytes.Equal(f.Data, want) {
			t.Errorf("%d bytes, %v, want %d", len(f.Data), err, len(want))
		}
		for range 2 {
			if err := f.Close(); err != nil || f.Data != nil {
				t.Error(err)
			}
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "none")} {
		if f, err := Open(path); err == nil || f != nil {
			t.Errorf("%s: %v, %v", path, f, err)
		}
	}
}
