package bench

import (
	"fmt"
	"strconv"

	"github.com/qkv-go/qkv"
)

// An option is a key of the text of a shape that need not be there: its text is empty
// where it is not.
type option struct {
	key    string
	parse  func(s *Shape, text string) error
	format func(s Shape) string
}

var options = []option{
	newOption("window", func(s *Shape) *Window { return &s.Mask.Window }, parseWindow, Window.String),
	newOption("prefix", func(s *Shape) *int { return &s.Mask.Prefix }, parseCount, formatCount),
	newOption("segments", func(s *Shape) *int { return &s.Mask.Segments }, parseCount, formatCount),
	newOption("blocks", func(s *Shape) *Blocks { return &s.Mask.Blocks }, parseBlocks, Blocks.String),
	newOption("keep", func(s *Shape) *float64 { return &s.Mask.Keep }, parseFraction, formatNumber),
	newOption("ragged", func(s *Shape) *Lengths { return &s.Lengths }, parseLengths(true), formatLengths(true)),
	newOption("padded", func(s *Shape) *Lengths { return &s.Lengths }, parseLengths(false), formatLengths(false)),
	newOption("kvlens", func(s *Shape) *int { return &s.Lengths.LeastKV }, parseCount, formatCount),
	newOption("prefill", func(s *Shape) *int { return &s.Lengths.Prefill }, parseCount, formatCount),
	newOption("bias", func(s *Shape) *Bias { return &s.Values.Bias }, parseBias, Bias.String),
	newOption("alibi", func(s *Shape) *bool { return &s.Values.ALiBi }, parseSwitch, formatSwitch),
	newOption("softcap", func(s *Shape) *float64 { return &s.Values.Softcap }, parseSoftcap, formatNumber),
	newOption("sinks", func(s *Shape) *bool { return &s.Values.Sinks }, parseSwitch, formatSwitch),
	elemOption("kv", true, true),
	elemOption("k", true, false),
	elemOption("v", false, true),
	newOption("page", func(s *Shape) *int { return &s.KV.Page }, parseCount, formatCount),
	newOption("cache", func(s *Shape) *CacheKind { return &s.KV.Cache }, parseCache, CacheKind.String),
	newOption("class", func(s *Shape) *qkv.Precision { return &s.Precision }, ParseClass, formatClass),
	newOption("values", func(s *Shape) *qkv.Precision { return &s.ValuePrecision }, ParseClass, formatClass),
	newOption("layout", func(s *Shape) *Layout { return &s.Layout }, parseLayout, Layout.String),
}

func newOption[T any](key string, field func(*Shape) *T, parse func(string) (T, error), format func(T) string) option {
	return option{
		key: key,
		parse: func(s *Shape, text string) (err error) {
			*field(s), err = parse(text)
			return err
		},
		format: func(s Shape) string { return format(*field(&s)) },
	}
}

// parseSwitch reads the 1 that turns something on.
func parseSwitch(text string) (bool, error) {
	if text != "1" {
		return false, fmt.Errorf("%q is not 1", text)
	}
	return true, nil
}

func formatSwitch(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// parseCount reads a number of at least 1.
func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a positive number", text)
	}
	return n, nil
}

func formatCount(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// parseFraction reads a number above 0 and up to 1.
func parseFraction(text string) (float64, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x > 0 && x <= 1) {
		return 0, fmt.Errorf("%q is not a share above 0 and up to 1", text)
	}
	return x, nil
}

// formatNumber writes x so that it is read back as it was, and 0 as nothing.
func formatNumber(x float64) string {
	if x == 0 {
		return ""
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}
