package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Change is what one pool has that another has not. A mirror is identified by its url_prefix: one
// whose url_prefix changes counts as removed, and another one as added. Lists are in the order of the file: that
// of the new pool, or of the old one for what was removed.
type Change struct {
	Added     []string        `json:"added"` // by url_prefix, as all below
	Removed   []string        `json:"removed"`
	Weights   []WeightChange  `json:"weights"`
	Addresses []AddressChange `json:"addresses"` // explicit ones; those of DNS are not in the file
	Other     []OtherChange   `json:"other"`
	Reordered bool            `json:"reordered"` // the mirrors that both have stand in another order
}

// A WeightChange is a mirror with another weight. To 0 disables it.
type WeightChange struct {
	URLPrefix string `json:"url_prefix"`
	From      uint32 `json:"from"`
	To        uint32 `json:"to"`
}

// An AddressChange is a mirror with other explicit addresses. None means that its host is looked up.
type AddressChange struct {
	URLPrefix string       `json:"url_prefix"`
	From      []netip.Addr `json:"from"`
	To        []netip.Addr `json:"to"`
}

// An OtherChange names what else is different in a mirror.
type OtherChange struct {
	URLPrefix string   `json:"url_prefix"`
	Keys      []string `json:"keys"` // of the file
}

// Compare returns what makes next of old. It is a pure function, and the lists in it are never nil.
func Compare(old, next *Pool) Change {
	c := Change{Added: []string{}, Removed: []string{}, Weights: []WeightChange{}, Addresses: []AddressChange{},
		Other: []OtherChange{}}
	before := make(map[string]int, len(old.Mirrors))
	for i := range old.Mirrors {
		before[old.Mirrors[i].URLPrefix] = i
	}
	last := -1
	for i := range next.Mirrors {
		m := &next.Mirrors[i]
		at, ok := before[m.URLPrefix]
		if !ok {
			c.Added = append(c.Added, m.URLPrefix)
			continue
		}
		delete(before, m.URLPrefix)
		c.Reordered = c.Reordered || at < last
		last = max(last, at)
		c.compare(&old.Mirrors[at], m)
	}
	for i := range old.Mirrors {
		if _, gone := before[old.Mirrors[i].URLPrefix]; gone {
			c.Removed = append(c.Removed, old.Mirrors[i].URLPrefix)
		}
	}
	return c
}

func (c *Change) compare(old, next *Mirror) {
	prefix := next.URLPrefix
	if old.Weight != next.Weight {
		c.Weights = append(c.Weights, WeightChange{prefix, old.Weight, next.Weight})
	}
	if !slices.Equal(old.DNS.Addresses, next.DNS.Addresses) {
		c.Addresses = append(c.Addresses, AddressChange{prefix, orNone(old.DNS.Addresses), orNone(next.DNS.Addresses)})
	}
	keys := slices.DeleteFunc(changedKeys(old, next), func(key string) bool { return key == "weight" || key == "dns.addresses" })
	if len(keys) > 0 {
		c.Other = append(c.Other, OtherChange{prefix, keys})
	}
}

// orNone makes an empty list of nil, for JSON's sake.
func orNone(addrs []netip.Addr) []netip.Addr {
	if addrs == nil {
		return []netip.Addr{}
	}
	return addrs
}

// changedKeys names what is different in two mirrors of the same url_prefix.
func changedKeys(a, b *Mirror) []string {
	var keys []string
	for _, key := range [...]struct {
		name string
		same bool
	}{
		{"weight", a.Weight == b.Weight},
		{"rsync_url", a.RsyncURL == b.RsyncURL},
		{"email", a.Email == b.Email},
		{"notes", a.Notes == b.Notes},
		{"name", a.Name == b.Name},
		{"dns", a.DNS.Off == b.DNS.Off},
		{"dns.weight", !a.Enabled() || !b.Enabled() || a.dnsWeight() == b.dnsWeight()},
		{"dns.addresses", slices.Equal(a.DNS.Addresses, b.DNS.Addresses)},
		{"location", a.Location == b.Location},
		{"serve_only", a.ServeOnly.same(b.ServeOnly)},
		{"exclude", a.Exclude.same(b.Exclude)},
	} {
		if !key.same {
			keys = append(keys, key.name)
		}
	}
	return keys
}

// dnsWeight is the mirror's weight in the DNS pool if it differs from its weight, and else -1, so that a
// change of weight is reported once.
func (m *Mirror) dnsWeight() int64 {
	if m.DNS.Off || m.DNS.Weight == m.Weight {
		return -1
	}
	return int64(m.DNS.Weight)
}

func (p Places) same(q Places) bool {
	return slices.Equal(p.Countries, q.Countries) && slices.Equal(p.Continents, q.Continents) && slices.Equal(p.ASNs, q.ASNs)
}

// Empty reports whether nothing has changed.
func (c *Change) Empty() bool {
	return len(c.Added)+len(c.Removed)+len(c.Weights)+len(c.Addresses)+len(c.Other) == 0 && !c.Reordered
}

// Lines describes the change for people, one line for each mirror and kind of change.
func (c *Change) Lines() []string {
	var lines []string
	for _, prefix := range c.Added {
		lines = append(lines, "added     "+prefix)
	}
	for _, prefix := range c.Removed {
		lines = append(lines, "removed   "+prefix)
	}
	for _, w := range c.Weights {
		note := ""
		switch {
		case w.To == 0:
			note = " (disabled)"
		case w.From == 0:
			note = " (enabled)"
		}
		lines = append(lines, fmt.Sprintf("weight    %s %d -> %d%s", w.URLPrefix, w.From, w.To, note))
	}
	for _, a := range c.Addresses {
		lines = append(lines, fmt.Sprintf("addresses %s %s -> %s", a.URLPrefix, listed(a.From), listed(a.To)))
	}
	for _, o := range c.Other {
		lines = append(lines, fmt.Sprintf("changed   %s %s", o.URLPrefix, listed(o.Keys)))
	}
	if c.Reordered {
		lines = append(lines, "order     of the mirrors")
	}
	return lines
}

// listed writes a list with commas; an empty list of addresses means those of DNS.
func listed[T any](list []T) string {
	if len(list) == 0 {
		return "(looked up)"
	}
	s := fmt.Sprint(list[0])
	for _, v := range list[1:] {
		s += fmt.Sprint(", ", v)
	}
	return s
}
