package tile

import "github.com/qkv-go/qkv/kernel"

// queryRows are query rows of a sequence, one behind the other. Row r of a KV head is position
// r / headsPerKV of query head r % headsPerKV of those that share it, and behind its last row come
// those of the next KV head. With 2 query heads a KV head and 3 queries:
//
//	row       0 1 2 3 4 5 | 6 7 ...
//	KV head   0 0 0 0 0 0 | 1 1
//	position  0 0 1 1 2 2 | 0 0
//	head      0 1 0 1 0 1 | 2 3
type queryRows struct {
	head, row  int // of the first one: KV head, and row of that
	rows       int
	lanes      int // rows rounded up to the Set's granularity
	headsPerKV int
	rowsPerKV  int
	segments   runSpan // if the mask has segments
}

// open makes r so many rows from a row of a KV head on.
func (r *queryRows) open(at *cursor, head, row, rows int) {
	r.head, r.row, r.rows, r.lanes = head, row, rows, roundUp(rows, at.engine.set.Vec)
	r.headsPerKV, r.rowsPerKV = at.headsPerKV, at.headsPerKV*at.seq.lenQ
	if at.problem.Mask.SegmentsQ != nil {
		first, last := r.positions(0, rows)
		r.segments = spanOf(at.problem.segmentsQ(&at.seq, first, last+1))
	}
}

// all is a mask word of all rows.
func (r *queryRows) all() uint64 { return ^uint64(0) >> (kernel.MaxLanes - r.rows) }

// positions returns the first and the last position of the lanes [from, to) of one KV head.
func (r *queryRows) positions(from, to int) (first, last int) {
	return (r.row + from) / r.headsPerKV, (r.row + min(to, r.rows) - 1) / r.headsPerKV
}

// within reports whether all rows are of one KV head.
func (r *queryRows) within() bool { return r.row+r.rows <= r.rowsPerKV }

// firstHead returns the first query head of the KV head of the first row.
func (r *queryRows) firstHead() int { return r.head * r.headsPerKV }

// of returns the query head and the position of the row in a lane.
func (r *queryRows) of(lane int) (head, pos int) {
	row := r.row + lane
	return (r.head+row/r.rowsPerKV)*r.headsPerKV + row%r.headsPerKV, row % r.rowsPerKV / r.headsPerKV
}

// offsets sets the offset of each row from position 0 of firstHead, where heads and positions are so
// far apart.
func (r *queryRows) offsets(off *[kernel.MaxLanes]int, head, pos int) {
	first, h := r.row/r.headsPerKV, r.row%r.headsPerKV
	at, kvHead := first*pos+h*head, r.headsPerKV*head
	left := r.rowsPerKV - r.row // of the KV head
	for l := range off[:r.rows] {
		if left == 0 { // the next KV head
			left = r.rowsPerKV
			at += kvHead - r.rowsPerKV/r.headsPerKV*pos
		}
		left--
		off[l] = at
		at += head
		if h++; h == r.headsPerKV { // the next position
			h = 0
			at += pos - kvHead
		}
	}
}
