package safetensors

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/qkv-go/qkv/examples/internal/bounded"
	"github.com/qkv-go/qkv/internal/jsontree"
)

const (
	whole = "model.safetensors"
	index = "model.safetensors.index.json"
)

// OpenFolder opens the tensors of a model's folder, as Hugging Face has it: those of model.safetensors, or where that
// is not there, those that model.safetensors.index.json names, each in the file of the folder that it says (shards).
// Close it when its tensors are not used any more. The error names the file that is missing or does not hold what
// the index says.
func OpenFolder(folder string) (*File, error) {
	f, err := Open(filepath.Join(folder, whole))
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	path := filepath.Join(folder, index)
	text, err := bounded.ReadFile(path, maxHeader)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("safetensors: %s has neither %s nor %s: %w", folder, whole, index, os.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if f, err = openShards(folder, text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// openShards opens the files that an index names. Each tensor of theirs has to be one of the index, in the file
// that it says.
func openShards(folder string, text []byte) (_ *File, err error) {
	tree, err := jsontree.Parse(text, 3)
	if err != nil {
		return nil, err
	}
	where, ok := tree["weight_map"].(jsontree.Object)
	if !ok {
		return nil, errors.New("it has no weight_map")
	}
	var names []string // of files
	tensors := slices.Sorted(maps.Keys(where))
	for _, tensor := range tensors {
		name, _ := where[tensor].(string)
		if name == "" || name == "." || len(name) > 255 || filepath.Base(name) != name || !filepath.IsLocal(name) {
			return nil, fmt.Errorf("tensor %.80q is in %.80q, which is no name of a file of the folder", tensor, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	all := &File{tensors: map[string]*Tensor{}}
	defer func() {
		if err != nil {
			all.Close()
		}
	}()
	for _, name := range slices.Compact(names) {
		shard, err := Open(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		all.files = append(all.files, shard.files...)
		for _, tensor := range shard.Names {
			if where[tensor] != name {
				return nil, fmt.Errorf("%q has tensor %.80q, which the index has not there", name, tensor)
			}
			all.Names, all.tensors[tensor] = append(all.Names, tensor), shard.tensors[tensor]
		}
	}
	for _, tensor := range tensors {
		if all.tensors[tensor] == nil {
			return nil, fmt.Errorf("%q has no tensor %.80q", where[tensor], tensor)
		}
	}
	return all, nil
}
