package dnssec

import (
	"fmt"
	"time"
)

// endsSoon is how long before the keys' end it is trouble: to sign more where a key is kept offline takes days.
const endsSoon = 3 * 24 * time.Hour

// End returns when the zone cannot be signed any more, as the times of keys and the periods for which sets were signed
// ahead have it, and why; zero if that is not planned, or is so already.
func (k *Keys) End(now time.Time) (end time.Time, why error) {
	if !k.usableAt(now) {
		return time.Time{}, nil
	}
	for at := k.nextChange(now); !at.IsZero(); at = k.nextChange(at) {
		if err := k.checkAt(at, now); err != nil {
			return at, err
		}
	}
	return time.Time{}, nil
}

// checkAt returns an error if the zone cannot be signed at a later time with all that it is signed with now.
func (k *Keys) checkAt(later, now time.Time) error {
	r, err := k.at(later)
	if err == nil {
		err = r.checkAhead(k)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the zone cannot be signed: %w", err)
	case !k.hasAhead(later, now):
		return fmt.Errorf("the CDS or CDNSKEY records that the key %d has signed end, and no others follow; sign some where its private "+
			"part is, put the file beside the others and reload", k.offline().Tag)
	}
	return nil
}

// nextChange returns the first time after now at which a key does something else, or a period begins or ends for which
// sets were signed ahead; zero if there is none.
func (k *Keys) nextChange(now time.Time) time.Time {
	next := k.NextPeriod(now)
	for _, key := range k.All {
		times := key.Times
		for _, f := range times.fields() {
			if f.at.After(now) {
				next = first(next, *f.at)
			}
		}
	}
	return next
}

// EndsSoon says that the keys' end is near, or is "".
func (k *Keys) EndsSoon(now time.Time) string {
	end, why := k.End(now)
	if why == nil || end.Sub(now) > endsSoon {
		return ""
	}
	return fmt.Sprintf("from %s on, %v", end.UTC().Format(time.RFC3339), why)
}
