package bench

// A cpuModel is the models of a family that have a microarchitecture, from first to last.
type cpuModel struct {
	family, first, last int
	name                string
}

// amdModels and intelModels name what CPUID numbers only (AMD's Software Optimization Guides;
// Intel's Software Developer's Manual, volume 4, table 2-1).
var (
	amdModels = []cpuModel{
		{0x17, 0x00, 0x0f, "Zen"}, {0x17, 0x10, 0x1f, "Zen"}, {0x17, 0x08, 0x08, "Zen+"}, {0x17, 0x30, 0xff, "Zen 2"},
		{0x19, 0x00, 0x0f, "Zen 3"}, {0x19, 0x20, 0x5f, "Zen 3"}, {0x19, 0x10, 0x1f, "Zen 4"}, {0x19, 0x60, 0xaf, "Zen 4"},
		{0x1a, 0x00, 0x4f, "Zen 5"}, {0x1a, 0x60, 0x7f, "Zen 5"},
	}
	intelModels = []cpuModel{
		{6, 0x3c, 0x3c, "Haswell"}, {6, 0x3f, 0x3f, "Haswell"}, {6, 0x45, 0x46, "Haswell"},
		{6, 0x3d, 0x3d, "Broadwell"}, {6, 0x47, 0x47, "Broadwell"}, {6, 0x4f, 0x4f, "Broadwell"}, {6, 0x56, 0x56, "Broadwell"},
		{6, 0x4e, 0x4e, "Skylake"}, {6, 0x5e, 0x5e, "Skylake"}, {6, 0x55, 0x55, "Skylake-SP or Cascade Lake"},
		{6, 0x8e, 0x8e, "Kaby Lake"}, {6, 0x9e, 0x9e, "Kaby Lake"}, {6, 0xa5, 0xa6, "Comet Lake"},
		{6, 0x6a, 0x6a, "Ice Lake-SP"}, {6, 0x6c, 0x6c, "Ice Lake-SP"}, {6, 0x7d, 0x7e, "Ice Lake"},
		{6, 0x8c, 0x8d, "Tiger Lake"}, {6, 0xa7, 0xa7, "Rocket Lake"},
		{6, 0x97, 0x97, "Alder Lake"}, {6, 0x9a, 0x9a, "Alder Lake"}, {6, 0xb7, 0xb7, "Raptor Lake"}, {6, 0xba, 0xba, "Raptor Lake"}, {6, 0xbf, 0xbf, "Raptor Lake"},
		{6, 0x8f, 0x8f, "Sapphire Rapids"}, {6, 0xcf, 0xcf, "Emerald Rapids"}, {6, 0xad, 0xae, "Granite Rapids"}, {6, 0xaf, 0xaf, "Sierra Forest"},
		{6, 0xaa, 0xaa, "Meteor Lake"}, {6, 0xac, 0xac, "Meteor Lake"}, {6, 0xbd, 0xbd, "Lunar Lake"}, {6, 0xc5, 0xc6, "Arrow Lake"},
	}
)

// microarchitecture names that of an x86 CPU, or returns "".
func microarchitecture(vendor string, family, model int) string {
	var models []cpuModel
	switch vendor {
	case "AuthenticAMD":
		models = amdModels
	case "GenuineIntel":
		models = intelModels
	}
	name := ""
	for _, m := range models { // of ranges that overlap, the later is the narrower
		if m.family == family && m.first <= model && model <= m.last {
			name = m.name
		}
	}
	return name
}
