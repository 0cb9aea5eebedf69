package qkv

import (
	"context"

	"github.com/qkv-go/qkv/tile"
)

// Step computes the layer for the new tokens of a [Step]: x [tokens, in] has them one sequence behind
// the other, as Begin has the sequences, and y [tokens, out] may be x. Keys and values go into the
// cache as those of its layer index, and the queries attend what is there then. Each sequence has as many
// queries as new tokens. Where fewer are wanted, as in the last layer of a model, there are two objects in
// the place of the layer: a [Projection] with weights of keys and values, and behind [Step.SetQueries] a
// Layer without.
//
// A layer without weights of keys and values attends those of index as they are. They are what another
// layer has written in this step, or the tokens of an encoder (cross-attention). x and y have a row for
// each query then, see [StepSequence]. For example, of a prompt of 500 tokens with Queries 1 they have
// 1 row.
//
// A rotary embedding rotates each query by its position, see [Step.QueryPositions].
//
// Neither x nor what the Layer keeps, weights, biases and options, shares an element with the layer of the
// cache that is written.
//
// The options of the LayerConfig are used as [Step.Attend] takes them. The error is an [*ArgError], or a
// [*MemoryError] for a workspace larger than there is memory; nothing has been written then.
func (l *Layer) Step(s *Step, index int, y, x Matrix) error {
	_, err := l.step(s, index, &y, &x, nil)
	return err
}

// StepContext is Step that ends early, within some milliseconds, when ctx is done. The error is then
// that of the context, wrapped, and its cause. y and the layer of the cache are unspecified then, and the
// step is to be rolled back: Commit returns [ErrUnfinished], wrapped. A context that is done before the
// call has nothing written.
func (l *Layer) StepContext(ctx context.Context, s *Step, index int, y, x Matrix) error {
	done, err := begin(ctx)
	if err != nil {
		return err
	}
	whole, err := l.step(s, index, &y, &x, done)
	return outcome(ctx, whole, err)
}

// step computes the layer until done is closed, and reports whether all of it is computed.
func (l *Layer) step(s *Step, index int, y, x *Matrix, done tile.Done) (whole bool, err error) {
	if l == nil || l.projection == nil {
		return false, argError("layer", 0, 1, "layer is nil or zero: NewLayer makes one")
	}
	if err := s.enter(true); err != nil {
		return false, err
	}
	defer s.leave()
	defer s.forget()
	space := layerSpaces.Get().(*layerSpace)
	run := l.projection.begin()
	if err = l.prepareStep(s, index, y, x, space, run); err == nil {
		space.end(done, run)
		s.problem.Done = done
		whole = s.finish(func() bool { return run.store(s, index) && s.attention() && l.output(space) })
	}
	run.release()
	space.release()
	layerSpaces.Put(space)
	return whole, err
}

// prepareStep checks the operands and translates them: everything is checked before anything is
// written.
func (l *Layer) prepareStep(s *Step, index int, y, x *Matrix, space *layerSpace, run *projecting) error {
	if s.engine != l.projection.engine {
		return argError("step", 0, 0, "step is of another engine than the layer")
	}
	if err := l.projection.checkX(x); err != nil {
		return err
	}
	tokens := x.rows
	if l.max != 0 && tokens > l.max {
		return argError("x", tokens, l.max, "x has %d tokens, the layer is made for at most %d", tokens, l.max)
	}
	if err := l.projection.checkStep(s, x); err != nil {
		return err
	}
	if err := l.checkOutput(y, tokens); err != nil {
		return err
	}
	c := &s.call
	*c = l.options
	if err := l.place(space, c, 1, tokens, false); err != nil {
		return err
	}
	space.project = ProjectionCall{X: *x, Q: c.Q}
	if err := run.prepareStep(s, index, &space.project); err != nil {
		return err
	}
	if err := s.prepare(index, c, l.kvHeads == 0, true); err != nil {
		return err
	}
	if err := l.prepareOutput(space, &c.Out, run, y); err != nil {
		return err
	}
	written := y.region()
	// y is written last, but the options are there for the next call, too.
	if err := c.checkOptions("y", &written); err != nil {
		return err
	}
	if err := s.checkOutside("y", &written); err != nil {
		return err
	}
	if l.kvHeads == 0 || len(s.cache.given) == 0 { // not written, or nobody else has its memory
		return nil
	}
	own := s.cache.layers[index].regions()
	for i := range own {
		if err := l.checkOwn("the cache", &own[i]); err != nil {
			return err
		}
		if err := c.checkOptions("the cache", &own[i]); err != nil {
			return err
		}
	}
	return nil
}
