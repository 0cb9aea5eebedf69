// Package bench measures attention beside the ceilings of the machine that it runs
// on: the peak rate of fused multiply-adds and the read bandwidth of each level of
// memory, both through the kernel set that is measured.
//
// A [Runner] takes a [Work], such as a [Shape], and a number of workers and returns a [Run].
// Before it times the work it compares a sample of the result's rows with float64, see
// [Inputs]. It measures other libraries in the same way, see [System].
//
// Machines are shared and clocks drift, so the peak is measured anew beside every
// run: short bursts of multiply-adds, on as many goroutines as the run has workers,
// alternate with the timed calls. An efficiency is a rate over the best of its own
// bursts, never over a figure from another minute.
//
// What a neighbour takes makes figures that mislead. A run notes the [Load] beside it, and
// [Document.Disturbed] says which runs are not to be trusted. One measurement tells nothing of
// its own noise: to [Compare] records, each has to have measured a work several times.
//
// Few queries are bound by reading keys and values, few rows by weights, see
// [Work.ReadBytes]. Beside them a buffer of that size is read in the same turns, so that it
// comes from the same level of memory, and the share of that rate stands beside that of the
// peak: the greater one is that of the limit which binds (the roofline; Williams et al., 2009).
//
// A call finds in caches what the call before it left there, and no layer of a model does. Where
// that matters, copies of keys, values and weights take turns, see [Options].
//
// An engine is not alone on its machine: a process that works through a cache or through memory
// on another processor can run beside works, see [Neighbour].
//
// What a mask, lengths or changed scores cost is the share of the rate of the same sizes
// without them, and is measured in the same way: the calls of both alternate, see
// [Options].
package bench
