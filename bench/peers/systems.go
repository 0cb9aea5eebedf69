package main

import (
	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/peers/blas"
	"github.com/qkv-go/qkv/bench/peers/ggml"
	"github.com/qkv-go/qkv/bench/peers/gomlx"
	"github.com/qkv-go/qkv/bench/peers/gonum"
	"github.com/qkv-go/qkv/bench/peers/highway"
	"github.com/qkv-go/qkv/bench/peers/onednn"
	"github.com/qkv-go/qkv/bench/peers/onnxruntime"
	"github.com/qkv-go/qkv/bench/peers/openvino"
	"github.com/qkv-go/qkv/bench/peers/torch"
)

// A candidate is a system that may be on this machine.
type candidate struct {
	name string
	open func(lib string) (bench.System, error)
	from string // where it is to be had
}

// candidates lists the systems in the order in which they run.
var candidates = []candidate{
	{"ggml", ggml.Open, "npm: @node-llama-cpp/linux-x64"},
	{"onnxruntime", onnxruntime.Open, "npm: onnxruntime-node"},
	{"openvino", openvino.Open, "PyPI: openvino"},
	{"onednn", onednn.Open, "Debian: libdnnl2"},
	{"torch", torch.Open, "Debian: python3-torch"},
	{"openblas", blas.OpenBLAS, "Debian: libopenblas0-pthread"},
	{"blis", blas.BLIS, "Debian: libblis4-pthread"},
	{"gomlx", gomlx.Open, "its module"},
	{"go-highway", highway.Open, "its module"},
	{"gonum", gonum.Open, "its module"},
}
