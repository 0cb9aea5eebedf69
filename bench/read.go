package bench

import (
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
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

// Unwrap returns what is wrong with the record.
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
	if err := checkNumbers("", reflect.ValueOf(&d).Elem()); err != nil {
		return nil, err
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

// A numberRange is the range of a number.
type numberRange struct{ least, most float64 }

const (
	mostRate   = 1e12 // GFLOP/s or GB/s
	maxWorkers = 1 << 16
	someRate   = 1e-12 // what is divided by
)

// anyNumber is that of a number without one of its own: no figure of a record is negative.
var anyNumber = numberRange{0, 1e12}

// spans are ranges that no measurement leaves, and within which figures can be drawn, by the
// names of fields. The first holds that ends the path of a field.
var spans = []struct {
	names []string
	numberRange
}{
	{[]string{"ceilings.workers"}, numberRange{0, maxWorkers}}, // none were measured
	{[]string{".workers"}, numberRange{1, maxWorkers}},
	{[]string{".cores", ".threads", ".gomaxprocs", ".processors", ".own", ".others", "load.neighbour", ".steal", ".load_average"}, numberRange{0, maxWorkers}},
	{[]string{".bytes", ".bytes_one", ".bytes_all", ".memory_bytes", ".checked_rows"}, numberRange{0, 1 << 53}},
	{[]string{".seconds_median", ".seconds_min", "].seconds"}, numberRange{1e-12, 1e9}},
	{[]string{".seconds_q1", ".seconds_q3", "load.seconds", ".needs_seconds", ".share_seconds"}, numberRange{0, 1e9}},
	{[]string{".flops", ".read_bytes"}, numberRange{0, 1e30}},
	{[]string{"].peak_gflops"}, numberRange{someRate, mostRate}},
	{[]string{".max_error"}, numberRange{0, math.MaxFloat64}},
	{[]string{".error_of_bound"}, numberRange{0, 1}}, // what exceeds its bound is not timed
	{[]string{".ghz_one", ".ghz_all", ".ipc"}, numberRange{0, 1000}},
	{[]string{".fma_share"}, numberRange{0, 2}}, // an estimate, see [Counters]
	{[]string{".cycles", ".instructions", "_misses", ".context_switches", ".page_faults"}, numberRange{0, 1e18}},
}

// checkNumbers reports numbers of a record, at any depth, that no measurement gives.
func checkNumbers(path string, v reflect.Value) error {
	var x float64
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return checkNumbers(path, v.Elem())
	case v.Type() == reflect.TypeFor[time.Time]():
		return nil
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if err := checkNumbers(path+"."+name, v.Field(i)); err != nil {
				return err
			}
		}
		return nil
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if err := checkNumbers(fmt.Sprintf("%s[%d]", path, i), v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case v.CanFloat():
		x = v.Float()
	case v.CanInt():
		x = float64(v.Int())
	default:
		return nil
	}
	in := anyNumber
	for _, s := range spans {
		if slices.ContainsFunc(s.names, func(name string) bool { return strings.HasSuffix(path, name) }) {
			in = s.numberRange
			break
		}
	}
	if !(in.least <= x && x <= in.most) {
		return fmt.Errorf("%s is %v, %g to %g is needed", strings.TrimPrefix(path, "."), v, in.least, in.most)
	}
	return nil
}

// check reports what no measurement gives.
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
	if n := r.Neighbour; n != nil && n.Kind != NeighbourCache && n.Kind != NeighbourMemory {
		return fmt.Errorf("neighbour.kind is %q, %s or %s is needed", n.Kind, NeighbourCache, NeighbourMemory)
	}
	if len(r.Rounds) == 0 {
		return fmt.Errorf("rounds is empty")
	}
	for i, round := range r.Rounds {
		if r.ReadBytes != 0 && round.ReadGBps < someRate {
			return fmt.Errorf("rounds[%d].read_gbps is %v, %g to %g is needed", i, round.ReadGBps, someRate, float64(mostRate))
		}
	}
	times := []struct {
		name    string
		seconds float64
	}{{"seconds_min", r.SecondsMin}, {"seconds_q1", r.SecondsQ1}, {"seconds_median", r.SecondsMedian}, {"seconds_q3", r.SecondsQ3}}
	for i, t := range times {
		for _, before := range times[:i] {
			if before.seconds > t.seconds && t.seconds != 0 { // 0 is not given
				return fmt.Errorf("%s is %v, which is more than %s, %v", before.name, before.seconds, t.name, t.seconds)
			}
		}
	}
	// What follows from other figures has to agree with them, where it is given.
	const tolerance = 1e-6
	for _, f := range []struct {
		name, of           string
		value, over, under float64
	}{
		{"gflops", "flops / seconds_median", r.GFLOPS, 1e-9 * r.FLOPs, r.SecondsMedian},
		{"efficiency", "gflops / peak_gflops", r.Efficiency, r.GFLOPS, r.PeakGFLOPS},
		{"gbps", "read_bytes / seconds_median", r.GBps, 1e-9 * float64(r.ReadBytes), r.SecondsMedian},
		{"of_read", "gbps / read_gbps", r.OfRead, r.GBps, r.ReadGBps},
	} {
		if f.value == 0 || f.under == 0 {
			continue
		}
		if want := f.over / f.under; !(math.Abs(f.value-want) <= tolerance*want) {
			return fmt.Errorf("%s is %v, and %s is %v", f.name, f.value, f.of, want)
		}
	}
	if r.OfLimit != 0 && r.OfLimit != r.Efficiency && r.OfLimit != r.OfRead {
		return fmt.Errorf("of_limit is %v, and neither efficiency, %v, nor of_read, %v", r.OfLimit, r.Efficiency, r.OfRead)
	}
	return nil
}
