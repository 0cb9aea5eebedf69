package fp

import (
	"math"
	"testing"
)

func TestLog(t *testing.T) {
	for x := 1.0; x < 1e12; x *= 1.0007 {
		got, want := Log(x), math.Log(x)
		if math.Abs(got-want) > 2e-12*math.Abs(want) {
			t.Fatalf("Log(%v) = %v, want %v", x, got, want)
		}
	}
	if got := Log(1); got != 0 {
		t.Errorf("Log(1) = %v", got)
	}
	if got := Log(math.Inf(1)); !math.IsInf(got, 1) {
		t.Errorf("Log(+Inf) = %v", got)
	}
	if got := Log(math.NaN()); !math.IsNaN(got) {
		t.Errorf("Log(NaN) = %v", got)
	}
}
