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

// Resume returns k, as it is read at a start, with the old key of a rollover staying for longer where it was to sign no
// more or to be removed since the parent was seen last: the server was down then. Secondaries had what the old key has
// signed until now, and so may caches; and the parent may have lost the new key's DS record. The same goes for the new
// key of a rollover that was given up.
func (k *Keys) Resume(seen *Seen, zoneTTL time.Duration, now time.Time) *Keys {
	if k == nil || k.leader != "" || seen.Latest.IsZero() {
		return k
	}
	since := seen.Latest // or up to an hour before that, which does no harm
	next, old := k.rolling(since)
	if next == nil {
		return k
	}
	a := *old
	if next.aborted() {
		a = *next
	}
	t := &a.Times
	missed := func(at time.Time) bool { return at.After(since) && passed(at, now) }
	if t.Delete.IsZero() || passed(t.Delete, since) || !missed(t.Delete) && !missed(t.Inactive) {
		return k
	}
	later := latest(t.Delete, now.Add(cachedFor(zoneTTL))).Sub(t.Delete)
	if later == 0 {
		return k
	}
	if t.Inactive.After(t.Delete) { // of another algorithm
		t.Inactive = t.Inactive.Add(later)
	}
	t.Delete = t.Delete.Add(later)
	a.Times = a.Times.whole()
	return k.with(&a)
}
