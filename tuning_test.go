package qkv_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

func normals(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// TestTuningBits: whatever a tuning chooses, results have the same bits, and Explain says that
// it chose.
func TestTuningBits(t *testing.T) {
	t.Parallel()
	for _, set := range kernelSets() {
		var rules []qkv.TuningRule
		for lanes := set.Vec; lanes <= set.Lanes; lanes += set.Vec {
			for _, laneGroups := range []int{1, 3} {
				rules = append(rules, qkv.TuningRule{MaxDim: qkv.MaxDim, Lanes: lanes, QueryRows: laneGroups * lanes, DecodeRows: -1})
			}
		}
		for rows := 1; rows <= set.DecodeRows; rows++ {
			rules = append(rules, qkv.TuningRule{MaxDim: qkv.MaxDim, DecodeRows: rows})
		}
		for j, s := range []struct {
			h, hkv, sq, skv, d int
			causal             bool
		}{{4, 2, 150, 300, 32, true}, {2, 2, 65, 129, 48, false}, {8, 2, 1, 1500, 32, false}, {6, 1, 2, 1100, 64, true}} {
			q, k, v := normals(s.h*s.sq*s.d, 1), normals(s.hkv*s.skv*s.d, 2), normals(s.hkv*s.skv*s.d, 3)
			run := func(tuning *qkv.Tuning) ([]float32, string) {
				t.Helper()
				e, err := qkv.New(qkv.Config{Kernel: set.Name, Workers: 2, Tuning: tuning})
				if err != nil {
					t.Fatal(err)
				}
				out := make([]float32, len(q))
				c := qkv.Call{
					Q: qkv.BHSD(q, 1, s.h, s.sq, s.d), K: qkv.BHSD(k, 1, s.hkv, s.skv, s.d), V: qkv.BHSD(v, 1, s.hkv, s.skv, s.d),
					Out: qkv.BHSD(out, 1, s.h, s.sq, s.d), Mask: qkv.Mask{Causal: s.causal, Align: qkv.BottomRight},
				}
				plan, err := e.Explain(&c)
				if err != nil {
					t.Fatal(err)
				}
				if err := e.Run(&c); err != nil {
					t.Fatal(err)
				}
				return out, plan.String()
			}
			want, _ := run(nil)
			for i, r := range rules {
				if r.DecodeRows > 0 && s.sq > kernel.MaxDecodeRows || brief() && (i+j)%2 > 0 {
					continue // so many rows are never decoded
				}
				got, plan := run(&qkv.Tuning{Format: qkv.TuningFormat, CPU: qkv.CPUName(), Kernel: set.Name, Rules: []qkv.TuningRule{r}})
				for i := range want {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%s, %+v, %+v: element %d is %v, without tuning %v", set.Name, s, r, i, got[i], want[i])
					}
				}
				if r.Lanes > 0 && !strings.Contains(plan, fmt.Sprintf("%d lanes: as tuned", r.Lanes)) {
					t.Errorf("%s, %+v: the plan is\n%s", set.Name, r, plan)
				}
			}
		}
	}
}

