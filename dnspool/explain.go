package dnspool

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

// An Explanation says which mirror serves a request, and why no other does.
type Explanation struct {
	Place Place `json:"place"` // of the client
	// Geo says whether places count: they do if the operator wants it and the client's is known.
	Geo    bool   `json:"geo"`
	Family string `json:"family"` // "ipv4" or "ipv6"
	// OtherFamily says that no mirror may serve the client over its family, so that those of the other one do.
	OtherFamily bool        `json:"other_family"`
	Secure      bool        `json:"secure"`
	Mirrors     []Explained `json:"mirrors"` // of the pool, best first
}

// An Explained is what a mirror is to a request. See the package's comment for the units, and how one comes from
// another.
type Explained struct {
	Mirror    *Mirror `json:"-"`
	URLPrefix string  `json:"url_prefix"`
	Name      string  `json:"name"`
	Country   Code    `json:"country"`
	Weight    uint32  `json:"weight"`
	// Derated is how much of the weight counts: less than 1 where its checks fail or hesitate now and then.
	Derated float64 `json:"derated"`
	// State is that of its addresses of the family.
	State health.State `json:"state"`
	// Order is 1 for the mirror that is picked, 2 for the next, and so on; 0 for one that cannot serve the request.
	Order    int     `json:"order"`
	Distance float64 `json:"distance_km"` // -1 if places do not count; a stand-in if it is not known
	Border   float64 `json:"border_km"`
	Far      float64 `json:"far_km"`
	Nearness float64 `json:"nearness"`
	Points   float64 `json:"points"`
	Share    float64 `json:"share"`  // of the clients at this place
	Capped   bool    `json:"capped"` // max_share limits its share, and it gets no clients of unverified mirrors
	Why      string  `json:"why"`
}

// Explain explains the choice that Choose makes for the same request.
func (s *Snapshot) Explain(r *Request) Explanation {
	var c Choice
	c.choose(s, r)
	slices.SortFunc(c.scores, func(a, b score) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.id, b.id)) })
	e := Explanation{
		Place: r.Place, Family: r.Family.String(), Secure: r.Secure,
		Geo:     s.policy.Geo && r.Place.Known(),
		Mirrors: make([]Explained, 0, len(s.Mirrors)),
	}
	family := r.Family
	if c.group == &s.http[1-r.Family][r.only()] {
		family, e.OtherFamily = 1-r.Family, true
	}
	ordered := make(map[*Mirror]bool, len(c.scores))
	for i := range c.scores {
		e.Mirrors = append(e.Mirrors, c.explain(i, &e, s.policy.Near))
		ordered[c.scores[i].mirror] = true
	}
	for i := range s.Mirrors {
		if m := &s.Mirrors[i]; !ordered[m] {
			x := explained(m, m.webState(family))
			x.Why = m.whyNot(family, r)
			e.Mirrors = append(e.Mirrors, x)
		}
	}
	if c.Busy {
		e.refuse(c.group.Load)
	}
	return e
}

// refuse says that the request is refused to protect the few mirrors that are up.
func (e *Explanation) refuse(load float64) {
	for i := range e.Mirrors {
		if m := &e.Mirrors[i]; m.Order > 0 {
			m.Order = 0
			m.Why = fmt.Sprintf("too few mirrors are up: only %.0f %% of requests are redirected now (max_load); this one is not", 100*load)
		}
	}
}

func explained(m *Mirror, state health.State) Explained {
	return Explained{
		Derated: 1, Mirror: m, URLPrefix: m.URLPrefix, Name: m.Name, Country: m.Place.Country, Weight: m.Weight, State: state, Distance: -1,
	}
}

// explain explains the one that is i-th.
func (c *Choice) explain(i int, e *Explanation, near float64) Explained {
	s := &c.scores[i]
	x := explained(s.mirror, s.rank.state())
	x.Order, x.Nearness, x.Points, x.Share, x.Capped = i+1, s.nearness, s.points, c.of(s), s.capped && c.scale == 1
	if e.Geo {
		from := newClient(&e.Place)
		x.Distance, x.Border = from.far(s.entry)
		x.Far = s.far
	}
	switch {
	case i == 0:
		x.Why = "picked"
	case s.points > 0:
		x.Why = "not drawn this time"
	default:
		x.Why = fmt.Sprintf("too far: in another country, over %g times as far as the nearest, borders counted, and %d others compete",
			near, c.competing())
	}
	if o := s.mirror.Overrides[health.HTTP]; o != nil { // of one that is drained, no other is left
		x.Why += "; " + config.Printable(o.String())
	}
	if x.Derated = s.derated; x.Derated < 1 {
		x.Why += fmt.Sprintf("; its weight counts for %.0f %%, because its checks fail or hang now and then", 100*x.Derated)
	}
	if !s.eligible {
		x.Why += "; it is " + x.State.String() + ", but no other one serves this place"
	}
	return x
}

// competing is how many mirrors have a share.
func (c *Choice) competing() (n int) {
	for i := range c.scores {
		if c.scores[i].points > 0 {
			n++
		}
	}
	return n
}

// webState is the state in which a mirror stands for redirects.
func (m *Mirror) webState(f Family) health.State {
	if c, ok := m.worst(f, time.Time{}); ok {
		return c.rank.state()
	}
	return health.Unknown
}

// whyNot says why a mirror cannot serve a request.
func (m *Mirror) whyNot(f Family, r *Request) string {
	_, ok := m.worst(f, time.Time{})
	switch {
	case !m.Enabled():
		return "disabled"
	case m.Drained(health.HTTP) != nil:
		return config.Printable(m.Drained(health.HTTP).String())
	case r.Secure && m.URL.Scheme != "https":
		return "does not speak https, as the request does"
	case !ok:
		return "has no " + f.String() + " address"
	case m.serveOnly != nil && !r.Place.in(m.serveOnly):
		return "serves other places only (serve_only)"
	case m.exclude != nil && r.Place.in(m.exclude):
		return "does not serve this place (exclude)"
	case !r.carriedBy(uint32(m.Number)) && slices.Contains(r.Corrupt, m.Number):
		return "has a corrupt copy of the file"
	case !(r.carriedBy(uint32(m.Number)) && r.prefers(m)) && isSet(r.Unknown, uint32(m.Number)):
		return "may have the file, but has not said so"
	case !r.carriedBy(uint32(m.Number)):
		return "lacks the file"
	case !r.prefers(m) && m.webState(f) == health.Up:
		return "its copy of the file is not verified yet, as others are"
	default:
		return m.whyUnfit(f)
	}
}

// whyUnfit says why a mirror with addresses of a family is not eligible for redirects.
func (m *Mirror) whyUnfit(f Family) string {
	worst := rankUp
	for i := range m.Endpoints {
		if e := &m.Endpoints[i]; counts(e, health.HTTP, f) {
			worst = max(worst, rankOf(e))
		}
	}
	state := worst.state()
	switch {
	case worst == rankUp && m.RsyncDown():
		return because("its rsync daemon is down", m.Rsync)
	case worst == rankUp:
		return "up, but behind the reference, which enough others carry"
	default:
		for i := range m.Endpoints {
			if e := &m.Endpoints[i]; counts(e, health.HTTP, f) && e.ForSelection() == state {
				return because(state.String(), e)
			}
		}
		return state.String()
	}
}

// because adds the reason of an endpoint's state, if there is one. It comes from outside.
func because(text string, e *health.Endpoint) string {
	if e.Reason == "" {
		return text
	}
	return text + ": " + config.Printable(e.Reason)
}
