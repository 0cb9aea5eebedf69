package safetensors

import "fmt"

// A TensorError says which tensor of which file cannot be had, and why.
type TensorError struct {
	File   string // its path, or the name that an index has for it; of [Parse] ""
	Tensor string
	// Bytes where two sizes or offsets do not agree: what there is, and what the rest of the file says. Otherwise 0.
	Got, Want uint64
	Err       error // the reason; it wraps [os.ErrNotExist] where an index names a file that is not there
}

func (e *TensorError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("safetensors: tensor %.80q: %v", e.Tensor, e.Err)
	}
	return fmt.Sprintf("%s: tensor %.80q: %v", e.File, e.Tensor, e.Err)
}

// Unwrap returns the reason.
func (e *TensorError) Unwrap() error { return e.Err }

// sizes is an error of two numbers, which the format says both.
func sizes(tensor string, got, want uint64, format string, args ...any) error {
	return &TensorError{Tensor: tensor, Got: got, Want: want, Err: fmt.Errorf(format, args...)}
}
