// Command models measures whole models beside llama.cpp: the rates of prompts and of tokens one by one, from the same
// file, with caches of float16. Each is a program of its own, examples/llama and examples/llama/reference.py, and
// they take turns. It prints a table of what each class of the library has, and how many times as much as llama.cpp with
// the better of its kinds of attention.
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
	"slices"
	"strconv"
	"strings"
	"time"
)

// A system is what runs a model.
type system struct {
	name    string // systems of one name are one, and the best counts
	detail  string // what it is run with, for the log
	command func(file string, threads int) *exec.Cmd
}

// theirs is what others are compared with.
const theirs = "llama.cpp"

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
	classes := flag.String("classes", "float32,int8", "the `CLASSES` in which the library computes; one that does not multiply by a file's weights is left out")
	flash := flag.String("flash", "auto,off", "how llama.cpp computes attention: `KINDS` of auto, on and off, of which the better counts")
	threads := flag.String("threads", "", "the `NUMBERS` of threads, such as 1,2 (default: one, and those of all processors)")
	passes := flag.Int("passes", 2, "go through all systems `N` times and keep the best")
	python := flag.String("python", "python3", "the `PROGRAM` that runs llama.cpp")
	flag.Parse()
	if flag.NArg() == 0 {
		return errors.New("there is no file; examples/fetch gets some")
	}
	counts := []int{1}
	if n := runtime.GOMAXPROCS(0); n > 1 {
		counts = append(counts, n)
	}
	if *threads != "" {
		counts = nil
		for _, text := range strings.Split(*threads, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return fmt.Errorf("-threads has %q, want whole numbers from 1 on", text)
			}
			counts = append(counts, n)
		}
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
	for _, kind := range strings.Split(*flash, ",") {
		systems = append(systems, system{theirs, "flash attention " + kind, func(file string, threads int) *exec.Cmd {
			return exec.Command(*python, reference, "speed", *lib, file, strconv.Itoa(threads), *works, kind)
		}})
	}
	for _, class := range strings.Split(*classes, ",") {
		systems = append(systems, system{class, "qkv", func(file string, threads int) *exec.Cmd {
			return exec.Command(llama, "-model", file, "-class", class, "-kv", "float16", "-workers", strconv.Itoa(threads), "-speed", *works)
		}})
	}
	return measureAll(os.Stdout, os.Stderr, flag.Args(), strings.Split(*works, ","), counts, systems, *passes)
}

// measureAll prints a table of the rates of all systems, the rows of a file as soon as it is measured, and to log what it
// is at.
func measureAll(w, log io.Writer, files, works []string, threads []int, systems []system, passes int) error {
	columns := []string{theirs}
	for _, s := range systems {
		if !slices.Contains(columns, s.name) {
			columns = append(columns, s.name)
		}
	}
	fmt.Fprint(w, "| | | threads |")
	for i, c := range columns {
		fmt.Fprintf(w, " %s |", c)
		if i > 0 {
			fmt.Fprint(w, " |")
		}
	}
	fmt.Fprintf(w, "\n|%s\n", strings.Repeat("---|", 2+2*len(columns)))
	for _, file := range files {
		best, err := measure(log, file, threads, systems, passes)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".gguf")
		for i, work := range works {
			for j, n := range threads {
				first, second := "", ""
				if i+j == 0 {
					first = " " + escape.Replace(name)
				}
				if j == 0 {
					second = " " + work
				}
				fmt.Fprintf(w, "|%s |%s | %d |", first, second, n)
				other := best[key{work, n, theirs}]
				for i, c := range columns {
					rate := best[key{work, n, c}]
					fmt.Fprintf(w, " %s |", digits(rate))
					switch {
					case i == 0:
					case rate == 0 || other == 0:
						fmt.Fprint(w, " |")
					default:
						fmt.Fprintf(w, " %.2f × |", rate/other)
					}
				}
				fmt.Fprintln(w)
			}
		}
	}
	return nil
}

// escape is for names in a table.
var escape = strings.NewReplacer("_", `\_`)

// digits writes a rate with three digits or more, – for none.
func digits(rate float64) string {
	switch {
	case rate == 0:
		return "–"
	case rate < 10:
		return fmt.Sprintf("%.2f", rate)
	case rate < 100:
		return fmt.Sprintf("%.1f", rate)
	case rate < 999.5:
		return fmt.Sprintf("%.0f", rate)
	}
	n := int(rate + 0.5)
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// measure returns the best rates of all systems. One that does not multiply by the file's weights has none.
func measure(log io.Writer, file string, threads []int, systems []system, passes int) (map[key]float64, error) {
	best := map[key]float64{}
	for range passes {
		for _, n := range threads {
			for _, s := range systems {
				begin := time.Now()
				rates, err := rates(s.command(file, n))
				if err != nil && strings.Contains(err.Error(), "does not multiply") {
					continue
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", s.name, err)
				}
				fmt.Fprintf(log, "%s, %s, %s on %d: %v in %.0f s\n", filepath.Base(file), s.name, s.detail, n, rates, time.Since(begin).Seconds())
				for work, rate := range rates {
					k := key{work, n, s.name}
					best[k] = max(best[k], rate)
				}
			}
		}
	}
	return best, nil
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
