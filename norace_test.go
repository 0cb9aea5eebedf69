//go:build !race

package qkv_test

const raceEnabled = false
