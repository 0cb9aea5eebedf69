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
// Close it when its tensors are not used any more. The error is a [*TensorError] where a file is missing, is not whole,
// or does not hold what the index says.
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
	f, err = openShards(folder, text)
	if err != nil && !errors.As(err, new(*TensorError)) {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return f, err
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
	first := map[string]string{}
	tensors := slices.Sorted(maps.Keys(where))
	for _, tensor := range tensors {
		name, _ := where[tensor].(string)
		if name == "" || name == "." || len(name) > 255 || filepath.Base(name) != name || !filepath.IsLocal(name) {
			return nil, &TensorError{File: filepath.Join(folder, index), Tensor: tensor, Err: fmt.Errorf("it is in %.80q, which is no name of a file of the folder", name)}
		}
		if first[name] == "" {
			first[name] = tensor
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
		path := filepath.Join(folder, name)
		shard, err := Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, &TensorError{File: path, Tensor: first[name], Err: fmt.Errorf("the index has it in a file that is not there: %w", os.ErrNotExist)}
		}
		if err != nil {
			return nil, err
		}
		all.files = append(all.files, shard.files...)
		for _, tensor := range shard.Names {
			switch other, ok := where[tensor]; {
			case !ok:
				return nil, &TensorError{File: path, Tensor: tensor, Err: errors.New("the index has no such tensor")}
			case other != name:
				return nil, &TensorError{File: path, Tensor: tensor, Err: fmt.Errorf("the index has it in %q", other)}
			}
			all.Names, all.tensors[tensor] = append(all.Names, tensor), shard.tensors[tensor]
		}
	}
	for _, tensor := range tensors {
		if all.tensors[tensor] == nil {
			return nil, &TensorError{File: filepath.Join(folder, where[tensor].(string)), Tensor: tensor, Err: errors.New("the index has it there, the file has not")}
		}
	}
	return all, nil
}
