package bench

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

func TestPresets(t *testing.T) {
	for _, p := range Presets() {
		got, err := FindPreset(p.Name)
		if err != nil || got.Name != p.Name {
			t.Errorf("FindPreset(%q) = %q, %v", p.Name, got.Name, err)
		}
		if p.About == "" || len(p.Works) == 0 || len(p.Workers) == 0 {
			t.Errorf("preset %q is incomplete", p.Name)
		}
		seen := make(map[Job]bool)
		for _, j := range p.Jobs(0) {
			if seen[j] || j.Workers < 1 {
				t.Errorf("preset %q has %v on %d workers twice, or on none", p.Name, j.Work, j.Workers)
			}
			seen[j] = true
		}
		if jobs := p.Jobs(3); len(jobs) != len(p.Works) || jobs[0].Workers != 3 {
			t.Errorf("preset %q on 3 workers: %v", p.Name, jobs)
		}
	}
	_, err := FindPreset("nothing")
	if err == nil {
		t.Fatal("there is a preset of the name nothing")
	}
	for _, p := range Presets() {
		if !strings.Contains(err.Error(), p.Name) {
			t.Errorf("error %q does not list %s", err, p.Name)
		}
	}
}

// TestPresetsOfWeights: one row by weights of each type, in place, and packed where a packed copy keeps it.
func TestPresetsOfWeights(t *testing.T) {
	for name, types := range map[string][]kernel.Weight{
		"weights": kernel.Weights(),
		"packed":  append(kernel.StripTypes(), kernel.WeightFloat32),
	} {
		preset, err := FindPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range types {
			has := func(work Work) bool {
				p, ok := work.(Product)
				return ok && p.M == 1 && p.N == 4096 && p.K == 4096 && p.Weights == qkv.WeightType(w) && (p.InPlace || name == "packed")
			}
			if !slices.ContainsFunc(preset.Works, has) {
				t.Errorf("preset %s has no row by weights of type %v", name, w)
			}
		}
	}
}

func TestJobsOnOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p := Presets()[0]
	if jobs := p.Jobs(0); len(jobs) != len(p.Works) {
		t.Errorf("%d jobs for %d shapes: 1 and all processors are the same", len(jobs), len(p.Works))
	}
}
