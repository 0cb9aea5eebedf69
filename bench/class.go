package bench

import (
	"fmt"
	"math"
	"strings"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// className returns the name of a class in the text of a work.
func className(c qkv.Precision) string { return strings.ToLower(c.String()) }

// ParseClass reads the name of a numerical class, as int8.
func ParseClass(name string) (qkv.Precision, error) {
	for _, c := range kernel.Precisions() {
		if c := qkv.Precision(c); className(c) == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%q is not %s", name, ClassNames())
}

// ClassNames lists the names of the numerical classes, as "float32, int8 or bfloat16".
func ClassNames() string {
	var names []string
	for _, c := range kernel.Precisions() {
		names = append(names, className(qkv.Precision(c)))
	}
	return listed(names, "or")
}

// formatClass is className, "" of class Float32.
func formatClass(c qkv.Precision) string {
	if c == qkv.PrecisionFloat32 {
		return ""
	}
	return className(c)
}

// inClass is what a path says of a class, and of that of values.
func inClass(c, values qkv.Precision) string {
	if c == qkv.PrecisionFloat32 {
		return ""
	}
	text := ", class " + c.String()
	if values != qkv.PrecisionFloat32 {
		text += ", values " + values.String()
	}
	return text
}

// integers reports whether scores are products of integers.
func (s Shape) integers() bool { return s.Precision == qkv.PrecisionInt8 && s.KV.K.Integers() }

// integerValues reports whether weighted values are products of integers.
func (s Shape) integerValues() bool {
	return s.Precision == qkv.PrecisionInt8 && s.ValuePrecision == qkv.PrecisionInt8 && s.KV.V.Integers()
}

// roundedValues reports whether weights and values are rounded to bfloat16.
func (s Shape) roundedValues() bool {
	return s.Precision == qkv.PrecisionBFloat16 || s.Precision == qkv.PrecisionInt8 && s.ValuePrecision == qkv.PrecisionBFloat16
}

// mixedPeak is the name of the peak of as many operations of one class as of another.
func mixedPeak(a, b qkv.Precision) string { return a.String() + " and " + b.String() }

// peakName is what the peak of a shape is called in a record. Half the operations are those of scores and half those
// of values, which class Int8 may have of different classes.
func (s Shape) peakName() string {
	keys, values := qkv.PrecisionFloat32, qkv.PrecisionFloat32
	switch {
	case s.Precision == qkv.PrecisionBFloat16:
		keys = qkv.PrecisionBFloat16
	case s.integers():
		keys = qkv.PrecisionInt8
	}
	switch {
	case s.roundedValues():
		values = qkv.PrecisionBFloat16
	case s.integerValues():
		values = qkv.PrecisionInt8
	}
	switch {
	case keys != values && keys == qkv.PrecisionFloat32:
		return mixedPeak(values, keys)
	case keys != values:
		return mixedPeak(keys, values)
	case keys == qkv.PrecisionFloat32:
		return ""
	}
	return keys.String()
}

// addIntegerError adds to a row what quantising the weights, which sum to 1, may cost in blocks of 32 keys: half a step
// of a 127th of the largest weight times its scale, for each integer.
func (o *Operands) addIntegerError(r *ReferenceRow, keys []referenceKey, weights []float64) {
	const values = kernel.BlockValues
	for first := 0; first < len(keys); {
		end := first
		for end < len(keys) && keys[end].index/kernel.Int8Block == keys[first].index/kernel.Int8Block {
			end++
		}
		for d := 0; d < o.Shape.DimV; d += values {
			most := 0.0
			for j := first; j < end; j++ {
				scale, _ := o.V.integer(keys[j].row, d)
				most = max(most, weights[j]*math.Abs(scale))
			}
			for j := first; j < end; j++ {
				for i := d; i < min(d+values, o.Shape.DimV); i++ {
					_, q := o.V.integer(keys[j].row, i)
					r.OutBound[i] += most / 254 * (1 + 1e-4) * math.Abs(q)
				}
			}
		}
		first = end
	}
}

// scoreError returns how far the class of a shape may have a score be from that of the query and the key, before it
// is scaled.
func (s Shape) scoreError(q, k []float32) float64 {
	const half = 1.0 / (1 << 8) // of a bfloat16's last place, of the number
	e := 0.0
	switch {
	case s.integers():
		for first := 0; first < len(q); first += kernel.Int8Block {
			most, size := 0.0, 0.0
			for i := first; i < min(len(q), first+kernel.Int8Block); i++ {
				most, size = max(most, math.Abs(float64(q[i]))), size+math.Abs(float64(k[i]))
			}
			e += most / 254 * (1 + 1e-4) * size
		}
	case s.Precision == qkv.PrecisionBFloat16:
		for i, x := range q {
			e += 2 * half * math.Abs(float64(x)*float64(k[i]))
		}
	}
	return e
}
