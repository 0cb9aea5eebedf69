package heatmap

import (
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/palette/moreland"
)

// A scale takes probabilities to positions among the colours, from 0 to 1.
type scale struct {
	least, most float64 // probabilities of the positions 0 and 1
	log         bool
}

// scale returns the scale of all maps: up to the least round number that covers them, and
// down to 0 or, by logarithms, to a hundredth of the probability that a query spread
// over all keys gives each.
func (a *Attention) scale(log bool) scale {
	s := scale{most: 1, log: log}
	top := float64(a.top)
	for unit := 1.0; unit > 1e-30 && top <= unit; unit /= 10 {
		for _, m := range []float64{1, 0.5, 0.2} {
			if top <= m*unit {
				s.most = m * unit
			}
		}
	}
	if top == 0 {
		s.most = 1
	}
	if log {
		s.most = math.Pow10(int(math.Ceil(math.Log10(s.most) - 1e-9)))
		s.least = min(math.Pow10(int(math.Floor(-math.Log10(float64(a.keys))))-2), s.most/10)
	}
	return s
}

// at returns the position of a probability.
func (s scale) at(p float32) float64 {
	x := float64(p) / s.most
	if s.log {
		if p <= 0 {
			return 0
		}
		x = math.Log(float64(p)/s.least) / math.Log(s.most/s.least)
	}
	return min(max(x, 0), 1)
}

// of returns the probability at a position.
func (s scale) of(x float64) float64 {
	if s.log {
		return s.least * math.Pow(s.most/s.least, x)
	}
	return x * s.most
}

// ends names the probabilities at both ends.
func (s scale) ends() (least, most string) {
	least, most = "0", number(s.most)
	if s.log {
		least = "≤" + number(s.least)
	}
	return least, most
}

// number writes a probability briefly.
func number(p float64) string {
	return strings.Replace(strconv.FormatFloat(p, 'g', 3, 64), "e-0", "e-", 1)
}

// viridis is even to the eye, in grey too, and keeps clear of white and grey, which stand
// for what has no probability (Smith and van der Walt, matplotlib, 2015).
var viridis = func() palette.ColorMap {
	var controls []color.Color
	for _, rgb := range []uint32{
		0x440154, 0x482878, 0x3e4989, 0x31688e, 0x26828e, 0x1f9e89, 0x35b779, 0x6ece58, 0xb5de2b, 0xfde725,
	} {
		controls = append(controls, color.RGBA{uint8(rgb >> 16), uint8(rgb >> 8), uint8(rgb), 255})
	}
	m, err := moreland.NewLuminance(controls)
	if err != nil {
		panic(err) // of constants
	}
	m.SetMax(1)
	return m
}()

// colors are those of the positions from 0 to 1.
var colors = viridis.Palette(256).Colors()

// colorAt returns the colour at a position.
func colorAt(x float64) color.RGBA {
	return color.RGBAModel.Convert(colors[int(x*float64(len(colors)-1)+0.5)]).(color.RGBA)
}

var (
	maskedColor = color.RGBA{0xee, 0xee, 0xee, 255}
	hatchColor  = color.RGBA{0xc4, 0xc4, 0xc4, 255}
	paper       = color.White
	nanColor    = color.RGBA{0xe0, 0x20, 0x20, 255}
)
