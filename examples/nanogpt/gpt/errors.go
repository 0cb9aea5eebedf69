package gpt

import "fmt"

// An InputError reports a checkpoint, letters or tokens that cannot be used.
type InputError struct {
	Name string // what is wrong: a weight, a setting, "checkpoint", "letters" or "tokens"
	msg  string
}

func (e *InputError) Error() string { return "gpt: " + e.msg }

func inputError(name, format string, args ...any) error {
	return &InputError{Name: name, msg: fmt.Sprintf(format, args...)}
}

// show is a value of a checkpoint in a message: none is "missing", a long one is cut.
func show(x any) string {
	if x == nil {
		return "missing"
	}
	const most = 40
	s := fmt.Sprint(x)
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}
