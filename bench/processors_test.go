package bench

import (
	"slices"
	"testing"
)

func TestProcessors(t *testing.T) {
	for _, c := range []struct {
		m    Machine
		want string
	}{
		{Machine{Cores: 2, Threads: 4, Online: 4}, "2 cores, 4 threads"},
		{Machine{Cores: 2, Threads: 1, Online: 2}, "2 cores, 2 threads, 1 of them allowed"},
		{Machine{Cores: 1, Threads: 1, Online: 1}, "1 core, 1 thread"},
		{Machine{Threads: 3}, "3 threads"},
		{Machine{Threads: 3, Online: 5}, "5 threads, 3 of them allowed"},
		{Machine{Cores: 2, Threads: 4}, "2 cores, 4 threads"}, // a record that does not tell
	} {
		if got := c.m.Processors(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.m, got, c.want)
		}
	}
	for list, want := range map[string][]int{
		"0": {0}, "0-3\n": {0, 1, 2, 3}, "0-2,8": {0, 1, 2, 8}, "0,2-3,7-7": {0, 2, 3, 7},
		"": nil, "x": nil, "3-1": nil, "0-": nil, "-1": nil, "0-99999999999": nil, "0-65536": nil,
	} {
		if got := parseCPUs(list); !slices.Equal(got, want) {
			t.Errorf("%q: processors %d, want %d", list, got, want)
		}
		if got := parseCPUs(formatCPUs(want)); !slices.Equal(got, want) {
			t.Errorf("%q: processors %d, want %d", formatCPUs(want), got, want)
		}
	}
	m := ThisMachine()
	if m.Online > 0 && (m.Threads > m.Online || m.Cores > m.Online) {
		t.Errorf("%d cores, %d threads of %d", m.Cores, m.Threads, m.Online)
	}
}
