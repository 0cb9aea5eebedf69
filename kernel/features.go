package kernel

import "strings"

// Features is a set of CPU features that a Set needs, usable only where the
// operating system saves the registers that they add.
type Features uint32

const (
	AVX2 Features = 1 << iota
	FMA3
	F16C
	AVX512F
	AVX512DQ
	AVX512BW
	AVX512VL
	ASIMD
	AVX512VNNI
	AVXVNNI
	AVX512BF16
	AMXINT8 // with tiles, which Linux lets a process use that asks
	ASIMDDP // FEAT_DotProd
)

var featureNames = []string{"avx2", "fma3", "f16c", "avx512f", "avx512dq", "avx512bw", "avx512vl", "asimd", "avx512vnni", "avxvnni", "avx512bf16", "amxint8", "asimddp"}

// String lists the features, separated by spaces.
func (f Features) String() string {
	return strings.Join(f.Names(), " ")
}

// Names lists the features.
func (f Features) Names() []string {
	var names []string
	for i, n := range featureNames {
		if f>>i&1 == 1 {
			names = append(names, n)
		}
	}
	return names
}

// Missing returns the features of f that have lacks.
func (f Features) Missing(have Features) Features { return f &^ have }
