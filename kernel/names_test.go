package kernel

import (
	"fmt"
	"math"
	"testing"
)

// checkNames checks that the values of a type have names of their own, and others the number.
func checkNames[T interface {
	~int
	fmt.Stringer
	Known() bool
}](t *testing.T, typ string, all []T) {
	names := map[string]bool{}
	for i, v := range all {
		name := v.String()
		if int(v) != i || !v.Known() || name == "" || names[name] {
			t.Errorf("%s %d of %d is %q", typ, int(v), len(all), name)
		}
		names[name] = true
	}
	for _, n := range []int{-1, len(all), math.MinInt, math.MaxInt} {
		if v, want := T(n), fmt.Sprintf("%s(%d)", typ, n); v.Known() || v.String() != want {
			t.Errorf("%q, want %q", v.String(), want)
		}
	}
}

func TestNames(t *testing.T) {
	checkNames(t, "Precision", Precisions())
	checkNames(t, "Weight", Weights())
	checkNames(t, "Elem", Elems())
	checkNames(t, "Activation", Activations())
}
