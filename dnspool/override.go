package dnspool

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mirrorpool/health"
)

// An Override is what a person has decided about a mirror in a role, whatever the checks say. It ends by itself.
type Override struct {
	Mirror string       `json:"mirror"` // its url_prefix
	Role   health.Role  `json:"role"`   // HTTP or DNS
	Kind   OverrideKind `json:"kind"`
	Reason string       `json:"reason"`
	By     string       `json:"by"` // the person
	Since  time.Time    `json:"since"`
	Until  time.Time    `json:"until"`
	// Anyway says that a drained mirror stays out even where nothing else is left to answer with.
	Anyway bool `json:"anyway"`
	// Watcher is the other server of the group where it was set, or "". It is in force here as long as it is there.
	Watcher string `json:"watcher,omitempty"`
}

// An OverrideKind is what an override does.
type OverrideKind uint8

// The kinds.
const (
	Drain   OverrideKind = iota + 1 // the mirror does not serve
	ForceUp                         // a pardon: the mirror serves as if it were up; not if it is disabled
)

var overrideNames = [...]string{Drain: "drain", ForceUp: "force-up"}

// String returns "drain" or "force-up".
func (k OverrideKind) String() string {
	if k == 0 || int(k) >= len(overrideNames) {
		return fmt.Sprintf("OverrideKind(%d)", uint8(k))
	}
	return overrideNames[k]
}

// MarshalText writes a kind by its name.
func (k OverrideKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *OverrideKind) UnmarshalText(text []byte) error {
	i := slices.Index(overrideNames[:], string(text))
	if i <= 0 {
		return fmt.Errorf("unknown kind of override %q", text)
	}
	*k = OverrideKind(i)
	return nil
}

// String tells the override: what, from when until when, by whom and why.
func (o *Override) String() string {
	what := "drained"
	if o.Kind == ForceUp {
		what = "forced up"
	}
	by := o.By
	if o.Watcher != "" {
		by += " at " + o.Watcher
	}
	return fmt.Sprintf("%s from %s until %s by %s: %s", what, o.Since.UTC().Format("2006-01-02 15:04:05"),
		o.Until.UTC().Format("2006-01-02 15:04:05 MST"), by, o.Reason)
}

// Overrides are those in force, at most one for each mirror and role, sorted by these. The methods change nothing in
// place.
type Overrides []Override

func compareOverrides(a, b Override) int {
	return cmp.Or(cmp.Compare(a.Mirror, b.Mirror), cmp.Compare(a.Role, b.Role))
}

// With returns the overrides with one more, in place of an earlier one of the same mirror and role.
func (list Overrides) With(o Override) Overrides {
	list = slices.Clone(list)
	i, found := slices.BinarySearchFunc(list, o, compareOverrides)
	if found {
		list[i] = o
		return list
	}
	return slices.Insert(list, i, o)
}

// Without returns the overrides but those of a mirror in some roles.
func (list Overrides) Without(mirror string, roles ...health.Role) Overrides {
	return slices.DeleteFunc(slices.Clone(list), func(o Override) bool {
		return o.Mirror == mirror && slices.Contains(roles, o.Role)
	})
}

// Of returns the override of a mirror in a role, or nil.
func (list Overrides) Of(mirror string, role health.Role) *Override {
	i, found := slices.BinarySearchFunc(list, Override{Mirror: mirror, Role: role}, compareOverrides)
	if !found {
		return nil
	}
	return &list[i]
}

// Anyway returns the overrides as if a person had insisted on each.
func (list Overrides) Anyway() Overrides {
	list = slices.Clone(list)
	for i := range list {
		list[i].Anyway = true
	}
	return list
}

// Split returns the overrides that go on at now, and those that have ended.
func (list Overrides) Split(now time.Time) (going, ended Overrides) {
	for _, o := range list {
		if now.Before(o.Until) {
			going = append(going, o)
		} else {
			ended = append(ended, o)
		}
	}
	return going, ended
}

// NextEnd is when the first override ends; zero if there is none.
func (list Overrides) NextEnd() (next time.Time) {
	for _, o := range list {
		if next.IsZero() || o.Until.Before(next) {
			next = o.Until
		}
	}
	return next
}

