//go:build (!unix && !windows) || aix || solaris || illumos

package memory

import "math"

func try(n int64) bool { return n <= math.MaxInt }
