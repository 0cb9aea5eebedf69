package bench

import (
	"fmt"
	"testing"
)

// TestUnknownNames: values that a type does not have are called by their numbers.
func TestUnknownNames(t *testing.T) {
	for _, c := range []struct {
		v    fmt.Stringer
		want string
	}{
		{CacheKind(-1), "CacheKind(-1)"}, {Ring + 1, "CacheKind(3)"},
		{Verdict(-1), "Verdict(-1)"}, {Regression + 1, "Verdict(8)"}, {Regression, "REGRESSION"},
		{Layout{Order: -1}, "Order(-1)"}, {Layout{Order: DimMajor + 1, Pad: 2}, "Order(4)+2"},
	} {
		if got := c.v.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
