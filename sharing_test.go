package qkv

import (
	"math/rand/v2"
	"testing"
)

// TestSharing holds what is found of two large views against a look at each of their elements.
// That it is unclear counts as sharing, and never is of two views that lay out tensors.
func TestSharing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	mem := make([]float32, 1<<20)
	mark := make([]bool, len(mem))
	view := func(tensor bool) View {
		for {
			shape := [4]int{1, 1 + r.IntN(20), 1 + r.IntN(60), 1 + r.IntN(60)}
			var stride [4]int
			span := 1
			for _, axis := range r.Perm(4) {
				stride[axis] = span + r.IntN(7)
				if !tensor && shape[axis] > 1 {
					stride[axis] = 500 + r.IntN(3000)
				}
				span = stride[axis] * shape[axis]
			}
			if v := Strided(mem, r.IntN(1000), shape, stride); v.check("v", &axisNames) == nil {
				return v
			}
		}
	}
	each := func(v View, f func(at int) (stop bool)) bool {
		for h := range v.shape[axisHeads] {
			for s := range v.shape[axisSeq] {
				for d := range v.shape[axisDim] {
					if f(v.offset + h*v.stride[axisHeads] + s*v.stride[axisSeq] + d*v.stride[axisDim]) {
						return true
					}
				}
			}
		}
		return false
	}
	count := map[sharing]int{}
	for i := range 1500 {
		tensor := i%2 == 0
		x, y := view(tensor), view(true)
		each(x, func(at int) bool { mark[at] = true; return false })
		want := apart
		if each(y, func(at int) bool { return mark[at] }) {
			want = shared
		}
		each(x, func(at int) bool { mark[at] = false; return false })
		rx, ry := x.region(), y.region()
		for _, got := range []sharing{rx.shares(&ry), ry.shares(&rx)} {
			count[got]++
			if got != want && (got != unclear || tensor) {
				t.Fatalf("%v %v and %v %v, at %d and %d: %q, want %q", x.shape, x.stride, y.shape, y.stride, x.offset, y.offset, got, want)
			}
		}
	}
	if count[apart] < 100 || count[shared] < 100 {
		t.Errorf("%d apart, %d shared: they test little", count[apart], count[shared])
	}
}

// TestSharingUnclear: where it takes too long to find out, an output is refused.
func TestSharingUnclear(t *testing.T) {
	e, err := New(Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	mem := make([]float32, 1<<24)
	k := Strided(mem, 0, [4]int{8, 10, 1000, 1000}, [4]int{8000, 7200, 7000, 7100}) // multiples of 100
	out := Strided(mem, 7000050, [4]int{8, 10, 1, 1}, [4]int{1100, 101, 0, 1})      // 50 to 59 more
	q, v := BHSD(make([]float32, 8*10*1000), 8, 10, 1, 1000), BHSD(make([]float32, 8*10*1000), 8, 10, 1000, 1)
	want := "qkv: out and k have strides too irregular to tell whether they share elements"
	if err := e.Run(&Call{Q: q, K: k, V: v, Out: out}); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	k.shape[axisSeq], v.shape[axisSeq] = 2, 2
	if err := e.Run(&Call{Q: q, K: k, V: v, Out: out}); err != nil {
		t.Error(err)
	}
}
