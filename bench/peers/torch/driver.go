package torch

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"unsafe"

	"github.com/qkv-go/qkv"
)

//go:embed driver.py
var script string

// work is the argument of the script.
type work struct {
	Kind    string `json:"kind"`
	Threads int    `json:"threads"`

	// Of attention.
	Batch      int  `json:"batch"`
	KVHeads    int  `json:"kv_heads"`
	HeadsPerKV int  `json:"heads_per_kv"` // heads that share a KV head
	Queries    int  `json:"queries"`
	Keys       int  `json:"keys"`
	Dim        int  `json:"dim"`
	DimV       int  `json:"dim_v"`
	Causal     bool `json:"causal"`

	Type string `json:"type"` // of keys and values, or of weights

	// Of a product.
	M int `json:"m"`
	N int `json:"n"`
	K int `json:"k"`
}

// header is the first line that the script writes.
type header struct {
	Ways []struct {
		Name string `json:"name"`
		Type string `json:"type"` // of the arithmetic
	} `json:"ways"`
	Missing []string `json:"missing"` // ways that do not work here
}

// A driver is a process that computes one work.
type driver struct {
	header
	first, out []byte // tensors: what may change, and the result
	command    *exec.Cmd
	in         io.WriteCloser
	answers    *bufio.Reader
	stderr     bytes.Buffer
	files      []*os.File
}

// start starts a process with those tensors and room for the result.
func start(python string, w work, tensors []any, out []float32) (*driver, error) {
	argument, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	d := &driver{first: raw(tensors[0]), out: raw(out)}
	for i, t := range append(tensors, out) {
		f, err := memory(fmt.Sprintf("tensor%d", i), int64(len(raw(t))))
		if err != nil {
			d.close()
			return nil, err
		}
		d.files = append(d.files, f)
		if i == len(tensors) {
			break
		}
		if _, err := f.WriteAt(raw(t), 0); err != nil {
			d.close()
			return nil, err
		}
	}
	cmd := exec.Command(python, "-c", script, string(argument))
	cmd.ExtraFiles, cmd.Stderr = d.files, &d.stderr
	cmd.Env = environment(w.Threads)
	if d.in, err = cmd.StdinPipe(); err != nil {
		d.close()
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		d.close()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		d.close()
		return nil, err
	}
	d.command, d.answers = cmd, bufio.NewReader(answers)
	line, err := d.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &d.header)
	}
	if err != nil {
		return nil, d.died(err)
	}
	return d, nil
}

// environment limits threads. OpenBLAS is to take the kernels of this processor, whatever the
// environment says, and threads of OpenMP that wait are not to keep those of OpenBLAS from it.
func environment(threads int) []string {
	list := slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "OPENBLAS_CORETYPE=") || strings.HasPrefix(s, "OPENBLAS_L2_SIZE=")
	})
	for _, name := range []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} {
		list = append(list, fmt.Sprintf("%s=%d", name, threads))
	}
	return append(list, "OMP_WAIT_POLICY=passive")
}

// run has a way compute the inputs.
func (d *driver) run(way int) error {
	if _, err := d.files[0].WriteAt(d.first, 0); err != nil {
		return err
	}
	return d.do('r', way)
}

// finish copies the result of a way.
func (d *driver) finish(way int) error {
	if err := d.do('f', way); err != nil {
		return err
	}
	_, err := d.files[len(d.files)-1].ReadAt(d.out, 0)
	return err
}

// do sends a command and waits for the answer.
func (d *driver) do(command byte, way int) error {
	if _, err := d.in.Write([]byte{command, byte(way)}); err != nil {
		return d.died(err)
	}
	answer, err := d.answers.ReadByte()
	if err != nil {
		return d.died(err)
	}
	if answer == '.' {
		return nil
	}
	line, err := d.answers.ReadString('\n')
	if err != nil {
		return d.died(err)
	}
	return fmt.Errorf("the script fails: %s", strings.TrimSpace(line))
}

// died ends a process that does not answer. The error has the last line that it wrote.
func (d *driver) died(err error) error {
	d.close()
	lines := strings.Split(strings.TrimSpace(d.stderr.String()), "\n")
	return fmt.Errorf("the script does not answer: %w: %s", err, lines[len(lines)-1])
}

// close ends the process, which ends with its standard input. It may be called again.
func (d *driver) close() {
	if d.in != nil {
		d.in.Close()
	}
	if d.command != nil {
		d.command.Wait()
	}
	for _, f := range d.files {
		f.Close()
	}
}

// raw returns the bytes of a tensor.
func raw(x any) []byte {
	switch x := x.(type) {
	case []byte:
		return x
	case []float32:
		return bytesOf(x)
	case []qkv.Float16:
		return bytesOf(x)
	case []qkv.BFloat16:
		return bytesOf(x)
	}
	panic(fmt.Sprintf("torch: a tensor of %T", x))
}

func bytesOf[T any](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(*new(T))))
}

// memory returns a file that two processes can share tensors in.
func memory(name string, size int64) (f *os.File, err error) {
	if f, err = newMemory(name); err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
