package bench

import (
	"context"
	"fmt"
	"math"

	"github.com/qkv-go/qkv"
	"github.com/qkv-go/qkv/kernel"
)

// An Append is keys and values of Tokens tokens that go into an empty cache, converted to its
// type.
type Append struct {
	Tokens, KVHeads, Dim int
	KV                   KV
}

// ParseAppend reads append=512,hkv=8,d=128. kv=float16 and the like are the type of the cache,
// and page=16 has it in pages, as in [ParseShape].
func ParseAppend(text string) (Append, error) {
	var a Append
	fields := []field{{"append", &a.Tokens}, {"hkv", &a.KVHeads}, {"d", &a.Dim}, {"page", &a.KV.Page}}
	err := parseFields("append", text, fields, func(key, value string) (bool, error) {
		if key != "kv" {
			return false, nil
		}
		e, err := ParseElem(value)
		a.KV.K, a.KV.V = e, e
		return true, err
	})
	if err != nil {
		return Append{}, err
	}
	if key := missing(fields[:3]); key != "" {
		return Append{}, fmt.Errorf("append %q: %s is missing", text, key)
	}
	if err := a.KV.check(a.Dim, a.Dim); err != nil {
		return Append{}, fmt.Errorf("append %q: %w", text, err)
	}
	if b := a.Bytes(); b > maxBytes {
		return Append{}, fmt.Errorf("append %q: the operands would take %d bytes, at most %d are measured", text, b, int64(maxBytes))
	}
	return a, nil
}

// String writes the work as [ParseAppend] reads it.
func (a Append) String() string {
	text := fmt.Sprintf("append=%d,hkv=%d,d=%d", a.Tokens, a.KVHeads, a.Dim)
	if a.KV.K != kernel.Float32 {
		text += ",kv=" + a.KV.K.Name()
	}
	if a.KV.Page != 0 {
		text += fmt.Sprintf(",page=%d", a.KV.Page)
	}
	return text
}

// Short is String.
func (a Append) Short() string { return a.String() }

// FLOPs is 0: nothing is computed that counts.
func (a Append) FLOPs() float64 { return 0 }

// Bytes returns the size of the new keys and values, and of what is stored of them.
func (a Append) Bytes() int64 {
	return satAdd(satMul(2, a.Tokens, a.KVHeads, 4, a.Dim), satMul(2, a.Tokens, a.KVHeads, rowBytes(a.KV.K, a.Dim)))
}

// MovedBytes returns Bytes.
func (a Append) MovedBytes() int64 { return a.Bytes() }

// ReadBytes returns Bytes: all of them are read or written.
func (a Append) ReadBytes() int64 { return a.Bytes() }

// reused returns the size of what is stored: the new keys and values have just been computed.
func (a Append) reused() int64 { return satMul(2, a.Tokens, a.KVHeads, rowBytes(a.KV.K, a.Dim)) }

func (a Append) describe(r *Run) {
	r.Kind = KindAppend
	r.KVHeads, r.SeqKV, r.DimQK, r.DimV = a.KVHeads, a.Tokens, a.Dim, a.Dim
	r.KDType, r.VDType = a.KV.K.Name(), a.KV.V.Name()
}

// Inputs makes keys and values of standard normal numbers, and a cache.
func (a Append) Inputs(seed uint64) Inputs {
	n := a.KVHeads * a.Tokens * a.Dim
	in := &AppendInputs{Append: a, K: make([]float32, n), V: make([]float32, n)}
	fillNormal(in.K, seed, 11)
	fillNormal(in.V, seed, 12)
	return in
}

// AppendInputs are the new keys and values [KVHeads, Tokens, Dim], and the call that attends
// the cache they went to, which a path leaves.
type AppendInputs struct {
	Append Append
	K, V   []float32

	stored *qkv.Call
}

// again needs no copy: each path has a cache of its own.
func (in *AppendInputs) again() Inputs {
	other := *in
	return &other
}

