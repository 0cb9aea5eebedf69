package bench

import "testing"

func TestCoreNames(t *testing.T) {
	const (
		a55 = "processor\t: 0\nBogoMIPS\t: 38.40\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\n" +
			"CPU variant\t: 0x1\nCPU part\t: 0xd05\nCPU revision\t: 0\n\n"
		a76  = "processor\t: 4\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"
		made = "processor\t: 0\nCPU implementer\t: 0x99\nCPU part\t: 0x123\n"
	)
	for _, c := range []struct{ name, cpuinfo, want string }{
		{"one kind", a76 + a76, "Cortex-A76"},
		{"two kinds", a55 + a55 + a76, "Cortex-A55, Cortex-A76"},
		{"server", "CPU implementer : 0x41\nCPU part : 0xd4f\n", "Neoverse V2"},
		{"implementer counts", "CPU implementer : 0x61\nCPU part : 0x023\n", "Apple M1 (Firestorm)"},
		{"not in the table", made, "core 0x99/0x123"},
		{"another architecture", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: some\n", ""},
		{"nothing", "", ""},
		{"no number", "CPU implementer : arm\nCPU part :\n", ""},
	} {
		if got := coreNamesOf(c.cpuinfo); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
