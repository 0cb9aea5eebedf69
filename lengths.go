package qkv

import "github.com/qkv-go/qkv/tile"

// A side is the queries or the keys of the sequences of a call.
type side struct {
	lensName, cuName, view string
	lens, cu               []int
	batch, tokens          int // of the view
}

// lengths checks the lengths of the sequences and where they are, and puts their number and
// the longest into p.
func (c *Call) lengths(p *tile.Problem) error {
	q := side{"lensQ", "cuLensQ", "q", c.LensQ, c.CuLensQ, c.Q.shape[axisBatch], c.Q.shape[axisSeq]}
	k := side{"lensKV", "cuLensKV", "k", c.LensKV, c.CuLensKV, c.K.shape[axisBatch], c.K.shape[axisSeq]}
	if q.cu == nil && k.cu != nil {
		return argError(q.cuName, 0, len(k.cu), "cuLensQ has 0 cumulative lengths, cuLensKV has %d", len(k.cu))
	}
	p.Batch, p.SeqQ, p.TokensQ = q.batch, q.tokens, times(q.batch, q.tokens)
	if q.cu != nil {
		longest, err := q.ragged()
		if err != nil {
			return err
		}
		p.Batch, p.SeqQ, p.TokensQ = len(q.cu)-1, longest, q.tokens
	} else if err := q.padded(p.Batch); err != nil {
		return err
	}
	p.LensQ, p.LensKV, p.CuQ, p.CuKV = c.LensQ, c.LensKV, c.CuLensQ, c.CuLensKV
	if c.Tables != nil {
		return c.tables(p, &k)
	}
	if c.Ring {
		return argError("ring", 1, 0, "ring is set, it needs tables")
	}
	if c.Lost != nil {
		return argError("lost", len(c.Lost), 0, "lost has %d sequences, it needs ring", len(c.Lost))
	}
	if k.cu != nil {
		longest, err := k.ragged()
		if err != nil {
			return err
		}
		if a, b := len(q.cu), len(k.cu); a != b {
			return argError(k.cuName, b, a, "cuLensKV has %d cumulative lengths, cuLensQ has %d", b, a)
		}
		p.SeqKV, p.TokensKV = longest, k.tokens
		return nil
	}
	if k.batch != p.Batch {
		return argError("k", k.batch, p.Batch, "k has batch %d, cuLensQ has %d sequences", k.batch, p.Batch)
	}
	p.SeqKV, p.TokensKV = k.tokens, times(k.batch, k.tokens)
	return k.padded(p.Batch)
}

// padded checks the lengths of sequences that each have a place on the batch axis.
func (s *side) padded(batch int) error {
	if s.lens == nil {
		return nil
	}
	if len(s.lens) != batch {
		return argError(s.lensName, len(s.lens), batch, "%s has %d lengths, the batch has %d sequences", s.lensName, len(s.lens), batch)
	}
	for i, n := range s.lens {
		if n < 0 {
			return argError(s.lensName, n, 0, "%s[%d] is %d, at least 0 is needed", s.lensName, i, n)
		}
		if n > s.tokens {
			return argError(s.lensName, n, s.tokens, "%s[%d] is %d, %s has sequence length %d", s.lensName, i, n, s.view, s.tokens)
		}
	}
	return nil
}

// ragged checks cumulative lengths and returns the longest.
func (s *side) ragged() (longest int, err error) {
	if s.batch != 1 {
		return 0, argError(s.view, s.batch, 1, "%s has batch %d, a ragged batch has 1", s.view, s.batch)
	}
	if s.lens != nil {
		return 0, argError(s.lensName, len(s.lens), 0, "%s has %d lengths, a ragged batch has none beside %s", s.lensName, len(s.lens), s.cuName)
	}
	if len(s.cu) == 0 {
		return 0, argError(s.cuName, 0, 1, "%s has %d cumulative lengths, at least 1 is needed", s.cuName, 0)
	}
	if s.cu[0] < 0 {
		return 0, argError(s.cuName, s.cu[0], 0, "%s[0] is %d, at least 0 is needed", s.cuName, s.cu[0])
	}
	for i, at := range s.cu[1:] {
		if before := s.cu[i]; at < before {
			return 0, argError(s.cuName, at, before, "%s[%d] is %d, less than %d before it", s.cuName, i+1, at, before)
		}
		longest = max(longest, at-s.cu[i])
	}
	if last := s.cu[len(s.cu)-1]; last > s.tokens {
		return 0, argError(s.cuName, last, s.tokens, "%s ends at %d, %s has %d tokens", s.cuName, last, s.view, s.tokens)
	}
	return longest, nil
}

// tables checks the pages of the sequences.
func (c *Call) tables(p *tile.Problem, k *side) error {
	if k.cu != nil {
		return argError(k.cuName, len(k.cu), 0, "cuLensKV has %d cumulative lengths, sequences with tables have lensKV", len(k.cu))
	}
	if n := len(c.Tables); n != p.Batch {
		return argError("tables", n, p.Batch, "tables has %d sequences, q has %d", n, p.Batch)
	}
	if len(c.LensKV) != p.Batch {
		return argError("lensKV", len(c.LensKV), p.Batch, "lensKV has %d lengths, tables has %d sequences", len(c.LensKV), p.Batch)
	}
	if c.Ring && c.Mask.Prefixes != nil {
		return argError("mask", len(c.Mask.Prefixes), 0, "mask has %d prefixes, a ring has one for all sequences", len(c.Mask.Prefixes))
	}
	if n := len(c.Lost); c.Lost != nil && !c.Ring {
		return argError("lost", n, 0, "lost has %d sequences, it needs ring", n)
	} else if c.Lost != nil && n != p.Batch {
		return argError("lost", n, p.Batch, "lost has %d sequences, tables has %d", n, p.Batch)
	}
	first := max(c.Mask.First, c.Mask.Prefix)
	p.SeqKV = 0
	for i, table := range c.Tables {
		n := c.LensKV[i]
		if n < 0 || n > MaxSeq {
			return argError("lensKV", n, MaxSeq, "lensKV[%d] is %d, 0 to %d is supported", i, n, MaxSeq)
		}
		if c.Lost != nil && (c.Lost[i] < 0 || c.Lost[i] > n) {
			return argError("lost", c.Lost[i], n, "lost[%d] is %d, 0 to lensKV[%d] of %d is supported", i, c.Lost[i], i, n)
		}
		p.SeqKV = max(p.SeqKV, n)
		have := mul(len(table), k.tokens)
		if c.Ring && n > have {
			if have <= first {
				return argError("tables", have, first+1, "tables[%d] has pages of %d tokens, a ring with first %d needs more", i, have, first)
			}
			n = have
		}
		if n > have {
			return argError("lensKV", n, have, "lensKV[%d] is %d, tables[%d] has pages of %d tokens", i, n, i, have)
		}
		if n == 0 {
			continue
		}
		for j, page := range table[:(n-1)/k.tokens+1] {
			if page < 0 || int(page) >= k.batch {
				return argError("tables", int(page), k.batch, "tables[%d][%d] is page %d, k has %d", i, j, page, k.batch)
			}
		}
	}
	p.Tables, p.PageTokens, p.Ring, p.Lost = c.Tables, k.tokens, c.Ring, c.Lost
	p.TokensKV = mul(p.Batch, p.SeqKV)
	return nil
}
