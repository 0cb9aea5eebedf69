// Package shared has what systems share: loading of shared libraries with dlopen, limits on
// threads, attention by blocks of queries.
package shared

import (
	"fmt"

	"github.com/ebitengine/purego"
)

// A Library is a shared library that was loaded. It stays loaded.
type Library struct {
	Name   string
	handle uintptr
}

// Load loads the first of the libraries, paths or names that the dynamic linker looks up, that
// can be. Its symbols are global where global is set, so that libraries loaded later find them.
func Load(global bool, names ...string) (*Library, error) {
	mode := purego.RTLD_NOW
	if global {
		mode |= purego.RTLD_GLOBAL
	}
	var first error
	for _, name := range names {
		h, err := purego.Dlopen(name, mode)
		if err == nil {
			return &Library{name, h}, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// Setenv sets a variable of the environment that libraries see: that of Go's
// os.Setenv is Go's alone.
func Setenv(key, value string) error {
	c, err := Load(false, "libc.so.6", "libSystem.B.dylib")
	if err != nil {
		return err
	}
	var setenv func(key, value string, overwrite int32) int32
	if err := c.Func(&setenv, "setenv"); err != nil {
		return err
	}
	if setenv(key, value, 1) != 0 {
		return fmt.Errorf("setenv %s failed", key)
	}
	return nil
}

// Func makes the function that fn points to call a symbol.
func (l *Library) Func(fn any, symbol string) error {
	addr, err := purego.Dlsym(l.handle, symbol)
	if err != nil {
		return fmt.Errorf("%s lacks %s: %w", l.Name, symbol, err)
	}
	purego.RegisterFunc(fn, addr)
	return nil
}

// Has reports whether the library has a symbol.
func (l *Library) Has(symbol string) bool {
	_, err := purego.Dlsym(l.handle, symbol)
	return err == nil
}

// Symbol returns the address of a symbol.
func (l *Library) Symbol(symbol string) (uintptr, error) {
	addr, err := purego.Dlsym(l.handle, symbol)
	if err != nil {
		return 0, fmt.Errorf("%s lacks %s: %w", l.Name, symbol, err)
	}
	return addr, nil
}
