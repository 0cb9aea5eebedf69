package bench

import (
	"strings"
	"time"
)

// Format is what [Document.Format] says.
const Format = "qkv-bench-2"

// A Document is what one invocation measured.
type Document struct {
	Format   string    `json:"format"`          // that of this package, see [Format]
	Label    string    `json:"label,omitempty"` // what it is called, if not by its file
	Time     time.Time `json:"time"`            // of the beginning
	Machine  Machine   `json:"machine"`
	Build    Build     `json:"build"` // of qkv
	Ceilings Ceilings  `json:"ceilings"`
	Runs     []Run     `json:"runs"`
	Skipped  []Skip    `json:"skipped,omitempty"`
}

// NewDocument returns a document of this machine and build, without ceilings and runs.
func NewDocument() Document {
	return Document{
		Format:  Format,
		Time:    time.Now().UTC().Truncate(time.Second),
		Machine: ThisMachine(),
		Build:   ThisBuild(),
		Runs:    []Run{},
	}
}

// Kinds of a [Run].
const (
	KindAttention  = "attention"
	KindProduct    = "product"
	KindProjection = "projection"
	KindAppend     = "append"
)

var kinds = []string{KindAttention, KindProduct, KindProjection, KindAppend}

// A Run is the measurement of a work on a number of workers.
type Run struct {
	Name    string `json:"name"`    // the work in full, see [Work.String]
	Kind    string `json:"kind"`    // attention, product, projection or append
	System  string `json:"system"`  // "qkv", or what was measured in its place
	Version string `json:"version"` // of the system
	Path    string `json:"path"`    // see [Path]; of qkv's attention, see [qkv.Plan]
	Kernel  string `json:"kernel"`  // set of the library, or of the peak beside another system
	Workers int    `json:"workers"`
	Tuned   bool   `json:"tuned,omitempty"` // by a file, see [qkv.Tuning]

	// Cold, if not 0, is how many copies of keys, values or weights took turns, so that each call
	// found its own in memory and in no cache. Rates of reading are then of memory, too.
	Cold int `json:"cold_copies,omitempty"`

	// Of an attention.
	Batch   int    `json:"batch,omitempty"`
	Heads   int    `json:"heads,omitempty"`
	KVHeads int    `json:"kv_heads,omitempty"`
	SeqQ    int    `json:"seq_q,omitempty"`
	SeqKV   int    `json:"seq_kv,omitempty"`
	DimQK   int    `json:"dim_qk,omitempty"`
	DimV    int    `json:"dim_v,omitempty"`
	Mask    string `json:"mask,omitempty"`    // see [ParseMask]
	Options string `json:"options,omitempty"` // see [Shape.Options]
	KDType  string `json:"k_dtype,omitempty"` // as the text of a shape names it, see [ParseShape]
	VDType  string `json:"v_dtype,omitempty"`
	DType   string `json:"dtype"` // of queries and output, or of all matrices

	// Precision is the numerical class of a product, "" for Float32. PeakGFLOPS is that of its instructions. Of an
	// attention of class Int8 it is "Int8 and Float32": PeakGFLOPS is then that of as many operations of either. It
	// is "Int8" where values are integers, too.
	Precision string `json:"precision,omitempty"`

	// Samples of so many calls each were taken in rounds, between bursts of the peak.
	FLOPs         float64 `json:"flops"` // of one call, see [Work.FLOPs]
	SecondsMedian float64 `json:"seconds_median"`
	SecondsMin    float64 `json:"seconds_min"`
	SecondsQ1     float64 `json:"seconds_q1"` // quartiles
	SecondsQ3     float64 `json:"seconds_q3"`
	Samples       int     `json:"samples"`
	Calls         int     `json:"calls_per_sample"`
	Rounds        []Round `json:"rounds"`

	// PeakGFLOPS is the best of the bursts that alternated with the rounds, on as many
	// workers; there were Bursts of them. What disturbs a burst makes it slower, never faster.
	GFLOPS     float64 `json:"gflops"` // from the median
	PeakGFLOPS float64 `json:"peak_gflops"`
	Bursts     int     `json:"peak_bursts"`
	Efficiency float64 `json:"efficiency"` // GFLOPS / PeakGFLOPS

	// Of a work that reading may bind, see [Work.ReadBytes]: what a call has to read, how
	// fast it does, and beside it the best rate of reading as many bytes on as many
	// workers, in bursts that alternated with the rounds as those of the peak did.
	// ReadLevel is the first level of memory, by the sizes of caches alone, that so many
	// bytes fit in: L1, L2, L3 or memory. Where half of them or more fit in a level before,
	// it is both, such as L2/L3.
	ReadBytes int64   `json:"read_bytes,omitempty"`
	GBps      float64 `json:"gbps,omitempty"` // from the median
	ReadGBps  float64 `json:"read_gbps,omitempty"`
	ReadLevel string  `json:"read_level,omitempty"`
	OfRead    float64 `json:"of_read,omitempty"` // GBps / ReadGBps

	// Limit is what such a work is bound by, whichever would take longer at its limit alone: bandwidth, or
	// what [Run.PeakLimit] returns. OfLimit is the share of it, OfRead or Efficiency.
	Limit   string  `json:"limit,omitempty"`
	OfLimit float64 `json:"of_limit,omitempty"`

	// Unmasked names the shape without mask whose samples alternated with these, see
	// [Shape.Unmasked]. OfUnmasked is the median, over pairs of neighbouring samples, of this shape's
	// rate divided by that of Unmasked. Both have the same peak, so it is the ratio of their
	// efficiencies, too.
	Unmasked       string  `json:"unmasked,omitempty"`
	UnmaskedGFLOPS float64 `json:"unmasked_gflops,omitempty"` // from the median
	OfUnmasked     float64 `json:"of_unmasked,omitempty"`

	Counters *Counters `json:"counters,omitempty"`

	// Neighbour, if not nil, worked through memory on another processor all the while, also beside
	// the bursts.
	Neighbour *Neighbour `json:"neighbour,omitempty"`

	Load *Load `json:"load,omitempty"` // while it was timed, nil where it is unknown

	// What was compared with float64 before timing, see [Check].
	CheckedRows  int     `json:"checked_rows"`
	MaxError     float64 `json:"max_error"`
	ErrorOfBound float64 `json:"error_of_bound"`
}

