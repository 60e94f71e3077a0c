package dnspool

import (
	"math"
	"slices"
)

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

// measure returns how far a mirror is, in km.
func (c *client) measure(e *entry) float64 {
	distance, border := c.far(e)
	return baseFar + distance + border
}

// measure finds out how far each is.
func (c *Choice) measure(p *Place) {
	from := newClient(p)
	for i := range c.scores {
		s := &c.scores[i]
		s.far = from.measure(s.entry)
		if from.sameCountry(s.entry) {
			s.nearness = 1
		}
	}
}

// compete selects the mirrors that compete, and gives them their points.
func (c *Choice) compete(p Policy) {
	nearest := math.Inf(1)
	for i := range c.scores {
		nearest = min(nearest, c.scores[i].far)
	}
	near := 0
	for i := range c.scores {
		s := &c.scores[i]
		if s.nearness == 1 || s.far <= p.Near*nearest {
			s.nearness = 1
			near++
		}
	}
	reach := 0.0
	if wanted := p.wanted(); near < wanted {
		reach = c.reach(wanted)
	}
	for i := range c.scores {
		s := &c.scores[i]
		if s.nearness == 0 && s.far <= reach {
			s.nearness = nearest / s.far
			if c.coarse {
				s.nearness = math.Exp2(math.Floor(math.Log2(s.nearness)))
			}
		}
		s.points = s.weight * s.nearness
	}
}

// reach returns how far the n nearest are: in km.
func (c *Choice) reach(n int) float64 {
	if n >= len(c.scores) {
		return math.Inf(1)
	}
	const few = 16
	c.far = c.far[:0]
	for i := range c.scores {
		if n <= few {
			c.far = keepLeast(c.far, n, c.scores[i].far)
		} else {
			c.far = append(c.far, c.scores[i].far)
		}
	}
	if n > few {
		slices.Sort(c.far)
	}
	return c.far[n-1]
}

// keepLeast adds a value to the n least so far, which are sorted, if it is one of them.
func keepLeast(least []float64, n int, value float64) []float64 {
	switch {
	case len(least) < n:
		least = append(least, value)
	case value < least[n-1]:
		least[n-1] = value
	default:
		return least
	}
	for i := len(least) - 1; i > 0 && least[i] < least[i-1]; i-- {
		least[i], least[i-1] = least[i-1], least[i]
	}
	return least
}

// limit finds the mirrors that would take more than the given share, and limits them to it. Where so few compete that
// each has to take as much, all take the same.
func (c *Choice) limit(share float64) {
	competing := 0
	for i := range c.scores {
		if c.scores[i].points > 0 {
			competing++
			c.total += c.scores[i].points
		}
	}
	if share*float64(competing) <= 1 {
		for i := range c.scores {
			if s := &c.scores[i]; s.points > 0 {
				s.points = s.derated
			}
		}
		c.total = 0
		for i := range c.scores {
			c.total += c.scores[i].points
		}
		return
	}
	c.share = share
	for more := true; more; {
		more = false
		for most, i := share*c.total/c.rest, 0; i < len(c.scores); i++ {
			if s := &c.scores[i]; s.points > most && !s.capped {
				s.capped, more = true, true
				c.total -= s.points
				c.rest -= share
			}
		}
	}
}

// of returns the share of the clients at the request's place that a mirror gets.
func (c *Choice) of(s *score) float64 {
	if s.capped {
		return c.scale * c.share
	}
	return c.scale * c.rest * s.points / c.total
}
