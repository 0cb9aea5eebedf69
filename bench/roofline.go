package bench

// The limits of a [Run] that may be bound by reading.
const (
	LimitBandwidth = "bandwidth"
	LimitFMA       = "FMA"
)

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
		r.Limit, r.OfLimit = LimitFMA, r.Efficiency
	}
}
