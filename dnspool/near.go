package dnspool

// How far a mirror is, in km: see the package's comment for the reasons.
const (
	baseFar = 100 // closer than that, distances are not compared

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

func newClient(p *Place) client { return client{Place: p, at: p.direction()} }

// far returns what the distance of a mirror is made of besides baseFar, in km.
func (c *client) far(e *entry) (distance, border float64) { return c.distance(e), c.border(e) }

func (c *client) distance(e *entry) float64 {
	switch {
	case c.HasPosition && e.hasPosition:
		return c.at.distance(e.at)
	case c.sameContinent(e):
		return distanceSameContinent
	default:
		return distanceElsewhere
	}
}

func (c *client) border(e *entry) float64 {
	switch {
	case c.ASN == e.asn && c.ASN != 0:
		return borderSameNetwork
	case c.sameCountry(e):
		return borderSameCountry
	case c.sameContinent(e):
		return borderSameContinent
	default:
		return borderElsewhere
	}
}

func (c *client) sameCountry(e *entry) bool { return c.Country == e.country && c.Country != Code{} }

func (c *client) sameContinent(e *entry) bool {
	return c.Continent == e.continent && c.Continent != Code{}
}
