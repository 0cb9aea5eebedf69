package bench

// The limits of a [Run] that may be bound by reading.
const (
	LimitBandwidth  = "bandwidth"
	LimitFMA        = "FMA"        // the peak of multiply-adds, of class Float32
	LimitArithmetic = "arithmetic" // the peak of another class, which Precision names
)

// PeakLimit is what a run is bound by that does not read enough to wait for memory.
func (r *Run) PeakLimit() string {
	if r.Precision != "" {
		return LimitArithmetic
	}
	return LimitFMA
}

// roofline completes a run whose call reads so many bytes, at a limit that was read at: the
// lower of the rate of reading and the peak is what binds.
func (r *Run) roofline(bytes int64, read float64, level string) {
	r.ReadBytes = bytes
	r.GBps = 1e-9 * float64(bytes) / r.SecondsMedian
	r.ReadGBps = 1e-9 * read
	r.ReadLevel = level
	r.OfRead = r.GBps / r.ReadGBps
	// The lower limit is the one of which the greater share is reached.
	r.Limit, r.OfLimit = LimitBandwidth, r.OfRead
	if r.Efficiency > r.OfRead {
		r.Limit, r.OfLimit = r.PeakLimit(), r.Efficiency
	}
}
