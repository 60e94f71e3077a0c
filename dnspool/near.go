package dnspool

// How far a mirror is, in km: see the package's comment for the reasons.
const (
	baseFar = 100 // within which nobody is nearer than another

	borderSameNetwork   = 0
	borderSameCountry   = 300
	borderSameContinent = 600
	borderElsewhere     = 3000

	// Distances that stand in where one of the two positions is not known.
	distanceSameContinent = 3000
	distanceElsewhere     = 12000
)

// A client is a place from which mirrors are looked at.
type client struct {
	*Place
	at direction
}

func newClient(p *Place) client {
	c := client{Place: p}
	if p.HasPosition {
		c.at = p.direction()
	}
	return c
}

// far returns what the distance of a mirror is made of besides baseFar, in km.
func (c *client) far(e *entry) (distance, border float64) {
	sameContinent := c.Continent == e.continent && c.Continent != Code{}
	switch {
	case c.ASN == e.asn && c.ASN != 0:
		border = borderSameNetwork
	case c.sameCountry(e):
		border = borderSameCountry
	case sameContinent:
		border = borderSameContinent
	default:
		border = borderElsewhere
	}
	switch {
	case c.HasPosition && e.hasPosition:
		distance = c.at.distance(e.at)
	case sameContinent:
		distance = distanceSameContinent
	default:
		distance = distanceElsewhere
	}
	return distance, border
}

func (c *client) sameCountry(e *entry) bool { return c.Country == e.country && c.Country != Code{} }
