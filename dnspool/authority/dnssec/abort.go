package dnssec

import (
	"errors"
	"fmt"
	"time"
)

// A rollover can be given up until the parent has a DS record of the new key: then nothing depends on it. A parent that
// was asked for one by CDS may add it later nevertheless, and caches hide it from a resolver meanwhile, so that the new
// key stays for a while after CDS has ceased to ask, and for longer if the DS record comes.

// abortWait is for how long the new key stays at least where the parent was asked for a DS record of it.
const abortWait = 48 * time.Hour

// stays is for how long the new key stays where the parent was asked for a DS record of it.
func (v *View) stays() time.Duration { return max(abortWait, 2*(v.TTL+margin)) }

// Abort returns k with the rollover given up that is under way: the old key signs on, and the new one is removed. v is
// what the parent has now, or nil if that is not known. It returns an error if the parent has a DS record of the new
// key, or if the old key is on its way out because it had one.
func (k *Keys) Abort(v *View, now time.Time) (*Keys, error) {
	if k.leader != "" {
		return nil, k.refuseToLead()
	}
	if !k.auto {
		return nil, errors.New("the configuration names the key files: set their times with dnssec-settime and reload")
	}
	if err := v.checkClock(now); err != nil {
		return nil, err
	}
	next, old := k.rolling(now)
	if next == nil {
		return nil, errors.New("no rollover is under way")
	}
	if v != nil && !v.has(next) && !next.aborted() {
		k = k.takeBack(now, next, old)
		next, old = k.rolling(now)
	}
	asked := passed(next.Times.SyncPublish, now)
	switch {
	case next.aborted():
		return nil, fmt.Errorf("the rollover to the key %d was given up before", next.Tag)
	case v != nil && v.has(next):
		return nil, fmt.Errorf("the parent has a DS record of the new key %d: let the rollover go on, or have the record removed first",
			next.Tag)
	case !old.Times.SyncDelete.IsZero() || old.Record.Algorithm == next.Record.Algorithm && !next.Times.Activate.IsZero():
		return nil, fmt.Errorf("the parent had a DS record of the new key %d, and the key %d is on its way out since: let the rollover go on, "+
			"and begin another one after it", next.Tag, old.Tag)
	case asked && v == nil:
		return nil, fmt.Errorf("whether the parent has a DS record of the new key %d is not known", next.Tag)
	}
	gone := now
	if asked {
		gone = now.Add(v.stays())
	}
	a := *next
	a.Times.SyncDelete = now
	a.remove(gone)
	return k.with(&a), nil
}

// aborted reports whether k is the new key of a rollover that was given up.
func (k *Key) aborted() bool { return !k.Times.SyncDelete.IsZero() }

// remove has a new key be removed at a time. If it was published and signs, it goes on to sign for as long as caches
// have the DNSKEY records with it: validators expect signatures by its algorithm.
func (k *Key) remove(at time.Time) {
	if k.Times.Delete = at; passed(k.Times.Publish, at) {
		k.Times.Inactive = at.Add(KeyTTL*time.Second + margin)
	}
	k.Times = k.Times.whole()
}

// advanceAborted has the new key of a rollover that was given up stay while the parent has a DS record of it.
func (k *Keys) advanceAborted(v *View, next *Key) *Keys {
	left := next.Times.Delete.Sub(v.At)
	if passed(next.Times.Delete, v.At) || !v.has(next) || left >= v.TTL+margin {
		return k
	}
	a := *next
	a.remove(v.At.Add(v.stays()))
	return k.with(&a)
}

// nextOfAborted is what a rollover that was given up waits for.
func nextOfAborted(next *Key, now time.Time, seen *View) string {
	switch at := next.Times.Delete; {
	case seen != nil && seen.has(next):
		return fmt.Sprintf("the parent is to remove the DS record of the key %d, whose rollover was given up", next.Tag)
	case !passed(at, now):
		return fmt.Sprintf("the key %d, whose rollover was given up, is removed at %s", next.Tag, at.UTC().Format(time.RFC3339))
	default:
		return fmt.Sprintf("the key %d, whose rollover was given up, signs no more at %s", next.Tag,
			next.Times.Inactive.UTC().Format(time.RFC3339))
	}
}