// drained returns which mirrors drains keep out of a group: all that are drained, or where no other mirror of the group
// has an address, only those that stay out anyway.
func (s *Snapshot) drained(role health.Role, family Family, only int, in *Input) func(*Mirror) bool {
	if len(in.Overrides) == 0 {
		return func(*Mirror) bool { return false }
	}
	others := false
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		if m.Drained(role) == nil && m.serves(role) && (only == 0 || m.URL.Scheme == "https") {
			others = others || slices.ContainsFunc(m.Endpoints, func(e health.Endpoint) bool { return counts(&e, role, family) })
		}
	}
	return func(m *Mirror) bool {
		d := m.Drained(role)
		return d != nil && (others || d.Anyway)
	}
}

// Emptied returns a group that has no mirror to serve, or none that is up, in next, though it has in s. ok is false if
// there is none.
func (s *Snapshot) Emptied(next *Snapshot) (emptied Group, ok bool) {
	after := next.Groups()
	for _, before := range s.Groups() {
		i := slices.IndexFunc(after, func(g Group) bool {
			return g.Role == before.Role && g.Family == before.Family && g.Secure == before.Secure
		})
		if i < 0 || before.UpWeight > 0 && after[i].UpWeight == 0 {
			return before, true
		}
	}
	return emptied, false
}

// Unserved returns clients for whom next has no eligible mirror to redirect them to, though s has: those at no known
// place, or at a place that some mirror serves only, or does not serve. ok is false if there are none.
func (s *Snapshot) Unserved(next *Snapshot) (clients string, ok bool) {
	for _, place := range s.restrictedPlaces() {
		for _, family := range [...]Family{IPv4, IPv6} {
			for _, secure := range [...]bool{false, true} {
				r := Request{Place: place, Family: family, Secure: secure}
				if s.serve(r) && !next.serve(r) {
					return clientsText(&r), true
				}
			}
		}
	}
	return "", false
}

// restrictedPlaces returns the places that mirrors name in serve_only and exclude, and first one that is not known.
func (s *Snapshot) restrictedPlaces() []Place {
	places := []Place{{}}
	for i := range s.Mirrors {
		for _, set := range [...]*placeSet{s.Mirrors[i].serveOnly, s.Mirrors[i].exclude} {
			if set == nil {
				continue
			}
			for _, code := range set.countries {
				places = append(places, Place{Country: code})
			}
			for _, code := range set.continents {
				places = append(places, Place{Continent: code})
			}
			for _, asn := range set.asns {
				places = append(places, Place{ASN: asn})
			}
		}
	}
	slices.SortStableFunc(places, func(a, b Place) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(places)
}

// serve reports whether an eligible mirror may serve a request.
func (s *Snapshot) serve(r Request) bool {
	var c Choice
	s.Choose(&c, &r)
	return c.Busy || c.Picked != nil && s.Reason(&c, &r) != LastResort
}

// clientsText names the clients of a request.
func clientsText(r *Request) string {
	text := "clients"
	switch {
	case r.Place.Country != Code{}:
		text += " in " + r.Place.Country.String()
	case r.Place.Continent != Code{}:
		text += " on the continent " + r.Place.Continent.String()
	case r.Place.ASN != 0:
		text += fmt.Sprintf(" in AS%d", r.Place.ASN)
	}
	if r.Secure {
		text += " that ask over https"
	}
	return text + " over " + map[Family]string{IPv4: "IPv4", IPv6: "IPv6"}[r.Family]
}

// Drained returns the drain of m in a role, or nil.
func (m *Mirror) Drained(role health.Role) *Override { return m.overriddenBy(Drain, role) }

// ForcedUp returns by what m counts as up in a role, or nil.
func (m *Mirror) ForcedUp(role health.Role) *Override { return m.overriddenBy(ForceUp, role) }

func (m *Mirror) overriddenBy(kind OverrideKind, role health.Role) *Override {
	if o := m.Overrides[role]; o != nil && o.Kind == kind {
		return o
	}
	return nil
}
