package bench

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// A coreID is what an arm64 core says of itself, in MIDR_EL1.
type coreID struct{ implementer, part uint64 }

// coreNames are the names of cores, which Linux leaves to its reader.
var coreNames = map[coreID]string{
	{0x41, 0xd03}: "Cortex-A53",
	{0x41, 0xd05}: "Cortex-A55",
	{0x41, 0xd07}: "Cortex-A57",
	{0x41, 0xd08}: "Cortex-A72",
	{0x41, 0xd09}: "Cortex-A73",
	{0x41, 0xd0a}: "Cortex-A75",
	{0x41, 0xd0b}: "Cortex-A76",
	{0x41, 0xd0d}: "Cortex-A77",
	{0x41, 0xd41}: "Cortex-A78",
	{0x41, 0xd44}: "Cortex-X1",
	{0x41, 0xd46}: "Cortex-A510",
	{0x41, 0xd47}: "Cortex-A710",
	{0x41, 0xd48}: "Cortex-X2",
	{0x41, 0xd4d}: "Cortex-A715",
	{0x41, 0xd4e}: "Cortex-X3",
	{0x41, 0xd80}: "Cortex-A520",
	{0x41, 0xd81}: "Cortex-A720",
	{0x41, 0xd82}: "Cortex-X4",
	{0x41, 0xd0c}: "Neoverse N1",
	{0x41, 0xd49}: "Neoverse N2",
	{0x41, 0xd8e}: "Neoverse N3",
	{0x41, 0xd40}: "Neoverse V1",
	{0x41, 0xd4f}: "Neoverse V2",
	{0x41, 0xd84}: "Neoverse V3",
	{0x46, 0x001}: "A64FX",
	{0x48, 0xd01}: "Kunpeng 920",
	{0x61, 0x022}: "Apple M1 (Icestorm)",
	{0x61, 0x023}: "Apple M1 (Firestorm)",
	{0x61, 0x032}: "Apple M2 (Blizzard)",
	{0x61, 0x033}: "Apple M2 (Avalanche)",
	{0xc0, 0xac3}: "Ampere-1",
	{0xc0, 0xac4}: "Ampere-1a",
}

// coreNamesOf returns the cores of an arm64 machine, each kind once, from the text of
// /proc/cpuinfo.
func coreNamesOf(cpuinfo string) string {
	var names []string
	var id coreID
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseUint(strings.TrimSpace(value), 0, 64)
		if err != nil {
			continue
		}
		switch strings.TrimSpace(key) {
		case "CPU implementer":
			id.implementer = n
		case "CPU part":
			id.part = n
			name, ok := coreNames[id]
			if !ok {
				name = "core " + hex(id.implementer) + "/" + hex(id.part)
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ", ")
}

func hex(n uint64) string { return "0x" + strconv.FormatUint(n, 16) }

// coreName names the cores where Linux tells their numbers, or returns "".
func coreName() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	return coreNamesOf(string(text))
}
