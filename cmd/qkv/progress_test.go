package main

import (
	"testing"

	"github.com/rivo/uniseg"
)

// TestProgressFits: what names a step leaves room for the rest of the line.
func TestProgressFits(t *testing.T) {
	const step = "h=32,hkv=8,sq=2048,d=128,mask=causal on 2 workers"
	for columns, want := range map[int]string{0: step, 200: step, 79: step, 78: step[:47] + "…", 60: "h=32,hkv=8,sq=2048,d=128,mask…", 40: "h=32,hkv=…", 34: "h=3…", 30: "", 10: ""} {
		got := fitting(step, columns)
		if got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
		if columns >= 30 && uniseg.StringWidth(got)+30 > columns {
			t.Errorf("%d columns: %q takes %d", columns, got, uniseg.StringWidth(got))
		}
	}
	if got := fitting("日本語日本語", 38); got != "日本語…" {
		t.Errorf("wide characters: %q", got)
	}
}
