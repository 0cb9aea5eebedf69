package bench

import "testing"

func TestMicroarchitecture(t *testing.T) {
	for _, c := range []struct {
		vendor        string
		family, model int
		want          string
	}{
		{"AuthenticAMD", 26, 2, "Zen 5"},
		{"AuthenticAMD", 25, 17, "Zen 4"},
		{"AuthenticAMD", 25, 1, "Zen 3"},
		{"AuthenticAMD", 23, 8, "Zen+"},
		{"AuthenticAMD", 23, 49, "Zen 2"},
		{"GenuineIntel", 6, 207, "Emerald Rapids"},
		{"GenuineIntel", 6, 143, "Sapphire Rapids"},
		{"GenuineIntel", 6, 63, "Haswell"},
		{"GenuineIntel", 5, 63, ""},
		{"Apple", 0, 0, ""},
	} {
		if got := microarchitecture(c.vendor, c.family, c.model); got != c.want {
			t.Errorf("%s family %d, model %d is %q, want %q", c.vendor, c.family, c.model, got, c.want)
		}
	}
}

func TestClocks(t *testing.T) {
	r := newRunner(t, quick)
	clocks := measureClocks(r.set, NewPeak(r.set), 2)
	if len(clocks) != 2 {
		t.Fatalf("%+v", clocks)
	}
	for _, c := range clocks {
		for _, ghz := range []float64{c.GHzOne, c.GHzAll} {
			if !(ghz > 0.01 && ghz < 10) {
				t.Errorf("%+v: no CPU has such a clock", c)
			}
		}
	}
	if chain(0) == chain(1) {
		t.Error("chains do not depend on where they begin")
	}
}
