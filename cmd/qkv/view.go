package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/qkv-go/qkv/cmd/qkv/heatmap"
)

const viewSynopsis = `qkv view -q Q.npy -k K.npy [-o DIR|FILE.png|FILE.svg] [flags]
       qkv view -model MODEL.json LETTERS [-o DIR|FILE.png|FILE.svg] [flags]

It draws the attention probabilities of each head, queries down and keys across, in the
terminal or into pictures: into a FILE all heads, into a directory also each head by
itself. Q and K, the masks and what changes scores are as for qkv run. MODEL.json is that
of examples/nanogpt, of which all layers are drawn: gpt-nano-sort-model.json, in the folder
public of https://github.com/bbycroft/llm-viz.`

// Of more keys than manyKeys, most have a probability whose linear colour is that of 0.
const manyKeys = 128

// viewFlags are the flags of qkv view.
type viewFlags struct {
	q, k, out, format    string
	model, letters       string
	layout, kernel       string
	tokens, tokensFile   string
	batch, head, workers int
	oneHead              bool // -head is given
	log, logGiven        bool
	mask                 maskFlags
	values               valueFlags
	class                classFlags
}

func (v *viewFlags) parse(args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("view", flag.ContinueOnError)
	f.StringVar(&v.q, "q", "", "read the queries from `FILE`")
	f.StringVar(&v.k, "k", "", "read the keys from `FILE`")
	f.StringVar(&v.model, "model", "", "draw what the model in `FILE` does with LETTERS")
	f.StringVar(&v.out, "o", "", "write to `PATH`, which ends in .png or .svg or is a directory, instead of the terminal")
	f.StringVar(&v.format, "format", "", "write pictures of a `FORMAT`, png or svg (default: by the name of the file)")
	f.StringVar(&v.layout, "layout", "bhsd", "the `LAYOUT` of the files, bhsd or bshd")
	f.StringVar(&v.tokens, "tokens", "", "name the keys by `WORDS`, separated by spaces, and the queries where they stand at keys")
	f.StringVar(&v.tokensFile, "tokens-file", "", "name them by the lines of `FILE`")
	f.IntVar(&v.batch, "batch", 0, "draw element `N` of the batch")
	f.IntVar(&v.head, "head", 0, "draw head `N` only, not all")
	f.BoolVar(&v.log, "log", false, "colour by the logarithm of the probability (default if there are more than 128 keys)")
	f.StringVar(&v.kernel, "kernel", "", "use the kernel set `NAME`, as qkv info lists them")
	f.IntVar(&v.workers, "workers", 0, "compute on at most `N` processors, 0 for all")
	v.mask.register(f)
	v.values.register(f)
	v.class.register(f)
	others, err := parseArgs(f, args, viewSynopsis, stdout)
	if err != nil {
		return err
	}
	f.Visit(func(g *flag.Flag) {
		v.oneHead = v.oneHead || g.Name == "head"
		v.logGiven = v.logGiven || g.Name == "log"
	})
	if v.model != "" {
		if len(others) == 0 {
			return badUsage("LETTERS is missing")
		}
		v.letters, others = others[0], others[1:]
		f.Visit(func(g *flag.Flag) {
			if !slices.Contains([]string{"model", "o", "format", "head", "log", "kernel", "workers"}, g.Name) {
				err = badUsage("-model and -%s exclude each other", g.Name)
			}
		})
		if err != nil {
			return err
		}
	}
	if len(others) > 0 {
		return badUsage("unexpected argument %q", others[0])
	}
	for _, needed := range []struct{ name, value string }{{"q", v.q}, {"k", v.k}} {
		if needed.value == "" && v.model == "" {
			return badUsage("-%s is missing", needed.name)
		}
	}
	if v.layout != "bhsd" && v.layout != "bshd" {
		return badUsage("-layout is %q, want bhsd or bshd", v.layout)
	}
	if v.tokens != "" && v.tokensFile != "" {
		return badUsage("-tokens and -tokens-file exclude each other")
	}
	for _, x := range []struct {
		name string
		n    int
	}{{"batch", v.batch}, {"head", v.head}, {"workers", v.workers}} {
		if x.n < 0 {
			return badUsage("-%s is %d, want 0 or more", x.name, x.n)
		}
	}
	if v.format != "" && v.format != "png" && v.format != "svg" {
		return badUsage("-format is %q, want png or svg", v.format)
	}
	if v.format != "" && v.out == "" {
		return badUsage("-format is for pictures, so -o is needed")
	}
	inputs := []flagFile{{"-q", v.q}, {"-k", v.k}, {"-model", v.model}, {"-tokens-file", v.tokensFile}, {"-mask", v.mask.keep}, {"-alibi", v.values.alibi}, {"-bias", v.values.bias}, {"-sinks", v.values.sinks}}
	if err := checkFiles(inputs, []flagFile{{"-o", v.out}}); err != nil {
		return err
	}
	if err := v.mask.check(v.values.alibi != ""); err != nil {
		return err
	}
	return checkKernelFlag(v.kernel)
}

func viewCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var v viewFlags
	if err := v.parse(args, stdout); err != nil {
		return err
	}
	out, err := v.pictures(stdout)
	if err != nil {
		return err
	}
	var a *heatmap.Attention
	var title string
	if v.model != "" {
		a, title, err = v.modelAttention()
	} else {
		a, title, err = v.attention(ctx)
	}
	if err != nil {
		return err
	}
	options := heatmap.Options{Title: title, Log: v.log}
	if !v.logGiven {
		options.Log = a.Keys() > manyKeys
	}
	if out == nil {
		return a.WriteText(stdout, options, terminal(stdout))
	}
	if err := writeFiles(ctx, stdout, out(a, options)...); err != nil {
		return err
	}
	if n := a.Escaped(); n > 0 && v.pictureFormat() == "png" {
		fmt.Fprintf(stderr, "qkv view: the font of PNG lacks characters of %s, which are escaped; those of an SVG are its reader's\n", plural(n, "token"))
	}
	return nil
}

// pictures returns what the output holds of the maps, nil if it is the terminal.
func (v *viewFlags) pictures(stdout io.Writer) (func(*heatmap.Attention, heatmap.Options) []content, error) {
	if v.out == "" {
		return nil, nil
	}
	write := map[string]func(*heatmap.Attention, io.Writer, heatmap.Options) error{
		"png": (*heatmap.Attention).WritePNG,
		"svg": (*heatmap.Attention).WriteSVG,
	}
	format := v.pictureFormat()
	picture := func(path string, a *heatmap.Attention, o heatmap.Options) content {
		return content{path, func(w io.Writer) error { return write[format](a, w, o) }}
	}
	if v.intoDirectory() {
		return func(a *heatmap.Attention, o heatmap.Options) []content {
			all := []content{picture(filepath.Join(v.out, "heads."+format), a, o)}
			for i := range a.Maps() {
				name := strings.NewReplacer(", ", "-", " ", "").Replace(a.Name(i))
				all = append(all, picture(filepath.Join(v.out, name+"."+format), a.Only(i), o))
			}
			return all
		}, nil
	}
	if v.out != standard && os.IsPathSeparator(v.out[len(v.out)-1]) {
		return nil, badUsage("-o is %q, which is no directory yet: make it first", v.out)
	}
	if format == "" && v.out != standard {
		return nil, badUsage("-o is %q, which is no directory yet, and no name that ends in .png or .svg", v.out)
	}
	if write[format] == nil {
		return nil, badUsage("-o is %q, want a directory or a name that ends in .png or .svg, or -format", v.out)
	}
	if format == "png" {
		if err := checkBinary(stdout, "-o", v.out); err != nil {
			return nil, err
		}
	}
	return func(a *heatmap.Attention, o heatmap.Options) []content {
		return []content{picture(v.out, a, o)}
	}, checkWritable(v.out)
}

// intoDirectory reports whether -o is a directory.
func (v *viewFlags) intoDirectory() bool {
	info, err := os.Stat(v.out)
	return v.out != standard && err == nil && info.IsDir()
}

// pictureFormat is the format that is asked for, or that the name of the output says.
func (v *viewFlags) pictureFormat() string {
	switch {
	case v.format != "":
		return v.format
	case v.intoDirectory():
		return "png"
	}
	return strings.TrimPrefix(strings.ToLower(filepath.Ext(v.out)), ".")
}

// terminal says what a writer can show.
func terminal(w io.Writer) heatmap.Terminal {
	if !isTerminal(w) {
		return heatmap.Terminal{}
	}
	f := w.(*os.File)
	t := heatmap.Terminal{Colors: terminalColors(os.Getenv)}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		t.Width = width
	}
	return t
}

// terminalColors goes by the usual variables of the environment (see no-color.org).
func terminalColors(getenv func(string) string) heatmap.Colors {
	name := getenv("TERM")
	switch {
	case getenv("NO_COLOR") != "", name == "", name == "dumb":
		return heatmap.NoColors
	case slices.Contains([]string{"truecolor", "24bit"}, getenv("COLORTERM")), strings.HasSuffix(name, "-direct"):
		return heatmap.TrueColor
	}
	return heatmap.Colors256
}