func TestTuningErrors(t *testing.T) {
	set := qkv.Kernels()[len(qkv.Kernels())-1].Set // generic
	good := func() *qkv.Tuning {
		return &qkv.Tuning{Format: qkv.TuningFormat, CPU: qkv.CPUName(), Kernel: set.Name, Rules: []qkv.TuningRule{{MaxDim: 64}, {MaxDim: 128}}}
	}
	if _, err := qkv.New(qkv.Config{Kernel: set.Name, Tuning: good()}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		edit func(*qkv.Tuning)
		want string
	}{
		{func(t *qkv.Tuning) { t.Format = "x" }, `format is "x", "qkv-tuning-1" is needed`},
		{func(t *qkv.Tuning) { t.CPU = "x" }, `cpu is "x", "` + qkv.CPUName()},
		{func(t *qkv.Tuning) { t.Kernel = "avx9" }, `kernel is "avx9", "generic" is needed`},
		{func(t *qkv.Tuning) { t.Rules[1].MaxDim = 0 }, "rules[1].max_dim is 0, 1 to 16384 is needed"},
		{func(t *qkv.Tuning) { t.Rules[1].Lanes = 6 }, "rules[1].lanes is 6, a multiple of 4 up to 16 is needed"},
		{func(t *qkv.Tuning) { t.Rules[1].Lanes = 20 }, "rules[1].lanes is 20, a multiple of 4 up to 16 is needed"},
		{func(t *qkv.Tuning) { t.Rules[0].Lanes = -4 }, "rules[0].lanes is -4"},
		{func(t *qkv.Tuning) { t.Rules[0].Lanes, t.Rules[0].QueryRows = 8, 7 }, "rules[0].query_rows is 7, 8 to"},
		{func(t *qkv.Tuning) { t.Rules[0].DecodeRows = -2 }, "rules[0].decode_rows is -2, -1 to"},
		{func(t *qkv.Tuning) { t.Rules[0].DecodeRows = 1000 }, "rules[0].decode_rows is 1000"},
	} {
		tuning := good()
		c.edit(tuning)
		_, err := qkv.New(qkv.Config{Kernel: set.Name, Tuning: tuning})
		if !errors.As(err, new(*qkv.TuningError)) || !strings.HasPrefix(err.Error(), "qkv: tuning: "+c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

func TestReadTuning(t *testing.T) {
	want := qkv.Tuning{Format: qkv.TuningFormat, CPU: "c", Kernel: "k", Rules: []qkv.TuningRule{{MaxDim: 1, Lanes: 2, QueryRows: 3, DecodeRows: 4}}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "t.json")
	for _, c := range []struct{ text, want string }{
		{string(text), ""},
		{"", "is not a tuning: unexpected end of JSON input"},
		{"{", "is not a tuning: unexpected end of JSON input"},
		{"null", "is not a tuning: an object is needed"},
		{"[]", "is not a tuning: an object is needed"},
		{`{}`, "is not a tuning: format: it is missing"},
		{`{"format": null}`, "format: it is null, a string is needed"},
		{`{"format": "", "format": "", "cpu": "", "kernel": "", "rules": []}`, `"format" stands twice in an object`},
		{`{"format": "", "cpu": 3, "kernel": "", "rules": []}`, "cpu: it is 3, a string is needed"},
		{`{"format": "", "cpu": "", "rules": []}`, "kernel: it is missing"},
		{`{"format": "", "cpu": "", "kernel": ""}`, "rules: it is missing"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": null}`, "rules: it is null, an array is needed"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": {}}`, "rules: it is an object, an array is needed"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [null]}`, "rules[0]: it is null, an object is needed"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [{}]}`, "rules[0].max_dim: it is missing"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [{"max_dim": 1, "lanes": null}]}`, "rules[0].lanes: it is null, an integer is needed"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [{"max_dim": 1, "Lanes": 4}]}`, "rules[0].Lanes: it is not known"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [{"max_dim": 1, "lanes": 4, "lanes": 8}]}`, `"lanes" stands twice in an object`},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [{"max_dim": 1, "lanes": [[]]}]}`, "more than 3 objects and arrays lie in each other"},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [], "lanes": 3}`, `lanes: it is not known`},
		{`{"format": "", "cpu": "", "kernel": "", "rules": [{"max_dim": 1.5}]}`, "rules[0].max_dim: it is 1.5, an integer is needed"},
		{string(text) + "{}", "after top-level value"},
		{strings.Repeat(" ", 1<<16+1), "at most 65536 bytes"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := qkv.ReadTuning(path)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%.20q: error %v, want %q", c.text, err, c.want)
			}
			continue
		}
		if err != nil || fmt.Sprint(*got) != fmt.Sprint(want) {
			t.Errorf("%+v, error %v", got, err)
		}
	}
	if _, err := qkv.ReadTuning(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: error %v", err)
	}
}
