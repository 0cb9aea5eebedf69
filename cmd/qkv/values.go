package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/cmd/qkv/npy"
)

// valueFlags are the flags of qkv run and qkv view that change scores.
type valueFlags struct {
	scale, softcap     float32             // 0 if not given
	alibi, sinks, bias string              // files
	biases             pairsArray[float32] // what that of the bias holds, once read
}

func (v *valueFlags) register(f *flag.FlagSet) {
	f.Func("scale", "multiply the scores by `X` (default 1/sqrt(dim))", func(s string) (err error) {
		v.scale, err = parseFinite(s)
		return err
	})
	f.Func("softcap", "bound the scores to within `X` of 0, by X*tanh(score/X)", func(s string) (err error) {
		if v.softcap, err = parseFinite(s); err != nil || v.softcap < 0 {
			return errors.New("want a finite number above 0")
		}
		return nil
	})
	f.StringVar(&v.alibi, "alibi", "", "take from the scores the distance of query and key times the slope of each head in\n`FILE`: float32, [heads]")
	f.StringVar(&v.bias, "bias", "", "add to the scores what `FILE` holds: float32, of a shape as for -mask")
	f.StringVar(&v.sinks, "sinks", "", "let a logit for each head in `FILE` take part in the softmax without a value: float32,\n[heads]")
}

// parseFinite reads a float32 that is neither 0 nor infinite.
func parseFinite(s string) (float32, error) {
	x, err := strconv.ParseFloat(s, 32)
	if err != nil || x == 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return 0, errors.New("want a finite number other than 0")
	}
	return float32(x), nil
}

// read puts the values into c, with what their files hold.
func (v *valueFlags) read(c *qkv.Call) error {
	c.Scale, c.Softcap = v.scale, v.softcap
	for _, x := range []struct {
		path string
		dst  *[]float32
	}{{v.alibi, &c.ALiBi}, {v.sinks, &c.Sinks}} {
		if x.path == "" {
			continue
		}
		a, err := readNPY(x.path)
		if err != nil {
			return err
		}
		if n := len(a.dims); n != 1 {
			return fmt.Errorf("%s: its shape %s has %d axes, 1 is needed", x.path, npy.Tuple(a.dims), n)
		}
		*x.dst = a.data
	}
	if v.bias == "" {
		return nil
	}
	a, err := readNPY(v.bias)
	if err != nil {
		return err
	}
	if v.biases, err = pairs(v.bias, a.dims, a.data); err != nil {
		return err
	}
	c.Bias = v.biases.view()
	return nil
}
