package qkv

// TakePairs is that of package tile.
func (e *Engine) TakePairs(pairs bool) { e.engine.TakePairs(pairs) }

// Copies returns how many values of queries s has room for that it multiplies in copies.
func (s *Step) Copies() int { return cap(s.turning.copies) }
