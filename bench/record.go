package bench

// A Document is what one invocation measured.
type Document struct {
	Machine  Machine  `json:"machine"`
	Ceilings Ceilings `json:"ceilings"`
	Runs     []Run    `json:"runs"`
	Skipped  []Skip   `json:"skipped,omitempty"`
}

// A Run is the measurement of a shape on a number of workers.
type Run struct {
	Name    string `json:"name"` // the shape in full, see [Shape.String]
	Batch   int    `json:"batch"`
	Heads   int    `json:"heads"`
	KVHeads int    `json:"kv_heads"`
	SeqQ    int    `json:"seq_q"`
	SeqKV   int    `json:"seq_kv"`
	DimQK   int    `json:"dim_qk"`
	DimV    int    `json:"dim_v"`
	Mask    string `json:"mask"`              // see [ParseMask]
	Options string `json:"options,omitempty"` // see [Shape.Options]
	DType   string `json:"dtype"`
	Kernel  string `json:"kernel"`
	Workers int    `json:"workers"`

	FLOPs         float64 `json:"flops"` // of one call, see [Shape.FLOPs]
	SecondsMedian float64 `json:"seconds_median"`
	SecondsMin    float64 `json:"seconds_min"`
	Samples       int     `json:"samples"`
	Calls         int     `json:"calls_per_sample"`

	// PeakGFLOPS is the median of the bursts that alternated with the samples, on as
	// many workers; there were Bursts of them.
	GFLOPS     float64 `json:"gflops"` // from the median
	PeakGFLOPS float64 `json:"peak_gflops"`
	Bursts     int     `json:"peak_bursts"`
	Efficiency float64 `json:"efficiency"` // GFLOPS / PeakGFLOPS

	// Unmasked names the shape whose samples alternated with these, see [Shape.Unmasked].
	// OfUnmasked is the median of the shares of its rate that this one had just before: as
	// both have the same peak, that of its efficiency too.
	Unmasked       string  `json:"unmasked,omitempty"`
	UnmaskedGFLOPS float64 `json:"unmasked_gflops,omitempty"` // from the median
	OfUnmasked     float64 `json:"of_unmasked,omitempty"`

	// What was compared with float64 before timing, see [Check].
	CheckedRows  int     `json:"checked_rows"`
	MaxError     float64 `json:"max_error"`
	ErrorOfBound float64 `json:"error_of_bound"`
}

// A Skip is a run left out because it would not have fitted in the time.
type Skip struct {
	Name    string  `json:"name"`
	Kernel  string  `json:"kernel"`
	Workers int     `json:"workers"`
	Needs   float64 `json:"needs_seconds"` // an estimate
	Share   float64 `json:"share_seconds"` // what it could have had
}
