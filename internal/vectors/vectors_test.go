package vectors

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestFiles holds testdata/vectors against what go run ./internal/vectors/gen makes of the
// cases here, to the digits that architectures agree on.
func TestFiles(t *testing.T) {
	for name, cases := range Files() {
		data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vectors", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var have, want []Case
		if err := json.Unmarshal(data, &have); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fresh, err := Encode(cases)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(fresh, &want); err != nil {
			t.Fatal(err)
		}
		if len(have) != len(want) {
			t.Fatalf("%s has %d cases, want %d", name, len(have), len(want))
		}
		for i := range want {
			if a, b := header(t, have[i]), header(t, want[i]); a != b {
				t.Errorf("%s: %s, want %s", name, a, b)
				continue
			}
			sameNumbers(t, want[i].Name, have[i].Out, want[i].Out)
			sameNumbers(t, want[i].Name, plain(have[i].LSE), plain(want[i].LSE))
		}
	}
}

// header is all of a case but the results.
func header(t *testing.T, c Case) string {
	c.Out, c.LSE = nil, nil
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func plain(lse []*float64) []float64 {
	x := make([]float64, len(lse))
	for i, p := range lse {
		x[i] = math.Inf(-1)
		if p != nil {
			x[i] = *p
		}
	}
	return x
}

func sameNumbers(t *testing.T, name string, have, want []float64) {
	t.Helper()
	if len(have) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", name, len(have), len(want))
	}
	for i := range want {
		if have[i] != want[i] && !(math.Abs(have[i]-want[i]) <= 1e-9*math.Abs(want[i])+1e-12) {
			t.Fatalf("%s: number %d is %v, want %v", name, i, have[i], want[i])
		}
	}
}

// TestByHand has results that paper gives.
func TestByHand(t *testing.T) {
	weights, lse := softmax([]float64{0, math.Log(3)}, nil)
	if math.Abs(weights[1]-0.75) > 1e-15 || math.Abs(lse-math.Log(4)) > 1e-15 {
		t.Errorf("softmax of 0 and ln 3: %v, %v", weights, lse)
	}
	sink := math.Log(4)
	weights, lse = softmax([]float64{0, math.Log(3)}, &sink)
	if math.Abs(weights[1]-0.375) > 1e-15 || math.Abs(lse-math.Log(8)) > 1e-15 {
		t.Errorf("softmax of 0 and ln 3 beside a sink of ln 4: %v, %v", weights, lse)
	}
	if _, lse = softmax([]float64{math.Inf(-1)}, nil); !math.IsInf(lse, -1) {
		t.Errorf("log-sum-exp of no key: %v", lse)
	}
	for _, c := range []struct {
		x           float64
		bits, least int
		want        float64
	}{
		{1 + 0x1p-11, 11, -24, 1}, {1 + 0x3p-11, 11, -24, 1 + 0x1p-9}, {0x1.8p-24, 11, -24, 0x1p-23}, {0x1p-25, 11, -24, 0},
		{1 + 0x1p-8, 8, -133, 1}, {-0.3, 8, -133, -0.30078125}, {0, 8, -133, 0},
	} {
		if got := nearest(c.x, c.bits, c.least); got != c.want {
			t.Errorf("%x in %d bits: %x, want %x", c.x, c.bits, got, c.want)
		}
	}
	y := product([]float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, []float64{0, 1}, 2, 2, 2)
	for i, want := range []float64{19, 23, 43, 51} {
		if y[i] != want {
			t.Errorf("product: %v", y)
		}
	}
	for _, interleaved := range []bool{false, true} {
		x := []float64{1, 2, 3, 4}
		rotate(x, []float64{math.Pi / 2, math.Pi}, 2, 1, interleaved)
		want := []float64{-6, -4, 2, -8}
		if interleaved {
			want = []float64{-4, 2, -6, -8}
		}
		for i := range x {
			if math.Abs(x[i]-want[i]) > 1e-14 {
				t.Errorf("rotated, interleaved %v: %v, want %v", interleaved, x, want)
			}
		}
	}
}
