//go:build !linux

package memory

func advise([]byte) {}

func adviseAt(_, _ uintptr) {}

func gatherAt(_, _ uintptr) {}

func neverHuge() bool { return true }
