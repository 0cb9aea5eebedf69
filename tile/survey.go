package tile

import "github.com/qkv-go/qkv/kernel"

// A Survey counts what a mask keeps. A score block is that of a lane group and a key block. A bias counts
// as keeping everything.
type Survey struct {
	Pairs       int64 // (query, key) pairs kept, over all heads
	ScoreBlocks int64 // of all queries and keys, padding left out
	Skipped     int64 // nothing of it is kept
	Full        int64 // all of it is
}

// Masked counts the score blocks of which a part is kept.
func (s *Survey) Masked() int64 { return s.ScoreBlocks - s.Skipped - s.Full }

// add adds n times o, saturating.
func (s *Survey) add(o Survey, n int64) {
	for _, x := range [...]struct {
		sum *int64
		y   int64
	}{{&s.Pairs, o.Pairs}, {&s.ScoreBlocks, o.ScoreBlocks}, {&s.Skipped, o.Skipped}, {&s.Full, o.Full}} {
		if n != 0 && x.y > (1<<62-*x.sum)/n {
			*x.sum = 1 << 62
		} else {
			*x.sum += n * x.y
		}
	}
}

// Survey looks at every score block of p, once for heads and sequences that are alike.
func (e *Engine) Survey(p *Problem, s *Schedule) Survey {
	var all Survey
	if s.Items+s.Decode == 0 {
		return all
	}
	j := e.jobs.Get().(*job)
	w := e.workspaces.Get().(*workspace)
	defer func() {
		w.at.release()
		e.workspaces.Put(w)
		j.problem = Problem{}
		e.jobs.Put(j)
	}()
	j.open(p)
	at := &w.at
	at.open(j)

	batch, heads := p.Batch, p.KVHeads
	m := &p.Mask
	if m.Blocks.Stride[1] == 0 && m.Bool.Stride[1] == 0 {
		heads = 1
	}
	if p.alike() && m.SegmentsQ == nil && m.Blocks.Stride[0] == 0 && m.Bool.Stride[0] == 0 {
		batch = 1
	}
	for b := range batch {
		for head := range heads {
			at.moveTo(b, head)
			one := w.survey(at, s.Lanes)
			all.add(one, int64(p.Batch/batch)*int64(p.KVHeads/heads))
		}
	}
	return all
}

// survey looks at the score blocks of a sequence and a KV head.
func (w *workspace) survey(at *cursor, lanes int) Survey {
	var all Survey
	p, s := &at.problem, &at.seq
	rows := at.headsPerKV * s.lenQ
	var r queryRows
	blocks := int64(s.lenKV+kernel.KeyBlock-1) / kernel.KeyBlock
	for row := 0; row < rows && !p.Done.Over(); row += lanes {
		r.open(at, at.head, row, min(lanes, rows-row))
		counted := int64(0)
		for at.walk.open(p, s, row, row+r.rows); !p.Done.Over() && at.next(); {
			w.block.mask.openKeys(at)
			switch c := w.block.mask.cover(at, &r); {
			case c.from == c.to:
			case c.full == at.n && c.from == 0:
				all.Full++
				all.Pairs += int64(at.n) * int64(r.rows)
				counted++
			default:
				all.Pairs += w.block.mask.pairs(&c, &r)
				counted++
			}
		}
		all.ScoreBlocks += blocks
		all.Skipped += blocks - counted
	}
	return all
}
