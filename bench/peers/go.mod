module github.com/qkv-go/qkv/bench/peers

go 1.26.0

replace github.com/qkv-go/qkv => ../..

require github.com/ebitengine/purego v0.11.3
