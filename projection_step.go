package qkv

import (
	"context"

	"github.com/qkv-go/qkv/tile"
)

// Step projects the new tokens of a [Step]: x [tokens, in] has them one sequence behind the other, as
// Begin has the sequences. Keys and values, normalised and rotated, are converted to the types of a
// layer of the cache and go into its pages, as [Step.Write] of what Run computes would put them there,
// with the same bits. They are nowhere else. Queries go to q [1, heads, tokens, dim], see [THD].
// Positions for the rotary embedding and QueryScale are those of the tokens in their sequences.
//
//	err = projection.Step(step, layer, q, x)
//	err = step.Attend(layer, &qkv.Call{Q: q, Out: out, Mask: qkv.Mask{Causal: true}})
//
// A projection with weights of queries and others takes a step whose queries are its new tokens. A step
// with fewer queries than tokens takes two projections: that of keys and values for the tokens, and that
// of queries, or a [Layer] with it, for the queries. One without weights of keys and values has queries
// alone: x has a row for each query of the step, see [Step.QueryPositions], and the layer is not written.
// One without weights of queries has a zero View for q.
//
// q shares no element with x, the cache, or what the Projection keeps. The layer of the cache shares none
// with x or what the Projection keeps. The error is an [*ArgError]; nothing has been written then.
func (p *Projection) Step(s *Step, layer int, q View, x Matrix) error {
	_, err := p.step(s, layer, &q, &x, nil)
	return err
}

// StepContext is Step that ends early, within some milliseconds, when ctx is done. The error is then
// that of the context, wrapped, and its cause. q and the layer of the cache are unspecified then, and the
// step is to be rolled back: [Step.Commit] returns [ErrUnfinished], wrapped. A context that is done before
// the call has nothing written.
func (p *Projection) StepContext(ctx context.Context, s *Step, layer int, q View, x Matrix) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := p.step(s, layer, &q, &x, done)
	return outcome(ctx, whole, err)
}

// step projects until done is closed, and reports whether all of it is projected.
func (p *Projection) step(s *Step, layer int, q *View, x *Matrix, done tile.Done) (whole bool, err error) {
	if err := p.ready(); err != nil {
		return false, err
	}
	if err := s.enter(true); err != nil {
		return false, err
	}
	defer s.leave()
	run := p.begin()
	if err = run.checkQueries(s, q, x); err == nil {
		err = run.prepareStep(s, layer, &ProjectionCall{Q: *q, X: *x})
	}
	if err == nil {
		run.product.Done = done
		whole = s.finish(func() bool { return run.store(s, layer) })
	}
	run.release()
	return whole, err
}

// checkQueries reports operands of a projection of its own, not of a layer, for a step.
func (r *projecting) checkQueries(s *Step, q *View, x *Matrix) error {
	p := r.projection
	if s.engine != p.engine {
		return argError("step", 0, 0, "step is of another engine than the projection")
	}
	if err := p.checkX(x); err != nil {
		return err
	}
	if err := p.checkStep(s, x); err != nil {
		return err
	}
	part := p.part(0)
	if part == nil {
		return nil
	}
	if err := q.checkKind("q", kindFloat32); err != nil {
		return err
	}
	if err := q.check("q", &axisNames); err != nil {
		return err
	}
	if err := part.checkShape(q, 1, x.rows); err != nil {
		return err
	}
	written := q.region()
	return s.checkOutside("q", &written)
}

// checkStep reports rows of x that are not those of a step.
func (p *Projection) checkStep(s *Step, x *Matrix) error {
	if p.part(0) == nil {
		if n := len(s.positions); x.rows != n {
			return argError("x", x.rows, n, "x has %d rows, the step has %d new tokens", x.rows, n)
		}
		return nil
	}
	if len(p.parts) > 1 && !s.ofTokens {
		// A row is a query, and a token that has keys and values.
		for i := range s.sequences {
			if n := &s.sequences[i]; n.queries() != n.Tokens {
				return argError("step", n.queries(), n.Tokens, "step has %d queries and %d new tokens of sequences[%d], weights of queries, keys and values need as many of both", n.queries(), n.Tokens, i)
			}
		}
	}
	if n := s.cu[len(s.cu)-1]; x.rows != n {
		return argError("x", x.rows, n, "x has %d rows, the step has %d queries", x.rows, n)
	}
	return nil
}

// stores reports whether there are keys or values.
func (p *Projection) stores() bool { return len(p.parts) > 1 || p.parts[0].index > 0 }

// prepareStep checks what is left to check of X and Q, whose rows are those of a step, and translates
// them: keys and values go into a layer of the cache.
func (r *projecting) prepareStep(s *Step, index int, c *ProjectionCall) error {
	p := r.projection
	if err := p.checkApart(c); err != nil {
		return err
	}
	var positions []int
	if p.positioned() {
		if positions = s.positions; p.part(0) != nil {
			positions = s.QueryPositions()
		}
		if err := p.checkPositions(1, c.X.rows, positions); err != nil {
			return err
		}
	}
	layer, err := s.cache.layer(index)
	if err != nil {
		return err
	}
	if err := p.checkLayer(s, index, layer, &c.X); err != nil {
		return err
	}
	r.translate(&c.X, c.X.rows, positions)
	for i := range p.parts {
		if of := p.parts[i].index; of == 0 {
			r.product.Parts[i].Y = c.Q.operand()
		} else {
			r.product.Parts[i].Pages = s.pages(layer, of-1)
		}
	}
	r.scale()
	return nil
}

// checkLayer reports a layer of a cache that does not take the keys and values, and one whose memory
// is that of x or of what p keeps.
func (p *Projection) checkLayer(s *Step, index int, layer *cacheLayer, x *Matrix) error {
	if !p.stores() {
		return nil
	}
	for of, own := range [...]*View{&layer.k, &layer.v} {
		name := projectionNames[of+1]
		part := p.part(of + 1)
		if part == nil {
			return argError(name+" weights", 0, 1, "the projection has no %s weights, a layer of a cache takes keys and values", name)
		}
		for _, x := range [...]struct{ axis, got int }{{axisHeads, part.Heads}, {axisDim, part.Width}} {
			if want := own.shape[x.axis]; x.got != want {
				return argError(name, x.got, want, "%s has %s %d, layer %d has %d", name, axisNames[x.axis], x.got, index, want)
			}
		}
	}
	if len(s.cache.given) == 0 { // nobody else has its memory
		return nil
	}
	read := x.region()
	own := layer.regions()
	for i := range own {
		if err := checkApart("x", &read, "the cache", &own[i]); err != nil {
			return err
		}
		if err := p.checkKept("the cache", &own[i]); err != nil {
			return err
		}
	}
	return nil
}

// store computes what prepareStep has checked, notes that the layer is written, and reports whether all
// of it is computed.
func (r *projecting) store(s *Step, index int) bool {
	whole := s.engine.engine.Multiply(&r.product, s.engine.Workers())
	if whole && r.projection.stores() {
		s.written[index] = true
	}
	return whole
}
