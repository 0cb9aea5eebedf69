package bench

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/qkv-go/qkv/internal/jsontree"
)

const (
	maxRecord = 64 << 20 // bytes

	// recordDepth is how deep the objects and arrays of a record lie in each other: the
	// document, its runs, a run, its rounds, a round.
	recordDepth = 5
)

// A RecordError says why a file is no record, or which part of it is wrong.
type RecordError struct {
	Name string // of the file
	Err  error
}

func (e *RecordError) Error() string { return fmt.Sprintf("%s: %v", e.Name, e.Err) }

func (e *RecordError) Unwrap() error { return e.Err }

// ReadDocument reads a record that qkv bench -json wrote. A file that is no JSON, no record,
// or has impossible figures is a [*RecordError].
func ReadDocument(path string) (*Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, err
	}
	d, err := ParseDocument(data)
	if err != nil {
		return nil, &RecordError{path, err}
	}
	return d, nil
}

// ParseDocument reads the text of a record, see [ReadDocument].
func ParseDocument(data []byte) (*Document, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("a record has at most %d bytes", maxRecord)
	}
	o, err := jsontree.Parse(data, recordDepth)
	if err != nil {
		return nil, fmt.Errorf("not a record: %w", err)
	}
	switch format, ok := o["format"].(string); {
	case !ok:
		return nil, fmt.Errorf(`not a record of qkv bench: there is no "format"`)
	case format != Format:
		return nil, fmt.Errorf("a record of format %q, this program reads %s", format, Format)
	}
	var d Document
	if err := jsontree.Decode(printable(o).(jsontree.Object), &d); err != nil {
		return nil, err
	}
	if err := d.Ceilings.check(); err != nil {
		return nil, fmt.Errorf("ceilings.%w", err)
	}
	for i := range d.Runs {
		if err := d.Runs[i].check(); err != nil {
			return nil, fmt.Errorf("runs[%d].%w", i, err)
		}
	}
	return &d, nil
}

// printable puts spaces in place of what a terminal, a picture or a table would take for more
// than text: control characters, and marks that turn its direction.
func printable(x any) any {
	switch x := x.(type) {
	case string:
		return strings.Map(func(c rune) rune {
			if unicode.IsPrint(c) {
				return c
			}
			return ' '
		}, x)
	case []any:
		for i := range x {
			x[i] = printable(x[i])
		}
	case jsontree.Object:
		for name := range x {
			x[name] = printable(x[name])
		}
	}
	return x
}

// Ranges that no measurement leaves, and within which figures can be drawn.
const (
	leastSeconds, mostSeconds = 1e-12, 1e9
	mostRate                  = 1e12 // GFLOP/s or GB/s
	mostFLOPs                 = 1e30
	maxWorkers                = 1 << 16
)

// check reports figures that no measurement gives.
func (r *Run) check() error {
	for _, f := range []struct {
		name, value string
	}{{"name", r.Name}, {"kind", r.Kind}, {"system", r.System}, {"kernel", r.Kernel}} {
		if f.value == "" {
			return fmt.Errorf("%s is empty", f.name)
		}
	}
	if !slices.Contains(kinds, r.Kind) {
		return fmt.Errorf("kind is %q, %s is needed", r.Kind, strings.Join(kinds, ", "))
	}
	if r.Workers < 1 || r.Workers > maxWorkers {
		return fmt.Errorf("workers is %d, 1 to %d is needed", r.Workers, maxWorkers)
	}
	if len(r.Rounds) == 0 {
		return fmt.Errorf("rounds is empty")
	}
	seconds := func(name string, x float64) figure { return figure{name, x, leastSeconds, mostSeconds} }
	rate := func(name string, x float64) figure { return figure{name, x, 0, mostRate} }
	const some = 1e-12 // what is divided by
	figures := []figure{
		seconds("seconds_median", r.SecondsMedian), seconds("seconds_min", r.SecondsMin),
		{"seconds_q1", r.SecondsQ1, 0, mostSeconds}, {"seconds_q3", r.SecondsQ3, 0, mostSeconds},
		rate("efficiency", r.Efficiency), rate("of_read", r.OfRead), rate("of_limit", r.OfLimit), rate("of_unmasked", r.OfUnmasked),
		{"max_error", r.MaxError, 0, math.MaxFloat64},
		{"peak_gflops", r.PeakGFLOPS, some, mostRate}, rate("gflops", r.GFLOPS), rate("gbps", r.GBps), rate("read_gbps", r.ReadGBps),
		{"flops", r.FLOPs, 0, mostFLOPs}, {"read_bytes", float64(r.ReadBytes), 0, mostFLOPs},
	}
	for i, round := range r.Rounds {
		name := func(field string) string { return fmt.Sprintf("rounds[%d].%s", i, field) }
		figures = append(figures, seconds(name("seconds"), round.Seconds), figure{name("peak_gflops"), round.PeakGFLOPS, some, mostRate})
		if r.ReadBytes != 0 {
			figures = append(figures, figure{name("read_gbps"), round.ReadGBps, some, mostRate})
		}
	}
	return checkFigures(figures)
}

// check reports figures that no measurement gives.
func (c *Ceilings) check() error {
	if c.Workers < 0 || c.Workers > maxWorkers {
		return fmt.Errorf("workers is %d, 0 to %d is needed", c.Workers, maxWorkers)
	}
	figures := []figure{{"peak_gflops_one", c.PeakGFLOPSOne, 0, mostRate}, {"peak_gflops_all", c.PeakGFLOPSAll, 0, mostRate}}
	for i, b := range c.Read {
		figures = append(figures, figure{fmt.Sprintf("read[%d].gbps_one", i), b.GBpsOne, 0, mostRate}, figure{fmt.Sprintf("read[%d].gbps_all", i), b.GBpsAll, 0, mostRate})
	}
	return checkFigures(figures)
}

// A figure is a number of a record with the range that it has to be in.
type figure struct {
	name               string
	value, least, most float64
}

func checkFigures(figures []figure) error {
	for _, f := range figures {
		if !(f.least <= f.value && f.value <= f.most) {
			return fmt.Errorf("%s is %v, %g to %g is needed", f.name, f.value, f.least, f.most)
		}
	}
	return nil
}
