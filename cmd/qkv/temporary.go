package main

import (
	"os"
	"sync"
)

// temporaries are the files being written under names that they are not to keep.
var temporaries temporaryFiles

type temporaryFiles struct {
	mu    sync.Mutex
	paths map[string]bool
}

// create creates a file that does not exist.
func (t *temporaryFiles) create(path string, mode os.FileMode) (*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// os.CreateTemp would make a new file unreadable for others.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err == nil {
		if t.paths == nil {
			t.paths = make(map[string]bool)
		}
		t.paths[path] = true
	}
	return f, err
}

// remove removes a file.
func (t *temporaryFiles) remove(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	os.Remove(path)
	delete(t.paths, path)
}

// commit has files take the names that they keep: all of them, or none if the process is ended.
func (t *temporaryFiles) commit(rename func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return rename()
}

// abandon removes all of the files. None is created, and none takes its name, any more: the process
// ends.
func (t *temporaryFiles) abandon() {
	t.mu.Lock()
	for path := range t.paths {
		os.Remove(path)
	}
}
