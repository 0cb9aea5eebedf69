package bench

import (
	"slices"
	"strings"
	"testing"
)

func TestDisturbed(t *testing.T) {
	load := func(others, steal float64) *Load {
		return &Load{Seconds: 1.2, Processors: 4, Own: 1, Others: others, Steal: steal}
	}
	neighbour := &Neighbour{Kind: NeighbourMemory}
	for _, c := range []struct {
		name string
		edit func(*Run)
		want string // what each reason begins with
	}{
		{"nothing", func(*Run) {}, ""},
		{"an idle machine", func(r *Run) { r.Load = load(0.1, 0.05) }, ""},
		{"another process", func(r *Run) { r.Load = load(1, 0) }, "others took 25% of the processors"},
		{"another machine", func(r *Run) { r.Load = load(0.3, 2) }, "other virtual machines took 57% of"},
		{"a tick", func(r *Run) { r.Load = &Load{Seconds: 0.01, Processors: 1, Others: 1} }, ""},
		{"above the peak", func(r *Run) { r.Efficiency = 1.77 }, "177% of the peak"},
		{"noise above the peak", func(r *Run) { r.Efficiency = 1.02 }, ""},
		{"above reading", func(r *Run) { r.OfRead = 1.5 }, "150% of reading"},
		{"read in a better order", func(r *Run) { r.OfRead = 1.13 }, ""},
		{"a slow minute", func(r *Run) { r.Rounds = []Round{{1, 60, 0}, {1, 65, 0}, {1, 70, 0}}; r.PeakGFLOPS = 70 }, "the peak beside it was 65% of the best"},
		{"slow memory", func(r *Run) { r.Rounds[0].ReadGBps = 10 }, "reading beside it was 50% of the best"},
		{"another buffer", func(r *Run) { r.ReadBytes, r.ReadGBps, r.Rounds[0].ReadGBps = 1e6, 10, 10 }, ""},
		{"calls that differ", func(r *Run) { r.SecondsMin = 0.5 }, "the median call took 2.0 times as long as the fastest"},
		{"calls that differ a little", func(r *Run) { r.SecondsMin = 0.8 }, ""},
		{"a neighbour of its own", func(r *Run) {
			r.Neighbour, r.Load = neighbour, &Load{Seconds: 1.2, Processors: 4, Own: 1, Neighbour: 1}
		}, ""},
		{"reading beside a neighbour", func(r *Run) { r.Neighbour, r.ReadGBps, r.Rounds = neighbour, 8, []Round{{1, 98, 8}} }, ""},
		{"the peak beside a neighbour", func(r *Run) { r.Neighbour, r.PeakGFLOPS, r.Rounds = neighbour, 50, []Round{{1, 50, 19}} }, ""},
		{"a neighbour and another process", func(r *Run) { r.Neighbour, r.Load = neighbour, load(1, 0) }, "others took 25% of the processors"},
		{"a neighbour on a worker's processor", func(r *Run) {
			r.Neighbour, r.SecondsMin, r.Rounds = &Neighbour{Kind: NeighbourCache, Shared: true}, 0.5, []Round{{1, 50, 9}}
		}, ""},
		{"cold", func(r *Run) { r.Cold, r.ReadGBps, r.Rounds = 3, 8, []Round{{1, 98, 8}} }, ""},
		{"cold, a slow minute", func(r *Run) { r.Cold, r.PeakGFLOPS, r.Rounds = 3, 70, []Round{{1, 60, 19}} }, "the peak beside it was 60% of the best"},
		{"both", func(r *Run) { r.Efficiency, r.Load = 2, load(4, 0) }, "others took 100%;200% of the peak"},
	} {
		d := Document{Ceilings: Ceilings{Kernel: "avx2", Workers: 4, PeakGFLOPSOne: 90, PeakGFLOPSAll: 400}}
		calm := Run{
			Name: "x", System: SystemName, Kernel: "avx2", Workers: 1, SecondsMedian: 1, PeakGFLOPS: 100, Efficiency: 0.9,
			ReadBytes: 2e6, ReadGBps: 20, OfRead: 0.9, Rounds: []Round{{1, 98, 19}},
		}
		x := calm
		x.Rounds = slices.Clone(x.Rounds)
		c.edit(&x)
		d.Add(calm)
		d.Add(x)
		got := d.Disturbed(&d.Runs[1])
		want := strings.Split(c.want, ";")
		if c.want == "" {
			want = nil
		}
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
		if got := d.Disturbed(&d.Runs[0]); got != nil {
			t.Errorf("beside %s: %q", c.name, got)
		}
	}
}

