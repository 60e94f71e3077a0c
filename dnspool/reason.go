package dnspool

// A Reason is by what a mirror was picked for a redirect.
type Reason uint8

// The reasons. The later ones outrank the earlier.
const (
	ByWeight    Reason = iota // places do not count, or the client's is not known
	ByPlace                   // it is near, and weight decided among the near ones
	OtherFamily               // no mirror may serve the client over its own family
	LastResort                // it is not eligible, but all that are serve other places only
	Reasons                   // how many there are
)

// String returns the reason in lower case, with underscores.
func (r Reason) String() string {
	return [Reasons]string{"weight", "place", "other_family", "last_resort"}[r]
}

// Reason returns by what c, a choice that s has made for r, picked a mirror.
func (s *Snapshot) Reason(c *Choice, r *Request) Reason {
	only := 0
	if r.Secure {
		only = 1
	}
	switch {
	case len(c.best) > 0 && !c.best[0].eligible:
		return LastResort
	case c.group != &s.http[r.Family][only]:
		return OtherFamily
	case s.policy.Geo && r.Place.Known():
		return ByPlace
	default:
		return ByWeight
	}
}