// Work returns the work.
func (in *AppendInputs) Work() Work { return in.Append }

// Spoil forgets the cache.
func (in *AppendInputs) Spoil() { in.stored = nil }

// Check compares the values that a query attends in the cache with those that went there, by
// a query for each of a sample of tokens that attends that token alone: its output is the
// stored value, of which at most half a unit in the last place of the type is lost.
func (in *AppendInputs) Check(ctx context.Context, rows int, _ *Path) (Check, error) {
	if in.stored == nil {
		return Check{}, fmt.Errorf("nothing was appended")
	}
	a := in.Append
	e, err := qkv.New(qkv.Config{})
	if err != nil {
		return Check{}, err
	}
	tokens := sampleRows(a.Tokens, rows)
	checks, errs := make([]Check, len(tokens)), make([]error, len(tokens))
	q, out := make([]float32, a.KVHeads*a.Dim), make([]float32, a.KVHeads*a.Dim)
	for i, token := range tokens {
		// Of the values, and of the keys in their place.
		for part, src := range [][]float32{in.V, in.K} {
			call := *in.stored
			if part == 1 {
				call.V, call.VScale = call.K, call.KScale
			}
			call.Q, call.Out = qkv.BHSD(q, 1, a.KVHeads, 1, a.Dim), qkv.BHSD(out, 1, a.KVHeads, 1, a.Dim)
			call.Mask = qkv.Mask{Align: qkv.AlignOffset, Offset: token, Window: qkv.Sliding(0, 0)}
			if err := e.RunContext(ctx, &call); err != nil {
				return Check{}, err
			}
			for h := range a.KVHeads {
				want, got := src[(h*a.Tokens+token)*a.Dim:][:a.Dim], out[h*a.Dim:][:a.Dim]
				for d, x := range want {
					off := math.Abs(float64(got[d]) - float64(x))
					bound := a.lost(want, d)
					c := &checks[i]
					c.MaxError, c.OfBound = max(c.MaxError, off), max(c.OfBound, off/bound)
					if errs[i] == nil && !(off <= bound) {
						errs[i] = fmt.Errorf("%s of token %d, head %d, dim %d is %g, %g was appended: off by %.3g, at most %.3g is rounding",
							[...]string{"v", "k"}[part], token, h, d, got[d], x, off, bound)
					}
				}
			}
		}
	}
	return joinChecks(checks, errs)
}

// lost returns how much of an element of a row rounding to the type of the cache may change.
func (a Append) lost(row []float32, d int) float64 {
	x := math.Abs(float64(row[d]))
	switch a.KV.K {
	case kernel.Float16:
		return 1.01*RoundoffFloat16*x + 0x1p-25
	case kernel.BFloat16:
		return 1.01*RoundoffBFloat16*x + 1e-38
	case kernel.Int8:
		return 0.501*greatest(row)/127 + 1e-30
	case kernel.Q8_0: // and the scale is a float16
		block := row[d/kernel.BlockValues*kernel.BlockValues:][:kernel.BlockValues]
		return (0.51+127*RoundoffFloat16)*greatest(block)/127 + 1e-6
	case kernel.E4M3:
		return 1.01*0x1p-4*x + 0x1p-10
	case kernel.E5M2:
		return 1.01*0x1p-3*x + 0x1p-17
	case kernel.Q4_0: // a number of the other sign that is as large is off by a whole code
		block := row[d/kernel.BlockValues*kernel.BlockValues:][:kernel.BlockValues]
		return (1.01+8*RoundoffFloat16)*greatest(block)/8 + 1e-6
	case kernel.Q4_1:
		block := row[d/kernel.BlockValues*kernel.BlockValues:][:kernel.BlockValues]
		return (0.51+30*RoundoffFloat16)*2*greatest(block)/15 + 1e-6
	}
	return 1e-30
}
