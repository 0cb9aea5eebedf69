package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the files of testdata")

// readmeLetters are the tokens of testdata.
const readmeLetters = "ABRACADABRA"

// readmeInputs returns queries and keys of three heads that are made by hand, over the letters:
// one attends the letter before, one the same letter, and one what followed the same letter
// earlier, as the induction heads of language models do.
func readmeInputs() (q, k array) {
	const (
		seq  = len(readmeLetters)
		dim  = 16   // of which the first 5 are letters, and the others positions
		gain = 20.0 // scores are a fourth of it
	)
	letter := func(i int) int { return strings.IndexByte("ABCDR", readmeLetters[i]) }
	position := func(i int) int { return 5 + i }
	q, k = array{dims: []int{3, seq, dim}, data: make([]float32, 3*seq*dim)}, array{dims: []int{3, seq, dim}, data: make([]float32, 3*seq*dim)}
	for i := range seq {
		row := func(a array, head int) []float32 { return a.data[(head*seq+i)*dim:][:dim] }
		row(q, 0)[position(max(i-1, 0))], row(k, 0)[position(i)] = gain, 1
		row(q, 1)[letter(i)], row(k, 1)[letter(i)] = gain, 1
		row(q, 2)[letter(i)] = gain
		if i > 0 {
			row(k, 2)[letter(i-1)] = 1
		}
	}
	return q, k
}

func TestReadmeInputs(t *testing.T) {
	q, k := readmeInputs()
	for name, a := range map[string]array{"q.npy": q, "k.npy": k} {
		var b bytes.Buffer
		if err := a.encode(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, b.Bytes()) {
			t.Errorf("%s is not what is made here (go test -update), error %v", path, err)
		}
	}
}

// TestReadmeView: the command of README.md prints what stands below it.
func TestReadmeView(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?m)^    \$ go run \./cmd/qkv (view .*)\n((?:    .*\n|\n)*)`).FindStringSubmatch(string(readme))
	if block == nil {
		t.Fatal("README.md has no such command")
	}
	var args []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(block[1], -1) {
		args = append(args, m[1]+m[2])
	}
	code, out, errs := qkvRun(args...)
	want := regexp.MustCompile(`(?m)^    `).ReplaceAllString(block[2], "")
	if code != exitOK || errs != "" || strings.TrimSpace(out) != strings.TrimSpace(want) {
		t.Errorf("%q: exit %d, stderr %q, stdout\n%s\nREADME.md has\n%s", args, code, errs, out, want)
	}
}
