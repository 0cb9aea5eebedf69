// Package python has a work computed by a script in a Python process of its own. A pipe says when to compute;
// tensors are memory that both have.
package python

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

//go:embed serve.py
var serve string

// Find returns the first of some programs that is a Python with a module, and the version that the module has.
func Find(module string, programs ...string) (python, version string, err error) {
	var reasons []string
	for _, python := range programs {
		if _, err := exec.LookPath(python); err != nil {
			continue
		}
		out, err := exec.Command(python, "-c", fmt.Sprintf("import %s; print(%[1]s.__version__)", module)).Output()
		if err == nil {
			return python, strings.TrimSpace(string(out)), nil
		}
		reasons = append(reasons, fmt.Sprintf("%s: %v", python, reason(err)))
	}
	if reasons == nil {
		reasons = []string{"there is no python3"}
	}
	return "", "", fmt.Errorf("no Python has the module %s: %s", module, strings.Join(reasons, "; "))
}

// reason is the last line that a command wrote to its standard error, if there is one.
func reason(err error) string {
	if exit, ok := err.(*exec.ExitError); ok {
		if lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n"); lines[len(lines)-1] != "" {
			return lines[len(lines)-1]
		}
	}
	return err.Error()
}

// A Way is a way in which a script can compute a work.
type Way struct {
	Name string `json:"name"`
	Type string `json:"type"` // of the arithmetic
}

// header is the first line that the script writes.
type header struct {
	Ways    []Way    `json:"ways"`
	Missing []string `json:"missing"` // ways that do not work here
}

// A Process computes one work.
type Process struct {
	header
	first, out []byte // tensors: what may change, and the result
	command    *exec.Cmd
	in         io.WriteCloser
	answers    *bufio.Reader
	stderr     bytes.Buffer
	files      []*os.File
}

// Start starts a process with those tensors and room for the result. The script is read behind serve.py, which has
// what it calls; the work is its argument, as JSON. The first of the tensors may change.
func Start(python, script string, work any, environment []string, tensors []any, out []float32) (*Process, error) {
	argument, err := json.Marshal(work)
	if err != nil {
		return nil, err
	}
	p := &Process{first: raw(tensors[0]), out: raw(out)}
	for i, t := range append(tensors, out) {
		f, err := memory(fmt.Sprintf("tensor%d", i), int64(len(raw(t))))
		if err != nil {
			p.Close()
			return nil, err
		}
		p.files = append(p.files, f)
		if i == len(tensors) {
			break
		}
		if _, err := f.WriteAt(raw(t), 0); err != nil {
			p.Close()
			return nil, err
		}
	}
	cmd := exec.Command(python, "-c", serve+script, string(argument))
	cmd.ExtraFiles, cmd.Stderr = p.files, &p.stderr
	cmd.Env = environment
	if p.in, err = cmd.StdinPipe(); err != nil {
		p.Close()
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		p.Close()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		p.Close()
		return nil, err
	}
	p.command, p.answers = cmd, bufio.NewReader(answers)
	line, err := p.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.header)
	}
	if err != nil {
		return nil, p.died(err)
	}
	return p, nil
}

// Paths returns the ways of a process, which ends when the last is closed. Each call takes about 10 µs for the pipe.
func (p *Process) Paths() []bench.Path {
	open := len(p.Ways)
	var paths []bench.Path
	for i, way := range p.Ways {
		paths = append(paths, bench.Path{
			Name:   way.Name,
			Load:   func() error { return p.Load(i) },
			Run:    func() error { return p.Run(i) },
			Finish: func() error { return p.Finish(i) },
			Close: func() {
				if open--; open == 0 {
					p.Close()
				}
			},
			NoLSE: true,
		})
	}
	return paths
}

// Load has a way bring what may have changed into its layout.
func (p *Process) Load(way int) error {
	if _, err := p.files[0].WriteAt(p.first, 0); err != nil {
		return err
	}
	return p.do('l', way)
}

// Run has a way compute the inputs.
func (p *Process) Run(way int) error { return p.do('r', way) }

// Finish copies the result of a way.
func (p *Process) Finish(way int) error {
	if err := p.do('f', way); err != nil {
		return err
	}
	_, err := p.files[len(p.files)-1].ReadAt(p.out, 0)
	return err
}

// do sends a command and waits for the answer.
func (p *Process) do(command byte, way int) error {
	if _, err := p.in.Write([]byte{command, byte(way)}); err != nil {
		return p.died(err)
	}
	answer, err := p.answers.ReadByte()
	if err != nil {
		return p.died(err)
	}
	if answer == '.' {
		return nil
	}
	line, err := p.answers.ReadString('\n')
	if err != nil {
		return p.died(err)
	}
	return fmt.Errorf("the script fails: %s", strings.TrimSpace(line))
}

// died ends a process that does not answer. The error has the last line that it wrote.
func (p *Process) died(err error) error {
	p.Close()
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	return fmt.Errorf("the script does not answer: %w: %s", err, lines[len(lines)-1])
}

// Close ends the process, which ends with its standard input. It may be called again.
func (p *Process) Close() {
	if p.in != nil {
		p.in.Close()
	}
	if p.command != nil {
		p.command.Wait()
	}
	for _, f := range p.files {
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
	case []int8:
		return bytesOf(x)
	case []qkv.BlockQ8_0:
		return bytesOf(x)
	case []qkv.BlockQ4_0:
		return bytesOf(x)
	case []qkv.Float16:
		return bytesOf(x)
	case []qkv.BFloat16:
		return bytesOf(x)
	}
	panic(fmt.Sprintf("python: a tensor of %T", x))
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
