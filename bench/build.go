package bench

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// A Build is what a program that measures was built from.
type Build struct {
	Version   string `json:"version"`            // of the module, or "unknown"
	Commit    string `json:"commit,omitempty"`   // what the build knows of it
	Modified  bool   `json:"modified,omitempty"` // the build had changes not in the commit
	GoVersion string `json:"go_version"`
}

// Short names the build by the first digits of its commit, with a plus if there were changes
// not in it, or by its version.
func (b Build) Short() string {
	const digits = 8
	if len(b.Commit) < digits {
		return b.Version
	}
	name := b.Commit[:digits]
	if b.Modified {
		name += "+"
	}
	return name
}

const module = "github.com/qkv-go/qkv"

// ThisBuild describes the program that calls it, as far as it concerns this module.
func ThisBuild() Build {
	b := Build{Version: "unknown", GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Replace == nil { // a replacement has no version
			b.Version = cmp.Or(m.Version, b.Version)
		}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
