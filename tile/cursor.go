package tile

// A cursor is where a worker is in a job: at a block of the keys of a KV head of a sequence, and on
// its way through them.
type cursor struct {
	*job
	seq  seq
	head int // KV head; if rows of several go together, the first
	walk
}

// open has the cursor begin in a job.
func (at *cursor) open(j *job) {
	at.job, at.seq.index = j, -1
}

// moveTo goes to a KV head of the i-th sequence, before its keys.
func (at *cursor) moveTo(i, head int) {
	if at.seq.index != i {
		at.seq = at.problem.seq(i)
	}
	at.head = head
}

// release drops the references to the caller's memory.
func (at *cursor) release() { at.job, at.seq.table = nil, nil }
