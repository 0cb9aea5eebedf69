module github.com/qkv-go/qkv/bench/peers

go 1.26.0

replace github.com/qkv-go/qkv => ../..

require (
	github.com/ajroetker/go-highway v0.0.12
	github.com/ebitengine/purego v0.11.3
	github.com/gomlx/compute v0.1.6
	github.com/klauspost/cpuid/v2 v2.4.2
	github.com/qkv-go/qkv v0.0.0-00010101000000-000000000000
	golang.org/x/sys v0.49.0
	golang.org/x/term v0.47.0
	gonum.org/v1/gonum v0.17.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/aclements/go-moremath v0.0.0-20210112150236-f10218a38794 // indirect
	github.com/go-logr/logr v1.4.3 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/exp v0.0.0-20260824195058-e88cd73687aa // indirect
	golang.org/x/perf v0.0.0-20260908200009-22c9c6c9d4da // indirect
	golang.org/x/text v0.42.0 // indirect
	k8s.io/klog/v2 v2.140.0 // indirect
)
