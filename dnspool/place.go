package dnspool

import (
	"math"
	"net/netip"
	"slices"

	"mirrorpool/config"
)

// A Code names a country (ISO 3166-1 alpha-2, such as DE) or a continent (AF, AN, AS, EU, NA, OC or SA). The zero Code
// is an unknown one.
type Code [2]byte

// ParseCode returns the code that text is, or the zero Code if it is none.
func ParseCode(text string) Code {
	if len(text) != 2 || text[0] < 'A' || text[0] > 'Z' || text[1] < 'A' || text[1] > 'Z' {
		return Code{}
	}
	return Code{text[0], text[1]}
}

// String returns the code, or "" if it is unknown.
func (c Code) String() string {
	if c == (Code{}) {
		return ""
	}
	return string(c[:])
}

// MarshalText returns what String does.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (c *Code) UnmarshalText(text []byte) error {
	*c = ParseCode(string(text))
	return nil
}

func (c Code) order() uint16 { return uint16(c[0])<<8 | uint16(c[1]) }

// maxRadius is the largest accuracy radius, in km, with which a position says more than the country: that is how
// large a middling country is.
const maxRadius = 500

// A Place is where an address is, as far as it is known. The zero Place is nowhere.
type Place struct {
	Country   Code `json:"country"`
	Continent Code `json:"continent"`
	// Latitude and Longitude are degrees, north and east positive, if HasPosition is true.
	Latitude    float64      `json:"latitude"`
	Longitude   float64      `json:"longitude"`
	HasPosition bool         `json:"has_position"`
	Radius      uint16       `json:"accuracy_km"` // within which the position is right, km; 0 if not known
	ASN         uint32       `json:"asn"`         // autonomous system number, 0 if not known
	Network     netip.Prefix `json:"-"`           // all of which is at the place; invalid if it is not of a database
}

// Known reports whether p says where a client is: at least on which continent.
func (p *Place) Known() bool { return p.Country != Code{} || p.Continent != Code{} || p.HasPosition }

// Settle fills in what follows from the rest: the continent from the country, and the country's middle for a
// position that is not known, or not within 500 km.
func (p *Place) Settle() {
	if p.Radius > maxRadius {
		p.HasPosition = false
	}
	c, ok := findCountry(p.Country)
	if ok && p.Continent == (Code{}) {
		p.Continent = c.continent
	}
	switch {
	case p.HasPosition:
	case ok:
		p.Latitude, p.Longitude, p.HasPosition, p.Radius = c.latitude, c.longitude, true, 0
	default:
		p.Latitude, p.Longitude, p.Radius = 0, 0, 0
	}
}

// in reports whether a client at p is in any of a set of places.
func (p *Place) in(set *placeSet) bool {
	return slices.Contains(set.countries, p.Country) || slices.Contains(set.continents, p.Continent) || slices.Contains(set.asns, p.ASN)
}

// A placeSet is config.Places, ready for comparing. Nothing in it is zero, and so it never has what is not known of a
// client.
type placeSet struct {
	countries, continents []Code
	asns                  []uint32
}

func newPlaceSet(p config.Places) *placeSet {
	if p.Empty() {
		return nil
	}
	s := &placeSet{asns: p.ASNs}
	for _, c := range p.Countries {
		s.countries = append(s.countries, ParseCode(c))
	}
	for _, c := range p.Continents {
		s.continents = append(s.continents, ParseCode(c))
	}
	return s
}

// placeOf returns where a mirror is. What its entry says counts before what find knows of its addresses, the
// first of which at a known place speaks for all. find may be nil.
func placeOf(m *Mirror, find func(netip.Addr) Place) Place {
	var p Place
	l := &m.Location
	if complete := l.Country != "" && l.HasPosition && l.ASN != 0; find != nil && !complete {
		for _, addr := range m.Addresses() {
			if p = find(addr); p.Known() || p.ASN != 0 {
				break
			}
		}
	}
	p.Network = netip.Prefix{}
	country, continent := ParseCode(l.Country), ParseCode(l.Continent)
	if country != (Code{}) && country != p.Country || continent != (Code{}) && continent != p.Continent {
		p = Place{Country: country, Continent: continent, ASN: p.ASN} // the database has another place in mind
	}
	if l.HasPosition {
		p.Latitude, p.Longitude, p.HasPosition, p.Radius = l.Latitude, l.Longitude, true, 0
	}
	if l.ASN != 0 {
		p.ASN = l.ASN
	}
	p.Settle()
	return p
}

// earthRadius is the mean one, in km (IUGG).
const earthRadius = 6371

// A direction is a position as a unit vector from the Earth's centre, which makes distances cheap.
type direction struct{ x, y, z float64 }

func (p *Place) direction() direction {
	sinLat, cosLat := math.Sincos(p.Latitude * math.Pi / 180)
	sinLon, cosLon := math.Sincos(p.Longitude * math.Pi / 180)
	return direction{cosLat * cosLon, cosLat * sinLon, sinLat}
}

// distance is the one along the Earth's surface, taken as a sphere, in km.
func (d direction) distance(e direction) float64 {
	return earthRadius * arccos(d.x*e.x+d.y*e.y+d.z*e.z)
}

// arccos is math.Acos, three times as fast and right to 2e-8, which is 13 cm on Earth. What is out of range by a
// rounding error does no harm. It is 4.4.46 in Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964).
func arccos(x float64) float64 {
	a := min(math.Abs(x), 1)
	y := math.Sqrt(1-a) * (1.5707963050 + a*(-.2145988016+a*(.0889789874+a*(-.0501743046+
		a*(.0308918810+a*(-.0170881256+a*(.0066700901+a*-.0012624911)))))))
	if x < 0 {
		return math.Pi - y
	}
	return y
}
