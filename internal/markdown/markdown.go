// Package markdown writes what others say as text of Markdown.
package markdown

import "strings"

var escaper = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", `\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "~", `\~`, "[", `\[`, "]", `\]`,
	"\n", " ", "\r", " ", "\t", " ",
)

// Escape makes text stand for itself, on one line and within a cell of a table.
func Escape(s string) string { return escaper.Replace(s) }

// Table writes a table, its header first. The cells are escaped.
func Table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for _, c := range row {
			b.WriteString("| " + Escape(c) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}
