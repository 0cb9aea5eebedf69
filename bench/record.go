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
	DType   string `json:"dtype"`             // of queries and output
	KDType  string `json:"k_dtype"`           // as the text of a shape names it, see [ParseShape]
	VDType  string `json:"v_dtype"`
	Kernel  string `json:"kernel"`
	Workers int    `json:"workers"`
	Path    string `json:"path"` // see [qkv.Plan]

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

	// Of a shape that decodes, see [Shape.Decodes]: the keys and values that a call has to
	// read, see [Shape.KVBytes], how fast it reads them, and beside it the median rate of
	// reading as many bytes on as many workers, in bursts that alternated with the samples
	// as those of the peak did. ReadLevel is the first level of memory, by the sizes of
	// caches alone, that so many bytes fit in: L1, L2, L3 or memory.
	KVBytes   int64   `json:"kv_bytes,omitempty"`
	GBps      float64 `json:"gbps,omitempty"` // from the median
	ReadGBps  float64 `json:"read_gbps,omitempty"`
	ReadLevel string  `json:"read_level,omitempty"`
	OfRead    float64 `json:"of_read,omitempty"` // GBps / ReadGBps

	// Limit is what such a shape is bound by: bandwidth or FMA, whichever would take longer
	// at its limit alone. OfLimit is the share of it, OfRead or Efficiency.
	Limit   string  `json:"limit,omitempty"`
	OfLimit float64 `json:"of_limit,omitempty"`

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
