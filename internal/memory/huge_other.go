//go:build !linux

package memory

func advise(_, _ uintptr) {}

func gather(_, _ uintptr) {}

func neverHuge() bool { return true }
