package bench

import (
	"context"
	"errors"
	"testing"
)

// TestCheckEnds: the comparison with float64 ends when its context does.
func TestCheckEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, text := range []string{"h=2,sq=100,d=8", "m=8,n=8,k=8", "project=4,in=8,h=2,d=4"} {
		if _, err := mustWork(t, text).Inputs(1).Check(ctx, CheckRows, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

// TestEstimate: what a work takes grows with its operations, and the comparison with float64 with
// the keys of a row.
func TestEstimate(t *testing.T) {
	r := newRunner(t, quick)
	small := r.Estimate(Job{parse(t, "h=8,sq=1000,d=64"), 1})
	large := r.Estimate(Job{parse(t, "h=8,sq=1000000,d=64"), 1})
	if small.Calls < minSamples || small.Call <= 0 || small.Total() < small.Call*minSamples {
		t.Errorf("%+v, %v in all", small, small.Total())
	}
	if large.Bytes < 8e9 || large.Bytes > 9e9 || large.Call < 1000*small.Call || large.Check < 100*small.Check {
		t.Errorf("%+v, a thousand times the length of %+v", large, small)
	}
}
