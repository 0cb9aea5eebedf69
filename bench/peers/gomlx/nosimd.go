//go:build !amd64 || !goexperiment.simd

package gomlx

const vectors = false
