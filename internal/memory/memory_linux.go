package memory

import (
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func limit() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	unit := int64(info.Unit)
	most := int64(info.Totalram) * unit
	if cgroup := cgroupLimit("/", os.ReadFile); cgroup < most {
		most = cgroup
	}
	return most + int64(info.Totalswap)*unit
}

// cgroupLimit returns the least limit of the control groups that this process is in, of version 1
// or 2, and otherwise more than any machine has. root is what all paths begin with.
func cgroupLimit(root string, read func(string) ([]byte, error)) int64 {
	least := int64(math.MaxInt64)
	list, _ := read(path.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(list)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		dir, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[1] == "memory":
			dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case fields[1] != "":
			continue
		}
		for cgroup := path.Clean("/" + fields[2]); ; cgroup = path.Dir(cgroup) {
			text, _ := read(path.Join(root, dir, cgroup, file))
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
				least = min(least, n)
			}
			if cgroup == "/" {
				break
			}
		}
	}
	return least
}
