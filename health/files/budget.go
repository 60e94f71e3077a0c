package files

import "time"

// A budget bounds how often a host is asked: at most so many times a second, and as often at once (the generic cell
// rate algorithm). The zero value is full.
type budget struct {
	next time.Time // when all questions so far would have been asked, evenly spaced
}

// spend takes one question out of the budget, and reports whether there was one.
func (b *budget) spend(now time.Time, perSecond int) bool {
	next := later(now, b.next).Add(time.Second / time.Duration(perSecond))
	if next.Sub(now) > time.Second {
		return false
	}
	b.next = next
	return true
}
