package qkv

import (
	"fmt"
	"strings"
	"testing"
)

// TestArgErrorArguments: a message has its arguments as package fmt has them, whatever their kind.
func TestArgErrorArguments(t *testing.T) {
	type name string
	type flags uint8
	for _, a := range []any{
		true, false, nil, 'x', -7, int8(-8), int64(1) << 62, uint(7), uint8(255), uint16(1), uint32(1), uint64(1) << 63, uintptr(3), flags(5),
		float32(0.1), 0.1, 1e300, "text", name("a name"), [4]int{1, -2, 3, 4}, kindFloat32, TypeInt8, RotaryScalingType("yarn"),
	} {
		for _, verb := range []string{"%v", "%d", "%q", "%s", "%g", "%t"} {
			want := fmt.Sprintf(verb, a)
			if strings.HasPrefix(want, "%!") {
				continue // not for this verb
			}
			if got := argError("x", 0, 0, verb, a).Error(); got != "qkv: "+want {
				t.Errorf("%T with %s: %q, want %q", a, verb, got, "qkv: "+want)
			}
		}
	}
	if got := argError("x", 0, 0, "%v", []int{1}).Error(); got != "qkv: []int" {
		t.Errorf("a slice: %q", got)
	}
}
