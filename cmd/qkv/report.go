package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/qkv-go/qkv/bench"
	"github.com/qkv-go/qkv/bench/report"
)

const reportSynopsis = `qkv report [flags] RECORD.json...

Draws records of qkv bench: the roofline of the machine with every run, rates over sequence
length, decoding by element type, scaling with workers, other systems, and a table. Several
records stand side by side.`

var reportFormats = []string{"html", "md", "svg", "png"}

func reportCommand(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := flag.NewFlagSet("report", flag.ContinueOnError)
	out := f.String("o", "", "write to `FILE` (default, for md: standard output)")
	format := f.String("format", "", "write a `FORMAT`: html, one page that needs nothing else; md, tables; svg or png,\npictures (default: by the name of the file)")
	var kinds strings.Builder
	for _, k := range report.PlotKinds {
		fmt.Fprintf(&kinds, "\n  %-20s %s", k.Name, k.About)
	}
	plot := f.String("plot", "", "of svg and png: draw the plot of that `NAME` only, which the records have data for; of several\nrecords, rooflines and peers end in the name of one:"+kinds.String())
	files, err := parseArgs(f, args, reportSynopsis, stdout)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return badUsage("no record given")
	}
	if *format == "" {
		*format = strings.TrimPrefix(strings.ToLower(filepath.Ext(*out)), ".")
		switch {
		case *format == "":
			*format = "html"
		case !slices.Contains(reportFormats, *format):
			return badUsage("-o is %q, want a name that ends in .%s, or -format", *out, strings.Join(reportFormats, ", ."))
		}
	}
	switch {
	case !slices.Contains(reportFormats, *format):
		return badUsage("-format is %q, want %s", *format, strings.Join(reportFormats, ", "))
	case *out == "" && *format != "md":
		return badUsage("-o is needed to write %s", *format)
	case *plot != "" && *format != "svg" && *format != "png":
		return badUsage("-plot is for svg and png, not for %s", *format)
	}
	var records []flagFile
	for _, name := range files {
		records = append(records, flagFile{"a record", name})
	}
	if err := checkFiles(records, []flagFile{{"-o", *out}}); err != nil {
		return err
	}
	if *format == "png" {
		if err := checkBinary(stdout, "-o", *out); err != nil {
			return err
		}
	}
	var docs []*bench.Document
	for _, name := range files {
		d, err := readRecord(name)
		if err != nil {
			return err
		}
		docs = append(docs, d)
	}
	for i, name := range recordNames(files, docs) {
		docs[i].Label = name
	}
	r, err := report.New(docs...)
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer) error{
		"html": r.WriteHTML,
		"md":   r.WriteMarkdown,
		"svg":  func(w io.Writer) error { return r.WriteSVG(w, *plot) },
		"png":  func(w io.Writer) error { return r.WritePNG(w, *plot) },
	}[*format]
	if *out == "" {
		return write(stdout)
	}
	return writeFiles(ctx, stdout, content{*out, write})
}
