package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/bench"
)

const infoSynopsis = `qkv info [-json]

Says what this machine has, and which kernel set runs and why.`

// An infoDocument is what qkv info -json writes.
type infoDocument struct {
	Machine bench.Machine `json:"machine"`
	Build   bench.Build   `json:"build"`
	Kernels []kernelEntry `json:"kernels"` // best first

	// Error says why none of them is chosen, if so.
	Error string `json:"error,omitempty"`
}

type kernelEntry struct {
	Name    string   `json:"name"`
	Base    string   `json:"base,omitempty"` // the set whose functions it has but for those of some classes
	Chosen  bool     `json:"chosen"`
	Why     string   `json:"why"`
	Needs   []string `json:"needs"`
	Missing []string `json:"missing"` // of those, what this machine lacks
	Vector  int      `json:"vector"`  // float32 lanes
	Lanes   int      `json:"lanes"`   // micro-tile
	Rows    int      `json:"rows"`
}

func infoCommand(_ context.Context, args []string, stdout, _ io.Writer) error {
	f := flag.NewFlagSet("info", flag.ContinueOnError)
	asJSON := f.Bool("json", false, "write JSON")
	if err := parseFlags(f, args, infoSynopsis, stdout); err != nil {
		return err
	}
	doc := infoDocument{Machine: bench.ThisMachine(), Build: bench.ThisBuild()}
	chosen := ""
	a, wrong := qkv.New(qkv.Config{})
	if wrong != nil { // of which the rest is what helps
		doc.Error = plain(wrong)
	} else {
		chosen = a.Kernel().Name
	}
	doc.Kernels = kernelEntries(qkv.Kernels(), chosen, os.Getenv(qkv.KernelEnv) != "")
	write := doc.print
	if *asJSON {
		write = func(w io.Writer) error { return writeJSON(w, &doc) }
	}
	if err := write(stdout); err != nil {
		return err
	}
	return wrong
}

// kernelEntries says of each set why it was chosen or not.
func kernelEntries(infos []qkv.KernelInfo, chosen string, forced bool) []kernelEntry {
	var entries []kernelEntry
	for _, k := range infos {
		s := k.Set
		e := kernelEntry{
			Name: s.Name, Base: s.Base, Chosen: s.Name == chosen, Needs: s.Needs.Names(), Missing: k.Missing.Names(),
			Vector: s.Vec, Lanes: s.Lanes, Rows: s.Rows,
		}
		switch {
		case e.Chosen && forced:
			e.Why = "forced by " + qkv.KernelEnv
		case e.Chosen:
			e.Why = "the best that this machine can run"
		case k.Missing != 0:
			e.Why = "this machine lacks " + k.Missing.String()
		case chosen == "":
			e.Why = "can run"
		case forced:
			e.Why = qkv.KernelEnv + " forces " + chosen
		case s.OnlyNamed:
			e.Why = "taken only where it is named"
		default:
			e.Why = chosen + " is better"
		}
		// Lists, not null.
		e.Needs, e.Missing = append([]string{}, e.Needs...), append([]string{}, e.Missing...)
		entries = append(entries, e)
	}
	return entries
}

func (d *infoDocument) print(w io.Writer) error {
	m := &d.Machine
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	vendor := m.Vendor
	if vendor != "" {
		vendor += ", "
	}
	fmt.Fprintf(t, "CPU\t%s (%sfamily %d, model %d, stepping %d)\n", m.CPU, vendor, m.Family, m.Model, m.Stepping)
	if m.Core != "" {
		fmt.Fprintf(t, "microarchitecture\t%s\n", m.Core)
	}
	fmt.Fprintf(t, "processors\t%s, GOMAXPROCS %d\n", m.Processors(), m.GOMAXPROCS)
	for _, c := range m.Caches {
		fmt.Fprintf(t, "%s cache\t%s\n", c.Level, size(c.Bytes))
	}
	fmt.Fprintf(t, "build\t%s/%s, %s\n", m.OS, m.Arch, d.Build.GoVersion)
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\nfeatures\n%s\n", wrap(m.Features, "  ", 88)); err != nil {
		return err
	}

	fmt.Fprintf(t, "\tkernel set\tvector\ttile\twhy\tneeds\n")
	for _, k := range d.Kernels {
		mark, needs := "", "-"
		if k.Chosen {
			mark = "*"
		}
		if len(k.Needs) > 0 {
			needs = fmt.Sprint(k.Needs)
			needs = needs[1 : len(needs)-1]
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d x %d\t%s\t%s\n", mark, k.Name, k.Vector, k.Rows, k.Lanes, k.Why, needs)
	}
	return t.Flush()
}
