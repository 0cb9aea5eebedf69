package ptr

import "testing"

func TestAt(t *testing.T) {
	x := [4]float32{1, 2, 3, 4}
	if got := *At(&x[1], 2); got != 4 {
		t.Errorf("2 after the second is %v, want 4", got)
	}
	if got := *At(&x[3], -3); got != 1 {
		t.Errorf("3 before the last is %v, want 1", got)
	}
	rows := [3][2]uint16{{1, 2}, {3, 4}, {5, 6}}
	if got := *At(&rows[0], 2); got != rows[2] {
		t.Errorf("the third row is %v, want %v", got, rows[2])
	}
}
