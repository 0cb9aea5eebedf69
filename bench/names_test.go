package bench

import (
	"fmt"
	"testing"
)

// TestListed: names are joined as a sentence has them, however many there are.
func TestListed(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""}, {[]string{"int8"}, "int8"}, {[]string{"int8", "q8_0"}, "int8 or q8_0"}, {[]string{"int8", "q8_0", "q4_0"}, "int8, q8_0 or q4_0"},
	} {
		if got := listed(c.names, "or"); got != c.want {
			t.Errorf("%q are listed as %q, want %q", c.names, got, c.want)
		}
	}
}

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
