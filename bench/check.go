package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// CheckRows is how many rows [Runner.Run] compares with float64.
const CheckRows = 64

// A Check is the result of a comparison with float64.
type Check struct {
	Rows     int     // compared
	MaxError float64 // largest absolute error of an output
	OfBound  float64 // largest error over its bound, at most 1
}

// Check compares at most the given number of rows of the output with
// [Operands.Reference]: all of them if there are no more; otherwise the first, the
// last, and one drawn at random from each of equal stretches of all rows, so
// that every part of the batch, the heads and the sequence is looked at. The error
// names an element that is off by more than its bound, which grows with the unit roundoff
// of the path.
func (o *Operands) Check(ctx context.Context, rows int, path *Path) (Check, error) {
	list := sampleRows(len(o.LSE), rows)
	refs, err := o.references(ctx, list)
	if err != nil {
		return Check{}, err
	}
	c := Check{Rows: len(list)}
	var firstErr error
	for i, ref := range refs {
		one, err := o.checkRow(list[i], ref, path)
		c.MaxError = max(c.MaxError, one.MaxError)
		c.OfBound = max(c.OfBound, one.OfBound)
		if firstErr == nil {
			firstErr = err
		}
	}
	return c, firstErr
}

// A knownRow is the reference of a row, and the query that it is of.
type knownRow struct {
	query []float32
	ref   ReferenceRow
}

// references returns the references of rows, or the cause for which the context ended. They are
// computed once for a query: a work is checked for each of the ways to compute it, and nothing
// else of its inputs changes, see [Path].
func (o *Operands) references(ctx context.Context, rows []int) ([]*ReferenceRow, error) {
	if o.known == nil {
		o.known = make(map[int]*knownRow)
	}
	var fresh []int
	list := make([]*ReferenceRow, len(rows))
	for i, row := range rows {
		query, k := o.query(row), o.known[row]
		if k == nil || !slices.Equal(k.query, query) {
			k = &knownRow{query: slices.Clone(query)}
			o.known[row] = k
			fresh = append(fresh, row)
		}
		list[i] = &k.ref
	}
	parallel(len(fresh), func(i int) {
		batch, head, query := o.locate(fresh[i])
		o.known[fresh[i]].ref = o.reference(ctx, batch, head, query)
	})
	if ctx.Err() != nil { // some are not whole
		for _, row := range fresh {
			delete(o.known, row)
		}
		return nil, context.Cause(ctx)
	}
	return list, nil
}

// query returns the query of a row.
func (o *Operands) query(row int) []float32 {
	batch, head, query := o.locate(row)
	return o.Q[o.queryRow(batch, head, query)*o.Shape.DimQK:][:o.Shape.DimQK]
}

func (o *Operands) checkRow(row int, ref *ReferenceRow, path *Path) (c Check, err error) {
	s, scale, least := o.Shape, path.roundoff()/Roundoff32, 0.0
	if path != nil {
		least = path.Off
	}
	batch, head, query := o.locate(row)
	compare := func(name string, got float32, want, bound float64) {
		bound = bound*scale + least
		off := math.Abs(float64(got) - want)
		if float64(got) == want { // infinities too
			off = 0
		}
		if off > 0 {
			c.OfBound = max(c.OfBound, off/bound)
		}
		if err == nil && !(off <= bound) {
			err = fmt.Errorf("%s of batch %d, head %d, query %d is %g, want %g: off by %.3g, at most %.3g is rounding",
				name, batch, head, query, got, want, off, bound)
		}
	}
	out := o.Out[o.queryRow(batch, head, query)*s.DimV:][:s.DimV]
	for d, want := range ref.Out {
		got := out[d]
		c.MaxError = max(c.MaxError, math.Abs(float64(got)-want))
		compare(fmt.Sprintf("dim %d", d), got, want, ref.OutBound[d])
	}
	if path == nil || !path.NoLSE {
		compare("the log-sum-exp", o.LSE[row], ref.LSE, ref.LSEBound)
	}
	return c, err
}

// locate returns what an element of LSE is of.
func (o *Operands) locate(row int) (batch, head, query int) {
	s := &o.Shape
	if o.tokens == nil {
		return row / s.SeqQ / s.Heads, row / s.SeqQ % s.Heads, row % s.SeqQ
	}
	head, token := row/o.tokens[s.Batch], row%o.tokens[s.Batch]
	batch, _ = slices.BinarySearch(o.tokens, token+1)
	batch--
	return batch, head, token - o.tokens[batch]
}

// sampleRows returns want of n rows, or all.
func sampleRows(n, want int) []int {
	var list []int
	if n <= want {
		for i := range n {
			list = append(list, i)
		}
		return list
	}
	bound := func(i int) int { return i*(n/want) + i*(n%want)/want }
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range want {
		lo, hi := bound(i), bound(i+1)
		list = append(list, lo+r.IntN(hi-lo))
	}
	list[0], list[want-1] = 0, n-1
	return list
}
