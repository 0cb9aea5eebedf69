// Package onnx reads and computes the attention operators of ONNX, Attention and
// RotaryEmbedding: a model of one node, the tensors it is given, and the test cases that
// the standard ships with.
//
// ONNX files are protocol buffers of the schema onnx.proto
// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), whose field numbers and
// rules the types here follow; https://onnx.ai/onnx/repo-docs/IR.html gives their
// meaning. Fields that the package has no use for are skipped.
//
// Input is not trusted. Whatever is wrong with it is an error, and the memory that
// reading takes is bounded by a small multiple of the length of the input.
package onnx
