package bench

import (
	"fmt"
	"io"
	"math"
	"os"

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
	if err := jsontree.Decode(o, &d); err != nil {
		return nil, err
	}
	for i := range d.Runs {
		if err := d.Runs[i].check(); err != nil {
			return nil, fmt.Errorf("runs[%d].%w", i, err)
		}
	}
	return &d, nil
}

// check reports figures that no measurement gives.
func (r *Run) check() error {
	for _, f := range []struct {
		name, value string
	}{{"name", r.Name}, {"kind", r.Kind}, {"system", r.System}, {"kernel", r.Kernel}} {
		if f.value == "" {
			return fmt.Errorf("%s is empty", f.name)
		}
	}
	if r.Workers < 1 {
		return fmt.Errorf("workers is %d, at least 1 is needed", r.Workers)
	}
	if len(r.Rounds) == 0 {
		return fmt.Errorf("rounds is empty")
	}
	type figure struct {
		name  string
		value float64
	}
	positive := []figure{{"seconds_median", r.SecondsMedian}, {"seconds_min", r.SecondsMin}, {"peak_gflops", r.PeakGFLOPS}}
	for i, round := range r.Rounds {
		positive = append(positive,
			figure{fmt.Sprintf("rounds[%d].seconds", i), round.Seconds},
			figure{fmt.Sprintf("rounds[%d].peak_gflops", i), round.PeakGFLOPS})
		if r.ReadBytes != 0 {
			positive = append(positive, figure{fmt.Sprintf("rounds[%d].read_gbps", i), round.ReadGBps})
		}
	}
	for _, f := range positive {
		if !(f.value > 0) || math.IsInf(f.value, 0) {
			return fmt.Errorf("%s is %v, a positive number is needed", f.name, f.value)
		}
	}
	for _, f := range []figure{{"flops", r.FLOPs}, {"read_bytes", float64(r.ReadBytes)}} {
		if !(f.value >= 0) || math.IsInf(f.value, 0) {
			return fmt.Errorf("%s is %v, it cannot be negative", f.name, f.value)
		}
	}
	return nil
}
