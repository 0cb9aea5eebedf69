package tile

// A Tuning is choices that a machine was measured to be fastest with, in place of those that
// are made from the sizes of its caches. It changes no result.
type Tuning struct {
	// Near says that the CPU overlaps memory and arithmetic best where keys, values and weights of one row are asked for in one
	// ascending stream a few KiB ahead, into the first-level cache: not in several pages in turns, into the second-level
	// cache.
	Near bool

	// Apart says that the translations of rows with a page of memory each cost the CPU little beside products. Such rows of
	// queries and outputs are then asked for ahead, as others are, and such keys of many dims are read where they are. Of
	// keys and values in small pages all rows of a block are asked for.
	Apart bool

	// Turns says that the CPU makes weights of 16 and of 8 bits float32 beside products at little cost. More rows are then multiplied by
	// strips in turns, each of which does it again.
	Turns bool

	// Rules are tried in order: the first counts whose MaxDim is at least the head dims.
	Rules []Rule
}

// A Rule is the choices for head dims up to MaxDim. A field that is 0 leaves a choice as it is.
type Rule struct {
	MaxDim    int
	Lanes     int // of a full lane group: a multiple of the Set's Vec, at most its Lanes
	QueryRows int // of a query block, at least a lane group

	// DecodeRows is the most query rows of a KV head that are decoded, instead of going the way
	// of prefill; less than 0 for none.
	DecodeRows int
}

// rule returns the choices for a problem, none of which is made if no rule fits.
func (e *Engine) rule(p *Problem) Rule {
	for _, r := range e.tuning.Rules {
		if max(p.DimQK, p.DimV) <= r.MaxDim {
			return r
		}
	}
	return Rule{}
}

// mostDecoded returns the most query rows of a KV head that are decoded.
func (e *Engine) mostDecoded(p *Problem) int {
	most := min(e.set.DecodeRows, e.decodeRows())
	if n := e.rule(p).DecodeRows; n != 0 {
		most = min(most, n)
	}
	return most
}

const asTuned = "as tuned"
