package safetensors

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv/examples/internal/bounded"
)

// folder returns one with files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	shardA = `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`
	shardB = `{"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`
	ofBoth = `{"metadata":{"total_size":4},"weight_map":{"c":"2.safetensors","a":"1.safetensors","b":"1.safetensors"}}`
)

func TestOpenFolder(t *testing.T) {
	one, two := string(file(shardA, 1, 2, 3)), string(file(shardB, 4))
	for _, c := range []struct {
		files map[string]string
		names []string
	}{
		{map[string]string{index: ofBoth, "1.safetensors": one, "2.safetensors": two}, []string{"a", "b", "c"}},
		{map[string]string{index: ofBoth, whole: two}, []string{"c"}}, // which comes before an index
		{map[string]string{index: `{"weight_map":{}}`}, nil},
	} {
		f, err := OpenFolder(folder(t, c.files))
		if err != nil {
			t.Error(err)
			continue
		}
		if !slices.Equal(f.Names, c.names) {
			t.Errorf("tensors %v, want %v", f.Names, c.names)
		}
		for name, want := range map[string]string{"a": "\x01\x02", "b": "\x03", "c": "\x04"} {
			if x := f.Tensor(name); slices.Contains(c.names, name) && (x == nil || string(x.Data) != want) {
				t.Errorf("tensor %s: %v", name, x)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenFolderErrors(t *testing.T) {
	one, two := string(file(shardA, 1, 2, 3)), string(file(shardB, 4))
	cut := two[:len(two)-1]
	for _, c := range []struct {
		index, one, two, want string
		tensor                *TensorError // with the name of the file
	}{
		{"", one, two, "has neither", nil},
		{"[]", one, two, "an object is needed", nil},
		{"{}", one, two, "no weight_map", nil},
		{`{"weight_map":{"a":1}}`, one, two, `tensor "a": it is in "", which is no name`, &TensorError{index, "a", 0, 0, nil}},
		{`{"weight_map":{"a":"../1.safetensors"}}`, one, two, `is in "../1.safetensors", which is no name`, &TensorError{index, "a", 0, 0, nil}},
		{`{"weight_map":{"a":".."}}`, one, two, `is in "..", which is no name`, &TensorError{index, "a", 0, 0, nil}},
		{`{"weight_map":{"a":"."}}`, one, two, `is in ".", which is no name`, &TensorError{index, "a", 0, 0, nil}},
		{`{"weight_map":{"a":"` + strings.Repeat("x", 256) + `"}}`, one, two, `xxx", which is no name`, &TensorError{index, "a", 0, 0, nil}},
		{`{"weight_map":{"a":"/etc/passwd"}}`, one, two, `is in "/etc/passwd", which is no name`, &TensorError{index, "a", 0, 0, nil}},
		{ofBoth, one, "", `2.safetensors: tensor "c": the index has it in a file that is not there`, &TensorError{"2.safetensors", "c", 0, 0, nil}},
		{ofBoth, "", two, `1.safetensors: tensor "a": the index has it in a file that is not there`, &TensorError{"1.safetensors", "a", 0, 0, nil}},
		{ofBoth, one, two[:9], "2.safetensors: safetensors: the header", nil},
		{ofBoth, one, cut, `2.safetensors: tensor "c": it lies from 0 to 1, the file has 0 bytes`, &TensorError{"2.safetensors", "c", 0, 1, nil}},
		{ofBoth, two, two, `1.safetensors: tensor "c": the index has it in "2.safetensors"`, &TensorError{"1.safetensors", "c", 0, 0, nil}},
		{`{"weight_map":{"a":"1.safetensors"}}`, one, two, `1.safetensors: tensor "b": the index has no such tensor`, &TensorError{"1.safetensors", "b", 0, 0, nil}},
		{`{"weight_map":{"c":"2.safetensors","d":"2.safetensors"}}`, one, two, `2.safetensors: tensor "d": the index has it there, the file has not`, &TensorError{"2.safetensors", "d", 0, 0, nil}},
	} {
		files := map[string]string{}
		for name, text := range map[string]string{index: c.index, "1.safetensors": c.one, "2.safetensors": c.two} {
			if text != "" {
				files[name] = text
			}
		}
		dir := folder(t, files)
		_, err := OpenFolder(dir)
		if maps, _ := os.ReadFile("/proc/self/maps"); strings.Contains(string(maps), dir) { // on Linux
			t.Errorf("want %q: files are still mapped", c.want)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		x := new(TensorError)
		if errors.As(err, &x) != (c.tensor != nil) {
			t.Errorf("%v, want %+v", err, c.tensor)
		} else if c.tensor != nil && (x.File != filepath.Join(dir, c.tensor.File) || x.Tensor != c.tensor.Tensor || x.Got != c.tensor.Got || x.Want != c.tensor.Want) {
			t.Errorf("%+v, want %+v", *x, *c.tensor)
		}
		if missing := c.index == "" || c.one == "" || c.two == ""; missing != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v is os.ErrNotExist: %v", err, !missing)
		}
	}
	dir, size := folder(t, map[string]string{index: ""}), new(bounded.SizeError)
	if err := os.Truncate(filepath.Join(dir, index), maxHeader+1); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(dir); !errors.As(err, &size) || size.Size != maxHeader+1 || size.Most != maxHeader {
		t.Error(err)
	}
}
