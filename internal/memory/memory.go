// Package memory tells how much memory there is for this process.
package memory

import "sync"

// Limit returns the bytes that this process can have at most, as far as that is known: the memory
// of the machine, or of the control group, and swap. It returns 0 if it is not.
var Limit = sync.OnceValue(limit)

// worthTrying is the least size for which the operating system is asked.
const worthTrying = 64 << 20

// Has reports whether a block of n bytes may be had now. Go ends the process where one cannot, and
// the operating system where more is written than there is. It cannot know what others will take.
func Has(n int64) bool {
	if n < worthTrying {
		return true
	}
	if most := Limit(); most != 0 && n > most {
		return false
	}
	return try(n)
}
