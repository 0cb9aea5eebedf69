package tile

// A Mask says which keys a query attends.
type Mask struct {
	// Causal: the query at position i attends the keys j <= i+Offset. Offset is
	// between -SeqQ and SeqKV.
	Causal bool
	Offset int
}

// keys returns how many keys, from the first on, the query at position pos attends.
func (m Mask) keys(pos, seqKV int) int {
	if !m.Causal {
		return seqKV
	}
	return clamp(pos+m.Offset+1, 0, seqKV)
}

// fill writes the mask words of the keys from key on, a bit a lane, for the lane
// group whose lane 0 is row row and whose group rows share a position.
func (m Mask) fill(words []uint64, key, row, group int) {
	for i := range words {
		// Rows from (key-Offset)*group on attend the key.
		lane := max(0, (key+i-m.Offset)*group-row)
		words[i] = ^uint64(0) << lane
	}
}
