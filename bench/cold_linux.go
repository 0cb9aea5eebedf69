package bench

import (
	"os"
	"path/filepath"
)

// lastCaches returns how many third-level caches the machine has, at least 1.
func lastCaches() int {
	files, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/cache/index3/shared_cpu_list")
	if err != nil {
		return 1
	}
	seen := make(map[string]bool)
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			seen[string(text)] = true
		}
	}
	return max(1, len(seen))
}