// UsualConditions is what those of a run are called that has none of its own.
const UsualConditions = "the usual ones"

// Conditions says in a few words under which conditions a run was measured, "" for the usual
// ones: "cold", "neighbour=memory" or both. Works under different ones are not the same.
func (r *Run) Conditions() string { return conditions(r.Cold > 0, r.neighbourKind()) }

// neighbourKind returns the kind of the neighbour, "" without one.
func (r *Run) neighbourKind() string {
	if r.Neighbour == nil {
		return ""
	}
	return r.Neighbour.Kind
}

// Conditions returns [Run.Conditions] of what is measured by the options.
func (o *Options) Conditions() string { return conditions(o.Cold, o.Neighbour) }

func conditions(cold bool, neighbour string) string {
	var list []string
	if cold {
		list = append(list, "cold")
	}
	if neighbour != "" {
		list = append(list, "neighbour="+neighbour)
	}
	return strings.Join(list, ", ")
}

// Conditions returns those of all runs of a document, and whether they are the same for all.
func (d *Document) Conditions() (conditions string, same bool) {
	for i := range d.Runs {
		c := d.Runs[i].Conditions()
		if i > 0 && c != conditions {
			return "", false
		}
		conditions = c
	}
	return conditions, true
}

// A Round is the samples between two bursts.
type Round struct {
	Seconds    float64 `json:"seconds"`             // of a call, the median
	PeakGFLOPS float64 `json:"peak_gflops"`         // mean of the burst before and the one after
	ReadGBps   float64 `json:"read_gbps,omitempty"` // likewise
}

// A Skip is a run left out: it would not have fitted in the time, or the system has no way.
type Skip struct {
	Name    string  `json:"name"`
	System  string  `json:"system"`
	Kernel  string  `json:"kernel"`
	Workers int     `json:"workers"`
	Reason  string  `json:"reason,omitempty"`        // if not the time
	Needs   float64 `json:"needs_seconds,omitempty"` // an estimate
	Budget  float64 `json:"share_seconds,omitempty"` // what it could have had
}
