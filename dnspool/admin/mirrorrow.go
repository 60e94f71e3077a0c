package admin

import (
	"cmp"
	"fmt"
	"iter"
	"strings"
	"time"

	"mirrorpool/health"
)

// A pool of more than maxOpenPool mirrors shows only the first maxOpenRows rows, and folds the others away, which keeps
// the page short however large the pool is.
const (
	maxOpenPool = 40
	maxOpenRows = 12
)

// A pageSection holds the mirrors in one condition.
type pageSection struct {
	Class, Name  string
	Count        int
	Rows, Folded pageRows
}

// pageRows are the rows of some mirrors in one condition. They are made one by one, as the page is written.
type pageRows struct {
	mirrors   []*MirrorStatus
	condition condition
	copies    *Verification
	now       time.Time
}

// Len is how many there are.
func (r pageRows) Len() int { return len(r.mirrors) }

// All yields them.
func (r pageRows) All() iter.Seq[pageRow] {
	return func(yield func(pageRow) bool) {
		for _, m := range r.mirrors {
			row := newPageRow(m, r.condition, r.now)
			row.Copies = r.copies.Text(m.URLPrefix)
			if !yield(row) {
				return
			}
		}
	}
}

// A pageRow is a mirror: a line, and what unfolds below it.
type pageRow struct {
	Class, State, URL, Short, Name, Country, Weight, Serves, Reason string
	Strip                                                           pageStrip

	Email, Notes, Trace, Cert string
	Ledger, Copies            string
	Overrides                 []string
	CertBad                   bool
	Endpoints                 []pageEndpoint
	Shares                    []string
	Strips                    []pageStrip
}

type pageEndpoint struct{ Class, State, Role, Address, Since, Note string }

// newSections sorts the mirrors that a filter shows by condition, those first that need attention. What the filter
// names is shown in full.
func newSections(s *Status, filter stateFilter, now time.Time) (sections []pageSection) {
	room := len(s.Mirrors)
	if filter == nil && room > maxOpenPool {
		room = maxOpenRows
	}
	for _, c := range conditions {
		if !filter.shows(c) {
			continue
		}
		var mirrors []*MirrorStatus
		for i := range s.Mirrors {
			if m := &s.Mirrors[i]; conditionOf(m) == c {
				mirrors = append(mirrors, m)
			}
		}
		if len(mirrors) > 0 {
			open := min(room, len(mirrors))
			room -= open
			sections = append(sections, pageSection{c.class(), c.name(), len(mirrors),
				pageRows{mirrors[:open], c, &s.Verification, now}, pageRows{mirrors[open:], c, &s.Verification, now}})
		}
	}
	return sections
}

func newPageRow(m *MirrorStatus, c condition, now time.Time) pageRow {
	r := pageRow{
		Class: c.class(), State: c.name(), URL: m.URLPrefix, Short: strings.TrimPrefix(m.URLPrefix, "https://"), Name: m.Name,
		Email: m.Email, Notes: m.Notes,
	}
	if m.Place != nil {
		r.Country = m.Place.Country.String()
	}
	if c != isDisabled {
		r.Weight = weightText(m)
		r.Serves = cmp.Or(strings.Join(m.Eligible, ", "), "no clients")
		r.Reason = rowReason(m, c)
		if texts := m.OverrideTexts(); len(texts) > 0 {
			r.Reason, r.Overrides = strings.Join(texts, "; "), texts
		}
		r.Shares = shareTexts(m.Shares)
	}
	for _, role := range [...]health.Role{health.DNS, health.HTTP, health.Rsync} {
		for i := range m.Endpoints {
			if e := &m.Endpoints[i]; e.Role == role {
				r.Endpoints = append(r.Endpoints, newPageEndpoint(e, now))
			}
		}
	}
	if t := oldestTrace(m.Endpoints); t != nil {
		r.Trace = Old(*t, now)
	}
	if days, ok := certDays(m.Endpoints, now); ok {
		r.Cert, r.CertBad = certText(days), days < health.CertWarnDays
	}
	if m.Ledger != nil && c != isDisabled {
		r.Ledger = m.Ledger.Text(now)
	}
	r.addStrips(m.History)
	return r
}

func weightText(m *MirrorStatus) string {
	if m.DNSWeight == m.Weight {
		return fmt.Sprintf("weight %d", m.Weight)
	}
	return fmt.Sprintf("weight %d (DNS %d)", m.Weight, m.DNSWeight)
}

// addStrips adds the history. The role that did worse is drawn in the row, and the other one below where it differs.
func (r *pageRow) addStrips(h *HistoryStatus) {
	if h == nil {
		return
	}
	r.Strips = []pageStrip{newPageStrip("DNS", h.DNS, h.DNSSeconds), newPageStrip("redirects", h.HTTP, h.HTTPSeconds)}
	dns, redirects := &r.Strips[0], &r.Strips[1]
	worse, other := redirects, dns
	if h.DNSSeconds.bad() > h.HTTPSeconds.bad() {
		worse, other = dns, redirects
	}
	r.Strip = *worse
	worse.Bars = ""
	if h.HTTP == h.DNS {
		other.Bars = ""
	}
}

func newPageEndpoint(e *EndpointStatus, now time.Time) pageEndpoint {
	p := pageEndpoint{
		Class: stateConditions[e.State].class(), State: e.State.String(), Role: e.Role.String(),
		Address: "no address", Note: e.Note(),
	}
	if e.Address.IsValid() {
		p.Address = e.Address.String()
	}
	if e.Since != nil {
		p.Since = "for " + Age(now.Sub(*e.Since))
	}
	return p
}

func oldestTrace(endpoints []EndpointStatus) (oldest *time.Time) {
	for i := range endpoints {
		if t := endpoints[i].Trace; t != nil && (oldest == nil || t.Before(*oldest)) {
			oldest = t
		}
	}
	return oldest
}

// rowReason is why a mirror is in a condition, or what it is warned of. Which of its addresses it was unfolds below.
func rowReason(m *MirrorStatus, c condition) string {
	warning := ""
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		warning = cmp.Or(warning, e.Warning)
		switch {
		case e.Reason == "":
		case stateConditions[e.State] == c && c != isUp:
			return e.Reason
		case c == isPartly && e.State != health.Up:
			return e.Role.String() + ": " + e.Reason
		}
	}
	if len(m.Endpoints) == 0 {
		return cmp.Or(m.Reason, "no address is known")
	}
	return cmp.Or(m.Reason, warning)
}

// shareTexts tell a mirror's shares. Only redirects are counted one by one, so only there is a share observed.
func shareTexts(shares []ShareStatus) (texts []string) {
	for _, s := range shares {
		if s.Role == health.DNS {
			family := map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}[s.Family]
			texts = append(texts, fmt.Sprintf("DNS %s %s", family, percent(s.Expected)))
		} else {
			texts = append(texts, fmt.Sprintf("redirects %s by weight, %s observed", percent(s.Expected), percent(s.Observed)))
		}
	}
	return texts
}
