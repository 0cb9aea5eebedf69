package bench

import (
	"io"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// WriteBenchfmt writes the runs of records in the format of Go benchmarks, which benchstat
// reads: a line for each run, the median of its rounds. Names are those of this package's own
// benchmarks, without the preset.
func WriteBenchfmt(w io.Writer, docs ...*Document) error {
	out := benchfmt.NewWriter(w)
	for _, d := range docs {
		for i := range d.Runs {
			run := &d.Runs[i]
			result := &benchfmt.Result{Name: benchfmt.Name(run.benchmark()), Iters: run.Calls}
			for _, c := range []struct{ key, value string }{
				{"goos", d.Machine.OS}, {"goarch", d.Machine.Arch}, {"pkg", module + "/bench"}, {"cpu", d.Machine.CPU},
				{"kernel", run.Kernel}, {"system", run.System}, {"commit", d.Build.Commit},
			} {
				if value := oneLine(c.value); value != "" {
					result.Config = append(result.Config, benchfmt.Config{Key: c.key, Value: []byte(value), File: true})
				}
			}
			seconds, fraction := run.sample(run.Limit)
			result.Values = []benchfmt.Value{{Value: 1e9 * seconds, Unit: "ns/op"}}
			add := func(value float64, unit string) {
				if value > 0 {
					result.Values = append(result.Values, benchfmt.Value{Value: value, Unit: unit})
				}
			}
			add(1e-9*run.FLOPs/seconds, "GFLOP/s")
			add(1e-9*float64(run.ReadBytes)/seconds, "GB/s")
			add(100*fraction, "%limit")
			if err := out.Write(result); err != nil {
				return err
			}
		}
	}
	return nil
}

// benchmark returns the name of the run as a benchmark.
func (r *Run) benchmark() string {
	kind := strings.ToUpper(r.Kind[:1]) + r.Kind[1:]
	work := strings.Join(strings.FieldsFunc(r.Name, func(c rune) bool { return c == ',' || c <= ' ' }), "/")
	return kind + "/workers=" + strconv.Itoa(r.Workers) + "/" + work
}

// oneLine keeps a value of a record from breaking the format.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