// TestRoofs: no burst of a document is above its roof.
func TestRoofs(t *testing.T) {
	d := Document{Ceilings: Ceilings{Kernel: "avx2", Workers: 4, PeakGFLOPSOne: 90, PeakGFLOPSAll: 300, Read: []Bandwidth{{Level: "L3", GBpsOne: 15, GBpsAll: 40}, {Level: "memory", GBpsOne: 10, GBpsAll: 20}}}}
	for _, r := range []Run{
		{Workers: 1, PeakGFLOPS: 100}, {Workers: 1, PeakGFLOPS: 80}, {Workers: 4, PeakGFLOPS: 350}, {Workers: 2, PeakGFLOPS: 500},
		{Workers: 1, ReadLevel: "L3", ReadGBps: 50}, {Workers: 4, ReadLevel: "L2/L3", ReadGBps: 90}, {Workers: 4, ReadLevel: "memory", ReadGBps: 25},
	} {
		r.Kernel = "avx2"
		d.Add(r)
	}
	d.Add(Run{Kernel: "generic", Workers: 1, PeakGFLOPS: 1000})
	d.Ceilings.Raise(&Ceilings{PeakGFLOPSOne: 95, PeakGFLOPSAll: 360, Read: []Bandwidth{{GBpsOne: 40, GBpsAll: 45}}})
	want := Ceilings{Kernel: "avx2", Workers: 4, PeakGFLOPSOne: 100, PeakGFLOPSAll: 360, Read: []Bandwidth{{Level: "L3", GBpsOne: 50, GBpsAll: 45}, {Level: "memory", GBpsOne: 10, GBpsAll: 25}}}
	if c := d.Ceilings; c.PeakGFLOPSOne != want.PeakGFLOPSOne || c.PeakGFLOPSAll != want.PeakGFLOPSAll || !slices.Equal(c.Read, want.Read) {
		t.Errorf("%+v, want %+v", c, want)
	}
}

// TestResults: the passes of a work are one result, of those that were left alone.
func TestResults(t *testing.T) {
	d := Document{}
	busy := &Load{Seconds: 1, Processors: 2, Others: 1}
	add := func(name string, seconds float64, l *Load) {
		d.Add(Run{Name: name, System: SystemName, Workers: 1, SecondsMedian: seconds, SecondsMin: 0.8 * seconds, SecondsQ1: seconds, SecondsQ3: seconds, Load: l})
	}
	for _, s := range []float64{5, 3, 1, 4} {
		add("a", s, nil)
		add("b", 2*s, busy)
	}
	add("a", 0.1, busy)
	add("c", 7, nil)
	add("a1", 7, nil)
	list := d.Results()
	if len(list) != 4 {
		t.Fatalf("%+v", list)
	}
	a, b, c := list[0], list[1], list[2]
	if a.SecondsMedian != 3 || !near(a.SecondsMin, 0.08) || a.SecondsQ1 != 2.5 || a.SecondsQ3 != 4.25 || a.Calm != 4 || len(a.Passes) != 5 || a.Disturbed != nil {
		t.Errorf("%+v", a)
	}
	if b.SecondsMedian != 6 || b.Calm != 0 || len(b.Passes) != 4 || len(b.Disturbed) != 1 {
		t.Errorf("%+v", b)
	}
	if c.SecondsMedian != 7 || c.SecondsQ1 != 7 || len(c.Passes) != 1 {
		t.Errorf("%+v", c)
	}
}
