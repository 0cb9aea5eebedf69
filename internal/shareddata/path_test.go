package shareddata

import (
	"path/filepath"
	"testing"
)

// lacking is a test that notes how it ends.
type lacking struct {
	testing.TB
	skipped, failed bool
}

func (l *lacking) Helper()               {}
func (l *lacking) Skipf(string, ...any)  { l.skipped = true }
func (l *lacking) Fatalf(string, ...any) { l.failed = true }

func TestPath(t *testing.T) {
	for _, c := range []struct {
		require         string
		skipped, failed bool
	}{{"", true, false}, {"0", true, false}, {"1", false, true}} {
		t.Setenv(Require, c.require)
		l := &lacking{TB: t}
		path := Path(l, "no such folder", "file")
		if want := filepath.Join("..", "..", "..", "shared", "data", "no such folder", "file"); path != want {
			t.Errorf("path %s, want %s", path, want)
		}
		if l.skipped != c.skipped || l.failed != c.failed {
			t.Errorf("%s=%q: skipped %v, failed %v; want %v, %v", Require, c.require, l.skipped, l.failed, c.skipped, c.failed)
		}
	}
}
