package memory

import (
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHas: there are a few megabytes, and no more than the address space.
func TestHas(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want bool
	}{{0, true}, {1 << 20, true}, {100 << 20, true}, {1 << 45, false}, {math.MaxInt64, false}} {
		if got := Has(c.n); got != c.want {
			t.Errorf("Has(%d) is %v", c.n, got)
		}
	}
	if n := Limit(); n < 1<<28 || n > 1<<44 {
		t.Errorf("the limit is %d bytes", n)
	}
}

// TestProcessLimit: a limit of the process counts.
func TestProcessLimit(t *testing.T) {
	if os.Getenv("QKV_TEST_LIMITED") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcessLimit$", "-test.v")
		cmd.Env = append(os.Environ(), "QKV_TEST_LIMITED=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: TestProcessLimit") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	lim := unix.Rlimit{Cur: 4 << 30, Max: 4 << 30}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &lim); err != nil {
		t.Skip(err)
	}
	if Has(5<<30) || !Has(64<<20) {
		t.Errorf("5 GiB of 4: %v; 64 MiB: %v", Has(5<<30), Has(64<<20))
	}
}

// TestCgroupLimit: the least limit on the way from the process's control group up.
func TestCgroupLimit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none": {nil, math.MaxInt64},
		"version 2": {map[string]string{
			"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.max": "4096\n", "/sys/fs/cgroup/memory.max": "8192\n",
		}, 4096},
		"in a container": {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "8192\n"}, 8192},
		"version 1": {map[string]string{
			"/proc/self/cgroup": "5:cpu:/x\n4:memory:/a\n", "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "512\n", "/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1\n",
		}, 512},
	} {
		got := cgroupLimit("/", func(path string) ([]byte, error) {
			text, ok := c.files[path]
			if !ok {
				return nil, os.ErrNotExist
			}
			return []byte(text), nil
		})
		if got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}

// TestNeverHuge: the setting in brackets counts, and none , that is no file, allows them.
func TestNeverHuge(t *testing.T) {
	for text, want := range map[string]bool{
		"always madvise [never]\n": true, "always [madvise] never\n": false, "[always] madvise never\n": false, "": false,
	} {
		got := never(func(path string) ([]byte, error) {
			if path != "/sys/kernel/mm/transparent_hugepage/enabled" {
				t.Errorf("reads %s", path)
			}
			if text == "" {
				return nil, os.ErrNotExist
			}
			return []byte(text), nil
		})
		if got != want {
			t.Errorf("%q: never is %v, want %v", text, got, want)
		}
	}
}
