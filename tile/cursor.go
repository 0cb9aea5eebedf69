package tile

// A cursor is where a worker is in a job: at a block of the keys of a KV head of a sequence, and on
// its way through them.
type cursor struct {
	*job
	seq  seq
	head int // KV head; if rows of several go together, the first
	walk
}

// cursor returns a cursor at a KV head of the i-th sequence, before its keys.
func (j *job) cursor(i, head int) cursor {
	return cursor{job: j, seq: j.problem.seq(i), head: head}
}
