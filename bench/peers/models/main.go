// Command models measures whole models beside llama.cpp: the rates of prompts and of tokens one by one, from the same
// file, with caches of float16. Each is a program of its own, examples/llama and examples/llama/reference.py, and
// they take turns.
//
//	go run ./models FILE...
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// A system is what runs a model.
type system struct {
	name    string
	command func(file string, threads int) *exec.Cmd
}

// A key is what a rate is of.
type key struct {
	work    string
	threads int
	system  string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "models:", err)
		os.Exit(1)
	}
}

// run measures what the command line says.
func run() error {
	root := flag.String("root", "../..", "the `DIR` of the library's repository")
	lib := flag.String("lib", "lib/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64", "the `DIR` of llama.cpp's libraries, where setup puts them")
	works := flag.String("works", "pp64,pp512,pp2048,tg64@512,tg64@4096", "the `WORKS`, see examples/llama -h")
	classes := flag.String("classes", "float32,int8", "the `CLASSES` in which the library computes")
	passes := flag.Int("passes", 2, "go through all systems `N` times and keep the best")
	python := flag.String("python", "python3", "the `PROGRAM` that runs llama.cpp")
	flag.Parse()
	if flag.NArg() == 0 {
		return errors.New("there is no file; examples/fetch gets some")
	}
	dir, err := os.MkdirTemp("", "models")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	llama := filepath.Join(dir, "llama")
	build := exec.Command("go", "build", "-o", llama, "./examples/llama")
	build.Dir, build.Stderr = *root, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("examples/llama does not build: %w", err)
	}

	reference := filepath.Join(*root, "examples/llama/reference.py")
	var systems []system
	for _, flash := range []string{"auto", "off"} {
		name := "llama.cpp"
		if flash == "off" {
			name += ", no flash attention"
		}
		systems = append(systems, system{name, func(file string, threads int) *exec.Cmd {
			return exec.Command(*python, reference, "speed", *lib, file, strconv.Itoa(threads), *works, flash)
		}})
	}
	for _, class := range strings.Split(*classes, ",") {
		systems = append(systems, system{"qkv, " + class, func(file string, threads int) *exec.Cmd {
			return exec.Command(llama, "-model", file, "-class", class, "-kv", "float16", "-workers", strconv.Itoa(threads), "-speed", *works)
		}})
	}
	threads := []int{1}
	if n := runtime.GOMAXPROCS(0); n > 1 {
		threads = append(threads, n)
	}
	for _, file := range flag.Args() {
		if err := measure(os.Stdout, file, strings.Split(*works, ","), threads, systems, *passes); err != nil {
			return err
		}
	}
	return nil
}

// measure prints the rates of all systems as a table.
func measure(w io.Writer, file string, works []string, threads []int, systems []system, passes int) error {
	best := map[key]float64{}
	for range passes {
		for _, n := range threads {
			for _, s := range systems {
				rates, err := rates(s.command(file, n))
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				for work, rate := range rates {
					k := key{work, n, s.name}
					best[k] = max(best[k], rate)
				}
			}
		}
	}
	fmt.Fprintf(w, "| %s | threads |", filepath.Base(file))
	for _, s := range systems {
		fmt.Fprintf(w, " %s |", s.name)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", 1+len(systems)))
	for _, work := range works {
		for _, n := range threads {
			fmt.Fprintf(w, "| %s | %d |", work, n)
			for _, s := range systems {
				if rate, ok := best[key{work, n, s.name}]; ok {
					fmt.Fprintf(w, " %.1f |", rate)
				} else {
					fmt.Fprint(w, " – |")
				}
			}
			fmt.Fprintln(w)
		}
	}
	return nil
}

// rates runs a program that prints lines such as "pp512  96.1 tokens/s".
func rates(c *exec.Cmd) (map[string]float64, error) {
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	m := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || fields[2] != "tokens/s" {
			return nil, fmt.Errorf("a line %q", lines.Text())
		}
		if m[fields[0]], err = strconv.ParseFloat(fields[1], 64); err != nil {
			return nil, err
		}
	}
	return m, lines.Err()
}
