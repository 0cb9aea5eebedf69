package heatmap

import (
	"fmt"
	"image/color"
)

// A paint is the colours of a character, each nil for the terminal's own.
type paint struct{ fore, back *color.RGBA }

func rgb(c color.RGBA) *color.RGBA { return &c }

// color returns the colour of a cell, nil if it is masked.
func (x *textLayout) color(p float32) *color.RGBA {
	switch {
	case p != p:
		return &nanColor
	case p == Masked:
		return nil
	}
	return rgb(colorAt(x.scale.at(p)))
}

// change returns the control sequence (SGR, ECMA-48) that sets a paint after another.
func (x *textLayout) change(from, to paint) string {
	s := ""
	for _, side := range []struct {
		from, to *color.RGBA
		code     int // that of a colour, and after it that of the terminal's own
	}{{from.fore, to.fore, 38}, {from.back, to.back, 48}} {
		switch a, b := side.from, side.to; {
		case b == nil && a == nil, a != nil && b != nil && *a == *b:
		case b == nil:
			s += fmt.Sprintf("\x1b[%dm", side.code+1)
		case x.colors == Colors256:
			s += fmt.Sprintf("\x1b[%d;5;%dm", side.code, xterm(*b))
		default:
			s += fmt.Sprintf("\x1b[%d;2;%d;%d;%dm", side.code, b.R, b.G, b.B)
		}
	}
	return s
}

// xterm returns the nearest colour of the 6×6×6 cube of xterm-256color.
func xterm(c color.RGBA) int {
	level := func(x uint8) int { // the levels are 0, 95, 135, 175, 215 and 255
		switch {
		case x < 48:
			return 0
		case x < 115:
			return 1
		}
		return (int(x) - 35) / 40
	}
	return 16 + 36*level(c.R) + 6*level(c.G) + level(c.B)
}
