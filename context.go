package qkv

import (
	"context"
	"errors"
	"fmt"

	"github.com/qkv-go/qkv/tile"
)

// begin returns what ends a call early. The error is an [*ArgError] for no context, and that of
// ended for one that is done before anything is written.
func begin(ctx context.Context) (tile.Done, error) {
	if ctx == nil {
		return nil, argError("ctx", 0, 1, "ctx is nil")
	}
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	return ctx.Done(), nil
}

// outcome returns the error of a call that is computed as a whole, or has an error, or that its
// context ended early.
func outcome(ctx context.Context, whole bool, err error) error {
	if whole || err != nil {
		return err
	}
	return ended(ctx)
}

// ended returns the error of a call that its context ended early. It wraps what the context is
// done for, [context.Canceled] or [context.DeadlineExceeded], and its cause.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return fmt.Errorf("qkv: the call ended early: %w", cause)
	}
	return fmt.Errorf("qkv: the call ended early: %w: %w", err, cause)
}
