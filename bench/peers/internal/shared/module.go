package shared

import "runtime/debug"

// ModuleVersion returns the version of a Go module that the program was built with, or
// "unknown".
func ModuleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}
