package dnssec

import "time"

// A step of a rollover that was planned by what the parent had is put off while that cannot be seen: the registrar may
// have undone the change meanwhile.

// Hold returns k with the steps of a rollover put off that come within the margin, and those after them by as much, as
// the parent cannot be seen. That is long before, so that servers with copies of the files hold them, too.
func (k *Keys) Hold(now time.Time) *Keys {
	next, old := k.rolling(now)
	if k.leader != "" || next == nil {
		return k
	}
	a, b := *next, *old
	var ahead []*time.Time
	var soonest time.Time
	for _, at := range [...]*time.Time{&a.Times.Activate, &a.Times.Inactive, &a.Times.Delete, &b.Times.Inactive, &b.Times.Delete,
		&b.Times.SyncDelete} {
		if at.After(now) {
			ahead, soonest = append(ahead, at), first(soonest, *at)
		}
	}
	if len(ahead) == 0 || soonest.Sub(now) > margin {
		return k
	}
	later := now.Add(2 * margin).Sub(soonest)
	for _, at := range ahead {
		*at = at.Add(later)
	}
	a.Times, b.Times = a.Times.whole(), b.Times.whole()
	return k.with(&a, &b)
}
