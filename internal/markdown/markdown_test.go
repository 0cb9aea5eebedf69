package markdown

import "testing"

func TestTable(t *testing.T) {
	got := Table([][]string{{"a", "b|c"}, {"<x>\n# [y](z) `w`", `\*_ & ~~q8_0~~`}})
	want := "| a | b\\|c |\n|---|---|\n| &lt;x> # \\[y\\](z) \\`w\\` | \\\\\\*\\_ &amp; \\~\\~q8\\_0\\~\\~ |\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := Table([][]string{{"a", ""}}); got != "| a |  |\n|---|---|\n" {
		t.Errorf("an empty cell: %q", got)
	}
}
