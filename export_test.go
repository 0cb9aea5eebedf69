package qkv

// TakePairs is that of package tile.
func (e *Engine) TakePairs(pairs bool) { e.engine.TakePairs(pairs) }
