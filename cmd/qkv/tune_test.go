package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

func TestTune(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	path := filepath.Join(t.TempDir(), "tuning.json")
	code, out, errs := qkvRun("tune", "-time", "1us", "-rounds", "1", "-seq", "64", "-o", path)
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, stderr %q", code, errs)
	}
	for _, want := range []string{"kernel set ", "lanes, to 64", "query rows, above", "decoding, 1 row a KV head", "decoding, 4 rows a KV head", "as prefill "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	tuning, err := qkv.ReadTuning(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := qkv.New(qkv.Config{Tuning: tuning}); err != nil {
		t.Error(err)
	}
	record := filepath.Join(t.TempDir(), "r.json")
	if code, _, errs := qkvRun("bench", "-shape", "h=1,sq=16,d=8", "-tuning", path, "-count", "1", "-json", record); code != exitOK {
		t.Errorf("bench with it: exit %d, %s", code, errs)
	}
	if text, err := os.ReadFile(record); err != nil || !strings.Contains(string(text), `"tuned": true`) {
		t.Errorf("the record does not say that it was tuned, error %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"format": "qkv-tuning-1", "cpu": "another", "kernel": "x", "rules": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := qkvRun("bench", "-shape", "h=1,sq=16,d=8", "-tuning", path); code != exitFailed || !strings.Contains(errs, `tuning: cpu is "another"`) {
		t.Errorf("a tuning of another CPU: exit %d, %s", code, errs)
	}
	for _, args := range []string{"-workers -1", "-time 0", "-rounds 0", "-seq 0", "-kernel none", "x"} {
		if code, _, _ := qkvRun(append([]string{"tune"}, strings.Fields(args)...)...); code == exitOK {
			t.Errorf("tune %s: exit %d", args, code)
		}
	}
}
