package config

import (
	"math"
	"net/netip"
	"net/url"
	"strings"
)

// MaxWeight is the largest weight of a mirror.
const MaxWeight = math.MaxInt32

// A Pool is a checked mirrors.json: the mirrors that a project offers, in the order of the file.
// It is not changed once loaded.
type Pool struct {
	Mirrors []Mirror
}

// A Mirror is one entry of mirrors.json.
type Mirror struct {
	// URLPrefix identifies the mirror: an http or https URL, normalised to a lower-case scheme and
	// host, no default port, and exactly one final slash. It has no user, query or fragment.
	URLPrefix string
	// URL is URLPrefix, parsed, with the host in ASCII. It must not be changed.
	URL *url.URL
	// RsyncURL is an rsync:// URL of a module or a folder in one, normalised as URLPrefix is, or empty.
	RsyncURL string
	// Weight is the mirror's chance of being picked, relative to the other mirrors' weights, from 0
	// to MaxWeight. 0 disables the mirror: it is probed and shown, but never served.
	Weight uint32
	// Email and Notes are for people: the administrator sees them, the public never does.
	Email, Notes string
	// Name is the lower-case DNS label at which the mirror's own addresses are published, or empty.
	Name string
	// DNS is the mirror's part in the DNS pool.
	DNS MirrorDNS
	// Location overrides what the geographical database knows of the mirror's addresses. Fields
	// that the file does not give are zero.
	Location Location
	// ServeOnly restricts the HTTP clients whom the mirror serves, where it is not empty; Exclude
	// names clients whom it does not serve.
	ServeOnly, Exclude Places
}

// MirrorDNS is a mirror's part in the DNS pool.
type MirrorDNS struct {
	// Off keeps the mirror out of the DNS pool ("dns": false). It may still be redirected to.
	Off bool
	// Weight is the mirror's weight in the DNS pool: Mirror.Weight unless the file overrides it.
	// It is 0 where Mirror.Weight is 0, because a disabled mirror is never served, and where Off is
	// true. See [Mirror.InDNSPool].
	Weight uint32
	// Addresses are the mirror's addresses. If there are none, the host of URLPrefix is resolved.
	Addresses []netip.Addr
}

// A Location is where a mirror is.
type Location struct {
	Country   string // ISO 3166-1 alpha-2 in upper case, such as DE, or empty
	Continent string // AF, AN, AS, EU, NA, OC or SA, or empty
	// Latitude and Longitude are degrees, north and east positive, if HasPosition is true.
	Latitude, Longitude float64
	HasPosition         bool
	ASN                 uint32 // autonomous system number, 0 if not given
}

// Places is a set of places, by country, continent or network. A client is in it if it is in any.
type Places struct {
	Countries  []string // ISO 3166-1 alpha-2 in upper case
	Continents []string // as in Location
	ASNs       []uint32
}

// Empty reports whether p names no place.
func (p Places) Empty() bool {
	return len(p.Countries) == 0 && len(p.Continents) == 0 && len(p.ASNs) == 0
}

// Enabled reports whether the mirror may be served at all.
func (m *Mirror) Enabled() bool { return m.Weight > 0 }

// InDNSPool reports whether the mirror may be in the answers at the pool's name.
func (m *Mirror) InDNSPool() bool { return m.Enabled() && !m.DNS.Off && m.DNS.Weight > 0 }

// IsCalled reports whether a person may mean the mirror by a name: its url_prefix, with the final slash or without, its
// name, or its host, with the port or without.
func (m *Mirror) IsCalled(name string) bool {
	return name != "" && (m.URLPrefix == name || m.URLPrefix == name+"/" || strings.EqualFold(m.Name, name) ||
		m.URL != nil && (strings.EqualFold(m.URL.Host, name) || strings.EqualFold(m.URL.Hostname(), name)))
}

// EnabledWeight is the weight of all mirrors together.
func (p *Pool) EnabledWeight() uint64 {
	var sum uint64
	for i := range p.Mirrors {
		sum += uint64(p.Mirrors[i].Weight)
	}
	return sum
}

// EnabledMirrors is the number of mirrors with a weight above 0.
func (p *Pool) EnabledMirrors() int {
	n := 0
	for i := range p.Mirrors {
		if p.Mirrors[i].Enabled() {
			n++
		}
	}
	return n
}
