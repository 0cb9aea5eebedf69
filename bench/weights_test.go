package bench

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// TestProductWeights: products by weights of each type, in place and packed, have the sizes of the type,
// a text that is read again, values of about the size of standard normal ones, and the right result.
func TestProductWeights(t *testing.T) {
	r := newRunner(t, quick)
	for _, w := range kernel.Weights() {
		p := Product{M: 3, N: 40, K: 512, Weights: qkv.WeightType(w), InPlace: true}
		data := int64(40 * 512 / w.Values() * w.Bytes())
		if w == kernel.WeightInt8 {
			data += 4 * 40
		}
		if x, y := int64(4*3*512), int64(4*3*40); p.ReadBytes() != data || p.reused() != data || p.Bytes() != x+data+y || p.MovedBytes() != p.Bytes() {
			t.Errorf("%s: %d bytes, %d moved, %d read, want %d of weights", p, p.Bytes(), p.MovedBytes(), p.ReadBytes(), data)
		}
		for _, p.InPlace = range []bool{true, false} {
			if again := mustWork(t, p.String()); again != Work(p) {
				t.Errorf("%s is read as %s", p, again)
			}
			run, err := r.Run(context.Background(), Job{p, 1}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if packed := strings.HasPrefix(run.Path, "packed weights"); packed == p.InPlace || run.CheckedRows != 3 || run.ReadBytes != p.ReadBytes() {
				t.Errorf("%s: %+v", p, run)
			}
		}
		in, ok := p.Inputs(1).(*WeightInputs)
		if !ok {
			if w != kernel.WeightFloat32 {
				t.Errorf("the inputs of %s are %T", p, p.Inputs(1))
			}
			continue
		}
		sum := 0.0
		for j := range p.N {
			for _, x := range in.row(j) {
				sum += float64(x) * float64(x)
			}
		}
		if rms := math.Sqrt(sum / float64(p.N*p.K)); !(rms > 0.5 && rms < 2) {
			t.Errorf("values of %v are %.3g in the root of the mean square", w, rms)
		}
	}
}

// TestWeightInputsCheck: an element that is wrong is found, and a copy has weights of its own.
func TestWeightInputsCheck(t *testing.T) {
	p := Product{M: 5, N: 9, K: 256, Weights: qkv.WeightInt8, InPlace: true}
	in := p.Inputs(1).(*WeightInputs)
	paths, err := engine{}.Paths(in, 1)
	if err != nil {
		t.Fatal(err)
	}
	check := func() error {
		_, err := in.Check(context.Background(), CheckRows, nil)
		return err
	}
	if err := paths[0].Compute(); err != nil || check() != nil {
		t.Errorf("errors %v, %v", err, check())
	}
	other := in.again().(*WeightInputs)
	if &other.Data[0] == &in.Data[0] || &other.Scales[0] == &in.Scales[0] || &other.Y[0] != &in.Y[0] {
		t.Error("weights that take turns share memory, or their results do not")
	}
	in.Y[31] += 0.1
	if check() == nil {
		t.Error("an element that is wrong is not found")
	}
	in.Spoil()
	if check() == nil {
		t.Error("a result that there is not is not found")
	}
}

// TestClassProducts: products of classes Int8 and BFloat16 are within the bound that the class has, and not within
// that of class Float32.
func TestClassProducts(t *testing.T) {
	for _, text := range []string{
		"m=3,n=40,k=256,w=q4_k,class=int8", "m=3,n=40,k=288,w=q8_0,packed=1,class=int8", "m=3,n=40,k=64,w=int8,class=int8",
		"m=70,n=40,k=64,class=bfloat16", "m=3,n=40,k=64,w=q8_0,class=bfloat16", "m=70,n=40,k=64,w=float16,packed=1,class=bfloat16",
	} {
		w := mustWork(t, text)
		if w.String() != text {
			t.Errorf("%s is written as %s", text, w)
		}
		in := w.Inputs(1)
		paths, err := engine{}.Paths(in, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := paths[0].Compute(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Check(context.Background(), CheckRows, &paths[0]); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := in.Check(context.Background(), CheckRows, nil); err == nil {
			t.Errorf("%s: as good as float32", text)
		}
	}
}

// TestPacked: weights in place are packed before the clock runs, and there are no others to pack.
func TestPacked(t *testing.T) {
	for text, name := range map[string]string{
		"m=3,n=40,k=256,w=q4_k": "packed weights, Q4_K", "m=3,n=40,k=50,w=float32": "packed weights", "m=3,n=40,k=50,w=int8": "packed weights",
	} {
		in := mustWork(t, text).Inputs(1)
		paths, err := Packed().Paths(in, 1)
		if err != nil || len(paths) != 1 || paths[0].Name != name {
			t.Fatalf("%s: %+v, error %v", text, paths, err)
		}
		in.Spoil()
		if err := paths[0].Compute(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Check(context.Background(), CheckRows, &paths[0]); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"m=3,n=5,k=7", "m=3,n=5,k=256,w=q4_k,packed=1", "h=1,sq=4,d=8"} {
		var unsupported *UnsupportedError
		if _, err := Packed().Paths(mustWork(t, text).Inputs(1), 1); !errors.As(err, &unsupported) {
			t.Errorf("%s: error %v, want an *UnsupportedError", text, err)
		}
	}
}
