package vectors

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Encode solves cases and returns their file, a case a line. Results have 10 digits, which
// math functions of all architectures agree on, but for the last.
func Encode(cases []Case) ([]byte, error) {
	var file bytes.Buffer
	for i := range cases {
		c := &cases[i]
		if err := c.Solve(); err != nil {
			return nil, err
		}
		for i, x := range c.Out {
			c.Out[i] = digits(x)
		}
		for _, x := range c.LSE {
			if x != nil {
				*x = digits(*x)
			}
		}
		line, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		separator := ",\n"
		if i == 0 {
			separator = "[\n"
		}
		file.WriteString(separator)
		file.Write(line)
	}
	file.WriteString("\n]\n")
	return file.Bytes(), nil
}

func digits(x float64) float64 {
	x, _ = strconv.ParseFloat(strconv.FormatFloat(x, 'g', 10, 64), 64) // it has just been formatted
	return x
}
